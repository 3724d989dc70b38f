//! The catalogue: where each group lies, and in which chunk each family of a wide one.
//!
//! It runs ahead of the store by what is staged.

use std::hash::{BuildHasher as _, Hasher as _};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::chunk::{ChunkRef, HEAD};
use super::group::Assembled;
use super::record::FamilyRecord;

/// By the number of the group.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    entries: HashMap<u64, Entry>,
    /// How many of them were removed and can be restored.
    removed: u64,
    hasher: DefaultHashBuilder,
}

/// Where a group lies.
#[derive(Debug)]
pub(super) struct Entry {
    head: ChunkRef,
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
    /// Groups that are shown, and those that were removed and can be restored.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.entries.len() as u64 - self.removed, self.removed)
    }

    /// The group of a number.
    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(&number)
    }

    /// All of them, by their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(number, entry)| (*number, entry))
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.removed = 0;
    }

    /// Notes where a loaded group lies.
    pub(super) fn add(&mut self, assembled: &Assembled) {
        let Assembled { group, head, chunks, tombstone } = assembled;
        self.set_head(group.number, *head);
        if let Some(tombstone) = tombstone {
            self.set_tombstone(group.number, *tombstone);
        }
        let mut families = group.families.iter();
        for (chunk, count) in chunks {
            self.set_chunk(group.number, *chunk);
            for family in families.by_ref().take(*count) {
                self.put_place(group.number, family.name(), chunk.number);
            }
        }
    }

    /// Notes a head. Returns the one before.
    pub(super) fn set_head(&mut self, number: u64, head: ChunkRef) -> Option<ChunkRef> {
        let entry = Entry { head, tombstone: None, wide: None };
        let known = self.entries.entry(number);
        match known {
            hashbrown::hash_map::Entry::Occupied(mut known) => {
                Some(std::mem::replace(&mut known.get_mut().head, head))
            }
            hashbrown::hash_map::Entry::Vacant(place) => {
                place.insert(entry);
                None
            }
        }
    }

    /// Notes the tombstone of a group that is there. Returns the one before.
    pub(super) fn set_tombstone(&mut self, number: u64, tombstone: ChunkRef) -> Option<ChunkRef> {
        let before = self.entries.get_mut(&number)?.tombstone.replace(tombstone);
        self.removed += u64::from(before.is_none());
        before
    }

    /// Notes a chunk of a group that is there. Returns the one before.
    pub(super) fn set_chunk(&mut self, number: u64, chunk: ChunkRef) -> Option<ChunkRef> {
        let chunks = &mut self.entries.get_mut(&number)?.wide.get_or_insert_default().chunks;
        match chunks.binary_search_by_key(&chunk.number, |chunk| chunk.number) {
            Ok(at) => chunks.get_mut(at).map(|before| std::mem::replace(before, chunk)),
            Err(at) => {
                chunks.insert(at, chunk);
                None
            }
        }
    }

    /// Forgets the chunks of a group from a number on, and where its families are. Returns them.
    pub(super) fn cut_chunks(&mut self, number: u64, from: u32) -> Vec<ChunkRef> {
        let Some(entry) = self.entries.get_mut(&number) else { return Vec::new() };
        let Some(wide) = &mut entry.wide else { return Vec::new() };
        wide.places.clear();
        let at = wide.chunks.partition_point(|chunk| chunk.number < from);
        let cut = wide.chunks.split_off(at);
        if wide.chunks.is_empty() {
            entry.wide = None;
        }
        cut
    }

    /// Forgets a group.
    pub(super) fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.removed -= u64::from(entry.tombstone.is_some());
        Some(entry)
    }

    /// Notes in which chunk a family is.
    pub(super) fn put_place(&mut self, number: u64, family: &str, chunk: u32) {
        let hash = self.hash(family);
        let Some(wide) = self.entries.get_mut(&number).and_then(|entry| entry.wide.as_mut()) else {
            return;
        };
        wide.places.insert_unique(hash, (hash, chunk), |place| place.0);
    }

    /// Forgets that families are in a chunk.
    pub(super) fn forget_places(&mut self, number: u64, families: &[FamilyRecord], chunk: u32) {
        for family in families {
            let hash = self.hash(&family.name);
            let entry = self.entries.get_mut(&number);
            let Some(wide) = entry.and_then(|entry| entry.wide.as_mut()) else { return };
            if let Ok(place) = wide.places.find_entry(hash, |place| *place == (hash, chunk)) {
                place.remove();
            }
        }
    }

    /// The chunks in which a family may be: mostly one, and none if the group does not have it.
    pub(super) fn places(&self, number: u64, family: &str) -> Vec<u32> {
        let hash = self.hash(family);
        match self.entries.get(&number) {
            None => Vec::new(),
            Some(Entry { wide: None, .. }) => vec![HEAD],
            Some(Entry { wide: Some(wide), .. }) => {
                let places = wide.places.iter_hash(hash).filter(|place| place.0 == hash);
                places.map(|place| place.1).collect()
            }
        }
    }

    fn hash(&self, family: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(family.as_bytes());
        hasher.finish()
    }
}

impl Entry {
    /// The chunks beside the head, by number.
    pub(super) fn chunks(&self) -> &[ChunkRef] {
        self.wide.as_ref().map_or(&[], |wide| &wide.chunks)
    }

    /// All that is stored of the group.
    pub(super) fn all(&self) -> impl Iterator<Item = ChunkRef> {
        let beside = self.chunks().iter().copied();
        std::iter::once(self.head).chain(beside).chain(self.tombstone)
    }

    /// Bytes of all that is stored of the group.
    pub(super) fn bytes(&self) -> u64 {
        self.all().map(|chunk| u64::from(chunk.bytes)).sum()
    }
}
