//! Follows the feed: takes what others have committed into memory, and says what that changes.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashSet;
use tokio_util::sync::CancellationToken;

use super::feed::{self, Changed, Message, Revision, Whole};
use super::keys::Key;
use super::mirror::Mirror;
use super::record::BatchRecord;
use super::{EtcdStore, Feed, Seat};
use crate::model::{GroupingKey, TtlPolicy};
use crate::store::catalog::{Catalog, Entry};
use crate::store::chunk::{ChunkKey, FAMILIES_END, HEAD};
use crate::store::commit::Proposal;
use crate::store::error::{OpenError, ReadError};
use crate::store::family::EncodedFamily;
use crate::store::group::{StoredGroup, StoredPart, families_of, head_of, key_of};
use crate::time::{Moment, UnixMillis, UnixNanos};

/// A change that was followed.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    /// A group is stored like this now, in place of what was stored of its number.
    Put(Box<StoredGroup>),
    /// Some families of a group are stored like this now; the others stay.
    Part(Box<StoredPart>),
    /// Nothing is stored of a group any more.
    Removed { number: u64, key: GroupingKey },
    /// Nothing is stored of any group; those that are follow.
    Cleared,
    /// A group cannot be read any more.
    Damaged { number: u64, key: Option<GroupingKey>, what: String },
    /// Groups live by this policy from now on.
    Policy(TtlPolicy),
    /// A batch; the changes that it has come after it.
    Batch(BatchSeen),
}

/// A batch of the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSeen {
    /// When the leader wrote it, by its clocks.
    pub at: Moment,
    /// Gateway time minus wall time, as the leader keeps it.
    pub offset_ms: i64,
    /// The numbers that the next group and the next push get.
    pub next: (u64, u64),
    /// The requests whose changes it has.
    pub requests: Vec<Bytes>,
    pub revision: i64,
    /// Whether batches before it were not followed.
    pub skipped: bool,
}

/// The outcome of a look at the feed by a replica that leads.
#[derive(Debug)]
pub enum Noticed {
    /// Nothing that concerns it.
    Nothing,
    /// It does not lead any more, or somebody else has changed groups.
    Deposed,
    /// Somebody wants another policy.
    Proposal(TtlPolicy, Proposal),
}

/// The parts of a revision that concern groups.
#[derive(Debug, Default)]
struct Touched {
    cleared: bool,
    /// The groups whose chunks have changed.
    groups: BTreeMap<u64, TouchedGroup>,
}

/// A group of which chunks have changed.
#[derive(Debug, Default)]
struct TouchedGroup {
    /// If it was there.
    key: Option<GroupingKey>,
    /// The frames that the chunks have had, but for the head's.
    before: Vec<(u32, Option<Bytes>)>,
    /// Whether it has to be taken as a whole: a chunk was deleted, or one is no chunk of families.
    as_whole: bool,
}

/// Up to so many chunks a group is taken as a whole, whichever of them have changed.
const WHOLE_CHUNKS: usize = 4;

impl Feed {
    /// Whether changes are missing from it, and all is loaded again.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Waits for a message; `None` once `stop` is cancelled, or after this time.
    async fn next(&mut self, stop: &CancellationToken, wait: Duration) -> Option<Message> {
        if let Some(message) = self.try_next() {
            return Some(message);
        }
        if wait.is_zero() {
            return None;
        }
        tokio::select! {
            () = stop.cancelled() => None,
            Some(message) = self.messages.recv() => Some(message),
            // Also where none will come any more, as the gateway is being taken down.
            () = tokio::time::sleep(wait) => None,
        }
    }

    fn try_next(&mut self) -> Option<Message> {
        let kept = self.kept.pop_front();
        kept.or_else(|| self.messages.try_recv().ok())
    }
}

impl EtcdStore {
    /// Waits for changes, at most for this time, takes them into memory, and returns them. After an
    /// error all is loaded again, with the next call. Blocks.
    pub(in crate::store) fn follow(
        &self,
        feed: &mut Feed,
        catalog: &mut Catalog,
        stop: &CancellationToken,
        wait: Duration,
    ) -> Result<Vec<Followed>, OpenError> {
        if let Some(what) = feed.failed.take() {
            return Err(self.damaged(what));
        }
        if feed.is_broken && !self.runtime.block_on(self.load_again(feed, stop, wait)) {
            return Ok(Vec::new());
        }
        let Some(message) = self.runtime.block_on(feed.next(stop, wait)) else {
            return Ok(Vec::new());
        };
        let mut followed = Vec::new();
        let result = match message {
            Message::Revisions(revisions) => revisions
                .into_iter()
                .try_for_each(|revision| self.take(revision, catalog, &mut followed)),
            Message::Whole(whole) => self.take_whole(*whole, catalog, &mut followed),
        };
        match result {
            Ok(()) => Ok(followed),
            Err(what) => {
                feed.is_broken = true;
                if followed.is_empty() {
                    return Err(self.damaged(what));
                }
                feed.failed = Some(what);
                Ok(followed)
            }
        }
    }

