//! Version 4: pieces that are found and put in order without sled, and a count of what is there.
//!
//! Before: version 3.
//!
//! After: each value of the tree of groups is a piece that says what it is. All numbers are little
//! endian: the bytes F1 54 67 02, group (u64), chunk (u32), place (u32), pieces of the chunk (u32),
//! number of the write (u64), length of the part (u32), CRC-32 of all of that and the part, and the part
//! of the payload, 4056 bytes in all pieces but the last. The keys are as they were. The head's sum is of
//! the CRC-32 of group (u64), chunk (u32) and payload of each other chunk, as before. A tombstone has the
//! field 9, 1 for a deletion, in place of the field 3. Group 0 has one chunk, the summary: the number of
//! the latest write (field 1), groups (2), removed groups (3), wall time in nanoseconds (4, zigzag).
//!
//! A group that does not fit together is left as it is, to be reported as damaged.
//!
//! Running it twice is the same as once: a piece that is new already is left alone, and a group is
//! changed in one batch.

use std::collections::BTreeMap;

use prost::Message;

use super::Migration;

pub(super) const MIGRATION: Migration = Migration { version: 4, name: "pieces", up };

const MARK: [u8; 4] = [0xF1, b'T', b'g', 2];
const PART_BYTES_MAX: usize = 4096 - 40;
const TOMBSTONE: u32 = u32::MAX;
const WRITE: u64 = 1;
/// After so many groups the log says how far it is.
const PROGRESS: u64 = 100_000;

/// The fields of a head that count here.
#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(uint32, tag = "9")]
    chunk_count: u32,
    #[prost(uint64, tag = "10")]
    chunk_sum: u64,
}

#[derive(Clone, PartialEq, Message)]
struct OldTombstone {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(int64, tag = "2")]
    at_ns: i64,
    #[prost(bool, tag = "3")]
    deleted: bool,
    #[prost(uint64, tag = "4")]
    deadline_ms: u64,
    #[prost(uint32, optional, tag = "5")]
    rule: Option<u32>,
    #[prost(string, optional, tag = "6")]
    selector: Option<String>,
    #[prost(uint32, tag = "7")]
    series: u32,
    #[prost(uint32, tag = "8")]
    families: u32,
}

#[derive(Clone, PartialEq, Message)]
struct NewTombstone {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(int64, tag = "2")]
    at_ns: i64,
    #[prost(uint64, tag = "4")]
    deadline_ms: u64,
    #[prost(uint32, optional, tag = "5")]
    rule: Option<u32>,
    #[prost(string, optional, tag = "6")]
    selector: Option<String>,
    #[prost(uint32, tag = "7")]
    series: u32,
    #[prost(uint32, tag = "8")]
    families: u32,
    #[prost(uint32, tag = "9")]
    reason: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(uint64, tag = "1")]
    write: u64,
    #[prost(uint64, tag = "2")]
    groups: u64,
    #[prost(uint64, tag = "3")]
    removed: u64,
}

