//! From the store to index and view, at start.

use std::time::Duration;

use prost::Message;

use super::apply::{Judge, chunk_sum, header_change, stamp_lines};
use super::index::{GroupState, NewMember};
use super::prepare::{GroupRenderer, SeriesHasher};
use super::view::{Change, View};
use crate::exposition::text::LabelBlock;
use crate::model::name::is_metric_name;
use crate::model::{GroupingKey, MetricFamily, Ttl, TtlPolicy, TtlSource};
use crate::store::record::{ChunkRecord, FamilyRecord, GroupRecord};
use crate::store::{ChunkRef, Loaded, OpenError, Store};
use crate::time::{UnixMillis, UnixNanos};

/// What was found in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    pub groups: u64,
    pub series: u64,
    /// How many of the groups expired while the gateway was down.
    pub expired: u64,
    /// Whether there are names beyond the legacy charset.
    pub quoted_names: bool,
}

/// A group as it lies in the store.
struct StoredGroup {
    id: u64,
    head: ChunkRef,
    record: GroupRecord,
    /// The chunks beside the head, with their families.
    chunks: Vec<(ChunkRef, Vec<FamilyRecord>)>,
}

/// Restores everything. Groups that have expired are restored too: scrapes pass over them, and the
/// reaper removes them as any other.
pub(super) fn restore(
    store: &Store,
    judge: &mut Judge,
    view: &mut View,
    hasher: SeriesHasher,
    policy: &TtlPolicy,
    now: UnixMillis,
) -> Result<Restored, OpenError> {
    let mut restored = Restored::default();
    let mut chunks = store.load().peekable();
    while let Some(head) = chunks.next().transpose()? {
        let mut group = begin(store, &head)?;
        let id = group.id;
        while let Some(chunk) = chunks.next_if(|next| {
            next.as_ref().is_ok_and(|next| next.key.group == id && next.key.chunk != 0)
        }) {
            add_chunk(store, &mut group, &chunk?)?;
        }
        let refs: Vec<_> = group.chunks.iter().map(|(chunk, _)| *chunk).collect();
        if refs.len() != group.record.chunk_count as usize
            || chunk_sum(&refs) != group.record.chunk_sum
        {
            let expected = group.record.chunk_count;
            let what = format!(
                "group {id} has {} chunks that do not match its head, which has {expected}",
                refs.len()
            );
            return Err(damaged(store, what));
        }
        let (deadline, quoted) = insert(store, judge, view, hasher, policy, group)?;
        restored.expired += u64::from(deadline <= now);
        restored.quoted_names |= quoted;
    }
    restored.groups = judge.index.group_count() as u64;
    restored.series = judge.index.series_count();
    Ok(restored)
}

fn begin(store: &Store, loaded: &Loaded) -> Result<StoredGroup, OpenError> {
    let id = loaded.key.group;
    if loaded.key.chunk != 0 {
        return Err(damaged(store, format!("group {id} has no head")));
    }
    let record = GroupRecord::decode(loaded.frame.payload())
        .map_err(|error| damaged(store, format!("group {id}: {error}")))?;
    Ok(StoredGroup { id, head: loaded.frame.to_ref(0), record, chunks: Vec::new() })
}

fn add_chunk(store: &Store, group: &mut StoredGroup, loaded: &Loaded) -> Result<(), OpenError> {
    let number = loaded.key.chunk;
    let record = ChunkRecord::decode(loaded.frame.payload())
        .map_err(|error| damaged(store, format!("group {}, chunk {number}: {error}", group.id)))?;
    group.chunks.push((loaded.frame.to_ref(number), record.families));
    Ok(())
}

/// Puts a group into index and view. Returns its deadline, and whether it has names beyond the legacy
/// charset.
fn insert(
    store: &Store,
    judge: &mut Judge,
    view: &mut View,
    hasher: SeriesHasher,
    policy: &TtlPolicy,
    stored: StoredGroup,
) -> Result<(UnixMillis, bool), OpenError> {
    let StoredGroup { id: stored_id, head, record, chunks } = stored;
    let broken = |what: String| damaged(store, format!("group {stored_id}: {what}"));
    let key = GroupingKey::from_bytes(&record.key).map_err(|error| broken(error.to_string()))?;
    if judge.index.find(&key).is_some() {
        return Err(broken(format!("{key} is stored twice")));
    }
    let state = state_of(&record, policy, &key);
    let block = LabelBlock::of_group(&key);
    let group = GroupRenderer::new(&key, hasher);
    let id = judge.index.insert(key.clone(), state, Some(stored_id));
    let refs = chunks.iter().map(|(chunk, _)| *chunk).collect();
    let inline = record.families.into_iter().map(|family| (0, family));
    let beside = chunks.into_iter().flat_map(|(chunk, families)| {
        families.into_iter().map(move |family| (chunk.number, family))
    });
    let families: Vec<_> = inline.chain(beside).collect();
    judge.index.reserve_members(id, families.len());
    let mut lines = Vec::with_capacity(families.len());
    let stamps = stamp_lines(&state, &block);
    let mut quoted = key.labels().any(|(name, _)| !is_metric_name(name));
    for (chunk, record) in families {
        let metrics = record.decode_metrics().map_err(|error| broken(error.to_string()))?;
        let kind = record.metric_type().ok_or_else(|| broken("a family has no type".into()))?;
        let family =
            MetricFamily { name: record.name, help: record.help, kind, unit: None, metrics };
        let rendered = group.render(&family);
        quoted |= !is_metric_name(&family.name);
        let mut own = family.metrics.iter().flat_map(|metric| &metric.labels);
        quoted |= own.any(|label| !is_metric_name(&label.name));
        let member = NewMember {
            name: &family.name,
            kind,
            help: family.help.as_deref(),
            sequence: record.sequence,
            series: record.series,
            extras: &rendered.extras,
        };
        judge.index.seen_stored(stored_id, record.sequence);
        let (member, changed) = judge.index.set_member(id, &member);
        if chunk != 0 {
            judge.index.set_chunk(id, &family.name, chunk);
        }
        if changed && let Some(family) = judge.index.family(member) {
            view.publish(header_change(member, family));
        }
        lines.push((member, rendered.lines));
    }
    if let Some(group) = judge.index.group_mut(id) {
        group.head = Some(head);
        group.chunks = refs;
        let series = group.series;
        view.publish(Change::Group { id, stored_id, state, series, stamps, lines });
    }
    Ok((state.deadline(), quoted))
}

fn state_of(record: &GroupRecord, policy: &TtlPolicy, key: &GroupingKey) -> GroupState {
    let stored = record.ttl_ms.map_or(Ttl::Never, |ms| Ttl::After(Duration::from_millis(ms)));
    // What a push asked for stays. What came from the settings is what they say now.
    let (ttl, ttl_source) =
        if record.ttl_source == 0 { (stored, TtlSource::Push) } else { policy.ttl_of(key) };
    GroupState {
        created: UnixNanos(record.created_ns),
        pushed: record.pushed_ns.map(UnixNanos),
        failed: record.failed_ns.map(UnixNanos),
        renewed: UnixMillis(record.renewed_ms),
        ttl,
        ttl_source,
        pushes: record.pushes,
    }
}

fn damaged(store: &Store, what: String) -> OpenError {
    OpenError::Damaged { path: store.path().to_owned(), what }
}
