//! All that is known of the groups in memory: the judge's index, which runs one batch ahead of what is
//! durable, and the view, which scrapes read. Groups get into both at once where they are not pushed: at
//! the start, and after an outage of the store.

use std::sync::Arc;

use hashbrown::HashMap;

use super::apply::{Judge, header_change, new_member, published};
use super::history::{History, HistoryLimits, RemovedGroup};
use super::index::{FamilyId, Index};
use super::options::Limits;
use super::prepare::{GroupRenderer, PreparedFamily, SeriesHasher};
use super::stamps::Stamps;
use super::view::{Change, View};
use crate::exposition::text::{self, LabelBlock};
use crate::model::name::{is_label_name, is_metric_name};
use crate::model::{GroupState, GroupingKey, MetricFamily, MetricType, Policy};
use crate::store::{EncodedFamily, OpenError, Removal, Store, StoredGroup, Writer};
use crate::time::Moment;

/// What verdicts and lines depend on beside the groups.
#[derive(Clone, Debug)]
pub struct StateOptions {
    pub hasher: SeriesHasher,
    pub policy: Policy,
    pub limits: Limits,
    pub history: HistoryLimits,
    pub stamps: Stamps,
    /// Types of the families that the gateway itself exposes.
    pub self_types: HashMap<String, MetricType>,
}

/// Index and view.
#[derive(Debug)]
pub struct State {
    pub judge: Judge,
    pub view: View,
}

/// The groups that were found in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub groups: u64,
    pub series: u64,
    /// How many of the groups expired while the gateway was down.
    pub expired: u64,
    /// Whether there are names beyond the legacy charset.
    pub quoted_names: bool,
}

/// Why a stored group cannot be taken in.
#[derive(Debug, thiserror::Error)]
#[error("group {number}: {what}")]
pub struct PutError {
    number: u64,
    what: String,
}

impl State {
    /// No groups yet.
    pub fn empty(options: StateOptions) -> Self {
        let StateOptions { hasher, policy, limits, history, stamps, self_types } = options;
        let index = Index::new(hasher);
        let history = History::new(history);
        let view = View::new(stamps.families());
        Self { judge: Judge { index, policy, history, limits, stamps, self_types }, view }
    }

    /// Loads all groups of a store. Expired ones are loaded, too: scrapes pass over them, and the reaper
    /// removes them as any other.
    pub fn load(
        store: &Arc<Store>,
        options: StateOptions,
        at: Moment,
    ) -> Result<(Self, Writer, Loaded), OpenError> {
        let damaged = |error: PutError| OpenError::Damaged {
            path: store.path().to_owned(),
            what: error.to_string(),
        };
        let mut state = Self::empty(options);
        let mut loaded = Loaded::default();
        let mut removed = Vec::new();
        let writer = Writer::load(store, |mut group| {
            if group.removal.is_some() {
                group.families = Vec::new();
                removed.push(group);
                return Ok(());
            }
            loaded.quoted_names |= has_quoted_name(&group.key);
            loaded.quoted_names |= state.put(group, at).map_err(damaged)?.quoted_names;
            Ok::<_, OpenError>(())
        })?;
        // In the order in which they were removed.
        removed.sort_by_key(|group| group.removal.as_ref().map(|removal| removal.sequence));
        for group in removed {
            state.put(group, at).map_err(damaged)?;
        }
        loaded.groups = state.judge.index.group_count() as u64;
        loaded.series = state.judge.index.series_count();
        loaded.expired = state.judge.index.due(at.now).count() as u64;
        Ok((state, writer, loaded))
    }

    /// Takes a stored group in, in place of the one of its number.
    pub fn put(&mut self, group: StoredGroup, at: Moment) -> Result<Put, PutError> {
        let (changes, put) = self.judge.put(group, at)?;
        for change in changes {
            self.view.publish(change);
        }
        Ok(put)
    }

    /// Forgets a group that is no longer stored, whether it was shown or could be restored.
    pub fn remove(&mut self, number: u64, key: &GroupingKey) {
        let changes = self.judge.forget(number, key);
        for change in changes {
            self.view.publish(change);
        }
    }
}

/// What was taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// Whether there are names beyond the legacy charset.
    pub quoted_names: bool,
}

impl Judge {
    /// Takes a stored group into the index, in place of the one of its number. Returns what is to be
    /// published.
    fn put(&mut self, group: StoredGroup, at: Moment) -> Result<(Vec<Change>, Put), PutError> {
        let StoredGroup { number, key, mut state, families, removal, bytes } = group;
        self.policy.decide_for(&key, &mut state);
        if let Some(removal) = removal {
            return Ok((self.put_removed(number, key, state, removal, bytes), Put::default()));
        }
        let failed = |what: String| PutError { number, what };
        let found = self.index.find(&key);
        if found.and_then(|id| self.index.group(id)).is_some_and(|group| group.number != number) {
            return Err(failed(format!("{key} is stored twice")));
        }
        let block = LabelBlock::of_group(&key);
        let stamps = self.stamps.lines(&state, &block, at);
        let mut put = Put::default();
        let prepared = self.render(number, &key, &block, families, &mut put).map_err(failed)?;
        self.index.seen_stored(number, 0);
        let state = Arc::new(state);
        let (id, leaving) = match found {
            Some(id) => {
                self.index.set_state(id, state);
                (id, self.leaving(id, &prepared))
            }
            None => (self.index.insert(key, state, number), Vec::new()),
        };
        let mut changes = Vec::new();
        let members: Vec<_> = prepared.iter().map(new_member).collect();
        let set = self.index.set_members(id, &members);
        let mut lines = Vec::with_capacity(prepared.len());
        for ((member, changed), family) in set.into_iter().zip(prepared) {
            if changed && let Some(family) = self.index.family(member) {
                changes.push(header_change(member, family));
            }
            lines.push((member, family.rendered.lines));
        }
        self.index.remove_members(id, &leaving);
        changes.extend(leaving.into_iter().map(|family| Change::MemberRemoved { id, family }));
        if let Some(group) = self.index.group_mut(id) {
            group.bytes = bytes;
            changes.push(Change::Group { id, group: published(group), stamps, lines });
        }
        Ok((changes, put))
    }

