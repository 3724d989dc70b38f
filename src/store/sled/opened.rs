//! The opening of a store: the database, its mark, and how far it was written.

use std::fs::{File, TryLockError};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::super::chunk::{ChunkKey, HEAD};
use super::super::error::OpenError;
use super::super::record::{RunsRecord, TotalsRecord};
use super::applied::{Applied, TOTALS};
use super::mark::MarkFile;
use super::numbers::{Numbers, RUNS, range_of};
use super::piece::{self, Chunks};
use super::schema::{self, StoredVersion};
use super::{Options, ballast, creation, files, seal};
use crate::time::UnixNanos;

/// Where the name of the tree of groups is kept.
pub(super) const GROUPS_TREE_KEY: &str = "groups_tree";
/// The names of trees of groups begin with this.
pub(super) const GROUPS_TREE: &str = "groups";

/// The parts of an open database.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) db: sled::Db,
    pub(super) meta: sled::Tree,
    /// The tree that has the groups, and its name. Another once all groups were deleted.
    pub(super) groups: sled::Tree,
    pub(super) groups_name: String,
    /// The file behind `db`, to sync what sled's flush leaves in caches.
    pub(super) file: Arc<File>,
}

/// A loss: the store has less than was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// The groups that were there, and those that could be restored, when it was last synced.
    groups: u64,
    removed: u64,
    /// Wall time of the last write that was synced, and of the last that is there; the latter may not be
    /// known.
    synced: UnixNanos,
    found: Option<UnixNanos>,
}

impl Opened {
    /// Opens the files of a folder whose lock is held.
    pub(super) fn new(options: &Options) -> Result<Self, OpenError> {
        let path = &options.path;
        let opened = |source| open_error(path, source);
        let failed = |source| OpenError::Folder { path: path.clone(), source };
        files::remove_unfinished_snapshots(path).map_err(failed)?;
        let db = open_sled(options)?;
        schema::migrate(path, &db)?;
        let meta = db.open_tree("meta").map_err(opened)?;
        let name = meta.get(GROUPS_TREE_KEY).map_err(opened)?;
        let name = name.and_then(|name| String::from_utf8(name.to_vec()).ok());
        let Some(groups_name) = name.filter(|name| name.starts_with(GROUPS_TREE)) else {
            let what = "it does not say which tree has the groups".into();
            return Err(OpenError::Damaged { path: path.clone(), what });
        };
        let groups = db.open_tree(&groups_name).map_err(opened)?;
        // A deletion had no time to remove them.
        for other in db.tree_names() {
            if other.starts_with(GROUPS_TREE.as_bytes()) && other != groups_name.as_bytes() {
                db.drop_tree(other).map_err(opened)?;
            }
        }
        db.flush().map_err(opened)?;
        let file = File::open(path.join("db")).map_err(failed)?;
        files::sync_created(path, &file).map_err(failed)?;
        Ok(Self { db, meta, groups, groups_name, file: Arc::new(file) })
    }

    /// How much the store says that there is; `None` where it has no groups yet, or that is damaged.
    pub(super) fn totals(&self) -> Option<TotalsRecord> {
        TotalsRecord::decode(self.beside(TOTALS)?).ok()
    }

    /// A chunk beside the groups, if it is there and whole.
    fn beside(&self, key: ChunkKey) -> Option<Bytes> {
        let mut chunks = Chunks::default();
        for place in 0.. {
            let Some(piece) = self.groups.get(piece::key(key, place)).ok()? else { break };
            chunks.add(key, &piece);
        }
        chunks.finish()?.1.ok()
    }

    /// How far it was written, for a run that follows the write `seen`.
    pub(super) fn applied(&self, path: &Path, seen: u64) -> Result<Applied, OpenError> {
        let found = self.totals();
        let runs = RUNS.iter().find_map(|key| RunsRecord::decode(self.beside(*key)?).ok());
        let failed = |source| OpenError::Sled { path: path.to_owned(), source };
        let mut numbers = Numbers::default();
        if found.is_some_and(|found| found.is_listed) {
            for piece in self.groups.scan_prefix(TOTALS.group.to_be_bytes()) {
                let (key, value) = piece.map_err(failed)?;
                let Some(key) = piece::chunk_of(&key).filter(|key| range_of(*key).is_some()) else {
                    continue;
                };
                let mut copies = value.chunks((value.len() / 2).max(1)).map(piece::Piece::parse);
                if let Some(piece) = copies.find_map(Result::ok) {
                    numbers.add(key, piece.part);
                }
            }
        } else {
            for key in self.groups.iter().keys() {
                let key = piece::chunk_of(&key.map_err(failed)?);
                let number = key.filter(|key| key.chunk == HEAD && key.group != TOTALS.group);
                if let Some(key) = number {
                    numbers.insert(key.group);
                }
            }
        }
        Ok(Applied::new(seen, found, numbers, runs.map_or_else(Vec::new, |runs| runs.last)))
    }
}

