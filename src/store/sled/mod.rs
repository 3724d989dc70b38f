//! sled: the trees in which chunks lie, the files, and what sled does not do for a power cut.
//!
//! The only place that knows sled, with `migrations/`.

mod creation;
mod files;
mod mark;
pub(crate) mod piece;
mod probe;
pub(super) mod schema;
pub(super) mod seal;

use std::fs::{File, TryLockError};
use std::io;
use std::iter::Peekable;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use prost::Message as _;

use super::batch::Batch;
use super::chunk::{Chunk, ChunkKey, HEAD};
use super::error::{CloseError, CommitError, OpenError, ReadError};
use super::group::{Assembled, StoredGroup, assemble};
use super::record::TotalsRecord;
use crate::time::UnixNanos;

use mark::MarkFile;
use piece::{Chunks, Joined, Joiner};
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
pub struct SledStore {
    /// Absent while it is opened again, and after that has failed. Held to clone it, which is cheap.
    opened: RwLock<Option<Opened>>,
    /// Trees of groups that were wiped: to be dropped once the wipe is durable.
    left_over: Mutex<Vec<String>>,
    /// Held to read or to replace it.
    applied: Mutex<Applied>,
    mark: Mutex<MarkFile>,
    options: Options,
    /// Locked as long as the store is open, from before sled opens it until it is sealed.
    lock: File,
}

/// The batches that were applied since the store was opened.
#[derive(Clone, Copy, Debug)]
struct Applied {
    /// The number of the last write, or that which the first follows.
    write: u64,
    /// As of the last batch; `None` before the first.
    totals: Option<TotalsRecord>,
}

/// The parts of an open database.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    db: sled::Db,
    pub(super) meta: sled::Tree,
    /// The tree that has the groups, and its name. Another once all groups were deleted.
    pub(super) groups: sled::Tree,
    groups_name: String,
    /// The file behind `db`, to sync what sled's flush leaves in caches.
    file: Arc<File>,
}

/// A loss: the store has less than was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The groups that were there, and those that could be restored, when it was last synced.
    pub groups: u64,
    pub removed: u64,
    /// Wall time of the last write that was synced, and of the last that is there; the latter may not be
    /// known.
    pub synced: UnixNanos,
    pub found: Option<UnixNanos>,
}

pub(super) const CLOCK_OFFSET_KEY: &str = "clock_offset_ms";
pub(super) const ALIVE_KEY: &str = "alive_ms";
const IMPORT_KEY: &str = "import";
const GROUPS_TREE_KEY: &str = "groups_tree";
/// The names of trees of groups begin with this.
const GROUPS_TREE: &str = "groups";
/// Where the totals lie among the groups.
pub(super) const TOTALS: ChunkKey = ChunkKey { group: 0, chunk: HEAD };
/// The first write of a run has a multiple of this as its number: above those of an earlier run that
/// were never synced, and may still be found in the file.
const WRITES_OF_A_RUN: u64 = 1 << 20;

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

