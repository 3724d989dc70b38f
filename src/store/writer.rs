//! Stages changes of groups as writes of chunks, and commits them batch by batch.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashSet;
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::catalog::{self, Catalog};
use super::chunk::{ChunkKey, HEAD, TOMBSTONE};
use super::commit::{Commit, StageError};
use super::engine::Store;
use super::error::{CommitError, OpenError, ReadError};
use super::etcd;
use super::etcd::{Feed, Followed};
use super::family::EncodedFamily;
use super::group::{Removal, StoredGroup, families_of, head_record, payload, tombstone_of};
use super::layout::{self, Page};
use super::record::{ChunkRecord, FamilyRecord};
use crate::model::{GroupState, GroupingKey};

/// Groups, as all that was staged so far leaves them. [`Writer`] keeps them in a store.
pub trait StagedGroups {
    /// Stages a group: what is known of it, and families. Returns the bytes that it then takes. Where
    /// it fails, nothing is staged.
    fn put(
        &mut self,
        number: u64,
        key: &GroupingKey,
        state: &GroupState,
        families: FamiliesChange<'_>,
    ) -> Result<u64, StageError>;

    /// Stages that a group is removed but kept, so that it can be restored. Returns the bytes that it
    /// then takes.
    fn remove(&mut self, number: u64, removal: &Removal) -> u64;

    /// Stages that nothing of a group stays.
    fn purge(&mut self, number: u64);

    /// Stages that nothing of any group stays, at once.
    fn wipe(&mut self);

    /// Stages that all groups are written anew, and those that were purged or removed go at once:
    /// quicker where few stay. Where it fails, they go one by one.
    fn rewrite(&mut self) -> Result<(), ReadError>;

    /// A family of a group.
    fn family(&self, number: u64, name: &str) -> Result<Option<EncodedFamily>, ReadError>;
}

/// The families of a group in a change of it.
#[derive(Clone, Debug)]
pub enum FamiliesChange<'a> {
    /// They stay as they are.
    Keep,
    /// The group has these and no others.
    Replace(Vec<&'a EncodedFamily>),
    /// These are added, each in place of the one of its name; their names differ.
    Update(Vec<&'a EncodedFamily>),
}

/// The lane's side of a store: what is staged, and where everything lies with it.
#[derive(Debug)]
pub struct Writer {
    store: Arc<Store>,
    catalog: Catalog,
    batch: Batch,
}

/// A chunk of families that is to be written.
struct Written<'a> {
    key: ChunkKey,
    families: Vec<&'a FamilyRecord>,
    payload: Bytes,
    frame: Option<Bytes>,
}

impl Writer {
    /// Loads all groups of a store, and gives each to `each`.
    pub fn load<E: From<OpenError>>(
        store: &Arc<Store>,
        mut each: impl FnMut(StoredGroup) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut catalog = Catalog::default();
        for assembled in store.assembled()? {
            let assembled = assembled?;
            catalog.add(&assembled);
            each(assembled.group)?;
        }
        store.check(catalog.totals())?;
        Ok(Self { store: Arc::clone(store), catalog, batch: Batch::default() })
    }

    /// Whether anything is staged.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Whether other replicas share the store.
    pub fn is_shared(&self) -> bool {
        self.store.shared().is_some()
    }

    /// Whether no more should be staged before it is committed: etcd takes so much at once.
    pub fn is_full(&self) -> bool {
        let writes = self.batch.writes.len();
        let bytes = self.batch.frame_bytes + writes * etcd::WRITE_BYTES;
        self.is_shared() && (bytes >= etcd::BATCH_BYTES || writes >= etcd::BATCH_WRITES)
    }

    /// Applies all that is staged as one batch, whole or not at all; durable after the next
    /// [`Store::sync`]. After an error the store is to be opened again, and loaded anew.
    pub fn commit(&mut self, commit: &Commit) -> Result<(), CommitError> {
        self.store.apply(&mem::take(&mut self.batch), self.catalog.totals(), commit)
    }

    /// Commits what is staged, which is deletions of groups alone, to a store that has no room for anything
    /// else. Durable when it returns. After an error everything is to be loaded anew. Blocks.
    pub fn commit_deletions(&mut self) -> Result<(), CommitError> {
        let batch = mem::take(&mut self.batch);
        match &*self.store {
            Store::Sled(_) => Err(CommitError::StorageFull),
            Store::Etcd(store) => store.commit_deletions(&batch),
        }
    }

    /// Waits for changes that others commit to a store that is shared, at most for this time, and
    /// returns them. Only while nothing is staged. Blocks.
    pub fn follow(
        &mut self,
        feed: &mut Feed,
        stop: &CancellationToken,
        wait: Duration,
    ) -> Result<Vec<Followed>, OpenError> {
        match &*self.store {
            Store::Sled(_) => Ok(Vec::new()),
            Store::Etcd(store) => store.follow(feed, &mut self.catalog, stop, wait),
        }
    }

