//! Waiting for a state, with a deadline that only a broken program reaches.

use std::time::{Duration, Instant};

/// Generous: a loaded machine must not fail a test.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Looks until `look` finds something.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "the state of another process can only be polled")]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
