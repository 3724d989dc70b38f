//! What a store may have: frames of any bytes, and any bytes within frames whose checksums are right.

use std::cell::RefCell;

use bytes::Bytes;
use tempfile::TempDir;

use crate::gateway::{read_all, try_restore};
use crate::store::{Batch, ChunkKey, Frame, Options, Store, TOMBSTONE};

/// A store that serves many inputs: to create one takes longer than to use it.
struct Folder {
    // Dropped in this order.
    store: Store,
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

/// The payload is a frame, and not what is in it.
const RAW: u8 = 1;
/// Of a head: it vouches for the chunks that are there, whatever it says itself.
const VOUCHES: u8 = 2;

/// Chunks of a store: all of it is restored, or refused as damaged.
pub fn record(data: &[u8]) {
    let whole = Frame::from_pieces(ChunkKey { group: 0, chunk: 0 }, Bytes::copy_from_slice(data));
    if let Ok(frame) = whole {
        put_together_again(ChunkKey { group: 0, chunk: 0 }, &frame);
    }
    let frames = frames(data);
    if frames.is_empty() {
        return;
    }
    FOLDER.with_borrow_mut(|folder| {
        drop(folder.take_if(|folder| folder.used >= USES_MAX));
        let Folder { store, used, .. } = folder.get_or_insert_with(Folder::new);
        *used += 1;
        let (mut batch, mut undo) = (Batch::default(), Batch::default());
        for (key, frame) in &frames {
            batch.put(*key, frame.clone(), None);
            undo.remove(*key, frame.to_ref(key.chunk));
        }
        store.apply(&batch).expect("there is room");
        let restored = try_restore(store);
        let read = read_all(store);
        if let (Ok(restored), Ok(read)) = (restored, read) {
            assert_eq!(restored.groups, read.len() as u64);
        }
        store.apply(&undo).expect("there is room");
        assert!(store.groups().expect("it can be read").is_empty());
    });
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let options = Options { path: folder.path().to_owned(), cache_bytes: 1 << 20 };
        let store = Store::open(&options).expect("the folder is new");
        Self { store, path: folder, used: 0 }
    }
}

fn frames(data: &[u8]) -> Vec<(ChunkKey, Frame)> {
    let mut chunks = chunks(data);
    chunks.sort_by_key(|chunk| chunk.key);
    chunks.dedup_by_key(|chunk| chunk.key);
    // A head comes in front of its chunks, and is made when they are.
    let mut frames = Vec::new();
    let (mut group, mut count, mut sum) = (None, 0_u64, 0_u64);
    for Chunk { key, flags, payload } in chunks.into_iter().rev() {
        if group != Some(key.group) {
            (group, count, sum) = (Some(key.group), 0, 0);
        }
        let framed = if flags & RAW != 0 {
            payload.to_vec()
        } else if flags & VOUCHES != 0 && key.chunk == 0 {
            let mut payload = payload.to_vec();
            push_varint(&mut payload, 9 << 3, count);
            push_varint(&mut payload, 10 << 3, sum);
            framed(key, &payload)
        } else {
            framed(key, payload)
        };
        let Ok(frame) = Frame::from_pieces(key, framed.into()) else { continue };
        put_together_again(key, &frame);
        if key.chunk != TOMBSTONE {
            count += 1;
            sum += u64::from(frame.to_ref(key.chunk).checksum);
        }
        frames.push((key, frame));
    }
    frames
}

fn chunks(mut data: &[u8]) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    while let Some(([flags, group, chunk, low, high], rest)) = data.split_first_chunk::<5>() {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (payload, rest) = rest.split_at(len);
        let chunk = if *chunk == u8::MAX { TOMBSTONE } else { u32::from(*chunk) };
        let key = ChunkKey { group: u64::from(*group), chunk };
        chunks.push(Chunk { key, flags: *flags, payload });
        data = rest;
    }
    chunks
}

/// A frame as [`Frame::new`] makes it, of any payload: format, checksum, length.
fn framed(key: ChunkKey, payload: &[u8]) -> Vec<u8> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.group.to_le_bytes());
    hasher.update(&key.chunk.to_le_bytes());
    hasher.update(payload);
    let len = u32::try_from(payload.len()).expect("an input is short");
    let mut frame = vec![1];
    frame.extend(hasher.finalize().to_le_bytes());
    frame.extend(len.to_le_bytes());
    frame.extend(payload);
    frame
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

fn put_together_again(key: ChunkKey, frame: &Frame) {
    let pieces: Vec<&[u8]> = frame.pieces().collect();
    assert_eq!(Frame::from_pieces(key, pieces.concat().into()).as_ref(), Ok(frame));
}
