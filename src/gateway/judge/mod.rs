//! Judges commands, in order, and stages what they change. A verdict follows from the state, the command
//! and the time of the command alone: what is stored is reached through [`StagedGroups`], which is a map
//! in the tests, and read only where a push changes a group in part, or may have a series of another.

mod consistency;

use std::cell::OnceCell;
use std::ops::RangeInclusive;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::exposition::text::LabelBlock;
use crate::gateway::command::{Operation, Origin, Push, PushMode};
use crate::gateway::error::{Error, Fault, Refusal};
use crate::gateway::events::shortened;
use crate::gateway::history::{History, RemovedGroup};
use crate::gateway::index::{FamilyId, Group, Index, NewMember, Removed};
use crate::gateway::options::Limits;
use crate::gateway::prepare::{Prepared, PreparedFamily};
use crate::gateway::segment::{GroupId, Rendered};
use crate::gateway::stamps::{self, Stamps};
use crate::gateway::view::{Change, GroupView};
use crate::model::{
    GroupState, GroupingKey, MetricType, Policy, RemovalReason, Ttl, TtlPolicy, TtlSource,
};
use crate::store::{FamiliesChange, Removal, StagedGroups};
use crate::time::{Moment, UnixMillis};
use consistency::{Checked, PushedTypes, pushed_types};

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

/// The outcome of a push.
#[derive(Debug)]
pub enum Verdict {
    /// With the group's deadline.
    Done(Result<UnixMillis, Error>),
    /// It is to be judged again: what is in its way may have expired, and there is more of that than is
    /// removed in one go.
    Later(Box<Push>),
}

/// The changes that a batch of commands makes.
#[derive(Debug, Default)]
pub struct Stage {
    pub changes: Vec<Change>,
    /// Groups that were removed, whether or not they can be restored.
    pub removed: Vec<Arc<RemovedGroup>>,
    /// Families whose help text may have to be decided anew.
    pub(in crate::gateway) undecided: HashSet<FamilyId>,
}

impl Judge {
    /// Stages a push.
    pub fn push(
        &mut self,
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        mut push: Box<Push>,
        at: Moment,
    ) -> Verdict {
        if push.waited && self.has_more_expired(groups, stage, at) {
            return Verdict::Later(push);
        }
        // A conflicting group may be expired but not yet reaped: expire it and check again.
        if !push.waited
            && self.index.due(at.now).next().is_some()
            && self.is_in_conflict(groups, stage, &push, at)
        {
            push.waited = true;
            if self.has_more_expired(groups, stage, at) {
                return Verdict::Later(push);
            }
        }
        Verdict::Done(self.judge(groups, stage, *push, at))
    }

    fn is_in_conflict(
        &mut self,
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        push: &Push,
        at: Moment,
    ) -> bool {
        let Ok(prepared) = &push.families else { return false };
        let found = self.find_alive(groups, stage, &push.key, at);
        let verdict = self.check(groups, found, &push.key, push.mode, &prepared.families);
        matches!(verdict, Err(Error::Refused(refusal)) if refusal.is_conflict())
    }

    /// Removes some of what has expired. Returns whether there is more.
    fn has_more_expired(
        &mut self,
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        at: Moment,
    ) -> bool {
        self.expire(groups, stage, at);
        self.index.due(at.now).next().is_some()
    }

