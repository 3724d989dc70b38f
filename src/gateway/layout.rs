//! How a group's families are laid out in the store: in its head while they are few, else in
//! chunks, so that a push rewrites about as much as it brings.

use prost::Message;

use crate::store::record::FamilyRecord;

/// Families of up to this many bytes in all stay in the head of their group.
const HEAD_BYTES_MAX: usize = 12 * 1024;
/// A chunk is closed once it has this many bytes. A larger family has a chunk to itself.
const CHUNK_BYTES: usize = 4 * 1024;

/// The families of one chunk; chunk 0 is the head.
#[derive(Debug, PartialEq)]
pub(super) struct Chunk {
    pub(super) number: u32,
    pub(super) families: Vec<FamilyRecord>,
}

/// Lays out all families of a group anew.
pub(super) fn whole(families: Vec<FamilyRecord>) -> Vec<Chunk> {
    let bytes: usize = families.iter().map(Message::encoded_len).sum();
    if bytes <= HEAD_BYTES_MAX {
        return vec![Chunk { number: 0, families }];
    }
    let mut chunks = vec![Chunk { number: 0, families: Vec::new() }];
    chunks.extend(numbered(fill(families), 1..));
    chunks
}

/// Lays out one chunk whose families have changed: what no longer fits goes to chunks with the
/// numbers `free`.
pub(super) fn changed(
    number: u32,
    families: Vec<FamilyRecord>,
    free: impl Iterator<Item = u32>,
) -> Vec<Chunk> {
    let bytes: usize = families.iter().map(Message::encoded_len).sum();
    if bytes <= 2 * CHUNK_BYTES || families.len() == 1 {
        return vec![Chunk { number, families }];
    }
    numbered(fill(families), std::iter::once(number).chain(free)).collect()
}

fn numbered(
    chunks: Vec<Vec<FamilyRecord>>,
    numbers: impl Iterator<Item = u32>,
) -> impl Iterator<Item = Chunk> {
    chunks.into_iter().zip(numbers).map(|(families, number)| Chunk { number, families })
}

fn fill(families: Vec<FamilyRecord>) -> Vec<Vec<FamilyRecord>> {
    let mut chunks: Vec<Vec<FamilyRecord>> = Vec::new();
    let mut room = 0;
    for family in families {
        let bytes = family.encoded_len();
        match chunks.last_mut() {
            Some(last) if bytes <= room => last.push(family),
            _ => {
                room = CHUNK_BYTES;
                chunks.push(vec![family]);
            }
        }
        room = room.saturating_sub(bytes);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(name: &str, bytes: usize) -> FamilyRecord {
        FamilyRecord {
            name: name.into(),
            metrics: vec![1; bytes].into(),
            ..FamilyRecord::default()
        }
    }

    fn sizes(chunks: &[Chunk]) -> Vec<(u32, usize)> {
        chunks.iter().map(|chunk| (chunk.number, chunk.families.len())).collect()
    }

    #[test]
    fn small_groups_lie_in_their_head() {
        let chunks = whole(vec![family("a", 100), family("b", 5000)]);
        assert_eq!(sizes(&chunks), [(0, 2)]);
        assert_eq!(sizes(&whole(vec![])), [(0, 0)]);
    }

    #[test]
    fn large_groups_lie_in_chunks_and_large_families_alone() {
        let families =
            vec![family("a", 1900), family("b", 1900), family("c", 20_000), family("d", 9)];
        assert_eq!(sizes(&whole(families)), [(0, 0), (1, 2), (2, 1), (3, 1)]);
    }

    #[test]
    fn a_chunk_that_has_grown_spills_into_free_numbers() {
        let families: Vec<_> = (0..10).map(|n| family(&n.to_string(), 1000)).collect();
        let chunks = changed(5, families.clone(), [7, 9].into_iter());
        let numbers: Vec<_> = chunks.iter().map(|chunk| chunk.number).collect();
        assert_eq!(numbers, [5, 7, 9]);
        let all: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.families).collect();
        assert_eq!(all, families);
        assert_eq!(sizes(&changed(5, vec![family("x", 90_000)], 7..)), [(5, 1)]);
    }
}