impl SledStore {
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
        let opened = Opened::new(options)?;
        let (mark, synced) = MarkFile::open(&path).map_err(folder_failed)?;
        if !present {
            mark.sync().and_then(|()| files::sync_folder(&path)).map_err(folder_failed)?;
        }
        creation::finish(&path).map_err(folder_failed)?;
        let found = opened.totals();
        if let Some(lost) = synced.and_then(|synced| lost(synced, found)) {
            tracing::error!(%lost, path = %path.display(), "the store has lost its latest writes");
        }
        let applied = Applied::next_run(synced.map_or(0, |it| it.write), found);
        Ok(Self {
            opened: RwLock::new(Some(opened)),
            left_over: Mutex::default(),
            applied: Mutex::new(applied),
            mark: Mutex::new(mark),
            options: options.clone(),
            lock,
        })
    }

    /// Opens the store again after a commit has failed: until then sled refuses all others. Everything
    /// that was synced is there, and of what was not, whole batches or nothing.
    ///
    /// `suspect`: what the kernel has of the file may be more than what the disk has, as after a sync
    /// that has failed; the file is then written anew first. As long as there is no room, what is
    /// there can still be read; once this has gone further and failed, it cannot. It can be tried
    /// again.
    pub fn reopen(&self, suspect: bool) -> Result<(), OpenError> {
        let path = self.path();
        let failed = |source| OpenError::Folder { path: path.to_owned(), source };
        probe::probe(path).map_err(failed)?;
        // Not held while it is opened: scrapes ask for the size.
        drop(self.opened.write().unwrap_or_else(PoisonError::into_inner).take());
        let file_path = path.join("db");
        files::released(&file_path).map_err(failed)?;
        if suspect {
            probe::rewrite(&file_path).map_err(failed)?;
        }
        self.left_over.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let opened = Opened::new(&self.options)?;
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        *applied = Applied::next_run(applied.write, opened.totals());
        drop(applied);
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

    /// Every group, ordered by number; those that were removed, too.
    pub(super) fn assembled(
        &self,
    ) -> Result<impl Iterator<Item = Result<Assembled, OpenError>> + '_, OpenError> {
        let pieces = self.at_start()?.groups.iter();
        let chunks = JoinedChunks { pieces, chunks: Chunks::default() }.peekable();
        Ok(Groups { store: self, chunks })
    }

    /// Reads a group; `None` if nothing of it is stored. A batch that is applied meanwhile may make its
    /// chunks disagree; then they are read again.
    pub fn read(&self, number: u64) -> Result<Option<StoredGroup>, ReadError> {
        const ATTEMPTS: usize = 20;
        let mut attempts = 1..ATTEMPTS;
        loop {
            let chunks = self.chunks_of(number)?;
            let group = match chunks {
                Ok(chunks) if chunks.is_empty() => return Ok(None),
                Ok(chunks) => assemble(number, chunks),
                Err(what) => Err(what),
            };
            match group {
                Ok(assembled) => return Ok(Some(assembled.group)),
                Err(_) if attempts.next().is_some() => {}
                Err(what) => return Err(ReadError::Damaged { number, what }),
            }
        }
    }

    /// The chunks of a group, or why one is damaged.
    fn chunks_of(&self, number: u64) -> Result<Result<Vec<Chunk>, String>, ReadError> {
        let pieces = self.opened().ok_or(ReadError::Closed)?.groups;
        let pieces = pieces.scan_prefix(number.to_be_bytes());
        let mut chunks = Vec::new();
        for joined in (JoinedChunks { pieces, chunks: Chunks::default() }) {
            let (key, payload) = joined.map_err(|source| ReadError::Sled { number, source })?;
            match payload {
                Ok(payload) => chunks.push(Chunk { key, payload }),
                Err(what) => return Ok(Err(what)),
            }
        }
        Ok(Ok(chunks))
    }

    /// Reads a chunk; `None` if it is not stored.
    pub(super) fn chunk(&self, key: ChunkKey) -> Result<Option<Bytes>, ReadError> {
        let number = key.group;
        let groups = self.opened().ok_or(ReadError::Closed)?.groups;
        let damaged = |what: String| ReadError::Damaged {
            number,
            what: format!("chunk {}: {what}", key.chunk),
        };
        let mut joiner = Joiner::new(key);
        for place in 0.. {
            let piece = groups.get(piece::key(key, place));
            match piece.map_err(|source| ReadError::Sled { number, source })? {
                Some(piece) => joiner.add(&piece).map_err(damaged)?,
                None if place == 0 => return Ok(None),
                None => break,
            }
            if joiner.is_complete() {
                break;
            }
        }
        joiner.finish().map(Some).map_err(damaged)
    }

    /// Applies a batch, whole or not at all. Durable after the next [`SledStore::sync`]. `counts`: the
    /// groups that there are with it, and those that can be restored; `at`: the wall time.
    pub(crate) fn apply(
        &self,
        batch: &Batch,
        counts: (u64, u64),
        at: UnixNanos,
    ) -> Result<(), CommitError> {
        let opened = self.to_commit()?;
        let (groups, removed) = counts;
        let write = self.applied.lock().unwrap_or_else(PoisonError::into_inner).write + 1;
        let totals = TotalsRecord { write, groups, removed, at_ns: at.0 };
        let mut writes = sled::Batch::default();
        for (key, change) in &batch.writes {
            let mut pieces = 0;
            if let Some(payload) = &change.payload {
                for piece in piece::cut(*key, write, payload) {
                    writes.insert(&piece::key(*key, pieces), piece);
                    pieces += 1;
                }
            }
            for place in pieces..change.bytes_before.map_or(0, piece::count) {
                writes.remove(&piece::key(*key, place));
            }
        }
        for piece in piece::cut(TOTALS, write, &totals.encode_to_vec()) {
            writes.insert(&piece::key(TOTALS, 0), piece);
        }
        let applied = if batch.wipes {
            self.begin_tree(opened, writes)
        } else {
            opened.groups.apply_batch(writes)
        };
        applied.map_err(|source| commit_error(source, CommitError::Apply))?;
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) =
            Applied { write, totals: Some(totals) };
        Ok(())
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
        let applied = *self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        opened.db.flush().map_err(|source| commit_error(source, CommitError::Flush))?;
        opened.file.sync_data().map_err(CommitError::Sync)?;
        if let Some(totals) = &applied.totals
            && let Err(error) =
                self.mark.lock().unwrap_or_else(PoisonError::into_inner).write(totals)
        {
            // All is durable; a mark that lags claims less.
            tracing::debug!(%error, "cannot write the mark of the store");
        }
        Ok(())
    }

    /// Gives back the room of groups that were deleted all at once, which takes a while. Only after
    /// a [`SledStore::sync`] that followed the deletion.
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
        Ok(self.number(CLOCK_OFFSET_KEY)?.map(i64::from_le_bytes))
    }

    /// Keeps the offset of the clock. Durable after the next [`SledStore::sync`].
    pub fn keep_clock_offset_ms(&self, offset_ms: i64) -> Result<(), CommitError> {
        self.keep(CLOCK_OFFSET_KEY, &offset_ms.to_le_bytes())
    }

    /// Gateway time, in milliseconds, when the gateway was last known to run.
    pub fn alive_ms(&self) -> Result<Option<u64>, OpenError> {
        Ok(self.number(ALIVE_KEY)?.map(u64::from_le_bytes))
    }

    /// Keeps that the gateway runs. Durable after the next [`SledStore::sync`].
    pub fn keep_alive_ms(&self, now_ms: u64) -> Result<(), CommitError> {
        self.keep(ALIVE_KEY, &now_ms.to_le_bytes())
    }

    /// How far the import is.
    pub fn import_state(&self) -> Result<ImportState, OpenError> {
        match self.meta(IMPORT_KEY)?.as_deref() {
            None => Ok(ImportState::None),
            Some(b"begun") => Ok(ImportState::Begun),
            Some(b"done") => Ok(ImportState::Done),
            Some(_) => Err(self.damaged("its import state is unknown".into())),
        }
    }

    /// Notes how far the import is. Durable after the next [`SledStore::sync`].
    pub fn keep_import_state(&self, state: ImportState) -> Result<(), CommitError> {
        match state {
            ImportState::None => {
                let removed = self.to_commit()?.meta.remove(IMPORT_KEY);
                removed.map(drop).map_err(|source| commit_error(source, CommitError::Apply))
            }
            ImportState::Begun => self.keep(IMPORT_KEY, b"begun"),
            ImportState::Done => self.keep(IMPORT_KEY, b"done"),
        }
    }

    fn meta(&self, key: &str) -> Result<Option<sled::IVec>, OpenError> {
        let value = self.at_start()?.meta.get(key);
        value.map_err(|source| OpenError::Sled { path: self.path().to_owned(), source })
    }

    fn number(&self, key: &str) -> Result<Option<[u8; 8]>, OpenError> {
        let number = self.meta(key)?.map(|bytes| bytes.as_ref().try_into()).transpose();
        number.map_err(|_| self.damaged(format!("its {key} is not a number")))
    }

    fn keep(&self, key: &str, value: &[u8]) -> Result<(), CommitError> {
        let kept = self.to_commit()?.meta.insert(key, value);
        kept.map(drop).map_err(|source| commit_error(source, CommitError::Apply))
    }

    /// Closes the store, and seals its files so that the next open sees whether they have changed.
    pub fn close(self) -> Result<(), CloseError> {
        let Self { opened, mark, options, lock, .. } = self;
        let opened = opened.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Opened { db, meta, groups, file, .. } = opened.ok_or(CloseError::Closed)?;
        db.flush().map_err(CloseError::Flush)?;
        drop((groups, meta, db));
        file.sync_all().map_err(CloseError::Seal)?;
        let mark = mark.into_inner().unwrap_or_else(PoisonError::into_inner);
        mark.sync().map_err(CloseError::Seal)?;
        seal::write(&options.path).map_err(CloseError::Seal)?;
        drop(lock);
        Ok(())
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.opened().and_then(|opened| opened.db.size_on_disk().ok()).unwrap_or(0)
    }

    #[cfg(test)]
    pub(super) fn groups_tree(&self) -> sled::Tree {
        self.opened().expect("it is open").groups
    }

    /// How many trees of groups there are.
    #[cfg(test)]
    pub(super) fn groups_trees(&self) -> usize {
        let trees = self.opened().expect("it is open").db.tree_names();
        trees.iter().filter(|name| name.starts_with(GROUPS_TREE.as_bytes())).count()
    }

    pub(super) fn damaged(&self, what: String) -> OpenError {
        OpenError::Damaged { path: self.path().to_owned(), what }
    }
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
    fn totals(&self) -> Option<TotalsRecord> {
        let piece = self.groups.get(piece::key(TOTALS, 0)).ok()??;
        let mut joiner = Joiner::new(TOTALS);
        joiner.add(&piece).ok()?;
        TotalsRecord::decode(joiner.finish().ok()?).ok()
    }

    /// The loss that the mark in the folder tells of.
    pub(super) fn lost(&self, folder: &Path) -> io::Result<Option<Lost>> {
        Ok(mark::read(folder)?.and_then(|(_, mark)| lost(mark, self.totals())))
    }
}

