//! Why a body could not be parsed.

use thiserror::Error;

use crate::model::{Limit, OverBudget};

/// A refusal of a whole body. Texts follow those of the Go parser, which people search for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    #[error("text format parsing error in line {line}: {reason}")]
    Text { line: usize, reason: String },
    #[error("protobuf parsing error in message {message}: {reason}")]
    Protobuf { message: usize, reason: String },
    /// It has more of something than there may be.
    #[error("{what}: {found} or more, and {setting} is {limit}")]
    Limit { what: &'static str, setting: Limit, found: u64, limit: u64 },
    /// Something in it is longer than it may be.
    #[error("{what} has {found}, and {setting} is {limit}")]
    TooLong { what: &'static str, setting: Limit, found: u64, limit: u64 },
    #[error(transparent)]
    OverBudget(OverBudget),
}
