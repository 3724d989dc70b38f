//! Judges commands against the index, in order, and stages what they change. Blocks on the store
//! only to read a group that a push changes in part.

use std::cell::OnceCell;
use std::ops::RangeInclusive;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::check::{Checked, PushedTypes, pushed_types};
use super::command::{Accepted, Operation, Push, PushMode};
use super::error::{Error, Fault, Refusal};
use super::events::shortened;
use super::group::{GroupState, Policy};
use super::history::{Departed, Departure, History};
use super::index::{FamilyId, Group, Index, NewMember};
use super::layout::{self, Chunk};
use super::options::Limits;
use super::prepare::{Prepared, PreparedFamily};
use super::records::{group_record, tombstone};
use super::segment::{GroupId, Rendered};
use super::stamps::{self, Stamps};
use super::stored::{head_families, read_families};
use super::view::{Change, GroupView};
use crate::exposition::text::LabelBlock;
use crate::model::{GroupingKey, MetricType, TtlPolicy, TtlSource};
use crate::store::record::{ChunkRecord, FamilyRecord};
use crate::store::{Batch, ChunkKey, ChunkRef, Frame, Store, TOMBSTONE};
use crate::time::{UnixMillis, UnixNanos};

/// At most this many groups are removed in one command, so that pushes never wait long behind a mass
/// expiry.
const REMOVED_GROUPS_MAX: usize = 250;
/// And no further ones once they have this many series: some 30 ms.
const REMOVED_SERIES_MAX: u64 = 100_000;
/// So many groups may be deleted all at once. Fewer are deleted one by one even if few others stay, more
/// in turns, between which other pushes get in.
const BULK_GROUPS: RangeInclusive<usize> = 1000..=100_000;
/// At most so many rules are asked in one command, over all groups: some milliseconds.
const RULES_ASKED_MAX: usize = 50_000;
/// With so many series at most, of those that stay and those that go.
const BULK_SERIES_MAX: u64 = 1_000_000;
/// Of a text that a client has chosen, so much is logged.
const LOGGED_CHARS_MAX: usize = 200;

/// The judge: the index, and what else a verdict depends on.
#[derive(Debug)]
pub struct Judge {
    pub index: Index,
    pub policy: Policy,
    pub history: History,
    pub limits: Limits,
    pub stamps: Stamps,
    /// Types of the families that the gateway itself exposes.
    pub self_types: HashMap<String, MetricType>,
}

/// What becomes of a push.
#[derive(Debug)]
pub enum Verdict {
    /// With the group's deadline.
    Done(Result<UnixMillis, Error>),
    /// It is to be judged again: what is in its way may have expired, and there is more of that than is
    /// removed in one go.
    Later(Box<Push>),
}

/// What a batch of commands changes.
#[derive(Debug, Default)]
pub struct Stage {
    pub batch: Batch,
    pub changes: Vec<Change>,
    /// Groups that are gone, whether or not they are kept.
    pub departed: Vec<Arc<Departed>>,
    /// Families whose help text may have to be decided anew.
    undecided: HashSet<FamilyId>,
}

impl Judge {
    /// Stages a push.
    pub fn push(
        &mut self,
        store: &Store,
        stage: &mut Stage,
        mut push: Box<Push>,
        at: Accepted,
    ) -> Verdict {
        if push.waited && self.has_more_expired(stage, at) {
            return Verdict::Later(push);
        }
        // What is in the way may have expired without having been reaped: then it is in no way.
        if !push.waited
            && self.index.due(at.now).next().is_some()
            && self.is_in_conflict(store, stage, &push, at)
        {
            push.waited = true;
            if self.has_more_expired(stage, at) {
                return Verdict::Later(push);
            }
        }
        Verdict::Done(self.judge(store, stage, *push, at))
    }