    /// The families of a stored group, rendered; none of them where they are more than there may be.
    fn render(
        &mut self,
        number: u64,
        key: &GroupingKey,
        block: &LabelBlock,
        families: Vec<EncodedFamily>,
        put: &mut Put,
    ) -> Result<Vec<PreparedFamily>, String> {
        let renderer = GroupRenderer::new(key, self.index.hasher());
        let limits = &self.limits;
        let room = limits.rendered_bytes.saturating_sub(self.index.rendered_bytes());
        let room = room.min(limits.group_bytes).min(Limits::GROUP_BYTES_MAX);
        let mut bytes = 0_u64;
        let mut prepared = Vec::with_capacity(families.len());
        for stored in families {
            let metrics = stored.decode().map_err(|error| chain(&error))?;
            self.index.seen_stored(number, stored.sequence());
            let (name, help) = (stored.name().to_owned(), stored.help().map(str::to_owned));
            let family = MetricFamily { name, help, kind: stored.kind(), unit: None, metrics };
            // Looked at before it is rendered: a start that takes more memory than there is would be
            // followed by another.
            if bytes.saturating_add(text::least_bytes(&family, block)) > room {
                tracing::error!(
                    group = %key,
                    room,
                    "a stored group is set aside: its series are more bytes in a scrape than there may \
                     be (limits.group-size, limits.rendered-size); it is kept until it is pushed again \
                     or deleted, and shown at a start with larger limits"
                );
                return Ok(Vec::new());
            }
            let rendered = renderer.render(&family);
            bytes += rendered.bytes();
            put.quoted_names |= !is_metric_name(&family.name);
            let mut own = family.metrics.iter().flat_map(|metric| &metric.labels);
            put.quoted_names |= own.any(|label| !is_label_name(&label.name));
            let native = family.is_native().unwrap_or(true);
            prepared.push(PreparedFamily { kind: family.kind, native, stored, rendered });
        }
        Ok(prepared)
    }

    /// The families that a group has and these are not, sorted.
    fn leaving(&self, id: super::segment::GroupId, stays: &[PreparedFamily]) -> Vec<FamilyId> {
        let stays: hashbrown::HashSet<_> = stays
            .iter()
            .filter_map(|family| self.index.family_of(family.stored.name()))
            .map(|(family, _)| family)
            .collect();
        let Some(group) = self.index.group(id) else { return Vec::new() };
        let members = group.members.iter().map(|member| member.family);
        members.filter(|family| !stays.contains(family)).collect()
    }

    fn put_removed(
        &mut self,
        number: u64,
        key: GroupingKey,
        mut state: GroupState,
        removal: Removal,
        bytes: u64,
    ) -> Vec<Change> {
        let mut changes = self.forget(number, &key);
        self.index.seen_stored(number, removal.sequence);
        state.deadline = removal.deadline;
        let removed = Arc::new(RemovedGroup::new(number, key, Arc::new(state), removal, bytes));
        self.history.push(Arc::clone(&removed));
        changes.push(Change::Removed(removed));
        changes
    }

    /// Takes a group out of index and history. Returns what is to be published.
    fn forget(&mut self, number: u64, key: &GroupingKey) -> Vec<Change> {
        let mut changes = Vec::new();
        let found = self.index.find(key);
        let is_it = |id| self.index.group(id).is_some_and(|group| group.number == number);
        if let Some(id) = found.filter(|id| is_it(*id))
            && let Some(removed) = self.index.remove(id)
        {
            let families = removed.families.clone();
            changes.push(Change::GroupsRemoved { groups: vec![(id, removed.families)] });
            for family in self.index.decide_helps(families) {
                changes.extend(self.index.family(family).map(|it| header_change(family, it)));
            }
        }
        let removed = self.history.take_number(number);
        changes.extend(removed.map(|removed| Change::Purged { sequence: removed.sequence }));
        changes
    }

    /// What verdicts depend on beside the groups.
    pub fn options(&self) -> StateOptions {
        StateOptions {
            hasher: self.index.hasher(),
            policy: self.policy.clone(),
            limits: self.limits,
            history: self.history.limits(),
            stamps: self.stamps,
            self_types: self.self_types.clone(),
        }
    }
}

fn has_quoted_name(key: &GroupingKey) -> bool {
    key.labels().any(|(name, _)| !is_label_name(name))
}

/// An error with its cause.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Loads a store of whatever content, for [`crate::fuzzing`].
#[cfg(any(test, fuzzing))]
pub(crate) fn try_load(store: &Arc<Store>) -> Result<Loaded, OpenError> {
    use crate::model::{Ttl, TtlPolicy};
    use crate::time::{UnixMillis, UnixNanos};

    let options = StateOptions {
        hasher: SeriesHasher::random(),
        policy: Policy { ttl: Arc::new(TtlPolicy::new(Ttl::Never)), floor: UnixMillis(0) },
        limits: Limits::UNLIMITED,
        history: HistoryLimits { groups: 4, bytes: 1 << 16 },
        stamps: Stamps { expose_deadline: true },
        self_types: HashMap::new(),
    };
    let at = Moment { now: UnixMillis(1 << 40), wall: UnixNanos(1 << 60) };
    State::load(store, options, at).map(|(_, _, loaded)| loaded)
}
