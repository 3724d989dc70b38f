//! A family as it is stored.

use bytes::Bytes;

use super::record::FamilyRecord;
use crate::model::{Metric, MetricType};
use crate::time::UnixNanos;

/// A family of a group in its stored form. Its metrics have their own labels only, without those of the
/// grouping key.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedFamily(pub(super) FamilyRecord);

/// Why stored metrics cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the metrics of the family {family}")]
pub struct DecodeError {
    pub family: String,
    source: prost::DecodeError,
}

/// A family without its metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyHeader {
    pub name: String,
    pub kind: MetricType,
    pub help: Option<String>,
    pub unit: Option<String>,
    /// How many metrics it has.
    pub series: u32,
}

impl EncodedFamily {
    /// A family with metrics as [`super::encode_metrics`] writes them.
    pub fn new(header: FamilyHeader, metrics: Bytes) -> Self {
        let FamilyHeader { name, kind, help, unit, series } = header;
        let kind = kind as i32;
        Self(FamilyRecord { name, kind, help, unit, stored_ns: 0, sequence: 0, series, metrics })
    }

    /// The family of a record, whose type must be known.
    pub(super) fn of_record(record: FamilyRecord) -> Result<Self, String> {
        match record.metric_type() {
            Some(_) => Ok(Self(record)),
            None => Err(format!("the family {} has no type", record.name)),
        }
    }

    /// Gives it its metrics, as [`super::encode_metrics`] writes them.
    pub fn set_metrics(&mut self, metrics: Bytes) {
        self.0.metrics = metrics;
    }

    /// Notes when the family was pushed, and where that push is among all others.
    pub fn set_pushed(&mut self, stored: UnixNanos, sequence: u64) {
        (self.0.stored_ns, self.0.sequence) = (stored.0, sequence);
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The help text.
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The type.
    pub fn kind(&self) -> MetricType {
        self.0.metric_type().unwrap_or_default()
    }

    /// How many metrics it has.
    pub fn series(&self) -> u32 {
        self.0.series
    }

    /// Wall time of the push that brought it.
    pub fn stored(&self) -> UnixNanos {
        UnixNanos(self.0.stored_ns)
    }

    /// Orders the pushes of all groups.
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// The metrics.
    pub fn decode(&self) -> Result<Vec<Metric>, DecodeError> {
        let failed = |source| DecodeError { family: self.0.name.clone(), source };
        self.0.decode_metrics().map_err(failed)
    }

    /// Name and help text.
    pub fn into_name_and_help(self) -> (String, Option<String>) {
        (self.0.name, self.0.help)
    }
}
