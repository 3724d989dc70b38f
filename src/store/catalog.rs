//! The catalogue: where each group lies, and in which chunk each family of a wide one.
//!
//! It runs ahead of the store by what is staged.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::chunk::{ChunkRef, HEAD};
use super::group::Assembled;
use super::record::FamilyRecord;

/// Entries by the number of the group.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    entries: HashMap<u64, Entry>,
    /// How many of them were removed and can be restored.
    removed: u64,
    /// Sum of the checksums of all heads and tombstones.
    sum: u64,
    /// Hashes the names of families. Seeded: no client can make them collide.
    hasher: DefaultHashBuilder,
}

/// How much is stored, and a sum by which it is known again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Groups that are shown.
    pub(crate) groups: u64,
    /// Those that were removed and can be restored.
    pub(crate) removed: u64,
    /// Sum of the checksums of all heads and tombstones.
    pub(crate) sum: u64,
}

/// Where a group lies.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// `None` only until the first head is noted.
    head: Option<ChunkRef>,
    tombstone: Option<ChunkRef>,
    /// `None`: all families are in the head.
    wide: Option<Box<Wide>>,
}

/// The chunks of a group beside its head.
#[derive(Debug, Default)]
struct Wide {
    /// By number.
    chunks: Vec<ChunkRef>,
    /// The chunk of each family, with the hash of its name: two families may have one hash.
    places: HashTable<(u64, u32)>,
}

impl Catalog {
    /// How much is stored.
    pub(super) fn totals(&self) -> Totals {
        let groups = self.entries.len() as u64 - self.removed;
        Totals { groups, removed: self.removed, sum: self.sum }
    }

    /// The group of a number.
    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(&number)
    }

    /// The group of a number, which is noted from now on, and the hasher for the names of its families.
    pub(super) fn entry(&mut self, number: u64) -> (&mut Entry, &DefaultHashBuilder) {
        (self.entries.entry(number).or_default(), &self.hasher)
    }

    /// All of them, by their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(number, entry)| (*number, entry))
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        (self.removed, self.sum) = (0, 0);
    }

    /// Notes where a loaded group lies.
    pub(super) fn add(&mut self, assembled: &Assembled) {
        let Assembled { group, head, chunks, tombstone } = assembled;
        let (entry, hasher) = self.entry(group.number);
        let mut families = group.families.iter();
        for (chunk, count) in chunks {
            entry.set_chunk(*chunk);
            for family in families.by_ref().take(*count) {
                entry.put_place(hasher, family.name(), chunk.number);
            }
        }
        self.set_head(group.number, *head);
        if let Some(tombstone) = tombstone {
            self.set_tombstone(group.number, *tombstone);
        }
    }

    /// Notes the head of a group. Returns the one before.
    pub(super) fn set_head(&mut self, number: u64, head: ChunkRef) -> Option<ChunkRef> {
        let before = self.entries.entry(number).or_default().head.replace(head);
        self.sum += u64::from(head.checksum);
        self.sum -= checksum(before);
        before
    }

    /// Notes the tombstone of a group that is there. Returns the one before.
    pub(super) fn set_tombstone(&mut self, number: u64, tombstone: ChunkRef) -> Option<ChunkRef> {
        let before = self.entries.get_mut(&number)?.tombstone.replace(tombstone);
        self.removed += u64::from(before.is_none());
        self.sum += u64::from(tombstone.checksum);
        self.sum -= checksum(before);
        before
    }

    /// Forgets a group.
    pub(super) fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.removed -= u64::from(entry.tombstone.is_some());
        self.sum -= checksum(entry.head) + checksum(entry.tombstone);
        Some(entry)
    }

    /// The chunks in which a family may be: mostly one, and none if the group does not have it.
    pub(super) fn places(&self, number: u64, family: &str) -> impl Iterator<Item = u32> {
        let hash = self.hasher.hash_one(family);
        let entry = self.entries.get(&number);
        let wide = entry.and_then(|entry| entry.wide.as_ref());
        let places = wide.into_iter().flat_map(move |wide| wide.places.iter_hash(hash));
        let inline = entry.is_some_and(|entry| entry.wide.is_none()).then_some(HEAD);
        // The table itself compares a few bits of the hash.
        places.filter(move |place| place.0 == hash).map(|place| place.1).chain(inline)
    }
}

fn checksum(chunk: Option<ChunkRef>) -> u64 {
    chunk.map_or(0, |chunk| chunk.checksum.into())
}

impl Entry {
    /// The chunks beside the head, by number.
    pub(super) fn chunks(&self) -> &[ChunkRef] {
        self.wide.as_ref().map_or(&[], |wide| &wide.chunks)
    }

    /// Whether families lie in chunks beside the head.
    pub(super) fn is_wide(&self) -> bool {
        self.wide.is_some()
    }

    /// All that is stored of the group.
    pub(super) fn all(&self) -> impl Iterator<Item = ChunkRef> {
        self.head.into_iter().chain(self.chunks().iter().copied()).chain(self.tombstone)
    }

    /// Bytes of all that is stored of the group.
    pub(super) fn bytes(&self) -> u64 {
        self.all().map(|chunk| u64::from(chunk.bytes)).sum()
    }

    /// Notes a chunk beside the head. Returns the one before.
    pub(super) fn set_chunk(&mut self, chunk: ChunkRef) -> Option<ChunkRef> {
        let chunks = &mut self.wide.get_or_insert_default().chunks;
        match chunks.binary_search_by_key(&chunk.number, |chunk| chunk.number) {
            Ok(at) => chunks.get_mut(at).map(|before| std::mem::replace(before, chunk)),
            Err(at) => {
                chunks.insert(at, chunk);
                None
            }
        }
    }

    /// Forgets the chunks from a number on, and where all families are. Returns the chunks.
    pub(super) fn cut_chunks(&mut self, from: u32) -> Vec<ChunkRef> {
        let Some(wide) = &mut self.wide else { return Vec::new() };
        wide.places.clear();
        let at = wide.chunks.partition_point(|chunk| chunk.number < from);
        let cut = wide.chunks.split_off(at);
        if wide.chunks.is_empty() {
            self.wide = None;
        }
        cut
    }

    /// Notes in which chunk a family is.
    pub(super) fn put_place(&mut self, hasher: &DefaultHashBuilder, family: &str, chunk: u32) {
        let hash = hasher.hash_one(family);
        if let Some(wide) = &mut self.wide {
            wide.places.insert_unique(hash, (hash, chunk), |place| place.0);
        }
    }

    /// Forgets that families are in a chunk.
    pub(super) fn forget_places(
        &mut self,
        hasher: &DefaultHashBuilder,
        families: &[FamilyRecord],
        chunk: u32,
    ) {
        let Some(wide) = &mut self.wide else { return };
        for family in families {
            let hash = hasher.hash_one(family.name.as_str());
            if let Ok(place) = wide.places.find_entry(hash, |place| *place == (hash, chunk)) {
                place.remove();
            }
        }
    }
}
