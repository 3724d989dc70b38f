//! The two engines of a store: sled, in a folder of this process alone; and etcd, which replicas share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::batch::Batch;
use super::catalog::Totals;
use super::chunk::ChunkKey;
use super::commit::Commit;
use super::error::{BackupError, CloseError, CommitError, OpenError, ReadError};
use super::etcd::EtcdStore;
use super::group::{Assembled, StoredGroup};
use super::sled::{self, ImportState, SledStore};

/// An open store.
#[derive(Debug)]
pub enum Store {
    Sled(Box<SledStore>),
    Etcd(Arc<EtcdStore>),
}

impl Store {
    /// Opens the store in a folder, creates it where there is none, and migrates it where it is
    /// older.
    pub fn open(options: &sled::Options) -> Result<Self, OpenError> {
        SledStore::open(options).map(Box::new).map(Self::Sled)
    }

    /// Opens the store in a folder that has one: nothing is created.
    pub fn open_existing(options: &sled::Options) -> Result<Self, OpenError> {
        sled::exists(&options.path)?;
        Self::open(options)
    }

    /// The part that replicas have beside a store, if it is one that they share.
    pub fn shared(&self) -> Option<&Arc<EtcdStore>> {
        match self {
            Self::Sled(_) => None,
            Self::Etcd(store) => Some(store),
        }
    }