    /// The frame of a chunk, where the store takes such.
    fn frame(&self, key: ChunkKey, payload: &[u8]) -> Option<Bytes> {
        self.store.shared().map(|store| store.pack(key, payload))
    }

    /// Pages as they are to be written, if that is not more than a batch can have.
    fn written<'a>(
        &self,
        number: u64,
        pages: Vec<Page<'a>>,
        inline: &[&FamilyRecord],
    ) -> Result<Vec<Written<'a>>, StageError> {
        /// For the head without its families.
        const HEAD_BYTES: usize = 64 << 10;
        let written: Vec<_> = pages
            .into_iter()
            .map(|Page { number: chunk, families }| {
                let payload = payload(&ChunkRecord::default(), &families);
                let key = ChunkKey { group: number, chunk };
                let frame = self.frame(key, &payload);
                Written { key, families, payload, frame }
            })
            .collect();
        if self.store.shared().is_some() {
            let frames = written.iter().filter_map(|written| written.frame.as_ref());
            let inline: usize = inline.iter().map(|family| family.encoded_len()).sum();
            let chunks = written.len() + 1;
            let bytes = frames.map(Bytes::len).sum::<usize>()
                + inline
                + chunks * etcd::WRITE_BYTES
                + HEAD_BYTES;
            let (bytes_max, chunks_max) = (etcd::COMMAND_BYTES_MAX, etcd::COMMAND_WRITES_MAX);
            if bytes > bytes_max || chunks > chunks_max {
                return Err(StageError::TooLarge { bytes, bytes_max, chunks, chunks_max });
            }
        }
        Ok(written)
    }

    /// How many chunks are staged.
    #[cfg(test)]
    pub(super) fn staged_chunks(&self) -> usize {
        self.batch.writes.len()
    }

    /// How many pieces the groups have once all is committed.
    #[cfg(test)]
    pub(super) fn pieces(&self) -> usize {
        let chunks = self.catalog.iter().flat_map(|(_, entry)| entry.all());
        chunks.map(|chunk| super::sled::piece::count(chunk.bytes) as usize).sum()
    }

    fn payload(&self, key: ChunkKey) -> Result<Option<Bytes>, ReadError> {
        match self.batch.writes.get(&key) {
            Some(write) => Ok(write.payload.clone()),
            None if self.batch.wipes => Ok(None),
            None => self.store.chunk(key),
        }
    }

    /// The families in a group's head or in a chunk of it.
    fn families(&self, number: u64, chunk: u32) -> Result<Vec<FamilyRecord>, ReadError> {
        let damaged = |what| ReadError::Damaged { number, what };
        let payload = self.payload(ChunkKey { group: number, chunk })?;
        let payload = payload.ok_or_else(|| damaged(format!("its chunk {chunk} is missing")))?;
        families_of(chunk, payload).map_err(damaged)
    }

    /// The families in a group's head; none if they lie in chunks, or there is no group.
    fn inline(&self, number: u64) -> Result<Vec<FamilyRecord>, ReadError> {
        match self.catalog.get(number) {
            Some(entry) if !entry.is_wide() => self.families(number, HEAD),
            _ => Ok(Vec::new()),
        }
    }

    /// Stages a group that has these families and no others. Returns the bytes of the group.
    fn put_whole(
        &mut self,
        number: u64,
        key: &GroupingKey,
        state: &GroupState,
        families: Vec<&FamilyRecord>,
    ) -> Result<u64, StageError> {
        let mut pages = layout::whole(families);
        let end = pages.last().map_or(HEAD, |page| page.number) + 1;
        let inline = pages.remove(0).families;
        let pages = self.written(number, pages, &inline)?;
        for before in self.catalog.entry(number).0.cut_chunks(end) {
            self.batch.remove(ChunkKey { group: number, chunk: before.number }, before);
        }
        Ok(self.put_pages(number, key, state, &inline, pages))
    }

    /// Stages pages of a group, and the head that vouches for them. Returns the bytes of the group.
    fn put_pages(
        &mut self,
        number: u64,
        key: &GroupingKey,
        state: &GroupState,
        inline: &[&FamilyRecord],
        pages: Vec<Written<'_>>,
    ) -> u64 {
        let (entry, hasher) = self.catalog.entry(number);
        for Written { key, families, payload, frame } in pages {
            let before = entry.set_chunk(key.to_ref(&payload));
            for family in families {
                entry.put_place(hasher, &family.name, key.chunk);
            }
            self.batch.put(key, payload, frame, before);
        }
        let payload = payload(&head_record(key, state, entry.chunks()), inline);
        let head_key = ChunkKey { group: number, chunk: HEAD };
        let before = self.catalog.set_head(number, head_key.to_ref(&payload));
        let bytes = self.catalog.get(number).map_or(0, catalog::Entry::bytes);
        let frame = self.frame(head_key, &payload);
        self.batch.put(head_key, payload, frame, before);
        bytes
    }

    /// Stages families of a group whose families lie in chunks, beside those that it has.
    fn update_chunks(
        &mut self,
        number: u64,
        key: &GroupingKey,
        state: &GroupState,
        new: &[&EncodedFamily],
    ) -> Result<u64, StageError> {
        let last = self.catalog.get(number).and_then(|entry| entry.chunks().last());
        // New families go where there is room, to the end.
        let end = last.map_or(HEAD + 1, |chunk| chunk.number);
        let mut before = BTreeMap::new();
        let mut places = Vec::with_capacity(new.len());
        for family in new {
            let mut found = self.catalog.places(number, family.name()).peekable();
            let place = *found.peek().unwrap_or(&end);
            places.push(place);
            // Families whose names have one hash may lie in several.
            for chunk in found.chain([place]) {
                if let Entry::Vacant(vacant) = before.entry(chunk) {
                    vacant.insert(self.families(number, chunk)?);
                }
            }
        }
        let names: HashSet<&str> = new.iter().map(|family| family.name()).collect();
        let mut after: BTreeMap<u32, Vec<&FamilyRecord>> = BTreeMap::new();
        for (chunk, families) in &before {
            let kept = families.iter().filter(|family| !names.contains(family.name.as_str()));
            after.insert(*chunk, kept.collect());
        }
        for (family, chunk) in new.iter().zip(places) {
            after.entry(chunk).or_default().push(&family.0);
        }
        let mut free = end + 1..;
        let pages = after
            .into_iter()
            .flat_map(|(chunk, families)| layout::changed(chunk, families, &mut free))
            .collect();
        let pages = self.written(number, pages, &[])?;
        let (entry, hasher) = self.catalog.entry(number);
        for (chunk, families) in &before {
            entry.forget_places(hasher, families, *chunk);
        }
        Ok(self.put_pages(number, key, state, &[], pages))
    }
}

