//! The progress of a replica, and the requests that it has handed on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use tokio::sync::watch;

use crate::model::RequestId;

/// The progress of a replica.
#[derive(Debug)]
pub struct Replica {
    /// The revision of the latest batch that is visible, and when it came.
    latest: watch::Sender<(i64, Instant)>,
    /// The requests that were handed on and have no answer yet. Held to look one up, or to note for all
    /// that batches were missed.
    awaited: Mutex<HashMap<RequestId, Fate>>,
    quoted_names: AtomicBool,
    handed_on: AtomicU64,
}

/// A request that was handed on, until it is dropped.
#[derive(Debug)]
pub struct Awaited<'a> {
    replica: &'a Replica,
    id: RequestId,
}

/// All that batches say of a request that was handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// None that is visible has named it.
    Waits,
    /// One that is visible has.
    Done,
    /// None that was followed has, and not all were.
    Missed,
}

impl Replica {
    /// Nothing is visible but this revision.
    pub fn new(revision: i64) -> Self {
        Self {
            latest: watch::Sender::new((revision, Instant::now())),
            awaited: Mutex::default(),
            quoted_names: AtomicBool::new(false),
            handed_on: AtomicU64::new(0),
        }
    }

    /// A batch is visible, and has changes of these requests.
    pub fn has(&self, revision: i64, requests: &[Bytes]) {
        if !requests.is_empty() {
            let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
            for request in requests {
                let id = request.as_ref().try_into().ok().map(RequestId);
                if let Some(fate) = id.and_then(|id| awaited.get_mut(&id)) {
                    *fate = Fate::Done;
                }
            }
        }
        self.latest.send_replace((revision, Instant::now()));
    }

    /// Batches were not followed, as all groups were loaded anew.
    pub fn has_missed(&self) {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        for fate in awaited.values_mut().filter(|fate| **fate == Fate::Waits) {
            *fate = Fate::Missed;
        }
    }

    /// Time since the latest batch. A leader writes one each second.
    pub fn staleness(&self) -> Duration {
        self.latest.borrow().1.elapsed()
    }

    /// The revision of the latest batch that is visible.
    pub fn revision(&self) -> i64 {
        self.latest.borrow().0
    }

    /// Waits until a batch of this revision, or a later one, is visible; at most for this time. Returns
    /// whether it is.
    pub async fn visible(&self, revision: i64, wait: Duration) -> bool {
        let mut latest = self.latest.subscribe();
        let visible = latest.wait_for(|(visible, _)| *visible >= revision);
        tokio::time::timeout(wait, visible).await.is_ok()
    }

    /// From now on it is noted whether a batch names this request.
    pub fn await_request(&self, id: RequestId) -> Awaited<'_> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Fate::Waits);
        Awaited { replica: self, id }
    }

    /// A request was handed on to the replica that leads.
    pub fn note_handed_on(&self) {
        self.handed_on.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were.
    pub fn handed_on(&self) -> u64 {
        self.handed_on.load(Ordering::Relaxed)
    }

    /// Groups may have names beyond the legacy charset.
    pub fn note_quoted_names(&self) {
        self.quoted_names.store(true, Ordering::Relaxed);
    }

    /// Whether they may.
    pub fn has_quoted_names(&self) -> bool {
        self.quoted_names.load(Ordering::Relaxed)
    }
}

impl Awaited<'_> {
    /// All that the batches that are visible say of it.
    pub fn fate(&self) -> Fate {
        let awaited = self.replica.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        awaited.get(&self.id).copied().unwrap_or(Fate::Waits)
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.replica.awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_were_missed_leave_open_what_was_handed_on() {
        let replica = Replica::new(1);
        let [named, other] = [RequestId([1; 16]), RequestId([2; 16])];
        let (awaits_named, awaits_other) =
            (replica.await_request(named), replica.await_request(other));
        replica.has(2, &[Bytes::copy_from_slice(&named.0)]);
        assert_eq!((awaits_named.fate(), awaits_other.fate()), (Fate::Done, Fate::Waits));
        replica.has_missed();
        assert_eq!((awaits_named.fate(), awaits_other.fate()), (Fate::Done, Fate::Missed));
        assert_eq!(replica.await_request(RequestId([3; 16])).fate(), Fate::Waits);
    }
}
