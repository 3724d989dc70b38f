//! sled: the trees in which chunks lie, the files, and what sled does not do for a power cut.
//!
//! The only place that knows sled, with `migrations/`. A store that is damaged, or on a disk that takes
//! no writes, is read past sled: by the pieces' own marks and checksums (`scan`, `found`).

mod applied;
mod backup;
mod ballast;
mod creation;
mod files;
mod findings;
mod found;
mod mark;
mod numbers;
mod opened;
pub(crate) mod piece;
mod probe;
mod rebuild;
mod salvage;
mod scan;
pub(super) mod schema;
mod seal;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::iter::Peekable;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use super::batch::Batch;
use super::catalog::Totals;
use super::chunk::{Chunk, ChunkKey, HEAD};
use super::commit::Commit;
use super::error::{CloseError, CommitError, OpenError, ReadError, RepairError};
use super::group::{Assembled, StoredGroup, assemble};
use super::record::TotalsRecord;

use applied::{Applied, TOTALS};
pub use findings::{Expected, Findings, LostGroup, PartOfGroup};
use mark::MarkFile;
use numbers::Numbers;
use opened::{
    GROUPS_TREE, GROUPS_TREE_KEY, Opened, OpenedFiles, damaged, lock, lost, open_error, open_files,
    refuse_newer,
};
use piece::{Chunks, Joined, Joiner};
pub(super) use salvage::exists;
#[cfg(test)]
pub(super) use salvage::scanned;
use salvage::{Salvaged, Unopened};
pub use salvage::{back_up, repair, restore, verify, verify_backup};

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
    /// Held to read or to replace it, and while a batch is made.
    applied: Mutex<Applied>,
    /// Absent where the store could not be opened.
    mark: Mutex<Option<MarkFile>>,
    /// Why the store could not be opened, and what is read meanwhile. Held to read or to replace it.
    unopened: RwLock<Option<Arc<Unopened>>>,
    /// The changes that are noted while a backup is made. Held to note them.
    copying: Mutex<Option<BTreeSet<u64>>>,
    /// Held to apply a batch; to write, by a backup, so that none is applied.
    still: RwLock<()>,
    /// The store as it was found before sled opened it, until all of it was loaded.
    in_doubt: Mutex<Option<Salvaged>>,
    options: Options,
    /// Locked as long as the store is open, from before sled opens it until it is sealed.
    lock: File,
}

