//! Reads what can be read of a store that may be damaged, and never changes it: sled writes to what it
//! opens, so that it is a copy that is opened.

use std::fs;
use std::io;
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use bytes::{Bytes, BytesMut};

use super::error::OpenError;
use super::frame::{ChunkKey, Frame};
use super::schema::{self, StoredVersion};
use super::{Loaded, Opened, Options, lock, seal};

/// What there is where something was looked for.
#[derive(Debug)]
pub enum Found {
    /// A chunk, as it was written.
    Chunk(Loaded),
    /// Something that cannot be read, for people.
    Damage(String),
}

/// What a store has beside its groups.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept {
    pub clock_offset_ms: Option<i64>,
    pub alive_ms: Option<u64>,
}

/// Reads a store that no gateway uses, in the order of its groups. An error means that there is nothing
/// that could be read, or nothing of ours.
pub fn salvage(options: &Options, found: &mut dyn FnMut(Found)) -> Result<Kept, OpenError> {
    let path = &options.path;
    let failed = |source| OpenError::Folder { path: path.clone(), source };
    match schema::peek(path) {
        Ok(StoredVersion::Newer(stored)) => return Err(schema::newer(path, stored)),
        Ok(StoredVersion::Fresh) if !path.join("db").try_exists().map_err(failed)? => {
            let source = io::Error::new(io::ErrorKind::NotFound, "there is no store in it");
            return Err(failed(source));
        }
        Ok(_) => {}
        Err(error) => found(Found::Damage(error.to_string())),
    }
    // Not created: nothing is to be changed.
    let _lock =
        if path.join("lock").try_exists().map_err(failed)? { Some(lock(path)?) } else { None };
    if let Err(error) = seal::check(path) {
        found(Found::Damage(error.to_string()));
    }
    let copy = tempfile::Builder::new().prefix("tidegate-").tempdir().map_err(failed)?;
    copy_files(path, copy.path()).map_err(failed)?;
    let opened = Opened::new(&Options { path: copy.path().to_owned(), ..options.clone() })?;
    walk(&opened.groups, found);
    let number = |key: &str| opened.meta.get(key).ok().flatten();
    let kept = Kept {
        clock_offset_ms: number(super::CLOCK_OFFSET_KEY)
            .and_then(|bytes| bytes.as_ref().try_into().ok().map(i64::from_le_bytes)),
        alive_ms: number(super::ALIVE_KEY)
            .and_then(|bytes| bytes.as_ref().try_into().ok().map(u64::from_le_bytes)),
    };
    Ok(kept)
}

/// What sled reads, but no snapshot: the log has all that is in it, and may be better.
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

type Piece = (sled::IVec, sled::IVec);

/// The first piece from a place on. On some damage sled panics rather than say so.
fn first(tree: &sled::Tree, from: Bound<Vec<u8>>) -> Result<Option<Piece>, String> {
    let read = || tree.range::<Vec<u8>, _>((from, Bound::Unbounded)).next().transpose();
    match panic::catch_unwind(AssertUnwindSafe(read)) {
        Ok(piece) => piece.map_err(|error| error.to_string()),
        Err(_) => Err("sled cannot make sense of a page".into()),
    }
}

fn first_of(tree: &sled::Tree, group: u64) -> Result<Option<Piece>, String> {
    first(tree, Bound::Included(ChunkKey { group, chunk: 0 }.piece(0).to_vec()))
}

fn walk(tree: &sled::Tree, found: &mut dyn FnMut(Found)) {
    let mut pending: Option<(ChunkKey, BytesMut)> = None;
    let flush = |pending: &mut Option<(ChunkKey, BytesMut)>, found: &mut dyn FnMut(Found)| {
        let Some((key, bytes)) = pending.take() else { return };
        match Frame::from_pieces(key, Bytes::from(bytes)) {
            Ok(frame) => found(Found::Chunk(Loaded { key, frame })),
            Err(what) => {
                found(Found::Damage(format!("group {}, chunk {}: {what}", key.group, key.chunk)));
            }
        }
    };
    let mut from = Bound::Unbounded;
    let mut last_group = 0;
    loop {
        match first(tree, from.clone()) {
            Ok(None) => break,
            Ok(Some((key, value))) => {
                from = Bound::Excluded(key.to_vec());
                let Some((chunk, _)) = ChunkKey::from_piece(&key) else {
                    found(Found::Damage(format!("{key:?} is no key of a chunk")));
                    continue;
                };
                last_group = chunk.group;
                match &mut pending {
                    Some((pending, bytes)) if *pending == chunk => bytes.extend_from_slice(&value),
                    _ => {
                        flush(&mut pending, found);
                        pending = Some((chunk, BytesMut::from(value.as_ref())));
                    }
                }
            }
            Err(what) => {
                flush(&mut pending, found);
                let Some(next) = readable_after(tree, last_group) else {
                    found(Found::Damage(format!(
                        "from group {last_group} on nothing can be read: {what}"
                    )));
                    break;
                };
                found(Found::Damage(format!(
                    "groups {last_group} to {next} cannot be read whole: {what}"
                )));
                last_group = next;
                from = Bound::Included(ChunkKey { group: next, chunk: 0 }.piece(0).to_vec());
            }
        }
    }
    flush(&mut pending, found);
}

/// The first group after one from which on something can be read: a damaged page has the groups of
/// some range.
fn readable_after(tree: &sled::Tree, group: u64) -> Option<u64> {
    let is_readable = |group: u64| first_of(tree, group).is_ok();
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
