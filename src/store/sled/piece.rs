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
pub(super) const MARK: [u8; 4] = [0xF1, b'T', b'g', 2];
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) chunk: ChunkKey,
    pub(crate) place: u32,
    pub(crate) pieces: u32,
    pub(crate) write: u64,
    pub(crate) part: &'a [u8],
}

/// All that a piece says in front of its part of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) chunk: ChunkKey,
    pub(super) place: u32,
    pub(super) pieces: u32,
    pub(super) write: u64,
    /// Of the part.
    pub(super) len: u32,
    pub(super) checksum: u32,
}

impl Header {
    /// Reads the header with which these bytes begin. Returns the bytes behind it.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let rest = bytes.strip_prefix(&MARK)?;
        let (group, rest) = rest.split_first_chunk::<8>()?;
        let (chunk, rest) = rest.split_first_chunk::<4>()?;
        let (place, rest) = rest.split_first_chunk::<4>()?;
        let (pieces, rest) = rest.split_first_chunk::<4>()?;
        let (write, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        let group = u64::from_le_bytes(*group);
        let header = Self {
            chunk: ChunkKey { group, chunk: u32::from_le_bytes(*chunk) },
            place: u32::from_le_bytes(*place),
            pieces: u32::from_le_bytes(*pieces),
            write: u64::from_le_bytes(*write),
            len: u32::from_le_bytes(*len),
            checksum: u32::from_le_bytes(*checksum),
        };
        Some((header, rest))
    }
}

impl<'a> Piece<'a> {
    /// Reads and checks a piece.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let (header, part) = Header::read(bytes).ok_or("it does not begin as a piece does")?;
        let Header { chunk, place, pieces, write, len, checksum } = header;
        if usize::try_from(len) != Ok(part.len()) {
            return Err("its length is not the one that it says");
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(bytes.get(..HEADER_BYTES - size_of_val(&checksum)).unwrap_or_default());
        hasher.update(part);
        if hasher.finalize() != checksum {
            return Err("its checksum is wrong");
        }
        Ok(Self { chunk, place, pieces, write, part })
    }
}

/// Joins the pieces of one chunk, which come in order.
#[derive(Debug)]
pub(crate) struct Joiner {
    chunk: ChunkKey,
    /// The write that the pieces are from, and how many there are, as the first says.
    of: Option<(u64, u32)>,
    payload: BytesMut,
    next: u32,
}

impl Joiner {
    /// Begins a chunk.
    pub(crate) fn new(chunk: ChunkKey) -> Self {
        Self { chunk, of: None, payload: BytesMut::new(), next: 0 }
    }

    /// Adds the next piece.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        let place = self.next;
        let piece = Piece::parse(bytes).map_err(|what| format!("piece {place}: {what}"))?;
        if piece.chunk != self.chunk || piece.place != place {
            return Err(format!("piece {place} is not in its place"));
        }
        if *self.of.get_or_insert((piece.write, piece.pieces)) != (piece.write, piece.pieces) {
            return Err(format!("piece {place} is from another write than those before it"));
        }
        self.next += 1;
        self.payload.extend_from_slice(piece.part);
        Ok(())
    }

    /// Whether all pieces are there.
    pub(crate) fn is_complete(&self) -> bool {
        self.of.is_some_and(|(_, pieces)| pieces == self.next)
    }

    /// The payload, once all pieces are there.
    pub(crate) fn finish(self) -> Result<Bytes, String> {
        let (_, pieces) = self.of.ok_or("it has no piece")?;
        if pieces != self.next {
            return Err(format!("{} of its {pieces} pieces are there", self.next));
        }
        Ok(self.payload.freeze())
    }
}

/// A chunk that was joined, or why it is damaged.
pub(crate) type Joined = (ChunkKey, Result<Bytes, String>);

/// Joins the pieces of many chunks, which come in the order of their keys.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    joining: Option<(ChunkKey, Result<Joiner, String>)>,
}

impl Chunks {
    /// Adds the next piece of the chunk of a key. Returns the chunk before, where another begins.
    pub(crate) fn add(&mut self, chunk: ChunkKey, piece: &[u8]) -> Option<Joined> {
        let is_next = self.joining.as_ref().is_some_and(|(joining, _)| *joining == chunk);
        let before = if is_next { None } else { self.finish() };
        let (_, joined) = self.joining.get_or_insert_with(|| (chunk, Ok(Joiner::new(chunk))));
        if let Ok(joiner) = joined
            && let Err(what) = joiner.add(piece)
        {
            *joined = Err(what);
        }
        before
    }

    /// The last chunk.
    pub(crate) fn finish(&mut self) -> Option<Joined> {
        let (chunk, joined) = self.joining.take()?;
        let named = |what| format!("chunk {}: {what}", chunk.chunk);
        Some((chunk, joined.and_then(Joiner::finish).map_err(named)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ChunkKey = ChunkKey { group: 3, chunk: 9 };

    fn joined(key: ChunkKey, pieces: impl IntoIterator<Item = Vec<u8>>) -> Result<Bytes, String> {
        let mut joiner = Joiner::new(key);
        pieces.into_iter().try_for_each(|piece| joiner.add(&piece))?;
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
    fn a_chunk_that_is_damaged_leaves_those_beside_it() {
        let keys = [2, 3, 4].map(|chunk| ChunkKey { group: 1, chunk });
        let mut chunks = Chunks::default();
        let mut joined = Vec::new();
        for key in keys {
            for (place, mut piece) in cut(key, 7, &[5; 9000]).enumerate() {
                if (key.chunk, place) == (3, 1) {
                    piece[50] ^= 1;
                }
                joined.extend(chunks.add(key, &piece));
            }
        }
        joined.extend(chunks.finish());
        let [two, three, four] = joined.try_into().unwrap();
        assert_eq!(two, (keys[0], Ok(vec![5; 9000].into())));
        assert_eq!(three, (keys[1], Err("chunk 3: piece 1: its checksum is wrong".into())));
        assert_eq!(four, (keys[2], Ok(vec![5; 9000].into())));
        assert_eq!(chunks.finish(), None);
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