const CLOCK_OFFSET_KEY: &str = "clock_offset_ms";
const ALIVE_KEY: &str = "alive_ms";
const IMPORT_KEY: &str = "import";

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
    /// Opens the store in a folder, creates it where there is none, and migrates it where it is older.
    ///
    /// One that is damaged is built anew of all that can be read, and its old files are kept; see
    /// [`SledStore::reports`]. One that cannot be written, as its disk is full or read-only, can be read:
    /// see [`SledStore::read_only`].
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        let path = &options.path;
        let failed = |source| OpenError::Folder { path: path.clone(), source };
        match files::create_folders(path) {
            // Nothing is to be created.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem && path.is_dir() => {}
            created => created.map_err(failed)?,
        }
        refuse_newer(path)?;
        let lock = lock(path)?;
        // Before anything is read: as long as it is half done, files of two stores lie side by side.
        rebuild::resume(path).map_err(failed)?;
        let is_there = path.join("db").try_exists().map_err(failed)?;
        let in_doubt = if is_there { salvage::in_doubt(path)? } else { None };
        let mut store = Self {
            opened: RwLock::default(),
            left_over: Mutex::default(),
            applied: Mutex::new(Applied::new(0, None, Numbers::default(), Vec::new())),
            mark: Mutex::default(),
            unopened: RwLock::default(),
            copying: Mutex::default(),
            still: RwLock::default(),
            in_doubt: Mutex::default(),
            options: options.clone(),
            lock,
        };
        match open_or_rebuild(options, in_doubt.as_ref()) {
            Ok(opened) => {
                store.take(opened);
                *store.in_doubt.get_mut().unwrap_or_else(PoisonError::into_inner) = in_doubt;
            }
            // It is for another build to read.
            Err(RepairError::Open(error @ OpenError::Newer { .. })) => return Err(error),
            Err(error) => {
                let salvaged = match in_doubt {
                    Some(salvaged) => salvaged,
                    None if is_there => salvage::salvage(path).map_err(failed)?,
                    None => return Err(error.into_open(path)),
                };
                if salvaged.groups.is_empty() {
                    return Err(error.into_open(path));
                }
                *store.unopened.get_mut().unwrap_or_else(PoisonError::into_inner) =
                    Some(Arc::new(Unopened::new(error, salvaged)));
            }
        }
        Ok(store)
    }

    /// Opens the store again after a commit has failed, or where it could not be opened at the start:
    /// until then all commits are refused. Everything that was synced is there, and of what was not,
    /// whole batches or nothing.
    ///
    /// `suspect`: what the kernel has of the file may be more than what the disk has, as after a sync
    /// that has failed; the file is then written anew first. As long as there is no room, what is
    /// there can still be read; once this has gone further and failed, it cannot. It can be tried
    /// again.
    pub fn reopen(&self, suspect: bool) -> Result<(), OpenError> {
        let path = self.path();
        let failed = |source| OpenError::Folder { path: path.to_owned(), source };
        probe::probe(path).and_then(|()| ballast::keep(path)).map_err(failed)?;
        self.open_again(suspect)
    }

    /// The same, whether or not there is room for more than changes of groups that are there.
    pub fn open_again(&self, suspect: bool) -> Result<(), OpenError> {
        let path = self.path();
        let failed = |source| OpenError::Folder { path: path.to_owned(), source };
        if let Some(unopened) = self.unopened() {
            let opened = open_or_rebuild(&self.options, Some(&unopened.salvaged));
            self.take(opened.map_err(|error| error.into_open(path))?);
            return Ok(());
        }
        self.close_sled()?;
        if suspect {
            probe::rewrite(&path.join("db")).map_err(failed)?;
        }
        let opened = Opened::new(&self.options)?;
        let mut applied = self.applied();
        *applied = opened.applied(path, applied.write)?;
        drop(applied);
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Ok(())
    }

    /// Builds the store anew where what it has is not what it says it has. Where that fails, it can only
    /// be read.
    pub fn recover(&self) -> Result<(), OpenError> {
        let path = self.path();
        let failed = |source| OpenError::Folder { path: path.to_owned(), source };
        self.close_sled()?;
        let in_doubt = self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner).take();
        let salvaged = match in_doubt {
            Some(salvaged) => salvaged,
            None => salvage::salvage(path).map_err(failed)?,
        };
        let built = salvage::rebuild(&self.options, &salvaged);
        match built.and_then(|()| Ok(open_files(&self.options)?)) {
            Ok(opened) => self.take(opened),
            Err(error) => {
                *self.unopened.write().unwrap_or_else(PoisonError::into_inner) =
                    Some(Arc::new(Unopened::new(error, salvaged)));
            }
        }
        Ok(())
    }

    /// Gives up the room that was kept for changes of groups that are there. Returns whether there was any.
    pub fn give_up_ballast(&self) -> bool {
        ballast::give_up(self.path())
    }

    /// Fails once the file that is written to is no longer that of the folder, as where somebody has
    /// removed the folder.
    pub fn is_in_place(&self) -> Result<(), CommitError> {
        let Some(opened) = self.opened() else { return Ok(()) };
        let ours = opened.file.metadata().map_err(CommitError::Sync)?;
        match std::fs::metadata(self.path().join("db")) {
            Ok(found) if (found.dev(), found.ino()) == (ours.dev(), ours.ino()) => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CommitError::Sync(error)),
            _ => Err(CommitError::Displaced(self.path().to_owned())),
        }
    }

    fn take(&self, (opened, mark, applied): OpenedFiles) {
        *self.applied() = applied;
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark);
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        *self.unopened.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Has sled let go of its files.
    fn close_sled(&self) -> Result<(), OpenError> {
        // Not held while it is opened: scrapes ask for the size.
        drop(self.opened.write().unwrap_or_else(PoisonError::into_inner).take());
        self.left_over.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let released = files::released(&self.path().join("db"));
        released.map_err(|source| OpenError::Folder { path: self.path().to_owned(), source })
    }

    fn unopened(&self) -> Option<Arc<Unopened>> {
        self.unopened.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the store can only be read, if that is so.
    pub fn read_only(&self) -> Option<Arc<CommitError>> {
        self.unopened().map(|unopened| Arc::clone(&unopened.error))
    }

    /// The findings of each time that the store was built anew, with the folder that has the old files:
    /// for as long as these are kept.
    pub fn reports(&self) -> Vec<(PathBuf, String)> {
        rebuild::reports(self.path())
    }

    /// Compares the groups that were loaded with those that there were when the store was last written.
    pub(super) fn check(&self, loaded: Totals) -> Result<(), OpenError> {
        let stored = self.opened().and_then(|opened| opened.totals());
        let stored = stored.filter(|stored| stored.is_listed);
        let of = |stored| {
            let TotalsRecord { groups, removed, sum, .. } = stored;
            Totals { groups, removed, sum }
        };
        let Some(Totals { groups, removed, .. }) = stored.map(of).filter(|it| *it != loaded) else {
            drop(self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner).take());
            return Ok(());
        };
        Err(self.damaged(format!(
            "it has {} groups and {} that were removed, and says that there are {groups} and {removed}, or \
             others",
            loaded.groups, loaded.removed
        )))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.options.path
    }

    fn applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
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
    ) -> Result<Box<dyn Iterator<Item = Result<Assembled, OpenError>> + '_>, OpenError> {
        if let Some(unopened) = self.unopened() {
            let numbers: Vec<u64> = unopened.salvaged.groups.keys().copied().collect();
            return Ok(Box::new(numbers.into_iter().map(move |number| {
                let chunks = unopened.salvaged.groups.get(&number).cloned().unwrap_or_default();
                assemble(number, chunks)
                    .map_err(|what| self.damaged(format!("group {number}: {what}")))
            })));
        }
        // Behind all that lies beside the groups.
        let first = piece::key(ChunkKey { group: TOTALS.group + 1, chunk: HEAD }, 0);
        let pieces = self.at_start()?.groups.range(first..);
        let chunks = JoinedChunks { pieces, chunks: Chunks::default() }.peekable();
        Ok(Box::new(Groups { store: self, chunks }))
    }

    /// Reads a group; `None` if nothing of it is stored. A batch that is applied meanwhile may make its
    /// chunks disagree; then they are read again.
    pub fn read(&self, number: u64) -> Result<Option<StoredGroup>, ReadError> {
        const ATTEMPTS: usize = 20;
        let mut attempts = 1..ATTEMPTS;
        if let Some(unopened) = self.unopened() {
            let Some(chunks) = unopened.salvaged.groups.get(&number) else { return Ok(None) };
            let damaged = |what| ReadError::Damaged { number, what };
            return assemble(number, chunks.clone()).map(|it| Some(it.group)).map_err(damaged);
        }
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
        if let Some(unopened) = self.unopened() {
            return Ok(unopened.salvaged.chunk(key).map(|chunk| chunk.payload.clone()));
        }
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

    /// Applies a batch, whole or not at all. Durable after the next [`SledStore::sync`]. `totals`: how much
    /// is stored with it.
    pub(crate) fn apply(
        &self,
        batch: &Batch,
        totals: Totals,
        commit: &Commit,
    ) -> Result<(), CommitError> {
        let opened = self.to_commit()?;
        let _moves = self.still.read().unwrap_or_else(PoisonError::into_inner);
        let mut applied = self.applied();
        let heads = batch.writes.iter().filter(|(key, _)| key.chunk == HEAD);
        let heads = heads.map(|(key, change)| (key.group, change.payload.is_some()));
        let (totals, beside) = applied.next(heads, batch.wipes, totals, commit);
        drop(applied);
        let mut writes = sled::Batch::default();
        for (key, change) in &batch.writes {
            let pieces = put_pieces(&mut writes, *key, totals.write, change.payload.as_deref());
            for place in pieces..change.bytes_before.map_or(0, piece::count) {
                writes.remove(&piece::key(*key, place));
            }
        }
        for (key, payload) in beside {
            if numbers::range_of(key).is_some() {
                // Twice in one value, so that a bit that flips leaves one.
                let piece = piece::cut(key, totals.write, &payload).collect::<Vec<_>>().concat();
                writes.insert(&piece::key(key, 0), piece.repeat(2));
            } else {
                put_pieces(&mut writes, key, totals.write, Some(&payload));
            }
        }
        let applied = if batch.wipes {
            self.begin_tree(opened, writes)
        } else {
            opened.groups.apply_batch(writes)
        };
        applied.map_err(|source| commit_error(source, CommitError::Apply))?;
        self.applied().totals = Some(totals);
        // Only now: a copy that was made before it was applied is of the version before.
        if let Some(changed) = &mut *self.copying() {
            changed.extend(batch.writes.keys().map(|key| key.group));
        }
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
        let totals = self.applied().totals;
        opened.db.flush().map_err(|source| commit_error(source, CommitError::Flush))?;
        opened.file.sync_data().map_err(CommitError::Sync)?;
        self.is_in_place()?;
        if let Some(totals) = &totals
            && let Some(mark) = &mut *self.mark.lock().unwrap_or_else(PoisonError::into_inner)
            && let Err(error) = mark.write(totals)
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
        if let Some(unopened) = self.unopened() {
            return Ok(unopened.salvaged.totals.map(|totals| totals.offset_ms));
        }
        Ok(self.number(CLOCK_OFFSET_KEY)?.map(i64::from_le_bytes))
    }

    /// Keeps the offset of the clock. Durable after the next [`SledStore::sync`].
    pub fn keep_clock_offset_ms(&self, offset_ms: i64) -> Result<(), CommitError> {
        self.keep(CLOCK_OFFSET_KEY, &offset_ms.to_le_bytes())
    }

    /// Gateway time, in milliseconds, when the gateway was last known to run.
    pub fn alive_ms(&self) -> Result<Option<u64>, OpenError> {
        if let Some(unopened) = self.unopened() {
            return Ok(unopened.salvaged.totals.map(|totals| totals.now_ms));
        }
        Ok(self.number(ALIVE_KEY)?.map(u64::from_le_bytes))
    }

    /// Keeps that the gateway runs. Durable after the next [`SledStore::sync`].
    pub fn keep_alive_ms(&self, now_ms: u64) -> Result<(), CommitError> {
        self.keep(ALIVE_KEY, &now_ms.to_le_bytes())
    }

    /// How far the import is.
    pub fn import_state(&self) -> Result<ImportState, OpenError> {
        if self.unopened().is_some() {
            return Ok(ImportState::Done);
        }
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
        mark.map_or(Ok(()), |mark| mark.sync()).map_err(CloseError::Seal)?;
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
        damaged(self.path(), what)
    }
}

