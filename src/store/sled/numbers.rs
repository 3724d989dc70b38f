//! The numbers of the groups that are stored, kept beside them: without these, a group that was purged
//! and still lies in a part of the file that was not written over would be taken for one that is there.
//!
//! Numbers rise and are never used again, so that they are kept as bits, by ranges: a batch writes those
//! of the ranges in which groups came or went, none where pushes renew groups that are there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;

use super::super::chunk::{ChunkKey, HEAD};
use super::super::record::NumbersRecord;

/// So many numbers lie in a range.
const RANGE: u64 = 4096;
const RANGE_BYTES: usize = 4096 / 8;
/// The runs of the store, behind all ranges. Twice, so that a bit that flips leaves one.
pub(super) const RUNS: [ChunkKey; 2] =
    [ChunkKey { group: 0, chunk: u32::MAX - 1 }, ChunkKey { group: 0, chunk: u32::MAX }];

/// A set of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// By range; none of them is empty.
    ranges: BTreeMap<u32, Range>,
    /// The ranges that have changed since they were written.
    changed: BTreeSet<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    bits: Box<[u8; RANGE_BYTES]>,
    count: u32,
}

impl Default for Range {
    fn default() -> Self {
        Self { bits: Box::new([0; RANGE_BYTES]), count: 0 }
    }
}

/// Range, byte and bit of a number.
fn place(number: u64) -> (u32, usize, u8) {
    let range = u32::try_from(number / RANGE).unwrap_or(u32::MAX / 4);
    let bit = number % RANGE;
    (range, usize::try_from(bit / 8).unwrap_or(0), 1 << (bit % 8))
}

impl Numbers {
    pub(super) fn insert(&mut self, number: u64) {
        let (at, byte, bit) = place(number);
        let range = self.ranges.entry(at).or_default();
        if let Some(byte) = range.bits.get_mut(byte)
            && *byte & bit == 0
        {
            *byte |= bit;
            range.count += 1;
            self.changed.insert(at);
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        let (at, byte, bit) = place(number);
        let Some(range) = self.ranges.get_mut(&at) else { return };
        if let Some(byte) = range.bits.get_mut(byte)
            && *byte & bit != 0
        {
            *byte &= !bit;
            range.count -= 1;
            self.changed.insert(at);
            if range.count == 0 {
                self.ranges.remove(&at);
            }
        }
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let (at, byte, bit) = place(number);
        let range = self.ranges.get(&at);
        range.and_then(|range| range.bits.get(byte)).is_some_and(|byte| byte & bit != 0)
    }

    /// All of them, rising.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.ranges.iter().flat_map(|(at, range)| {
            let first = u64::from(*at) * RANGE;
            let bits = range.bits.iter().zip((first..).step_by(8));
            bits.flat_map(|(byte, first)| {
                (0..8).filter(move |bit| byte & (1 << bit) != 0).map(move |bit| first + bit)
            })
        })
    }

    /// The chunks of the ranges that have changed since they were last asked for. That of a range without
    /// numbers stays: an old version of it would be found in its place.
    pub(super) fn changed(&mut self) -> Vec<(ChunkKey, Bytes)> {
        let changed = std::mem::take(&mut self.changed);
        let chunks = changed.into_iter().map(|at| {
            let bits = self.ranges.get(&at).map_or(&[][..], |range| &range.bits[..]);
            let start = bits.iter().position(|byte| *byte != 0).unwrap_or(0);
            let end = bits.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            let bits = Bytes::copy_from_slice(bits.get(start..end).unwrap_or_default());
            let skipped = u32::try_from(start).unwrap_or(0);
            let payload: Bytes = NumbersRecord { bits, skipped }.encode_to_vec().into();
            (key(at), payload)
        });
        chunks.collect()
    }

    /// Takes in the record of a chunk.
    pub(super) fn add(&mut self, key: ChunkKey, payload: &[u8]) {
        let Some(at) = range_of(key) else { return };
        let Ok(NumbersRecord { bits, skipped }) = NumbersRecord::decode(payload) else { return };
        let mut range = Range::default();
        let skipped = usize::try_from(skipped).unwrap_or(RANGE_BYTES);
        for (to, from) in range.bits.iter_mut().skip(skipped).zip(&bits) {
            *to = *from;
        }
        range.count = range.bits.iter().map(|byte| byte.count_ones()).sum();
        if range.count > 0 {
            self.ranges.insert(at, range);
        }
    }
}

/// The chunk of a range. It has one piece.
fn key(at: u32) -> ChunkKey {
    ChunkKey { group: 0, chunk: HEAD + 1 + at }
}

/// The range of a chunk of the group 0.
pub(super) fn range_of(key: ChunkKey) -> Option<u32> {
    let is_range = key.group == 0 && key.chunk > HEAD && !RUNS.contains(&key);
    is_range.then(|| key.chunk - HEAD - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_from_their_chunks() {
        let all = [1, 7, 8, 4095, 4096, 1_000_000, 40_000_000_000];
        let mut numbers = Numbers::default();
        for number in all {
            numbers.insert(number);
        }
        numbers.insert(9);
        numbers.remove(9);
        numbers.remove(10);
        let chunks = numbers.changed();
        assert_eq!(chunks.len(), 4);
        assert_eq!(numbers.changed(), []);
        let mut read = Numbers::default();
        for (key, payload) in &chunks {
            read.add(*key, payload);
        }
        assert_eq!(read.iter().collect::<Vec<_>>(), all);
        assert!(all.iter().all(|number| read.contains(*number)) && !read.contains(2));
    }

    #[test]
    fn a_range_without_numbers_is_written() {
        let mut numbers = Numbers::default();
        numbers.insert(5000);
        drop(numbers.changed());
        numbers.insert(5000);
        assert_eq!(numbers.changed(), [], "it is there already");
        numbers.remove(5000);
        let chunks = numbers.changed();
        assert_eq!(chunks.iter().map(|(key, _)| key.chunk).collect::<Vec<_>>(), [2]);
        let mut read = Numbers::default();
        for (key, payload) in &chunks {
            read.add(*key, payload);
        }
        assert_eq!(read, Numbers::default());
    }
}
