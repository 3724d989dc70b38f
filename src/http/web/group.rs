//! `/group?job=…`: one group, with all that it has, and why it lives as long as it does.

use hyper::StatusCode;
use maud::{Markup, html};

use super::layout::{Content, Context, address, chips, link};
use super::readable::{self, count, relative, relative_or_never};
use super::{groups, series};
use crate::exposition::text;
use crate::gateway::preview::TtlDecision;
use crate::gateway::{Fault, GroupContent, GroupStatus, GroupView};
use crate::http::api_v1;
use crate::http::body::Bounds;
use crate::http::query::{Query, QueryError, bad, group_value};
use crate::model::{AutoState, GroupingKey, Label, Meter as _, Ttl, TtlSource};

/// More series are not shown: a page is to be read.
const SERIES_MAX: usize = 1000;
const REFRESH_SECONDS: u32 = 3;
/// A larger group is not read again and again.
const REFRESHED_SERIES_MAX: u32 = 10_000;

pub(super) async fn content(
    context: &Context<'_>,
    query: &Query<'_>,
    bounds: &mut Bounds,
) -> Result<Content, QueryError> {
    let labels = query.pairs().map(|(name, value)| Label::new(name, value)).collect();
    let key = GroupingKey::new(labels).map_err(|error| {
        bad(format!("expected grouping labels, as in group?job=backup: {error}"))
    })?;
    let gateway = context.gateway();
    let group = gateway.group(&key).filter(|group| query.is_in_scope(&group.key));
    let found = match group {
        Some(group) => {
            bounds.held.take(api_v1::bytes_read(group.bytes))?;
            let read = gateway.look_through(|| gateway.read_group(group.number)).await?;
            read.map_err(Fault::from)?.map(|stored| (group, stored))
        }
        None => None,
    };
    let title = key.get("job").unwrap_or("").to_owned();
    let Some((group, stored)) = found else {
        let main = missing(&key);
        return Ok(Content::new(title, main).with_status(StatusCode::NOT_FOUND));
    };
    let main = html! {
        p class="back" { a href="./" { "Groups" } }
        h1 class="chips" { (chips(&key)) }
        div id="facts" data-live { (facts(context, &group)) (refusal(context, &group)) (why(context, &group)) }
        (actions(context, &group))
        div id="families" data-live { (families(&stored)) }
        (exposition(stored))
    };
    let content = Content::new(title, main);
    let is_quick = group.series <= REFRESHED_SERIES_MAX;
    Ok(if is_quick { content.refreshed(REFRESH_SECONDS) } else { content })
}

fn missing(key: &GroupingKey) -> Markup {
    let path = group_value(key);
    html! {
        h1 class="chips" { (chips(key)) }
        p class="error" role="alert" { "There is no such group: it was never pushed, has expired, or was deleted." }
        p {
            a href=(link("expired", &[("group", &path)])) { "Search the removed groups" }
            " \u{b7} " a href="./" { "All groups" }
        }
    }
}

fn facts(context: &Context<'_>, group: &GroupView) -> Markup {
    let state = &*group.state;
    let now = context.now;
    html! {
        dl class="facts" {
            div { dt { "State" } dd { (groups::condition(group, context.gateway().now())) } }
            div { dt { "Last push" } dd { (relative_or_never(state.pushed, now)) } }
            div { dt { "Expires" } dd { (groups::deadline(context, group)) } }
            div { dt { "Rhythm" } dd { (groups::rhythm(group)) } }
            div { dt { "Pushes" } dd { (readable::grouped(state.pushes)) } }
            div { dt { "First push" } dd { (relative(state.created, now)) } }
            div { dt { "Series" } dd { (readable::grouped(u64::from(group.series))) } }
            div { dt { "In the store" } dd { (readable::bytes(group.bytes)) } }
        }
    }
}

fn refusal(context: &Context<'_>, group: &GroupView) -> Markup {
    let state = &*group.state;
    let current = GroupStatus::of(group, context.gateway().now()) == GroupStatus::Refused;
    html! {
        @if let Some(at) = state.failed {
            section class=(if current { "refusal current" } else { "refusal" }) aria-label="Last refused push" {
                h2 { "Last refused push" }
                p { (relative(at, context.now)) @if !current { ", and it succeeded again since" } "." }
                @if let Some(failure) = &state.failure { pre tabindex="0" { (failure) } }
            }
        }
    }
}

/// Why the group has this TTL.
fn why(context: &Context<'_>, group: &GroupView) -> Markup {
    let gateway = context.gateway();
    let fate = TtlDecision::of(group, &gateway.policy());
    let state = &*group.state;
    html! {
        section aria-label="Why this TTL" {
            h2 { "Why it lives for " (fate.ttl) }
            p {
                @match fate.source {
                    TtlSource::Override => "Somebody has set this TTL for this group; it counts over what pushes and rules say.",
                    TtlSource::Push => "The last push asked for it.",
                    TtlSource::Rule => {
                        @match &fate.rule {
                            Some((at, selector)) => { "Rule " (at + 1) ", " code { (selector) } ", is the first that matches." }
                            None => "A rule of the settings says so.",
                        }
                        @match fate.auto {
                            None => {}
                            Some(AutoState::Learning) => {
                                " It takes the TTL from the rhythm of the group (" code { "auto" } "), which it is still learning: "
                                code { "ttl.default" } " counts until then."
                            }
                            Some(AutoState::Learned { missed, interval }) => {
                                " It takes the TTL from the rhythm of the group (" code { "auto" } "): " (missed) " times " (readable::duration(interval))
                                ", within its bounds."
                            }
                        }
                    },
                    TtlSource::Default if state.pushed.is_none() => "Nothing was ever pushed successfully: such groups get ttl.default.",
                    TtlSource::Default => "No rule matches, and the push asked for nothing: ttl.default counts.",
                }
                @if fate.source != TtlSource::Rule {
                    @if let Some((at, selector)) = &fate.rule { " Else rule " (at + 1) ", " code { (selector) } ", would count." }
                }
                @if let (TtlSource::Override, Some(asked)) = (fate.source, state.asked) { " The last push asked for " (asked) "." }
            }
        }
    }
}

