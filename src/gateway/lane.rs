//! The write lane: the one thread that changes anything.
//!
//! It takes what has queued up, judges it in order, commits it as one batch, publishes it, and
//! answers. While one batch is being synced, the next gathers (group commit).

use std::mem;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::apply::{Judge, Stage};
use super::command::{Accepted, Command, Reply};
use super::error::{Error, Fault};
use super::options::Sync;
use super::queue::{Queue, Taken};
use super::view::View;
use crate::store::{CommitError, Store};
use crate::telemetry::metrics::SelfMetrics;
use crate::time::{Clock, UnixMillis};

/// Enough to make a sync cheap per push; few enough that a batch is soon done.
const BATCH_COMMANDS_MAX: usize = 1024;
/// A clock offset is kept once it has moved by more than this: above what NTP slews, below what an
/// operator would call a step.
const CLOCK_STEP_MS: u64 = 1000;

/// What the lane works with.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) judge: Judge,
    pub(super) store: Arc<Store>,
    pub(super) view: Arc<RwLock<View>>,
    pub(super) queue: Arc<Queue>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<SelfMetrics>,
    pub(super) next_deadline: watch::Sender<UnixMillis>,
    pub(super) sync: Sync,
    /// As the store has it.
    pub(super) clock_offset_ms: i64,
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
    Delete(Reply<Result<(), Fault>>),
    Reap(Reply<Result<(), Fault>>),
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
        std::thread::Builder::new()
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
    fn run(mut self) -> Result<(), CommitError> {
        let mut commands = Vec::new();
        let mut sync_by: Option<Instant> = None;
        loop {
            match self.queue.take(BATCH_COMMANDS_MAX, sync_by, &mut commands) {
                Taken::Commands => {
                    let wrote = self.batch(&mut commands)?;
                    if let (true, Sync::Within(delay)) = (wrote, self.sync) {
                        sync_by.get_or_insert_with(|| Instant::now() + delay);
                    }
                }
                Taken::TimedOut => {}
                Taken::Closed => return self.store.sync(),
            }
            if sync_by.is_some_and(|by| by <= Instant::now()) {
                self.store.sync()?;
                sync_by = None;
            }
        }
    }

    /// Carries out commands as one batch. Returns whether there was anything to write.
    fn batch(&mut self, commands: &mut Vec<(Accepted, Command)>) -> Result<bool, CommitError> {
        let started = Instant::now();
        let last = commands.last().map_or(UnixMillis(0), |(at, _)| at.now);
        let mut stage = Stage::default();
        let mut answers = Vec::with_capacity(commands.len());
        for (at, command) in commands.drain(..) {
            answers.push(self.apply(&mut stage, at, command));
        }
        self.judge.finish(&mut stage);
        match self.commit(&stage) {
            Ok(wrote) => {
                if wrote {
                    self.metrics.committed(started.elapsed(), answers.len());
                }
                self.publish(stage, last);
                for answer in answers {
                    answer.send();
                }
                Ok(wrote)
            }
            Err(error) => {
                let error = Arc::new(error);
                for answer in answers {
                    answer.fail(&Fault::Commit(Arc::clone(&error)));
                }
                Err(Arc::into_inner(error).unwrap_or(CommitError::StorageFull))
            }
        }
    }

    fn apply(&mut self, stage: &mut Stage, at: Accepted, command: Command) -> Answer {
        match command {
            Command::Push(push, reply) => {
                let result = self.judge.push(&self.store, stage, *push, at);
                Answer::Push(reply, result)
            }
            Command::Delete(key, reply) => {
                self.judge.delete(stage, &key, at);
                Answer::Delete(reply)
            }
            Command::Reap(reply) => {
                self.judge.reap(stage, at);
                Answer::Reap(reply)
            }
        }
    }

    fn commit(&mut self, stage: &Stage) -> Result<bool, CommitError> {
        let offset = self.clock.offset_ms();
        let stepped = offset.abs_diff(self.clock_offset_ms) > CLOCK_STEP_MS;
        if stepped {
            tracing::warn!(
                by_ms = self.clock_offset_ms - offset,
                "the host clock was set; deadlines stay where they were"
            );
            self.store.keep_clock_offset_ms(offset)?;
            self.clock_offset_ms = offset;
        }
        if stage.batch.is_empty() && !stepped {
            return Ok(false);
        }
        self.store.apply(&stage.batch)?;
        if self.sync == Sync::Always {
            self.store.sync()?;
        }
        Ok(true)
    }

    fn publish(&self, stage: Stage, now: UnixMillis) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        for change in stage.changes {
            view.publish(change);
        }
        let next = view.next_deadline();
        drop(view);
        for group in stage.expired {
            let lag = now.saturating_since(group.deadline);
            self.metrics.expired(group.series, lag);
            tracing::debug!(group = %group.key, ?lag, "group expired");
        }
        self.next_deadline.send_if_modified(|sent| mem::replace(sent, next) != next);
    }
}

impl Answer {
    fn send(self) {
        // Whoever has hung up needs no answer.
        match self {
            Self::Push(reply, result) => drop(reply.send(result)),
            Self::Delete(reply) | Self::Reap(reply) => drop(reply.send(Ok(()))),
        }
    }

    fn fail(self, fault: &Fault) {
        match self {
            Self::Push(reply, _) => drop(reply.send(Err(fault.clone().into()))),
            Self::Delete(reply) | Self::Reap(reply) => drop(reply.send(Err(fault.clone()))),
        }
    }
}

/// The longest that the reaper sleeps, so that a step of the host clock is noticed and kept even
/// when nobody pushes.
pub const REAPER_SLEEP_MAX: Duration = Duration::from_mins(1);
