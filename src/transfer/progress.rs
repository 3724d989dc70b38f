//! Says every few seconds how far something is.

use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(2);

/// How far something is.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    total: usize,
    done: usize,
    said: Instant,
}

impl Progress {
    pub(super) fn new(what: &'static str, total: usize) -> Self {
        Self { what, total, done: 0, said: Instant::now() }
    }

    /// One more is done.
    pub(super) fn step(&mut self) {
        self.done += 1;
        if self.said.elapsed() >= INTERVAL {
            self.said = Instant::now();
            tracing::info!(groups = self.done, of = self.total, "{}", self.what);
        }
    }
}
