//! A figure that is expensive to get, asked for no more often than it is worth.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For so long an answer counts: a fraction of any interval at which one scrapes. Asking can take the
/// kernel as long as sending a hundred thousand compressed series.
const FRESH: Duration = Duration::from_millis(100);

/// An answer of the kernel, remembered for a moment.
#[derive(Debug)]
pub struct Remembered<T> {
    /// Held to ask, too: of several scrapes one asks.
    latest: Mutex<Option<(Instant, T)>>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { latest: Mutex::default() }
    }
}

impl<T: Clone> Remembered<T> {
    /// The last answer, or a new one.
    pub fn get(&self, ask: impl FnOnce() -> T) -> T {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = latest.take().filter(|(asked, _)| asked.elapsed() < FRESH);
        latest.insert(fresh.unwrap_or_else(|| (Instant::now(), ask()))).1.clone()
    }
}
