//! Summaries with quantiles over a sliding window, as the Go client library has them. The
//! `prometheus` crate has none.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sketches_ddsketch::{Config, DDSketch};

use super::labels::Method;
use crate::model::{Label, Metric, MetricFamily, MetricType, MetricValue, Quantile, Summary};
use crate::time::UnixMillis;

/// Summaries of one name, by method.
#[derive(Debug)]
pub(super) struct SummaryVec {
    name: &'static str,
    help: &'static str,
    /// Held to note a value, or to read all.
    by_method: Mutex<BTreeMap<Method, Sliding>>,
}

/// The window in parts, of which the oldest is forgotten when a new one begins.
struct Sliding {
    parts: [DDSketch; PARTS],
    /// The number of the current part since the epoch.
    current: u64,
    count: u64,
    sum: f64,
}

const PARTS: usize = 5;
/// Ten minutes in all.
const PART_MILLIS: u64 = 2 * 60 * 1000;
const QUANTILES: [f64; 3] = [0.1, 0.5, 0.9];

impl SummaryVec {
    pub(super) fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, by_method: Mutex::default() }
    }

    pub(super) fn observe(&self, method: Method, value: f64, now: UnixMillis) {
        let mut by_method = self.by_method.lock().unwrap_or_else(PoisonError::into_inner);
        let sliding = by_method.entry(method).or_insert_with(|| Sliding::new(now));
        sliding.slide(now);
        sliding.add(value);
    }

    /// The family; none before the first value.
    pub(super) fn family(&self, now: UnixMillis) -> Option<MetricFamily> {
        let mut by_method = self.by_method.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics: Vec<_> = by_method
            .iter_mut()
            .map(|(method, sliding)| {
                sliding.slide(now);
                Metric {
                    labels: vec![Label::new("method", method.as_str())],
                    value: MetricValue::Summary(Box::new(sliding.summary())),
                    timestamp_ms: None,
                }
            })
            .collect();
        (!metrics.is_empty()).then(|| MetricFamily {
            name: self.name.into(),
            help: Some(self.help.into()),
            kind: MetricType::Summary,
            unit: None,
            metrics,
        })
    }
}

impl std::fmt::Debug for Sliding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sliding").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Sliding {
    fn new(now: UnixMillis) -> Self {
        let parts = std::array::from_fn(|_| DDSketch::new(Config::defaults()));
        Self { parts, current: now.0 / PART_MILLIS, count: 0, sum: 0.0 }
    }

    /// Forgets parts that the window has left behind.
    fn slide(&mut self, now: UnixMillis) {
        let current = now.0 / PART_MILLIS;
        for part in (self.current + 1..=current).rev().take(PARTS) {
            if let Some(part) = self.parts.get_mut(place(part)) {
                *part = DDSketch::new(Config::defaults());
            }
        }
        self.current = self.current.max(current);
    }

    fn add(&mut self, value: f64) {
        if let Some(part) = self.parts.get_mut(place(self.current)) {
            part.add(value);
        }
        self.count += 1;
        self.sum += value;
    }

    fn summary(&self) -> Summary {
        let mut window = DDSketch::new(Config::defaults());
        for part in &self.parts {
            // An error means that they are configured differently, which they are not.
            let _ = window.merge(part);
        }
        let quantile = |quantile: f64| {
            let value = window.quantile(quantile).ok().flatten();
            Quantile { quantile, value: value.unwrap_or(f64::NAN) }
        };
        Summary {
            count: Some(self.count),
            sum: Some(self.sum),
            quantiles: QUANTILES.map(quantile).to_vec(),
            created: None,
        }
    }
}

fn place(part: u64) -> usize {
    usize::try_from(part % PARTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn median(summaries: &SummaryVec, minute: u64) -> (f64, Option<u64>) {
        let family = summaries.family(UnixMillis(minute * 60_000)).unwrap();
        let MetricValue::Summary(summary) = &family.metrics[0].value else { panic!() };
        (summary.quantiles[1].value, summary.count)
    }

    #[test]
    fn quantiles_are_of_the_last_minutes_and_counts_of_all() {
        let summaries = SummaryVec::new("s", "h");
        assert!(summaries.family(UnixMillis(0)).is_none());
        for value in 1..=99 {
            summaries.observe(Method::Put, f64::from(value), UnixMillis(0));
        }
        let (value, count) = median(&summaries, 1);
        assert!((value - 50.0).abs() < 2.0 && count == Some(99), "{value} {count:?}");
        summaries.observe(Method::Put, 1000.0, UnixMillis(7 * 60_000));
        let (value, _) = median(&summaries, 12);
        assert!((value - 1000.0).abs() < 20.0, "{value}");
        let (value, count) = median(&summaries, 3000);
        assert!(value.is_nan() && count == Some(100));
    }
}
