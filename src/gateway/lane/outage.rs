//! The lane after a commit that failed: the disk is full, or broken.
//!
//! sled refuses every write after one has failed, until it is opened again. And the judge is ahead
//! of the store by then: it has judged what will never be there. So once the disk takes writes
//! again, the store is opened anew and everything loaded from it, as at a start, while scrapes go
//! on from the view that there was. Nothing that was acknowledged is lost: it was synced.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{Lane, LaneError};
use crate::gateway::state::State;
use crate::store::{CommitError, OpenError};

/// From the failure to the first attempt. Each further one waits twice as long as that before it,
/// up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Attempts take at most one part in so many of the time.
const TRYING_SHARE: u32 = 10;
/// As often as this it is said that the outage goes on.
const REMINDER: Duration = Duration::from_mins(1);

/// Waits until the store can be written again. Gives up if the gateway is stopped meanwhile, or if
/// the store turns out to be damaged.
pub(super) fn overcome(lane: &mut Lane, error: Arc<CommitError>) -> Result<(), LaneError> {
    if matches!(*error, CommitError::Displaced(_)) {
        // Nothing is where it could be found again.
        return Err(LaneError::Displaced(error));
    }
    let began = Instant::now();
    let cause = std::error::Error::source(&*error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(
        %error,
        cause,
        "the store cannot be written: pushes are refused until it can, scrapes go on"
    );
    let (mut reminded, mut retry) = (began, RETRY);
    let mut works = begin_to_change(lane, &error)?;
    loop {
        if works && let Err(error) = lane.work_for(retry) {
            lane.queue.fail(&error);
            if lane.following.is_some() {
                // Another leads, or what is in memory is not what is stored any more.
                return lane.step_down(&error);
            }
            works = false;
        }
        let wait = if works { Duration::ZERO } else { retry };
        if lane.queue.closed_within(wait) {
            return Err(LaneError::Commit(error));
        }
        let tried = Instant::now();
        let failed = match begin_anew(lane, error.is_suspect()) {
            Ok(()) => break,
            // As long as there is something to be read, it is served.
            Err(failed) if lane.committer.store.read_only().is_some() => failed,
            Err(
                failed @ (OpenError::Damaged { .. }
                | OpenError::Newer { .. }
                | OpenError::Cluster { .. }),
            ) => {
                return Err(LaneError::Reopen(failed));
            }
            Err(failed) => failed,
        };
        // An attempt may write a whole store: mostly nothing is tried.
        retry = RETRY_MAX.min(retry * 2).max(tried.elapsed() * TRYING_SHARE);
        if reminded.elapsed() >= REMINDER {
            reminded = Instant::now();
            let cause = std::error::Error::source(&failed).map(ToString::to_string);
            let cause = cause.unwrap_or_default();
            tracing::error!(error = %failed, cause, "the store still cannot be written");
        }
    }
    let term = lane.committer.store.shared().map_or(0, |shared| shared.term());
    lane.queue.resume(term);
    let took = began.elapsed();
    tracing::info!(?took, "the store can be written again: pushes are accepted");
    Ok(())
}

/// Goes on with deletions alone, where etcd has no room for anything else; with changes of groups that are
/// there, where there is a ballast to give up for them. Returns whether it does.
fn begin_to_change(lane: &mut Lane, error: &CommitError) -> Result<bool, LaneError> {
    let store = Arc::clone(&lane.committer.store);
    let Some(shared) = store.shared() else {
        if !error.is_full() || !store.give_up_ballast() {
            return Ok(false);
        }
        if let Err(error) = store.open_again(error.is_suspect()) {
            tracing::error!(%error, "the store cannot be opened, though it was given its ballast");
            return Ok(false);
        }
        load_anew(lane).map_err(LaneError::Reopen)?;
        lane.queue.take_changes();
        tracing::warn!("until there is room, groups can be deleted and their TTLs be changed");
        return Ok(true);
    };
    if !matches!(error, CommitError::EtcdFull) {
        return Ok(false);
    }
    shared.forget_pending();
    load_anew(lane).map_err(LaneError::Reopen)?;
    // There is no room for groups that can be restored.
    lane.judge.history.close();
    Ok(true)
}

/// Opens the store again, and begins anew with what it has.
pub(super) fn begin_anew(lane: &mut Lane, suspect: bool) -> Result<(), OpenError> {
    lane.committer.store.reopen(suspect)?;
    load_anew(lane)
}

/// Begins anew with what is stored.
fn load_anew(lane: &mut Lane) -> Result<(), OpenError> {
    let committer = &lane.committer;
    let mut options = lane.judge.options();
    if let Some((policy, _)) = committer.store.shared().and_then(|shared| shared.policy()) {
        // That of the judge may be one that was not committed.
        options.policy.ttl = Arc::new(policy);
    }
    let shared = committer.store.shared();
    let at = shared.map_or_else(|| lane.clock.moment(), |shared| shared.moment(&*lane.clock));
    let (state, writer, _) = State::load(&committer.store, options, at)?;
    let State { judge, mut view } = state;
    let next = view.next_deadline();
    let mut published = committer.view.write().unwrap_or_else(PoisonError::into_inner);
    let before = std::mem::replace(&mut *published, view);
    drop(published);
    // Not under the lock: it may be large.
    drop(before);
    committer.next_deadline.send_replace(next);
    (lane.judge, lane.writer) = (judge, writer);
    Ok(())
}