/// An open database, its mark, and how far it was written.
pub(super) type OpenedFiles = (Opened, MarkFile, Applied);

/// Opens the files of a folder whose lock is held, and creates them where there are none.
pub(super) fn open_files(options: &Options) -> Result<OpenedFiles, OpenError> {
    let path = &options.path;
    let failed = |source| OpenError::Folder { path: path.clone(), source };
    if files::make_private(path).map_err(failed)? {
        tracing::warn!(
            path = %path.display(),
            "every user of the host may look into the folder of the store (storage.path): it is not \
             closed, as it has other things in it or is somebody else's"
        );
    }
    creation::resume(path).map_err(failed)?;
    let version = schema::peek(path)?;
    let is_there = path.join("db").try_exists().map_err(failed)?;
    if version != StoredVersion::Fresh && !is_there {
        return Err(damaged(path, "its file db is missing".into()));
    }
    seal::lift(path).map_err(failed)?;
    if !is_there {
        creation::begin(path).map_err(failed)?;
    }
    let opened = Opened::new(options)?;
    let mark = MarkFile::open(path).map_err(failed)?;
    if !is_there {
        mark.sync().and_then(|()| files::sync_folder(path)).map_err(failed)?;
    }
    creation::finish(path).map_err(failed)?;
    let applied = opened.applied(path, mark.said().map_or(0, |said| said.write))?;
    if let Err(error) = ballast::keep(path) {
        // Nothing is full yet: only the way out of a full disk would be narrower.
        tracing::warn!(%error, "no room can be kept for deletions on a full disk");
    }
    Ok((opened, mark, applied))
}

/// Refuses a store of a newer version: it is never opened, migrated or changed.
pub(super) fn refuse_newer(path: &Path) -> Result<(), OpenError> {
    match schema::peek(path) {
        Ok(StoredVersion::Newer(stored)) => Err(schema::newer(path, stored)),
        // One that cannot be read is damage, which is dealt with.
        Ok(_) | Err(OpenError::Damaged { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) fn damaged(path: &Path, what: String) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), what }
}

/// The loss of a store that says `found` where `synced` was synced.
pub(super) fn lost(synced: TotalsRecord, found: Option<TotalsRecord>) -> Option<Lost> {
    let is_there = found.is_some_and(|found| found.write >= synced.write);
    (!is_there).then(|| Lost {
        groups: synced.groups,
        removed: synced.removed,
        synced: UnixNanos(synced.at_ns),
        found: found.map(|found| UnixNanos(found.at_ns)),
    })
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = |at: UnixNanos| humantime::format_rfc3339_seconds(at.to_system_time());
        let Self { groups, removed, synced, found } = self;
        write!(
            f,
            "at {} there were {groups} groups and {removed} that could be restored; ",
            time(*synced)
        )?;
        match found {
            Some(found) => write!(f, "the store is of {}", time(*found)),
            None => write!(f, "the store does not say of when it is"),
        }
    }
}

/// Takes the lock of a folder, which another gateway may have.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Folder { path: path.to_owned(), source };
    let mut options = File::options();
    let opened = options.create(true).truncate(false).write(true).open(path.join("lock"));
    let file = opened.or_else(|error| match error.kind() {
        // It can be read all the same, by one at a time.
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            File::open(path.join("lock")).or_else(|_| File::open(path))
        }
        _ => Err(error),
    });
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn open_sled(options: &Options) -> Result<sled::Db, OpenError> {
    let config = sled::Config::new()
        .path(&options.path)
        .cache_capacity(options.cache_bytes)
        // Flushing is the lane's decision: an answer waits for it.
        .flush_every_ms(None);
    // On some damage sled panics rather than say so. Nothing of it is used afterwards.
    match panic::catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(opened) => opened.map_err(|source| open_error(&options.path, source)),
        Err(_) => Err(OpenError::Damaged {
            path: options.path.clone(),
            what: "sled cannot make sense of its log".into(),
        }),
    }
}

pub(super) fn open_error(path: &Path, source: sled::Error) -> OpenError {
    let path = path.to_owned();
    match source {
        sled::Error::Io(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            OpenError::Folder { path, source }
        }
        sled::Error::Corruption { .. } => {
            OpenError::Damaged { path, what: "sled found a page that it cannot read".into() }
        }
        sled::Error::Unsupported(what) => OpenError::Damaged { path, what },
        source => OpenError::Sled { path, source },
    }
}
