//! The families that the gateway gives each group: when it was pushed, when a push to it failed,
//! and, where that is wanted, when it expires.

use bytes::Bytes;

use crate::exposition::text::{self, LabelBlock};
use crate::model::GroupState;
use crate::model::{
    PUSH_EXPIRY_TIME_HELP, PUSH_EXPIRY_TIME_NAME, PUSH_FAILURE_TIME_HELP, PUSH_FAILURE_TIME_NAME,
    PUSH_TIME_HELP, PUSH_TIME_NAME,
};
use crate::time::{Moment, UnixMillis, UnixNanos};

/// The names, and what is said of them. The last is the one that not every gateway has.
const FAMILIES: [(&str, &str); 3] = [
    (PUSH_TIME_NAME, PUSH_TIME_HELP),
    (PUSH_FAILURE_TIME_NAME, PUSH_FAILURE_TIME_HELP),
    (PUSH_EXPIRY_TIME_NAME, PUSH_EXPIRY_TIME_HELP),
];

/// A line of each family, in their order; of the last none, where groups do not get it.
pub type StampLines = [Bytes; 3];

/// Which of them groups get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// Whether groups say when they expire (`ttl.expose-deadline`).
    pub expose_deadline: bool,
}

/// Whether a family of this name is the gateway's, so that no push brings it.
pub fn is_stamp(name: &str) -> bool {
    FAMILIES.iter().any(|family| family.0 == name)
}

impl Stamps {
    /// The families that there are, with their help texts.
    pub fn families(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        FAMILIES.into_iter().take(if self.expose_deadline { 3 } else { 2 })
    }

    /// The lines of a group.
    pub fn lines(self, state: &GroupState, block: &LabelBlock, at: Moment) -> StampLines {
        let seconds = |time: Option<UnixNanos>| time.map_or(0.0, UnixNanos::as_secs_f64);
        [
            line(PUSH_TIME_NAME, seconds(state.pushed), block),
            line(PUSH_FAILURE_TIME_NAME, seconds(state.failed), block),
            if self.expose_deadline { expiry(state, block, at) } else { Bytes::new() },
        ]
    }
}

/// The line that says when a group expires, by the wall clock as it is now: never is infinity, so
/// that what is compared with it comes out right.
pub fn expiry(state: &GroupState, block: &LabelBlock, at: Moment) -> Bytes {
    let offset_ms = i64::try_from(at.now.0).unwrap_or(i64::MAX).saturating_sub(at.wall.as_millis());
    let seconds = match state.deadline {
        UnixMillis::MAX => f64::INFINITY,
        deadline => deadline.to_wall(offset_ms).as_secs_f64(),
    };
    line(PUSH_EXPIRY_TIME_NAME, seconds, block)
}

fn line(name: &str, value: f64, block: &LabelBlock) -> Bytes {
    let mut line = Vec::with_capacity(96);
    text::gauge_line(&mut line, name, value, block);
    line.into()
}