    fn judge(
        &mut self,
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        push: Push,
        at: Moment,
    ) -> Result<UnixMillis, Error> {
        let Push { key, mode, block, asked, policy, rule, families, lenient, origin, .. } = push;
        let rule = if Arc::ptr_eq(&policy, &self.policy.ttl) {
            rule
        } else {
            self.policy.ttl.rule_of(&key)
        };
        let found = self.find_alive(groups, stage, &key, at);
        // A refused import or restore leaves nothing behind.
        let is_push = matches!(origin, Origin::Pushed);
        let Prepared { mut families, mut left_out } = match families {
            Ok(prepared) => prepared,
            Err(refusal) => {
                if is_push {
                    self.mark_failed(groups, stage, found, &key, &block, rule, &refusal, at)?;
                }
                return Err(refusal.into());
            }
        };
        // A group that was pushed again since it was removed stays as it is.
        if found.is_some() && origin.restored().is_some() {
            return Err(Refusal::Exists.into());
        }
        let verdict = self.check(groups, found, &key, mode, &families);
        match verdict {
            Ok(()) => {}
            Err(Error::Refused(refusal)) if lenient && refusal.marks_the_group() => {
                left_out.get_or_insert(refusal);
                families = self.consistent(groups, found, &key, mode, families)?;
            }
            Err(Error::Refused(refusal)) => {
                if is_push {
                    self.mark_failed(groups, stage, found, &key, &block, rule, &refusal, at)?;
                }
                return Err(refusal.into());
            }
            Err(fault) => return Err(fault),
        }
        let state = self.pushed_state(found, rule, asked, &origin, left_out.as_ref(), at);
        let sequence = self.index.next_sequence();
        for family in &mut families {
            let stored = origin.times().and_then(|times| times.stored.get(family.stored.name()));
            let stored = stored.copied().unwrap_or(at.wall);
            family.stored.set_pushed(stored, sequence);
        }
        let plan = self.plan(found, mode, &families);
        let number = self.existing(found).map(|(_, group)| group.number);
        let number = number.unwrap_or_else(|| self.index.next_number());
        let stored = families.iter().map(|family| &family.stored).collect();
        let change = if plan.keeps_others {
            FamiliesChange::Update(stored)
        } else {
            FamiliesChange::Replace(stored)
        };
        // The last thing that can fail. From here on everything is changed or nothing.
        let bytes = groups.put(number, &key, &state, change).map_err(Fault::from)?;
        if let Some(reason) = left_out {
            tracing::error!(group = %key, %reason, "a push was accepted in part: families that contradict stored groups were left out");
        }
        let deadline = state.deadline;
        let state = Arc::new(state);
        let id = match found {
            Some(id) => {
                self.index.set_state(id, state);
                id
            }
            None => self.index.insert(key, state, number),
        };
        self.set_bytes(id, bytes);
        let lines = self.set_families(stage, id, &plan.leaving, families);
        self.publish_group(stage, id, &block, lines, at);
        if let Some(removed) = origin.restored()
            && let Some(removed) = self.history.take(removed.sequence)
        {
            purge(groups, stage, &removed);
        }
        Ok(deadline)
    }

    /// The state of a group after a push.
    fn pushed_state(
        &self,
        found: Option<GroupId>,
        rule: Option<usize>,
        asked: Option<Ttl>,
        origin: &Origin,
        left_out: Option<&Refusal>,
        at: Moment,
    ) -> GroupState {
        let mut state = match self.existing(found) {
            Some((_, group)) => (*group.state).clone(),
            None => GroupState::new(at.wall, at.now),
        };
        if let Some(reason) = left_out {
            state.failed = Some(at.wall);
            state.failure = Some(failure(reason));
        }
        state.pushed = Some(at.wall);
        state.renewed = at.now;
        state.rhythm.pushed(at.now);
        state.asked = asked;
        state.pushes += 1;
        if let Some(removed) = origin.restored() {
            state = GroupState { renewed: at.now, ..(*removed.state).clone() };
        }
        if let Some(times) = origin.times() {
            state.created = times.created;
            state.pushed = times.pushed;
            state.failed = times.failed;
        }
        self.policy.decide(rule, &mut state);
        state
    }

    /// Stages the removal of a group.
    pub fn delete(
        &mut self,
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        key: &GroupingKey,
        at: Moment,
    ) {
        if let Some(id) = self.find_alive(groups, stage, key, at) {
            self.remove(groups, stage, &[id], RemovalReason::Deleted, at, 0);
        }
    }

