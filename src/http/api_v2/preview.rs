//! Which groups will have expired at an instant, and which would under another `[ttl]` table.

use std::sync::Arc;

use serde_json::{Value, json};

use super::query::{At, Query, bad};
use super::{ApiError, Context, render};
use crate::gateway::preview::Fate;
use crate::gateway::{Gateway, GroupView, Policy, beside_other_tasks};
use crate::time::{UnixMillis, UnixNanos};

const LISTED: usize = 1000;
const LISTED_MAX: usize = 100_000;

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
        query.only(&["match[]", "match", "at", "limit"])?;
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

/// Under a proposed table, beside the policy in force.
pub(super) fn compare(
    context: &Context<'_>,
    query: &Query<'_>,
    table: &[u8],
) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(table).map_err(|error| bad(format!("the body: {error}")))?;
    let (proposed, warnings) = (context.hooks.parse_ttl)(text).map_err(bad)?;
    let gateway = &context.gateway;
    beside_other_tasks(true, || {
        let look = Look::new(context, query)?;
        let today = gateway.policy();
        let proposed = Policy { ttl: Arc::new(proposed), ..today.clone() };
        let mut changes = Vec::new();
        let (mut gone_today, mut gone_proposed) = (0_usize, 0_usize);
        for group in &look.groups {
            let (now, then) = (Fate::of(group, &today), Fate::of(group, &proposed));
            let (goes_now, goes_then) = (now.is_gone(look.at), then.is_gone(look.at));
            gone_today += usize::from(goes_now);
            gone_proposed += usize::from(goes_then);
            let change = match (goes_now, goes_then) {
                (false, true) => "goes",
                (true, false) => "stays",
                _ if then.deadline > now.deadline => "later",
                _ if then.deadline < now.deadline => "sooner",
                _ => continue,
            };
            changes.push((group, change, now, then));
        }
        changes.sort_unstable_by(|a, b| (a.3.deadline, &a.0.key).cmp(&(b.3.deadline, &b.0.key)));
        let listed: Vec<_> = changes
            .iter()
            .take(look.limit)
            .map(|(group, change, today, proposed)| {
                json!({
                    "labels": render::labels(&group.key),
                    "change": change,
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
            "unchanged": look.groups.len() - changes.len(),
            "changes": listed,
            "warnings": warnings,
        }))
    })
}
