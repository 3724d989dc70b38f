//! Removes expired groups from the store.
//!
//! Housekeeping, not correctness: scrapes pass over expired groups whether or not the reaper ran.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::gateway::{Fault, Gateway, REAPER_SLEEP_MAX};
use crate::time::Clock;

/// Sleeps until the next deadline, reaps, and again.
pub async fn run(gateway: Gateway, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut next_deadline = gateway.next_deadline();
    loop {
        let deadline = *next_deadline.borrow_and_update();
        // Wakes up now and then all the same, for the lane to look at the host clock.
        let sleep_until = deadline.min(clock.now().saturating_add(REAPER_SLEEP_MAX));
        let due = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            // Sooner or later than thought.
            Ok(()) = next_deadline.changed() => false,
            () = clock.sleep_until(sleep_until) => true,
        };
        if !due {
            continue;
        }
        // Where etcd has no quorum, it has no end.
        let Some(reaped) = stop.run_until_cancelled(gateway.reap()).await else { return };
        match reaped {
            Ok(()) => {}
            // The lane has ended, which ends the process: not this task's to report.
            Err(Fault::Stopping) => {
                stop.cancelled().await;
                return;
            }
            Err(error) => {
                // An outage of the store is reported by the lane.
                tracing::debug!(%error, "cannot reap expired groups; trying again");
                let retry = clock.now().saturating_add(crate::gateway::REAP_RETRY);
                stop.run_until_cancelled(clock.sleep_until(retry)).await;
            }
        }
    }
}
