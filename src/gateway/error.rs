//! Why a push is refused (the client must change something), and how the gateway can fail.

use std::sync::Arc;

use thiserror::Error;

use crate::model::{GroupingKey, Invalid, Limit, MetricType, OverBudget};
use crate::store::{CommitError, ReadError, StageError};
use crate::telemetry::labels::Reason;

/// A push that contradicts itself or what is stored. The texts have the fragments of the Go
/// Pushgateway's messages, which people search for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("pushed metrics must not have timestamps")]
    Timestamps,
    #[error("collected metric {family:?} is not a {}", kind.as_proto_name())]
    NotA { family: String, kind: MetricType },
    #[error("collected metric {family:?} has two labels named {label:?}")]
    LabelTwice { family: String, label: String },
    #[error(
        "collected metric {family:?} has a label named {label:?}, which is not a valid label name"
    )]
    LabelName { family: String, label: String },
    #[error(
        "collected metric {family:?} has the label name {label:?}: names that start with \"__\" are reserved"
    )]
    LabelReserved { family: String, label: String },
    #[error("collected metric {family:?} must not have an explicit {label:?} label")]
    BoundLabel { family: String, label: &'static str },
    #[error(
        "collected metric {family:?} has two labels that are {label:?} to a scraper that escapes their names"
    )]
    EscapedLabelTwice { family: String, label: String },
    /// No scraper could take it.
    #[error("collected metric {family:?} {labels} is invalid: {reason}")]
    Invalid { family: String, labels: String, reason: Invalid },
    #[error(
        "gathered metric family {family} has type {} but should have {}",
        pushed.as_proto_name(), stored.as_proto_name()
    )]
    Type { family: String, pushed: MetricType, stored: MetricType },
    /// Prometheus takes all of a family for what the first of it is.
    #[error(
        "gathered metric family {family} has {} histograms here and {} ones elsewhere; expected one of the two",
        kind(*native), kind(!*native)
    )]
    Native { family: String, native: bool },
    #[error(
        "collected metric {family:?} {labels} was collected before with the same name and label values"
    )]
    Duplicate {
        family: String,
        labels: String,
        /// The group that has it; `None`: it is in the push twice.
        group: Option<GroupingKey>,
    },
    /// `other`: the name of the family that is not the pushed one.
    #[error(
        "collected metric named {name:?} collides with previously collected {} named {base:?}",
        kind.as_text()
    )]
    Suffix { name: String, base: String, kind: MetricType, other: String },
    #[error(
        "gathered metric family {family:?} is called {escaped:?} by a scraper that escapes names, and so is {other:?}"
    )]
    Escaped { family: String, escaped: String, other: String },
    /// The lines that the gateway adds to each group would be there twice. `escaped`: only once names are escaped.
    #[error(
        "the group {key} has the labels of the group {sibling}, as {}; push to that one, or choose other labels: \"push_time_seconds\" was collected before with the same name and label values",
        if *escaped { "a scraper escapes their names" } else { "a label without a value is no label" }
    )]
    Sibling { key: String, sibling: String, escaped: bool },
    /// A contradiction to what is stored, with who holds that, as the client may know it.
    #[error("{refusal}: {holder}")]
    Held { refusal: Box<Self>, holder: String },
    /// Of a group that was to be restored.
    #[error("the group exists again: it has been pushed since it was removed")]
    Exists,
    /// The same.
    #[error("its TTL is 0s: it would expire at once")]
    AtOnce,
    #[error("{what} has {found}, and {setting} is {limit}")]
    TooLong { what: &'static str, setting: Limit, found: u64, limit: u64 },
    #[error("the labels of the grouping key have {found} bytes; expected at most {limit} in all")]
    LongKey { found: u64, limit: u64 },
    #[error("{what}: {found}, and {setting} is {limit}")]
    Limit { what: &'static str, setting: Limit, found: u64, limit: u64 },
    /// A limit of what the gateway holds in all, rather than of the push.
    #[error("the gateway is full: it would hold {found} {what}, and {setting} is {limit}")]
    Full { what: &'static str, setting: Limit, found: u64, limit: u64 },
}

fn kind(native: bool) -> &'static str {
    if native { "native" } else { "classic" }
}

/// The part of the store that a push contradicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opposite<'a> {
    /// The family of this name, of any group but the pushed one.
    Family(&'a str),
    /// A family that is not pushed, of any group.
    Other(&'a str),
    Group(&'a GroupingKey),
}

/// A failure that is not the client's.
#[derive(Clone, Debug, Error)]
pub enum Fault {
    #[error("the push queue is full (limits.queue); try again later")]
    Busy,
    #[error("too many requests look through all groups at present; try again later")]
    Crowded,
    #[error("the gateway is stopping")]
    Stopping,
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    #[error("the write lane has been busy for {seconds} s with {doing}")]
    Stuck { seconds: u64, doing: Arc<str> },
    #[error("cannot commit")]
    Commit(#[source] Arc<CommitError>),
    #[error("cannot read what is stored")]
    Read(#[source] Arc<ReadError>),
    /// Replicas share groups that are bounded in size.
    #[error("the push is too large for a cluster: {0}; push it as several groups")]
    TooLarge(Arc<StageError>),
}

/// Why a command was not carried out.
#[derive(Clone, Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Refusal {
    /// For `tidegate_pushes_refused_total`.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Timestamps => Reason::Timestamp,
            Self::NotA { .. } | Self::Type { .. } | Self::Native { .. } => Reason::Type,
            Self::LabelTwice { .. }
            | Self::LabelName { .. }
            | Self::LabelReserved { .. }
            | Self::EscapedLabelTwice { .. }
            | Self::BoundLabel { .. } => Reason::Label,
            Self::Invalid { .. } => Reason::Invalid,
            Self::Duplicate { .. } | Self::Escaped { .. } | Self::Sibling { .. } => {
                Reason::Duplicate
            }
            Self::Suffix { .. } => Reason::Suffix,
            Self::Held { refusal, .. } => refusal.reason(),
            Self::Exists | Self::AtOnce => Reason::Exists,
            Self::TooLong { .. }
            | Self::LongKey { .. }
            | Self::Limit { .. }
            | Self::Full { .. } => Reason::Limit,
        }
    }

    /// Whether the push disagrees with what the gateway holds, so that it may agree once that is
    /// gone.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Type { .. }
            | Self::Native { .. }
            | Self::Duplicate { .. }
            | Self::Suffix { .. }
            | Self::Escaped { .. }
            | Self::Sibling { .. }
            | Self::Held { .. }
            | Self::Full { .. } => true,
            Self::Timestamps
            | Self::NotA { .. }
            | Self::LabelTwice { .. }
            | Self::LabelName { .. }
            | Self::LabelReserved { .. }
            | Self::EscapedLabelTwice { .. }
            | Self::Invalid { .. }
            | Self::BoundLabel { .. }
            | Self::Exists
            | Self::AtOnce
            | Self::TooLong { .. }
            | Self::LongKey { .. }
            | Self::Limit { .. } => false,
        }
    }

    /// The part of the store that it contradicts, where the message does not say who holds that.
    pub fn opposite(&self) -> Option<Opposite<'_>> {
        match self {
            Self::Type { family, .. } | Self::Native { family, .. } => {
                Some(Opposite::Family(family))
            }
            Self::Suffix { other, .. } | Self::Escaped { other, .. } => {
                Some(Opposite::Other(other))
            }
            Self::Duplicate { group, .. } => group.as_ref().map(Opposite::Group),
            _ => None,
        }
    }

    /// Whether the push counts as failed for its group (`push_failure_time_seconds`): if what it
    /// said was inconsistent, not if it was too much.
    pub fn marks_the_group(&self) -> bool {
        !matches!(
            self,
            Self::Exists
                | Self::AtOnce
                | Self::TooLong { .. }
                | Self::LongKey { .. }
                | Self::Limit { .. }
                | Self::Full { .. }
        )
    }
}

impl From<CommitError> for Fault {
    fn from(error: CommitError) -> Self {
        Self::Commit(Arc::new(error))
    }
}

impl From<OverBudget> for Error {
    fn from(error: OverBudget) -> Self {
        Self::Fault(error.into())
    }
}

impl From<StageError> for Fault {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Read(error) => error.into(),
            error @ StageError::TooLarge { .. } => Self::TooLarge(Arc::new(error)),
        }
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Read(Arc::new(error))
    }
}
