//! Durable storage of metric groups. With `migrations/`, the only place that knows sled.
//!
//! Promises
//! - When [`Store::sync`] has returned `Ok`, the batches applied before it survive a crash of this
//!   process and of the host (`tests/crash`). A batch is there whole or not at all.
//! - A chunk that is read is the one that was written, or an error.
//! - A store that cannot be used is left as it is found.
//!
//! Deliberately absent
//! - No clock: deadlines are data here, nothing expires.
//! - No wire formats: the records are private to Tidegate and change only with a migration.
//!
//! Assumes that the file system honours fsync. A disk that lies about it voids the first promise.

mod creation;
pub mod error;
mod files;
mod frame;
pub mod record;
mod room;
pub mod salvage;
mod schema;
mod seal;

use std::fs::{File, TryLockError};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;

pub use error::{CloseError, CommitError, OpenError, ReadError};
pub use frame::{ChunkKey, ChunkRef, Frame, TOMBSTONE};
pub use schema::SCHEMA_VERSION;

use schema::StoredVersion;

/// Where and how to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The folder. Created where it is missing.
    pub path: PathBuf,
    /// sled's page cache, in bytes.
    pub cache_bytes: u64,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// Absent while it is opened again, and after that has failed. Held to clone it, which is cheap.
    opened: RwLock<Option<Opened>>,
    /// Trees that are of no use any more, once it is durable that they are not.
    left_over: Mutex<Vec<String>>,
    options: Options,
    /// Locked as long as the store is open, from before sled opens it until it is sealed.
    lock: File,
}

/// What sled has opened.
#[derive(Clone, Debug)]
struct Opened {
    db: sled::Db,
    meta: sled::Tree,
    /// The tree that has the groups, and its name. Another once all groups were deleted.
    groups: sled::Tree,
    groups_name: String,
    /// The file behind `db`, to sync what sled's flush leaves in caches.
    file: Arc<File>,
}

/// Changes that become durable together.
#[derive(Debug, Default)]
pub struct Batch {
    /// Whether all groups go before the writes are made.
    wipes: bool,
    writes: HashMap<ChunkKey, Write>,
}

#[derive(Debug)]
struct Write {
    /// `None`: the chunk is removed.
    frame: Option<Frame>,
    /// Pieces that the chunk may have on disk.
    pieces_before: usize,
}

/// A chunk found by [`Store::load`].
#[derive(Debug)]
pub struct Loaded {
    pub key: ChunkKey,
    pub frame: Frame,
}

const CLOCK_OFFSET_KEY: &str = "clock_offset_ms";
const ALIVE_KEY: &str = "alive_ms";
const IMPORT_KEY: &str = "import";
const GROUPS_TREE_KEY: &str = "groups_tree";
/// What the names of trees of groups begin with.
const GROUPS_TREE: &str = "groups";

/// How far the import is of what another gateway has held, with which a store may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportState {
    /// Nothing was imported.
    None,
    /// It has begun, and may have stopped in the middle.
    Begun,
    /// It is done, or there was no need for it.
    Done,
}

// === impl Batch ===

impl Batch {
    /// Writes a chunk in place of `before`.
    pub fn put(&mut self, key: ChunkKey, frame: Frame, before: Option<ChunkRef>) {
        self.write(key, Some(frame), before);
    }

    /// Removes a chunk.
    pub fn remove(&mut self, key: ChunkKey, before: ChunkRef) {
        self.write(key, None, Some(before));
    }

    fn write(&mut self, key: ChunkKey, frame: Option<Frame>, before: Option<ChunkRef>) {
        let pieces = before.map_or(0, ChunkRef::pieces);
        let write = self.writes.entry(key).or_insert(Write { frame: None, pieces_before: 0 });
        write.frame = frame;
        // What an earlier write of this batch would have left is not on disk, but removing a piece
        // that is not there is harmless.
        write.pieces_before = write.pieces_before.max(pieces);
    }

    /// Removes every chunk that there is, those of this batch included.
    pub fn wipe(&mut self) {
        self.writes.clear();
        self.wipes = true;
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && !self.wipes
    }
}

// === impl Store ===

