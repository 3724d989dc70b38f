//! Which groups will have expired at an instant, and which would under another `[ttl]` table.

use serde_json::{Value, json};

use super::answer::{Data, List};
use crate::gateway::preview::TtlDecision;
use crate::gateway::{Gateway, GroupView};
use crate::http::body::Bounds;
use crate::http::query::preview::{Change, Comparison, comparison, table_bytes};
use crate::http::query::{At, Context, Query, QueryError, bad, json as render};
use crate::model::Meter as _;
use crate::time::{UnixMillis, UnixNanos};

const LISTED: usize = 1000;
const LISTED_MAX: usize = 100_000;

/// The instant that is asked about, in gateway time; now, if none is.
fn instant(gateway: &Gateway, query: &Query<'_>) -> Result<UnixMillis, QueryError> {
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
    ) -> Result<Self, QueryError> {
        query.only_selection_and(&["at", "limit"])?;
        let selection = query.selection(bounds)?;
        let limit = query.limit(LISTED, LISTED_MAX)?;
        let gateway = &context.gateway;
        let at = instant(gateway, query)?;
        let look = || selection.groups(gateway, &mut bounds.held, |_| true);
        let groups = gateway.look_through(look).await??;
        bounds.held.take(groups.len() * 2 * size_of::<TtlDecision>())?;
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
) -> Result<Data, QueryError> {
    let look = Look::new(context, query, bounds).await?;
    let gateway = &context.gateway;
    let policy = gateway.policy();
    let (expired, stay) = gateway
        .look_through(|| {
            let fates = look.groups.iter().map(|group| (group, TtlDecision::of(group, &policy)));
            let mut expired: Vec<_> = fates.filter(|(_, fate)| fate.has_expired(look.at)).collect();
            expired
                .sort_unstable_by(|a, b| (a.1.deadline, &a.0.key).cmp(&(b.1.deadline, &b.0.key)));
            let stay = look.groups.len() - expired.len();
            let expired = expired.into_iter().map(|(group, fate)| (group.clone(), fate));
            (expired.collect::<Vec<_>>(), stay)
        })
        .await?;
    let fields = json!({ "at": look.time(gateway), "gone": expired.len(), "stay": stay });
    let gateway = gateway.clone();
    let items = expired.into_iter().take(look.limit).map(move |(group, fate)| {
        let about = json!({
            "labels": render::labels(&group.key),
            "series": group.series,
            "last_push": render::time(group.state.pushed),
        });
        render::merged(about, render::fate(&gateway, &fate))
    });
    Ok(List::array(fields, "groups", items, bounds.held.hand_over()))
}

/// Under a proposed table, beside the policy in force.
pub(super) async fn compare_under(
    context: &Context<'_>,
    query: &Query<'_>,
    table: &[u8],
    bounds: &mut Bounds,
) -> Result<Data, QueryError> {
    let text = std::str::from_utf8(table).map_err(|error| bad(format!("the body: {error}")))?;
    let gateway = &context.gateway;
    let look = Look::new(context, query, bounds).await?;
    bounds.held.take(table_bytes(text)?)?;
    let compared = gateway.look_through(|| comparison(context, &look.groups, look.at, text));
    let Comparison { expired_today, expired_proposed, changes, unchanged, warnings } =
        compared.await??;
    let fields = json!({
        "at": look.time(gateway),
        "today": { "gone": expired_today },
        "proposed": { "gone": expired_proposed },
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
