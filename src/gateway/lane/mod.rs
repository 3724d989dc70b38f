//! The write lane: the one thread that changes anything, and the committer behind it.
//!
//! The lane judges what has queued up, in order. When the committer is idle, the lane applies what
//! it has staged to the store as one batch and hands it over; the committer syncs it, publishes it,
//! and answers. While one batch is being synced, the next gathers and is judged (group commit).
//!
//! Where the store cannot be written, what waits is answered so, and both begin anew once it can
//! (`outage`).

mod follow;
mod outage;
mod pulse;
mod queue;

use std::mem;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::gateway::command::{Command, Reply};
use crate::gateway::error::{Error, Fault};
use crate::gateway::events::{EventKind, EventLog};
use crate::gateway::history::RemovedGroup;
use crate::gateway::judge::{Judge, Stage, Verdict};
use crate::gateway::options::Sync;
use crate::gateway::replica::Replica;
use crate::gateway::view::{Change, View};
use crate::model::{GroupingKey, Meter, Policy, RemovalReason, RequestId, TtlPolicy};
use crate::store::{Commit, CommitError, OpenError, Proposal, Store, Writer};
use crate::telemetry::metrics::SelfMetrics;
use crate::time::{Clock, Moment, UnixMillis, UnixNanos};
use queue::{Next, Slow};

pub(super) use follow::{Following, SharedClock};
pub(super) use pulse::{Pulse, Watched};
pub(super) use queue::Queue;

/// Enough to make a sync cheap per push; few enough that a batch is soon done.
const BATCH_COMMANDS_MAX: usize = 1024;
/// So many groups that expire together are logged one by one.
const LOG_LINES_MAX: usize = 10;
/// A clock offset is kept once it has moved by more than this: above what NTP slews, below what an
/// operator would call a step.
const CLOCK_STEP_MS: u64 = 1000;
/// How often it is kept that the gateway runs, if there is anything to do. Kept with the next batch.
const ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// The state of the lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) judge: Judge,
    pub(super) writer: Writer,
    pub(super) queue: Arc<Queue>,
    pub(super) clock: Arc<dyn Clock>,
    /// As the store has it.
    pub(super) clock_offset_ms: i64,
    pub(super) pulse: Arc<Pulse>,
    pub(super) committer: Committer,
    /// Where replicas share the store.
    pub(super) following: Option<Following>,
}

/// The state of the committer.
#[derive(Debug)]
pub(super) struct Committer {
    pub(super) store: Arc<Store>,
    pub(super) view: Arc<RwLock<View>>,
    pub(super) metrics: Arc<SelfMetrics>,
    pub(super) events: Arc<EventLog>,
    pub(super) next_deadline: watch::Sender<UnixMillis>,
    pub(super) sync: Sync,
    pub(super) pulse: Arc<Pulse>,
    /// The policy with which pushes are prepared.
    pub(super) policy: Arc<RwLock<Policy>>,
    /// Told of each batch that is in memory, where replicas share the store.
    pub(super) replica: Option<Arc<Replica>>,
}

/// Commands that were judged and are not applied yet.
#[derive(Default)]
struct Staged {
    stage: Stage,
    /// Pushes, for the events.
    happened: Vec<(UnixNanos, GroupingKey, EventKind)>,
    answers: Vec<Answer>,
    /// When its first command was judged.
    began: Option<Instant>,
    /// When the last of its commands was accepted.
    at: Option<Moment>,
    /// Whether there is a large push among them.
    has_large: bool,
    /// The requests whose changes are among them.
    requests: Vec<Bytes>,
    /// The policy that is in force with them, and all else that was proposed with it.
    policy: Option<(Arc<TtlPolicy>, Proposal)>,
}

/// A batch in the store, not yet synced.
struct Applied {
    changes: Vec<Change>,
    removed: Vec<Arc<RemovedGroup>>,
    happened: Vec<(UnixNanos, GroupingKey, EventKind)>,
    answers: Vec<Answer>,
    began: Instant,
    at: UnixMillis,
    /// Whether there is anything to sync.
    wrote: bool,
    policy: Option<Arc<TtlPolicy>>,
}

