//! Takes a sample of the self metrics now and then, for the page that shows the last hour.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::telemetry::recent::SAMPLE_EVERY;
use crate::time::Clock;

/// Takes samples until it is stopped.
pub async fn run(gateway: Gateway, clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        gateway.sample();
        let next = clock.now().saturating_add(SAMPLE_EVERY);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = clock.sleep_until(next) => {}
        }
    }
}
