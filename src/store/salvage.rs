//! Reads all that can be read of a store that may be damaged, and writes a new store of the groups that
//! are whole. The damaged one is never changed: sled writes to what it opens, so that a copy is opened.

use std::fs;
use std::io;
use std::mem;
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use thiserror::Error;

use super::batch::Batch;
use super::chunk::{Chunk, ChunkKey};
use super::error::{CloseError, CommitError, OpenError};
use super::group::assemble;
use super::sled::piece::{self, Chunks, Joined};
use super::sled::schema::{self, StoredVersion};
use super::sled::{ALIVE_KEY, CLOCK_OFFSET_KEY, Opened, Options, SledStore, TOTALS, lock, seal};
use crate::time::UnixNanos;

/// Groups, chunks and damage that were found in a store.
#[derive(Debug, Default)]
pub struct Salvaged {
    pub groups: u64,
    /// Groups that were removed, and can be restored.
    pub removed: u64,
    pub chunks: u64,
    /// Bytes of the chunks.
    pub bytes: u64,
    /// Places that cannot be read or do not fit together, for people.
    pub damage: Vec<String>,
}

/// Why a new store could not be written.
#[derive(Debug, Error)]
pub enum RepairError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot write the new store")]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Close(#[from] CloseError),
}

/// So many groups are written in one go.
const GROUPS_AT_ONCE: usize = 256;

/// Looks at everything in a store that no gateway uses, and changes nothing. An error means that nothing
/// can be read, or that it is no store.
pub fn verify(options: &Options) -> Result<Salvaged, OpenError> {
    salvage(options, &mut |_| {}).map(|(salvaged, _)| salvaged)
}

