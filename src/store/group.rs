//! A group as it is stored: what it says beside its families, and how it is put together from its
//! chunks.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::chunk::{Chunk, ChunkRef, FAMILIES_END, HEAD, TOMBSTONE, chunk_sum};
use super::family::EncodedFamily;
use super::record::{ChunkRecord, FamilyRecord, GroupRecord, TombstoneRecord, TtlRecord};
use crate::model::{
    GroupState, GroupingKey, LatestIntervals, RemovalReason, Rhythm, Ttl, TtlSource,
};
use crate::time::{UnixMillis, UnixNanos};

/// A group with all that is stored of it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredGroup {
    /// Its number in the store.
    pub number: u64,
    pub key: GroupingKey,
    /// Its TTL is yet to be decided: what comes from the settings is what they say now.
    pub state: GroupState,
    pub families: Vec<EncodedFamily>,
    /// Whether it was removed, and can be restored.
    pub removal: Option<Removal>,
    /// Bytes that it takes in the store.
    pub bytes: u64,
}

/// Some families of a group, with all else that is stored of it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPart {
    /// Its number in the store.
    pub number: u64,
    pub key: GroupingKey,
    /// As that of [`StoredGroup`].
    pub state: GroupState,
    pub families: Vec<EncodedFamily>,
    /// The families that it has no more.
    pub left: Vec<String>,
    /// Bytes that the whole group takes in the store.
    pub bytes: u64,
}

/// When, why and by which rule a group was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Orders removals, and pushes.
    pub sequence: u64,
    /// Wall time.
    pub at: UnixNanos,
    pub reason: RemovalReason,
    /// Gateway time at which the group would have expired, or did.
    pub deadline: UnixMillis,
    /// The rule that its TTL came from: its position, from zero, and its selector.
    pub rule: Option<(usize, String)>,
    pub series: u32,
    pub families: u32,
}

/// A group, and where it lies.
#[derive(Debug)]
pub(super) struct Assembled {
    pub(super) group: StoredGroup,
    pub(super) head: ChunkRef,
    /// The chunks of its families, and how many each has. The families are in their order; those that
    /// are left over lie in the head.
    pub(super) chunks: Vec<(ChunkRef, usize)>,
    pub(super) tombstone: Option<ChunkRef>,
}

/// Puts a group together from its chunks, in order, and checks that all of them are there.
pub(super) fn assemble(number: u64, chunks: Vec<Chunk>) -> Result<Assembled, String> {
    let failed = |error: prost::DecodeError| error.to_string();
    let mut chunks = chunks.into_iter();
    let head = chunks.next().filter(|head| head.key.chunk == HEAD).ok_or("its head is missing")?;
    let head_ref = head.key.to_ref(&head.payload);
    let record = GroupRecord::decode(head.payload).map_err(failed)?;
    let key = GroupingKey::from_bytes(&record.key).map_err(|error| error.to_string())?;
    let mut bytes = u64::from(head_ref.bytes);
    let (mut families, mut counts) = (Vec::new(), Vec::new());
    let (mut removal, mut tombstone) = (None, None);
    for Chunk { key: chunk, payload } in chunks {
        let reference = chunk.to_ref(&payload);
        bytes += u64::from(reference.bytes);
        match chunk.chunk {
            TOMBSTONE => {
                let record = TombstoneRecord::decode(payload).map_err(failed)?;
                removal = Some(removal_of(record)?);
                tombstone = Some(reference);
            }
            HEAD | FAMILIES_END.. => {
                return Err(format!("chunk {} is of a kind that is unknown", chunk.chunk));
            }
            _ => {
                let record = ChunkRecord::decode(payload).map_err(failed)?;
                counts.push((reference, record.families.len()));
                families.extend(record.families);
            }
        }
    }
    check_chunks(&record, counts.iter().map(|(reference, _)| *reference))?;
    let state = state_of(&record);
    families.extend(record.families);
    let families = families.into_iter().map(EncodedFamily::of_record).collect::<Result<_, _>>()?;
    let group = StoredGroup { number, key, state, families, removal, bytes };
    Ok(Assembled { group, head: head_ref, chunks: counts, tombstone })
}

/// Grouping key and state in the head of a group that has these chunks, if it vouches for them.
pub(super) fn head_of(
    head: Bytes,
    chunks: &[ChunkRef],
) -> Result<(GroupingKey, GroupState), String> {
    let record = GroupRecord::decode(head).map_err(|error| error.to_string())?;
    check_chunks(&record, chunks.iter().copied())?;
    let key = GroupingKey::from_bytes(&record.key).map_err(|error| error.to_string())?;
    Ok((key, state_of(&record)))
}

/// Whether a head vouches for these chunks.
fn check_chunks(
    record: &GroupRecord,
    chunks: impl ExactSizeIterator<Item = ChunkRef>,
) -> Result<(), String> {
    let (found, expected) = (chunks.len(), record.chunk_count);
    if found != expected as usize || chunk_sum(chunks) != record.chunk_sum {
        return Err(format!("{found} of its {expected} chunks are there, or others are"));
    }
    Ok(())
}

/// The grouping key in a head.
pub(super) fn key_of(head: Bytes) -> Result<GroupingKey, String> {
    let record = GroupRecord::decode(head).map_err(|error| error.to_string())?;
    GroupingKey::from_bytes(&record.key).map_err(|error| error.to_string())
}

