//! The name of a request that one replica hands on to another.

/// 16 random bytes, by which a replica finds out whether a request was carried out that it has no answer
/// to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub [u8; 16]);
