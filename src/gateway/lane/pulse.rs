//! Whether the lane and the committer get on with what they do, for whoever watches over them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::model::GroupingKey;

/// Counts how often work has begun and ended: odd while it is under way.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Pulse {
    count: AtomicU64,
    /// Held to note or to read what is being done.
    doing: Mutex<Doing>,
}

/// The work under way, and the group it is for.
#[derive(Clone, Debug, Default)]
struct Doing {
    what: &'static str,
    group: Option<GroupingKey>,
}

/// Work under way, until it is dropped.
pub(in crate::gateway) struct Busy<'a>(&'a Pulse);

/// Watches a pulse, by looking at it at equal intervals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Watched {
    count: u64,
    looks: u32,
}

impl Pulse {
    /// Work begins.
    pub(in crate::gateway) fn busy(
        &self,
        what: &'static str,
        group: Option<&GroupingKey>,
    ) -> Busy<'_> {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) =
            Doing { what, group: group.cloned() };
        self.count.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }

    pub(in crate::gateway) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The work under way, or the last that was.
    pub(in crate::gateway) fn doing(&self) -> String {
        let Doing { what, group } =
            self.doing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match group {
            Some(group) => format!("{what} {group}"),
            None => what.to_owned(),
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Watched {
    /// Takes a look. Returns in how many in succession the same work was under way.
    ///
    /// Looks, not time: a process that was stopped, or a host that was suspended, takes none.
    pub(in crate::gateway) fn look(&mut self, count: u64) -> u32 {
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
            let busy = pulse.busy("work", None);
            assert_eq!((look(), look()), (0, 1), "busy");
            drop(busy);
        }
        assert_eq!(look(), 0);
        let _busy = pulse.busy("work", None);
        assert_eq!((look(), look(), look()), (0, 1, 2), "stuck");
    }
}