/// The loss of a store that says `found` where `synced` was synced.
fn lost(synced: TotalsRecord, found: Option<TotalsRecord>) -> Option<Lost> {
    let is_there = found.is_some_and(|found| found.write >= synced.write);
    (!is_there).then(|| Lost {
        groups: synced.groups,
        removed: synced.removed,
        synced: UnixNanos(synced.at_ns),
        found: found.map(|found| UnixNanos(found.at_ns)),
    })
}

impl Applied {
    /// Nothing yet, by a run that begins above the writes that were seen and found.
    fn next_run(seen: u64, found: Option<TotalsRecord>) -> Self {
        let last = seen.max(found.map_or(0, |found| found.write));
        Self { write: (last / WRITES_OF_A_RUN + 1) * WRITES_OF_A_RUN, totals: None }
    }
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

/// The chunks that pieces in order are of.
struct JoinedChunks {
    pieces: sled::Iter,
    chunks: Chunks,
}

impl Iterator for JoinedChunks {
    type Item = sled::Result<Joined>;

    fn next(&mut self) -> Option<sled::Result<Joined>> {
        loop {
            let Some(piece) = self.pieces.next() else { return self.chunks.finish().map(Ok) };
            let (key, value) = match piece {
                Ok(piece) => piece,
                Err(error) => return Some(Err(error)),
            };
            let Some(chunk) = piece::chunk_of(&key) else {
                return Some(Ok((TOTALS, Err(format!("{key:?} is not a key of a chunk")))));
            };
            if let Some(joined) = self.chunks.add(chunk, &value) {
                return Some(Ok(joined));
            }
        }
    }
}

/// Puts groups together from their chunks.
struct Groups<'a> {
    store: &'a SledStore,
    chunks: Peekable<JoinedChunks>,
}

