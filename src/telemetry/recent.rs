//! The last hour of what the self metrics count, for the page that shows it. Prometheus has it, too;
//! but it is the gateway that one looks at when Prometheus does not.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::time::UnixMillis;

/// How often a sample is taken.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// How far back they go.
pub const SAMPLES_SPAN: Duration = Duration::from_hours(1);
/// So many are kept: those of an hour, and the one that the first of them is compared with.
const SAMPLES_MAX: usize = 361;

/// The samples of the last hour.
#[derive(Debug, Default)]
pub struct Recent {
    /// Held to add one or to go through them.
    samples: Mutex<VecDeque<Sample>>,
}

/// The counts at an instant.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: UnixMillis,
    /// Pushes and other changes that were committed, and pushes that were refused.
    pub(super) changes: f64,
    pub(super) refused: f64,
    pub(super) commits: Times,
    pub(super) scrapes: Times,
}

/// A histogram of times in seconds: upper bounds with cumulative counts, and totals.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) buckets: Vec<(f64, u64)>,
}

/// The counts between two samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slice {
    /// When it ended.
    pub at: UnixMillis,
    /// Each second.
    pub changes: f64,
    pub refused: f64,
    /// `None`: there were none.
    pub commits: Option<Spent>,
    pub scrapes: Option<Spent>,
}

/// Times of a slice, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spent {
    pub mean: f64,
    /// The 99th percentile, as far as the buckets of the histogram tell.
    pub p99: f64,
}

impl Recent {
    pub(super) fn add(&self, sample: Sample) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// All intervals, oldest first.
    pub fn slices(&self) -> Vec<Slice> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = samples.iter().zip(samples.iter().skip(1));
        pairs.filter_map(|(before, after)| slice(before, after)).collect()
    }
}

fn slice(before: &Sample, after: &Sample) -> Option<Slice> {
    let seconds = after.at.saturating_since(before.at).as_secs_f64();
    (seconds > 0.0).then(|| Slice {
        at: after.at,
        changes: (after.changes - before.changes) / seconds,
        refused: (after.refused - before.refused) / seconds,
        commits: spent(&before.commits, &after.commits),
        scrapes: spent(&before.scrapes, &after.scrapes),
    })
}

#[expect(clippy::cast_precision_loss, reason = "shown, not computed with")]
fn spent(before: &Times, after: &Times) -> Option<Spent> {
    let count = after.count.checked_sub(before.count).filter(|count| *count > 0)?;
    let counts = after.buckets.iter().zip(&before.buckets);
    let counts: Vec<_> = counts.map(|(a, b)| (a.0, a.1.saturating_sub(b.1))).collect();
    let mean = (after.sum - before.sum) / count as f64;
    Some(Spent { mean, p99: quantile(0.99, count as f64, &counts) })
}

/// By linear interpolation within a bucket, as `histogram_quantile` of `PromQL` has it.
#[expect(clippy::cast_precision_loss, reason = "shown, not computed with")]
fn quantile(quantile: f64, count: f64, buckets: &[(f64, u64)]) -> f64 {
    let rank = quantile * count;
    let (mut lower, mut below) = (0.0, 0.0);
    for (upper, up_to) in buckets {
        let up_to = *up_to as f64;
        if up_to >= rank && upper.is_finite() {
            return lower + (upper - lower) * (rank - below) / (up_to - below).max(1.0);
        }
        if upper.is_finite() {
            (lower, below) = (*upper, up_to);
        }
    }
    lower
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, count: u32) -> Sample {
        let times = Times {
            count: u64::from(count),
            sum: 0.5 * f64::from(count),
            buckets: vec![(0.4, u64::from(count / 2)), (0.8, u64::from(count))],
        };
        Sample {
            at: UnixMillis(seconds * 1000),
            changes: 3.0 * f64::from(count),
            refused: 0.0,
            commits: times,
            scrapes: Times::default(),
        }
    }

    #[test]
    fn a_slice_is_what_came_between_two_samples() {
        let recent = Recent::default();
        recent.add(sample(0, 10));
        assert_eq!(recent.slices(), []);
        recent.add(sample(10, 110));
        let [slice] = recent.slices()[..] else { panic!() };
        assert_eq!((slice.changes, slice.scrapes), (30.0, None));
        let Spent { mean, p99 } = slice.commits.unwrap();
        assert!((mean - 0.5).abs() < 1e-9 && (p99 - 0.792).abs() < 1e-9, "{mean} {p99}");
    }

    #[test]
    fn an_hour_of_samples_is_kept() {
        let recent = Recent::default();
        for n in 0..1000 {
            recent.add(sample(u64::from(n) * SAMPLE_EVERY.as_secs(), n));
        }
        let slices = recent.slices();
        let first = slices.last().unwrap().at.saturating_since(slices[0].at);
        assert_eq!(first + SAMPLE_EVERY, SAMPLES_SPAN);
    }
}
