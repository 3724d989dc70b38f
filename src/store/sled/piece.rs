//! Chunks as sled keeps them: cut into pieces, each of which says by itself what it is.
//!
//! A piece is found and put in order without sled: it begins with a mark to search for, names its
//! group, chunk and place, and has the number of the write that it is from; its checksum covers all of
//! that. All numbers are little endian:
//!
//! ```text
//!  0  mark, format        4
//!  4  group               8
//! 12  chunk               4
//! 16  place               4   among the pieces of the chunk, from 0
//! 20  pieces              4   of the chunk, in all
//! 24  write               8
//! 32  length of the rest  4
//! 36  CRC-32 of 0..36 and the rest
//! 40  a part of the payload
//! ```

use bytes::{Bytes, BytesMut};

use super::super::chunk::ChunkKey;

/// The largest value handed to sled.
///
/// sled moves a page of more than 128 KiB into a file of its own that it never syncs, so that a
/// power cut can lose it. A leaf page has 16 items before it is split: with values of this size it
/// stays below half of that.
pub(crate) const PIECE_BYTES_MAX: usize = 4 * 1024;
/// In front of the part of the payload.
pub(crate) const HEADER_BYTES: usize = 40;
const PAYLOAD_BYTES_MAX: usize = PIECE_BYTES_MAX - HEADER_BYTES;
/// Bytes that no text has, and the format.
const MARK: [u8; 4] = [0xF1, b'T', b'g', 2];
const KEY_BYTES: usize = 16;

/// The key of a piece in sled: pieces of a chunk, and chunks of a group, lie together and in order.
pub(crate) fn key(chunk: ChunkKey, place: u32) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let fields = [&chunk.group.to_be_bytes()[..], &chunk.chunk.to_be_bytes(), &place.to_be_bytes()];
    for (to, from) in key.iter_mut().zip(fields.concat()) {
        *to = from;
    }
    key
}

/// The chunk of a key of sled.
pub(crate) fn chunk_of(key: &[u8]) -> Option<ChunkKey> {
    let (group, rest) = key.split_first_chunk::<8>()?;
    let (chunk, rest) = rest.split_first_chunk::<4>()?;
    let _place: [u8; 4] = rest.try_into().ok()?;
    Some(ChunkKey { group: u64::from_be_bytes(*group), chunk: u32::from_be_bytes(*chunk) })
}

/// Into how many pieces a payload is cut.
fn pieces_of(bytes: usize) -> u32 {
    let pieces = bytes.div_ceil(PAYLOAD_BYTES_MAX).max(1);
    u32::try_from(pieces).expect("a payload is below 4 GiB")
}

/// How many pieces a stored chunk has.
pub(crate) fn count(bytes: u32) -> u32 {
    pieces_of(bytes as usize)
}

/// The pieces of a chunk, in order, as written by the write of this number.
pub(crate) fn cut(chunk: ChunkKey, write: u64, payload: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let pieces = pieces_of(payload.len());
    // An empty payload has a piece, too.
    let parts = payload.chunks(PAYLOAD_BYTES_MAX).chain(payload.is_empty().then_some(payload));
    parts.zip(0..).map(move |(part, place)| {
        let mut piece = Vec::with_capacity(HEADER_BYTES + part.len());
        piece.extend(MARK);
        piece.extend(chunk.group.to_le_bytes());
        piece.extend(chunk.chunk.to_le_bytes());
        piece.extend(u32::to_le_bytes(place));
        piece.extend(pieces.to_le_bytes());
        piece.extend(write.to_le_bytes());
        piece.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&piece);
        hasher.update(part);
        piece.extend(hasher.finalize().to_le_bytes());
        piece.extend(part);
        piece
    })
}

/// A piece that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) chunk: ChunkKey,
    pub(crate) place: u32,
    pub(crate) pieces: u32,
    pub(crate) write: u64,
    pub(crate) part: Bytes,
}