impl Groups<'_> {
    fn whole(&self, joined: sled::Result<Joined>) -> Result<Chunk, OpenError> {
        let (key, payload) = joined.map_err(|source| open_error(self.store.path(), source))?;
        match payload {
            Ok(payload) => Ok(Chunk { key, payload }),
            Err(what) => Err(self.store.damaged(format!("group {}: {what}", key.group))),
        }
    }

    fn group(&mut self) -> Result<Option<Assembled>, OpenError> {
        loop {
            let Some(first) = self.chunks.next() else { return Ok(None) };
            let first = self.whole(first)?;
            // The totals lie beside the groups.
            if first.key == TOTALS {
                continue;
            }
            let number = first.key.group;
            let mut chunks = vec![first];
            let is_its = |next: &sled::Result<Joined>| {
                next.as_ref().is_ok_and(|(key, _)| key.group == number)
            };
            while let Some(next) = self.chunks.next_if(is_its) {
                chunks.push(self.whole(next)?);
            }
            let damaged = |what| self.store.damaged(format!("group {number}: {what}"));
            return assemble(number, chunks).map(Some).map_err(damaged);
        }
    }
}

impl Iterator for Groups<'_> {
    type Item = Result<Assembled, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.group().transpose()
    }
}

/// Takes the lock of a folder, which another gateway may have.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
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