    /// Looks at what the feed has told of a replica that leads.
    pub fn look_after(&self, feed: &mut Feed) -> Noticed {
        let mut noticed = Noticed::Nothing;
        if self.seat().leads == 0 {
            return Noticed::Deposed;
        }
        while let Some(message) = feed.try_next() {
            let revisions = match message {
                Message::Revisions(revisions) => revisions,
                // As long as this replica leads, all that was committed is in memory.
                Message::Whole(whole) if self.still_leads(&whole) => continue,
                whole @ Message::Whole(_) => {
                    self.lead_no_more();
                    feed.kept.push_front(whole);
                    return Noticed::Deposed;
                }
            };
            let mut revisions = revisions.into_iter();
            while let Some(revision) = revisions.next() {
                if self.is_own(&revision) {
                    continue;
                }
                let mut seat = self.seat();
                seat.wall_ms = Some(revision.came_ms);
                let (mut deposed, mut by_stranger) = (false, false);
                for changed in &revision.changes {
                    let is_group = match changed.key {
                        Key::Batch => true,
                        // The chunks of groups that were wiped are deleted outside batches.
                        Key::Chunk(tree, _) => tree == seat.record.tree,
                        _ => false,
                    };
                    let is_group = is_group && revision.number > seat.from;
                    if is_group {
                        tracing::error!(
                            revision = revision.number,
                            "somebody else has changed the groups of this cluster in etcd; loading \
                             them again"
                        );
                    }
                    by_stranger |= is_group;
                    deposed |= is_group || seat.change(changed).is_err();
                }
                let leads = seat.leads;
                let still = seat.leader.as_ref().is_some_and(|leader| leader.term == leads);
                deposed |= !still;
                let in_force = seat.policy.as_ref().map(|(_, proposal)| proposal.name.clone());
                if let Some((policy, proposal)) = seat.proposal.take()
                    && in_force.as_ref() != Some(&proposal.name)
                {
                    noticed = Noticed::Proposal(policy, proposal);
                }
                if deposed {
                    seat.leads = 0;
                    self.tell(&seat);
                    drop(seat);
                    let rest: Vec<_> = std::iter::once(revision).chain(revisions).collect();
                    feed.kept.push_front(Message::Revisions(rest));
                    if by_stranger {
                        // It may be older than what this replica has committed last.
                        feed.is_broken = true;
                    }
                    return Noticed::Deposed;
                }
                self.tell(&seat);
            }
        }
        noticed
    }

    /// Whether this replica leads by all keys; then who is there is taken over from them.
    fn still_leads(&self, whole: &Whole) -> bool {
        let mut seat = self.seat();
        let leads = seat.leads;
        let is_own = |key: &Key, created: i64| *key == Key::Leader && created == leads;
        if !whole.keys.iter().any(|(key, created, ..)| is_own(key, *created)) {
            return false;
        }
        seat.own.retain(|own| *own > whole.revision);
        seat.members.clear();
        for (key, created, _, value) in &whole.keys {
            if matches!(key, Key::Member(_)) {
                let (key, created, value) = (key.clone(), *created, Some(value.clone()));
                // Of a member there is nothing that could be wrong.
                let _ = seat.change(&Changed { key, created, value });
            }
        }
        self.tell(&seat);
        true
    }

    fn is_own(&self, revision: &Revision) -> bool {
        let mut seat = self.seat();
        let before = seat.own.len();
        seat.own.retain(|own| *own > revision.number);
        before > seat.own.len()
    }

    /// Loads all groups from etcd again, as changes are missing from the feed. Returns whether it could,
    /// at the latest after this time.
    async fn load_again(&self, feed: &mut Feed, stop: &CancellationToken, wait: Duration) -> bool {
        let loaded = tokio::select! {
            () = stop.cancelled() => return false,
            loaded = feed::load(&self.client, &self.keys) => loaded,
        };
        match loaded {
            Ok(whole) => {
                self.counts.reloads.fetch_add(1, Ordering::Relaxed);
                feed.kept.push_front(Message::Whole(Box::new(whole)));
                feed.is_broken = false;
                true
            }
            Err(status) => {
                tracing::warn!(%status, "cannot load the groups again; trying again");
                let _ = tokio::time::timeout(wait, stop.cancelled()).await;
                false
            }
        }
    }

