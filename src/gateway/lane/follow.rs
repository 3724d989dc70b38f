//! The lane of a replica that does not lead: it takes over what the leader has committed, one revision
//! after another, until it leads itself.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{Lane, LaneError, outage};
use crate::gateway::command::Command;
use crate::gateway::events::EventKind;
use crate::gateway::judge::{Judge, Stage};
use crate::gateway::lane::Queue;
use crate::gateway::replica::Replica;
use crate::gateway::state::PutError;
use crate::gateway::view::Change;
use crate::model::{GroupState, GroupingKey, TtlPolicy};
use crate::store::etcd::{BatchSeen, Feed, Followed, Noticed};
use crate::store::{CommitError, Store, StoredGroup};
use crate::time::{Clock, Moment, UnixMillis, UnixNanos};
use tokio::sync::oneshot;

/// The changes of other replicas, and the clock that they share.
#[derive(Debug)]
pub(in crate::gateway) struct Following {
    pub feed: Feed,
    pub replica: Arc<Replica>,
    pub clock: SharedClock,
}

/// Holds gateway time to that of the leader.
#[derive(Debug)]
pub(in crate::gateway) struct SharedClock {
    /// Whether it was ever held to one.
    is_set: bool,
    /// How far behind that of the leader it was when a batch came. The largest is the truest: the others
    /// were longer under way.
    behind_ms: VecDeque<i64>,
}

/// Changes that were followed, to be published.
#[derive(Debug, Default)]
struct Taken {
    changes: Vec<Change>,
    /// With the revisions of their batches.
    happened: Vec<(i64, (UnixNanos, GroupingKey, EventKind))>,
    policy: Option<Arc<TtlPolicy>>,
    batches: Vec<BatchSeen>,
    names_beyond_legacy: bool,
    /// Groups that cannot be shown, and why.
    damaged: Vec<(u64, String)>,
}

/// So often a replica looks whether it has to lead.
const TICK: Duration = Duration::from_millis(250);
/// From one attempt to read damaged records again to the next.
const DAMAGE_RETRY: Duration = Duration::from_secs(5);
/// A leader writes each second.
const SAMPLES: usize = 60;
/// A clock that starts further ahead than this is wrong.
const AHEAD_MAX_MS: i64 = 10_000;
/// Less than that is the time that a batch is under way.
const SHIFT_MIN_MS: i64 = 2;

impl Following {
    /// Looks at what others have done, for a replica that leads.
    pub(super) fn look_after(&mut self, store: &Store, queue: &Queue) -> Result<(), CommitError> {
        let Some(shared) = store.shared() else { return Ok(()) };
        match shared.look_after(&mut self.feed) {
            Noticed::Nothing => Ok(()),
            Noticed::Deposed => Err(CommitError::NotLeading),
            Noticed::Proposal(policy, proposal) => {
                let reply = oneshot::channel().0;
                // Full: whoever wants it asks again.
                drop(queue.push(Command::SetPolicy(Arc::new(policy), 0, proposal, reply)));
                Ok(())
            }
        }
    }
}

impl SharedClock {
    /// `is_set`: gateway time is that of a leader already.
    pub(in crate::gateway) fn new(is_set: bool) -> Self {
        Self { is_set, behind_ms: VecDeque::new() }
    }

    /// Notes the time that a batch has, and moves the clock by what is sure of the difference.
    fn saw(&mut self, batch: &BatchSeen, clock: &dyn Clock) {
        let signed = |time: UnixMillis| i64::try_from(time.0).unwrap_or(i64::MAX);
        self.behind_ms.push_back(signed(batch.at.now) - signed(clock.now()));
        if self.behind_ms.len() > SAMPLES {
            self.behind_ms.pop_front();
        }
        let by = self.behind_ms.iter().copied().max().unwrap_or(0);
        if !mem::replace(&mut self.is_set, true) && by < -AHEAD_MAX_MS {
            // It would stand still for as long, and hide groups that are there.
            tracing::warn!(
                ahead_ms = -by,
                "the clock of this host is ahead of that of the replica that leads; going by that one's"
            );
            clock.restore_offset_ms(clock.offset_ms().saturating_add(by));
            self.behind_ms.clear();
            return;
        }
        if by.abs() >= SHIFT_MIN_MS {
            clock.shift_ms(by);
            for sample in &mut self.behind_ms {
                *sample -= by;
            }
        }
    }
}

