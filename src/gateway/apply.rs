//! Judges commands against the index, in order, and stages what they change. Blocks on the store
//! only to read a group that a push changes in part.

use std::cell::OnceCell;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use prost::Message;

use super::command::{Accepted, Push, PushMode};
use super::error::{Error, Fault, Refusal};
use super::index::{FamilyId, Group, GroupState, Index, Member, NewMember};
use super::layout::{self, Chunk};
use super::options::Limits;
use super::prepare::{Prepared, PreparedFamily, encoded_labels, labels_text};
use super::segment::{GroupId, Rendered};
use super::view::Change;
use crate::exposition::text::{self, LabelBlock};
use crate::model::{
    GroupingKey, MetricType, PUSH_FAILURE_TIME_NAME, PUSH_TIME_NAME, Ttl, TtlSource,
};
use crate::store::record::{ChunkRecord, FamilyRecord, GroupRecord};
use crate::store::{Batch, ChunkRef, Frame, ReadError, Store};
use crate::time::{UnixMillis, UnixNanos};

/// At most this many groups expire in one command, so that pushes never wait long behind a mass
/// expiry.
const REAP_GROUPS_MAX: usize = 250;

/// The judge: the index, and what else a verdict depends on.
#[derive(Debug)]
pub struct Judge {
    pub index: Index,
    pub limits: Limits,
    /// Types of the families that the gateway itself exposes.
    pub self_types: HashMap<String, MetricType>,
}

/// What a batch of commands changes.
#[derive(Debug, Default)]
pub struct Stage {
    pub batch: Batch,
    pub changes: Vec<Change>,
    pub expired: Vec<Expired>,
    /// Families whose help text may have to be decided anew.
    undecided: HashSet<FamilyId>,
}

/// A group that expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    pub key: GroupingKey,
    pub deadline: UnixMillis,
    pub series: u32,
}

impl Judge {
    /// Stages a push. Returns the group's deadline.
    pub fn push(
        &mut self,
        store: &Store,
        stage: &mut Stage,
        push: Push,
        at: Accepted,
    ) -> Result<UnixMillis, Error> {
        let Push { key, mode, block, ttl, policy_ttl, families, lenient, times } = push;
        let mut found = self.find_alive(stage, &key, at);
        let Prepared { mut families, mut left_out } = match families {
            Ok(prepared) => prepared,
            Err(refusal) => {
                if refusal.marks_the_group() {
                    self.mark_failed(store, stage, found, &key, &block, policy_ttl, at)?;
                }
                return Err(refusal.into());
            }
        };
        let mut verdict = self.check(store, stage, found, &key, mode, &families);
        // What is in the way may have expired without having been reaped: then it is in no way.
        if matches!(&verdict, Err(Error::Refused(refusal)) if refusal.is_conflict())
            && self.index.due(at.now).next().is_some()
        {
            self.expire(stage, at, usize::MAX);
            found = self.index.find(&key);
            verdict = self.check(store, stage, found, &key, mode, &families);
        }
        match verdict {
            Ok(()) => {}
            Err(Error::Refused(refusal)) if lenient && refusal.marks_the_group() => {
                left_out.get_or_insert(refusal);
                families = self.consistent(store, stage, found, &key, mode, families)?;
            }
            Err(Error::Refused(refusal)) => {
                if refusal.marks_the_group() {
                    self.mark_failed(store, stage, found, &key, &block, policy_ttl, at)?;
                }
                return Err(refusal.into());
            }
            Err(fault) => return Err(fault),
        }

        // The last thing that can fail. From here on everything is changed or nothing.
        let plan = self.plan(store, stage, found, mode, &families)?;
        let (ttl, ttl_source) = ttl.map_or(policy_ttl, |ttl| (ttl, TtlSource::Push));
        let before = found.and_then(|id| self.index.group(id)).map(|group| group.state);
        let mut failed = before.and_then(|before| before.failed);
        if let Some(reason) = left_out {
            tracing::error!(group = %key, %reason, "a push was accepted in part: families that contradict what is there were left out");
            failed = Some(at.wall);
        }
        let state = GroupState {
            created: before.map_or(at.wall, |before| before.created),
            pushed: Some(at.wall),
            failed,
            renewed: at.now,
            ttl,
            ttl_source,
            pushes: before.map_or(0, |before| before.pushes) + 1,
        };
        let state = match &times {
            Some(times) => GroupState {
                created: times.created,
                pushed: times.pushed,
                failed: times.failed,
                ..state
            },
            None => state,
        };
        let id = match found {
            Some(id) => {
                self.index.set_state(id, state);
                id
            }
            None => self.index.insert(key, state, None),
        };
        let stored = |family: &str| {
            let stored = times.as_ref().and_then(|times| times.stored.get(family));
            stored.copied().unwrap_or(at.wall)
        };
        let lines = self.set_families(stage, id, plan, families, stored);
        self.publish_group(stage, id, &block, lines);
        Ok(state.deadline())
    }