    /// Takes one revision into memory.
    fn take(
        &self,
        revision: Revision,
        catalog: &mut Catalog,
        followed: &mut Vec<Followed>,
    ) -> Result<(), String> {
        let Revision { number, came_ms, changes } = revision;
        let mut mirror = self.mirror.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = number > mirror.revision;
        let mut touched = Touched::default();
        let mut seat = self.seat();
        seat.wall_ms = Some(came_ms);
        seat.own.retain(|own| *own > number);
        let (mut seen, mut policy) = (None, None);
        // First the records, in which something may be wrong: then nothing is taken.
        for changed in &changes {
            match (&changed.key, &changed.value) {
                (Key::Chunk(..), _) => {}
                // Older than what is there, after all was loaded or while this replica led.
                (Key::Batch | Key::Policy, _) if !is_new => {}
                (Key::Batch, Some(value)) => {
                    seat.see_batch(value, number)?;
                    seen = Some(batch_seen(&seat.record, number));
                }
                // Somebody has deleted the cluster: it begins anew.
                (Key::Batch, None) => seat.forget_batches(),
                (Key::Policy, _) => {
                    seat.change(changed)?;
                    policy = seat.policy.as_ref().map(|(policy, _)| policy.clone());
                }
                _ => seat.change(changed)?,
            }
        }
        if is_new && seat.record.tree != mirror.tree {
            mirror.begin_tree(seat.record.tree);
            touched.cleared = true;
        }
        for Changed { key, value, .. } in changes {
            if let Key::Chunk(tree, key) = key
                && is_new
                && tree == mirror.tree
            {
                self.touch(&mut mirror, &mut touched, key, value);
            }
        }
        self.note_seat(&mut seat, number.max(mirror.revision));
        drop(seat);
        mirror.revision = mirror.revision.max(number);
        drop(mirror);
        followed.extend(seen.map(Followed::Batch));
        followed.extend(policy.map(Followed::Policy));
        self.changed_groups(touched, catalog, followed);
        self.applied.fetch_max(number, Ordering::Relaxed);
        Ok(())
    }

    /// Takes all keys as of one revision into memory, in place of those that are there.
    fn take_whole(
        &self,
        whole: Whole,
        catalog: &mut Catalog,
        followed: &mut Vec<Followed>,
    ) -> Result<(), String> {
        let Whole { revision, keys, chunks } = whole;
        let mut mirror = self.mirror.write().unwrap_or_else(PoisonError::into_inner);
        if revision < mirror.revision {
            return Ok(());
        }
        let mut seat = self.seat();
        let before = seat.batch_revision;
        seat.see(keys.into_iter())?;
        let mut touched = Touched::default();
        let tree = seat.record.tree;
        if tree != mirror.tree {
            mirror.begin_tree(tree);
            touched.cleared = true;
        }
        let chunks: BTreeMap<_, _> = chunks
            .into_iter()
            .filter(|((of, _), _)| *of == tree)
            .map(|((_, key), frame)| (key, frame))
            .collect();
        for (key, frame) in mirror.differences(&chunks) {
            self.touch(&mut mirror, &mut touched, key, frame);
        }
        mirror.revision = revision;
        drop(mirror);
        let policy = seat.policy.as_ref().map(|(policy, _)| policy.clone());
        let mut seen = batch_seen(&seat.record, seat.batch_revision);
        seen.skipped = seen.revision != before;
        self.note_seat(&mut seat, revision);
        drop(seat);
        followed.push(Followed::Batch(seen));
        followed.extend(policy.map(Followed::Policy));
        self.changed_groups(touched, catalog, followed);
        self.applied.fetch_max(revision, Ordering::Relaxed);
        Ok(())
    }

    /// Notes whether this replica has come to lead.
    fn note_seat(&self, seat: &mut Seat, revision: i64) {
        let leader = seat.leader.as_ref().filter(|leader| leader.instance == self.instance);
        let leads = leader.map_or(0, |leader| leader.term);
        if leads != 0 && leads != seat.leads {
            self.counts.terms.fetch_add(1, Ordering::Relaxed);
            seat.own.clear();
            seat.from = revision;
            // Whoever made it makes it again.
            seat.proposal = None;
            if let Some(before) = seat.record.tree.checked_sub(1) {
                seat.left_over.push(before);
            }
        }
        seat.leads = leads;
    }