impl Lane {
    /// Follows until this replica leads: `true`; or until the queue is closed.
    pub(super) fn follow(&mut self) -> bool {
        let Some(shared) = self.committer.store.shared().cloned() else { return true };
        let Some(mut following) = self.following.take() else { return true };
        self.queue.follow();
        let mut campaigned: Option<Instant> = None;
        let mut is_damaged = false;
        let leads = loop {
            if self.queue.closing().is_cancelled() {
                break false;
            }
            let closing = self.queue.closing().clone();
            match self.writer.follow(&mut following.feed, &closing, TICK) {
                Ok(followed) => {
                    if is_damaged && !followed.is_empty() {
                        is_damaged = false;
                        tracing::info!("the records in etcd can be read again");
                    }
                    let taken = take(&mut self.judge, followed);
                    for (number, what) in &taken.damaged {
                        shared.set_aside(*number, what);
                    }
                    self.publish(taken, &mut following);
                    shared.announce();
                }
                Err(error) => {
                    let error = error.to_string();
                    tracing::error!(
                        error,
                        "cannot read the records of the cluster in etcd; serving the groups from \
                         before, and trying again"
                    );
                    is_damaged = true;
                    self.queue.closed_within(DAMAGE_RETRY);
                }
            }
            if is_damaged || following.feed.is_broken() {
                continue;
            }
            if shared.leads() {
                break true;
            }
            let is_due = campaigned.is_none_or(|at| at.elapsed() >= TICK);
            if shared.is_vacant() && is_due {
                campaigned = Some(Instant::now());
                if let Err(status) = shared.campaign() {
                    tracing::debug!(%status, "cannot ask etcd whether this replica may lead");
                }
            }
        };
        if leads {
            self.begin_to_lead(&mut following);
        }
        self.following = Some(following);
        leads
    }

    /// Goes on from where the last leader has stopped.
    fn begin_to_lead(&mut self, following: &mut Following) {
        following.clock = SharedClock::new(true);
        if let Some(last) = self.committer.store.shared().and_then(|shared| shared.latest()) {
            let (number, sequence) = last.next;
            self.judge.index.seen_stored(number.saturating_sub(1), sequence.saturating_sub(1));
            let behind = last.at.now.saturating_since(self.clock.now());
            self.clock.shift_ms(i64::try_from(behind.as_millis()).unwrap_or(0));
        }
        self.clock_offset_ms = self.clock.offset_ms();
        tracing::info!("this replica leads now");
        let term = self.committer.store.shared().map_or(0, |shared| shared.term());
        self.queue.resume(term);
    }

    /// Begins anew with what was committed, as another replica leads.
    pub(super) fn step_down(&mut self, error: &CommitError) -> Result<(), LaneError> {
        tracing::warn!(%error, "this replica does not lead any more; following");
        self.queue.follow();
        outage::begin_anew(self, false).map_err(LaneError::Reopen)
    }

    /// Makes what was followed visible.
    fn publish(&mut self, taken: Taken, following: &mut Following) {
        let Taken { changes, happened, policy, batches, names_beyond_legacy, damaged: _ } = taken;
        for batch in &batches {
            following.clock.saw(batch, &*self.clock);
        }
        if names_beyond_legacy {
            following.replica.note_quoted_names();
        }
        let committer = &self.committer;
        let mut view = committer.view.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            view.publish(change);
        }
        let next = view.next_deadline();
        drop(view);
        if let Some(policy) = policy {
            committer.policy.write().unwrap_or_else(PoisonError::into_inner).ttl = policy;
        }
        for (revision, event) in happened {
            committer.events.add_at(revision, [event]);
        }
        for batch in batches {
            following.replica.has(batch.revision, &batch.requests);
            if batch.skipped {
                following.replica.has_missed();
            }
        }
        committer.next_deadline.send_if_modified(|sent| mem::replace(sent, next) != next);
    }
}