fn actions(context: &Context<'_>, group: &GroupView) -> Markup {
    let path = &*group_value(&group.key);
    let overridden = group.state.overridden;
    let ttl_url = |ttl: &str| link("api/v2/groups/ttl", &[("group", path), ("ttl", ttl)]);
    let before = overridden.map_or_else(|| "default".to_owned(), |ttl: Ttl| ttl.to_string());
    html! {
        @if context.may.delete || context.may.change {
            section class="actions needs-script" aria-label="Actions" {
                @if context.may.change {
                    button type="button" data-dialog="touch" { "Renew\u{2026}" }
                    button type="button" data-dialog="override" { "Override TTL\u{2026}" }
                }
                @if context.may.delete { button type="button" data-dialog="delete" { "Delete\u{2026}" } }
            }
        }
        @if context.may.change {
            dialog id="touch" aria-labelledby="touch-title" {
                form method="dialog" data-action="POST" data-url=(link("api/v2/groups/touch", &[("group", path)]))
                    data-done="Renewed: the TTL counts from now." {
                    h2 id="touch-title" { "Renew this group?" }
                    p { "Its TTL counts from now on, as if it had been pushed. This cannot be undone." }
                    p class="buttons" { button type="submit" { "Renew" } button type="button" data-close { "Cancel" } }
                }
            }
            dialog id="override" aria-labelledby="override-title" {
                form method="dialog" data-action="PUT" data-url=(link("api/v2/groups/ttl", &[("group", path)])) data-done="The TTL was set."
                    data-undo-method="PUT" data-undo-url=(ttl_url(&before)) data-undo-done="The TTL is as it was." {
                    h2 id="override-title" { "Override the TTL" }
                    p { "It counts from the last push, over what pushes and rules say, until it is taken back." }
                    label { "TTL, such as 36h, 7d or never"
                        input name="ttl" required autocomplete="off" spellcheck="false"
                            value=(overridden.map(|ttl| ttl.to_string()).unwrap_or_default()); }
                    p class="buttons" {
                        button type="submit" { "Set" }
                        @if overridden.is_some() { button type="submit" name="ttl" value="default" formnovalidate { "Take back" } }
                        button type="button" data-close { "Cancel" }
                    }
                }
            }
        }
        @if context.may.delete {
            dialog id="delete" aria-labelledby="delete-title" {
                form method="dialog" data-action="DELETE" data-url=(link("api/v2/groups", &[("group", path)])) data-then="./"
                    data-done="The group was deleted." data-undo-method=[context.may.change.then_some("POST")]
                    data-undo-url=(link("api/v2/expired/restore", &[("group", path)])) data-undo-done="The group is back." {
                    h2 id="delete-title" { "Delete this group?" }
                    p class="chips" { (chips(&group.key)) }
                    p { "Its " (count(group.series as usize, "series", "series")) " will be missing from the next scrape on." }
                    p class="buttons" {
                        button type="submit" class="dangerous" { "Delete" }
                        button type="button" data-close { "Cancel" }
                    }
                }
            }
        }
    }
}

fn families(stored: &GroupContent) -> Markup {
    let total: usize = stored.families.iter().map(|family| family.metrics.len()).sum();
    let mut room = SERIES_MAX;
    html! {
        h2 { "Metrics" }
        @if total > SERIES_MAX {
            p { "The first " (SERIES_MAX) " of " (count(total, "series", "series")) "; all are in "
                a href=(families_link(&stored.key)) { "the API" } "." }
        }
        @if stored.families.is_empty() { p { "It has none." } }
        @for family in &stored.families {
            @let shown = family.metrics.len().min(room);
            @if shown > 0 { (series::family(family, shown)) }
            @let () = room -= shown;
        }
    }
}

fn families_link(key: &GroupingKey) -> String {
    address("api/v2/groups/families", key.labels())
}

/// The group as scrapers get it.
fn exposition(stored: GroupContent) -> Markup {
    let block = text::LabelBlock::of_group(&stored.key);
    let (mut out, mut room) = (Vec::new(), SERIES_MAX);
    for mut family in stored.families {
        if room == 0 {
            break;
        }
        family.metrics.truncate(room);
        room -= family.metrics.len();
        out.extend(text::header(&family.name, family.help.as_deref(), family.kind));
        text::lines(&mut out, &family.into_family(), &block);
    }
    let text = String::from_utf8_lossy(&out).into_owned();
    html! {
        section aria-label="Exposition" {
            h2 { "Exposition" }
            button type="button" class="needs-script" data-copy="exposition" { "Copy" }
            pre class="copy" id="exposition" tabindex="0" data-live { (text) }
        }
    }
}
