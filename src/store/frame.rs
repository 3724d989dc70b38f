//! Chunks as sled keeps them: framed with a checksum, and cut into pieces.

use bytes::Bytes;

/// Which chunk of which group. Chunk 0 is the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey {
    /// The group's number in the store; never used again once the group is gone.
    pub group: u64,
    pub chunk: u32,
}

/// What a head, or the index, knows of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRef {
    pub number: u32,
    /// Length of the frame.
    pub bytes: u32,
    pub checksum: u32,
}

/// A chunk, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
    checksum: u32,
}

/// The largest value handed to sled.
///
/// sled moves a page of more than 128 KiB into a file of its own that it never syncs, so that a
/// power cut can lose it. A leaf page has 16 items before it is split: with values of this size it
/// stays below half of that.
pub(super) const PIECE_BYTES_MAX: usize = 4 * 1024;

/// The number of the chunk that is no chunk, but says that the group is gone. Behind all others.
pub const TOMBSTONE: u32 = u32::MAX;

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 9;
const KEY_BYTES: usize = 16;

impl ChunkKey {
    /// The key of a piece: pieces of a chunk, and chunks of a group, lie together and in order.
    pub fn piece(self, piece: usize) -> [u8; KEY_BYTES] {
        let mut key = [0; KEY_BYTES];
        let piece = u32::try_from(piece).expect("a frame has a u32 length");
        let fields =
            [&self.group.to_be_bytes()[..], &self.chunk.to_be_bytes(), &piece.to_be_bytes()];
        for (to, from) in key.iter_mut().zip(fields.concat()) {
            *to = from;
        }
        key
    }

    /// The chunk and the number of the piece that a key of sled is of.
    pub fn from_piece(key: &[u8]) -> Option<(Self, u32)> {
        let (group, rest) = key.split_first_chunk::<8>()?;
        let (chunk, rest) = rest.split_first_chunk::<4>()?;
        let piece: [u8; 4] = rest.try_into().ok()?;
        let key = Self { group: u64::from_be_bytes(*group), chunk: u32::from_be_bytes(*chunk) };
        Some((key, u32::from_be_bytes(piece)))
    }

    fn checksum(self, payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.group.to_le_bytes());
        hasher.update(&self.chunk.to_le_bytes());
        hasher.update(payload);
        hasher.finalize()
    }
}

impl ChunkRef {
    /// Into how many pieces the chunk is cut.
    pub fn pieces(self) -> usize {
        pieces_of(self.bytes as usize)
    }
}

impl Frame {
    /// Frames a payload.
    pub fn new(key: ChunkKey, payload: &impl prost::Message) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.encoded_len());
        bytes.resize(HEADER_BYTES, FORMAT);
        payload.encode(&mut bytes).expect("a vector grows as needed");
        let (header, body) = bytes.split_at_mut(HEADER_BYTES);
        let checksum = key.checksum(body);
        let len = u32::try_from(body.len()).expect("the limits keep a group below 4 GiB");
        let fields = checksum.to_le_bytes().into_iter().chain(len.to_le_bytes());
        for (to, from) in header.iter_mut().skip(1).zip(fields) {
            *to = from;
        }
        Self { bytes: bytes.into(), checksum }
    }

    /// Puts the frame together from its pieces, in order, and checks it.
    pub fn from_pieces(key: ChunkKey, pieces: Bytes) -> Result<Self, String> {
        let (&format, rest) = pieces.split_first().ok_or("it is empty")?;
        if format != FORMAT {
            return Err(format!("it has format {format}, expected {FORMAT}"));
        }
        let (checksum, rest) = rest.split_first_chunk::<4>().ok_or("its header is cut")?;
        let (len, payload) = rest.split_first_chunk::<4>().ok_or("its header is cut")?;
        let len = u32::from_le_bytes(*len);
        if usize::try_from(len) != Ok(payload.len()) {
            return Err(format!("it has {} bytes, expected {len}", payload.len()));
        }
        let checksum = u32::from_le_bytes(*checksum);
        if key.checksum(payload) != checksum {
            return Err("its checksum is wrong".into());
        }
        Ok(Self { bytes: pieces, checksum })
    }

    /// What was framed.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES.min(self.bytes.len())..)
    }

    /// What to keep of the chunk `number`, of which this is the frame.
    pub fn to_ref(&self, number: u32) -> ChunkRef {
        let bytes = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        ChunkRef { number, bytes, checksum: self.checksum }
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.bytes.chunks(PIECE_BYTES_MAX)
    }
}

fn pieces_of(bytes: usize) -> usize {
    bytes.div_ceil(PIECE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::ChunkRecord;
    use crate::store::record::FamilyRecord;

    fn record(bytes: usize) -> ChunkRecord {
        let family = FamilyRecord { metrics: vec![7; bytes].into(), ..FamilyRecord::default() };
        ChunkRecord { families: vec![family] }
    }

    #[test]
    fn a_frame_is_put_together_from_its_pieces() {
        let key = ChunkKey { group: 3, chunk: 9 };
        for bytes in [0, 1, PIECE_BYTES_MAX - HEADER_BYTES, PIECE_BYTES_MAX, 3 * PIECE_BYTES_MAX] {
            let frame = Frame::new(key, &record(bytes));
            let pieces: Vec<&[u8]> = frame.pieces().collect();
            assert_eq!(pieces.len(), frame.to_ref(9).pieces());
            assert_eq!(Frame::from_pieces(key, pieces.concat().into()), Ok(frame));
        }
    }

    #[test]
    fn a_frame_that_is_not_whole_or_not_in_its_place_is_refused() {
        let key = ChunkKey { group: 3, chunk: 9 };
        let bytes = Frame::new(key, &record(100)).bytes;
        for at in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1;
            assert!(Frame::from_pieces(key, flipped.into()).is_err(), "byte {at}");
            assert!(Frame::from_pieces(key, bytes.slice(..at)).is_err(), "cut at {at}");
        }
        let elsewhere = ChunkKey { group: 3, chunk: 8 };
        assert!(Frame::from_pieces(elsewhere, bytes).is_err());
    }

    #[test]
    fn keys_sort_by_group_chunk_and_piece() {
        let key = |group, chunk, piece| ChunkKey { group, chunk }.piece(piece);
        assert!(key(1, 2, 3) < key(1, 2, 256) && key(1, 256, 0) < key(256, 0, 0));
        let parsed = ChunkKey::from_piece(&key(5, 6, 7));
        assert_eq!(parsed, Some((ChunkKey { group: 5, chunk: 6 }, 7)));
        assert_eq!(ChunkKey::from_piece(b"short"), None);
        assert_eq!(ChunkKey::from_piece(&[0; 17]), None);
    }
}
