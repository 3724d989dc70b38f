//! Groups: a page of them, one in full, and what can be done to them.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::answer::{Data, Items, List};
use crate::gateway::{Fault, GroupView, Operation};
use crate::http::api_v1;
use crate::http::body::Bounds;
use crate::http::query::listing::{self, Cursor, Filter, Order, Page, Skip, State};
use crate::http::query::{At, Context, Query, QueryError, bad, json as render};
use crate::model::{GroupingKey, Label, Meter as _, Ttl};
use crate::time::UnixNanos;

/// The latest push that was seen.
struct Latest(AtomicI64);

impl Default for Latest {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Latest {
    fn see(&self, pushed: Option<UnixNanos>) {
        self.0.fetch_max(pushed.map_or(i64::MIN, |at| at.0), Ordering::Relaxed);
    }

    fn get(&self) -> Option<UnixNanos> {
        let latest = self.0.load(Ordering::Relaxed);
        (latest != i64::MIN).then_some(UnixNanos(latest))
    }
}

const PAGE: usize = 100;
const PAGE_MAX: usize = 10_000;

pub(super) async fn list(
    context: &Context<'_>,
    query: &Query<'_>,
    bounds: &mut Bounds,
) -> Result<Data, QueryError> {
    query.only_selection_and(&["state", "sort", "limit", "after"])?;
    let state = query.get("state").map(State::parse).transpose()?;
    let filter = Filter { selection: query.selection(bounds)?, state, expires: None };
    let order = Order::parse(query.get("sort").unwrap_or("name"))?;
    let limit = query.limit(PAGE, PAGE_MAX)?;
    let after = query.get("after").map(|text| Cursor::parse(order, text)).transpose()?;
    let skip = after.map_or(Skip::First(0), Skip::To);
    let gateway = &context.gateway;
    let held = &mut bounds.held;
    let page = || listing::page(gateway, held, &filter, order, skip, limit);
    let Page { groups, total, next } = gateway.look_through(page).await??;
    let gateway = gateway.clone();
    let items = groups.into_iter().map(move |group| render::group(&gateway, &group));
    let fields = json!({ "total": total, "next": next });
    Ok(List::array(fields, "groups", items, bounds.held.hand_over()))
}

/// One group with its series. The query has its grouping labels.
pub(super) async fn families(
    context: &Context<'_>,
    query: &Query<'_>,
    bounds: &mut Bounds,
) -> Result<Data, QueryError> {
    let labels = query.pairs().map(|(name, value)| Label::new(name, value)).collect();
    let key = GroupingKey::new(labels)
        .map_err(|error| bad(format!("expected grouping labels, as in ?job=backup: {error}")))?;
    let gateway = &context.gateway;
    let missing = || QueryError::NotFound(format!("there is no group {key}"));
    let group = gateway.group(&key).filter(|group| query.is_in_scope(&group.key));
    let group = group.ok_or_else(missing)?;
    bounds.held.take(api_v1::bytes_read(group.bytes))?;
    let read = gateway.look_through(|| gateway.read_group(group.number)).await?;
    let stored = read.map_err(Fault::from)?.ok_or_else(missing)?;
    let fields = render::group(gateway, &group);
    let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
    let mut families = api_v1::FamiliesText::new(stored, TimeZone::UTC);
    let items = Items::Object(Box::new(move |out| families.push_some(out)));
    Ok(Data::List(List { fields, name: "metrics", items, held: bounds.held.hand_over() }))
}

/// The keys of the groups that a selection with at least one selector takes.
async fn selected(
    context: &Context<'_>,
    query: &Query<'_>,
    bounds: &mut Bounds,
    take: impl Fn(&GroupView) -> bool,
) -> Result<Vec<GroupingKey>, QueryError> {
    let selection = query.explicit_selection(bounds)?;
    let gateway = &context.gateway;
    let look = || selection.groups(gateway, &mut bounds.held, take);
    let groups = gateway.look_through(look).await??;
    Ok(groups.into_iter().map(|group| group.key).collect())
}

/// The groups that an operation was applied to.
fn listed(fields: Value, name: &'static str, keys: Vec<GroupingKey>, bounds: &mut Bounds) -> Data {
    let items = keys.into_iter().map(|key| render::labels(&key));
    List::array(fields, name, items, bounds.held.hand_over())
}

pub(super) async fn delete(
    context: &Context<'_>,
    query: &Query<'_>,
    bounds: &mut Bounds,
) -> Result<Data, QueryError> {
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
    let latest = Latest::default();
    let keys = selected(context, query, bounds, |group| {
        let pushed = group.state.pushed;
        is_older(pushed) && {
            latest.see(pushed);
            true
        }
    })
    .await?;
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
    let fields =
        json!({ "dry_run": dry_run, "pushed_before": pushed_before, "count": deleted.len() });
    Ok(listed(fields, "deleted", deleted, bounds))
}

pub(super) async fn touch(
    context: &Context<'_>,
    query: &Query<'_>,
    bounds: &mut Bounds,
) -> Result<Data, QueryError> {
    query.only_selection_and(&[])?;
    let keys = selected(context, query, bounds, |_| true).await?;
    context.may_change(keys.len())?;
    let touched = context.gateway.change(keys, Operation::Touch).await?;
    Ok(listed(json!({ "count": touched.len() }), "touched", touched, bounds))
}

pub(super) async fn set_ttl(
    context: &Context<'_>,
    query: &Query<'_>,
    bounds: &mut Bounds,
) -> Result<Data, QueryError> {
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
    let keys = selected(context, query, bounds, |_| true).await?;
    context.may_change(keys.len())?;
    let changed = context.gateway.change(keys, Operation::Override(ttl)).await?;
    let ttl = ttl.map_or_else(|| "default".to_owned(), |ttl| ttl.to_string());
    let fields = json!({ "count": changed.len(), "ttl": ttl });
    Ok(listed(fields, "changed", changed, bounds))
}
