//! Decides of all that a scan has found how the store was: at which write, and with which version of
//! each group.
//!
//! The latest totals say which groups there were, and their sum tells whether these are as they were. A
//! batch that was cut off by a crash was never acknowledged, and lies behind the mark: then those before
//! it fit. Where none fits, something is lost: of each group the latest version that is whole is taken,
//! else all that is there of the latest.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use prost::Message as _;

use super::super::chunk::{Chunk, ChunkKey, HEAD, TOMBSTONE, chunk_sum};
use super::super::group::{assemble, families_of};
use super::super::record::{GroupRecord, RunsRecord, TotalsRecord};
use super::applied::{TOTALS, is_void};
use super::findings::{Expected, Findings, LostGroup, PartOfGroup};
use super::numbers::{Numbers, RUNS, range_of};
use super::scan::{Scan, Version};
use crate::model::GroupingKey;
use crate::time::UnixNanos;

/// So many totals are tried: a crash cuts off the batches that were on their way, which are few.
const TOTALS_TRIED: usize = 16;

/// The store as it was found.
#[derive(Debug)]
pub(super) struct Found {
    scan: Scan,
    /// As of which write; `None` if nothing says so.
    totals: Option<TotalsRecord>,
    /// The last writes of ended runs.
    pub(super) runs: Vec<u64>,
    /// The groups that are to be there, and are not stored any more if they are not among them.
    numbers: Option<Numbers>,
    /// Whether the groups are exactly those of the totals.
    is_sound: bool,
}

/// A head, and the chunks of families that are there of it.
struct OfHead<'a> {
    record: GroupRecord,
    its: Vec<Version<'a>>,
    /// Whether these are all of them.
    are_whole: bool,
}

/// A group that was found.
#[derive(Debug)]
pub(super) struct FoundGroup {
    pub(super) number: u64,
    /// In order, as the store has them.
    pub(super) chunks: Vec<Chunk>,
    pub(super) key: GroupingKey,
    pub(super) is_removed: bool,
    /// Bytes that it takes in the store.
    pub(super) bytes: u64,
    pub(super) condition: Condition,
}

impl Findings {
    fn add(&mut self, group: &FoundGroup) {
        self.groups += u64::from(!group.is_removed);
        self.removed += u64::from(group.is_removed);
        self.chunks += group.chunks.len() as u64;
        self.bytes += group.bytes;
        let key = group.key.clone();
        match group.condition {
            Condition::Latest => {}
            Condition::Earlier(at) => self.earlier.push((key, at)),
            Condition::InPart { lost, of } => self.in_part.push(PartOfGroup { key, lost, of }),
        }
    }
}

/// How much of a group is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// As it was.
    Latest,
    /// As it was at some earlier time: its last push.
    Earlier(Option<UnixNanos>),
    /// So many of its chunks are lost.
    InPart { lost: u32, of: u32 },
}

impl Found {
    /// Decides as of which write the store was. `mark`: all up to it was synced.
    pub(super) fn new(scan: Scan, mark: Option<TotalsRecord>) -> io::Result<Self> {
        let mut runs = Vec::new();
        for version in RUNS.iter().flat_map(|key| scan.versions(*key)) {
            let record = RunsRecord::decode(version.read()?).unwrap_or_default();
            // The latest has most, and copies are alike.
            if record.last.last() > runs.last() {
                runs = record.last;
            }
        }
        let synced = mark.map_or(0, |mark| mark.write);
        let mut tried: BTreeMap<u64, TotalsRecord> = BTreeMap::new();
        for version in scan.versions(TOTALS) {
            if tried.len() == TOTALS_TRIED {
                break;
            }
            if let Ok(totals) = TotalsRecord::decode(version.read()?)
                && !is_void(&runs, totals.write)
            {
                tried.insert(totals.write, totals);
            }
        }
        // They say the same as those of its write, if these are there.
        tried.extend(mark.map(|mark| (mark.write, mark)));
        let mut found = Self { scan, totals: None, runs, numbers: None, is_sound: false };
        let latest = tried.last_key_value().map(|(_, totals)| *totals);
        for totals in tried.into_values().rev().take_while(|totals| totals.write >= synced) {
            found.is_sound = found.fits(totals, synced)?;
            if found.is_sound {
                found.look_from(Some(totals))?;
                return Ok(found);
            }
        }
        found.look_from(latest)?;
        Ok(found)
    }

