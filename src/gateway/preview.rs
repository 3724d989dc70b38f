//! Which groups will have expired at a given time, under the policy in
//! force or under another.

use super::view::GroupView;
use crate::model::{AutoState, GroupState, Policy, Ttl, TtlSource};
use crate::time::UnixMillis;

/// The TTL and the deadline of a group, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TtlDecision {
    pub ttl: Ttl,
    pub source: TtlSource,
    /// The rule that matches the group, whether or not its TTL counts: its position, from zero, and
    /// its selector.
    pub rule: Option<(usize, String)>,
    /// How far the TTL follows the rhythm of the group, where the rule counts and says so.
    pub auto: Option<AutoState>,
    pub deadline: UnixMillis,
}

impl TtlDecision {
    /// The decision for a group under this policy, if nobody pushes to it.
    pub fn of(group: &GroupView, policy: &Policy) -> Self {
        let rule = policy.ttl.rule_of(&group.key);
        let mut state = GroupState::clone(&group.state);
        policy.decide(rule, &mut state);
        let counts = state.ttl_source == TtlSource::Rule;
        Self {
            auto: policy.ttl.auto(rule.filter(|_| counts), &state.rhythm),
            ttl: state.ttl,
            source: state.ttl_source,
            rule: rule.and_then(|at| policy.ttl.named_rule(at)),
            deadline: state.deadline,
        }
    }

    /// Whether the group will have expired.
    pub fn has_expired(&self, at: UnixMillis) -> bool {
        self.deadline <= at
    }
}
