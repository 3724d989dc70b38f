//! A line in the log for pushes that are refused: who pushed what, from where, and why it was not taken. A
//! job that pushes once a second is as loud as one that pushes once a day: a line a minute for each group,
//! with a count of those in between.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::http::request::Parts;
use tokio::time::Instant;

use super::access::Caller;
use super::rejection::Rejection;
use crate::model::GroupingKey;

/// From one line about a group to the next.
const INTERVAL: Duration = Duration::from_mins(1);
/// So many groups have lines of their own at a time; all others share one.
const GROUPS_MAX: usize = 1024;

/// The lines of the last minute.
#[derive(Debug, Default)]
pub(super) struct RefusedPushes {
    /// By the hash of the group. Held to look one up.
    latest: Mutex<HashMap<u64, Latest>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Latest {
    said: Instant,
    /// Refused since then, without a line.
    unsaid: u64,
}

impl RefusedPushes {
    /// Logs a push to a group that was refused, unless there was a line about the group just before.
    pub(super) fn log(&self, head: &Parts, caller: &Caller, key: &GroupingKey, why: &Rejection) {
        let status = why.status();
        // A gateway that can store nothing refuses all alike.
        let about = if status.is_server_error() { None } else { Some(key) };
        let Some(unsaid) = self.unsaid(about, Instant::now()) else { return };
        let error: &dyn std::error::Error = why;
        let causes = std::iter::successors(error.source(), |error| error.source());
        let causes = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        tracing::warn!(
            reason = why.reason().as_str(),
            method = %head.method,
            path = head.uri.path(),
            group = %key,
            by = caller.by(),
            from = %caller.from(),
            status = status.as_u16(),
            error = %why,
            causes,
            unsaid,
            "push refused"
        );
    }

    /// How many refused pushes there were without a line, if there is to be one now.
    fn unsaid(&self, about: Option<&GroupingKey>, now: Instant) -> Option<u64> {
        let hash = about.map_or(0, |key| self.hasher.hash_one(key));
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() >= GROUPS_MAX && !latest.contains_key(&hash) {
            latest.retain(|_, it| now.duration_since(it.said) < INTERVAL);
        }
        let hash = if latest.len() < GROUPS_MAX || latest.contains_key(&hash) { hash } else { 0 };
        match latest.get_mut(&hash) {
            Some(it) if now.duration_since(it.said) < INTERVAL => {
                it.unsaid += 1;
                None
            }
            Some(it) => Some(std::mem::replace(it, Latest { said: now, unsaid: 0 }).unsaid),
            None => {
                latest.insert(hash, Latest { said: now, unsaid: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Label;

    #[test]
    fn a_group_has_a_line_a_minute_and_counts_the_others() {
        let pushes = RefusedPushes::default();
        let key = |job: &str| GroupingKey::new(vec![Label::new("job", job)]).unwrap();
        let (a, b, now) = (key("a"), key("b"), Instant::now());
        assert_eq!(pushes.unsaid(Some(&a), now), Some(0));
        assert_eq!(pushes.unsaid(Some(&a), now), None);
        assert_eq!(pushes.unsaid(Some(&a), now + INTERVAL / 2), None);
        assert_eq!(pushes.unsaid(Some(&b), now), Some(0), "another group");
        assert_eq!(pushes.unsaid(None, now), Some(0), "of all groups");
        assert_eq!(pushes.unsaid(Some(&a), now + INTERVAL), Some(2));
        assert_eq!(pushes.unsaid(Some(&a), now + 2 * INTERVAL), Some(0));
    }

    #[test]
    fn many_groups_take_a_bounded_amount_of_memory_and_share_a_line() {
        let pushes = RefusedPushes::default();
        let now = Instant::now();
        let key = |at: usize| GroupingKey::new(vec![Label::new("job", at.to_string())]).unwrap();
        let said = (0..3 * GROUPS_MAX).filter(|at| pushes.unsaid(Some(&key(*at)), now).is_some());
        assert!(said.count() <= GROUPS_MAX + 1);
        assert!(pushes.latest.lock().unwrap().len() <= GROUPS_MAX + 1);
        assert_eq!(pushes.unsaid(Some(&key(9 * GROUPS_MAX)), now + INTERVAL), Some(0));
    }
}