    /// Stages the removal of a group.
    pub fn delete(&mut self, stage: &mut Stage, key: &GroupingKey, at: Accepted) {
        if let Some(id) = self.find_alive(stage, key, at) {
            self.remove(stage, &[id]);
        }
    }

    /// Stages the removal of all groups. Returns how many there were.
    pub fn wipe(&mut self, stage: &mut Stage) -> usize {
        let count = self.index.group_count();
        stage.batch.wipe();
        self.index.clear();
        stage.undecided.clear();
        stage.changes.push(Change::Cleared);
        count
    }

    /// Stages the removal of groups that have expired, a bounded number of them.
    pub fn reap(&mut self, stage: &mut Stage, at: Accepted) {
        self.expire(stage, at, REAP_GROUPS_MAX);
    }

    /// Stages what a batch as a whole brings about. Comes last.
    pub fn finish(&mut self, stage: &mut Stage) {
        self.index.settle_deadlines();
        for family in std::mem::take(&mut stage.undecided) {
            if self.index.decide_help(family) {
                self.publish_header(stage, family);
            }
        }
    }

    /// The group of a key, unless it has expired, in which case it is gone then.
    fn find_alive(
        &mut self,
        stage: &mut Stage,
        key: &GroupingKey,
        at: Accepted,
    ) -> Option<GroupId> {
        let id = self.index.find(key)?;
        let expired = self.index.group(id).is_some_and(|g| g.state.deadline() <= at.now);
        if expired {
            self.expire_groups(stage, &[id]);
        }
        (!expired).then_some(id)
    }

    fn expire(&mut self, stage: &mut Stage, at: Accepted, max: usize) {
        let due: Vec<_> = self.index.due(at.now).take(max).collect();
        self.expire_groups(stage, &due);
    }

    fn expire_groups(&mut self, stage: &mut Stage, ids: &[GroupId]) {
        let expired = ids.iter().filter_map(|id| self.index.group(*id)).map(|group| Expired {
            key: group.key.clone(),
            deadline: group.state.deadline(),
            series: group.series,
        });
        stage.expired.extend(expired);
        self.remove(stage, ids);
    }