impl StagedGroups for Writer {
    fn put(
        &mut self,
        number: u64,
        key: &GroupingKey,
        state: &GroupState,
        families: FamiliesChange<'_>,
    ) -> Result<u64, StageError> {
        match families {
            FamiliesChange::Replace(families) => {
                let families = families.into_iter().map(|family| &family.0).collect();
                self.put_whole(number, key, state, families)
            }
            FamiliesChange::Keep => {
                let inline = self.inline(number)?;
                let inline: Vec<_> = inline.iter().collect();
                Ok(self.put_pages(number, key, state, &inline, Vec::new()))
            }
            FamiliesChange::Update(new) => {
                if self.catalog.get(number).is_some_and(catalog::Entry::is_wide) {
                    return self.update_chunks(number, key, state, &new);
                }
                let names: HashSet<&str> = new.iter().map(|family| family.name()).collect();
                let inline = self.inline(number)?;
                let kept = inline.iter().filter(|family| !names.contains(family.name.as_str()));
                let families = kept.chain(new.iter().map(|family| &family.0)).collect();
                self.put_whole(number, key, state, families)
            }
        }
    }

    fn remove(&mut self, number: u64, removal: &Removal) -> u64 {
        let key = ChunkKey { group: number, chunk: TOMBSTONE };
        let payload = tombstone_of(removal);
        let before = self.catalog.set_tombstone(number, key.to_ref(&payload));
        let frame = self.frame(key, &payload);
        self.batch.put(key, payload, frame, before);
        self.catalog.get(number).map_or(0, catalog::Entry::bytes)
    }

    fn purge(&mut self, number: u64) {
        let Some(entry) = self.catalog.remove(number) else { return };
        for chunk in entry.all() {
            self.batch.remove(ChunkKey { group: number, chunk: chunk.number }, chunk);
        }
    }

    fn wipe(&mut self) {
        self.catalog.clear();
        self.batch.wipe();
    }

    fn rewrite(&mut self) -> Result<(), ReadError> {
        let chunks = self.catalog.iter().flat_map(|(group, entry)| {
            entry.all().map(move |chunk| ChunkKey { group, chunk: chunk.number })
        });
        let read = chunks.filter_map(|key| Some((key, self.payload(key).transpose()?)));
        let read = read.map(|(key, payload)| payload.map(|payload| (key, payload)));
        let stays = read.collect::<Result<Vec<_>, _>>()?;
        self.batch.wipe();
        for (key, payload) in stays {
            let frame = self.frame(key, &payload);
            self.batch.put(key, payload, frame, None);
        }
        Ok(())
    }

    fn family(&self, number: u64, name: &str) -> Result<Option<EncodedFamily>, ReadError> {
        for chunk in self.catalog.places(number, name) {
            let families = self.families(number, chunk)?;
            if let Some(found) = families.into_iter().find(|family| family.name == name) {
                let damaged = |what| ReadError::Damaged { number, what };
                return EncodedFamily::of_record(found).map(Some).map_err(damaged);
            }
        }
        Ok(None)
    }
}