impl Store {
    /// Opens the store in a folder, creates it where there is none, and migrates it where it is
    /// older.
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        let path = options.path.clone();
        let folder_failed = |source| OpenError::Folder { path: path.clone(), source };
        files::create_folders(&path).map_err(folder_failed)?;
        let version = schema::peek(&path)?;
        if let StoredVersion::Newer(stored) = version {
            return Err(schema::newer(&path, stored));
        }
        let lock = lock(&path)?;
        if files::make_private(&path).map_err(folder_failed)? {
            tracing::warn!(
                path = %path.display(),
                "every user of the host may look into the folder of the store (storage.path): it is not \
                 closed, as it has other things in it or is somebody else's"
            );
        }
        creation::resume(&path).map_err(folder_failed)?;
        let version = schema::peek(&path)?;
        let file_path = path.join("db");
        let present = file_path.try_exists().map_err(folder_failed)?;
        if version != StoredVersion::Fresh && !present {
            return Err(OpenError::Damaged { path, what: "its file db is missing".into() });
        }
        seal::check(&path)?;
        seal::lift(&path).map_err(folder_failed)?;
        if !present {
            creation::begin(&path).map_err(folder_failed)?;
        }
        let opened = RwLock::new(Some(Opened::new(options)?));
        creation::finish(&path).map_err(folder_failed)?;
        Ok(Self { opened, left_over: Mutex::default(), options: options.clone(), lock })
    }

    /// Opens the store again after a commit has failed: until then sled refuses all others. What was
    /// synced is there, and of what was not, whole batches or nothing.
    ///
    /// `suspect`: what the kernel has of the file may be more than what the disk has, as after a sync
    /// that has failed; the file is then written anew first. As long as there is no room, what is
    /// there can still be read; once this has gone further and failed, it cannot. It can be tried
    /// again.
    pub fn reopen(&self, suspect: bool) -> Result<(), OpenError> {
        let path = self.path();
        let failed = |source| OpenError::Folder { path: path.to_owned(), source };
        room::probe(path).map_err(failed)?;
        // Not held while it is opened: scrapes ask for the size.
        drop(self.opened.write().unwrap_or_else(PoisonError::into_inner).take());
        let file_path = path.join("db");
        files::released(&file_path).map_err(failed)?;
        if suspect {
            room::rewrite(&file_path).map_err(failed)?;
        }
        self.left_over.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let opened = Opened::new(&self.options)?;
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Ok(())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.options.path
    }

    fn opened(&self) -> Option<Opened> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn to_commit(&self) -> Result<Opened, CommitError> {
        self.opened().ok_or(CommitError::Closed)
    }

    fn at_start(&self) -> Result<Opened, OpenError> {
        let closed = || self.damaged("it could not be opened again".into());
        self.opened().ok_or_else(closed)
    }

    /// Every chunk, ordered by group and chunk: a group's head comes first.
    pub fn load(&self) -> Result<impl Iterator<Item = Result<Loaded, OpenError>> + '_, OpenError> {
        Ok(Chunks { store: self, pieces: self.at_start()?.groups.iter(), next: None })
    }

    /// Reads a chunk as it will be once `staged` is committed.
    pub fn read(&self, staged: &Batch, key: ChunkKey) -> Result<Option<Frame>, ReadError> {
        if let Some(write) = staged.writes.get(&key) {
            return Ok(write.frame.clone());
        }
        if staged.wipes {
            return Ok(None);
        }
        let groups = self.opened().ok_or(ReadError::Closed)?.groups;
        let failed = |source| ReadError::Sled { id: key.group, chunk: key.chunk, source };
        let Some(first) = groups.get(key.piece(0)).map_err(failed)? else { return Ok(None) };
        let mut bytes = BytesMut::from(first.as_ref());
        // Only a full piece can be followed by another.
        let mut last = first.len();
        let mut piece = 1;
        while last == frame::PIECE_BYTES_MAX {
            let Some(next) = groups.get(key.piece(piece)).map_err(failed)? else { break };
            bytes.extend_from_slice(&next);
            last = next.len();
            piece += 1;
        }
        Frame::from_pieces(key, bytes.freeze()).map(Some).map_err(|what| ReadError::Damaged {
            id: key.group,
            chunk: key.chunk,
            what,
        })
    }

    /// The numbers of all groups.
    pub fn groups(&self) -> Result<Vec<u64>, ReadError> {
        let mut groups = Vec::new();
        for key in self.opened().ok_or(ReadError::Closed)?.groups.iter().keys() {
            let key = key.map_err(|source| ReadError::Sled { id: 0, chunk: 0, source })?;
            if let Some((key, _)) = ChunkKey::from_piece(&key)
                && groups.last() != Some(&key.group)
            {
                groups.push(key.group);
            }
        }
        Ok(groups)
    }

    /// The numbers of a group's chunks beside its head.
    pub fn chunks_of(&self, group: u64) -> Result<Vec<u32>, ReadError> {
        let first = ChunkKey { group, chunk: 1 }.piece(0);
        let mut chunks = Vec::new();
        let groups = self.opened().ok_or(ReadError::Closed)?.groups;
        for key in groups.range(first..).keys() {
            let key = key.map_err(|source| ReadError::Sled { id: group, chunk: 1, source })?;
            match ChunkKey::from_piece(&key) {
                Some((key, _)) if key.group == group && key.chunk != TOMBSTONE => {
                    if chunks.last() != Some(&key.chunk) {
                        chunks.push(key.chunk);
                    }
                }
                _ => break,
            }
        }
        Ok(chunks)
    }

    /// Applies a batch, whole or not at all. Durable after the next [`Store::sync`].
    pub fn apply(&self, batch: &Batch) -> Result<(), CommitError> {
        let mut writes = sled::Batch::default();
        for (key, write) in &batch.writes {
            let mut pieces = 0;
            for piece in write.frame.iter().flat_map(Frame::pieces) {
                writes.insert(&key.piece(pieces), piece);
                pieces += 1;
            }
            for piece in pieces..write.pieces_before {
                writes.remove(&key.piece(piece));
            }
        }
        let opened = self.to_commit()?;
        let applied = if batch.wipes {
            self.begin_tree(opened, writes)
        } else {
            opened.groups.apply_batch(writes)
        };
        applied.map_err(|source| commit_error(source, CommitError::Apply))
    }

    /// Begins a new tree of groups in place of the one that there is: as much work for a million
    /// groups as for one. Until the name is on disk, a crash leaves the old tree in its place.
    fn begin_tree(&self, opened: Opened, writes: sled::Batch) -> sled::Result<()> {
        let old = opened.groups_name;
        let number = old.rsplit_once('.').and_then(|(_, number)| number.parse::<u64>().ok());
        let name = format!("{GROUPS_TREE}.{}", number.unwrap_or(0) + 1);
        let tree = opened.db.open_tree(&name)?;
        tree.apply_batch(writes)?;
        opened.meta.insert(GROUPS_TREE_KEY, name.as_str())?;
        let mut current = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = current.as_mut() {
            (current.groups, current.groups_name) = (tree, name);
        }
        self.left_over.lock().unwrap_or_else(PoisonError::into_inner).push(old);
        Ok(())
    }

    /// Makes everything that was applied durable: on the disk, not in its cache or the kernel's.
    ///
    /// sled's flush ends in `sync_file_range`, which waits for neither the disk's cache nor the
    /// file's size; `fdatasync` does.
    pub fn sync(&self) -> Result<(), CommitError> {
        let opened = self.to_commit()?;
        opened.db.flush().map_err(|source| commit_error(source, CommitError::Flush))?;
        opened.file.sync_data().map_err(CommitError::Sync)
    }

    /// Gives back the room of groups that were deleted all at once, which takes a while. Only after
    /// a [`Store::sync`] that followed the deletion.
    pub fn reclaim(&self) -> Result<(), CommitError> {
        let left_over =
            std::mem::take(&mut *self.left_over.lock().unwrap_or_else(PoisonError::into_inner));
        if left_over.is_empty() {
            return Ok(());
        }
        let opened = self.to_commit()?;
        for name in left_over {
            opened.db.drop_tree(name).map_err(|source| commit_error(source, CommitError::Apply))?;
        }
        Ok(())
    }

    /// Gateway time minus wall time, as of the last run; `None` where it was never kept.
    pub fn clock_offset_ms(&self) -> Result<Option<i64>, OpenError> {
        let value = self
            .at_start()?
            .meta
            .get(CLOCK_OFFSET_KEY)
            .map_err(|source| OpenError::Sled { path: self.path().to_owned(), source })?;
        value
            .map(|bytes| bytes.as_ref().try_into().map(i64::from_le_bytes))
            .transpose()
            .map_err(|_| self.damaged("its clock offset is no number".into()))
    }

    /// Keeps the offset of the clock. Durable after the next [`Store::sync`].
    pub fn keep_clock_offset_ms(&self, offset_ms: i64) -> Result<(), CommitError> {
        let kept = self.to_commit()?.meta.insert(CLOCK_OFFSET_KEY, &offset_ms.to_le_bytes());
        kept.map(drop).map_err(|source| commit_error(source, CommitError::Apply))
    }

    /// Gateway time, in milliseconds, when the gateway was last known to run.
    pub fn alive_ms(&self) -> Result<Option<u64>, OpenError> {
        let value = self
            .at_start()?
            .meta
            .get(ALIVE_KEY)
            .map_err(|source| OpenError::Sled { path: self.path().to_owned(), source })?;
        value
            .map(|bytes| bytes.as_ref().try_into().map(u64::from_le_bytes))
            .transpose()
            .map_err(|_| self.damaged("the time when it was last used is no number".into()))
    }

    /// Keeps that the gateway runs. Durable after the next [`Store::sync`].
    pub fn keep_alive_ms(&self, now_ms: u64) -> Result<(), CommitError> {
        let kept = self.to_commit()?.meta.insert(ALIVE_KEY, &now_ms.to_le_bytes());
        kept.map(drop).map_err(|source| commit_error(source, CommitError::Apply))
    }

    /// How far the import is.
    pub fn import_state(&self) -> Result<ImportState, OpenError> {
        let value = self
            .at_start()?
            .meta
            .get(IMPORT_KEY)
            .map_err(|source| OpenError::Sled { path: self.path().to_owned(), source })?;
        match value.as_deref() {
            None => Ok(ImportState::None),
            Some(b"begun") => Ok(ImportState::Begun),
            Some(b"done") => Ok(ImportState::Done),
            Some(_) => Err(self.damaged("its state of import is none that there is".into())),
        }
    }

    /// Notes how far the import is. Durable after the next [`Store::sync`].
    pub fn keep_import_state(&self, state: ImportState) -> Result<(), CommitError> {
        let meta = self.to_commit()?.meta;
        let kept = match state {
            ImportState::None => meta.remove(IMPORT_KEY),
            ImportState::Begun => meta.insert(IMPORT_KEY, b"begun"),
            ImportState::Done => meta.insert(IMPORT_KEY, b"done"),
        };
        kept.map(drop).map_err(|source| commit_error(source, CommitError::Apply))
    }

    /// Closes the store, and seals its files so that the next open sees whether they have changed.
    pub fn close(self) -> Result<(), CloseError> {
        let Self { opened, left_over: _, options, lock } = self;
        let opened = opened.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Opened { db, meta, groups, file, .. } = opened.ok_or(CloseError::Closed)?;
        db.flush().map_err(CloseError::Flush)?;
        drop((groups, meta, db));
        file.sync_all().map_err(CloseError::Seal)?;
        seal::write(&options.path).map_err(CloseError::Seal)?;
        drop(lock);
        Ok(())
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.opened().and_then(|opened| opened.db.size_on_disk().ok()).unwrap_or(0)
    }

    fn damaged(&self, what: String) -> OpenError {
        OpenError::Damaged { path: self.path().to_owned(), what }
    }
}

