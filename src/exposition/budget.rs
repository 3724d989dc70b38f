//! Bounds of a body, in series and in memory: checked while it is parsed, so that parsing ends where it
//! is too much.

use std::mem::size_of;

use super::error::ParseError;
use crate::model::{Bucket, Exemplar, Histogram, Label, Limit, Meter, Metric, Quantile, Summary};

/// Bounds of one body, and what has been used of them.
#[derive(Debug)]
pub struct Budget<'a> {
    meter: &'a mut dyn Meter,
    /// Taken and not yet counted: the meter is shared, and a look at it for each sample would be slow.
    uncounted: usize,
    limits: ParseLimits,
    series: u64,
}

/// Bounds of what a body may bring.
#[derive(Clone, Copy, Debug)]
pub struct ParseLimits {
    /// `limits.series-per-push`.
    pub series: u64,
    /// `limits.labels-per-series`.
    pub labels_per_series: u64,
}

/// So much is counted at a time.
const STEP: usize = 32 * 1024;
/// The overhead of an allocation beside its bytes, about.
const ALLOCATION: usize = 16;

impl ParseLimits {
    /// No bounds.
    pub const UNLIMITED: Self = Self { series: u64::MAX, labels_per_series: u64::MAX };
}

impl<'a> Budget<'a> {
    /// Nothing is used yet.
    pub fn new(limits: ParseLimits, meter: &'a mut dyn Meter) -> Self {
        Self { meter, uncounted: 0, limits, series: 0 }
    }

    /// Counts memory that is about to be taken.
    pub fn take(&mut self, bytes: usize) -> Result<(), ParseError> {
        self.uncounted = self.uncounted.saturating_add(bytes);
        if self.uncounted < STEP {
            return Ok(());
        }
        self.meter.take(std::mem::take(&mut self.uncounted)).map_err(ParseError::OverBudget)
    }

    /// Counts one more series, with a place in a list that may have room for as many again.
    pub(super) fn series(&mut self) -> Result<(), ParseError> {
        self.series += 1;
        if self.series > self.limits.series {
            return Err(ParseError::Limit {
                what: "the push has too many series",
                setting: Limit::SeriesPerPush,
                found: self.series,
                limit: self.limits.series,
            });
        }
        self.take(2 * size_of::<Metric>())
    }

    /// Refuses a series with more labels than there may be.
    pub(super) fn labels(&self, count: usize) -> Result<(), ParseError> {
        let (found, limit) = (count as u64, self.limits.labels_per_series);
        if found > limit {
            return Err(ParseError::TooLong {
                what: "the label set of a series",
                setting: Limit::LabelsPerSeries,
                found,
                limit,
            });
        }
        Ok(())
    }

    /// Counts a label with a name and a value of so many bytes in all.
    pub(super) fn label(&mut self, bytes: usize) -> Result<(), ParseError> {
        self.take(2 * size_of::<Label>() + 2 * ALLOCATION + bytes)
    }

    /// Counts what a summary or a histogram has beside its parts.
    pub(super) fn parts(&mut self) -> Result<(), ParseError> {
        self.take(size_of::<Histogram>().max(size_of::<Summary>()) + ALLOCATION)
    }

    /// Counts one more bucket, or quantile.
    pub(super) fn part(&mut self) -> Result<(), ParseError> {
        self.take(2 * size_of::<Bucket>().max(size_of::<Quantile>()))
    }

    /// Counts the labels of a metric and what else it has, before it is decoded from so many bytes.
    pub(super) fn parts_of_metric(
        &mut self,
        labels: usize,
        parts: usize,
        bytes: usize,
    ) -> Result<(), ParseError> {
        if parts > 1 {
            self.parts()?;
        }
        let labels = labels.saturating_mul(size_of::<Label>() + 2 * ALLOCATION);
        let parts = parts.saturating_mul(size_of::<Bucket>().max(size_of::<Exemplar>()));
        self.take(labels.saturating_add(parts).saturating_add(bytes))
    }
}