impl Piece {
    /// Reads and checks a piece.
    pub(crate) fn parse(bytes: &Bytes) -> Result<Self, &'static str> {
        const CUT: &str = "it is cut";
        let rest = bytes.strip_prefix(&MARK).ok_or("it does not begin as a piece does")?;
        let (group, rest) = rest.split_first_chunk::<8>().ok_or(CUT)?;
        let (chunk, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        let (place, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        let (pieces, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        let (write, rest) = rest.split_first_chunk::<8>().ok_or(CUT)?;
        let (len, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        let (checksum, part) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        if usize::try_from(u32::from_le_bytes(*len)) != Ok(part.len()) {
            return Err("it has another length than it says");
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(bytes.get(..HEADER_BYTES - checksum.len()).unwrap_or_default());
        hasher.update(part);
        if hasher.finalize() != u32::from_le_bytes(*checksum) {
            return Err("its checksum is wrong");
        }
        let group = u64::from_le_bytes(*group);
        Ok(Self {
            chunk: ChunkKey { group, chunk: u32::from_le_bytes(*chunk) },
            place: u32::from_le_bytes(*place),
            pieces: u32::from_le_bytes(*pieces),
            write: u64::from_le_bytes(*write),
            part: bytes.slice_ref(part),
        })
    }
}

/// Joins the pieces of one chunk, which come in order.
#[derive(Debug)]
pub(crate) struct Joiner {
    chunk: ChunkKey,
    /// The first, which most chunks have alone: not copied.
    first: Option<Piece>,
    others: BytesMut,
    next: u32,
}

impl Joiner {
    /// Of a chunk whose pieces are yet to come.
    pub(crate) fn new(chunk: ChunkKey) -> Self {
        Self { chunk, first: None, others: BytesMut::new(), next: 0 }
    }

    /// Adds the next piece.
    pub(crate) fn add(&mut self, bytes: &Bytes) -> Result<(), String> {
        let place = self.next;
        let piece = Piece::parse(bytes).map_err(|what| format!("piece {place}: {what}"))?;
        if piece.chunk != self.chunk || piece.place != place {
            return Err(format!("piece {place} is not in its place"));
        }
        self.next += 1;
        let Some(first) = &self.first else {
            self.first = Some(piece);
            return Ok(());
        };
        if (first.write, first.pieces) != (piece.write, piece.pieces) {
            return Err(format!("piece {place} is from another write than those before it"));
        }
        if self.others.is_empty() {
            self.others.extend_from_slice(&first.part);
        }
        self.others.extend_from_slice(&piece.part);
        Ok(())
    }

    /// How many pieces are yet to come; `None` before the first.
    pub(crate) fn missing(&self) -> Option<u32> {
        Some(self.first.as_ref()?.pieces.saturating_sub(self.next))
    }

    /// The payload, once all pieces are there.
    pub(crate) fn finish(self) -> Result<Bytes, String> {
        let first = self.first.ok_or("it has no piece")?;
        if first.pieces != self.next {
            return Err(format!("{} of its {} pieces are there", self.next, first.pieces));
        }
        Ok(if first.pieces == 1 { first.part } else { self.others.freeze() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ChunkKey = ChunkKey { group: 3, chunk: 9 };

    fn joined(key: ChunkKey, pieces: impl IntoIterator<Item = Vec<u8>>) -> Result<Bytes, String> {
        let mut joiner = Joiner::new(key);
        pieces.into_iter().try_for_each(|piece| joiner.add(&piece.into()))?;
        joiner.finish()
    }

    #[test]
    fn a_payload_is_joined_from_its_pieces() {
        for bytes in [0, 1, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX + 1, 3 * PIECE_BYTES_MAX] {
            let payload: Vec<u8> = (0..bytes).map(|at| at.to_le_bytes()[0]).collect();
            let pieces: Vec<_> = cut(KEY, 7, &payload).collect();
            assert_eq!(pieces.len(), count(u32::try_from(bytes).unwrap()) as usize, "{bytes}");
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES_MAX));
            assert_eq!(joined(KEY, pieces).unwrap(), payload, "{bytes}");
        }
    }

    #[test]
    fn a_piece_that_is_not_whole_is_refused() {
        let [piece] = cut(KEY, 7, &[1; 100]).collect::<Vec<_>>().try_into().unwrap();
        for at in 0..piece.len() {
            let mut flipped = piece.clone();
            flipped[at] ^= 1;
            assert!(joined(KEY, [flipped]).is_err(), "byte {at}");
            assert!(joined(KEY, [piece[..at].to_vec()]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn pieces_that_do_not_belong_together_are_refused() {
        let old: Vec<_> = cut(KEY, 7, &[1; 9000]).collect();
        let new: Vec<_> = cut(KEY, 8, &[1; 9000]).collect();
        let [zero, one, two] = old.try_into().unwrap();
        for (pieces, says) in [
            (vec![zero.clone(), one.clone()], "2 of its 3 pieces"),
            (vec![zero.clone(), two.clone()], "not in its place"),
            (vec![zero, new[1].clone(), two], "another write"),
            (vec![], "no piece"),
        ] {
            let error = joined(KEY, pieces).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(joined(ChunkKey { group: 3, chunk: 8 }, new).is_err());
    }

    #[test]
    fn keys_sort_by_group_chunk_and_place() {
        let key = |group, chunk, place| key(ChunkKey { group, chunk }, place);
        assert!(key(1, 2, 3) < key(1, 2, 256) && key(1, 256, 0) < key(256, 0, 0));
        assert_eq!(chunk_of(&key(5, 6, 7)), Some(ChunkKey { group: 5, chunk: 6 }));
        assert_eq!(chunk_of(b"short"), None);
        assert_eq!(chunk_of(&[0; 17]), None);
    }
}
