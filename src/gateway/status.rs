//! How a group is, in one word.

use std::time::Duration;

use super::view::GroupView;
use crate::model::Ttl;
use crate::time::UnixMillis;

/// How a group is. Of several that are true the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupStatus {
    /// The last push was refused.
    Refused,
    /// Less than a tenth of its TTL is left.
    Expiring,
    /// The next push is late by the group's own rhythm: half an interval over.
    Late,
    Fresh,
}

impl GroupStatus {
    /// How a group is at an instant.
    pub fn of(group: &GroupView, now: UnixMillis) -> Self {
        let state = &*group.state;
        let is_late = state.rhythm.interval().is_some_and(|interval| {
            let since = state.rhythm.last.map(|last| now.saturating_since(last));
            since.is_some_and(|since| since > interval.saturating_add(interval / 2))
        });
        if state.failed.is_some() && state.failed >= state.pushed {
            Self::Refused
        } else if is_expiring(state.ttl, group.deadline.saturating_since(now)) {
            Self::Expiring
        } else if is_late {
            Self::Late
        } else {
            Self::Fresh
        }
    }

    /// As the API and the pages name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Expiring => "expiring",
            Self::Late => "late",
            Self::Fresh => "fresh",
        }
    }
}

fn is_expiring(ttl: Ttl, left: Duration) -> bool {
    matches!(ttl, Ttl::After(ttl) if left < ttl / 10)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::GroupState;
    use crate::model::{GroupingKey, Label};
    use crate::time::UnixNanos;

    fn group(change: impl FnOnce(&mut GroupState)) -> GroupView {
        let mut state = GroupState::new(UnixNanos(0), UnixMillis(0));
        state.pushed = Some(UnixNanos(1));
        state.ttl = Ttl::After(Duration::from_secs(1000));
        state.deadline = UnixMillis(1_000_000);
        change(&mut state);
        GroupView {
            number: 1,
            key: GroupingKey::new(vec![Label::new("job", "a")]).unwrap(),
            deadline: state.deadline,
            state: Arc::new(state),
            families: 0,
            series: 0,
            bytes: 0,
        }
    }

    #[test]
    fn a_group_is_fresh_until_it_is_late_or_about_to_expire() {
        let at =
            |seconds: u64, group: &GroupView| GroupStatus::of(group, UnixMillis(seconds * 1000));
        let plain = group(|_| {});
        assert_eq!(at(900, &plain), GroupStatus::Fresh);
        assert_eq!(at(901, &plain), GroupStatus::Expiring);
        let steady = group(|state| {
            for seconds in [0, 100, 200] {
                state.rhythm.pushed(UnixMillis(seconds * 1000));
            }
        });
        assert_eq!(at(350, &steady), GroupStatus::Fresh);
        assert_eq!(at(351, &steady), GroupStatus::Late);
        assert_eq!(at(950, &steady), GroupStatus::Expiring);
        let refused = group(|state| state.failed = state.pushed);
        assert_eq!(at(0, &refused), GroupStatus::Refused);
        let permanent = group(|state| state.ttl = Ttl::Never);
        assert_eq!(at(999, &permanent), GroupStatus::Fresh);
    }
}