    fn remove(&mut self, stage: &mut Stage, ids: &[GroupId]) {
        let mut groups = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(removed) = self.index.remove(*id) else { continue };
            let group = &removed.group;
            for chunk in group.head.iter().chain(&group.chunks) {
                stage.batch.remove(group.chunk_key(chunk.number), *chunk);
            }
            stage.undecided.extend(&removed.families);
            groups.push((*id, removed.families));
        }
        if !groups.is_empty() {
            stage.changes.push(Change::GroupsRemoved { groups });
        }
    }

    fn check(
        &self,
        store: &Store,
        stage: &Stage,
        found: Option<GroupId>,
        key: &GroupingKey,
        mode: PushMode,
        families: &[PreparedFamily],
    ) -> Result<(), Error> {
        let push = self.checked(found, mode, families, OnceCell::new());
        if push.group.is_none() {
            push.check_no_sibling(key)?;
        }
        push.check_limits(&self.limits)?;
        for family in families.iter().filter(|family| family.record.series > 0) {
            push.check_family(store, &stage.batch, key, family)?;
        }
        Ok(())
    }

    fn checked<'a>(
        &'a self,
        found: Option<GroupId>,
        mode: PushMode,
        families: &'a [PreparedFamily],
        by_name: OnceCell<HashMap<&'a str, MetricType>>,
    ) -> Checked<'a> {
        let group = found.and_then(|id| self.index.group(id));
        Checked { index: &self.index, self_types: &self.self_types, group, mode, families, by_name }
    }

    /// The families of a push that contradict neither what is stored nor those before them.
    fn consistent(
        &self,
        store: &Store,
        stage: &Stage,
        found: Option<GroupId>,
        key: &GroupingKey,
        mode: PushMode,
        families: Vec<PreparedFamily>,
    ) -> Result<Vec<PreparedFamily>, Error> {
        // The stamps of the group itself cannot be left out.
        if found.is_none() {
            self.checked(found, mode, &families, OnceCell::new()).check_no_sibling(key)?;
        }
        let mut by_name = HashMap::new();
        let mut verdicts = Vec::with_capacity(families.len());
        for family in &families {
            let name = family.record.name.as_str();
            if family.record.series == 0 {
                verdicts.push(true);
                continue;
            }
            by_name.insert(name, family.kind);
            let push = self.checked(found, mode, &families, OnceCell::from(by_name));
            let verdict = push.check_family(store, &stage.batch, key, family);
            by_name = push.by_name.into_inner().unwrap_or_default();
            match verdict {
                Ok(()) => verdicts.push(true),
                Err(Error::Refused(_)) => {
                    by_name.remove(name);
                    verdicts.push(false);
                }
                Err(fault) => return Err(fault),
            }
        }
        drop(by_name);
        let kept = families.into_iter().zip(verdicts).filter(|(_, consistent)| *consistent);
        Ok(kept.map(|(family, _)| family).collect())
    }

    /// Records a refused push: the failure time, and the group if there is none yet.
    #[expect(clippy::too_many_arguments, reason = "all of the push but its families")]
    fn mark_failed(
        &mut self,
        store: &Store,
        stage: &mut Stage,
        found: Option<GroupId>,
        key: &GroupingKey,
        block: &LabelBlock,
        (ttl, ttl_source): (Ttl, TtlSource),
        at: Accepted,
    ) -> Result<(), Fault> {
        let (id, families) = if let Some((id, group)) = self.existing(found) {
            let families = head_families(store, &stage.batch, group)?;
            let state = GroupState { failed: Some(at.wall), ..group.state };
            self.index.set_state(id, state);
            (id, families)
        } else {
            // The stamps of a new group must not collide with those of another, nor break a limit.
            // What has expired is in no way of it, reaped or not.
            let sibling = key.sibling().and_then(|other| self.find_alive(stage, &other, at));
            let is_full = |judge: &Self| judge.index.group_count() as u64 >= judge.limits.groups;
            if is_full(self) {
                self.expire(stage, at, usize::MAX);
            }
            if sibling.is_some() || is_full(self) {
                return Ok(());
            }
            let state = GroupState {
                created: at.wall,
                pushed: None,
                failed: Some(at.wall),
                renewed: at.now,
                ttl,
                ttl_source,
                pushes: 0,
            };
            (self.index.insert(key.clone(), state, None), Vec::new())
        };
        self.write_head(stage, id, families);
        self.publish_group(stage, id, block, Vec::new());
        Ok(())
    }

    fn existing(&self, found: Option<GroupId>) -> Option<(GroupId, &Group)> {
        found.and_then(|id| Some((id, self.index.group(id)?)))
    }

    /// What of the group stays beside the families of a push, and what of it has to be read.
    fn plan(
        &self,
        store: &Store,
        stage: &Stage,
        found: Option<GroupId>,
        mode: PushMode,
        families: &[PreparedFamily],
    ) -> Result<Plan, Fault> {
        let Some((_, group)) = self.existing(found) else { return Ok(Plan::default()) };
        let place = |family: &PreparedFamily| {
            let (id, _) = self.index.family_of(&family.record.name)?;
            Some((id, group.member(id)?.chunk))
        };
        let places: Vec<_> = families.iter().map(place).collect();
        let pushed: HashSet<_> = places.iter().flatten().map(|place| place.0).collect();
        if mode == PushMode::Replace || pushed.len() == group.members.len() {
            let leaving = group.members.iter().map(|member| member.family);
            let leaving = leaving.filter(|family| !pushed.contains(family)).collect();
            return Ok(Plan { leaving, ..Plan::default() });
        }
        // New families go where there is room, to the end.
        let end = group.chunks.last().map_or(0, |chunk| chunk.number);
        let chunks: Vec<_> =
            places.iter().map(|place| place.map_or(end, |(_, chunk)| chunk)).collect();
        let mut kept = HashMap::new();
        for chunk in &chunks {
            if !kept.contains_key(chunk) {
                kept.insert(*chunk, read_families(store, &stage.batch, group, *chunk)?);
            }
        }
        if group.chunks.is_empty() && kept.is_empty() {
            kept.insert(0, head_families(store, &stage.batch, group)?);
        }
        Ok(Plan { leaving: Vec::new(), update: Some(PlannedUpdate { kept, chunks }) })
    }

    /// Stages the families of a push in index, view and store. Returns their lines.
    fn set_families(
        &mut self,
        stage: &mut Stage,
        id: GroupId,
        plan: Plan,
        families: Vec<PreparedFamily>,
        stored: impl Fn(&str) -> UnixNanos,
    ) -> Vec<(FamilyId, Rendered)> {
        let sequence = self.index.next_sequence();
        self.index.reserve_members(id, families.len());
        let mut lines = Vec::with_capacity(families.len());
        let mut records = Vec::with_capacity(families.len());
        for family in families {
            let PreparedFamily { kind, mut record, rendered } = family;
            record.sequence = sequence;
            record.stored_ns = stored(&record.name).0;
            let (member, changed) = self.index.set_member(
                id,
                &NewMember {
                    name: &record.name,
                    kind,
                    help: record.help.as_deref(),
                    sequence,
                    series: record.series,
                    extras: &rendered.extras,
                },
            );
            if changed {
                self.publish_header(stage, member);
            }
            lines.push((member, rendered.lines));
            records.push(record);
        }
        for family in plan.leaving {
            self.index.remove_member(id, family);
            stage.undecided.insert(family);
            stage.changes.push(Change::MemberRemoved { id, family });
        }
        match plan.update {
            None => self.write_whole(stage, id, records),
            Some(update) => self.write_update(stage, id, update, records),
        }
        lines
    }

    /// Stages a group whose families are these and no others.
    fn write_whole(&mut self, stage: &mut Stage, id: GroupId, records: Vec<FamilyRecord>) {
        let chunks = layout::whole(records);
        if let Some(group) = self.index.group_mut(id) {
            let stored_id = group.stored_id;
            let key = |chunk| crate::store::ChunkKey { group: stored_id, chunk };
            group.chunks.retain(|old| {
                let stays = chunks.iter().any(|chunk| chunk.number == old.number);
                if !stays {
                    stage.batch.remove(key(old.number), *old);
                }
                stays
            });
        }
        self.write_chunks(stage, id, chunks);
    }

    /// Stages the chunks of a group that a push of some of its families changes.
    fn write_update(
        &mut self,
        stage: &mut Stage,
        id: GroupId,
        update: PlannedUpdate,
        records: Vec<FamilyRecord>,
    ) {
        let PlannedUpdate { mut kept, chunks } = update;
        {
            let names = records.iter().map(|record| record.name.as_str());
            let pushed: HashSet<&str> = names.collect();
            for families in kept.values_mut() {
                families.retain(|family| !pushed.contains(family.name.as_str()));
            }
        }
        for (record, chunk) in records.into_iter().zip(chunks) {
            kept.entry(chunk).or_default().push(record);
        }
        if let Some(head) = kept.remove(&0) {
            self.write_whole(stage, id, head);
            return;
        }
        let last = self.index.group(id).and_then(|group| group.chunks.last());
        let mut free = last.map_or(1, |chunk| chunk.number + 1)..;
        let changed = kept
            .into_iter()
            .flat_map(|(chunk, families)| layout::changed(chunk, families, &mut free));
        let mut changed: Vec<_> = changed.collect();
        changed.push(Chunk { number: 0, families: Vec::new() });
        self.write_chunks(stage, id, changed);
    }

    /// Stages chunks, and the head that vouches for them, which must be among them.
    fn write_chunks(&mut self, stage: &mut Stage, id: GroupId, chunks: Vec<Chunk>) {
        let mut head = Vec::new();
        for Chunk { number, families } in chunks {
            if number == 0 {
                // Where the index has all families of a push already.
                head = families;
                continue;
            }
            for family in &families {
                self.index.set_chunk(id, &family.name, number);
            }
            let Some(group) = self.index.group_mut(id) else { continue };
            let key = group.chunk_key(number);
            let frame = Frame::new(key, &ChunkRecord { families });
            let new = frame.to_ref(number);
            let place = group.chunks.binary_search_by_key(&number, |chunk| chunk.number);
            let before = match place {
                Ok(at) => group.chunks.get_mut(at).map(|old| std::mem::replace(old, new)),
                Err(at) => {
                    group.chunks.insert(at, new);
                    None
                }
            };
            stage.batch.put(key, frame, before);
        }
        self.write_head(stage, id, head);
    }

    fn write_head(&mut self, stage: &mut Stage, id: GroupId, families: Vec<FamilyRecord>) {
        let Some(group) = self.index.group_mut(id) else { return };
        let record = group_record(group, families);
        let key = group.chunk_key(0);
        let frame = Frame::new(key, &record);
        let before = group.head.replace(frame.to_ref(0));
        stage.batch.put(key, frame, before);
    }

    fn publish_group(
        &self,
        stage: &mut Stage,
        id: GroupId,
        block: &LabelBlock,
        lines: Vec<(FamilyId, Rendered)>,
    ) {
        let Some(group) = self.index.group(id) else { return };
        let stamps = stamp_lines(&group.state, block);
        let (stored_id, state, series) = (group.stored_id, group.state, group.series);
        let change = Change::Group { id, stored_id, state, series, stamps, lines };
        stage.changes.push(change);
    }

    fn publish_header(&mut self, stage: &mut Stage, id: FamilyId) {
        let help_changed = self.index.take_help_change(id);
        if let Some(family) = self.index.family(id) {
            if help_changed {
                let help = family.help().map_or("", AsRef::as_ref);
                tracing::info!(
                    family = %family.name,
                    help,
                    "groups have different help texts; that of the latest push is shown"
                );
            }
            stage.changes.push(header_change(id, family));
        }
    }
}