/// Writes all groups that are whole to a new store, with their numbers. `at`: the wall time.
pub fn repair(from: &Options, to: &Options, at: UnixNanos) -> Result<Salvaged, RepairError> {
    let new = SledStore::open(to)?;
    let (mut batch, mut staged, mut counts) = (Batch::default(), 0, (0, 0));
    let mut failed = None;
    let (salvaged, kept) = salvage(from, &mut |Whole { chunks, is_removed }| {
        for Chunk { key, payload } in chunks {
            batch.put(key, payload, None, None);
        }
        counts.0 += u64::from(!is_removed);
        counts.1 += u64::from(is_removed);
        staged += 1;
        if staged == GROUPS_AT_ONCE && failed.is_none() {
            failed = new.apply(&mem::take(&mut batch), counts, at).err();
            staged = 0;
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    new.apply(&batch, counts, at)?;
    if let Some(offset) = kept.clock_offset_ms {
        new.keep_clock_offset_ms(offset)?;
    }
    if let Some(alive) = kept.alive_ms {
        new.keep_alive_ms(alive)?;
    }
    new.sync()?;
    new.close()?;
    Ok(salvaged)
}

/// A group that is whole.
struct Whole {
    chunks: Vec<Chunk>,
    is_removed: bool,
}

/// The times that a store keeps beside its groups.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    clock_offset_ms: Option<i64>,
    alive_ms: Option<u64>,
}

/// Reads a store that no gateway uses, in the order of its groups, and gives each that is whole to
/// `whole`.
fn salvage(options: &Options, whole: &mut dyn FnMut(Whole)) -> Result<(Salvaged, Kept), OpenError> {
    let path = &options.path;
    let failed = |source| OpenError::Folder { path: path.clone(), source };
    let mut collector = Collector { salvaged: Salvaged::default(), chunks: Vec::new(), whole };
    match schema::peek(path) {
        Ok(StoredVersion::Newer(stored)) => return Err(schema::newer(path, stored)),
        Ok(StoredVersion::Fresh) if !path.join("db").try_exists().map_err(failed)? => {
            let source = io::Error::new(io::ErrorKind::NotFound, "there is no store in it");
            return Err(failed(source));
        }
        Ok(_) => {}
        Err(error) => collector.damage(error.to_string()),
    }
    // Not created: nothing is to be changed.
    let _lock =
        if path.join("lock").try_exists().map_err(failed)? { Some(lock(path)?) } else { None };
    if let Err(error) = seal::check(path) {
        collector.damage(error.to_string());
    }
    let copy = tempfile::Builder::new().prefix("tidegate-").tempdir().map_err(failed)?;
    copy_files(path, copy.path()).map_err(failed)?;
    let opened = Opened::new(&Options { path: copy.path().to_owned(), ..options.clone() })?;
    if let Some(lost) = opened.lost(path).map_err(failed)? {
        collector.damage(format!("its latest writes are lost: {lost}"));
    }
    walk(&opened.groups, &mut collector);
    collector.end_of_group();
    let number = |key: &str| opened.meta.get(key).ok().flatten();
    let kept = Kept {
        clock_offset_ms: number(CLOCK_OFFSET_KEY)
            .and_then(|bytes| bytes.as_ref().try_into().ok().map(i64::from_le_bytes)),
        alive_ms: number(ALIVE_KEY)
            .and_then(|bytes| bytes.as_ref().try_into().ok().map(u64::from_le_bytes)),
    };
    Ok((collector.salvaged, kept))
}

/// Copies what sled reads, but no snapshot: the log has all that is in it, and may be better.
fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for name in ["conf", "db"] {
        fs::copy(from.join(name), to.join(name))?;
    }
    let blobs = from.join("blobs");
    if blobs.is_dir() {
        fs::create_dir(to.join("blobs"))?;
        for entry in fs::read_dir(blobs)? {
            let entry = entry?;
            fs::copy(entry.path(), to.join("blobs").join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Collects the chunks of one group after the other.
struct Collector<'a> {
    salvaged: Salvaged,
    chunks: Vec<Chunk>,
    whole: &'a mut dyn FnMut(Whole),
}

impl Collector<'_> {
    fn damage(&mut self, what: String) {
        self.salvaged.damage.push(what);
    }

    fn chunk(&mut self, joined: Option<Joined>) {
        let Some((key, payload)) = joined else { return };
        if self.chunks.first().is_some_and(|first| first.key.group != key.group) {
            self.end_of_group();
        }
        match payload {
            // The totals lie beside the groups.
            Ok(_) if key == TOTALS => {}
            Ok(payload) => self.chunks.push(Chunk { key, payload }),
            Err(what) => self.damage(format!("group {}: {what}", key.group)),
        }
    }

    fn end_of_group(&mut self) {
        let chunks = mem::take(&mut self.chunks);
        let Some(first) = chunks.first() else { return };
        let number = first.key.group;
        let group = match assemble(number, chunks.clone()) {
            Ok(assembled) => assembled.group,
            Err(what) => {
                self.damage(format!("group {number}: {what}"));
                return;
            }
        };
        if let Some(error) = group.families.iter().find_map(|family| family.decode().err()) {
            self.damage(format!("group {number}: {}: {error}", group.key));
            return;
        }
        let is_removed = group.removal.is_some();
        self.salvaged.groups += u64::from(!is_removed);
        self.salvaged.removed += u64::from(is_removed);
        self.salvaged.chunks += chunks.len() as u64;
        self.salvaged.bytes += group.bytes;
        (self.whole)(Whole { chunks, is_removed });
    }
}

type KeyAndValue = (sled::IVec, sled::IVec);

/// The first piece from a place on. On some damage sled panics rather than say so.
fn first(tree: &sled::Tree, from: Bound<Vec<u8>>) -> Result<Option<KeyAndValue>, String> {
    let read = || tree.range::<Vec<u8>, _>((from, Bound::Unbounded)).next().transpose();
    match panic::catch_unwind(AssertUnwindSafe(read)) {
        Ok(piece) => piece.map_err(|error| error.to_string()),
        Err(_) => Err("sled cannot make sense of a page".into()),
    }
}

fn from_group(group: u64) -> Bound<Vec<u8>> {
    Bound::Included(piece::key(ChunkKey { group, chunk: 0 }, 0).to_vec())
}

fn walk(tree: &sled::Tree, collector: &mut Collector<'_>) {
    let mut joining = Chunks::default();
    let mut from = Bound::Unbounded;
    let mut last_group = 0;
    loop {
        match first(tree, from.clone()) {
            Ok(None) => break,
            Ok(Some((key, value))) => {
                from = Bound::Excluded(key.to_vec());
                let Some(chunk) = piece::chunk_of(&key) else {
                    collector.damage(format!("{key:?} is not a key of a chunk"));
                    continue;
                };
                last_group = chunk.group;
                collector.chunk(joining.add(chunk, &value));
            }
            Err(what) => {
                collector.chunk(joining.finish());
                let Some(next) = readable_after(tree, last_group) else {
                    collector
                        .damage(format!("from group {last_group} on nothing can be read: {what}"));
                    break;
                };
                collector
                    .damage(format!("groups {last_group} to {next} cannot be read whole: {what}"));
                last_group = next;
                from = from_group(next);
            }
        }
    }
    collector.chunk(joining.finish());
}

/// The first group after one from which on something can be read: a damaged page has the groups of
/// some range.
fn readable_after(tree: &sled::Tree, group: u64) -> Option<u64> {
    let is_readable = |group: u64| first(tree, from_group(group)).is_ok();
    let steps = (0..63).map(|step| group.saturating_add(1 << step));
    let (mut low, mut high) = (group, steps.into_iter().find(|group| is_readable(*group))?);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if is_readable(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}
