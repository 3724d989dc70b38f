//! Options of the gateway.

use std::time::Duration;

use super::history::HistoryLimits;
use crate::model::{NameRules, TtlPolicy};

/// Settings of the gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The TTL policy at the start; it may be replaced.
    pub ttl: TtlPolicy,
    pub downtime: Downtime,
    /// Nothing expires before the gateway has run for so long.
    pub startup_grace: Duration,
    /// Whether each group says when it expires.
    pub expose_deadline: bool,
    /// How many removed groups are kept.
    pub history: HistoryLimits,
    pub sync: Sync,
    pub limits: Limits,
    /// Which names a push may bring.
    pub names: NameRules,
    /// Whether a push that contradicts itself or what is stored is refused. Otherwise it is accepted
    /// without what contradicts.
    pub consistency_check: bool,
}

/// How deadlines move while the gateway is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Downtime {
    /// They come nearer.
    #[default]
    Count,
    /// They move by the time that it was down.
    Pause,
}

impl Options {
    /// Those of the settings, where nothing is set, but without bounds.
    pub fn new(ttl: TtlPolicy) -> Self {
        Self {
            ttl,
            downtime: Downtime::Count,
            startup_grace: Duration::ZERO,
            expose_deadline: false,
            history: HistoryLimits { groups: 1000, bytes: 64 << 20 },
            sync: Sync::Always,
            limits: Limits::UNLIMITED,
            names: NameRules::Legacy,
            consistency_check: true,
        }
    }
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
    /// Of the lines of one group, and of all groups, as a scrape shows them.
    pub group_bytes: u64,
    pub rendered_bytes: u64,
    /// Commands that wait for the lane.
    pub queue: usize,
}

impl Limits {
    /// The most bytes of any group, whatever the settings: lengths of lines are kept in 32 bits.
    pub const GROUP_BYTES_MAX: u64 = 1 << 30;
    /// The most bytes of the names and values of a grouping key: each of a group's lines has
    /// them, and so have three that the gateway adds.
    pub const KEY_BYTES_MAX: u64 = 16 << 10;

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
        group_bytes: u64::MAX,
        rendered_bytes: u64::MAX,
        queue: usize::MAX,
    };
}
