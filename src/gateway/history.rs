//! The latest groups that expired or were deleted, and can be restored.
//!
//! Their records stay where they are; a tombstone beside them says that the group was removed. So a
//! group is removed with one small write, and purged only once there are too many.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::{GroupState, GroupingKey, RemovalReason};
use crate::store::Removal;
use crate::time::UnixNanos;

/// How much is kept of removed groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Groups; zero keeps none.
    pub groups: usize,
    /// Bytes in the store.
    pub bytes: u64,
}

/// A group that was removed.
#[derive(Debug)]
pub struct RemovedGroup {
    /// Orders removals.
    pub sequence: u64,
    pub key: GroupingKey,
    pub reason: RemovalReason,
    /// Wall time.
    pub at: UnixNanos,
    /// The rule that its TTL came from: its position, from zero, and its selector.
    pub rule: Option<(usize, String)>,
    pub state: Arc<GroupState>,
    pub series: u32,
    pub families: u32,
    /// Its number in the store, and the bytes that it takes there.
    pub number: u64,
    pub bytes: u64,
}

/// The latest removals, oldest first.
#[derive(Debug)]
pub struct History {
    list: VecDeque<Arc<RemovedGroup>>,
    bytes: u64,
    limits: HistoryLimits,
    /// Whether nothing more is kept.
    is_closed: bool,
}

impl RemovedGroup {
    /// A group that takes so many bytes in the store.
    pub fn new(
        number: u64,
        key: GroupingKey,
        state: Arc<GroupState>,
        removal: Removal,
        bytes: u64,
    ) -> Self {
        let Removal { sequence, at, reason, deadline: _, rule, series, families } = removal;
        Self { sequence, key, reason, at, rule, state, series, families, number, bytes }
    }
}

impl History {
    /// Of nothing.
    pub fn new(limits: HistoryLimits) -> Self {
        Self { list: VecDeque::new(), bytes: 0, limits, is_closed: false }
    }

    /// How much it keeps.
    pub fn limits(&self) -> HistoryLimits {
        self.limits
    }

    /// How many groups are kept at most.
    pub fn groups_max(&self) -> usize {
        self.limits.groups
    }

    /// Whether a group of so many bytes is kept.
    pub fn keeps(&self, bytes: u64) -> bool {
        !self.is_closed && bytes <= self.limits.bytes
    }

    /// From now on no group is kept: the store takes nothing but deletions.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether that is so.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<RemovedGroup>> {
        self.list.iter()
    }

    /// Adds the latest: its sequence is above all others.
    pub fn push(&mut self, removed: Arc<RemovedGroup>) {
        self.bytes += removed.bytes;
        self.list.push_back(removed);
    }

    /// Takes one out.
    pub fn take(&mut self, sequence: u64) -> Option<Arc<RemovedGroup>> {
        let at = self.list.binary_search_by_key(&sequence, |removed| removed.sequence).ok()?;
        let removed = self.list.remove(at)?;
        self.bytes -= removed.bytes;
        Some(removed)
    }

    /// Takes out the one of a number in the store.
    pub fn take_number(&mut self, number: u64) -> Option<Arc<RemovedGroup>> {
        let sequence = self.list.iter().find(|removed| removed.number == number)?.sequence;
        self.take(sequence)
    }

    /// Takes out the oldest, if there are too many.
    pub fn pop_excess(&mut self) -> Option<Arc<RemovedGroup>> {
        if self.list.len() <= self.limits.groups && self.bytes <= self.limits.bytes {
            return None;
        }
        let oldest = self.list.pop_front()?;
        self.bytes -= oldest.bytes;
        Some(oldest)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.list.clear();
        self.bytes = 0;
    }

    /// Puts them in order, once all that were stored have been added.
    pub fn sort(&mut self) {
        self.list.make_contiguous().sort_unstable_by_key(|removed| removed.sequence);
    }
}
