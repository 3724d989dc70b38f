//! `/expired`: removed groups, when and why they were removed, and how to restore them.

use std::sync::Arc;

use maud::{Markup, html};

use super::layout::{Content, Context, Finds, chips, link, pager, refused, search_box};
use super::readable::{self, count, relative, relative_or_never};
use crate::gateway::RemovedGroup;
use crate::http::body::Bounds;
use crate::http::query::{Query, QueryError, Selection};
use crate::model::RemovalReason;
use crate::model::TtlSource;

const ROWS: usize = 50;
const REFRESH_SECONDS: u32 = 5;

pub(super) async fn content(
    context: &Context<'_>,
    query: &Query<'_>,
    bounds: &mut Bounds,
) -> Result<Content, QueryError> {
    let search = query.get("search").unwrap_or("");
    let (selection, error) = match query.selection(bounds).and_then(Selection::by_labels) {
        Ok(selection) => (Some(selection), None),
        Err(error @ QueryError::Rejected(_)) => return Err(error),
        Err(error) => (None, Some(error)),
    };
    let gateway = context.gateway();
    let mut removed = gateway.removed().await?;
    let takes = |removed: &Arc<RemovedGroup>| {
        selection.as_ref().is_some_and(|selection| selection.matches(&removed.key))
    };
    gateway.look_through(|| removed.retain(takes)).await?;
    let page = query.get("page").and_then(|page| page.parse().ok()).unwrap_or(1_usize).max(1);
    let pages = removed.len().div_ceil(ROWS);
    let shown = removed.iter().skip((page - 1).saturating_mul(ROWS)).take(ROWS);
    let limits = context.gateway().history_limits();
    let main = html! {
        h1 { "Expired" }
        p { "The latest groups that expired or were deleted: up to " (readable::grouped(limits.groups as u64))
            " of them (" code { "history.groups" } ") of " (readable::bytes(limits.bytes)) " (" code { "history.size" } ") in all." }
        (search_box("expired", Finds::Labels, search, &html! {}))
        (refused(error.as_ref()))
        div id="expired" data-live {
            p class="summary" {
                (count(removed.len(), "group", "groups")) @if search.is_empty() && query.get("group").is_none() { "." } @else { " found. " a href="expired" { "Show all" } }
            }
            @if !removed.is_empty() {
                div class="scroll" tabindex="0" role="region" aria-label="Table of removed groups" {
                    table class="groups" {
                        thead { tr {
                            th scope="col" { "Group" } th scope="col" { "Went" } th scope="col" { "Why" }
                            th scope="col" class="number aside" { "Series" } th scope="col" class="aside" { "Last push" }
                            @if context.may.change { td class="needs-script" {} }
                        } }
                        tbody { @for removed in shown { (row(context, removed)) } }
                    }
                }
                (pager(page, pages, |page| link("expired", &[("search", search), ("page", &page.to_string())])))
            }
        }
    };
    Ok(Content::new("Expired", main).refreshed(REFRESH_SECONDS).refused(error.as_ref()))
}

fn row(context: &Context<'_>, removed: &RemovedGroup) -> Markup {
    let state = &*removed.state;
    let id = removed.sequence.to_string();
    html! {
        tr {
            th scope="row" class="chips" { (chips(&removed.key)) }
            td { (relative(removed.at, context.now)) }
            td { (why(removed)) }
            td class="number aside" { (readable::grouped(u64::from(removed.series))) }
            td class="aside" { (relative_or_never(state.pushed, context.now)) }
            @if context.may.change {
                td class="needs-script" {
                    form data-action="POST" data-url=(link("api/v2/expired/restore", &[("id", &id)]))
                        data-done="The group is back, for its TTL from now on." {
                        button type="submit" id=(format!("restore-{id}"))
                            aria-label=(format!("Restore {}", removed.key)) { "Restore" }
                    }
                }
            }
        }
    }
}

fn why(removed: &RemovedGroup) -> Markup {
    let state = &*removed.state;
    html! {
        @if removed.reason == RemovalReason::Deleted { "deleted" } @else {
            "expired: TTL " (state.ttl) " "
            small {
                @match (state.ttl_source, &removed.rule) {
                    (TtlSource::Rule, Some((at, selector))) => { "rule " (at + 1) " " code { (selector) } }
                    (source, _) => (source.as_str()),
                }
            }
        }
    }
}