    fn is_in_conflict(
        &mut self,
        store: &Store,
        stage: &mut Stage,
        push: &Push,
        at: Accepted,
    ) -> bool {
        let Ok(prepared) = &push.families else { return false };
        let found = self.find_alive(stage, &push.key, at);
        let verdict = self.check(store, stage, found, &push.key, push.mode, &prepared.families);
        matches!(verdict, Err(Error::Refused(refusal)) if refusal.is_conflict())
    }

    /// Removes some of what has expired. Returns whether there is more.
    fn has_more_expired(&mut self, stage: &mut Stage, at: Accepted) -> bool {
        self.expire(stage, at);
        self.index.due(at.now).next().is_some()
    }

    fn judge(
        &mut self,
        store: &Store,
        stage: &mut Stage,
        push: Push,
        at: Accepted,
    ) -> Result<UnixMillis, Error> {
        let Push { key, mode, block, asked, policy, rule, families, lenient, times, .. } = push;
        let rule = if Arc::ptr_eq(&policy, &self.policy.ttl) {
            rule
        } else {
            self.policy.ttl.rule_of(&key)
        };
        let found = self.find_alive(stage, &key, at);
        // What is imported or brought back and refused leaves nothing behind.
        let is_push = times.is_none();
        let Prepared { mut families, mut left_out } = match families {
            Ok(prepared) => prepared,
            Err(refusal) => {
                if is_push {
                    self.mark_failed(store, stage, found, &key, &block, rule, &refusal, at)?;
                }
                return Err(refusal.into());
            }
        };
        // What was brought back in the meantime, by a push, stays as it is.
        if found.is_some() && times.as_ref().is_some_and(|times| times.departed.is_some()) {
            return Err(Refusal::Exists.into());
        }
        let verdict = self.check(store, stage, found, &key, mode, &families);
        match verdict {
            Ok(()) => {}
            Err(Error::Refused(refusal)) if lenient && refusal.marks_the_group() => {
                left_out.get_or_insert(refusal);
                families = self.consistent(store, stage, found, &key, mode, families)?;
            }
            Err(Error::Refused(refusal)) => {
                if is_push {
                    self.mark_failed(store, stage, found, &key, &block, rule, &refusal, at)?;
                }
                return Err(refusal.into());
            }
            Err(fault) => return Err(fault),
        }

        // The last thing that can fail. From here on everything is changed or nothing.
        let plan = self.plan(store, stage, found, mode, &families)?;
        let before = found.and_then(|id| self.index.group(id)).map(|group| &*group.state);
        let mut state = match before {
            Some(before) => before.clone(),
            None => GroupState::new(at.wall, at.now),
        };
        if let Some(reason) = left_out {
            tracing::error!(group = %key, %reason, "a push was accepted in part: families that contradict what is there were left out");
            state.failed = Some(at.wall);
            state.failure = Some(failure(&reason));
        }
        state.pushed = Some(at.wall);
        state.renewed = at.now;
        state.rhythm.pushed(at.now);
        state.asked = asked;
        state.pushes += 1;
        if let Some(times) = &times {
            if let Some(departed) = &times.departed {
                state = GroupState { renewed: at.now, ..(*departed.state).clone() };
            }
            state.created = times.created;
            state.pushed = times.pushed;
            state.failed = times.failed;
        }
        self.policy.decide(rule, &mut state);
        let deadline = state.deadline;
        let state = Arc::new(state);
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
        self.publish_group(stage, id, &block, lines, at);
        if let Some(departed) = times.and_then(|times| times.departed)
            && let Some(departed) = self.history.take(departed.sequence)
        {
            bury(stage, &departed);
        }
        Ok(deadline)
    }

    /// Stages the removal of a group.
    pub fn delete(&mut self, stage: &mut Stage, key: &GroupingKey, at: Accepted) {
        if let Some(id) = self.find_alive(stage, key, at) {
            self.remove(stage, &[id], Departure::Deleted, at, 0);
        }
    }

