//! A replica that starts: whether others run, and the time by their clock.
//!
//! Keys of replicas that have ended stay for as long as their leases, so that a replica that is there may
//! have ended long ago, as after a power cut. A leader that runs writes each second.

use std::time::{Duration, Instant};

use prost::Message as _;
use tonic::Status;

use super::client::Client;
use super::keys::{Key, Keys};
use super::messages::RangeRequest;
use super::record::BatchRecord;
use super::{Options, Seat};
use crate::time::UnixMillis;

/// The others, when this replica has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// There are none: nobody has kept the time since the last batch.
    Nobody,
    /// One leads; gateway time, and when it was heard.
    Leader(UnixMillis, Instant),
    /// Others may run; none has written while this replica waited for it.
    Unknown,
}

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(100);
/// A leader writes within this time.
const WRITES_WITHIN: Duration = Duration::from_millis(1500);
/// A lease has ended after this, and the time for which it was granted, even if etcd has another leader
/// since.
const LEASE_SLACK: Duration = Duration::from_secs(2);
const SAID_AFTER: Duration = Duration::from_secs(2);

impl Company {
    /// Looks who else is there.
    pub(super) async fn find(
        client: &Client,
        keys: &Keys,
        options: &Options,
        seat: &Seat,
    ) -> Result<Self, Status> {
        if seat.is_alone(&options.id) {
            return Ok(Self::Nobody);
        }
        let patience =
            if options.has_to_know { options.lease_ttl * 2 + LEASE_SLACK } else { WRITES_WITHIN };
        let (began, mut said) = (Instant::now(), false);
        while began.elapsed() < patience {
            if let Some(now) = written(client, keys, seat.batch_revision).await? {
                return Ok(Self::Leader(now, Instant::now()));
            }
            if is_alone(client, keys, &options.id).await? {
                return Ok(Self::Nobody);
            }
            if !said && began.elapsed() >= SAID_AFTER {
                said = true;
                tracing::info!(
                    lease = ?options.lease_ttl,
                    "there are keys of other replicas, and none of them leads; waiting for one to lead, \
                     or for their leases to end"
                );
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(Self::Unknown)
    }
}

/// Gateway time by the latest batch, if it is not the one of this revision.
async fn written(
    client: &Client,
    keys: &Keys,
    revision: i64,
) -> Result<Option<UnixMillis>, Status> {
    let request = RangeRequest { key: keys.of(&Key::Batch), ..RangeRequest::default() };
    let found = client.range(&request).await?.kvs.into_iter().next();
    let found = found.filter(|kv| kv.mod_revision != revision);
    // A record that cannot be read is dealt with where it is followed.
    let record = found.and_then(|kv| BatchRecord::decode(kv.value).ok());
    Ok(record.map(|record| UnixMillis(record.now_ms)))
}

/// Whether there is no other replica: whoever leads is among them, under the same lease.
async fn is_alone(client: &Client, keys: &Keys, own: &str) -> Result<bool, Status> {
    let (key, range_end) = keys.members();
    let members = RangeRequest { key, range_end, keys_only: true, ..RangeRequest::default() };
    let members = client.range(&members).await?.kvs;
    let is_other = |key: &[u8]| matches!(keys.parse(key), Some(Key::Member(id)) if id != own);
    Ok(!members.iter().any(|kv| is_other(&kv.key)))
}
