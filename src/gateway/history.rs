//! Groups that are gone and can be brought back: the latest that expired or were deleted.
//!
//! What was stored of them stays where it is, in the store; a tombstone beside it says that the
//! group is gone. So a group departs with one small write, and takes its data with it only once
//! there are too many.

use std::collections::VecDeque;
use std::sync::Arc;

use super::group::GroupState;
use crate::model::GroupingKey;
use crate::store::ChunkRef;
use crate::time::UnixNanos;

/// How much is kept of what is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Groups; zero keeps none.
    pub groups: usize,
    /// Bytes in the store.
    pub bytes: u64,
}

/// Why a group is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    Expired,
    Deleted,
}

/// A group that is gone.
#[derive(Debug)]
pub struct Departed {
    /// Orders departures.
    pub sequence: u64,
    pub key: GroupingKey,
    pub why: Departure,
    /// Wall time.
    pub at: UnixNanos,
    /// The rule that its TTL came from: its position, from zero, and its selector.
    pub rule: Option<(usize, String)>,
    pub state: Arc<GroupState>,
    pub series: u32,
    pub families: u32,
    /// Its number in the store, and what lies there of it: head, chunks, tombstone.
    pub stored_id: u64,
    pub chunks: Vec<ChunkRef>,
}

/// The latest departures, oldest first.
#[derive(Debug)]
pub struct History {
    list: VecDeque<Arc<Departed>>,
    bytes: u64,
    limits: HistoryLimits,
}

impl Departure {
    /// As the API and the events name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Deleted => "deleted",
        }
    }
}

impl Departed {
    /// Bytes that it takes in the store.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum()
    }
}

impl History {
    /// Of nothing.
    pub fn new(limits: HistoryLimits) -> Self {
        Self { list: VecDeque::new(), bytes: 0, limits }
    }

    /// How much it keeps.
    pub fn limits(&self) -> HistoryLimits {
        self.limits
    }

    /// How many groups are kept at most.
    pub fn groups_max(&self) -> usize {
        self.limits.groups
    }

    /// Whether a group with so many bytes is kept at all.
    pub fn keeps(&self, bytes: u64) -> bool {
        bytes <= self.limits.bytes
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Departed>> {
        self.list.iter()
    }

    /// Adds the latest.
    pub fn push(&mut self, departed: Arc<Departed>) {
        self.bytes += departed.bytes();
        self.list.push_back(departed);
    }

    /// Takes one out.
    pub fn take(&mut self, sequence: u64) -> Option<Arc<Departed>> {
        let at = self.list.iter().position(|departed| departed.sequence == sequence)?;
        let departed = self.list.remove(at)?;
        self.bytes -= departed.bytes();
        Some(departed)
    }

    /// Takes out the oldest, if there are too many.
    pub fn pop_excess(&mut self) -> Option<Arc<Departed>> {
        if self.list.len() <= self.limits.groups && self.bytes <= self.limits.bytes {
            return None;
        }
        let oldest = self.list.pop_front()?;
        self.bytes -= oldest.bytes();
        Some(oldest)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.list.clear();
        self.bytes = 0;
    }

    /// Puts them in order, once all that were stored have been added.
    pub fn sort(&mut self) {
        self.list.make_contiguous().sort_unstable_by_key(|departed| departed.sequence);
    }
}
