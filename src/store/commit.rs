//! All that a batch has beside its changes of groups, and why a change cannot be in one.

use bytes::Bytes;

use super::error::ReadError;
use crate::model::TtlPolicy;
use crate::time::Moment;

/// Why a change could not be staged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Of etcd.
    #[error(
        "it takes {bytes} bytes and {chunks} chunks in etcd; expected at most {bytes_max} and {chunks_max}"
    )]
    TooLarge { bytes: usize, bytes_max: usize, chunks: usize, chunks_max: usize },
}

/// All about a batch but its changes of groups.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// When the last of its commands was accepted.
    pub at: Moment,
    /// Gateway time minus wall time, as it is kept.
    pub offset_ms: i64,
    /// The numbers that the next group and the next push get.
    pub next: (u64, u64),
    /// The requests whose changes it has.
    pub requests: Vec<Bytes>,
    /// The policy that is in force from now on, and all else that was proposed with it.
    pub policy: Option<(TtlPolicy, Proposal)>,
}

/// Settings by name, with their values as they are written.
pub type SharedSettings = Vec<(String, Vec<String>)>;

/// All that a replica proposes to the others beside a TTL policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// Differs for each, so that whoever made it sees that it was taken up.
    pub name: Bytes,
    /// The other settings that count for all replicas, in the order of the table of settings.
    pub settings: SharedSettings,
}
