//! How a group's families are laid out: in its head while they are few, else in chunks, so that a push
//! rewrites about as much as it brings.

use prost::Message as _;

use super::chunk::HEAD;
use super::record::FamilyRecord;

/// Families of up to this many bytes in all stay in the head of their group.
const HEAD_BYTES_MAX: usize = 12 * 1024;
/// A chunk is closed once it has this many bytes. A larger family has a chunk to itself.
const CHUNK_BYTES: usize = 4 * 1024;

/// The families of the head or of one chunk.
#[derive(Debug, PartialEq)]
pub(super) struct Page<'a> {
    pub(super) number: u32,
    pub(super) families: Vec<&'a FamilyRecord>,
}

/// Lays out all families of a group anew. The head comes first.
pub(super) fn whole(families: Vec<&FamilyRecord>) -> Vec<Page<'_>> {
    if bytes(&families) <= HEAD_BYTES_MAX {
        return vec![Page { number: HEAD, families }];
    }
    let mut pages = vec![Page { number: HEAD, families: Vec::new() }];
    pages.extend(numbered(fill(families), HEAD + 1..));
    pages
}

/// Lays out one chunk whose families have changed: the families that no longer fit go to chunks with
/// the numbers `free`.
pub(super) fn changed(
    number: u32,
    families: Vec<&FamilyRecord>,
    free: impl Iterator<Item = u32>,
) -> Vec<Page<'_>> {
    if bytes(&families) <= 2 * CHUNK_BYTES || families.len() == 1 {
        return vec![Page { number, families }];
    }
    numbered(fill(families), std::iter::once(number).chain(free)).collect()
}

fn bytes(families: &[&FamilyRecord]) -> usize {
    families.iter().map(|family| family.encoded_len()).sum()
}

fn numbered(
    chunks: Vec<Vec<&FamilyRecord>>,
    numbers: impl Iterator<Item = u32>,
) -> impl Iterator<Item = Page<'_>> {
    chunks.into_iter().zip(numbers).map(|(families, number)| Page { number, families })
}

fn fill(families: Vec<&FamilyRecord>) -> Vec<Vec<&FamilyRecord>> {
    let mut chunks: Vec<Vec<&FamilyRecord>> = Vec::new();
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

    fn sizes(pages: &[Page<'_>]) -> Vec<(u32, usize)> {
        pages.iter().map(|page| (page.number, page.families.len())).collect()
    }

    #[test]
    fn small_groups_lie_in_their_head() {
        let families = [family("a", 100), family("b", 5000)];
        assert_eq!(sizes(&whole(families.iter().collect())), [(0, 2)]);
        assert_eq!(sizes(&whole(vec![])), [(0, 0)]);
    }

    #[test]
    fn large_groups_lie_in_chunks_and_large_families_alone() {
        let families = [family("a", 1900), family("b", 1900), family("c", 20_000), family("d", 9)];
        let pages = whole(families.iter().collect());
        assert_eq!(sizes(&pages), [(0, 0), (1, 2), (2, 1), (3, 1)]);
    }

    #[test]
    fn a_chunk_that_has_grown_spills_into_free_numbers() {
        let families: Vec<_> = (0..10).map(|n| family(&n.to_string(), 1000)).collect();
        let pages = changed(5, families.iter().collect(), [7, 9].into_iter());
        let numbers: Vec<_> = pages.iter().map(|page| page.number).collect();
        assert_eq!(numbers, [5, 7, 9]);
        let all: Vec<_> = pages.into_iter().flat_map(|page| page.families).cloned().collect();
        assert_eq!(all, families);
        let large = family("x", 90_000);
        assert_eq!(sizes(&changed(5, vec![&large], 7..)), [(5, 1)]);
    }
}