    fn touch(
        &self,
        mirror: &mut Mirror,
        touched: &mut Touched,
        key: ChunkKey,
        frame: Option<Bytes>,
    ) {
        let group = touched.groups.entry(key.group).or_insert_with(|| {
            let head = ChunkKey { group: key.group, chunk: HEAD };
            let frame = mirror.get(head);
            let payload = frame.and_then(|frame| self.packer.unpack(head, frame).ok());
            let key = payload.and_then(|payload| key_of(payload).ok());
            TouchedGroup { key, ..TouchedGroup::default() }
        });
        group.as_whole |= frame.is_none() || key.chunk >= FAMILIES_END;
        if key.chunk != HEAD {
            group.before.push((key.chunk, mirror.get(key).cloned()));
        }
        mirror.set(key, frame);
    }

    /// The groups that were touched, as they are now.
    fn changed_groups(
        &self,
        touched: Touched,
        catalog: &mut Catalog,
        followed: &mut Vec<Followed>,
    ) {
        if touched.cleared {
            catalog.clear();
            followed.push(Followed::Cleared);
        }
        for (number, group) in touched.groups {
            let key = group.key.clone();
            let changed = self.changed_group(number, group, catalog).unwrap_or_else(|what| {
                catalog.remove(number);
                Some(Followed::Damaged { number, key, what })
            });
            followed.extend(changed);
        }
    }

    /// A group that was touched, as it is now; `None` if it is not and was not there.
    fn changed_group(
        &self,
        number: u64,
        group: TouchedGroup,
        catalog: &mut Catalog,
    ) -> Result<Option<Followed>, String> {
        let chunks = catalog.get(number).map_or(0, |entry| entry.chunks().len());
        let is_part = group.key.is_some()
            && !group.as_whole
            && chunks > WHOLE_CHUNKS
            && group.before.len() <= chunks / 2;
        if is_part {
            let part = self.changed_part(number, &group.before, catalog)?;
            return Ok(Some(Followed::Part(Box::new(part))));
        }
        catalog.remove(number);
        let assembled = self.assembled_group(number).map_err(fault_of)?;
        Ok(match (assembled, group.key) {
            (Some(assembled), _) => {
                catalog.add(&assembled);
                Some(Followed::Put(Box::new(assembled.group)))
            }
            (None, Some(key)) => Some(Followed::Removed { number, key }),
            (None, None) => None,
        })
    }

    /// A group of which few chunks have changed.
    fn changed_part(
        &self,
        number: u64,
        before: &[(u32, Option<Bytes>)],
        catalog: &mut Catalog,
    ) -> Result<StoredPart, String> {
        let current = |chunk| {
            let key = ChunkKey { group: number, chunk };
            let payload = self.chunk(key).map_err(fault_of)?;
            payload.ok_or_else(|| format!("its chunk {chunk} is missing"))
        };
        let (mut left, mut families) = (Vec::new(), Vec::new());
        let (entry, hasher) = catalog.entry(number);
        for (chunk, frame) in before {
            let key = ChunkKey { group: number, chunk: *chunk };
            if let Some(frame) = frame {
                let payload = self.packer.unpack(key, frame)?;
                let had = families_of(*chunk, payload)?;
                entry.forget_places(hasher, &had, *chunk);
                left.extend(had.into_iter().map(|family| family.name));
            }
            let payload = current(*chunk)?;
            entry.set_chunk(key.to_ref(&payload));
            for family in families_of(*chunk, payload)? {
                entry.put_place(hasher, &family.name, *chunk);
                families.push(EncodedFamily::of_record(family)?);
            }
        }
        let head = current(HEAD)?;
        let head_ref = ChunkKey { group: number, chunk: HEAD }.to_ref(&head);
        let (key, state) = head_of(head, entry.chunks())?;
        let stays: HashSet<&str> = families.iter().map(EncodedFamily::name).collect();
        left.retain(|name: &String| !stays.contains(name.as_str()));
        drop(stays);
        catalog.set_head(number, head_ref);
        let bytes = catalog.get(number).map_or(0, Entry::bytes);
        Ok(StoredPart { number, key, state, families, left, bytes })
    }
}

/// The fault, without the number of the group.
fn fault_of(error: ReadError) -> String {
    match error {
        ReadError::Damaged { what, .. } => what,
        error => error.to_string(),
    }
}

pub(super) fn batch_seen(record: &BatchRecord, revision: i64) -> BatchSeen {
    BatchSeen {
        at: Moment { now: UnixMillis(record.now_ms), wall: UnixNanos(record.wall_ns) },
        offset_ms: record.offset_ms,
        next: (record.next_number, record.next_sequence),
        requests: record.requests.clone(),
        revision,
        skipped: false,
    }
}