/// Pieces of a chunk in a batch. Returns how many they are; none without a payload.
fn put_pieces(writes: &mut sled::Batch, key: ChunkKey, write: u64, payload: Option<&[u8]>) -> u32 {
    let pieces = payload.into_iter().flat_map(|payload| piece::cut(key, write, payload));
    let mut count = 0;
    for piece in pieces {
        writes.insert(&piece::key(key, count), piece);
        count += 1;
    }
    count
}

/// Opens a store of which `in_doubt` was found beforehand, where sled may not find all of it; builds it
/// anew where it does not.
fn open_or_rebuild(
    options: &Options,
    in_doubt: Option<&Salvaged>,
) -> Result<OpenedFiles, RepairError> {
    let path = &options.path;
    let failed = |source| OpenError::Folder { path: path.clone(), source };
    if in_doubt.is_none_or(|salvaged| salvaged.findings.is_sound()) {
        match open_files(options) {
            Ok((opened, mark, applied)) => {
                let Some(lost) = mark.said().and_then(|synced| lost(synced, opened.totals()))
                else {
                    return Ok((opened, mark, applied));
                };
                tracing::error!(%lost, path = %path.display(), "sled has lost the latest writes");
                if in_doubt.is_none() {
                    return Ok((opened, mark, applied));
                }
                drop((opened, mark));
                files::released(&path.join("db")).map_err(failed)?;
            }
            Err(error @ OpenError::Damaged { .. }) if path.join("db").is_file() => {
                tracing::error!(%error, "sled cannot open the store");
            }
            Err(error) => return Err(error.into()),
        }
    }
    match in_doubt {
        Some(salvaged) => salvage::rebuild(options, salvaged)?,
        None => salvage::rebuild(options, &salvage::salvage(path).map_err(failed)?)?,
    }
    Ok(open_files(options)?)
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
            // On some damage sled panics rather than say so.
            let next = panic::catch_unwind(AssertUnwindSafe(|| self.pieces.next()));
            let next = next.unwrap_or_else(|_| {
                Some(Err(sled::Error::Unsupported("sled cannot make sense of a page".into())))
            });
            let Some(piece) = next else { return self.chunks.finish().map(Ok) };
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
        let Some(first) = self.chunks.next() else { return Ok(None) };
        let first = self.whole(first)?;
        let number = first.key.group;
        let mut chunks = vec![first];
        let is_its =
            |next: &sled::Result<Joined>| next.as_ref().is_ok_and(|(key, _)| key.group == number);
        while let Some(next) = self.chunks.next_if(is_its) {
            chunks.push(self.whole(next)?);
        }
        let damaged = |what| self.store.damaged(format!("group {number}: {what}"));
        assemble(number, chunks).map(Some).map_err(damaged)
    }
}

impl Iterator for Groups<'_> {
    type Item = Result<Assembled, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.group().transpose()
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