    /// Stages a change of groups. Returns which of them it changed.
    pub fn change(
        &mut self,
        store: &Store,
        stage: &mut Stage,
        keys: Vec<GroupingKey>,
        operation: Operation,
        at: Accepted,
    ) -> Result<Vec<GroupingKey>, Fault> {
        let mut changed = Vec::with_capacity(keys.len());
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(id) = self.find_alive(stage, &key, at) else { continue };
            if let Operation::Delete { pushed_before: Some(before) } = operation
                && self.index.group(id).and_then(|group| group.state.pushed) >= Some(before)
            {
                continue;
            }
            found.push(id);
            changed.push(key);
        }
        match operation {
            Operation::Delete { .. } => self.delete_all(store, stage, &found, at),
            Operation::Touch => {
                for id in found {
                    self.set_state(store, stage, id, at, |state| state.renewed = at.now)?;
                }
            }
            Operation::Override(ttl) => {
                for id in found {
                    self.set_state(store, stage, id, at, |state| state.overridden = ttl)?;
                }
            }
        }
        Ok(changed)
    }

    fn delete_all(&mut self, store: &Store, stage: &mut Stage, ids: &[GroupId], at: Accepted) {
        self.remove(stage, ids, Departure::Deleted, at, 0);
        if !is_bulk(ids.len(), self.index.group_count(), self.index.series_count()) {
            return;
        }
        // What stays is little beside what goes: it is written anew, and the rest goes all at once.
        let mut stays = Vec::new();
        for (_, group) in self.index.groups() {
            let chunks = group.head.iter().chain(&group.chunks);
            stays.extend(chunks.map(|chunk| group.chunk_key(chunk.number)));
        }
        for departed in self.history.iter() {
            let key =
                |chunk: &ChunkRef| ChunkKey { group: departed.stored_id, chunk: chunk.number };
            stays.extend(departed.chunks.iter().map(key));
        }
        let frame = |key| Some((key, store.read(&stage.batch, key).transpose()?));
        let frames = stays.into_iter().filter_map(frame);
        let frames = frames.map(|(key, frame)| frame.map(|frame| (key, frame)));
        let frames = match frames.collect::<Result<Vec<_>, _>>() {
            Ok(frames) => frames,
            Err(error) => {
                tracing::warn!(%error, "groups are deleted one by one");
                return;
            }
        };
        stage.batch.wipe();
        for (key, frame) in frames {
            stage.batch.put(key, frame, None);
        }
    }

    /// Stages another state of a group that keeps its families.
    fn set_state(
        &mut self,
        store: &Store,
        stage: &mut Stage,
        id: GroupId,
        at: Accepted,
        change: impl FnOnce(&mut GroupState),
    ) -> Result<(), Fault> {
        let Some(group) = self.index.group(id) else { return Ok(()) };
        let families = head_families(store, &stage.batch, group)?;
        let mut state = (*group.state).clone();
        change(&mut state);
        self.policy.decide_for(&group.key, &mut state);
        self.publish_state(stage, id, Arc::new(state), at);
        self.write_head(stage, id, families);
        Ok(())
    }

    /// Decides by this policy from now on, also on the groups that are there. Nothing is stored of
    /// that: the next start decides anew, by the new policy. So what has expired by the old one is
    /// removed before.
    ///
    /// `from`: where it goes on among the groups, 0 at first. Returns where, if this has to be called
    /// again: only a bounded number of groups is removed in one go, and of rules asked.
    pub fn set_policy(
        &mut self,
        stage: &mut Stage,
        policy: &Arc<TtlPolicy>,
        from: usize,
        at: Accepted,
    ) -> Option<usize> {
        if self.has_more_expired(stage, at) {
            return Some(from);
        }
        self.policy.ttl = Arc::clone(policy);
        let next = from + (RULES_ASKED_MAX / (policy.rules.len() + 1)).max(1);
        let mut changed = Vec::new();
        for (id, group) in self.index.groups_in(from..next) {
            if matches!(group.state.ttl_source, TtlSource::Rule | TtlSource::Default) {
                let mut state = (*group.state).clone();
                self.policy.decide_for(&group.key, &mut state);
                if state != *group.state {
                    changed.push((id, Arc::new(state)));
                }
            }
        }
        for (id, state) in changed {
            self.publish_state(stage, id, state, at);
        }
        (next < self.index.group_ids_end()).then_some(next)
    }

    /// Gives a group another state in index and view.
    fn publish_state(
        &mut self,
        stage: &mut Stage,
        id: GroupId,
        state: Arc<GroupState>,
        at: Accepted,
    ) {
        self.index.set_state(id, Arc::clone(&state));
        let Some(group) = self.index.group(id).filter(|_| self.stamps.expose_deadline) else {
            stage.changes.push(Change::State { id, state, expiry: None });
            return;
        };
        let expiry = Some(stamps::expiry(&state, &LabelBlock::of_group(&group.key), at));
        stage.changes.push(Change::State { id, state, expiry });
    }

    /// Stages the removal of all groups. Returns how many there were.
    pub fn wipe(&mut self, stage: &mut Stage) -> usize {
        let count = self.index.group_count();
        stage.batch.wipe();
        self.index.clear();
        self.history.clear();
        stage.undecided.clear();
        stage.changes.push(Change::Cleared);
        count
    }

    /// Stages the removal of groups that have expired, a bounded number of them.
    pub fn reap(&mut self, stage: &mut Stage, at: Accepted) {
        self.expire(stage, at);
        // Of what was there at the start there may be too much for the settings of now.
        self.trim_history(stage);
    }

    /// Stages what a batch as a whole brings about. Comes last.
    pub fn finish(&mut self, stage: &mut Stage) {
        self.index.settle_deadlines();
        for family in self.index.decide_helps(std::mem::take(&mut stage.undecided)) {
            self.publish_header(stage, family);
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
        self.alive(stage, id, at)
    }

    /// The group, unless it has expired, in which case it is gone then.
    fn alive(&mut self, stage: &mut Stage, id: GroupId, at: Accepted) -> Option<GroupId> {
        let expired = self.index.group(id).is_some_and(|group| group.deadline <= at.now);
        if expired {
            self.remove(stage, &[id], Departure::Expired, at, 0);
        }
        (!expired).then_some(id)
    }

    /// A bounded number of groups, so that others get in between.
    fn expire(&mut self, stage: &mut Stage, at: Accepted) {
        let seen = REMOVED_GROUPS_MAX.saturating_add(self.history.groups_max());
        let mut due: Vec<_> = self.index.due(at.now).take(seen).collect();
        let series = |id: &GroupId| self.index.group(*id).map_or(0, |group| group.series);
        let now = removed_at_once(due.iter().map(series));
        let following = due.len() - now;
        due.truncate(now);
        self.remove(stage, &due, Departure::Expired, at, following);
    }

    /// Stages the removal of groups. `following`: so many are sure to go after them, so that what
    /// those would push out of the history need not be put there.
    fn remove(
        &mut self,
        stage: &mut Stage,
        ids: &[GroupId],
        why: Departure,
        at: Accepted,
        following: usize,
    ) {
        let mut groups = Vec::with_capacity(ids.len());
        for (id, later) in ids.iter().zip((following..following + ids.len()).rev()) {
            let Some(removed) = self.index.remove(*id) else { continue };
            let mut group = removed.group;
            stage.undecided.extend(&removed.families);
            let by_rule = group.state.ttl_source == TtlSource::Rule;
            let rule = by_rule.then(|| self.policy.ttl.rule_of(&group.key)).flatten();
            let rule = rule.and_then(|at| self.policy.ttl.named_rule(at));
            group.chunks.extend(group.head);
            let departed = Departed {
                sequence: self.index.next_sequence(),
                key: group.key,
                why,
                at: at.wall,
                rule,
                state: group.state,
                series: group.series,
                families: u32::try_from(removed.families.len()).unwrap_or(u32::MAX),
                stored_id: group.stored_id,
                chunks: group.chunks,
            };
            self.depart(stage, departed, later < self.history.groups_max());
            groups.push((*id, removed.families));
        }
        if !groups.is_empty() {
            stage.changes.push(Change::GroupsRemoved { groups });
        }
    }

    /// Stages that a group is gone. What is stored of it stays for a while, if there is room.
    fn depart(&mut self, stage: &mut Stage, mut departed: Departed, has_room: bool) {
        if has_room && self.history.keeps(departed.bytes()) {
            let key = ChunkKey { group: departed.stored_id, chunk: TOMBSTONE };
            let frame = Frame::new(key, &tombstone(&departed));
            departed.chunks.push(frame.to_ref(TOMBSTONE));
            stage.batch.put(key, frame, None);
            let departed = Arc::new(departed);
            self.history.push(Arc::clone(&departed));
            stage.changes.push(Change::Departed(Arc::clone(&departed)));
            stage.departed.push(departed);
        } else {
            remove_chunks(stage, &departed);
            stage.departed.push(Arc::new(departed));
        }
        self.trim_history(stage);
    }

    /// Stages the removal of what is gone and beyond what is kept.
    fn trim_history(&mut self, stage: &mut Stage) {
        while let Some(oldest) = self.history.pop_excess() {
            bury(stage, &oldest);
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
        let push = self.checked(found, mode, families, pushed_types(families, true));
        if push.group.is_none() {
            push.check_no_sibling(key)?;
        }
        push.check_limits(key, &self.limits)?;
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
        pushed: PushedTypes<'a>,
    ) -> Checked<'a> {
        let group = found.and_then(|id| self.index.group(id));
        let escaped = OnceCell::new();
        let (index, self_types) = (&self.index, &self.self_types);
        Checked { index, self_types, own: found, group, mode, families, pushed, escaped }
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
        let mut push = self.checked(found, mode, &families, pushed_types(&families, false));
        // The stamps of the group itself cannot be left out.
        if found.is_none() {
            push.check_no_sibling(key)?;
        }
        let mut verdicts = Vec::with_capacity(families.len());
        for family in &families {
            let name = family.record.name.as_str();
            if family.record.series == 0 {
                verdicts.push(true);
                continue;
            }
            push.pushed.insert(name, Some(family.kind));
            match push.check_family(store, &stage.batch, key, family) {
                Ok(()) => verdicts.push(true),
                Err(Error::Refused(_)) => {
                    push.pushed.insert(name, None);
                    verdicts.push(false);
                }
                Err(fault) => return Err(fault),
            }
        }
        drop(push);
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
        rule: Option<usize>,
        refusal: &Refusal,
        at: Accepted,
    ) -> Result<(), Fault> {
        if !refusal.marks_the_group() {
            return Ok(());
        }
        let failure = Some(failure(refusal));
        let (id, families) = if let Some((id, group)) = self.existing(found) {
            let families = head_families(store, &stage.batch, group)?;
            let failed = Some(at.wall);
            let state = GroupState { failed, failure, ..(*group.state).clone() };
            self.index.set_state(id, Arc::new(state));
            (id, families)
        } else {
            // The stamps of a new group must not collide with those of another, nor break a limit.
            // What has expired is in no way of it, reaped or not.
            let sibling = self.index.sibling(key);
            let sibling = sibling.and_then(|other| self.alive(stage, other, at));
            let is_full = |judge: &Self| judge.index.group_count() as u64 >= judge.limits.groups;
            if is_full(self) {
                self.expire(stage, at);
            }
            if sibling.is_some() || is_full(self) {
                return Ok(());
            }
            let failed = Some(at.wall);
            let mut state = GroupState { failed, failure, ..GroupState::new(at.wall, at.now) };
            self.policy.decide(rule, &mut state);
            (self.index.insert(key.clone(), Arc::new(state), None), Vec::new())
        };
        self.write_head(stage, id, families);
        self.publish_group(stage, id, block, Vec::new(), at);
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
        let members: Vec<_> = families
            .iter()
            .map(|PreparedFamily { kind, native, record, rendered }| NewMember {
                name: &record.name,
                chunk: 0,
                kind: *kind,
                native: *native,
                help: record.help.as_deref(),
                sequence,
                series: record.series,
                rendered,
            })
            .collect();
        let set = self.index.set_members(id, &members);
        let mut lines = Vec::with_capacity(families.len());
        let mut records = Vec::with_capacity(families.len());
        for ((member, changed), family) in set.into_iter().zip(families) {
            let PreparedFamily { mut record, rendered, .. } = family;
            record.sequence = sequence;
            record.stored_ns = stored(&record.name).0;
            if changed {
                self.publish_header(stage, member);
            }
            lines.push((member, rendered.lines));
            records.push(record);
        }
        self.index.remove_members(id, &plan.leaving);
        for family in plan.leaving {
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
            let key = |chunk| ChunkKey { group: stored_id, chunk };
            let numbers: HashSet<_> = chunks.iter().map(|chunk| chunk.number).collect();
            group.chunks.retain(|old| {
                let stays = numbers.contains(&old.number);
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
        at: Accepted,
    ) {
        let Some(group) = self.index.group(id) else { return };
        let stamps = self.stamps.lines(&group.state, block, at);
        stage.changes.push(Change::Group { id, group: published(group), stamps, lines });
    }

    fn publish_header(&mut self, stage: &mut Stage, id: FamilyId) {
        let help_changed = self.index.take_help_change(id);
        if let Some(family) = self.index.family(id) {
            if help_changed {
                // It may be megabytes, at every push.
                let help = family.help().map_or("", AsRef::as_ref);
                let help = shortened(help, LOGGED_CHARS_MAX);
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

/// Why a push was refused, as it is kept with its group: no more than a person reads.
fn failure(refusal: &Refusal) -> Arc<str> {
    const CHARS_MAX: usize = 1000;
    shortened(&refusal.to_string(), CHARS_MAX).into()
}

/// How many groups are removed in one command, of some with so many series each.
pub fn removed_at_once(series: impl Iterator<Item = u32>) -> usize {
    let mut before = 0;
    let fits = |series: &u32| {
        let has_room = before < REMOVED_SERIES_MAX;
        before += u64::from(*series);
        has_room
    };
    series.take(REMOVED_GROUPS_MAX).take_while(fits).count()
}

/// Whether it is quicker to write what stays than to remove what goes, and done in a second or so: pushes
/// wait meanwhile.
pub fn is_bulk(go: usize, stay: usize, series: u64) -> bool {
    BULK_GROUPS.contains(&go) && stay < go / 4 && series <= BULK_SERIES_MAX
}

/// What of a group a push leaves, and where its own families go.
#[derive(Debug, Default)]
struct Plan {
    /// Families that the group no longer has, sorted.
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

/// What is published of a group beside its lines.
pub fn published(group: &Group) -> GroupView {
    let chunks = group.head.iter().chain(&group.chunks);
    GroupView {
        stored_id: group.stored_id,
        key: group.key.clone(),
        state: Arc::clone(&group.state),
        deadline: group.deadline,
        series: group.series,
        families: u32::try_from(group.members.len()).unwrap_or(u32::MAX),
        bytes: chunks.map(|chunk| u64::from(chunk.bytes)).sum(),
    }
}

/// Stages that a group cannot be brought back any more.
fn bury(stage: &mut Stage, departed: &Departed) {
    remove_chunks(stage, departed);
    stage.changes.push(Change::Buried { sequence: departed.sequence });
}

fn remove_chunks(stage: &mut Stage, departed: &Departed) {
    for chunk in &departed.chunks {
        let key = ChunkKey { group: departed.stored_id, chunk: chunk.number };
        stage.batch.remove(key, *chunk);
    }
}

/// The change that publishes a family's header.
pub fn header_change(id: FamilyId, family: &super::index::Family) -> Change {
    Change::Header {
        family: id,
        name: Arc::clone(&family.name),
        kind: family.kind,
        native: family.native,
        help: family.help().cloned(),
        help_giver: family.help_giver(),
    }
}

#[cfg(test)]
mod tests;
