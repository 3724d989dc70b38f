//! Has a replica that leads say so each second: by that the others know that what they have is of now. And
//! looks how large etcd is.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;

/// From one look at the size of etcd to the next.
const LOOK: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(1);

/// Commits a batch that changes nothing each second, for as long as this replica leads.
pub async fn run(gateway: Gateway, stop: CancellationToken) {
    let Some(mut standing) = gateway.standing() else { return stop.cancelled().await };
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            // The first batch of a leader shows the others that its seat holds.
            Ok(()) = standing.changed() => {}
            _ = ticks.tick() => {}
        }
        // Without a quorum of etcd a beat has no end.
        if standing.borrow_and_update().leads
            && let Some(Err(fault)) = stop.run_until_cancelled(gateway.beat()).await
        {
            tracing::debug!(%fault, "cannot tell the others that this replica leads");
        }
    }
}

/// Looks now and then how large the database of etcd is.
pub async fn watch_size(gateway: Gateway, stop: CancellationToken) {
    let Some(cluster) = gateway.cluster() else { return stop.cancelled().await };
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let look = async {
        loop {
            ticks.tick().await;
            if let Err(status) = cluster.look_at_size().await {
                tracing::debug!(%status, "cannot ask etcd how large it is");
            }
        }
    };
    stop.run_until_cancelled(look).await;
}
