//! Whether the lane and the committer get on with what they do, for whoever watches over them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts how often work on the store has begun and ended: odd while it is under way.
#[derive(Debug, Default)]
pub(super) struct Pulse(AtomicU64);

/// Work under way, until it is dropped.
pub(super) struct Busy<'a>(&'a Pulse);

/// Watches a pulse, by looking at it at equal intervals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Watched {
    count: u64,
    looks: u32,
}

impl Pulse {
    /// Work on the store begins.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Watched {
    /// Takes a look. Returns in how many in succession the same work was under way.
    ///
    /// Looks, not time: a process that was stopped, or a host that was suspended, takes none.
    pub(super) fn look(&mut self, count: u64) -> u32 {
        let goes_on = count % 2 == 1 && count == self.count;
        self.looks = if goes_on { self.looks + 1 } else { 0 };
        self.count = count;
        self.looks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_that_does_not_end_counts() {
        let (pulse, mut watched) = (Pulse::default(), Watched::default());
        let mut look = || watched.look(pulse.count());
        assert_eq!((look(), look()), (0, 0), "idle");
        for _ in 0..3 {
            let busy = pulse.busy();
            assert_eq!((look(), look()), (0, 1), "busy");
            drop(busy);
        }
        assert_eq!(look(), 0);
        let _busy = pulse.busy();
        assert_eq!((look(), look(), look()), (0, 1, 2), "stuck");
    }
}
