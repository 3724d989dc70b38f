//! Memory that is counted before it is taken.

use std::fmt;

use thiserror::Error;

/// Counts the memory of one request. All of it is given back when this is dropped.
pub trait Meter: fmt::Debug + Send {
    /// Counts so many bytes more, or refuses, and then counts none.
    fn take(&mut self, bytes: usize) -> Result<(), OverBudget>;
}

/// There is no room for what a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OverBudget {
    /// Even if it were the only one.
    #[error(
        "the request takes more than {limit} bytes of memory, which is all that the requests under way \
         may take (limits.bytes-in-flight)"
    )]
    Alone { limit: usize },
    /// Beside the others that are under way.
    #[error(
        "the requests under way have too many bytes, and limits.bytes-in-flight is {limit}; try \
         again later"
    )]
    Together { limit: usize },
}

/// Counts nothing: for what comes from no client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unmetered;

impl Meter for Unmetered {
    fn take(&mut self, _: usize) -> Result<(), OverBudget> {
        Ok(())
    }
}