/// What of a group a push leaves, and where its own families go.
#[derive(Debug, Default)]
struct Plan {
    /// Families that the group no longer has.
    leaving: Vec<FamilyId>,
    /// `None`: the push brings all families that the group then has.
    update: Option<PlannedUpdate>,
}

#[derive(Debug)]
struct PlannedUpdate {
    /// The chunks that change, as they are.
    kept: HashMap<u32, Vec<FamilyRecord>>,
    /// The chunk of each family of the push.
    chunks: Vec<u32>,
}

/// The change that publishes a family's header.
pub fn header_change(id: FamilyId, family: &super::index::Family) -> Change {
    Change::Header {
        family: id,
        name: Arc::clone(&family.name),
        kind: family.kind,
        help: family.help().cloned(),
        help_giver: family.help_giver(),
    }
}

/// The lines that say when a group was pushed, and when a push to it failed.
pub fn stamp_lines(state: &GroupState, block: &LabelBlock) -> [Bytes; 2] {
    let line = |name, time: Option<UnixNanos>| {
        let mut line = Vec::with_capacity(96);
        text::gauge_line(&mut line, name, time.map_or(0.0, UnixNanos::as_secs_f64), block);
        line.into()
    };
    [line(PUSH_TIME_NAME, state.pushed), line(PUSH_FAILURE_TIME_NAME, state.failed)]
}