/// The families in the head of a group, or in a chunk of its families.
pub(super) fn families_of(chunk: u32, payload: Bytes) -> Result<Vec<FamilyRecord>, String> {
    let families = match chunk {
        HEAD => GroupRecord::decode(payload).map(|record| record.families),
        _ => ChunkRecord::decode(payload).map(|record| record.families),
    };
    families.map_err(|error| error.to_string())
}

/// The payload of a head or of a chunk, with these families.
pub(super) fn payload(record: &impl Message, families: &[&FamilyRecord]) -> Bytes {
    /// In both messages.
    const FAMILIES: u32 = 15;
    let len = |family: &&FamilyRecord| family.encoded_len() + 8;
    let families_len: usize = families.iter().map(len).sum();
    let mut payload = Vec::with_capacity(record.encoded_len() + families_len);
    record.encode(&mut payload).expect("a vector grows as needed");
    for family in families {
        prost::encoding::message::encode(FAMILIES, *family, &mut payload);
    }
    payload.into()
}

/// The head of a group whose families lie in these chunks; without families of its own.
pub(super) fn head_record(
    key: &GroupingKey,
    state: &GroupState,
    chunks: &[ChunkRef],
) -> GroupRecord {
    let asked = state.asked.filter(|_| state.ttl_source != TtlSource::Push);
    let last = state.rhythm.last;
    GroupRecord {
        key: Bytes::copy_from_slice(key.as_bytes()),
        created_ns: state.created.0,
        pushed_ns: state.pushed.map(|time| time.0),
        failed_ns: state.failed.map(|time| time.0),
        renewed_ms: state.renewed.0,
        ttl_ms: ttl_ms(state.ttl),
        ttl_source: match state.ttl_source {
            TtlSource::Push => 0,
            TtlSource::Rule => 1,
            TtlSource::Default => 2,
            TtlSource::Override => 3,
        },
        asked: asked.map(|ttl| TtlRecord { ms: ttl_ms(ttl) }),
        last_push_ms: last.filter(|last| *last != state.renewed).map(|last| last.0),
        interval_ms: state.rhythm.interval_ms,
        intervals: state.rhythm.intervals,
        run: state.rhythm.run,
        run_ms: state.rhythm.run_ms,
        calm_ms: state.rhythm.calm_ms,
        gap_ms: state.rhythm.gap_ms,
        latest_intervals: state.rhythm.latest.to_bits(),
        failure: state.failure.as_deref().map(str::to_owned),
        pushes: state.pushes,
        chunk_count: u32::try_from(chunks.len()).unwrap_or(u32::MAX),
        chunk_sum: chunk_sum(chunks.iter().copied()),
        families: Vec::new(),
    }
}

fn ttl_ms(ttl: Ttl) -> Option<u64> {
    match ttl {
        Ttl::After(duration) => Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        Ttl::Never => None,
    }
}

/// The state that a head has; the TTL is yet to be decided.
fn state_of(record: &GroupRecord) -> GroupState {
    let ttl = |ms: Option<u64>| ms.map_or(Ttl::Never, |ms| Ttl::After(Duration::from_millis(ms)));
    let renewed = UnixMillis(record.renewed_ms);
    // A TTL that a push asked for stays.
    let asked = match (record.asked, record.ttl_source) {
        (Some(asked), _) => Some(ttl(asked.ms)),
        (None, 0) => Some(ttl(record.ttl_ms)),
        (None, _) => None,
    };
    let last = (record.pushes > 0).then(|| record.last_push_ms.map_or(renewed, UnixMillis));
    GroupState {
        pushed: record.pushed_ns.map(UnixNanos),
        failed: record.failed_ns.map(UnixNanos),
        failure: record.failure.as_deref().map(Into::into),
        rhythm: Rhythm {
            last,
            interval_ms: record.interval_ms,
            intervals: record.intervals,
            run: record.run,
            run_ms: record.run_ms,
            calm_ms: record.calm_ms,
            gap_ms: record.gap_ms,
            latest: LatestIntervals::from_bits(record.latest_intervals),
        },
        asked,
        overridden: (record.ttl_source == 3).then(|| ttl(record.ttl_ms)),
        pushes: record.pushes,
        ..GroupState::new(UnixNanos(record.created_ns), renewed)
    }
}

/// The tombstone of a removal.
pub(super) fn tombstone_of(removal: &Removal) -> Bytes {
    let (rule, selector) = removal.rule.clone().unzip();
    let record = TombstoneRecord {
        sequence: removal.sequence,
        at_ns: removal.at.0,
        reason: match removal.reason {
            RemovalReason::Expired => 0,
            RemovalReason::Deleted => 1,
        },
        deadline_ms: removal.deadline.0,
        rule: rule.and_then(|at| u32::try_from(at).ok()),
        selector,
        series: removal.series,
        families: removal.families,
    };
    record.encode_to_vec().into()
}

fn removal_of(record: TombstoneRecord) -> Result<Removal, String> {
    let position = record.rule.and_then(|rule| usize::try_from(rule).ok());
    Ok(Removal {
        sequence: record.sequence,
        at: UnixNanos(record.at_ns),
        reason: match record.reason {
            0 => RemovalReason::Expired,
            1 => RemovalReason::Deleted,
            reason => return Err(format!("its tombstone has the unknown reason {reason}")),
        },
        deadline: UnixMillis(record.deadline_ms),
        rule: position.zip(record.selector),
        series: record.series,
        families: record.families,
    })
}
