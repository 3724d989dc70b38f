//! Groups: a page of them, one in full, and what can be done to them.

use std::cell::Cell;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::listing::{self, Cursor, Filter, Order, Page, Skip, State};
use super::query::{At, Query, bad};
use super::{ApiError, Context, render};
use crate::gateway::{Fault, GroupView, Operation, beside_other_tasks};
use crate::http::api_v1;
use crate::model::{GroupingKey, Label, Ttl};
use crate::time::UnixNanos;

const PAGE: usize = 100;
const PAGE_MAX: usize = 10_000;

pub(super) fn list(context: &Context<'_>, query: &Query<'_>) -> Result<Value, ApiError> {
    query.only_selection_and(&["state", "sort", "limit", "after"])?;
    let state = query.get("state").map(State::parse).transpose()?;
    let filter = Filter { selection: query.selection()?, state, expires: None };
    let order = Order::parse(query.get("sort").unwrap_or("name"))?;
    let limit = query.limit(PAGE, PAGE_MAX)?;
    let after = query.get("after").map(|text| Cursor::parse(order, text)).transpose()?;
    let skip = after.map_or(Skip::First(0), Skip::To);
    let gateway = &context.gateway;
    beside_other_tasks(true, || {
        let Page { groups, total, next } = listing::page(gateway, &filter, order, skip, limit);
        let groups: Vec<_> = groups.iter().map(|group| render::group(gateway, group)).collect();
        Ok(json!({ "groups": groups, "total": total, "next": next }))
    })
}

/// One group with its series. The query has its grouping labels.
pub(super) fn families(context: &Context<'_>, query: &Query<'_>) -> Result<Value, ApiError> {
    let labels = query.pairs().map(|(name, value)| Label::new(name, value)).collect();
    let key = GroupingKey::new(labels)
        .map_err(|error| bad(format!("expected grouping labels, as in ?job=backup: {error}")))?;
    let gateway = &context.gateway;
    let gone = || ApiError::NotFound(format!("there is no group {key}"));
    beside_other_tasks(true, || {
        let group = gateway.group(&key).filter(|group| query.is_in_scope(&group.key));
        let group = group.ok_or_else(gone)?;
        let read = gateway.read_group(group.stored_id).map_err(Fault::from)?;
        let stored = read.ok_or_else(gone)?;
        let mut value = render::group(gateway, &group);
        if let Some(object) = value.as_object_mut() {
            object.insert("metrics".into(), api_v1::families(&stored, &TimeZone::UTC));
        }
        Ok(value)
    })
}

/// The keys of the groups that a selection with at least one selector takes.
fn selected(
    context: &Context<'_>,
    query: &Query<'_>,
    take: impl Fn(&GroupView) -> bool,
) -> Result<Vec<GroupingKey>, ApiError> {
    let selection = query.explicit_selection()?;
    let groups = beside_other_tasks(true, || {
        context.gateway.groups(|group| selection.matches(&group.key) && take(group))
    });
    Ok(groups.into_iter().map(|group| group.key).collect())
}

fn listed(keys: &[GroupingKey]) -> Value {
    keys.iter().map(render::labels).collect()
}

pub(super) async fn delete(context: &Context<'_>, query: &Query<'_>) -> Result<Value, ApiError> {
    query.only_selection_and(&["pushed_before", "dry_run"])?;
    let dry_run = query.flag("dry_run")?;
    let before = match query.at("pushed_before")? {
        None => None,
        Some(At::Wall(before)) => Some(before),
        Some(At::After(_)) => {
            return Err(bad("pushed_before: expected a time, not a duration".into()));
        }
    };
    let is_older = |pushed: Option<UnixNanos>| before.is_none_or(|before| pushed < Some(before));
    let latest = Cell::new(None);
    let keys = selected(context, query, |group| {
        let pushed = group.state.pushed;
        is_older(pushed) && {
            latest.set(latest.get().max(pushed));
            true
        }
    })?;
    let deleted = if dry_run {
        keys
    } else {
        context.may_change(keys.len())?;
        let operation = Operation::Delete { pushed_before: before };
        context.gateway.change(keys, operation).await?
    };
    // With this the same request takes no group that was pushed since this one looked. Where none was
    // ever pushed, that is any push.
    let pushed_before = (!deleted.is_empty()).then(|| {
        let latest = latest.get().unwrap_or(UnixNanos(0));
        let after = UnixNanos(latest.0.saturating_add(1)).to_system_time();
        humantime::format_rfc3339_nanos(after).to_string()
    });
    Ok(json!({
        "dry_run": dry_run,
        "pushed_before": pushed_before,
        "count": deleted.len(),
        "deleted": listed(&deleted),
    }))
}

pub(super) async fn touch(context: &Context<'_>, query: &Query<'_>) -> Result<Value, ApiError> {
    query.only_selection_and(&[])?;
    let keys = selected(context, query, |_| true)?;
    context.may_change(keys.len())?;
    let touched = context.gateway.change(keys, Operation::Touch).await?;
    Ok(json!({ "count": touched.len(), "touched": listed(&touched) }))
}

pub(super) async fn set_ttl(context: &Context<'_>, query: &Query<'_>) -> Result<Value, ApiError> {
    query.only_selection_and(&["ttl"])?;
    let ttl = match query.get("ttl") {
        Some("default") => None,
        Some(text) => Some(Ttl::parse(text).map_err(|error| {
            bad(format!("ttl: {error}, or default, which takes an override back"))
        })?),
        None => {
            let text = "ttl is missing: expected a duration such as 36h, never or default";
            return Err(bad(text.into()));
        }
    };
    let keys = selected(context, query, |_| true)?;
    context.may_change(keys.len())?;
    let changed = context.gateway.change(keys, Operation::Override(ttl)).await?;
    let ttl = ttl.map_or_else(|| "default".to_owned(), |ttl| ttl.to_string());
    Ok(json!({ "count": changed.len(), "ttl": ttl, "changed": listed(&changed) }))
}
