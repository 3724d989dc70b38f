//! Values that are pushed and kept, with their invariants: no I/O, no async, no clock.

pub mod duration;
pub mod family;
pub mod group;
pub mod grouping_key;
pub mod labels;
pub mod limit;
pub mod meter;
pub mod name;
mod request;
pub mod selector;
pub mod ttl;
pub mod validity;
mod values;

pub use family::{
    Bucket, BucketSpan, Exemplar, Histogram, Metric, MetricFamily, MetricType, MetricValue,
    NativeBuckets, Quantile, Summary, Timestamp,
};
pub use group::{GroupState, Policy, RemovalReason};
pub use grouping_key::{GroupingKey, GroupingKeyError};
pub use labels::Label;
pub use limit::Limit;
pub use meter::{Meter, OverBudget, Unmetered};
pub use name::{Escaping, NameRules};
pub use request::RequestId;
pub use selector::Selector;
pub use ttl::{
    AutoState, AutoTtl, Clamped, LatestIntervals, Rhythm, RuleTtl, Ttl, TtlPolicy, TtlRule,
    TtlSource,
};
pub use validity::Invalid;
pub(crate) use values::values;

/// The gauge that says when a group was last changed by a push.
pub const PUSH_TIME_NAME: &str = "push_time_seconds";
/// The gauge that says when a push was last refused for what it contained.
pub const PUSH_FAILURE_TIME_NAME: &str = "push_failure_time_seconds";
/// The gauge that says when a group expires.
pub const PUSH_EXPIRY_TIME_NAME: &str = "push_expiry_time_seconds";
pub const PUSH_EXPIRY_TIME_HELP: &str =
    "Unix time when this group expires unless it is pushed again.";
/// The help texts of the other two, as the Go Pushgateway has them.
pub const PUSH_TIME_HELP: &str =
    "Last Unix time when changing this group in the Pushgateway succeeded.";
pub const PUSH_FAILURE_TIME_HELP: &str =
    "Last Unix time when changing this group in the Pushgateway failed.";
