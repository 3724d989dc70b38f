//! All that is known of the groups in memory: the judge's index, which runs one batch ahead of what is
//! durable, and the view, which scrapes read. Groups get into both at once where they are not pushed: at
//! the start, and after an outage of the store.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::history::{History, HistoryLimits, RemovedGroup};
use super::index::{FamilyId, Index};
use super::judge::{Judge, Stage, header_change, new_member, published};
use super::options::Limits;
use super::prepare::{
    GroupRenderer, PreparedFamily, SeriesHasher, is_legacy_family, is_legacy_key,
};
use super::segment::GroupId;
use super::stamps::Stamps;
use super::view::{Change, View};
use crate::exposition::text::{self, LabelBlock};
use crate::model::{GroupingKey, MetricFamily, MetricType, Policy};
use crate::store::{EncodedFamily, OpenError, Removal, Store, StoredGroup, StoredPart, Writer};
use crate::time::Moment;

/// Policy, limits and names on which verdicts and lines depend beside the groups.
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

/// Why a stored group cannot be taken in. Nothing of it was.
#[derive(Debug, thiserror::Error)]
#[error("group {number}: {what}")]
pub struct PutError {
    number: u64,
    what: String,
}

impl PutError {
    /// The fault, without the number of the group.
    pub fn what(&self) -> &str {
        &self.what
    }
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
        let mut state = Self::empty(options);
        let mut loaded = Loaded::default();
        let mut removed = Vec::new();
        let writer = Writer::load(store, |mut group| {
            if let Some(removal) = group.removal.take() {
                // Its families are read again if it is restored.
                group.families = Vec::new();
                removed.push((group, removal));
                return Ok(());
            }
            let number = group.number;
            match (state.put(group, at), store.shared()) {
                (Ok(is_legacy), _) => loaded.quoted_names |= !is_legacy,
                (Err(error), Some(shared)) => shared.set_aside(number, error.what()),
                (Err(error), None) => {
                    // Its bytes are those that were written: to build the store anew would not mend it.
                    tracing::error!(%error, "a stored group cannot be taken in, and is set aside");
                }
            }
            Ok::<_, OpenError>(())
        })?;
        // In the order in which they were removed.
        removed.sort_by_key(|(_, removal)| removal.sequence);
        for (group, removal) in removed {
            let change = state.judge.put_removed(group, removal);
            state.view.publish(change);
        }
        loaded.groups = state.judge.index.group_count() as u64;
        loaded.series = state.judge.index.series_count();
        loaded.expired = state.judge.index.due(at.now).count() as u64;
        Ok((state, writer, loaded))
    }

    /// Takes a stored group in, in place of the one of its number. Returns whether all its names are of
    /// the legacy charset.
    pub fn put(&mut self, group: StoredGroup, at: Moment) -> Result<bool, PutError> {
        let mut stage = Stage::default();
        let is_legacy = self.judge.put(&mut stage, group, at)?;
        self.publish(stage);
        Ok(is_legacy)
    }

    /// Forgets a group that is no longer stored, whether it was shown or could be restored.
    pub fn remove(&mut self, number: u64, key: &GroupingKey) {
        let mut stage = Stage::default();
        self.judge.forget(&mut stage, number, key);
        self.publish(stage);
    }

    fn publish(&mut self, mut stage: Stage) {
        self.judge.decide_helps(&mut stage);
        for change in stage.changes {
            self.view.publish(change);
        }
    }
}

impl Judge {
    /// Takes a stored group into the index, in place of the one of its number, and stages what is to be
    /// published. Returns whether all its names are of the legacy charset.
    pub fn put(
        &mut self,
        stage: &mut Stage,
        mut group: StoredGroup,
        at: Moment,
    ) -> Result<bool, PutError> {
        if let Some(removal) = group.removal.take() {
            self.forget(stage, group.number, &group.key);
            let removed = self.put_removed(group, removal);
            stage.changes.push(removed);
            return Ok(true);
        }
        let StoredGroup { number, key, state, families, removal: _, bytes } = group;
        let part = StoredPart { number, key, state, families, left: Vec::new(), bytes };
        self.put_families(stage, part, true, at)
    }

    /// Takes some families of a stored group into the index, as [`Judge::put`] does all.
    pub fn put_part(
        &mut self,
        stage: &mut Stage,
        part: StoredPart,
        at: Moment,
    ) -> Result<bool, PutError> {
        self.put_families(stage, part, false, at)
    }

