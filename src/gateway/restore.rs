//! From the store to index and view, at start.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use super::apply::{Judge, header_change, published};
use super::command::Accepted;
use super::group::GroupState;
use super::history::{Departed, Departure};
use super::index::NewMember;
use super::options::Limits;
use super::prepare::{GroupRenderer, SeriesHasher};
use super::stored::chunk_sum;
use super::view::{Change, View};
use crate::exposition::text::{self, LabelBlock};
use crate::model::name::{is_label_name, is_metric_name};
use crate::model::{GroupingKey, LatestIntervals, MetricFamily, Rhythm, Ttl};
use crate::store::record::{ChunkRecord, FamilyRecord, GroupRecord, TombstoneRecord};
use crate::store::{ChunkRef, Loaded, OpenError, Store, TOMBSTONE};
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
    /// Whether the group is gone.
    tombstone: Option<(ChunkRef, TombstoneRecord)>,
}

/// Restores everything. Groups that have expired are restored too: scrapes pass over them, and the
/// reaper removes them as any other.
pub(super) fn restore(
    store: &Store,
    judge: &mut Judge,
    view: &mut View,
    hasher: SeriesHasher,
    at: Accepted,
) -> Result<Restored, OpenError> {
    let mut restored = Restored::default();
    let mut chunks = store.load()?.peekable();
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
        if group.tombstone.is_some() {
            let departed = departed(store, judge, group)?;
            judge.history.push(Arc::new(departed));
            continue;
        }
        let (deadline, quoted) = insert(store, judge, view, hasher, group, at)?;
        restored.expired += u64::from(deadline <= at.now);
        restored.quoted_names |= quoted;
    }
    judge.history.sort();
    for departed in judge.history.iter() {
        view.publish(Change::Departed(Arc::clone(departed)));
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
    Ok(StoredGroup {
        id,
        head: loaded.frame.to_ref(0),
        record,
        chunks: Vec::new(),
        tombstone: None,
    })
}

fn add_chunk(store: &Store, group: &mut StoredGroup, loaded: &Loaded) -> Result<(), OpenError> {
    let number = loaded.key.chunk;
    if number == TOMBSTONE {
        let record = TombstoneRecord::decode(loaded.frame.payload())
            .map_err(|error| damaged(store, format!("group {}, tombstone: {error}", group.id)))?;
        group.tombstone = Some((loaded.frame.to_ref(number), record));
        return Ok(());
    }
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
    stored: StoredGroup,
    at: Accepted,
) -> Result<(UnixMillis, bool), OpenError> {
    let StoredGroup { id: stored_id, head, record, chunks, tombstone: _ } = stored;
    let broken = |what: String| damaged(store, format!("group {stored_id}: {what}"));
    let key = GroupingKey::from_bytes(&record.key).map_err(|error| broken(error.to_string()))?;
    if judge.index.find(&key).is_some() {
        return Err(broken(format!("{key} is stored twice")));
    }
    let mut state = state_of(&record);
    judge.policy.decide_for(&key, &mut state);
    let state = Arc::new(state);
    let deadline = state.deadline;
    let block = LabelBlock::of_group(&key);
    let group = GroupRenderer::new(&key, hasher);
    let id = judge.index.insert(key.clone(), Arc::clone(&state), Some(stored_id));
    let refs = chunks.iter().map(|(chunk, _)| *chunk).collect();
    let inline = record.families.into_iter().map(|family| (0, family));
    let beside = chunks.into_iter().flat_map(|(chunk, families)| {
        families.into_iter().map(move |family| (chunk.number, family))
    });
    let families: Vec<_> = inline.chain(beside).collect();
    let mut rendered = Vec::with_capacity(families.len());
    let stamps = judge.stamps.lines(&state, &block, at);
    let mut quoted = key.labels().any(|(name, _)| !is_label_name(name));
    let limits = &judge.limits;
    let room = limits.rendered_bytes.saturating_sub(judge.index.rendered_bytes());
    let room = room.min(limits.group_bytes).min(Limits::GROUP_BYTES_MAX);
    let mut bytes = 0_u64;
    for (chunk, record) in families {
        let metrics = record.decode_metrics().map_err(|error| broken(error.to_string()))?;
        let kind = record.metric_type().ok_or_else(|| broken("a family has no type".into()))?;
        judge.index.seen_stored(stored_id, record.sequence);
        let family =
            MetricFamily { name: record.name, help: record.help, kind, unit: None, metrics };
        // Looked at before it is rendered: a start that takes more memory than there is would be
        // followed by another.
        if bytes.saturating_add(text::least_bytes(&family, &block)) > room {
            tracing::error!(
                group = %key,
                room,
                "a stored group is set aside: its series are more bytes in a scrape than there may be \
                 (limits.group-size, limits.rendered-size); it is kept until it is pushed again or \
                 deleted, and shown at a start with larger limits"
            );
            rendered.clear();
            break;
        }
        let lines = group.render(&family);
        bytes += lines.bytes();
        quoted |= !is_metric_name(&family.name);
        let mut own = family.metrics.iter().flat_map(|metric| &metric.labels);
        quoted |= own.any(|label| !is_label_name(&label.name));
        let of_family = (kind, family.is_native().unwrap_or(true));
        let MetricFamily { name, help, .. } = family;
        rendered.push((name, help, of_family, chunk, record.sequence, record.series, lines));
    }
    let members: Vec<_> = rendered
        .iter()
        .map(|(name, help, (kind, native), chunk, sequence, series, lines)| NewMember {
            name,
            chunk: *chunk,
            kind: *kind,
            native: *native,
            help: help.as_deref(),
            sequence: *sequence,
            series: *series,
            rendered: lines,
        })
        .collect();
    let set = judge.index.set_members(id, &members);
    for (member, _) in set.iter().filter(|(_, changed)| *changed) {
        if let Some(family) = judge.index.family(*member) {
            view.publish(header_change(*member, family));
        }
    }
    let of_family = set.into_iter().zip(rendered);
    let lines = of_family.map(|((member, _), (.., lines))| (member, lines.lines)).collect();
    if let Some(group) = judge.index.group_mut(id) {
        group.head = Some(head);
        group.chunks = refs;
        view.publish(Change::Group { id, group: published(group), stamps, lines });
    }
    Ok((deadline, quoted))
}

