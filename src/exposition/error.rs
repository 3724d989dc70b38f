//! Why a body could not be parsed.

use thiserror::Error;

/// A refusal of a whole body. Texts follow those of the Go parser, which people search for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    #[error("text format parsing error in line {line}: {reason}")]
    Text { line: usize, reason: String },
    #[error("protobuf parsing error in message {message}: {reason}")]
    Protobuf { message: usize, reason: String },
}
