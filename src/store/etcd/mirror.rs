//! The groups of a cluster as this replica has them in memory: every chunk as it lies in etcd, up to a
//! revision, and those of the batch that is being committed.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::store::batch::Batch;
use crate::store::chunk::{ChunkKey, HEAD};

/// Chunks by their keys.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    chunks: BTreeMap<ChunkKey, Bytes>,
    /// The tree that has the groups.
    pub(super) tree: u64,
    /// The revision up to which everything is here.
    pub(super) revision: i64,
    in_flight: Option<InFlight>,
}

/// The chunks of a batch that is being committed.
#[derive(Debug, Default)]
struct InFlight {
    wipes: bool,
    frames: HashMap<ChunkKey, Option<Bytes>>,
}

impl Mirror {
    pub(super) fn new(tree: u64, revision: i64, chunks: BTreeMap<ChunkKey, Bytes>) -> Self {
        Self { chunks, tree, revision, in_flight: None }
    }

    /// A chunk; as the batch that is being committed leaves it, if it does.
    pub(super) fn get(&self, key: ChunkKey) -> Option<&Bytes> {
        if let Some(in_flight) = &self.in_flight {
            match in_flight.frames.get(&key) {
                Some(frame) => return frame.as_ref(),
                None if in_flight.wipes => return None,
                None => {}
            }
        }
        self.chunks.get(&key)
    }

    /// The chunks of a group, in order.
    pub(super) fn group(&self, number: u64) -> Vec<(ChunkKey, Bytes)> {
        let first = ChunkKey { group: number, chunk: HEAD };
        let last = ChunkKey { group: number, chunk: u32::MAX };
        let mut found: BTreeMap<_, _> =
            self.chunks.range(first..=last).map(|(key, frame)| (*key, frame.clone())).collect();
        if let Some(in_flight) = &self.in_flight {
            if in_flight.wipes {
                found.clear();
            }
            for (key, frame) in in_flight.frames.iter().filter(|(key, _)| key.group == number) {
                match frame {
                    Some(frame) => drop(found.insert(*key, frame.clone())),
                    None => drop(found.remove(key)),
                }
            }
        }
        found.into_iter().collect()
    }

    /// Whether there is a chunk between two, or they are of different groups.
    pub(super) fn has_between(&self, before: ChunkKey, after: ChunkKey) -> bool {
        let between = (Bound::Excluded(before), Bound::Excluded(after));
        before.group != after.group || self.chunks.range(between).next().is_some()
    }

    /// All chunks in their order, without those of a batch that is being committed.
    pub(super) fn all(&self) -> &BTreeMap<ChunkKey, Bytes> {
        &self.chunks
    }

    /// Takes another frame of a chunk; `None`: it is deleted.
    pub(super) fn set(&mut self, key: ChunkKey, frame: Option<Bytes>) {
        match frame {
            Some(frame) => drop(self.chunks.insert(key, frame)),
            None => drop(self.chunks.remove(&key)),
        }
    }

    /// Forgets all chunks, and goes on with another tree.
    pub(super) fn begin_tree(&mut self, tree: u64) {
        self.chunks.clear();
        self.tree = tree;
    }

    /// A batch is being committed from now on.
    pub(super) fn begin(&mut self, batch: &Batch) {
        let frames = batch.writes.iter().map(|(key, write)| (*key, write.frame.clone()));
        self.in_flight = Some(InFlight { wipes: batch.wipes, frames: frames.collect() });
    }

    /// The batch was committed, at this revision.
    pub(super) fn committed(&mut self, tree: u64, revision: i64) {
        let Some(InFlight { wipes, frames }) = self.in_flight.take() else { return };
        if wipes {
            self.begin_tree(tree);
        }
        for (key, frame) in frames {
            self.set(key, frame);
        }
        self.revision = revision;
    }

    /// The batch was not committed, as far as is known.
    pub(super) fn forget(&mut self) {
        self.in_flight = None;
    }

    /// The chunks that are to change for all to be as these.
    pub(super) fn differences(
        &self,
        chunks: &BTreeMap<ChunkKey, Bytes>,
    ) -> Vec<(ChunkKey, Option<Bytes>)> {
        let missing = self.chunks.keys().filter(|key| !chunks.contains_key(key));
        let missing = missing.map(|key| (*key, None));
        let others = chunks.iter().filter(|(key, frame)| self.chunks.get(key) != Some(*frame));
        missing.chain(others.map(|(key, frame)| (*key, Some(frame.clone())))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(group: u64, chunk: u32) -> ChunkKey {
        ChunkKey { group, chunk }
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn batch(wipes: bool, writes: &[(ChunkKey, Option<Bytes>)]) -> Batch {
        let mut batch = Batch { wipes, ..Batch::default() };
        for (key, frame) in writes {
            batch.writes.entry(*key).or_default().frame.clone_from(frame);
        }
        batch
    }

    #[test]
    fn a_batch_is_read_before_it_is_committed_and_forgotten_if_it_is_not() {
        let mut mirror = Mirror::default();
        mirror.set(key(1, 0), Some(bytes("a")));
        mirror.set(key(1, 1), Some(bytes("b")));
        mirror.begin(&batch(false, &[(key(1, 1), None), (key(2, 0), Some(bytes("c")))]));
        assert_eq!(mirror.get(key(1, 1)), None);
        assert_eq!(mirror.group(1), [(key(1, 0), bytes("a"))]);
        assert_eq!(mirror.group(2), [(key(2, 0), bytes("c"))]);
        mirror.forget();
        assert_eq!(mirror.group(1).len(), 2);
        mirror.begin(&batch(true, &[(key(3, 0), Some(bytes("d")))]));
        assert_eq!((mirror.get(key(1, 0)), mirror.group(1).len()), (None, 0));
        mirror.committed(1, 9);
        assert_eq!(mirror.all().keys().copied().collect::<Vec<_>>(), [key(3, 0)]);
        assert_eq!((mirror.tree, mirror.revision), (1, 9));
    }

    #[test]
    fn differences_lead_to_the_other_state() {
        let mut mirror = Mirror::default();
        mirror.set(key(1, 0), Some(bytes("a")));
        mirror.set(key(2, 0), Some(bytes("b")));
        mirror.set(key(3, 0), Some(bytes("c")));
        let other = BTreeMap::from([
            (key(1, 0), bytes("a")),
            (key(3, 0), bytes("x")),
            (key(4, 0), bytes("y")),
        ]);
        let differences = mirror.differences(&other);
        assert_eq!(differences.len(), 3);
        for (key, frame) in differences {
            mirror.set(key, frame);
        }
        assert_eq!(mirror.all(), &other);
    }
}