/// A running lane.
#[derive(Debug)]
pub struct LaneHandle {
    queue: Arc<Queue>,
    ended: oneshot::Receiver<Result<(), LaneError>>,
}

/// Why the lane has ended.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    #[error("the gateway was stopped while nothing could be committed")]
    Commit(#[source] Arc<CommitError>),
    #[error("the store cannot be opened again after a commit had failed")]
    Reopen(#[source] OpenError),
    #[error(transparent)]
    Displaced(Arc<CommitError>),
    #[error("the write lane panicked")]
    Panicked,
    #[error("cannot start the thread of the write lane")]
    Spawn(#[source] std::io::Error),
}

enum Answer {
    /// With what has counted the memory of the push, which is the view's once it is published.
    Push(Reply<Result<UnixMillis, Error>>, Result<UnixMillis, Error>, Option<Box<dyn Meter>>),
    Done(Reply<Result<(), Fault>>),
    Changed(Reply<Result<Vec<GroupingKey>, Fault>>, Result<Vec<GroupingKey>, Fault>),
}

/// Wakes the lane up once the committer has panicked: it has to go too.
struct Close(Arc<Queue>);

impl Drop for Close {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.close();
            // Else a lane that has staged all it may would wait for the sync to end. It finds out
            // that nobody takes its batch.
            self.0.committer_is_idle();
        }
    }
}

