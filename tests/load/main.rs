//! The real binary under load: limits that are reached in earnest, thousands of connections,
//! clients that are slow or never read, bombs, churn, and many groups.
//!
//! Each test looks at the process from outside, its memory, its disk, its metrics, and has others
//! push and scrape meanwhile, who must not notice. The answers of each limit, case by case, are in
//! `tests/blackbox/limits.rs`.
//!
//! Bounds are generous, and times are compared with those of the same run: a slow machine fails
//! nothing. The usual run is short; [`SECONDS_VARIABLE`] and [`GROUPS_VARIABLE`] make it long, and
//! with `-- --nocapture` it prints figures.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "whatever a test does not expect fails it"
)]

mod attack;
mod bombs;
mod cgroup;
mod churn;
mod connections;
mod costs;
mod gateway;
mod groups;
mod others;
mod queue;
mod scrapers;
mod streams;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// Set to a number, the churn goes on for so many seconds. An hour is the long mode.
const SECONDS_VARIABLE: &str = "TIDEGATE_LOAD_SECONDS";

/// Set to a number, there are so many groups. A million is the long mode.
const GROUPS_VARIABLE: &str = "TIDEGATE_LOAD_GROUPS";

/// A variable of the environment that is a number.
#[expect(clippy::disallowed_methods, reason = "these are no settings of the gateway")]
fn variable(name: &str, otherwise: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return otherwise };
    text.parse().unwrap_or_else(|_| panic!("{name} is a number"))
}

/// Tests that take times have the machine to themselves.
static MACHINE: RwLock<()> = RwLock::new(());

/// For a test that takes no times: others may run beside it.
fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// For a test that takes times.
fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Prints a figure.
#[expect(clippy::print_stdout, reason = "the figures are for whoever runs it with --nocapture")]
fn figure(text: &str) {
    println!("{text}");
}

/// Lets a client take its time.
#[expect(
    clippy::disallowed_methods,
    reason = "how slow a client is, or for how long, is the subject"
)]
fn pass(time: Duration) {
    std::thread::sleep(time);
}