    /// `all`: the group has no others.
    fn put_families(
        &mut self,
        stage: &mut Stage,
        part: StoredPart,
        all: bool,
        at: Moment,
    ) -> Result<bool, PutError> {
        let StoredPart { number, key, mut state, families, left, bytes } = part;
        self.policy.decide_for(&key, &mut state);
        let failed = |what: String| PutError { number, what };
        let found = self.index.find(&key);
        if found.and_then(|id| self.index.group(id)).is_some_and(|group| group.number != number) {
            return Err(failed(format!("{key} is stored twice")));
        }
        let block = LabelBlock::of_group(&key);
        let stamps = self.stamps.lines(&state, &block, at);
        let mut is_legacy = is_legacy_key(&key);
        let prepared = self.render(number, &key, &block, families, &mut is_legacy);
        let prepared = prepared.map_err(failed)?;
        self.index.seen_stored(number, 0);
        let state = Arc::new(state);
        let (id, leaving) = match found {
            Some(id) => {
                self.index.set_state(id, state);
                let leaving =
                    if all { self.leaving(id, &prepared) } else { self.members_of(id, &left) };
                (id, leaving)
            }
            None if all => (self.index.insert(key, state, number), Vec::new()),
            None => return Err(failed("only a part of it is there".into())),
        };
        let members: Vec<_> = prepared.iter().map(new_member).collect();
        let set = self.index.set_members(id, &members);
        let mut lines = Vec::with_capacity(prepared.len());
        for ((member, changed), family) in set.into_iter().zip(prepared) {
            if changed && let Some(family) = self.index.family(member) {
                stage.changes.push(header_change(member, family));
            }
            lines.push((member, family.rendered.lines));
        }
        self.index.remove_members(id, &leaving);
        stage.undecided.extend(&leaving);
        let leaving = leaving.into_iter().map(|family| Change::MemberRemoved { id, family });
        stage.changes.extend(leaving);
        if let Some(group) = self.index.group_mut(id) {
            group.bytes = bytes;
            stage.changes.push(Change::Group { id, group: published(group), stamps, lines });
        }
        Ok(is_legacy)
    }

    /// The families of these names that a group has, sorted.
    fn members_of(&self, id: GroupId, names: &[String]) -> Vec<FamilyId> {
        let Some(group) = self.index.group(id) else { return Vec::new() };
        let named: HashSet<_> = names
            .iter()
            .filter_map(|name| self.index.family_of(name))
            .map(|(family, _)| family)
            .collect();
        let members = group.members.iter().map(|member| member.family);
        members.filter(|family| named.contains(family)).collect()
    }