/// Drops waiting commands once the lane has ended, however it ended.
struct Abandon(Arc<Queue>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl LaneHandle {
    /// Starts the lane on a thread of its own: its calls block.
    pub(super) fn spawn(lane: Lane) -> Result<Self, LaneError> {
        let (send, ended) = oneshot::channel();
        let queue = Arc::clone(&lane.queue);
        thread::Builder::new()
            .name("write-lane".into())
            .spawn(move || {
                let abandon = Abandon(Arc::clone(&lane.queue));
                let result = lane.run();
                drop(abandon);
                // Nobody listens any more only if the process is on its way out.
                let _ = send.send(result);
            })
            .map_err(LaneError::Spawn)?;
        Ok(Self { queue, ended })
    }

    /// Completes when the lane has ended: with an error unless [`LaneHandle::close`] was called.
    pub async fn ended(&mut self) -> Result<(), LaneError> {
        match (&mut self.ended).await {
            Ok(result) => result,
            Err(_) => Err(LaneError::Panicked),
        }
    }

    /// Carries out what waits, syncs the store, and ends.
    pub async fn close(&mut self) -> Result<(), LaneError> {
        self.queue.close();
        self.ended().await
    }
}

impl Lane {
    /// Works until the queue is closed, and begins anew after each outage of the store. Where replicas
    /// share the store, follows while another leads.
    fn run(mut self) -> Result<(), LaneError> {
        if let Some(error) = self.committer.store.read_only() {
            self.queue.fail(&error);
            outage::overcome(&mut self, error)?;
        }
        loop {
            if !self.follow() {
                return Ok(());
            }
            match self.work() {
                Ok(()) => return Ok(()),
                Err(error) if error.is_not_leading() => self.step_down(&error)?,
                Err(error) => outage::overcome(&mut self, error)?,
            }
        }
    }

    /// Works until the queue is closed, or until a commit fails. Then the queue takes nothing in, all
    /// that was on its way is answered, and the judge is ahead of the store.
    fn work(&mut self) -> Result<(), Arc<CommitError>> {
        let Self { judge, writer, queue, clock, clock_offset_ms, pulse, committer, following } =
            self;
        let (committer, queue): (&Committer, &Arc<Queue>) = (committer, queue);
        let mut kept_time = KeptTime { offset_ms: clock_offset_ms, alive: UnixMillis(0) };
        let store = &*committer.store;
        // Room for the batch that the committer takes up next.
        let (send, applied) = sync_channel(1);
        thread::scope(|scope| {
            let committer = scope.spawn(move || {
                let close = Close(Arc::clone(queue));
                committer.run(&applied, &close.0)
            });
            let mut commands = Vec::new();
            let mut staged = Staged::default();
            // The first leader's is that of all.
            if let Some(shared) = store.shared().filter(|shared| shared.policy().is_none()) {
                let own = Proposal { name: Bytes::new(), settings: shared.own_settings() };
                staged.policy = Some((Arc::clone(&judge.policy.ttl), own));
            }
            let result = loop {
                let count = staged.count(writer);
                // Nothing is judged for a batch that is full.
                let max = if writer.is_full() { count } else { BATCH_COMMANDS_MAX };
                let next = queue.next(count, staged.has_large, max, &mut commands);
                let stops = match next {
                    Next::Judge => {
                        let offset_ms = match following {
                            None => clock.offset_ms(),
                            // Of all replicas.
                            Some(_) => *kept_time.offset_ms,
                        };
                        let shared = following.is_some();
                        let later =
                            staged.judge(judge, writer, offset_ms, shared, pulse, &mut commands);
                        queue.put_back(later);
                        continue;
                    }
                    Next::Commit => false,
                    Next::End => true,
                    Next::Fail(error) => {
                        fail(staged.answers, &error);
                        break Err(error);
                    }
                };
                let busy = pulse.busy("writing a batch to the store", None);
                let leads = following.as_mut().map_or(Ok(()), |it| it.look_after(store, queue));
                let kept = leads.and_then(|()| kept_time.keep(store, &**clock, stops));
                let offset_ms = *kept_time.offset_ms;
                let applied = kept.and_then(|()| staged.apply(judge, writer, offset_ms));
                drop(busy);
                let batch = match applied {
                    Ok(batch) => batch,
                    Err(error) => {
                        let error = Arc::new(error);
                        queue.fail(&error);
                        fail(staged.answers, &error);
                        break Err(error);
                    }
                };
                // An error means that the committer has ended; it says why when it is joined.
                if send.send(batch).is_err() || stops {
                    break Ok(());
                }
            };
            drop(send);
            match committer.join() {
                Ok(committed) => result.and(committed),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl Lane {
    /// Carries out the commands that the queue takes for so long, while no others can be committed.
    fn work_for(&mut self, time: Duration) -> Result<(), Arc<CommitError>> {
        let until = Instant::now() + time;
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            let next = if wait.is_zero() { None } else { self.queue.next_taken(wait) };
            // However many come, whoever called looks whether there is room again.
            let Some(next) = next else { return Ok(()) };
            let Self { judge, writer, committer, pulse, clock_offset_ms, .. } = self;
            let mut staged = Staged::default();
            let shared = writer.is_shared();
            let mut later = vec![next];
            while !later.is_empty() {
                let slow = staged.judge(judge, writer, *clock_offset_ms, shared, pulse, &mut later);
                debug_assert!(!shared || slow.is_empty(), "a deletion is judged at once");
                later = slow.into_commands();
            }
            judge.finish(&mut staged.stage);
            let busy = pulse.busy("writing changes of groups", None);
            let committed = match (writer.is_empty(), shared) {
                (true, _) => Ok(()),
                (false, true) => writer.commit_deletions(),
                (false, false) => staged
                    .commit(judge, writer, *clock_offset_ms)
                    .and_then(|()| committer.store.sync())
                    .and_then(|()| committer.store.reclaim()),
            };
            drop(busy);
            if let Err(error) = committed {
                let error = Arc::new(error);
                fail(staged.answers, &error);
                return Err(error);
            }
            committer.publish(staged.into_applied(false));
        }
    }
}

impl Staged {
    /// How much is staged: commands that are to be answered, or what they have brought about.
    fn count(&self, writer: &Writer) -> usize {
        self.answers.len().max(usize::from(!writer.is_empty()))
    }

    /// Judges commands, in order. Returns those that are to be judged again, and what has to wait for
    /// them.
    fn judge(
        &mut self,
        judge: &mut Judge,
        writer: &mut Writer,
        offset_ms: i64,
        shared: bool,
        pulse: &Pulse,
        commands: &mut Vec<(Moment, Command)>,
    ) -> Slow {
        self.began.get_or_insert_with(Instant::now);
        let stage = &mut self.stage;
        let mut later = Slow::default();
        for (mut at, command) in commands.drain(..) {
            if writer.is_full() || later.is_before(&command) {
                later.push(at, command);
                continue;
            }
            if shared {
                // The other replicas have the offset, too, and come to the same deadlines for people.
                at.wall = at.now.to_wall(offset_ms);
            }
            let _busy = pulse.busy(command.as_str(), command.key());
            self.has_large |= command.is_large();
            self.at = Some(at);
            let answer = match command {
                Command::Push(push, reply) => {
                    let key = push.key.clone();
                    let mut push = push;
                    let meter = push.meter.take();
                    let request = push.request;
                    let result = match judge.push(writer, stage, push, at) {
                        Verdict::Done(result) => result,
                        Verdict::Later(mut push) => {
                            push.meter = meter;
                            later.push(at, Command::Push(push, reply));
                            continue;
                        }
                    };
                    let what = match &result {
                        Ok(deadline) => EventKind::Pushed {
                            expires: (*deadline != UnixMillis::MAX)
                                .then(|| deadline.to_wall(offset_ms)),
                        },
                        Err(error) => EventKind::refused(&error.to_string()),
                    };
                    self.happened.push((at.wall, key, what));
                    if result.is_ok() {
                        self.requests.extend(request.map(named));
                    }
                    Answer::Push(reply, result, meter)
                }
                Command::Delete(key, request, reply) => {
                    judge.delete(writer, stage, &key, at);
                    self.requests.extend(request.map(named));
                    Answer::Done(reply)
                }
                Command::Wipe(reply) => {
                    let groups = judge.wipe(writer, stage);
                    tracing::info!(groups, "all groups were deleted");
                    Answer::Done(reply)
                }
                Command::Change(keys, operation, reply) => {
                    let changed = judge.change(writer, stage, keys, operation, at);
                    Answer::Changed(reply, changed)
                }
                Command::SetPolicy(policy, from, proposal, reply) => {
                    let next = judge.set_policy(writer, stage, &policy, from, at);
                    if Arc::ptr_eq(&judge.policy.ttl, &policy) && from == 0 {
                        self.policy = Some((Arc::clone(&policy), proposal.clone()));
                    }
                    if let Some(next) = next {
                        later.push(at, Command::SetPolicy(policy, next, proposal, reply));
                        continue;
                    }
                    Answer::Done(reply)
                }
                Command::Reap(reply) => {
                    judge.reap(writer, stage, at);
                    Answer::Done(reply)
                }
                Command::Beat(reply) => Answer::Done(reply),
            };
            self.answers.push(answer);
        }
        later
    }

    /// Applies what is staged as one batch, and leaves nothing staged; where that fails, the answers.
    fn apply(
        &mut self,
        judge: &mut Judge,
        writer: &mut Writer,
        offset_ms: i64,
    ) -> Result<Applied, CommitError> {
        judge.finish(&mut self.stage);
        // Of a store that is shared, a batch that changes nothing shows that its answers still hold.
        let wrote = !writer.is_empty() || writer.is_shared();
        if wrote {
            self.commit(judge, writer, offset_ms)?;
        }
        Ok(mem::take(self).into_applied(wrote))
    }

    /// Commits what the writer has staged.
    fn commit(
        &mut self,
        judge: &Judge,
        writer: &mut Writer,
        offset_ms: i64,
    ) -> Result<(), CommitError> {
        let policy = self.policy.as_ref();
        writer.commit(&Commit {
            at: self.at.unwrap_or_default(),
            offset_ms,
            next: judge.index.next(),
            requests: mem::take(&mut self.requests),
            policy: policy.map(|(policy, proposal)| ((**policy).clone(), proposal.clone())),
        })
    }

    /// The same once it is in the store. `wrote`: whether there is anything to sync.
    fn into_applied(self, wrote: bool) -> Applied {
        let Self { stage, happened, answers, began, at, policy, .. } = self;
        let Stage { changes, removed, .. } = stage;
        Applied {
            changes,
            removed,
            happened,
            answers,
            began: began.unwrap_or_else(Instant::now),
            at: at.unwrap_or_default().now,
            wrote,
            policy: policy.map(|(policy, _)| policy),
        }
    }
}

/// A request as a batch names it.
fn named(request: RequestId) -> Bytes {
    Bytes::copy_from_slice(&request.0)
}

/// The clock as the store has it.
#[derive(Debug)]
struct KeptTime<'a> {
    offset_ms: &'a mut i64,
    alive: UnixMillis,
}

impl KeptTime<'_> {
    /// Keeps that the gateway runs, now and then, and the offset of the clock where the host clock
    /// was set.
    fn keep(&mut self, store: &Store, clock: &dyn Clock, stops: bool) -> Result<(), CommitError> {
        let now = clock.now();
        if stops || now.saturating_since(self.alive) >= ALIVE_INTERVAL {
            store.keep_alive_ms(now.0)?;
            self.alive = now;
        }
        let offset = clock.offset_ms();
        if offset.abs_diff(*self.offset_ms) > CLOCK_STEP_MS {
            let by_ms = *self.offset_ms - offset;
            tracing::warn!(by_ms, "the host clock was set; deadlines stay where they were");
            store.keep_clock_offset_ms(offset)?;
            *self.offset_ms = offset;
        }
        Ok(())
    }
}

/// Answers all with the error.
fn fail(answers: Vec<Answer>, error: &Arc<CommitError>) {
    for answer in answers {
        answer.fail(Fault::Commit(Arc::clone(error)));
    }
}

impl Committer {
    /// Commits batches until the lane has ended, then syncs a last time. Where that fails, all that the
    /// lane has handed over is answered so.
    fn run(&self, applied: &Receiver<Applied>, queue: &Queue) -> Result<(), Arc<CommitError>> {
        let mut pending = Vec::new();
        self.commit(applied, queue, &mut pending).map_err(|error| {
            let error = Arc::new(error);
            queue.fail(&error);
            fail(pending, &error);
            // Until the lane has noticed, another may come.
            for batch in applied {
                fail(batch.answers, &error);
            }
            error
        })
    }

    /// Where it fails, `pending` has the answers of the batch that was not committed.
    fn commit(
        &self,
        applied: &Receiver<Applied>,
        queue: &Queue,
        pending: &mut Vec<Answer>,
    ) -> Result<(), CommitError> {
        let mut sync_by: Option<Instant> = None;
        loop {
            let batch = match sync_by {
                None => applied.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(by) => applied.recv_timeout(by.saturating_duration_since(Instant::now())),
            };
            let busy = self.pulse.busy("syncing the store", None);
            let mut batch = match batch {
                Ok(batch) => batch,
                Err(RecvTimeoutError::Disconnected) => return self.store.sync(),
                Err(RecvTimeoutError::Timeout) => {
                    self.store.sync()?;
                    sync_by = None;
                    continue;
                }
            };
            *pending = mem::take(&mut batch.answers);
            match self.sync {
                Sync::Always if batch.wrote => self.store.sync()?,
                Sync::Within(delay) if batch.wrote => {
                    sync_by.get_or_insert_with(|| Instant::now() + delay);
                }
                _ => {}
            }
            // However many batches come, none keeps the sync from being in time.
            if sync_by.is_some_and(|by| by <= Instant::now()) {
                self.store.sync()?;
                sync_by = None;
            }
            batch.answers = mem::take(pending);
            queue.committer_is_idle();
            self.publish(batch);
            // Committed, but another leads since: the lane has to follow, however long nobody pushes.
            if self.store.shared().is_some_and(|shared| !shared.leads()) {
                return Err(CommitError::NotLeading);
            }
            // With a lazy sync, later: until then a crash may need what was there.
            if sync_by.is_none() {
                self.store.reclaim()?;
            }
            drop(busy);
        }
    }

    /// Makes a durable batch visible, and answers.
    fn publish(&self, batch: Applied) {
        let Applied { changes, removed, happened, answers, began, at, wrote, policy } = batch;
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            view.publish(change);
        }
        let next = view.next_deadline();
        drop(view);
        if let Some(policy) = policy {
            self.policy.write().unwrap_or_else(PoisonError::into_inner).ttl = policy;
        }
        if let (Some(replica), Some(shared)) = (&self.replica, self.store.shared()) {
            replica.has(shared.batch_revision(), &[]);
        }
        if wrote {
            self.metrics.committed(began.elapsed(), answers.len());
        }
        let expired = || removed.iter().filter(|group| group.reason == RemovalReason::Expired);
        for group in expired() {
            self.metrics.expired(group.series, at.saturating_since(group.state.deadline));
        }
        log_expired(&removed);
        let removed = removed
            .into_iter()
            .map(|removed| (removed.at, removed.key.clone(), EventKind::Removed(removed)));
        let happened = happened.into_iter().chain(removed);
        match self.store.shared() {
            None => self.events.add(happened),
            Some(shared) => self.events.add_at(shared.batch_revision(), happened),
        }
        for answer in answers {
            answer.send();
        }
        self.next_deadline.send_if_modified(|sent| mem::replace(sent, next) != next);
    }
}

/// A line for each group that has expired; where there are many, one for all of them.
fn log_expired(removed: &[Arc<RemovedGroup>]) {
    let expired = || removed.iter().filter(|group| group.reason == RemovalReason::Expired);
    let count = expired().count();
    if count > LOG_LINES_MAX {
        let series: u64 = expired().map(|group| u64::from(group.series)).sum();
        let first = expired().next().map(|group| group.key.to_string()).unwrap_or_default();
        tracing::info!(groups = count, series, first, "groups expired");
        return;
    }
    for group in expired() {
        let rule = group.rule.as_ref().map_or("", |(_, selector)| selector.as_str());
        let ttl = group.state.ttl;
        let source = group.state.ttl_source.as_str();
        tracing::info!(group = %group.key, %ttl, source, rule, series = group.series, "group expired");
    }
}

impl Answer {
    fn send(self) {
        // Whoever has hung up needs no answer.
        match self {
            Self::Push(reply, result, meter) => {
                drop(meter);
                drop(reply.send(result));
            }
            Self::Done(reply) => drop(reply.send(Ok(()))),
            Self::Changed(reply, result) => drop(reply.send(result)),
        }
    }

    fn fail(self, fault: Fault) {
        match self {
            Self::Push(reply, ..) => drop(reply.send(Err(fault.into()))),
            Self::Done(reply) => drop(reply.send(Err(fault))),
            Self::Changed(reply, _) => drop(reply.send(Err(fault))),
        }
    }
}

/// The longest that the reaper sleeps, so that a step of the host clock is noticed and kept even
/// when nobody pushes.
pub const REAPER_SLEEP_MAX: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::time::ManualClock;

    #[test]
    fn a_full_lane_does_not_wait_for_a_committer_that_is_gone() {
        let queue = Arc::new(Queue::new(10, Arc::new(ManualClock::at(UnixNanos(0)))));
        assert!(matches!(queue.next(1, false, 2, &mut Vec::new()), Next::Commit), "it is busy now");
        queue.push(Command::Reap(oneshot::channel().0)).unwrap();
        let close = Close(Arc::clone(&queue));
        let committer = thread::spawn(move || {
            let _close = close;
            panic!("on purpose");
        });
        assert!(committer.join().is_err());
        let (send, next) = mpsc::channel();
        // With as much staged as a batch may have, and more waiting.
        thread::spawn(move || {
            send.send(matches!(queue.next(2, false, 2, &mut Vec::new()), Next::Commit))
        });
        assert_eq!(next.recv_timeout(Duration::from_secs(10)), Ok(true));
    }
}