fn group_record(group: &Group, families: Vec<FamilyRecord>) -> GroupRecord {
    let state = &group.state;
    GroupRecord {
        key: Bytes::copy_from_slice(group.key.as_bytes()),
        created_ns: state.created.0,
        pushed_ns: state.pushed.map(|time| time.0),
        failed_ns: state.failed.map(|time| time.0),
        renewed_ms: state.renewed.0,
        ttl_ms: match state.ttl {
            Ttl::After(duration) => Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
            Ttl::Never => None,
        },
        ttl_source: match state.ttl_source {
            TtlSource::Push => 0,
            TtlSource::Rule => 1,
            TtlSource::Default => 2,
        },
        pushes: state.pushes,
        chunk_count: u32::try_from(group.chunks.len()).unwrap_or(u32::MAX),
        chunk_sum: chunk_sum(&group.chunks),
        families,
    }
}

/// What a head says of its chunks' checksums.
pub fn chunk_sum(chunks: &[ChunkRef]) -> u64 {
    chunks.iter().map(|chunk| u64::from(chunk.checksum)).sum()
}

/// The families in a group's head, as the staged batch leaves it.
fn head_families(
    store: &Store,
    batch: &Batch,
    group: &Group,
) -> Result<Vec<FamilyRecord>, ReadError> {
    if group.chunks.is_empty() && !group.members.is_empty() {
        read_families(store, batch, group, 0)
    } else {
        Ok(Vec::new())
    }
}

