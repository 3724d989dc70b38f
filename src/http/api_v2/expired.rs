//! What has expired or was deleted lately, and bringing it back.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::json;

use super::answer::{Data, List};
use crate::gateway::RemovedGroup;
use crate::http::body::Bounds;
use crate::http::query::{Context, Query, QueryError, bad, json as render};
use crate::http::rejection::Rejection;
use crate::model::Meter as _;
use crate::model::RemovalReason;

const LISTED: usize = 100;
const LISTED_MAX: usize = 100_000;

/// Latest first.
pub(super) async fn list(
    context: &Context<'_>,
    query: &Query<'_>,
    bounds: &mut Bounds,
) -> Result<Data, QueryError> {
    query.only_selection_and(&["why", "limit"])?;
    let selection = query.selection(bounds)?;
    let why = match query.get("why") {
        None => None,
        Some("expired") => Some(RemovalReason::Expired),
        Some("deleted") => Some(RemovalReason::Deleted),
        Some(text) => return Err(bad(format!("why={text}: expected expired or deleted"))),
    };
    let limit = query.limit(LISTED, LISTED_MAX)?;
    let gateway = &context.gateway;
    let mut gone = gateway.removed().await?;
    let takes = |gone: &Arc<RemovedGroup>| {
        selection.matches(&gone.key) && why.is_none_or(|why| why == gone.reason)
    };
    gateway.look_through(|| gone.retain(takes)).await?;
    let total = gone.len();
    gone.truncate(limit);
    bounds.held.take(gone.len() * size_of::<Arc<RemovedGroup>>())?;
    let gateway = gateway.clone();
    let items = gone.into_iter().map(move |gone| render::removed(&gateway, &gone));
    Ok(List::array(json!({ "total": total }), "groups", items, bounds.held.hand_over()))
}

/// Brings back the latest of each grouping key that the selection takes.
pub(super) async fn restore(
    context: &Context<'_>,
    query: &Query<'_>,
    bounds: &mut Bounds,
) -> Result<Data, QueryError> {
    query.only_selection_and(&["id"])?;
    let id = query.get("id").map(|text| {
        text.parse::<u64>().map_err(|_| bad(format!("id={text}: expected the id of a departure")))
    });
    let id = id.transpose()?;
    let selection =
        if id.is_some() { query.selection(bounds)? } else { query.explicit_selection(bounds)? };
    let mut seen = HashSet::new();
    let mut chosen = context.gateway.removed().await?;
    let takes = |gone: &Arc<RemovedGroup>| {
        selection.matches(&gone.key)
            && id.is_none_or(|id| id == gone.sequence)
            && seen.insert(gone.key.clone())
    };
    context.gateway.look_through(|| chosen.retain(takes)).await?;
    if chosen.is_empty() {
        let text = "no group that has expired or was deleted lately matches".to_owned();
        return Err(QueryError::NotFound(text));
    }
    context.may_change(chosen.len())?;
    let (mut restored, mut refused) = (Vec::new(), Vec::new());
    for gone in chosen {
        let labels = render::labels(&gone.key);
        match context.gateway.restore_removed(gone).await {
            Ok(expires) => {
                let expires = expires.map_or_else(|| "never".into(), |at| render::time(Some(at)));
                restored.push(json!({ "labels": labels, "expires": expires }));
            }
            Err(error) => {
                let rejection = Rejection::from(error);
                if let Some(limit) = rejection.limit() {
                    context.site.metrics.limited(limit);
                }
                refused.push(json!({ "labels": labels, "error": rejection.to_string() }));
            }
        }
    }
    Ok(json!({ "count": restored.len(), "restored": restored, "refused": refused }).into())
}