    /// The families of a stored group, rendered; none of them where they are more than there may be.
    /// Clears `is_legacy` where a name is not of the legacy charset.
    fn render(
        &mut self,
        number: u64,
        key: &GroupingKey,
        block: &LabelBlock,
        families: Vec<EncodedFamily>,
        is_legacy: &mut bool,
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
            *is_legacy &= is_legacy_family(&family);
            let native = family.is_native().unwrap_or(true);
            prepared.push(PreparedFamily { kind: family.kind, native, stored, rendered });
        }
        Ok(prepared)
    }

    /// The families that a group has and these are not, sorted.
    fn leaving(&self, id: GroupId, stays: &[PreparedFamily]) -> Vec<FamilyId> {
        let stays: HashSet<_> = stays
            .iter()
            .filter_map(|family| self.index.family_of(family.stored.name()))
            .map(|(family, _)| family)
            .collect();
        let Some(group) = self.index.group(id) else { return Vec::new() };
        let members = group.members.iter().map(|member| member.family);
        members.filter(|family| !stays.contains(family)).collect()
    }

    /// Takes a removed group into the history, which has none of a later removal.
    fn put_removed(&mut self, group: StoredGroup, removal: Removal) -> Change {
        let StoredGroup { number, key, mut state, bytes, .. } = group;
        self.policy.decide_for(&key, &mut state);
        state.deadline = removal.deadline;
        self.index.seen_stored(number, removal.sequence);
        let removed = Arc::new(RemovedGroup::new(number, key, Arc::new(state), removal, bytes));
        self.history.push(Arc::clone(&removed));
        Change::Removed(removed)
    }

    /// Takes a group out of index and history, and stages what is to be published.
    pub fn forget(&mut self, stage: &mut Stage, number: u64, key: &GroupingKey) {
        let found = self.index.find(key);
        let is_it = |id| self.index.group(id).is_some_and(|group| group.number == number);
        if let Some(id) = found.filter(|id| is_it(*id))
            && let Some(removed) = self.index.remove(id)
        {
            stage.undecided.extend(&removed.families);
            stage.changes.push(Change::GroupsRemoved { groups: vec![(id, removed.families)] });
        }
        let removed = self.history.take_number(number);
        let purged = removed.map(|removed| Change::Purged { sequence: removed.sequence });
        stage.changes.extend(purged);
    }

    /// The options that it was made with.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::text::parse;
    use crate::gateway::options::Limits;
    use crate::gateway::prepare::{Rules, prepare};
    use crate::model::{GroupState, Label, NameRules, RemovalReason, Ttl, TtlPolicy, Unmetered};
    use crate::time::{UnixMillis, UnixNanos};

    const AT: Moment = Moment { now: UnixMillis(10), wall: UnixNanos(10_000_000) };

    fn empty() -> State {
        State::empty(StateOptions {
            hasher: SeriesHasher::random(),
            policy: Policy { ttl: Arc::new(TtlPolicy::new(Ttl::Never)), floor: UnixMillis(0) },
            limits: Limits::UNLIMITED,
            history: HistoryLimits { groups: 9, bytes: 1 << 20 },
            stamps: Stamps::default(),
            self_types: HashMap::new(),
        })
    }

    fn key(job: &str) -> GroupingKey {
        GroupingKey::new(vec![Label::new("job", job)]).unwrap()
    }

    fn group(number: u64, job: &str, body: &str) -> StoredGroup {
        let key = key(job);
        let families = parse(body.as_bytes(), NameRules::Utf8).unwrap();
        let limits = Limits::UNLIMITED;
        let rules = Rules { limits: &limits, names: NameRules::Utf8, lenient: false };
        let hasher = SeriesHasher::random();
        let prepared = prepare(&key, hasher, rules, families, &mut Unmetered).unwrap().unwrap();
        let families = prepared.families.into_iter().map(|family| family.stored).collect();
        let state = GroupState::new(AT.wall, AT.now);
        StoredGroup { number, key, state, families, removal: None, bytes: 7 }
    }

    fn removed(sequence: u64, group: StoredGroup) -> StoredGroup {
        let (at, deadline) = (AT.wall, AT.now);
        let reason = RemovalReason::Deleted;
        let removal =
            Removal { sequence, at, reason, deadline, rule: None, series: 1, families: 1 };
        StoredGroup { removal: Some(removal), ..group }
    }

    /// Headers and lines, as a scrape has them.
    fn shown(state: &State) -> String {
        let mut shown = Vec::new();
        for family in state.view.snapshot(AT.now).families() {
            shown.extend_from_slice(&family.header.text);
            let mut lines: Vec<_> = family.segments().iter().map(|it| it.bytes()).collect();
            lines.sort_unstable();
            shown.extend(lines.concat());
        }
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn a_group_that_is_put_again_is_as_if_it_was_put_once() {
        let (one, other) = ("a{x=\"1\"} 1\nb 1\n", "# HELP b other\n# TYPE b gauge\nb 2\nc 3\n");
        let mut state = empty();
        for body in [other, one, other, "", other] {
            assert!(state.put(group(5, "j", body), AT).unwrap());
        }
        state.put(group(6, "k", one), AT).unwrap();
        let mut once = empty();
        once.put(group(5, "j", other), AT).unwrap();
        once.put(group(6, "k", one), AT).unwrap();
        assert_eq!(shown(&state), shown(&once));
        for state in [&state, &once] {
            assert_eq!((state.judge.index.group_count(), state.judge.index.series_count()), (2, 4));
        }
        assert_eq!(state.judge.index.next_number(), 7);
    }

    #[test]
    fn a_group_is_not_put_under_two_numbers() {
        let mut state = empty();
        state.put(group(5, "j", "a 1\n"), AT).unwrap();
        let error = state.put(group(6, "j", "a 1\n"), AT).unwrap_err();
        assert_eq!(error.to_string(), "group 6: {job=\"j\"} is stored twice");
        assert_eq!(state.judge.index.group_count(), 1);
    }

    #[test]
    fn a_group_that_is_removed_leaves_nothing() {
        let mut state = empty();
        let nothing = shown(&state);
        state.put(group(5, "j", "# HELP a one\na 1\n"), AT).unwrap();
        state.put(group(6, "k", "# HELP a other\na{y=\"z\"} 2\n"), AT).unwrap();
        // That of another number stays.
        state.remove(7, &key("k"));
        assert_eq!(state.judge.index.group_count(), 2);
        state.put(removed(90, group(6, "k", "")), AT).unwrap();
        assert!(shown(&state).contains("# HELP a one\n"), "{}", shown(&state));
        // The same again is no other.
        state.put(removed(90, group(6, "k", "")), AT).unwrap();
        assert_eq!((state.view.removed().len(), state.judge.history.iter().count()), (1, 1));
        assert_eq!(state.judge.index.next_sequence(), 91);
        state.remove(6, &key("k"));
        state.remove(5, &key("j"));
        assert_eq!((state.view.removed().len(), state.judge.history.iter().count()), (0, 0));
        assert_eq!((state.judge.index.group_count(), state.judge.index.series_count()), (0, 0));
        assert!(state.judge.index.family_of("a").is_none());
        assert_eq!(shown(&state), nothing);
    }

    #[test]
    fn names_beyond_the_legacy_charset_are_noticed() {
        for (body, is_legacy) in [
            ("a{b=\"1\"} 1\n", true),
            ("{\"a.b\"} 1\n", false),
            ("{\"a\",\"b:c\"=\"1\"} 1\n", false),
        ] {
            assert_eq!(empty().put(group(1, "j", body), AT).unwrap(), is_legacy, "{body}");
        }
    }
}
