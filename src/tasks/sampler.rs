//! Takes a sample of the self metrics now and then, for the page that shows the last hour.

use std::sync::Arc;

use super::StopToken;
use crate::gateway::Gateway;
use crate::telemetry::recent::SAMPLE_EVERY;
use crate::time::Clock;

/// Takes samples until it is stopped.
pub async fn run(gateway: Gateway, clock: Arc<dyn Clock>, mut stop: StopToken) {
    loop {
        gateway.sample();
        let next = clock.now().saturating_add(SAMPLE_EVERY);
        tokio::select! {
            biased;
            () = stop.stopped() => return,
            () = clock.sleep_until(next) => {}
        }
    }
}
