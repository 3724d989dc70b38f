//! Contents of a store: pieces of any bytes, and any bytes within pieces whose checksums are right.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use crate::gateway::{GroupContent, try_load};
use crate::store::raw::piece::{self, Piece};
use crate::store::raw::{Batch, ChunkKey, HEAD, TOMBSTONE, Totals};
use crate::store::{Commit, OpenError, Options, Store};

/// A store that serves many inputs: to create one takes longer than to use it.
struct Folder {
    // Dropped in this order.
    store: Arc<Store>,
    #[expect(dead_code, reason = "it is removed when it is dropped")]
    path: TempDir,
    used: u32,
}

/// Then its log has grown long enough.
const USES_MAX: u32 = 20_000;

thread_local! {
    static FOLDER: RefCell<Option<Folder>> = const { RefCell::new(None) };
}

/// A chunk of an input: a byte of flags, the group, the chunk, two bytes of length, the payload.
struct Chunk<'a> {
    key: ChunkKey,
    flags: u8,
    payload: &'a [u8],
}

/// Of a head: it vouches for the chunks that are there, whatever it says itself.
const VOUCHES: u8 = 2;

/// Chunks of a store: all of it is loaded, or refused as damaged.
pub fn record(data: &[u8]) {
    if let Ok(Piece { chunk, place: 0, pieces: 1, write, part }) = Piece::parse(data) {
        let again: Vec<_> = piece::cut(chunk, write, part).collect();
        assert_eq!(again, [data]);
    }
    let chunks = vouched(data);
    if chunks.is_empty() {
        return;
    }
    FOLDER.with_borrow_mut(|folder| {
        drop(folder.take_if(|folder| folder.used >= USES_MAX));
        let Folder { store, used, .. } = folder.get_or_insert_with(Folder::new);
        *used += 1;
        let (mut batch, mut undo) = (Batch::default(), Batch::default());
        for (key, payload) in &chunks {
            batch.put(*key, payload.clone(), None, None);
            undo.remove(*key, key.to_ref(payload));
        }
        store.apply(&batch, totals(&chunks), &Commit::default()).expect("there is room");
        let read: Result<Vec<_>, _> = read_all(store);
        let loaded = try_load(store);
        if let (Ok(loaded), Ok(read)) = (loaded, read) {
            // Of two groups with one key the second is set aside.
            assert!(loaded.groups <= read.len() as u64);
        }
        store.apply(&undo, Totals::default(), &Commit::default()).expect("there is room");
        assert_eq!(store.load().expect("it can be read").count(), 0);
    });
}

/// How much the chunks of a batch are.
fn totals(chunks: &[(ChunkKey, Bytes)]) -> Totals {
    let mut totals = Totals::default();
    for (key, payload) in chunks.iter().filter(|(key, _)| [HEAD, TOMBSTONE].contains(&key.chunk)) {
        if key.chunk == HEAD {
            totals.groups += 1;
        } else {
            totals.groups = totals.groups.saturating_sub(1);
            totals.removed += 1;
        }
        totals.sum += u64::from(key.to_ref(payload).checksum);
    }
    totals
}

fn read_all(store: &Store) -> Result<Vec<GroupContent>, OpenError> {
    let mut read = Vec::new();
    for group in store.load()? {
        let group = group?;
        if group.removal.is_none() {
            read.extend(GroupContent::try_from(group).ok());
        }
    }
    Ok(read)
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let options = Options { path: folder.path().to_owned(), cache_bytes: 1 << 20 };
        let store = Store::open(&options).expect("the folder is new");
        Self { store: Arc::new(store), path: folder, used: 0 }
    }
}

fn vouched(data: &[u8]) -> Vec<(ChunkKey, Bytes)> {
    let mut chunks = chunks(data);
    chunks.sort_by_key(|chunk| chunk.key);
    chunks.dedup_by_key(|chunk| chunk.key);
    // A head comes in front of its chunks, and is made when they are.
    let mut made = Vec::new();
    let (mut group, mut count, mut sum) = (None, 0_u64, 0_u64);
    for Chunk { key, flags, payload } in chunks.into_iter().rev() {
        if group != Some(key.group) {
            (group, count, sum) = (Some(key.group), 0, 0);
        }
        let mut payload = payload.to_vec();
        if flags & VOUCHES != 0 && key.chunk == 0 {
            push_varint(&mut payload, 9 << 3, count);
            push_varint(&mut payload, 10 << 3, sum);
        }
        if key.chunk != TOMBSTONE {
            count += 1;
            sum += u64::from(key.to_ref(&payload).checksum);
        }
        made.push((key, payload.into()));
    }
    made
}

fn chunks(mut data: &[u8]) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    while let Some(([flags, group, chunk, low, high], rest)) = data.split_first_chunk::<5>() {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (payload, rest) = rest.split_at(len);
        let chunk = if *chunk == u8::MAX { TOMBSTONE } else { u32::from(*chunk) };
        // Group 0 is no group.
        let key = ChunkKey { group: u64::from(*group) + 1, chunk };
        chunks.push(Chunk { key, flags: *flags, payload });
        data = rest;
    }
    chunks
}

/// A field of a message, behind its tag.
fn push_varint(out: &mut Vec<u8>, tag: u8, mut value: u64) {
    out.push(tag);
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