/// The families in a chunk of a group, as the staged batch leaves it.
fn read_families(
    store: &Store,
    batch: &Batch,
    group: &Group,
    chunk: u32,
) -> Result<Vec<FamilyRecord>, ReadError> {
    let damaged = |what: String| ReadError::Damaged { id: group.stored_id, chunk, what };
    let frame = store.read(batch, group.chunk_key(chunk))?;
    let payload = frame.ok_or_else(|| damaged("it is missing".into()))?.payload();
    let families = if chunk == 0 {
        GroupRecord::decode(payload).map(|record| record.families)
    } else {
        ChunkRecord::decode(payload).map(|record| record.families)
    };
    families.map_err(|error| damaged(error.to_string()))
}

// === the consistency check ===

/// A push as the check sees it.
struct Checked<'a> {
    index: &'a Index,
    self_types: &'a HashMap<String, MetricType>,
    /// The group that is pushed to, if there is one.
    group: Option<&'a Group>,
    mode: PushMode,
    families: &'a [PreparedFamily],
    by_name: OnceCell<HashMap<&'a str, MetricType>>,
}

impl<'a> Checked<'a> {
    fn check_family(
        &self,
        store: &Store,
        batch: &Batch,
        key: &GroupingKey,
        family: &PreparedFamily,
    ) -> Result<(), Error> {
        self.check_type(family)?;
        self.check_suffixes(family)?;
        self.check_series(store, batch, key, family)
    }

    /// Two groups whose keys differ by `instance=""` only would have the same two stamps.
    fn check_no_sibling(&self, key: &GroupingKey) -> Result<(), Refusal> {
        match key.sibling().and_then(|sibling| self.index.find(&sibling)) {
            Some(_) => Err(Refusal::Duplicate {
                family: PUSH_TIME_NAME.into(),
                labels: labels_text(key, &[]),
            }),
            None => Ok(()),
        }
    }

    fn check_limits(&self, limits: &Limits) -> Result<(), Refusal> {
        let limit = |what, setting, found, limit| {
            if found > limit { Err(Refusal::Limit { what, setting, found, limit }) } else { Ok(()) }
        };
        let full = |what, setting, found, limit| {
            if found > limit { Err(Refusal::Full { what, setting, found, limit }) } else { Ok(()) }
        };
        let pushed: u64 = self.families.iter().map(|f| u64::from(f.record.series)).sum();
        limit(
            "the push has too many series",
            "limits.series-per-push",
            pushed,
            limits.series_per_push,
        )?;
        let before = self.group.map_or(0, |group| u64::from(group.series));
        let replaced = match self.mode {
            PushMode::Replace => before,
            PushMode::Update => {
                let members = self.families.iter().filter_map(|f| self.member(&f.record.name));
                members.map(|member| u64::from(member.series)).sum()
            }
        };
        let group = before - replaced + pushed;
        limit(
            "the group would have too many series",
            "limits.series-per-group",
            group,
            limits.series_per_group,
        )?;
        let series = self.index.series_count() - before + group;
        full("series", "limits.series", series, limits.series)?;
        let groups = self.index.group_count() as u64 + u64::from(self.group.is_none());
        full("groups", "limits.groups", groups, limits.groups)
    }

