//! The errors of a store, by operation.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::family::DecodeError;

/// Why a store could not be opened or read at start. Nothing was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("cannot use {} as the storage folder", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "the store in {} is in use by another process; stop that one, or give this one its own \
         storage.path", path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "the store in {} has schema version {stored}, and this build of tidegate knows versions up \
         to {known}; use the tidegate that wrote it, or a newer one", path.display()
    )]
    Newer { path: PathBuf, stored: u32, known: u32 },
    /// To be looked at as it is, without a gateway.
    #[error(
        "the store in {} has schema version {stored}: it is read once a gateway of this build has brought \
         it to version {known} (start one on it, or on a copy)", path.display()
    )]
    Older { path: PathBuf, stored: u32, known: u32 },
    #[error(
        "the store in {} is damaged: {what}; `tidegate verify` says what can be read of it, \
         `tidegate repair` builds a new store of that", path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error("cannot read the backup {}", path.display())]
    Backup { path: PathBuf, source: io::Error },
    #[error("cannot use the cluster {name} in etcd: {what}")]
    Cluster { name: String, what: String },
    /// For now.
    #[error("etcd does not take writes: {0}")]
    NotTaken(String),
    #[error("cannot open the store in {}", path.display())]
    Sled { path: PathBuf, source: sled::Error },
}

/// Why there is no backup.
#[derive(Debug, Error)]
pub enum BackupError {
    #[error("another backup is being made; try again later")]
    Busy,
    #[error(
        "the store can only be read at present: a backup is made of its folder, by a stopped gateway"
    )]
    Unopened,
    #[error("replicas share their groups in etcd, whose own snapshots are their backup")]
    Shared,
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Whoever was to have it has left.
    #[error("nobody takes the backup")]
    Abandoned,
}

/// Why a new store could not be built in place of one that is damaged. That one is as it was.
#[derive(Debug, Error)]
pub enum RepairError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot write the new store")]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Close(#[from] CloseError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Of a backup that was to be restored.
    #[error("the backup is not whole: {0}; with --in-part all that is left of it is restored")]
    NotWhole(String),
    #[error("there is a store in {}: a backup is restored where there is none", .0.display())]
    NotEmpty(PathBuf),
}

/// Why a batch was not committed. It may or may not be on disk; no further commit is accepted until
/// the store is opened again.
#[derive(Debug, Error)]
pub enum CommitError {
    #[error("no space left on the disk of the store")]
    StorageFull,
    #[error("etcd has no room: raise its quota, or compact and defragment it")]
    EtcdFull,
    #[error("cannot write to the store")]
    Apply(#[source] sled::Error),
    #[error("cannot flush the store")]
    Flush(#[source] sled::Error),
    #[error("cannot sync the store to disk")]
    Sync(#[source] io::Error),
    #[error("the store is being opened again")]
    Closed,
    #[error(
        "the folder of the store, {}, was removed or replaced while it was in use", .0.display()
    )]
    Displaced(PathBuf),
    #[error("the store can only be read: {}", root(&**.0))]
    Unopened(#[source] Box<RepairError>),
    /// Not committed, and never will be.
    #[error("another replica leads")]
    NotLeading,
    /// It may have been committed.
    #[error("this replica leads no longer, and whether its last batch was stored is not known")]
    Unclear,
    /// Not committed.
    #[error("etcd refuses the batch: {0}")]
    Etcd(String),
}

/// Why a store could not be closed in order. Everything that was synced is safe.
#[derive(Debug, Error)]
pub enum CloseError {
    #[error("the store could not be opened again after a commit had failed")]
    Closed,
    #[error("cannot flush the store to close it")]
    Flush(#[source] sled::Error),
    #[error("cannot seal the closed store")]
    Seal(#[source] io::Error),
}

/// Why a group could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("the store is being opened again")]
    Closed,
    #[error("cannot read group {number}")]
    Sled { number: u64, source: sled::Error },
    #[error("group {number} is damaged: {what}")]
    Damaged { number: u64, what: String },
    #[error("group {number} is damaged")]
    Family { number: u64, source: DecodeError },
}

/// The first cause of an error.
fn root(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}

impl OpenError {
    /// Whether there is no room on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Folder { source, .. } | Self::Sled { source: sled::Error::Io(source), .. } => {
                source.kind() == io::ErrorKind::StorageFull
            }
            _ => false,
        }
    }
}

impl RepairError {
    /// Whether there is no room on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Open(error) => error.is_full(),
            Self::Commit(error) => error.is_full(),
            Self::Close(CloseError::Seal(source)) => source.kind() == io::ErrorKind::StorageFull,
            Self::Close(_) | Self::Backup(_) | Self::NotWhole(_) | Self::NotEmpty(_) => false,
        }
    }

    /// The same, of a store that could not be opened.
    pub(super) fn into_open(self, path: &Path) -> OpenError {
        match self {
            Self::Open(error) => error,
            error => {
                let full = error.is_full().then_some(io::ErrorKind::StorageFull);
                let source = io::Error::new(full.unwrap_or(io::ErrorKind::Other), error);
                OpenError::Folder { path: path.to_owned(), source }
            }
        }
    }
}

impl CommitError {
    /// Whether there is no room on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            Self::StorageFull | Self::EtcdFull => true,
            Self::Sync(source) => source.kind() == io::ErrorKind::StorageFull,
            Self::Unopened(source) => source.is_full(),
            Self::Apply(_)
            | Self::Flush(_)
            | Self::Closed
            | Self::Displaced(_)
            | Self::NotLeading
            | Self::Unclear
            | Self::Etcd(_) => false,
        }
    }

    /// Whether another replica is to be asked.
    pub fn is_not_leading(&self) -> bool {
        matches!(self, Self::NotLeading | Self::Unclear)
    }

    /// Whether it may have been committed all the same.
    pub fn is_unclear(&self) -> bool {
        matches!(self, Self::Unclear)
    }

    /// Whether the kernel may have dropped what it could not write, so that what is read from the
    /// file is more than what the disk has.
    pub fn is_suspect(&self) -> bool {
        matches!(self, Self::Sync(_) | Self::Flush(_))
    }
}
