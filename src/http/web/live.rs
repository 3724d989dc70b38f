//! `/live`: what happens, as it happens.

use std::collections::HashSet;

use maud::{Markup, html};

use super::layout::{Content, Context, Finds, chips, group_link, link, refused, search_box};
use super::readable::{instant, relative};
use crate::gateway::{Event, EventKind};
use crate::http::api_v2::KINDS;
use crate::http::body::Bounds;
use crate::http::query::{Query, Selection};
use crate::time::UnixNanos;

/// So many of the latest events are there from the start.
const EVENTS: usize = 100;

pub(super) fn content(context: &Context<'_>, query: &Query<'_>, bounds: &mut Bounds) -> Content {
    let search = query.get("search").unwrap_or("");
    let asked: HashSet<_> =
        query.pairs().filter(|pair| pair.0 == "event").map(|pair| pair.1).collect();
    let kinds: Vec<_> = KINDS.into_iter().filter(|kind| asked.contains(kind)).collect();
    let shows = |kind: &str| asked.is_empty() || kinds.contains(&kind);
    let (selection, error) = match query.selection(bounds).and_then(Selection::by_labels) {
        Ok(selection) => (Some(selection), None),
        Err(error) => (None, Some(error)),
    };
    let log = context.gateway().events();
    let latest = *log.latest().borrow();
    let mut events = log.after(0, usize::MAX).events;
    events.retain(|event| {
        selection.as_ref().is_some_and(|selection| selection.matches(&event.key))
            && shows(event.what.as_str())
    });
    let mut follow = vec![("search", search)];
    follow.extend(kinds.iter().map(|kind| ("event", *kind)));
    let main = html! {
        h1 { "Live" }
        (search_box("live", Finds::Labels, search, &html! {
            fieldset {
                legend { "Events" }
                @for kind in KINDS {
                    label { input type="checkbox" name="event" value=(kind) checked[kinds.contains(&kind)]; (kind) }
                }
            }
        }))
        (refused(error.as_ref()))
        p class="needs-script" {
            button type="button" id="pause" aria-pressed="false" { "Pause" } " "
            span id="pending" role="status" {}
        }
        noscript { p { "Load the page again to see what has happened since." } }
        div class="scroll" tabindex="0" role="region" aria-label="Events, the latest first" {
            table class="events" data-follow=[error.is_none().then(|| link("api/v2/events", &follow))] data-last=(latest) {
                thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Group" } th scope="col" { "More" } } }
                tbody { @for event in events.iter().rev().take(EVENTS) { (row(context, event)) } }
            }
        }
        @if events.is_empty() { p id="no-events" { "Nothing has happened yet." } }
    };
    Content::new("Live", main).refused(error.as_ref())
}

/// `assets/events.js` makes the same of what the API sends.
fn row(context: &Context<'_>, event: &Event) -> Markup {
    let kind = event.what.as_str();
    html! {
        tr {
            td { (relative(event.at, context.now)) }
            td { span class=(format!("state {kind}")) { (kind) } }
            td { a class="chips" href=(group_link(&event.key)) { (chips(&event.key)) } }
            td {
                @match &event.what {
                    EventKind::Pushed { expires } => (expiry(*expires)),
                    EventKind::Refused { reason } => bdi { (reason) },
                    EventKind::Removed(group) => { "TTL " (group.state.ttl) },
                }
            }
        }
    }
}

fn expiry(expires: Option<UnixNanos>) -> Markup {
    html! {
        @match expires {
            Some(at) => { "until " time datetime=(instant(at)) { (instant(at)) } }
            None => "for ever",
        }
    }
}
