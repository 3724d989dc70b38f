//! Pushes, one file a format: each turns a request into parts, and [`ingest`] stores a part.

mod holder;
pub(super) mod pushgateway;
mod ttl;

use super::access::{Caller, Permission};
use super::rejection::Rejection;
use crate::gateway::{Expires, Gateway, PushMode};
use crate::model::{Clamped, GroupingKey, Meter, MetricFamily, Ttl};

/// A part of a push: all that it says of one group.
pub(super) struct Part {
    pub(super) key: GroupingKey,
    pub(super) mode: PushMode,
    /// As it was asked for; `None`: as the policy has it.
    pub(super) ttl: Option<Ttl>,
    pub(super) families: Vec<MetricFamily>,
}

/// A part that was pushed: stored or refused.
pub(super) struct Pushed {
    /// The TTL that was asked for, and the one that the policy allows instead.
    pub(super) clamped: Option<Clamped>,
    /// When the group expires, or why it is as it was.
    pub(super) result: Result<Expires, Rejection>,
}

/// Stores a part, if whoever pushes may push to its group. `held` counts what the part takes.
pub(super) async fn ingest(
    gateway: &Gateway,
    caller: &Caller,
    part: Part,
    held: Box<dyn Meter>,
) -> Pushed {
    let Part { key, mode, ttl, families } = part;
    if let Err(rejection) = caller.may(Permission::Push, Some(&key)) {
        return Pushed { clamped: None, result: Err(rejection) };
    }
    let (ttl, clamped) = match ttl.map(|ttl| gateway.ttl_policy().clamp(ttl)) {
        None => (None, None),
        Some(Ok(ttl)) => (Some(ttl), None),
        Some(Err(clamped)) => (Some(clamped.to), Some(clamped)),
    };
    let pushed = gateway.push(key.clone(), mode, ttl, families, held).await;
    let result = pushed.map_err(|error| holder::named(gateway, caller, &key, error).into());
    Pushed { clamped, result }
}
