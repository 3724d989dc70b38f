//! Durable storage of metric groups.
//!
//! It is spoken to in groups and families: [`Writer`] stages changes of groups and commits them batch
//! by batch, [`Store::load`] and [`Store::read`] give groups. Inside, a group is a few chunks, each a
//! message of `record`; `layout` decides which family lies in which, `catalog` remembers that, and
//! `sled` keeps chunks as pieces in a file, `etcd` as keys that replicas share.
//!
//! Promises
//! - When [`Store::sync`] has returned `Ok`, the batches applied before it survive a crash of this
//!   process and of the host (`tests/durability/crash`). A batch is there whole or not at all.
//! - A group that is read is the one that was written, or an error.
//! - A store that cannot be used is left as it is found.
//!
//! Deliberately absent
//! - No clock: deadlines are data here, nothing expires.
//! - No wire formats: the records are private to Tidegate and change only with a migration.
//!
//! Assumes that the file system honours fsync. A disk that lies about it voids the first promise.

mod batch;
mod catalog;
mod chunk;
mod commit;
mod engine;
pub mod error;
pub mod etcd;
mod family;
mod group;
mod layout;
#[cfg(test)]
pub(crate) mod map;
mod record;
mod sled;
mod writer;

pub use self::sled::schema::SCHEMA_VERSION;
pub use self::sled::{
    Expected, Findings, ImportState, LostGroup, Options, PartOfGroup, back_up, repair, restore,
    verify, verify_backup,
};
pub use commit::{Commit, Proposal, SharedSettings, StageError};
pub use engine::Store;
pub use error::{BackupError, CloseError, CommitError, OpenError, ReadError, RepairError};
pub use family::{DecodeError, EncodedFamily, FamilyHeader};
pub use group::{Removal, StoredGroup, StoredPart};
pub use record::encode_metrics;
pub use writer::{FamiliesChange, StagedGroups, Writer};

/// Batches and pieces, for [`crate::fuzzing`] to make of any bytes.
#[cfg(any(test, fuzzing))]
pub(crate) mod raw {
    pub(crate) use super::batch::Batch;
    pub(crate) use super::catalog::Totals;
    pub(crate) use super::chunk::{ChunkKey, HEAD, TOMBSTONE};
    pub(crate) use super::sled::piece;
}

#[cfg(test)]
mod tests;
