//! The queue to the lane.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::command::{Accepted, Command};
use super::error::Fault;
use crate::store::CommitError;
use crate::time::Clock;

/// Commands that wait for the lane, in the order in which they were accepted.
#[derive(Debug)]
pub(super) struct Queue {
    /// A std lock, held only to move commands in or out. The clock is read under it, so that the
    /// order of the queue is the order of acceptance: a push that was accepted before a deadline is
    /// applied before the reaper that comes after it.
    state: Mutex<State>,
    /// The lane waits here for commands.
    filled: Condvar,
    clock: Arc<dyn Clock>,
    /// When full, a push is answered "busy" at once rather than kept waiting behind a slow disk.
    capacity: usize,
}

#[derive(Debug)]
struct State {
    commands: VecDeque<(Accepted, Command)>,
    closed: bool,
    /// Why nothing can be committed at present.
    failing: Option<Arc<CommitError>>,
    /// Whether the committer has nothing to sync.
    committer_idle: bool,
}

/// What the lane is to do next.
pub(super) enum Next {
    /// Judge the commands that were taken.
    Judge,
    /// Hand over what is staged: the committer waits for it.
    Commit,
    /// Nothing more will come.
    End,
    /// Begin anew: nothing can be committed.
    Fail(Arc<CommitError>),
}

impl Queue {
    pub(super) fn new(capacity: usize, clock: Arc<dyn Clock>) -> Self {
        let state =
            State { commands: VecDeque::new(), closed: false, failing: None, committer_idle: true };
        Self { state: Mutex::new(state), filled: Condvar::new(), clock, capacity }
    }

    /// Accepts a command.
    pub(super) fn push(&self, command: Command) -> Result<(), Fault> {
        let mut state = self.lock();
        if state.closed {
            return Err(Fault::Stopping);
        }
        if let Some(error) = &state.failing {
            return Err(Fault::Commit(Arc::clone(error)));
        }
        // Reaping makes room; it is never refused for the lack of it.
        if state.commands.len() >= self.capacity && !matches!(command, Command::Reap(_)) {
            return Err(Fault::Busy);
        }
        let accepted = Accepted { now: self.clock.now(), wall: self.clock.wall() };
        let was_empty = state.commands.is_empty();
        state.commands.push_back((accepted, command));
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// How many commands wait.
    pub(super) fn len(&self) -> usize {
        self.lock().commands.len()
    }

    /// Accepts no more commands; what waits is still carried out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Accepts no commands for now, and answers those that wait: nothing can be committed.
    pub(super) fn fail(&self, error: &Arc<CommitError>) {
        let mut state = self.lock();
        state.failing.get_or_insert_with(|| Arc::clone(error));
        let commands = std::mem::take(&mut state.commands);
        drop(state);
        self.filled.notify_one();
        for (_, command) in commands {
            command.fail(Fault::Commit(Arc::clone(error)));
        }
    }

    /// Why nothing can be committed at present; `None` if it can.
    pub(super) fn failing(&self) -> Option<Arc<CommitError>> {
        self.lock().failing.clone()
    }

    /// Accepts commands again.
    pub(super) fn resume(&self) {
        let mut state = self.lock();
        state.failing = None;
        state.committer_idle = true;
    }

    /// Waits for the queue to be closed, but no longer than this. Returns whether it is.
    pub(super) fn closed_within(&self, wait: Duration) -> bool {
        let waited = self.filled.wait_timeout_while(self.lock(), wait, |state| !state.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Drops what waits: nobody is left to carry it out.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.commands.clear();
    }

    /// Waits for what the lane is to do next, when it has staged this many commands. Moves further
    /// commands to `to`, up to `max` in all.
    ///
    /// What comes while the committer syncs is judged at once, but goes to the store as one batch
    /// when that is done: a batch costs the disk the same whatever its size.
    pub(super) fn next(
        &self,
        staged: usize,
        max: usize,
        to: &mut Vec<(Accepted, Command)>,
    ) -> Next {
        let mut state = self.lock();
        loop {
            if let Some(error) = &state.failing {
                return Next::Fail(Arc::clone(error));
            }
            if staged > 0 && state.committer_idle {
                state.committer_idle = false;
                return Next::Commit;
            }
            let count = state.commands.len().min(max.saturating_sub(staged));
            if count > 0 {
                to.extend(state.commands.drain(..count));
                return Next::Judge;
            }
            if state.closed && state.commands.is_empty() {
                return Next::End;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The committer has synced what it was given.
    pub(super) fn committer_is_idle(&self) {
        self.lock().committer_idle = true;
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
