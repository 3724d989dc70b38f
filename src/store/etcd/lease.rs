//! The lease by which a replica says that it is there, and under which it leads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::keys::{Key, Keys};
use super::messages::TxnRequest;
use super::record::Member;
use super::txn;

/// Keeps a lease alive.
pub struct Keeping {
    pub(super) client: Arc<Client>,
    pub(super) keys: Keys,
    pub(super) ttl: Duration,
    /// Tells the others of this replica.
    pub(super) member: Arc<dyn Fn() -> Member + Send + Sync>,
    /// The lease; 0: there is none.
    pub(super) lease: watch::Sender<i64>,
}

impl std::fmt::Debug for Keeping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeping").finish_non_exhaustive()
    }
}

/// From one word about this replica to the next.
const TOLD_EACH: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(200);

impl Keeping {
    /// Keeps a lease until it is stopped, and asks for another where one has ended.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(self) {
        loop {
            match self.client.grant(self.ttl).await {
                Ok(granted) if granted.id != 0 => self.keep_alive(granted.id).await,
                Ok(_) => {}
                Err(status) => tracing::debug!(%status, "etcd grants no lease; trying again"),
            }
            self.lease.send_replace(0);
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Keeps one lease until it has ended.
    async fn keep_alive(&self, id: i64) {
        let mut told: Option<tokio::time::Instant> = None;
        loop {
            if told.is_none_or(|told| told.elapsed() >= TOLD_EACH) {
                match self.tell(id).await {
                    Ok(()) => told = Some(tokio::time::Instant::now()),
                    // The lease is not there any more.
                    Err(status) if status.code() == tonic::Code::NotFound => return,
                    Err(status) => {
                        tracing::debug!(%status, "cannot tell the others of this replica");
                    }
                }
            }
            if told.is_some() {
                self.lease.send_replace(id);
            }
            tokio::time::sleep(self.ttl / 3).await;
            match self.client.renew(id).await {
                Ok(renewed) if renewed.ttl == 0 => return,
                Ok(_) => {}
                Err(status) => tracing::debug!(%status, "cannot renew the lease; trying again"),
            }
        }
    }

    async fn tell(&self, lease: i64) -> Result<(), tonic::Status> {
        let member = (self.member)();
        let key = self.keys.of(&Key::Member(member.id.clone()));
        let value = Bytes::from(serde_json::to_vec(&member).unwrap_or_default());
        let success = vec![txn::put(key, value, lease)];
        let put = TxnRequest { success, ..TxnRequest::default() };
        self.client.repeatable_txn(&put).await.map(drop)
    }
}
