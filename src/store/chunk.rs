//! Chunks: the units in which an engine keeps a group. Each is a message of `record`.
//!
//! A group is a head, which holds its times and, while they are few, its families; the families of a
//! larger group lie in numbered chunks beside it, so that a push of one family into a group of a
//! thousand rewrites one chunk. The head vouches for the chunks by their count and the sum of their
//! checksums. A tombstone beside them says that the group was removed and can be restored.

use bytes::Bytes;

/// Which chunk of which group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChunkKey {
    /// The group's number; from 1, and never used again once the group is purged.
    pub(crate) group: u64,
    pub(crate) chunk: u32,
}

/// A chunk as an engine has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) key: ChunkKey,
    pub(crate) payload: Bytes,
}

/// Size and content of a chunk that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRef {
    pub(crate) number: u32,
    /// Length of the payload.
    pub(crate) bytes: u32,
    pub(crate) checksum: u32,
}

/// The number of a group's head.
pub(crate) const HEAD: u32 = 0;
/// Chunks of families have numbers above the head's and below this. Those from here on are set aside:
/// from 2^30 for the sources of what is added up, from 2^31 for idempotency keys, from 3 * 2^30 for the
/// log of runs.
pub(crate) const FAMILIES_END: u32 = 1 << 30;
/// The number of the tombstone. Behind all others.
pub(crate) const TOMBSTONE: u32 = u32::MAX;

impl ChunkKey {
    /// The reference to a chunk with this payload.
    pub(crate) fn to_ref(self, payload: &[u8]) -> ChunkRef {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.group.to_le_bytes());
        hasher.update(&self.chunk.to_le_bytes());
        hasher.update(payload);
        let bytes = u32::try_from(payload.len()).expect("the limits keep a group below 4 GiB");
        ChunkRef { number: self.chunk, bytes, checksum: hasher.finalize() }
    }
}

/// The sum by which a head vouches for its chunks.
pub(crate) fn chunk_sum(chunks: impl IntoIterator<Item = ChunkRef>) -> u64 {
    chunks.into_iter().map(|chunk| u64::from(chunk.checksum)).sum()
}