impl Opened {
    /// Opens the files of a folder whose lock is held.
    fn new(options: &Options) -> Result<Self, OpenError> {
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
        // What a deletion had no time to remove.
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
}

/// Joins pieces to chunks.
struct Chunks<'a> {
    store: &'a Store,
    pieces: sled::Iter,
    /// The first piece of the next chunk, read ahead.
    next: Option<(ChunkKey, sled::IVec)>,
}

impl Chunks<'_> {
    fn piece(&mut self) -> Option<Result<(ChunkKey, u32, sled::IVec), OpenError>> {
        let (key, value) = match self.pieces.next()? {
            Ok(entry) => entry,
            Err(source) => return Some(Err(open_error(self.store.path(), source))),
        };
        Some(match ChunkKey::from_piece(&key) {
            Some((chunk, piece)) => Ok((chunk, piece, value)),
            None => Err(self.store.damaged(format!("{key:?} is no key of a chunk"))),
        })
    }

    fn chunk(&mut self) -> Result<Option<Loaded>, OpenError> {
        let (key, first) = match self.next.take() {
            Some(next) => next,
            None => match self.piece().transpose()? {
                None => return Ok(None),
                Some((key, _, value)) => (key, value),
            },
        };
        let mut bytes = BytesMut::from(first.as_ref());
        while let Some((next, _, value)) = self.piece().transpose()? {
            if next != key {
                self.next = Some((next, value));
                break;
            }
            bytes.extend_from_slice(&value);
        }
        match Frame::from_pieces(key, Bytes::from(bytes)) {
            Ok(frame) => Ok(Some(Loaded { key, frame })),
            Err(what) => {
                let ChunkKey { group, chunk } = key;
                Err(self.store.damaged(format!("group {group}, chunk {chunk}: {what}")))
            }
        }
    }
}

impl Iterator for Chunks<'_> {
    type Item = Result<Loaded, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.chunk().transpose()
    }
}

/// Takes the lock of a folder, which another gateway may have.
fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Folder { path: path.to_owned(), source };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join("lock"))
        .map_err(failed)?;
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

fn open_error(path: &Path, source: sled::Error) -> OpenError {
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

fn commit_error(
    source: sled::Error,
    otherwise: impl FnOnce(sled::Error) -> CommitError,
) -> CommitError {
    match source {
        sled::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => {
            CommitError::StorageFull
        }
        source => otherwise(source),
    }
}

#[cfg(test)]
mod tests;
