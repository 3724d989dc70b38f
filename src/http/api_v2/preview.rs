//! Which groups will have expired at an instant, and which would under another `[ttl]` table.

use std::sync::Arc;

use serde_json::{Value, json};

use super::json::{Data, List};
use super::query::{At, Query, bad};
use super::{ApiError, Context, render};
use crate::gateway::preview::Fate;
use crate::gateway::{Gateway, GroupView};
use crate::http::body::Bounds;
use crate::model::selector::{REGEX_MEMORY_MAX, REGEXES_MAX};
use crate::model::{GroupingKey, Meter as _, Policy};
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
    async fn new(
        context: &Context<'_>,
        query: &Query<'_>,
        bounds: &mut Bounds,
    ) -> Result<Self, ApiError> {
        query.only_selection_and(&["at", "limit"])?;
        let selection = query.selection(bounds)?;
        let limit = query.limit(LISTED, LISTED_MAX)?;
        let gateway = &context.gateway;
        let at = instant(gateway, query)?;
        let takes = |group: &GroupView| selection.matches(&group.key);
        let groups = gateway.look_through(|| gateway.groups(&mut bounds.held, takes)).await??;
        bounds.held.take(groups.len() * 2 * size_of::<Fate>())?;
        Ok(Self { at, groups, limit })
    }

    fn time(&self, gateway: &Gateway) -> Value {
        render::time(gateway.to_wall(self.at).or(Some(UnixNanos(i64::MAX))))
    }
}

/// Under the policy in force.
pub(super) async fn preview(
    context: &Context<'_>,
    query: &Query<'_>,
    bounds: &mut Bounds,
) -> Result<Data, ApiError> {
    let look = Look::new(context, query, bounds).await?;
    let gateway = &context.gateway;
    let policy = gateway.policy();
    let (gone, stay) = gateway
        .look_through(|| {
            let fates = look.groups.iter().map(|group| (group, Fate::of(group, &policy)));
            let mut gone: Vec<_> = fates.filter(|(_, fate)| fate.is_gone(look.at)).collect();
            gone.sort_unstable_by(|a, b| (a.1.deadline, &a.0.key).cmp(&(b.1.deadline, &b.0.key)));
            let stay = look.groups.len() - gone.len();
            let gone = gone.into_iter().map(|(group, fate)| (group.clone(), fate));
            (gone.collect::<Vec<_>>(), stay)
        })
        .await?;
    let fields = json!({ "at": look.time(gateway), "gone": gone.len(), "stay": stay });
    let gateway = gateway.clone();
    let items = gone.into_iter().take(look.limit).map(move |(group, fate)| {
        let about = json!({
            "labels": render::labels(&group.key),
            "series": group.series,
            "last_push": render::time(group.state.pushed),
        });
        render::merged(about, render::fate(&gateway, &fate))
    });
    Ok(List::array(fields, "groups", items, bounds.held.hand_over()))
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
pub(super) async fn compare(
    context: &Context<'_>,
    query: &Query<'_>,
    table: &[u8],
    bounds: &mut Bounds,
) -> Result<Data, ApiError> {
    let text = std::str::from_utf8(table).map_err(|error| bad(format!("the body: {error}")))?;
    let gateway = &context.gateway;
    let look = Look::new(context, query, bounds).await?;
    bounds.held.take(table_bytes(text)?)?;
    let compared = gateway.look_through(|| comparison(context, &look.groups, look.at, text));
    let Comparison { gone_today, gone_proposed, changes, unchanged, warnings } = compared.await??;
    let fields = json!({
        "at": look.time(gateway),
        "today": { "gone": gone_today },
        "proposed": { "gone": gone_proposed },
        "changed": changes.len(),
        "unchanged": unchanged,
        "warnings": warnings,
    });
    let gateway = gateway.clone();
    let items = changes.into_iter().take(look.limit).map(move |change| {
        let Change { key, what, today, proposed } = change;
        json!({
            "labels": render::labels(&key),
            "change": what,
            "today": render::fate(&gateway, &today),
            "proposed": render::fate(&gateway, &proposed),
        })
    });
    Ok(List::array(fields, "changes", items, bounds.held.hand_over()))
}

/// How much memory the rules of a table may take.
pub(in crate::http) fn table_bytes(table: &str) -> Result<usize, ApiError> {
    let regexes = table.matches("=~").count() + table.matches("!~").count();
    if regexes > REGEXES_MAX {
        return Err(bad(format!(
            "the table has {regexes} regular expressions; expected at most {REGEXES_MAX} where it is \
             only compared"
        )));
    }
    Ok(regexes * REGEX_MEMORY_MAX)
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
