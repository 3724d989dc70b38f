//! What the gateway has to be told.

use std::time::Duration;

use crate::model::{NameRules, TtlPolicy};

/// Settings of the gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub ttl: TtlPolicy,
    pub sync: Sync,
    pub limits: Limits,
    /// Which names a push may bring.
    pub names: NameRules,
    /// Whether a push that contradicts itself or what is stored is refused. Otherwise it is accepted
    /// without what contradicts.
    pub consistency_check: bool,
}

/// When a push is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before it is answered.
    Always,
    /// At most this long after it is answered.
    Within(Duration),
}

/// Bounds of what a push may bring and of what is held in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub series_per_push: u64,
    pub series_per_group: u64,
    pub series: u64,
    pub groups: u64,
    pub labels_per_series: u64,
    pub label_name_bytes: u64,
    pub label_value_bytes: u64,
    pub metric_name_bytes: u64,
    /// Commands that wait for the lane.
    pub queue: usize,
}

impl Limits {
    /// No bounds but those of the types.
    pub const UNLIMITED: Self = Self {
        series_per_push: u64::MAX,
        series_per_group: u64::MAX,
        series: u64::MAX,
        groups: u64::MAX,
        labels_per_series: u64::MAX,
        label_name_bytes: u64::MAX,
        label_value_bytes: u64::MAX,
        metric_name_bytes: u64::MAX,
        queue: usize::MAX,
    };
}
