//! Which groups will have expired at an instant, and which would under another `[ttl]` table.

use std::sync::Arc;

use serde_json::{Value, json};

use super::query::{At, Query, bad};
use super::{ApiError, Context, render};
use crate::gateway::preview::Fate;
use crate::gateway::{Gateway, GroupView, Policy, beside_other_tasks};
use crate::model::GroupingKey;
use crate::time::{UnixMillis, UnixNanos};

const LISTED: usize = 1000;
const LISTED_MAX: usize = 100_000;
/// The largest `[ttl]` table that is compared.
pub(in crate::http) const TABLE_BYTES_MAX: usize = 64 * 1024;

/// The instant that is asked about, in gateway time; now, if none is.
fn instant(gateway: &Gateway, query: &Query<'_>) -> Result<UnixMillis, ApiError> {
    let now = gateway.now();
    Ok(match query.at("at")? {
        None => now,
        Some(At::After(duration)) => now.saturating_add(duration),
        Some(At::Wall(at)) => gateway.to_gateway_time(at),
    })
}

struct Look {
    at: UnixMillis,
    groups: Vec<GroupView>,
    limit: usize,
}

impl Look {
    fn new(context: &Context<'_>, query: &Query<'_>) -> Result<Self, ApiError> {
        query.only_selection_and(&["at", "limit"])?;
        let selection = query.selection()?;
        let limit = query.limit(LISTED, LISTED_MAX)?;
        let at = instant(&context.gateway, query)?;
        let groups = context.gateway.groups(|group| selection.matches(&group.key));
        Ok(Self { at, groups, limit })
    }

    fn time(&self, gateway: &Gateway) -> Value {
        render::time(gateway.to_wall(self.at).or(Some(UnixNanos(i64::MAX))))
    }
}

/// Under the policy in force.
pub(super) fn preview(context: &Context<'_>, query: &Query<'_>) -> Result<Value, ApiError> {
    let gateway = &context.gateway;
    beside_other_tasks(true, || {
        let look = Look::new(context, query)?;
        let policy = gateway.policy();
        let fates = look.groups.iter().map(|group| (group, Fate::of(group, &policy)));
        let mut gone: Vec<_> = fates.filter(|(_, fate)| fate.is_gone(look.at)).collect();
        gone.sort_unstable_by(|a, b| (a.1.deadline, &a.0.key).cmp(&(b.1.deadline, &b.0.key)));
        let listed: Vec<Value> = gone
            .iter()
            .take(look.limit)
            .map(|(group, fate)| {
                let about = json!({
                    "labels": render::labels(&group.key),
                    "series": group.series,
                    "last_push": render::time(group.state.pushed),
                });
                render::merged(about, render::fate(gateway, fate))
            })
            .collect();
        Ok(json!({
            "at": look.time(gateway),
            "gone": gone.len(),
            "stay": look.groups.len() - gone.len(),
            "groups": listed,
        }))
    })
}

/// What a proposed table would change.
pub(in crate::http) struct Comparison {
    pub(in crate::http) gone_today: usize,
    pub(in crate::http) gone_proposed: usize,
    /// By deadline under the proposed table.
    pub(in crate::http) changes: Vec<Change>,
    pub(in crate::http) unchanged: usize,
    pub(in crate::http) warnings: Vec<String>,
}

/// What would change for a group.
pub(in crate::http) struct Change {
    pub(in crate::http) key: GroupingKey,
    /// `goes`, `stays`, `later` or `sooner`.
    pub(in crate::http) what: &'static str,
    pub(in crate::http) today: Fate,
    pub(in crate::http) proposed: Fate,
}

/// Under a proposed table, beside the policy in force.
pub(super) fn compare(
    context: &Context<'_>,
    query: &Query<'_>,
    table: &[u8],
) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(table).map_err(|error| bad(format!("the body: {error}")))?;
    let gateway = &context.gateway;
    beside_other_tasks(true, || {
        let look = Look::new(context, query)?;
        let comparison = comparison(context, &look.groups, look.at, text)?;
        let Comparison { gone_today, gone_proposed, changes, unchanged, warnings } = comparison;
        let listed: Vec<_> = changes
            .iter()
            .take(look.limit)
            .map(|Change { key, what, today, proposed }| {
                json!({
                    "labels": render::labels(key),
                    "change": what,
                    "today": render::fate(gateway, today),
                    "proposed": render::fate(gateway, proposed),
                })
            })
            .collect();
        Ok(json!({
            "at": look.time(gateway),
            "today": { "gone": gone_today },
            "proposed": { "gone": gone_proposed },
            "changed": changes.len(),
            "unchanged": unchanged,
            "changes": listed,
            "warnings": warnings,
        }))
    })
}

/// The same for some groups, as of an instant.
pub(in crate::http) fn comparison(
    context: &Context<'_>,
    groups: &[GroupView],
    at: UnixMillis,
    table: &str,
) -> Result<Comparison, ApiError> {
    let (proposed, warnings) = (context.hooks.parse_ttl)(table).map_err(bad)?;
    let today = context.gateway.policy();
    let proposed = Policy { ttl: Arc::new(proposed), ..today.clone() };
    let mut changes = Vec::new();
    let (mut gone_today, mut gone_proposed) = (0_usize, 0_usize);
    for group in groups {
        let (now, then) = (Fate::of(group, &today), Fate::of(group, &proposed));
        let (goes_now, goes_then) = (now.is_gone(at), then.is_gone(at));
        gone_today += usize::from(goes_now);
        gone_proposed += usize::from(goes_then);
        let what = match (goes_now, goes_then) {
            (false, true) => "goes",
            (true, false) => "stays",
            _ if then.deadline > now.deadline => "later",
            _ if then.deadline < now.deadline => "sooner",
            _ => continue,
        };
        changes.push(Change { key: group.key.clone(), what, today: now, proposed: then });
    }
    changes
        .sort_unstable_by(|a, b| (a.proposed.deadline, &a.key).cmp(&(b.proposed.deadline, &b.key)));
    let unchanged = groups.len() - changes.len();
    Ok(Comparison { gone_today, gone_proposed, changes, unchanged, warnings })
}