    /// Stages a change of groups. Returns which of them it changed.
    pub fn change(
        &mut self,
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        keys: Vec<GroupingKey>,
        operation: Operation,
        at: Moment,
    ) -> Result<Vec<GroupingKey>, Fault> {
        let mut changed = Vec::with_capacity(keys.len());
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(id) = self.find_alive(groups, stage, &key, at) else { continue };
            if let Operation::Delete { pushed_before: Some(before) } = operation
                && self.index.group(id).and_then(|group| group.state.pushed) >= Some(before)
            {
                continue;
            }
            found.push(id);
            changed.push(key);
        }
        match operation {
            Operation::Delete { .. } => self.delete_all(groups, stage, &found, at),
            Operation::Touch => {
                for id in found {
                    self.set_state(groups, stage, id, at, |state| state.renewed = at.now)?;
                }
            }
            Operation::Override(ttl) => {
                for id in found {
                    self.set_state(groups, stage, id, at, |state| state.overridden = ttl)?;
                }
            }
        }
        Ok(changed)
    }

    fn delete_all(
        &mut self,
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        ids: &[GroupId],
        at: Moment,
    ) {
        self.remove(groups, stage, ids, RemovalReason::Deleted, at, 0);
        // A store that takes deletions alone does not take what stays.
        if !self.history.is_closed()
            && is_bulk(ids.len(), self.index.group_count(), self.index.series_count())
            && let Err(error) = groups.rewrite()
        {
            tracing::warn!(%error, "groups are deleted one by one");
        }
    }

    /// Stages another state of a group that keeps its families.
    fn set_state(
        &mut self,
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        id: GroupId,
        at: Moment,
        change: impl FnOnce(&mut GroupState),
    ) -> Result<(), Fault> {
        let Some(group) = self.index.group(id) else { return Ok(()) };
        let mut state = (*group.state).clone();
        change(&mut state);
        self.policy.decide_for(&group.key, &mut state);
        let bytes = groups.put(group.number, &group.key, &state, FamiliesChange::Keep)?;
        self.set_bytes(id, bytes);
        self.publish_state(stage, id, Arc::new(state), at);
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
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        policy: &Arc<TtlPolicy>,
        from: usize,
        at: Moment,
    ) -> Option<usize> {
        if self.has_more_expired(groups, stage, at) {
            return Some(from);
        }
        self.policy.ttl = Arc::clone(policy);
        let next = from + (RULES_ASKED_MAX / (policy.rules.len() + 1)).max(1);
        self.decide_in(stage, from..next, at);
        (next < self.index.group_ids_end()).then_some(next)
    }

    /// Decides by the policy that another replica has put into force, on all groups at once: what has
    /// expired by the old one was removed before.
    pub fn adopt_policy(&mut self, stage: &mut Stage, policy: &Arc<TtlPolicy>, at: Moment) {
        self.policy.ttl = Arc::clone(policy);
        self.decide_in(stage, 0..self.index.group_ids_end(), at);
    }

    /// Decides anew on the groups with these numbers whose TTL comes from the settings.
    fn decide_in(&mut self, stage: &mut Stage, groups: std::ops::Range<usize>, at: Moment) {
        let mut changed = Vec::new();
        for (id, group) in self.index.groups_in(groups) {
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
    }

    /// Gives a group another state in index and view.
    fn publish_state(
        &mut self,
        stage: &mut Stage,
        id: GroupId,
        state: Arc<GroupState>,
        at: Moment,
    ) {
        self.index.set_state(id, Arc::clone(&state));
        let Some(group) = self.index.group(id) else { return };
        let expiry = self
            .stamps
            .expose_deadline
            .then(|| stamps::expiry(&state, &LabelBlock::of_group(&group.key), at));
        stage.changes.push(Change::State { id, state, bytes: group.bytes, expiry });
    }

    /// Stages the removal of all groups. Returns how many there were.
    pub fn wipe(&mut self, groups: &mut dyn StagedGroups, stage: &mut Stage) -> usize {
        let count = self.index.group_count();
        groups.wipe();
        self.index.clear();
        self.history.clear();
        stage.undecided.clear();
        stage.changes.push(Change::Wiped);
        count
    }

    /// Stages the removal of groups that have expired, a bounded number of them.
    pub fn reap(&mut self, groups: &mut dyn StagedGroups, stage: &mut Stage, at: Moment) {
        self.expire(groups, stage, at);
        // Of what was there at the start there may be too much for the settings of now.
        self.trim_history(groups, stage);
    }

    /// Stages what a batch as a whole brings about. Comes last.
    pub fn finish(&mut self, stage: &mut Stage) {
        self.index.settle_deadlines();
        self.decide_helps(stage);
    }

    /// Stages the help texts that count now. Looks at every group where some disagree.
    pub(in crate::gateway) fn decide_helps(&mut self, stage: &mut Stage) {
        for family in self.index.decide_helps(std::mem::take(&mut stage.undecided)) {
            self.publish_header(stage, family);
        }
    }

    /// The group of a key. If it has expired, it is removed.
    fn find_alive(
        &mut self,
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        key: &GroupingKey,
        at: Moment,
    ) -> Option<GroupId> {
        let id = self.index.find(key)?;
        self.alive(groups, stage, id, at)
    }

    /// The group. If it has expired, it is removed.
    fn alive(
        &mut self,
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        id: GroupId,
        at: Moment,
    ) -> Option<GroupId> {
        let expired = self.index.group(id).is_some_and(|group| group.deadline <= at.now);
        if expired {
            self.remove(groups, stage, &[id], RemovalReason::Expired, at, 0);
        }
        (!expired).then_some(id)
    }

    /// A bounded number of groups, so that others get in between.
    fn expire(&mut self, groups: &mut dyn StagedGroups, stage: &mut Stage, at: Moment) {
        let seen = REMOVED_GROUPS_MAX.saturating_add(self.history.groups_max());
        let mut due: Vec<_> = self.index.due(at.now).take(seen).collect();
        let series = |id: &GroupId| self.index.group(*id).map_or(0, |group| group.series);
        let now = removed_at_once(due.iter().map(series));
        let following = due.len() - now;
        due.truncate(now);
        self.remove(groups, stage, &due, RemovalReason::Expired, at, following);
    }

    /// Stages the removal of groups. `following`: so many are sure to go after them, so that what
    /// those would push out of the history need not be put there.
    fn remove(
        &mut self,
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        ids: &[GroupId],
        reason: RemovalReason,
        at: Moment,
        following: usize,
    ) {
        let mut removed = Vec::with_capacity(ids.len());
        for (id, later) in ids.iter().zip((following..following + ids.len()).rev()) {
            let Some(Removed { group, families }) = self.index.remove(*id) else { continue };
            stage.undecided.extend(&families);
            let by_rule = group.state.ttl_source == TtlSource::Rule;
            let rule = by_rule.then(|| self.policy.ttl.rule_of(&group.key)).flatten();
            let removal = Removal {
                sequence: self.index.next_sequence(),
                at: at.wall,
                reason,
                deadline: group.state.deadline,
                rule: rule.and_then(|at| self.policy.ttl.named_rule(at)),
                series: group.series,
                families: u32::try_from(families.len()).unwrap_or(u32::MAX),
            };
            self.keep_or_purge(groups, stage, group, removal, later < self.history.groups_max());
            removed.push((*id, families));
        }
        if !removed.is_empty() {
            stage.changes.push(Change::GroupsRemoved { groups: removed });
        }
    }

    /// Stages that a removed group can be restored for a while, if there is room for it.
    fn keep_or_purge(
        &mut self,
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        group: Group,
        removal: Removal,
        has_room: bool,
    ) {
        let is_kept = has_room && self.history.keeps(group.bytes);
        let bytes = if is_kept {
            groups.remove(group.number, &removal)
        } else {
            groups.purge(group.number);
            group.bytes
        };
        let removed =
            Arc::new(RemovedGroup::new(group.number, group.key, group.state, removal, bytes));
        if is_kept {
            self.history.push(Arc::clone(&removed));
            stage.changes.push(Change::Removed(Arc::clone(&removed)));
        }
        stage.removed.push(removed);
        self.trim_history(groups, stage);
    }

    /// Stages that groups beyond the limits of the history cannot be restored any more.
    fn trim_history(&mut self, groups: &mut dyn StagedGroups, stage: &mut Stage) {
        while let Some(oldest) = self.history.pop_excess() {
            purge(groups, stage, &oldest);
        }
    }

    fn check(
        &self,
        groups: &dyn StagedGroups,
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
        for family in families.iter().filter(|family| family.stored.series() > 0) {
            push.check_family(groups, key, family)?;
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
        groups: &dyn StagedGroups,
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
            let name = family.stored.name();
            if family.stored.series() == 0 {
                verdicts.push(true);
                continue;
            }
            push.pushed.insert(name, Some(family.kind));
            match push.check_family(groups, key, family) {
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
        groups: &mut dyn StagedGroups,
        stage: &mut Stage,
        found: Option<GroupId>,
        key: &GroupingKey,
        block: &LabelBlock,
        rule: Option<usize>,
        refusal: &Refusal,
        at: Moment,
    ) -> Result<(), Fault> {
        if !refusal.marks_the_group() {
            return Ok(());
        }
        let failure = Some(failure(refusal));
        let failed = Some(at.wall);
        let id = if let Some((id, group)) = self.existing(found) {
            let state = GroupState { failed, failure, ..(*group.state).clone() };
            let bytes = groups.put(group.number, key, &state, FamiliesChange::Keep)?;
            self.index.set_state(id, Arc::new(state));
            self.set_bytes(id, bytes);
            id
        } else {
            // The stamps of a new group must not collide with those of another, nor break a limit.
            // Expired groups do not count, reaped or not.
            let sibling = self.index.sibling(key);
            let sibling = sibling.and_then(|other| self.alive(groups, stage, other, at));
            let is_full = |judge: &Self| judge.index.group_count() as u64 >= judge.limits.groups;
            if is_full(self) {
                self.expire(groups, stage, at);
            }
            if sibling.is_some() || is_full(self) {
                return Ok(());
            }
            let mut state = GroupState { failed, failure, ..GroupState::new(at.wall, at.now) };
            self.policy.decide(rule, &mut state);
            let number = self.index.next_number();
            let bytes = groups.put(number, key, &state, FamiliesChange::Replace(Vec::new()))?;
            let id = self.index.insert(key.clone(), Arc::new(state), number);
            self.set_bytes(id, bytes);
            id
        };
        self.publish_group(stage, id, block, Vec::new(), at);
        Ok(())
    }

    fn set_bytes(&mut self, id: GroupId, bytes: u64) {
        if let Some(group) = self.index.group_mut(id) {
            group.bytes = bytes;
        }
    }

    fn existing(&self, found: Option<GroupId>) -> Option<(GroupId, &Group)> {
        found.and_then(|id| Some((id, self.index.group(id)?)))
    }

    /// Which families of the group leave with a push, and whether others stay.
    fn plan(&self, found: Option<GroupId>, mode: PushMode, families: &[PreparedFamily]) -> Plan {
        let Some((_, group)) = self.existing(found) else { return Plan::default() };
        let member = |family: &PreparedFamily| {
            let (id, _) = self.index.family_of(family.stored.name())?;
            group.member(id).map(|member| member.family)
        };
        let pushed: HashSet<_> = families.iter().filter_map(member).collect();
        if mode == PushMode::Update && pushed.len() < group.members.len() {
            return Plan { leaving: Vec::new(), keeps_others: true };
        }
        let leaving = group.members.iter().map(|member| member.family);
        let leaving = leaving.filter(|family| !pushed.contains(family)).collect();
        Plan { leaving, keeps_others: false }
    }

    /// Stages the families of a push in index and view. Returns their lines.
    fn set_families(
        &mut self,
        stage: &mut Stage,
        id: GroupId,
        leaving: &[FamilyId],
        families: Vec<PreparedFamily>,
    ) -> Vec<(FamilyId, Rendered)> {
        let members: Vec<_> = families.iter().map(new_member).collect();
        let set = self.index.set_members(id, &members);
        let mut lines = Vec::with_capacity(families.len());
        for ((member, changed), family) in set.into_iter().zip(families) {
            if changed {
                self.publish_header(stage, member);
            }
            lines.push((member, family.rendered.lines));
        }
        self.index.remove_members(id, leaving);
        for family in leaving {
            stage.undecided.insert(*family);
            stage.changes.push(Change::MemberRemoved { id, family: *family });
        }
        lines
    }

    fn publish_group(
        &self,
        stage: &mut Stage,
        id: GroupId,
        block: &LabelBlock,
        lines: Vec<(FamilyId, Rendered)>,
        at: Moment,
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

/// Whether it is quicker to write what stays than to remove what goes, and done in a second or so:
/// pushes wait meanwhile.
pub fn is_bulk(go: usize, stay: usize, series: u64) -> bool {
    BULK_GROUPS.contains(&go) && stay < go / 4 && series <= BULK_SERIES_MAX
}

/// The families of a group that leave with a push, and whether others stay.
#[derive(Debug, Default)]
struct Plan {
    /// Families that the group no longer has, sorted.
    leaving: Vec<FamilyId>,
    /// Whether it has some that the push does not bring.
    keeps_others: bool,
}

/// A family of a push, as the index takes it.
pub fn new_member(family: &PreparedFamily) -> NewMember<'_> {
    let PreparedFamily { kind, native, stored, rendered } = family;
    NewMember {
        name: stored.name(),
        kind: *kind,
        native: *native,
        help: stored.help(),
        sequence: stored.sequence(),
        series: stored.series(),
        rendered,
    }
}

/// The published form of a group, without its lines.
pub fn published(group: &Group) -> GroupView {
    GroupView {
        number: group.number,
        key: group.key.clone(),
        state: Arc::clone(&group.state),
        deadline: group.deadline,
        series: group.series,
        families: u32::try_from(group.members.len()).unwrap_or(u32::MAX),
        bytes: group.bytes,
    }
}

/// Stages that a group cannot be restored any more.
fn purge(groups: &mut dyn StagedGroups, stage: &mut Stage, removed: &RemovedGroup) {
    groups.purge(removed.number);
    stage.changes.push(Change::Purged { sequence: removed.sequence });
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
