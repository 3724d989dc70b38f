//! Reads a group back from the store, whole.

use prost::Message;

use super::index::Group;
use crate::model::{GroupingKey, Metric, MetricFamily, MetricType};
use crate::store::record::{ChunkRecord, FamilyRecord, GroupRecord};
use crate::store::{Batch, ChunkKey, ChunkRef, ReadError, Store, TOMBSTONE};
use crate::time::UnixNanos;

/// A group with all that was pushed to it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredGroup {
    pub key: GroupingKey,
    /// Wall time of the first push, of the last successful one, and of the last refused one.
    pub created: UnixNanos,
    pub pushed: Option<UnixNanos>,
    pub failed: Option<UnixNanos>,
    /// In byte order of their names.
    pub families: Vec<StoredFamily>,
}

/// A family of a group. Its metrics have their own labels only, without those that the grouping key
/// gives them.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredFamily {
    pub name: String,
    pub help: Option<String>,
    pub kind: MetricType,
    /// Wall time of the push that brought it.
    pub stored: UnixNanos,
    pub metrics: Vec<Metric>,
}

impl StoredFamily {
    /// As it was pushed.
    pub fn into_family(self) -> MetricFamily {
        let Self { name, help, kind, stored: _, metrics } = self;
        MetricFamily { name, help, kind, unit: None, metrics }
    }
}

/// A push between the reading of two chunks makes them disagree; then they are read again.
const ATTEMPTS: usize = 20;

/// Reads a group by its number; `None` if it is gone.
pub(super) fn read(store: &Store, id: u64) -> Result<Option<StoredGroup>, ReadError> {
    let mut attempts = 1..=ATTEMPTS;
    loop {
        let Some((head, families)) = try_read(store, id)? else { return Ok(None) };
        match families {
            Some(families) => return group(id, &head, families).map(Some),
            None if attempts.next().is_some() => {}
            None => {
                let what = "its chunks do not match its head".to_owned();
                return Err(ReadError::Damaged { id, chunk: 0, what });
            }
        }
    }
}

/// Reads all groups of a store that no gateway uses: also those whose deadline has come in the
/// meantime, but none that was gone.
pub fn read_all(store: &Store) -> Result<Vec<StoredGroup>, ReadError> {
    let mut groups = Vec::new();
    for id in store.groups()? {
        let tombstone = ChunkKey { group: id, chunk: TOMBSTONE };
        if store.read(&Batch::default(), tombstone)?.is_none() {
            groups.extend(read(store, id)?);
        }
    }
    Ok(groups)
}

/// The head and all families; no families where the chunks are not those that the head vouches for.
#[expect(clippy::type_complexity, reason = "it has one caller")]
fn try_read(
    store: &Store,
    id: u64,
) -> Result<Option<(GroupRecord, Option<Vec<FamilyRecord>>)>, ReadError> {
    let nothing_staged = Batch::default();
    let key = |chunk| ChunkKey { group: id, chunk };
    let Some(frame) = store.read(&nothing_staged, key(0))? else { return Ok(None) };
    let damaged = |chunk, error: prost::DecodeError| ReadError::Damaged {
        id,
        chunk,
        what: error.to_string(),
    };
    let mut head = GroupRecord::decode(frame.payload()).map_err(|error| damaged(0, error))?;
    let mut families = std::mem::take(&mut head.families);
    let mut refs: Vec<ChunkRef> = Vec::new();
    let numbers = if head.chunk_count == 0 { Vec::new() } else { store.chunks_of(id)? };
    for number in numbers {
        let Some(frame) = store.read(&nothing_staged, key(number))? else {
            return Ok(Some((head, None)));
        };
        refs.push(frame.to_ref(number));
        let chunk = ChunkRecord::decode(frame.payload()).map_err(|error| damaged(number, error))?;
        families.extend(chunk.families);
    }
    let matches = refs.len() == head.chunk_count as usize && chunk_sum(&refs) == head.chunk_sum;
    Ok(Some((head, matches.then_some(families))))
}

fn group(
    id: u64,
    head: &GroupRecord,
    families: Vec<FamilyRecord>,
) -> Result<StoredGroup, ReadError> {
    let damaged = |what: String| ReadError::Damaged { id, chunk: 0, what };
    let key = GroupingKey::from_bytes(&head.key).map_err(|error| damaged(error.to_string()))?;
    let family = |record: FamilyRecord| {
        let metrics = record.decode_metrics().map_err(|error| damaged(error.to_string()))?;
        let kind =
            record.metric_type().ok_or_else(|| damaged("a family has no type".to_owned()))?;
        let stored = UnixNanos(record.stored_ns);
        Ok(StoredFamily { name: record.name, help: record.help, kind, stored, metrics })
    };
    let mut families: Vec<_> = families.into_iter().map(family).collect::<Result<_, _>>()?;
    families.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(StoredGroup {
        key,
        created: UnixNanos(head.created_ns),
        pushed: head.pushed_ns.map(UnixNanos),
        failed: head.failed_ns.map(UnixNanos),
        families,
    })
}

/// What a head says of its chunks' checksums.
pub(super) fn chunk_sum(chunks: &[ChunkRef]) -> u64 {
    chunks.iter().map(|chunk| u64::from(chunk.checksum)).sum()
}

/// The families in a group's head, as the staged batch leaves it.
pub(super) fn head_families(
    store: &Store,
    batch: &Batch,
    group: &Group,
) -> Result<Vec<FamilyRecord>, ReadError> {
    if group.chunks.is_empty() && !group.members.is_empty() {
        read_families(store, batch, group, 0)
    } else {
        Ok(Vec::new())
    }
}

/// The families in a chunk of a group, as the staged batch leaves it.
pub(super) fn read_families(
    store: &Store,
    batch: &Batch,
    group: &Group,
    chunk: u32,
) -> Result<Vec<FamilyRecord>, ReadError> {
    let damaged = |what: String| ReadError::Damaged { id: group.stored_id, chunk, what };
    let frame = store.read(batch, group.chunk_key(chunk))?;
    let payload = frame.ok_or_else(|| damaged("it is missing".into()))?.payload();
    let families = if chunk == 0 {
        GroupRecord::decode(payload).map(|record| record.families)
    } else {
        ChunkRecord::decode(payload).map(|record| record.families)
    };
    families.map_err(|error| damaged(error.to_string()))
}
