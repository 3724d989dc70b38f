//! Times, TTL and counts of a group, and the policy that decides its TTL.

use std::sync::Arc;

use super::{GroupingKey, Rhythm, Ttl, TtlPolicy, TtlSource, values};
use crate::time::{UnixMillis, UnixNanos};

/// Times, TTL and counts of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// Wall time of the first push.
    pub created: UnixNanos,
    /// Wall time of the last successful push.
    pub pushed: Option<UnixNanos>,
    /// Wall time of the last refused push, and why it was.
    pub failed: Option<UnixNanos>,
    pub failure: Option<Arc<str>>,
    /// From when the TTL counts.
    pub renewed: UnixMillis,
    pub rhythm: Rhythm,
    /// The TTL that the last successful push asked for, within the bounds.
    pub asked: Option<Ttl>,
    /// The TTL that an operator has set.
    pub overridden: Option<Ttl>,
    /// The resulting TTL.
    pub ttl: Ttl,
    pub ttl_source: TtlSource,
    /// When the group expires.
    pub deadline: UnixMillis,
    /// Successful pushes so far.
    pub pushes: u64,
}

values! {
    /// Why a group was removed.
    RemovalReason {
        Expired = "expired",
        Deleted = "deleted",
    }
}

/// The rules by which TTLs are decided.
#[derive(Clone, Debug)]
pub struct Policy {
    pub ttl: Arc<TtlPolicy>,
    /// Nothing expires before (`ttl.startup-grace`).
    pub floor: UnixMillis,
}

impl GroupState {
    /// That of a group that begins at `now`. Its TTL is yet to be decided.
    pub fn new(created: UnixNanos, now: UnixMillis) -> Self {
        Self {
            created,
            pushed: None,
            failed: None,
            failure: None,
            renewed: now,
            rhythm: Rhythm::default(),
            asked: None,
            overridden: None,
            ttl: Ttl::Never,
            ttl_source: TtlSource::Default,
            deadline: UnixMillis::MAX,
            pushes: 0,
        }
    }
}

impl Policy {
    /// Decides on TTL and deadline of a group for which this rule is.
    ///
    /// A group that has nothing but a refused push gets the default, whatever the rule says: one
    /// that keeps groups for ever would keep what nobody has pushed.
    pub fn decide(&self, rule: Option<usize>, state: &mut GroupState) {
        (state.ttl, state.ttl_source) = match (state.overridden, state.asked) {
            (Some(ttl), _) => (ttl, TtlSource::Override),
            (None, Some(ttl)) => (ttl, TtlSource::Push),
            (None, None) if state.pushed.is_none() => (self.ttl.default, TtlSource::Default),
            (None, None) => self.ttl.ttl(rule, &state.rhythm),
        };
        state.deadline = state.ttl.deadline(state.renewed).max(self.floor);
    }

    /// The same, where the rule is not known.
    pub fn decide_for(&self, key: &GroupingKey, state: &mut GroupState) {
        self.decide(self.ttl.rule_of(key), state);
    }
}
