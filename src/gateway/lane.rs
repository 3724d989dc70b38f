//! The write lane: the one thread that changes anything, and the committer behind it.
//!
//! The lane takes what has queued up, judges it in order, and applies it to the store as one batch.
//! The committer syncs what has been applied, publishes it, and answers. While one batch is being
//! synced, the next are judged and gather (group commit): one sync is for all of them.

use std::mem;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::apply::{Expired, Judge, Stage};
use super::command::{Accepted, Command, Reply};
use super::error::{Error, Fault};
use super::options::Sync;
use super::queue::Queue;
use super::view::{Change, View};
use crate::store::{CommitError, Store};
use crate::telemetry::metrics::SelfMetrics;
use crate::time::{Clock, UnixMillis};

/// Enough to make a sync cheap per push; few enough that a batch is soon done.
const BATCH_COMMANDS_MAX: usize = 1024;
/// A clock offset is kept once it has moved by more than this: above what NTP slews, below what an
/// operator would call a step.
const CLOCK_STEP_MS: u64 = 1000;

/// Batches that may be ahead of the committer: one that is judged while another is synced. More
/// would only make the lane judge what nobody can be answered yet.
const BATCHES_AHEAD_MAX: usize = 2;

/// What the lane works with.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) judge: Judge,
    pub(super) queue: Arc<Queue>,
    pub(super) clock: Arc<dyn Clock>,
    /// As the store has it.
    pub(super) clock_offset_ms: i64,
    pub(super) committer: Committer,
}

/// What the committer works with.
#[derive(Debug)]
pub(super) struct Committer {
    pub(super) store: Arc<Store>,
    pub(super) view: Arc<RwLock<View>>,
    pub(super) metrics: Arc<SelfMetrics>,
    pub(super) next_deadline: watch::Sender<UnixMillis>,
    pub(super) sync: Sync,
}

/// A batch in the store, not yet synced.
struct Applied {
    changes: Vec<Change>,
    expired: Vec<Expired>,
    answers: Vec<Answer>,
    began: Instant,
    /// When the last of its commands was accepted.
    at: UnixMillis,
    /// Whether there is anything to sync.
    wrote: bool,
}

/// A running lane.
#[derive(Debug)]
pub struct LaneHandle {
    queue: Arc<Queue>,
    ended: oneshot::Receiver<Result<(), CommitError>>,
}

