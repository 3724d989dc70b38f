//! A group with all that was pushed to it, read back from the store.

use crate::model::{GroupingKey, Metric, MetricFamily, MetricType};
use crate::store::{EncodedFamily, ReadError, StoredGroup};
use crate::time::UnixNanos;

/// A group with all that was pushed to it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupContent {
    pub key: GroupingKey,
    /// Wall time of the first push, of the last successful one, and of the last refused one.
    pub created: UnixNanos,
    pub pushed: Option<UnixNanos>,
    pub failed: Option<UnixNanos>,
    /// In byte order of their names.
    pub families: Vec<FamilyContent>,
}

/// A family of a group. Its metrics have their own labels only, without those that the grouping key
/// gives them.
#[derive(Clone, Debug, PartialEq)]
pub struct FamilyContent {
    pub name: String,
    pub help: Option<String>,
    pub kind: MetricType,
    /// Wall time of the push that brought it.
    pub stored: UnixNanos,
    pub metrics: Vec<Metric>,
}

impl FamilyContent {
    /// As it was pushed.
    pub fn into_family(self) -> MetricFamily {
        let Self { name, help, kind, stored: _, metrics } = self;
        MetricFamily { name, help, kind, unit: None, metrics }
    }
}

impl TryFrom<StoredGroup> for GroupContent {
    type Error = ReadError;

    fn try_from(group: StoredGroup) -> Result<Self, ReadError> {
        let StoredGroup { number, key, state, families, .. } = group;
        let family = |stored: EncodedFamily| {
            let metrics = stored.decode();
            let metrics = metrics.map_err(|source| ReadError::Family { number, source })?;
            let (kind, at) = (stored.kind(), stored.stored());
            let (name, help) = stored.into_name_and_help();
            Ok(FamilyContent { name, help, kind, stored: at, metrics })
        };
        let mut families = families.into_iter().map(family).collect::<Result<Vec<_>, _>>()?;
        families.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let (created, pushed, failed) = (state.created, state.pushed, state.failed);
        Ok(Self { key, created, pushed, failed, families })
    }
}
