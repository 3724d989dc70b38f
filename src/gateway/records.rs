//! What is stored of a group beside its families, as records.

use bytes::Bytes;

use super::history::{Departed, Departure};
use super::index::Group;
use super::stored::chunk_sum;
use crate::model::{Ttl, TtlSource};
use crate::store::record::{FamilyRecord, GroupRecord, TombstoneRecord, TtlRecord};

/// Says of a group that it is gone.
pub(super) fn tombstone(departed: &Departed) -> TombstoneRecord {
    let (rule, selector) = departed.rule.clone().unzip();
    TombstoneRecord {
        sequence: departed.sequence,
        at_ns: departed.at.0,
        deleted: departed.why == Departure::Deleted,
        deadline_ms: departed.state.deadline.0,
        rule: rule.and_then(|at| u32::try_from(at).ok()),
        selector,
        series: departed.series,
        families: departed.families,
    }
}

/// The head of a group, with the families that lie in it.
pub(super) fn group_record(group: &Group, families: Vec<FamilyRecord>) -> GroupRecord {
    let state = &group.state;
    let asked = state.asked.filter(|_| state.ttl_source != TtlSource::Push);
    let last = state.rhythm.last;
    GroupRecord {
        key: Bytes::copy_from_slice(group.key.as_bytes()),
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
        chunk_count: u32::try_from(group.chunks.len()).unwrap_or(u32::MAX),
        chunk_sum: chunk_sum(&group.chunks),
        families,
    }
}

fn ttl_ms(ttl: Ttl) -> Option<u64> {
    match ttl {
        Ttl::After(duration) => Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        Ttl::Never => None,
    }
}