    /// Whether the groups are exactly those that there were when this was written, and nothing of a batch
    /// that was not known to be `synced` is missing.
    fn fits(&mut self, totals: TotalsRecord, synced: u64) -> io::Result<bool> {
        self.look_from(Some(totals))?;
        let (mut groups, mut removed, mut sum) = (0, 0, 0_u64);
        for number in self.scan.groups().filter(|number| self.is_stored(*number)) {
            let head = self.latest(ChunkKey { group: number, chunk: HEAD });
            // Without a list it may be of a later write.
            if head.is_none() && self.numbers.is_none() {
                continue;
            }
            let Some(head) = head else { return Ok(false) };
            let tombstone = self.latest(ChunkKey { group: number, chunk: TOMBSTONE });
            groups += u64::from(tombstone.is_none());
            removed += u64::from(tombstone.is_some());
            if head.write > synced && !self.family_chunks(&head)?.is_some_and(|its| its.are_whole) {
                return Ok(false);
            }
            sum += u64::from(head.checksum()?);
            sum += u64::from(tombstone.as_ref().map_or(Ok(0), Version::checksum)?);
        }
        let TotalsRecord { is_listed, .. } = totals;
        Ok((groups, removed) == (totals.groups, totals.removed)
            && (!is_listed || sum == totals.sum)
            && self.lost_numbers().next().is_none())
    }

    /// Looks at the store as it was when this was written.
    fn look_from(&mut self, totals: Option<TotalsRecord>) -> io::Result<()> {
        self.totals = totals;
        self.numbers = None;
        if totals.is_some_and(|totals| totals.is_listed) {
            let mut numbers = Numbers::default();
            let mut ranges: BTreeMap<u32, (u64, Version<'_>)> = BTreeMap::new();
            for key in self.scan.chunks(0) {
                if let (Some(range), Some(latest)) = (range_of(key), self.latest(key)) {
                    let kept = ranges.entry(range).or_insert((latest.write, latest));
                    if kept.0 < latest.write {
                        *kept = (latest.write, latest);
                    }
                }
            }
            for (_, latest) in ranges.into_values() {
                numbers.add(latest.chunk, &latest.read()?);
            }
            self.numbers = Some(numbers);
        }
        Ok(())
    }

    /// Whether a write counts: it was not undone, and is neither later nor older than what is stored.
    fn counts(&self, write: u64) -> bool {
        let TotalsRecord { write: last, begun, .. } =
            self.totals.unwrap_or(TotalsRecord { write: u64::MAX, ..TotalsRecord::default() });
        (begun..=last).contains(&write) && !is_void(&self.runs, write)
    }

    fn is_stored(&self, number: u64) -> bool {
        let listed = self.numbers.as_ref().is_none_or(|numbers| numbers.contains(number));
        listed && number != TOTALS.group
    }

    fn versions(&self, chunk: ChunkKey) -> impl Iterator<Item = Version<'_>> {
        self.scan.versions(chunk).filter(|version| self.counts(version.write))
    }