/// Takes what was followed into the index. Returns what is to be published.
fn take(judge: &mut Judge, followed: Vec<Followed>) -> Taken {
    let mut taken = Taken::default();
    let mut stage = Stage::default();
    let mut at = Moment::default();
    let mut removed = Vec::new();
    for followed in followed {
        match followed {
            Followed::Batch(batch) => {
                taken.take_removed(judge, &mut stage, &mut removed, at);
                at = batch.at;
                taken.batches.push(batch);
            }
            Followed::Put(group) if group.removal.is_some() => {
                // Its key may be another's by now.
                judge.forget(&mut stage, group.number, &group.key);
                removed.push(*group);
            }
            Followed::Put(group) => {
                let happened = happened(judge, &group.key, &group.state, at);
                let (number, key) = (group.number, group.key.clone());
                let put = judge.put(&mut stage, *group, at);
                taken.note_put(judge, &mut stage, (number, &key), put, happened);
            }
            Followed::Part(part) => {
                let happened = happened(judge, &part.key, &part.state, at);
                let (number, key) = (part.number, part.key.clone());
                let put = judge.put_part(&mut stage, *part, at);
                taken.note_put(judge, &mut stage, (number, &key), put, happened);
            }
            Followed::Damaged { number, key, what } => {
                if let Some(key) = key {
                    judge.forget(&mut stage, number, &key);
                }
                taken.damaged.push((number, what));
            }
            Followed::Removed { number, key } => judge.forget(&mut stage, number, &key),
            Followed::Cleared => {
                judge.index.clear();
                judge.history.clear();
                removed.clear();
                stage.undecided.clear();
                stage.changes.push(Change::Wiped);
            }
            Followed::Policy(policy) => {
                let policy = Arc::new(policy);
                judge.adopt_policy(&mut stage, &policy, at);
                taken.policy = Some(policy);
            }
        }
    }
    taken.take_removed(judge, &mut stage, &mut removed, at);
    judge.finish(&mut stage);
    taken.changes = stage.changes;
    taken
}

impl Taken {
    /// Notes whether a group could be taken in. One that could not is not shown at all.
    fn note_put(
        &mut self,
        judge: &mut Judge,
        stage: &mut Stage,
        (number, key): (u64, &GroupingKey),
        put: Result<bool, PutError>,
        happened: Option<(UnixNanos, GroupingKey, EventKind)>,
    ) {
        match put {
            Ok(is_legacy) => {
                self.names_beyond_legacy |= !is_legacy;
                self.note(happened);
            }
            Err(error) => {
                judge.forget(stage, number, key);
                self.damaged.push((number, error.what().to_owned()));
            }
        }
    }

    /// Notes an event of the latest batch.
    fn note(&mut self, event: Option<(UnixNanos, GroupingKey, EventKind)>) {
        let revision = self.batches.last().map_or(0, |batch| batch.revision);
        self.happened.extend(event.map(|event| (revision, event)));
    }

    /// Takes groups into the history that a batch has removed, in the order in which it did.
    fn take_removed(
        &mut self,
        judge: &mut Judge,
        stage: &mut Stage,
        removed: &mut Vec<StoredGroup>,
        at: Moment,
    ) {
        let sequence = |group: &StoredGroup| group.removal.as_ref().map(|it| it.sequence);
        removed.sort_by_key(sequence);
        for group in removed.drain(..) {
            let number = group.number;
            match judge.put(stage, group, at) {
                Err(error) => self.damaged.push((number, error.what().to_owned())),
                Ok(_) => {
                    if let Some(Change::Removed(removed)) = stage.changes.last() {
                        let what = EventKind::Removed(Arc::clone(removed));
                        let event = (removed.at, removed.key.clone(), what);
                        self.note(Some(event));
                    }
                }
            }
        }
    }
}

/// The event of a group that has another state now.
fn happened(
    judge: &Judge,
    key: &GroupingKey,
    state: &GroupState,
    at: Moment,
) -> Option<(UnixNanos, GroupingKey, EventKind)> {
    let before = judge.index.find(key).and_then(|id| judge.index.group(id));
    let (pushes, failed) =
        before.map_or((0, None), |before| (before.state.pushes, before.state.failed));
    let what = if state.pushes > pushes {
        let mut decided = state.clone();
        judge.policy.decide_for(key, &mut decided);
        let now_ms = i64::try_from(at.now.0).unwrap_or(i64::MAX);
        let offset_ms = now_ms.saturating_sub(at.wall.as_millis());
        let expires =
            (decided.deadline != UnixMillis::MAX).then(|| decided.deadline.to_wall(offset_ms));
        EventKind::Pushed { expires }
    } else if state.failed != failed {
        EventKind::refused(state.failure.as_deref().unwrap_or_default())
    } else {
        return None;
    };
    Some((at.wall, key.clone(), what))
}

#[cfg(test)]
mod tests;