    /// The group's present family of this name.
    fn member(&self, name: &str) -> Option<&'a Member> {
        let (id, _) = self.index.family_of(name)?;
        self.group?.member(id)
    }

    fn is_own(&self, id: GroupId) -> bool {
        self.group.zip(self.index.group(id)).is_some_and(|(own, other)| std::ptr::eq(own, other))
    }

    /// The type of the family of this name once the push is stored, if there is one then.
    fn type_after(&self, name: &str) -> Option<MetricType> {
        let by_name = self.by_name.get_or_init(|| {
            let with_series = self.families.iter().filter(|family| family.record.series > 0);
            with_series.map(|family| (family.record.name.as_str(), family.kind)).collect()
        });
        if let Some(kind) = by_name.get(name).or_else(|| self.self_types.get(name)) {
            return Some(*kind);
        }
        if name == PUSH_TIME_NAME || name == PUSH_FAILURE_TIME_NAME {
            return Some(MetricType::Gauge);
        }
        let (id, family) = self.index.family_of(name)?;
        let leaves = self.mode == PushMode::Replace
            || self.families.iter().any(|family| family.record.name == name);
        let own = self.group.and_then(|group| group.member(id));
        let own_leaves = leaves && own.is_some_and(|member| member.series > 0);
        (family.holders > u32::from(own_leaves)).then_some(family.kind)
    }

    /// One name, one type, over all groups and the gateway's own metrics.
    fn check_type(&self, pushed: &PreparedFamily) -> Result<(), Refusal> {
        let name = &pushed.record.name;
        let refuse = |stored| Refusal::Type { family: name.clone(), pushed: pushed.kind, stored };
        if let Some(own) = self.self_types.get(name.as_str()).filter(|own| **own != pushed.kind) {
            return Err(refuse(*own));
        }
        let Some((id, family)) = self.index.family_of(name) else { return Ok(()) };
        let own = self.group.and_then(|group| group.member(id));
        let others = family.holders - u32::from(own.is_some_and(|member| member.series > 0));
        if others > 0 && family.kind != pushed.kind { Err(refuse(family.kind)) } else { Ok(()) }
    }

    /// No family has a name that another's exposition uses for its parts
    /// (`checkSuffixCollisions` of `client_golang`).
    fn check_suffixes(&self, pushed: &PreparedFamily) -> Result<(), Refusal> {
        let name = pushed.record.name.as_str();
        let collides = |name: &str, base: &str, kind| {
            Err(Refusal::Suffix { name: name.into(), base: base.into(), kind })
        };
        for suffix in ["_count", "_sum", "_bucket"] {
            let Some(base) = name.strip_suffix(suffix) else { continue };
            if let Some(kind) = self.type_after(base)
                && kind.claimed_suffixes().contains(&suffix)
            {
                return collides(name, base, kind);
            }
        }
        for suffix in pushed.kind.claimed_suffixes() {
            let part = format!("{name}{suffix}");
            if self.type_after(&part).is_some() {
                return collides(&part, name, pushed.kind);
            }
        }
        Ok(())
    }

    /// No series is in two groups. Only a series that has labels beyond its group's can be: the
    /// grouping labels of one group are then all among the labels of the other's series.
    fn check_series(
        &self,
        store: &Store,
        batch: &Batch,
        key: &GroupingKey,
        pushed: &PreparedFamily,
    ) -> Result<(), Error> {
        let rendered = &pushed.rendered;
        let name = &pushed.record.name;
        let series = pushed.record.series as usize;
        if series > rendered.extras.len() {
            for id in self.index.with_extra(rendered.plain_hash).filter(|id| !self.is_own(*id)) {
                self.refuse_if_held(store, batch, id, name, key, &[])?;
            }
        }
        for extra in &rendered.extras {
            let with_extra = self.index.with_extra(extra.hash);
            let mut others = with_extra
                .chain(self.index.with_labels(extra.labels_hash))
                .filter(|id| !self.is_own(*id))
                .peekable();
            if others.peek().is_none() {
                continue;
            }
            let metrics = pushed.record.decode_metrics().unwrap_or_default();
            let own = metrics.get(extra.metric).map_or(&[][..], |metric| metric.labels.as_slice());
            for id in others {
                self.refuse_if_held(store, batch, id, name, key, own)?;
            }
        }
        Ok(())
    }

    /// Confirms what the hashes suggest: that a group has this very series.
    fn refuse_if_held(
        &self,
        store: &Store,
        batch: &Batch,
        id: GroupId,
        name: &str,
        key: &GroupingKey,
        own: &[crate::model::Label],
    ) -> Result<(), Error> {
        let Some((family, _)) = self.index.family_of(name) else { return Ok(()) };
        let Some(group) = self.index.group(id) else { return Ok(()) };
        let Some(member) = group.member(family) else { return Ok(()) };
        let labels = encoded_labels(key, own);
        let mut held = member.has_plain() && encoded_labels(&group.key, &[]) == labels;
        if !held && !member.extras().is_empty() {
            let families = read_families(store, batch, group, member.chunk).map_err(Fault::from)?;
            let family = families.iter().find(|family| family.name == name);
            let metrics =
                family.and_then(|family| family.decode_metrics().ok()).unwrap_or_default();
            held =
                metrics.iter().any(|metric| encoded_labels(&group.key, &metric.labels) == labels);
        }
        if held {
            let labels = labels_text(key, own);
            return Err(Refusal::Duplicate { family: name.into(), labels }.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