/// Why the lane is gone.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    #[error("the write lane stopped, as nothing can be committed any more")]
    Commit(#[source] CommitError),
    #[error("the write lane panicked")]
    Panicked,
    #[error("cannot start the thread of the write lane")]
    Spawn(#[source] std::io::Error),
}

enum Answer {
    Push(Reply<Result<UnixMillis, Error>>, Result<UnixMillis, Error>),
    Done(Reply<Result<(), Fault>>),
}

/// Wakes the lane up once the committer is gone, however it went: it has to go too.
struct Close(Arc<Queue>);

impl Drop for Close {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Drops what waits once the lane is gone, however it went.
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
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(LaneError::Commit(error)),
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
    fn run(self) -> Result<(), CommitError> {
        let Self { mut judge, queue, clock, mut clock_offset_ms, committer } = self;
        let store = Arc::clone(&committer.store);
        let (send, applied) = sync_channel(BATCHES_AHEAD_MAX);
        thread::scope(|scope| {
            let lane_queue = Arc::clone(&queue);
            let committer = scope.spawn(move || {
                let _close = Close(lane_queue);
                committer.run(&applied)
            });
            let mut commands = Vec::new();
            let result = loop {
                if !queue.take(BATCH_COMMANDS_MAX, &mut commands) {
                    break Ok(());
                }
                if let Err(error) = keep_clock_offset(&store, &*clock, &mut clock_offset_ms) {
                    break Err(error);
                }
                let batch = match apply(&mut judge, &store, &mut commands) {
                    Ok(batch) => batch,
                    Err(error) => break Err(error),
                };
                if send.send(batch).is_err() {
                    // The committer is gone, and says why when it is joined.
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

/// Judges commands and applies what they change as one batch.
fn apply(
    judge: &mut Judge,
    store: &Store,
    commands: &mut Vec<(Accepted, Command)>,
) -> Result<Applied, CommitError> {
    let began = Instant::now();
    let at = commands.last().map_or(UnixMillis(0), |(at, _)| at.now);
    let mut stage = Stage::default();
    let mut answers = Vec::with_capacity(commands.len());
    for (at, command) in commands.drain(..) {
        answers.push(match command {
            Command::Push(push, reply) => {
                Answer::Push(reply, judge.push(store, &mut stage, *push, at))
            }
            Command::Delete(key, reply) => {
                judge.delete(&mut stage, &key, at);
                Answer::Done(reply)
            }
            Command::Reap(reply) => {
                judge.reap(&mut stage, at);
                Answer::Done(reply)
            }
        });
    }
    judge.finish(&mut stage);
    let Stage { batch, changes, expired, .. } = stage;
    let wrote = !batch.is_empty();
    if wrote && let Err(error) = store.apply(&batch) {
        return Err(fail(answers, error));
    }
    Ok(Applied { changes, expired, answers, began, at, wrote })
}

/// Keeps the offset of the clock where the host clock was set.
fn keep_clock_offset(
    store: &Store,
    clock: &dyn Clock,
    kept_ms: &mut i64,
) -> Result<(), CommitError> {
    let offset = clock.offset_ms();
    if offset.abs_diff(*kept_ms) > CLOCK_STEP_MS {
        let by_ms = *kept_ms - offset;
        tracing::warn!(by_ms, "the host clock was set; deadlines stay where they were");
        store.keep_clock_offset_ms(offset)?;
        store.sync()?;
        *kept_ms = offset;
    }
    Ok(())
}

/// Answers all with the error, and gives it back.
fn fail(answers: Vec<Answer>, error: CommitError) -> CommitError {
    let error = Arc::new(error);
    for answer in answers {
        answer.fail(Fault::Commit(Arc::clone(&error)));
    }
    // Somebody may still be reading it; what it says does not depend on its details then.
    Arc::into_inner(error).unwrap_or(CommitError::Answered)
}

impl Committer {
    /// Commits batches until the lane is gone, then syncs a last time.
    fn run(self, applied: &Receiver<Applied>) -> Result<(), CommitError> {
        let mut batches = Vec::new();
        let mut sync_by: Option<Instant> = None;
        loop {
            match next_batches(applied, sync_by, &mut batches) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.store.sync()?;
                    sync_by = None;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return self.store.sync(),
            }
            let wrote = batches.iter().any(|batch| batch.wrote);
            match self.sync {
                Sync::Always if wrote => {
                    if let Err(error) = self.store.sync() {
                        let answers = batches.drain(..).flat_map(|batch| batch.answers).collect();
                        return Err(fail(answers, error));
                    }
                }
                Sync::Within(delay) if wrote => {
                    sync_by.get_or_insert_with(|| Instant::now() + delay);
                }
                _ => {}
            }
            self.publish(&mut batches);
        }
    }

    /// Makes durable batches visible, and answers.
    fn publish(&self, batches: &mut Vec<Applied>) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        for change in batches.iter_mut().flat_map(|batch| batch.changes.drain(..)) {
            view.publish(change);
        }
        let next = view.next_deadline();
        drop(view);
        let answers: usize = batches.iter().map(|batch| batch.answers.len()).sum();
        if let Some(first) = batches.iter().find(|batch| batch.wrote) {
            self.metrics.committed(first.began.elapsed(), answers);
        }
        for batch in batches.drain(..) {
            for group in batch.expired {
                let lag = batch.at.saturating_since(group.deadline);
                self.metrics.expired(group.series, lag);
                tracing::debug!(group = %group.key, ?lag, "group expired");
            }
            for answer in batch.answers {
                answer.send();
            }
        }
        self.next_deadline.send_if_modified(|sent| mem::replace(sent, next) != next);
    }
}

/// Waits for a batch, and takes what others there are.
fn next_batches(
    applied: &Receiver<Applied>,
    until: Option<Instant>,
    batches: &mut Vec<Applied>,
) -> Result<(), RecvTimeoutError> {
    let first = match until {
        None => applied.recv().map_err(|_| RecvTimeoutError::Disconnected)?,
        Some(until) => {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(RecvTimeoutError::Timeout);
            }
            applied.recv_timeout(left)?
        }
    };
    batches.push(first);
    loop {
        match applied.try_recv() {
            Ok(batch) => batches.push(batch),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

impl Answer {
    fn send(self) {
        // Whoever has hung up needs no answer.
        match self {
            Self::Push(reply, result) => drop(reply.send(result)),
            Self::Done(reply) => drop(reply.send(Ok(()))),
        }
    }

    fn fail(self, fault: Fault) {
        match self {
            Self::Push(reply, _) => drop(reply.send(Err(fault.into()))),
            Self::Done(reply) => drop(reply.send(Err(fault))),
        }
    }
}

/// The longest that the reaper sleeps, so that a step of the host clock is noticed and kept even
/// when nobody pushes.
pub const REAPER_SLEEP_MAX: Duration = Duration::from_mins(1);
