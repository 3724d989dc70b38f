//! Groups that expired or were deleted lately, and restoring them.

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
    let selection = query.selection(bounds)?.by_labels()?;
    let why = match query.get("why") {
        None => None,
        Some("expired") => Some(RemovalReason::Expired),
        Some("deleted") => Some(RemovalReason::Deleted),
        Some(text) => return Err(bad(format!("why={text}: expected expired or deleted"))),
    };
    let limit = query.limit(LISTED, LISTED_MAX)?;
    let gateway = &context.gateway;
    let mut removed = gateway.removed().await?;
    let takes = |removed: &Arc<RemovedGroup>| {
        selection.matches(&removed.key) && why.is_none_or(|why| why == removed.reason)
    };
    gateway.look_through(|| removed.retain(takes)).await?;
    let total = removed.len();
    removed.truncate(limit);
    bounds.held.take(removed.len() * size_of::<Arc<RemovedGroup>>())?;
    let gateway = gateway.clone();
    let items = removed.into_iter().map(move |removed| render::removed(&gateway, &removed));
    Ok(List::array(json!({ "total": total }), "groups", items, bounds.held.hand_over()))
}

/// Restores the latest removed group of each grouping key that the selection takes.
pub(super) async fn restore(
    context: &Context<'_>,
    query: &Query<'_>,
    bounds: &mut Bounds,
) -> Result<Data, QueryError> {
    query.only_selection_and(&["id"])?;
    let id = query.get("id").map(|text| {
        text.parse::<u64>()
            .map_err(|_| bad(format!("id={text}: expected the id of a removed group")))
    });
    let id = id.transpose()?;
    let selection =
        if id.is_some() { query.selection(bounds)? } else { query.explicit_selection(bounds)? };
    let selection = selection.by_labels()?;
    let mut seen = HashSet::new();
    let mut chosen = context.gateway.removed().await?;
    let takes = |removed: &Arc<RemovedGroup>| {
        selection.matches(&removed.key)
            && id.is_none_or(|id| id == removed.sequence)
            && seen.insert(removed.key.clone())
    };
    context.gateway.look_through(|| chosen.retain(takes)).await?;
    if chosen.is_empty() {
        let text = "no group that has expired or was deleted lately matches".to_owned();
        return Err(QueryError::NotFound(text));
    }
    context.may_change(chosen.len())?;
    let (mut restored, mut refused) = (Vec::new(), Vec::new());
    for removed in chosen {
        let labels = render::labels(&removed.key);
        match context.gateway.restore_removed(removed).await {
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