    fn latest(&self, chunk: ChunkKey) -> Option<Version<'_>> {
        self.versions(chunk).next()
    }

    /// As of which write the store is; `None` if nothing says so.
    pub(super) fn totals(&self) -> Option<TotalsRecord> {
        self.totals
    }

    /// Gives each group of which something can be read to `each`, by their numbers.
    pub(super) fn groups<E: From<io::Error>>(
        &self,
        each: &mut dyn FnMut(FoundGroup) -> Result<(), E>,
    ) -> Result<Findings, E> {
        let expected = self.totals.as_ref().map(Expected::of);
        let mut findings = Findings { expected, ..Findings::default() };
        for number in self.scan.groups().filter(|number| self.is_stored(*number)) {
            match self.group(number)? {
                Some(group) => {
                    findings.add(&group);
                    each(group)?;
                }
                // Without a list it may be one that was purged.
                None if self.numbers.is_none() => {}
                None => findings.lost.push(self.lost(number)),
            }
        }
        findings.lost.extend(self.lost_numbers().map(|number| self.lost(number)));
        findings.lost.sort_by_key(|group| group.number);
        findings.differs = !self.is_sound;
        Ok(findings)
    }

    /// The groups of which no piece is whole.
    fn lost_numbers(&self) -> impl Iterator<Item = u64> {
        let numbers = self.numbers.iter().flat_map(Numbers::iter);
        let mut there = self.scan.groups().peekable();
        numbers.filter(move |number| {
            while there.next_if(|found| found < number).is_some() {}
            there.peek() != Some(number)
        })
    }

    fn lost(&self, number: u64) -> LostGroup {
        let heads = self.scan.broken(number).iter().filter(|broken| broken.chunk.chunk == HEAD);
        // The key comes first, so that it may be whole where something behind it is not.
        let key = heads.filter_map(|broken| key_in(&broken.part)).last();
        LostGroup { number, key }
    }

    /// The best of a group.
    fn group(&self, number: u64) -> io::Result<Option<FoundGroup>> {
        let head_key = ChunkKey { group: number, chunk: HEAD };
        let tombstone = self.latest(ChunkKey { group: number, chunk: TOMBSTONE });
        let tombstone = match tombstone {
            None => None,
            Some(version) => Some(Chunk { key: version.chunk, payload: version.read()? }),
        };
        let mut in_part = None;
        for (at, head) in self.versions(head_key).enumerate() {
            let Some(OfHead { record, its, are_whole }) = self.family_chunks(&head)? else {
                continue;
            };
            if are_whole {
                let mut chunks = vec![Chunk { key: head_key, payload: head.read()? }];
                for version in &its {
                    chunks.push(Chunk { key: version.chunk, payload: version.read()? });
                }
                chunks.extend(tombstone.clone());
                let is_latest =
                    at == 0 && (self.is_sound || !self.is_later_broken(number, head.write));
                if let Some(mut group) = assembled(number, chunks) {
                    if !is_latest {
                        group.condition = Condition::Earlier(record.pushed_ns.map(UnixNanos));
                    }
                    return Ok(Some(group));
                }
            }
            if in_part.is_none() {
                // An older version is there of one that is broken: not what the head vouches for.
                let is_stale = |version: &Version<'_>| {
                    self.scan.broken(number).iter().any(|broken| {
                        broken.chunk == version.chunk
                            && (version.write + 1..=head.write).contains(&broken.write)
                    })
                };
                let mut families = Vec::new();
                for version in its.iter().filter(|version| !is_stale(version)) {
                    families.push(version.read()?);
                }
                in_part = Some((record, families));
            }
        }
        let Some((record, families)) = in_part else { return Ok(None) };
        Ok(part_of(number, record, families, tombstone))
    }

    /// The chunks of families that are there of a head; `None` if it cannot be read.
    fn family_chunks(&self, head: &Version<'_>) -> io::Result<Option<OfHead<'_>>> {
        let Ok(record) = GroupRecord::decode(head.read()?) else { return Ok(None) };
        // One that is later belongs to another head.
        let of_head = |key| self.versions(key).find(|version| version.write <= head.write);
        let chunks = self.scan.chunks(head.chunk.group);
        let chunks = chunks.filter(|key| (HEAD + 1..=record.chunk_count).contains(&key.chunk));
        let its: Vec<_> = chunks.filter_map(of_head).collect();
        let sum = its.iter().map(|version| version.checksum().map(u64::from));
        let sum = sum.sum::<io::Result<u64>>()?;
        let are_whole = its.len() == record.chunk_count as usize && sum == record.chunk_sum;
        Ok(Some(OfHead { record, its, are_whole }))
    }

    /// Whether a piece of a later write was there, and is not whole.
    fn is_later_broken(&self, number: u64, write: u64) -> bool {
        let mut broken = self.scan.broken(number).iter();
        broken.any(|broken| broken.write > write && self.counts(broken.write))
    }
}

/// A group that these chunks are, if it can be read.
fn assembled(number: u64, chunks: Vec<Chunk>) -> Option<FoundGroup> {
    let group = assemble(number, chunks.clone()).ok()?.group;
    Some(FoundGroup {
        number,
        chunks,
        is_removed: group.removal.is_some(),
        key: group.key,
        bytes: group.bytes,
        condition: Condition::Latest,
    })
}

/// The group of a head of which these chunks are left.
fn part_of(
    number: u64,
    mut record: GroupRecord,
    families: Vec<Bytes>,
    tombstone: Option<Chunk>,
) -> Option<FoundGroup> {
    let of = record.chunk_count;
    let mut chunks: Vec<Chunk> = families
        .into_iter()
        .filter(|payload| families_of(HEAD + 1, payload.clone()).is_ok())
        .zip(HEAD + 1..)
        .map(|(payload, chunk)| Chunk { key: ChunkKey { group: number, chunk }, payload })
        .collect();
    record.chunk_count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    record.chunk_sum = chunk_sum(chunks.iter().map(|chunk| chunk.key.to_ref(&chunk.payload)));
    let lost = of.saturating_sub(record.chunk_count);
    let key = ChunkKey { group: number, chunk: HEAD };
    chunks.insert(0, Chunk { key, payload: record.encode_to_vec().into() });
    chunks.extend(tombstone);
    let condition = Condition::InPart { lost, of };
    assembled(number, chunks).map(|group| FoundGroup { condition, ..group })
}

/// The grouping key at the beginning of a head, if it can be read.
fn key_in(head: &Bytes) -> Option<GroupingKey> {
    /// The key of its first field, as `prost` writes it.
    const KEY_FIELD: u8 = 1 << 3 | 2;
    let mut rest = head.clone();
    let field = bytes::Buf::try_get_u8(&mut rest).ok()?;
    let len = prost::encoding::decode_varint(&mut rest).ok()?;
    let key = rest.get(..usize::try_from(len).ok()?)?;
    (field == KEY_FIELD).then(|| GroupingKey::from_bytes(key).ok()).flatten()
}