    /// The folder; `None` where replicas share the store.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sled(store) => Some(store.path()),
            Self::Etcd(_) => None,
        }
    }

    /// Opens the store again after a commit has failed. `suspect`: what the kernel has of a file may be
    /// more than what the disk has.
    pub fn reopen(&self, suspect: bool) -> Result<(), OpenError> {
        match self {
            Self::Sled(store) => store.reopen(suspect),
            Self::Etcd(store) => store.reopen(),
        }
    }

    /// The same, whether or not there is room for more than changes of groups that are there.
    pub fn open_again(&self, suspect: bool) -> Result<(), OpenError> {
        match self {
            Self::Sled(store) => store.open_again(suspect),
            Self::Etcd(store) => store.reopen(),
        }
    }

    /// Gives up the room that was kept for changes of groups that are there, once the disk is full.
    /// Returns whether there was any.
    pub fn give_up_ballast(&self) -> bool {
        match self {
            Self::Sled(store) => store.give_up_ballast(),
            Self::Etcd(_) => false,
        }
    }

    /// Gives all that a backup of one moment consists of to `part`, in order. Blocks, and is long.
    pub fn back_up(
        &self,
        part: &mut dyn FnMut(Bytes) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        match self {
            Self::Sled(store) => store.back_up(part),
            Self::Etcd(_) => Err(BackupError::Shared),
        }
    }

    /// Fails once the files of the store are no longer those that are written to, as where somebody has
    /// removed the folder.
    pub fn is_in_place(&self) -> Result<(), CommitError> {
        match self {
            Self::Sled(store) => store.is_in_place(),
            Self::Etcd(_) => Ok(()),
        }
    }

    /// An error of this store.
    pub fn damaged(&self, what: String) -> OpenError {
        match self {
            Self::Sled(store) => store.damaged(what),
            Self::Etcd(store) => OpenError::Cluster { name: store.name().to_owned(), what },
        }
    }

    /// Every group, ordered by number; those that were removed, too.
    pub fn load(
        &self,
    ) -> Result<impl Iterator<Item = Result<StoredGroup, OpenError>> + '_, OpenError> {
        Ok(self.assembled()?.map(|assembled| assembled.map(|assembled| assembled.group)))
    }

    pub(super) fn assembled(
        &self,
    ) -> Result<Box<dyn Iterator<Item = Result<Assembled, OpenError>> + '_>, OpenError> {
        match self {
            Self::Sled(store) => store.assembled(),
            Self::Etcd(store) => Ok(Box::new(store.assembled())),
        }
    }

    /// Compares the groups that were loaded with those that there were when the store was last written.
    pub(super) fn check(&self, loaded: Totals) -> Result<(), OpenError> {
        match self {
            Self::Sled(store) => store.check(loaded),
            Self::Etcd(_) => Ok(()),
        }
    }

    /// Builds the store anew where what it has is not what it says it has. Where that fails, it can only
    /// be read.
    pub fn recover(&self) -> Result<(), OpenError> {
        match self {
            Self::Sled(store) => store.recover(),
            Self::Etcd(_) => Ok(()),
        }
    }

    /// Why the store can only be read, if that is so.
    pub fn read_only(&self) -> Option<Arc<CommitError>> {
        match self {
            Self::Sled(store) => store.read_only(),
            Self::Etcd(_) => None,
        }
    }

    /// The findings of each time that the store was built anew, with the folder that has the old files.
    pub fn reports(&self) -> Vec<(PathBuf, String)> {
        match self {
            Self::Sled(store) => store.reports(),
            Self::Etcd(_) => Vec::new(),
        }
    }

    /// Reads a group; `None` if nothing of it is stored.
    pub fn read(&self, number: u64) -> Result<Option<StoredGroup>, ReadError> {
        match self {
            Self::Sled(store) => store.read(number),
            Self::Etcd(store) => store.read(number),
        }
    }

    /// Reads a chunk; `None` if it is not stored.
    pub(super) fn chunk(&self, key: ChunkKey) -> Result<Option<Bytes>, ReadError> {
        match self {
            Self::Sled(store) => store.chunk(key),
            Self::Etcd(store) => store.chunk(key),
        }
    }

    /// Applies a batch, whole or not at all. Durable after the next [`Store::sync`]. `totals`: how much is
    /// stored with it.
    pub(crate) fn apply(
        &self,
        batch: &Batch,
        totals: Totals,
        commit: &Commit,
    ) -> Result<(), CommitError> {
        match self {
            Self::Sled(store) => store.apply(batch, totals, commit),
            Self::Etcd(store) => store.apply(batch, commit),
        }
    }

    /// Makes everything that was applied durable. Blocks.
    pub fn sync(&self) -> Result<(), CommitError> {
        match self {
            Self::Sled(store) => store.sync(),
            Self::Etcd(store) => store.sync(),
        }
    }

    /// Gives back the room of groups that were deleted all at once, which takes a while. Only after
    /// a [`Store::sync`] that followed the deletion.
    pub fn reclaim(&self) -> Result<(), CommitError> {
        match self {
            Self::Sled(store) => store.reclaim(),
            Self::Etcd(store) => {
                store.reclaim();
                Ok(())
            }
        }
    }

    /// Gateway time minus wall time, as of the last run; `None` where it was never kept.
    pub fn clock_offset_ms(&self) -> Result<Option<i64>, OpenError> {
        match self {
            Self::Sled(store) => store.clock_offset_ms(),
            Self::Etcd(store) => Ok(store.latest().map(|seen| seen.offset_ms)),
        }
    }

    /// Keeps the offset of the clock, durably. In a cluster each batch has it.
    pub fn keep_clock_offset_ms(&self, offset_ms: i64) -> Result<(), CommitError> {
        match self {
            Self::Sled(store) => {
                store.keep_clock_offset_ms(offset_ms)?;
                store.sync()
            }
            Self::Etcd(_) => Ok(()),
        }
    }

    /// Gateway time, in milliseconds, when the gateway was last known to run.
    pub fn alive_ms(&self) -> Result<Option<u64>, OpenError> {
        match self {
            Self::Sled(store) => store.alive_ms(),
            Self::Etcd(store) => Ok(store.latest().map(|seen| seen.at.now.0)),
        }
    }

    /// Keeps that the gateway runs. Durable after the next [`Store::sync`]. In a cluster each batch has
    /// it.
    pub fn keep_alive_ms(&self, now_ms: u64) -> Result<(), CommitError> {
        match self {
            Self::Sled(store) => store.keep_alive_ms(now_ms),
            Self::Etcd(_) => Ok(()),
        }
    }

    /// How far the import is. Into a cluster nothing is imported at the start.
    pub fn import_state(&self) -> Result<ImportState, OpenError> {
        match self {
            Self::Sled(store) => store.import_state(),
            Self::Etcd(_) => Ok(ImportState::Done),
        }
    }

    /// Notes how far the import is, durably.
    pub fn keep_import_state(&self, state: ImportState) -> Result<(), CommitError> {
        match self {
            Self::Sled(store) => {
                store.keep_import_state(state)?;
                store.sync()
            }
            Self::Etcd(_) => Ok(()),
        }
    }

    /// Closes the store.
    pub fn close(self) -> Result<(), CloseError> {
        match self {
            Self::Sled(store) => store.close(),
            Self::Etcd(store) => {
                store.close();
                Ok(())
            }
        }
    }

    /// Bytes on disk; 0 where others keep them.
    pub fn disk_bytes(&self) -> u64 {
        match self {
            Self::Sled(store) => store.disk_bytes(),
            Self::Etcd(_) => 0,
        }
    }
}
