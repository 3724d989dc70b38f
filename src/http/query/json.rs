//! Groups, removed groups and events in JSON.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::gateway::preview::TtlDecision;
use crate::gateway::{Event, EventKind, Gateway, GroupView, RemovedGroup};
use crate::model::{GroupingKey, Ttl};
use crate::time::{UnixMillis, UnixNanos};

/// An instant; `null` if there is none.
#[must_use]
pub fn time(at: Option<UnixNanos>) -> Value {
    at.map(|at| humantime::format_rfc3339_millis(at.to_system_time()).to_string()).into()
}

/// A deadline: an instant, or `"never"`.
pub(in crate::http) fn expires(gateway: &Gateway, deadline: UnixMillis) -> Value {
    match gateway.to_wall(deadline) {
        None => "never".into(),
        at => time(at),
    }
}

/// The labels of a grouping key.
pub(in crate::http) fn labels(key: &GroupingKey) -> Value {
    key.labels().map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, _>>().into()
}

fn rule(rule: Option<&(usize, String)>) -> Value {
    rule.map(|(position, selector)| json!({ "position": position + 1, "match": selector })).into()
}

/// A duration in seconds; `null` if it is for ever.
fn seconds(ttl: Ttl) -> Value {
    match ttl {
        Ttl::After(duration) => duration.as_secs_f64().into(),
        Ttl::Never => Value::Null,
    }
}

/// The TTL and the deadline of a group, and where they come from.
pub(in crate::http) fn fate(gateway: &Gateway, fate: &TtlDecision) -> Value {
    json!({
        "ttl": fate.ttl.to_string(),
        "ttl_seconds": seconds(fate.ttl),
        "ttl_source": fate.source.as_str(),
        "rule": rule(fate.rule.as_ref()),
        "auto": fate.auto.map(|auto| auto.to_string()),
        "expires": expires(gateway, fate.deadline),
    })
}

/// A group without its series.
pub(in crate::http) fn group(gateway: &Gateway, group: &GroupView) -> Value {
    let state = &*group.state;
    let interval = state.rhythm.interval();
    let object = json!({
        "labels": labels(&group.key),
        "families": group.families,
        "series": group.series,
        "bytes": group.bytes,
        "created": time(Some(state.created)),
        "last_push": time(state.pushed),
        "last_failed_push": time(state.failed),
        "last_failed_push_error": state.failure.as_deref(),
        "pushes": state.pushes,
        "interval_seconds": interval.as_ref().map(Duration::as_secs_f64),
    });
    merged(object, fate(gateway, &TtlDecision::of(group, &gateway.policy())))
}

/// An object with the members of another.
pub(in crate::http) fn merged(mut object: Value, other: Value) -> Value {
    if let (Some(object), Value::Object(other)) = (object.as_object_mut(), other) {
        object.extend(other);
    }
    object
}

/// A group that was removed.
#[must_use]
pub fn removed(gateway: &Gateway, removed: &RemovedGroup) -> Value {
    let state = &*removed.state;
    json!({
        "id": removed.sequence,
        "labels": labels(&removed.key),
        "why": removed.reason.as_str(),
        "at": time(Some(removed.at)),
        "ttl": state.ttl.to_string(),
        "ttl_seconds": seconds(state.ttl),
        "ttl_source": state.ttl_source.as_str(),
        "rule": rule(removed.rule.as_ref()),
        "expires": expires(gateway, state.deadline),
        "last_push": time(state.pushed),
        "pushes": state.pushes,
        "families": removed.families,
        "series": removed.series,
        "bytes": removed.bytes,
    })
}

/// An event.
pub(in crate::http) fn event(gateway: &Gateway, event: &Event) -> Value {
    let (labels, at) = (labels(&event.key), time(Some(event.at)));
    let kind = event.what.as_str();
    match &event.what {
        EventKind::Pushed { expires } => {
            let expires = expires.map_or_else(|| "never".into(), |at| time(Some(at)));
            json!({ "event": kind, "labels": labels, "at": at, "expires": expires })
        }
        EventKind::Refused { reason } => {
            json!({ "event": kind, "labels": labels, "at": at, "error": &**reason })
        }
        EventKind::Removed(group) => removed(gateway, group),
    }
}
