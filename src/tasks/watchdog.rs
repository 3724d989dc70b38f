//! Watches over the write lane: one that is stuck in the store must not look alive.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::{StopToken, supervisor};
use crate::gateway::Gateway;

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);

/// Looks at the lane every second. Ends, and with it the process, once one commit has taken longer
/// than this.
pub async fn run(gateway: Gateway, commit_timeout: Duration, mut stop: StopToken) {
    let timeout = supervisor::watchdog_timeout();
    // systemd advises to be heard twice within the time.
    let interval = timeout.map_or(LOOK, |timeout| LOOK.min(timeout / 2));
    let mut looks = tokio::time::interval(interval.max(Duration::from_millis(10)));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = gateway.watch();
    loop {
        tokio::select! {
            () = stop.stopped() => return,
            _ = looks.tick() => {}
        }
        let stuck = interval.saturating_mul(watch.look());
        if stuck > commit_timeout {
            tracing::error!(
                ?stuck,
                "the write lane is stuck in the store (storage.commit-timeout)"
            );
            return;
        }
        if timeout.is_some() {
            supervisor::alive();
        }
    }
}
