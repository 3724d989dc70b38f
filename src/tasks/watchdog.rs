//! Watches over the write lane: one that is stuck, in the store or in a verdict, must
//! not look alive.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::supervisor;
use crate::gateway::Gateway;

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);

/// After this time the gateway is not ready.
const UNREADY: Duration = Duration::from_secs(10);

/// Looks at the lane and at the folder of the store every second. Ends, and with it the process, once one
/// command or commit has taken longer than this, or the folder is another.
pub async fn run(gateway: Gateway, commit_timeout: Duration, stop: CancellationToken) {
    let timeout = supervisor::watchdog_timeout();
    // systemd advises to be heard twice within the time.
    let interval = timeout.map_or(LOOK, |timeout| LOOK.min(timeout / 2));
    let mut looks = tokio::time::interval(interval.max(Duration::from_millis(10)));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = gateway.watch();
    let mut was_unready = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        if let Err(error) = gateway.is_in_place() {
            tracing::error!(%error, "nothing that is pushed could be found again: the gateway ends");
            return;
        }
        let look = watch.look();
        let stuck = interval.saturating_mul(look.looks);
        let doing = look.doing;
        if stuck > commit_timeout {
            tracing::error!(?stuck, doing, "the write lane is stuck (storage.commit-timeout)");
            return;
        }
        let is_unready = stuck >= UNREADY;
        if is_unready && !was_unready {
            tracing::warn!(?stuck, doing, "the write lane is stuck: pushes wait");
        }
        if is_unready || was_unready {
            gateway.note_stuck(is_unready.then_some((stuck, doing)));
        }
        was_unready = is_unready;
        if timeout.is_some() {
            supervisor::alive();
        }
    }
}