fn up(db: &sled::Db) -> sled::Result<()> {
    let meta = db.open_tree("meta")?;
    let name = meta.get("groups_tree")?.unwrap_or_else(|| "groups".into());
    let tree = db.open_tree(name)?;
    let summary_key = key(0, 0, 0);
    if tree.contains_key(summary_key)? {
        return Ok(());
    }
    let (mut groups, mut removed, mut seen) = (0, 0, 0_u64);
    let mut from = key(1, 0, 0).to_vec();
    while let Some(first) = tree.range(from.clone()..).next() {
        let (first, _) = first?;
        let Some(group) = first.get(..8).and_then(|bytes| bytes.try_into().ok()) else { break };
        let group = u64::from_be_bytes(group);
        // The values of the group, whole, by chunk.
        let mut chunks: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        let mut keys = Vec::new();
        let mut is_new = false;
        for piece in tree.scan_prefix(group.to_be_bytes()) {
            let (key, value) = piece?;
            let Some(chunk) = key.get(8..12).and_then(|bytes| bytes.try_into().ok()) else {
                continue;
            };
            is_new |= value.starts_with(&MARK);
            chunks.entry(u32::from_be_bytes(chunk)).or_default().extend_from_slice(&value);
            keys.push(key);
        }
        if is_new {
            // The migration was here before it was cut off.
            removed += u64::from(chunks.contains_key(&TOMBSTONE));
            groups += u64::from(!chunks.contains_key(&TOMBSTONE));
        } else if let Some(new) = converted(group, &chunks) {
            let mut batch = sled::Batch::default();
            for key in keys {
                batch.remove(key);
            }
            for (chunk, payload) in &new {
                cut(&mut batch, group, *chunk, payload);
            }
            tree.apply_batch(batch)?;
            removed += u64::from(new.contains_key(&TOMBSTONE));
            groups += u64::from(!new.contains_key(&TOMBSTONE));
        }
        seen += 1;
        if seen % PROGRESS == 0 {
            tracing::info!(groups = seen, "migrating the store goes on");
        }
        let Some(next) = group.checked_add(1) else { break };
        from = key(next, 0, 0).to_vec();
    }
    // Last: it says that all is done.
    let mut batch = sled::Batch::default();
    cut(&mut batch, 0, 0, &Summary { write: WRITE, groups, removed }.encode_to_vec());
    tree.apply_batch(batch)
}

/// The payloads of a group in their new form; `None` if it does not fit together.
fn converted(group: u64, chunks: &BTreeMap<u32, Vec<u8>>) -> Option<BTreeMap<u32, Vec<u8>>> {
    let (mut count, mut sum) = (0, 0);
    let mut new = BTreeMap::new();
    for (chunk, frame) in chunks {
        let (format, rest) = frame.split_first()?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        let (len, payload) = rest.split_first_chunk::<4>()?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&group.to_le_bytes());
        hasher.update(&chunk.to_le_bytes());
        hasher.update(payload);
        let found = hasher.finalize();
        let is_whole = *format == 1
            && usize::try_from(u32::from_le_bytes(*len)) == Ok(payload.len())
            && u32::from_le_bytes(*checksum) == found;
        if !is_whole {
            return None;
        }
        if *chunk == TOMBSTONE {
            let OldTombstone {
                sequence,
                at_ns,
                deleted,
                deadline_ms,
                rule,
                selector,
                series,
                families,
            } = OldTombstone::decode(payload).ok()?;
            let reason = u32::from(deleted);
            let tombstone = NewTombstone {
                sequence,
                at_ns,
                deadline_ms,
                rule,
                selector,
                series,
                families,
                reason,
            };
            new.insert(*chunk, tombstone.encode_to_vec());
            continue;
        }
        if *chunk != 0 {
            count += 1;
            sum += u64::from(found);
        }
        new.insert(*chunk, payload.to_vec());
    }
    let head = Head::decode(new.get(&0)?.as_slice()).ok()?;
    (head.chunk_count == count && head.chunk_sum == sum).then_some(new)
}

fn cut(batch: &mut sled::Batch, group: u64, chunk: u32, payload: &[u8]) {
    let parts: Vec<&[u8]> = match payload {
        [] => vec![&[]],
        payload => payload.chunks(PART_BYTES_MAX).collect(),
    };
    let pieces = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    for (part, place) in parts.into_iter().zip(0_u32..) {
        let mut piece = MARK.to_vec();
        piece.extend(group.to_le_bytes());
        piece.extend(chunk.to_le_bytes());
        piece.extend(place.to_le_bytes());
        piece.extend(pieces.to_le_bytes());
        piece.extend(WRITE.to_le_bytes());
        piece.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&piece);
        hasher.update(part);
        piece.extend(hasher.finalize().to_le_bytes());
        piece.extend(part);
        batch.insert(&key(group, chunk, place), piece);
    }
}

fn key(group: u64, chunk: u32, place: u32) -> [u8; 16] {
    let mut key = [0; 16];
    let fields = [&group.to_be_bytes()[..], &chunk.to_be_bytes(), &place.to_be_bytes()].concat();
    for (to, from) in key.iter_mut().zip(fields) {
        *to = from;
    }
    key
}
