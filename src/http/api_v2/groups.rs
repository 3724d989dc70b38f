//! Groups: a page of them, one in full, and what can be done to them.

use std::cell::Cell;
use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::query::{At, Query, bad};
use super::{ApiError, Context, render};
use crate::gateway::{Fault, GroupView, Operation, beside_other_tasks};
use crate::http::api_v1;
use crate::model::{GroupingKey, Label, Ttl};
use crate::time::UnixNanos;

const PAGE: usize = 100;
const PAGE_MAX: usize = 10_000;

/// By what groups are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Name,
    Deadline,
    LastPush,
    Series,
}

/// Where a group is in the order: what it is sorted by, then its key, which no other has.
type Place = (i64, GroupingKey);

/// Which groups are listed by how they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The last push succeeded.
    Ok,
    /// The last push was refused.
    Failing,
    /// It never expires.
    Permanent,
}

impl Sort {
    /// `name`, or `-name` for the other way round.
    fn parse(text: &str) -> Result<(Self, bool), ApiError> {
        let (name, reverse) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        let sort = match name {
            "name" => Self::Name,
            "deadline" => Self::Deadline,
            "last_push" => Self::LastPush,
            "series" => Self::Series,
            _ => {
                return Err(bad(format!(
                    "sort={text}: expected name, deadline, last_push or series, or one of them \
                     with - in front"
                )));
            }
        };
        Ok((sort, reverse))
    }

    fn place(self, group: &GroupView) -> Place {
        let value = match self {
            Self::Name => 0,
            Self::Deadline => i64::try_from(group.deadline.0).unwrap_or(i64::MAX),
            Self::LastPush => group.state.pushed.map_or(i64::MIN, |at| at.0),
            Self::Series => i64::from(group.series),
        };
        (value, group.key.clone())
    }
}

/// A place in the order that is asked for by `sort`.
fn cursor(sort: &str, (value, key): &Place) -> String {
    format!("{sort}.{value}.{}", URL_SAFE_NO_PAD.encode(key.as_bytes()))
}

fn parse_cursor(sort: &str, text: &str) -> Result<Place, ApiError> {
    let place = text.split_once('.').and_then(|(of, rest)| {
        let (value, key) = rest.split_once('.').filter(|_| of == sort)?;
        let key = URL_SAFE_NO_PAD.decode(key).ok()?;
        Some((value.parse().ok()?, GroupingKey::from_bytes(&key).ok()?))
    });
    let expected = "expected what an answer of the same sort has as \"next\"";
    place.ok_or_else(|| bad(format!("after={text}: {expected}")))
}

impl State {
    fn parse(text: &str) -> Result<Self, ApiError> {
        match text {
            "ok" => Ok(Self::Ok),
            "failing" => Ok(Self::Failing),
            "permanent" => Ok(Self::Permanent),
            _ => Err(bad(format!("state={text}: expected ok, failing or permanent"))),
        }
    }

    fn is_of(self, group: &GroupView) -> bool {
        let state = &group.state;
        let failing = state.failed.is_some() && state.failed >= state.pushed;
        match self {
            Self::Ok => !failing,
            Self::Failing => failing,
            Self::Permanent => state.ttl == Ttl::Never,
        }
    }
}

pub(super) fn list(context: &Context<'_>, query: &Query<'_>) -> Result<Value, ApiError> {
    query.only(&["match[]", "match", "state", "sort", "limit", "after"])?;
    let selection = query.selection()?;
    let state = query.get("state").map(State::parse).transpose()?;
    let by = query.get("sort").unwrap_or("name");
    let (sort, reverse) = Sort::parse(by)?;
    let limit = query.limit(PAGE, PAGE_MAX)?;
    let after = query.get("after").map(|text| parse_cursor(by, text)).transpose()?;
    let gateway = &context.gateway;
    beside_other_tasks(true, || {
        let order = |a: &Place, b: &Place| if reverse { b.cmp(a) } else { a.cmp(b) };
        let groups = gateway.groups(|group| {
            selection.matches(&group.key) && state.is_none_or(|state| state.is_of(group))
        });
        let total = groups.len();
        let placed = groups.into_iter().map(|group| (sort.place(&group), group));
        let is_after = |place: &Place| {
            after.as_ref().is_none_or(|after| order(place, after) == Ordering::Greater)
        };
        let mut page: Vec<_> = placed.filter(|(place, _)| is_after(place)).collect();
        let more = page.len() > limit;
        if more {
            page.select_nth_unstable_by(limit, |a, b| order(&a.0, &b.0));
            page.truncate(limit);
        }
        page.sort_unstable_by(|a, b| order(&a.0, &b.0));
        let next = page.last().filter(|_| more).map(|(place, _)| cursor(by, place));
        let groups: Vec<_> = page.iter().map(|(_, group)| render::group(gateway, group)).collect();
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
    query.only(&["match[]", "match", "pushed_before", "dry_run"])?;
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
    query.only(&["match[]", "match"])?;
    let keys = selected(context, query, |_| true)?;
    context.may_change(keys.len())?;
    let touched = context.gateway.change(keys, Operation::Touch).await?;
    Ok(json!({ "count": touched.len(), "touched": listed(&touched) }))
}

pub(super) async fn set_ttl(context: &Context<'_>, query: &Query<'_>) -> Result<Value, ApiError> {
    query.only(&["match[]", "match", "ttl"])?;
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