/// The state of a group that is gone, as it was stored.
fn departed(store: &Store, judge: &mut Judge, stored: StoredGroup) -> Result<Departed, OpenError> {
    let StoredGroup { id: stored_id, head, record, chunks, tombstone } = stored;
    let Some((tombstone_ref, tombstone)) = tombstone else {
        return Err(damaged(store, format!("group {stored_id} has no tombstone")));
    };
    let broken = |what: String| damaged(store, format!("group {stored_id}: {what}"));
    let key = GroupingKey::from_bytes(&record.key).map_err(|error| broken(error.to_string()))?;
    judge.index.seen_stored(stored_id, tombstone.sequence);
    let mut state = state_of(&record);
    judge.policy.decide_for(&key, &mut state);
    state.deadline = UnixMillis(tombstone.deadline_ms);
    let beside = chunks.into_iter().map(|(chunk, _)| chunk);
    let position = tombstone.rule.and_then(|rule| usize::try_from(rule).ok());
    Ok(Departed {
        sequence: tombstone.sequence,
        key,
        why: if tombstone.deleted { Departure::Deleted } else { Departure::Expired },
        at: UnixNanos(tombstone.at_ns),
        rule: position.zip(tombstone.selector),
        state: Arc::new(state),
        series: tombstone.series,
        families: tombstone.families,
        stored_id,
        chunks: std::iter::once(head).chain(beside).chain([tombstone_ref]).collect(),
    })
}

/// What a record says; the TTL is yet to be decided.
fn state_of(record: &GroupRecord) -> GroupState {
    let ttl = |ms: Option<u64>| ms.map_or(Ttl::Never, |ms| Ttl::After(Duration::from_millis(ms)));
    let renewed = UnixMillis(record.renewed_ms);
    // What a push asked for stays. What came from the settings is what they say now.
    let asked = match (record.asked, record.ttl_source) {
        (Some(asked), _) => Some(ttl(asked.ms)),
        (None, 0) => Some(ttl(record.ttl_ms)),
        (None, _) => None,
    };
    let last = (record.pushes > 0).then(|| record.last_push_ms.map_or(renewed, UnixMillis));
    GroupState {
        pushed: record.pushed_ns.map(UnixNanos),
        failed: record.failed_ns.map(UnixNanos),
        failure: record.failure.as_deref().map(Into::into),
        rhythm: Rhythm {
            last,
            interval_ms: record.interval_ms,
            intervals: record.intervals,
            run: record.run,
            run_ms: record.run_ms,
            calm_ms: record.calm_ms,
            gap_ms: record.gap_ms,
            latest: LatestIntervals::from_bits(record.latest_intervals),
        },
        asked,
        overridden: (record.ttl_source == 3).then(|| ttl(record.ttl_ms)),
        pushes: record.pushes,
        ..GroupState::new(UnixNanos(record.created_ns), renewed)
    }
}

fn damaged(store: &Store, what: String) -> OpenError {
    OpenError::Damaged { path: store.path().to_owned(), what }
}

/// Restores a store of whatever content, for [`crate::fuzzing`].
#[cfg(any(test, fuzzing))]
pub(crate) fn try_restore(store: &Store) -> Result<Restored, OpenError> {
    use super::group::Policy;
    use super::history::{History, HistoryLimits};
    use super::index::Index;
    use super::options::Limits;
    use super::stamps::Stamps;
    use crate::model::TtlPolicy;

    let hasher = SeriesHasher::random();
    let stamps = Stamps { expose_deadline: true };
    let mut judge = Judge {
        index: Index::new(hasher),
        policy: Policy { ttl: Arc::new(TtlPolicy::new(Ttl::Never)), floor: UnixMillis(0) },
        history: History::new(HistoryLimits { groups: 4, bytes: 1 << 16 }),
        limits: Limits::UNLIMITED,
        stamps,
        self_types: hashbrown::HashMap::new(),
    };
    let mut view = View::new(stamps.families());
    let at = Accepted { now: UnixMillis(1 << 40), wall: UnixNanos(1 << 60) };
    restore(store, &mut judge, &mut view, hasher, at)
}
