//! How far a store was written: the number of its last write, and all that each write says of the whole.

use bytes::Bytes;
use prost::Message as _;

use super::super::catalog::Totals;
use super::super::chunk::{ChunkKey, HEAD};
use super::super::commit::Commit;
use super::super::record::{RunsRecord, TotalsRecord};
use super::numbers::{Numbers, RUNS};

/// Where the totals lie among the groups.
pub(super) const TOTALS: ChunkKey = ChunkKey { group: 0, chunk: HEAD };
/// Runs begin at multiples of this.
const WRITES_OF_A_RUN: u64 = 1 << 20;
/// So many runs are remembered: of an earlier one nothing that was undone is left in the file.
const RUNS_MAX: usize = 1024;

/// The writes since a store was opened, and the groups that there are with them.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    /// The number of the last write, or that which the first follows.
    pub(super) write: u64,
    /// As of the last batch; `None` before the first.
    pub(super) totals: Option<TotalsRecord>,
    begun: u64,
    numbers: Numbers,
    /// The last writes of ended runs, rising.
    runs: Vec<u64>,
    /// Whether the runs are written.
    has_runs: bool,
}

/// The first write of the run that follows one whose last write was this: above those that were cut off,
/// and may still be found in the file.
fn next_run(last: u64) -> u64 {
    (last / WRITES_OF_A_RUN + 2) * WRITES_OF_A_RUN
}

/// Whether a write was never committed: it is between the last of a run and the first of the next.
pub(super) fn is_void(runs: &[u64], write: u64) -> bool {
    let at = runs.partition_point(|last| *last < write);
    at.checked_sub(1).and_then(|at| runs.get(at)).is_some_and(|last| write <= next_run(*last))
}

impl Applied {
    /// Nothing yet, by a run that follows the write `seen`, on a store that says `found`.
    pub(super) fn new(
        seen: u64,
        found: Option<TotalsRecord>,
        numbers: Numbers,
        mut runs: Vec<u64>,
    ) -> Self {
        let last = found.map_or(0, |found| found.write);
        if last > 0 && runs.last() < Some(&last) {
            runs.push(last);
            runs.drain(..runs.len().saturating_sub(RUNS_MAX));
        }
        Self {
            write: next_run(last.max(seen)),
            totals: None,
            begun: found.map_or(0, |found| found.begun),
            numbers,
            runs,
            has_runs: false,
        }
    }

    /// The numbers of the groups that are stored.
    pub(super) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// The next write: its number, and all that goes with it beside the groups. `heads`: the groups that
    /// it stores (true) and purges; `wipes`: after all others were purged.
    pub(super) fn next(
        &mut self,
        heads: impl Iterator<Item = (u64, bool)>,
        wipes: bool,
        totals: Totals,
        commit: &Commit,
    ) -> (TotalsRecord, Vec<(ChunkKey, Bytes)>) {
        self.write += 1;
        if wipes {
            self.numbers = Numbers::default();
            (self.begun, self.has_runs) = (self.write, false);
        }
        for (number, is_stored) in heads {
            if is_stored {
                self.numbers.insert(number);
            } else {
                self.numbers.remove(number);
            }
        }
        let Totals { groups, removed, sum } = totals;
        let totals = TotalsRecord {
            write: self.write,
            groups,
            removed,
            at_ns: commit.at.wall.0,
            sum,
            begun: self.begun,
            is_listed: true,
            now_ms: commit.at.now.0,
            offset_ms: commit.offset_ms,
        };
        let mut beside = self.numbers.changed();
        if !self.has_runs {
            self.has_runs = true;
            let runs: Bytes = RunsRecord { last: self.runs.clone() }.encode_to_vec().into();
            beside.extend(RUNS.map(|key| (key, runs.clone())));
        }
        beside.push((TOTALS, totals.encode_to_vec().into()));
        (totals, beside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_were_cut_off_are_void() {
        let first = Applied::new(0, None, Numbers::default(), Vec::new());
        assert!(first.runs.is_empty());
        let last = first.write + 7;
        let found = TotalsRecord { write: last, ..TotalsRecord::default() };
        // More was seen, by the mark.
        let next = Applied::new(last + 2, Some(found), Numbers::default(), first.runs);
        assert!(next.write >= last + WRITES_OF_A_RUN);
        assert_eq!(next.runs, [last]);
        let void = |write| is_void(&next.runs, write);
        assert!(!void(last) && void(last + 1) && void(last + 100) && void(next.write));
        assert!(!void(next.write + 1) && !void(last - 1) && !void(0));
    }

    #[test]
    fn a_wipe_begins_anew() {
        let mut applied = Applied::new(0, None, Numbers::default(), Vec::new());
        let commit = Commit::default();
        let heads = [(1, true), (2, true)].into_iter();
        let (totals, beside) = applied.next(heads, false, Totals::default(), &commit);
        assert_eq!((totals.begun, beside.len()), (0, 1 + 2 + 1));
        let (totals, beside) =
            applied.next([(1, true)].into_iter(), false, Totals::default(), &commit);
        assert_eq!((totals.begun, beside.len()), (0, 1), "a push to a group that is there");
        let (totals, beside) =
            applied.next([(2, true)].into_iter(), true, Totals::default(), &commit);
        assert_eq!((totals.begun, beside.len()), (totals.write, 1 + 2 + 1));
        assert_eq!(applied.numbers.iter().collect::<Vec<_>>(), [2]);
    }
}
