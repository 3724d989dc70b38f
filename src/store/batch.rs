//! Chunks that are written and removed together.

use bytes::Bytes;
use hashbrown::HashMap;

use super::chunk::{ChunkKey, ChunkRef};

/// Changes that become durable together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Whether everything that is stored is removed before the writes are made.
    pub(crate) wipes: bool,
    pub(crate) writes: HashMap<ChunkKey, Write>,
    /// Bytes of the frames.
    pub(crate) frame_bytes: usize,
}

/// The change of one chunk.
#[derive(Debug, Default)]
pub(crate) struct Write {
    /// `None`: the chunk is removed.
    pub(crate) payload: Option<Bytes>,
    /// The payload as etcd gets it, where it does.
    pub(crate) frame: Option<Bytes>,
    /// The longest payload that may be on disk.
    pub(crate) bytes_before: Option<u32>,
}

impl Batch {
    /// Writes a chunk in place of `before`.
    pub(crate) fn put(
        &mut self,
        key: ChunkKey,
        payload: Bytes,
        frame: Option<Bytes>,
        before: Option<ChunkRef>,
    ) {
        self.write(key, Some(payload), frame, before);
    }

    /// Removes a chunk.
    pub(crate) fn remove(&mut self, key: ChunkKey, before: ChunkRef) {
        self.write(key, None, None, Some(before));
    }

    fn write(
        &mut self,
        key: ChunkKey,
        payload: Option<Bytes>,
        frame: Option<Bytes>,
        before: Option<ChunkRef>,
    ) {
        let write = self.writes.entry(key).or_default();
        self.frame_bytes -= write.frame.as_ref().map_or(0, Bytes::len);
        self.frame_bytes += frame.as_ref().map_or(0, Bytes::len);
        (write.payload, write.frame) = (payload, frame);
        // An earlier write of this batch is not on disk, but to remove more than there is does no harm.
        write.bytes_before = write.bytes_before.max(before.map(|before| before.bytes));
    }

    /// Removes every chunk, those of this batch included.
    pub(crate) fn wipe(&mut self) {
        self.writes.clear();
        self.frame_bytes = 0;
        self.wipes = true;
    }

    /// Whether there is nothing to commit.
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty() && !self.wipes
    }
}
