//! `/`: what is here, whether it is fresh, and how long it stays.

use std::time::Duration;

use maud::{Markup, html};

use super::chart;
use super::layout::{Content, Context, Finds, chips, group_link, link, pager, refused, search_box};
use super::readable::{self, count, relative, relative_or_never};
use crate::gateway::preview::TtlDecision;
use crate::gateway::{GroupStatus, GroupView};
use crate::http::body::Bounds;
use crate::http::query::listing::{self, Filter, Order, Page, Skip, Sort, State};
use crate::http::query::{Query, QueryError};
use crate::model::{Ttl, TtlSource};
use crate::time::UnixMillis;

/// So many groups are on a page.
const ROWS: usize = 50;
const REFRESH_SECONDS: u32 = 3;

/// The parameters in the address.
struct Address<'a> {
    search: &'a str,
    state: &'a str,
    sort: &'a str,
    /// From 1.
    page: usize,
    /// Milliseconds of gateway time.
    expires: Option<(u64, u64)>,
    /// Whether it has selectors, groups or metrics, as those of the API do.
    selects: bool,
}

impl<'a> Address<'a> {
    fn of<'q: 'a>(query: &'a Query<'q>) -> Self {
        let text = |name| query.get(name).unwrap_or("");
        let number = |name| query.get(name).and_then(|text| text.parse().ok());
        Self {
            search: text("search"),
            state: text("state"),
            sort: query.get("sort").unwrap_or("name"),
            page: number("page").and_then(|page| usize::try_from(page).ok()).unwrap_or(1).max(1),
            expires: number("from").zip(number("to")),
            selects: query.selects_beside_search(),
        }
    }

    /// The address of this list, sorted so, from this page on.
    fn link(&self, sort: &str, page: usize) -> String {
        let millis = |at: Option<u64>| at.map(|at| at.to_string()).unwrap_or_default();
        let page = if page > 1 { page.to_string() } else { String::new() };
        link(
            "./",
            &[
                ("search", self.search),
                ("state", self.state),
                ("from", &millis(self.expires.map(|range| range.0))),
                ("to", &millis(self.expires.map(|range| range.1))),
                ("sort", if sort == "name" { "" } else { sort }),
                ("page", &page),
            ],
        )
    }

    fn is_narrowed(&self) -> bool {
        let is_filtered = !self.state.is_empty() || self.expires.is_some();
        !self.search.is_empty() || self.selects || is_filtered
    }
}

pub(super) async fn content(
    context: &Context<'_>,
    query: &Query<'_>,
    bounds: &mut Bounds,
) -> Result<Content, QueryError> {
    let asked = Address::of(query);
    let gateway = context.gateway();
    let parsed = query.selection(bounds).and_then(|selection| {
        let state = query.get("state").map(State::parse).transpose()?;
        let expires = asked.expires.map(|(from, to)| (UnixMillis(from), UnixMillis(to)));
        Ok((Filter { selection, state, expires }, Order::parse(asked.sort)?))
    });
    let (found, order, error) = match parsed {
        Ok((filter, order)) => {
            let skip = Skip::First((asked.page - 1).saturating_mul(ROWS));
            let held = &mut bounds.held;
            let page = || listing::page(gateway, held, &filter, order, skip, ROWS);
            (gateway.look_through(page).await??, order, None)
        }
        Err(error @ QueryError::Rejected(_)) => return Err(error),
        Err(error) => {
            let nothing = Page { groups: Vec::new(), total: 0, next: None };
            (nothing, Order { by: Sort::Name, reverse: false }, Some(error))
        }
    };
    if found.total == 0 && error.is_none() && !asked.is_narrowed() {
        return Ok(Content::new("Groups", empty(context)).refreshed(REFRESH_SECONDS));
    }
    let pages = found.total.div_ceil(ROWS);
    let main = html! {
        h1 { "Groups" }
        (search_box("./", Finds::Groups, asked.search, &states(&asked)))
        (refused(error.as_ref()))
        div id="groups" data-live {
            p class="summary" {
                (count(found.total, "group", "groups"))
                @if asked.is_narrowed() { " found. " a href="./" { "Show all" } } @else { "." }
                @if let Some((from, to)) = asked.expires {
                    " They expire from " (wall(context, from)) " to " (wall(context, to)) "."
                }
            }
            @if !found.groups.is_empty() {
                (table(context, &asked, order, &found.groups))
                (pager(asked.page, pages, |page| asked.link(asked.sort, page)))
            } @else if error.is_none() && found.total > 0 {
                p { "There is no page " (asked.page) ". " a href=(asked.link(asked.sort, 1)) { "First page" } }
            }
        }
        @if error.is_none() && found.total > 0 { (delete_all(context, &asked, found.total)) }
    };
    Ok(Content::new("Groups", main).refreshed(REFRESH_SECONDS).refused(error.as_ref()))
}

fn wall(context: &Context<'_>, millis: u64) -> Markup {
    html! {
        @match context.gateway().to_wall(UnixMillis(millis)) {
            Some(at) => time datetime=(readable::instant(at)) { (readable::instant(at)) },
            None => "never",
        }
    }
}

fn states(asked: &Address<'_>) -> Markup {
    html! {
        label {
            span { "State" }
            select name="state" {
                option value="" { "all" }
                @for state in ["fresh", "late", "expiring", "refused", "permanent"] {
                    option value=(state) selected[state == asked.state] { (state) }
                }
            }
        }
        @if asked.sort != "name" { input type="hidden" name="sort" value=(asked.sort); }
        @if let Some((from, to)) = asked.expires {
            input type="hidden" name="from" value=(from);
            input type="hidden" name="to" value=(to);
        }
    }
}

/// Columns: what they are sorted by, their names, and a class.
const COLUMNS: [(Sort, &str, &str); 7] = [
    (Sort::Name, "Group", ""),
    (Sort::Series, "Series", "number aside"),
    (Sort::LastPush, "Last push", "aside"),
    (Sort::Interval, "Rhythm", "aside"),
    (Sort::State, "State", ""),
    (Sort::Ttl, "TTL", "aside"),
    (Sort::Deadline, "Expires", ""),
];

fn table(context: &Context<'_>, asked: &Address<'_>, order: Order, groups: &[GroupView]) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Table of groups" {
            table class="groups" {
                thead { tr {
                    @for (by, name, class) in COLUMNS {
                        @let is_it = order.by == by;
                        @let other = Order { by, reverse: is_it && !order.reverse };
                        @let direction = if order.reverse { "descending" } else { "ascending" };
                        th scope="col" class=(class) aria-sort=[is_it.then_some(direction)] {
                            a href=(asked.link(&other.to_text(), 1)) {
                                (name)
                                @if is_it { span aria-hidden="true" { @if order.reverse { " \u{2193}" } @else { " \u{2191}" } } }
                            }
                        }
                    }
                } }
                tbody { @for group in groups { (row(context, group)) } }
            }
        }
    }
}

fn row(context: &Context<'_>, group: &GroupView) -> Markup {
    let gateway = context.gateway();
    let state = &*group.state;
    html! {
        tr {
            th scope="row" { a class="chips" href=(group_link(&group.key)) { (chips(&group.key)) } }
            td class="number aside" { (readable::grouped(u64::from(group.series))) }
            td class="aside" { (relative_or_never(state.pushed, context.now)) }
            td class="aside" { (rhythm(group)) }
            td { (condition(group, gateway.now())) }
            td class="aside" { (ttl(&TtlDecision::of(group, &gateway.policy()))) }
            td { (deadline(context, group)) }
        }
    }
}

/// How a group is, in a word and a colour.
pub(super) fn condition(group: &GroupView, now: UnixMillis) -> Markup {
    let condition = GroupStatus::of(group, now);
    let why = match condition {
        GroupStatus::Fresh => "pushed as expected",
        GroupStatus::Late => {
            "late by its own rhythm: the last push is more than one and a half intervals ago"
        }
        GroupStatus::Expiring => "less than a tenth of its TTL is left",
        GroupStatus::Refused => "the last push was refused",
    };
    html! { span class=(format!("state {}", condition.as_str())) title=(why) { (condition.as_str()) } }
}

/// How often a group is pushed.
pub(super) fn rhythm(group: &GroupView) -> Markup {
    let rhythm = &group.state.rhythm;
    html! {
        @let latest: Vec<_> = rhythm.latest.seconds().collect();
        @if !latest.is_empty() {
            @let each = latest.iter().map(|seconds| readable::duration(Duration::from_secs_f64(*seconds)));
            (chart::spark(&format!("the latest intervals, about: {}", each.collect::<Vec<_>>().join(", ")), &latest)) " "
        }
        @if let Some(interval) = rhythm.interval() {
            span class="nowrap" { "every " (readable::duration(interval)) }
        } @else {
            span class="quiet" title="known from the third push on" { "not known" }
        }
    }
}

/// A TTL, and where it comes from.
pub(super) fn ttl(fate: &TtlDecision) -> Markup {
    html! {
        (fate.ttl) " "
        small {
            @match (fate.source, &fate.rule) {
                (TtlSource::Rule, Some((at, selector))) => span title=(selector) { "rule " (at + 1) },
                (source, _) => (source.as_str()),
            }
            @if let Some(auto) = fate.auto { ", " (auto) }
        }
    }
}

/// A bar that runs down to the deadline.
pub(super) fn deadline(context: &Context<'_>, group: &GroupView) -> Markup {
    let gateway = context.gateway();
    let left = group.deadline.saturating_since(gateway.now());
    html! {
        @match (group.state.ttl, gateway.to_wall(group.deadline)) {
            (Ttl::After(ttl), Some(at)) => {
                progress aria-label="Part of the TTL that is left" max=(ttl.as_millis().max(1))
                    value=(left.as_millis().min(ttl.as_millis())) data-until=(at.as_millis()) {}
                " " (relative(at, context.now))
            }
            _ => "never",
        }
    }
}

/// The dialog that deletes all groups that were found.
fn delete_all(context: &Context<'_>, asked: &Address<'_>, total: usize) -> Markup {
    let groups = count(total, "group", "groups");
    // A search is all that is handed on to the API: what is narrowed further would be deleted, too.
    let by_search = asked.state.is_empty() && asked.expires.is_none() && !asked.selects;
    let what = if asked.search.is_empty() { "everything" } else { "all groups found" };
    html! {
        @if context.may.delete && by_search {
            section class="danger" aria-label="Delete many groups" {
                @if !context.may.many {
                    p { "To delete " (what) " here, set " code { "web.enable-admin-api" } "." }
                } @else {
                    button type="button" class="needs-script" data-dialog="delete-all" { "Delete " (what) "\u{2026}" }
                    dialog id="delete-all" aria-labelledby="delete-all-title" {
                        form method="dialog" data-action="DELETE" data-url=(url(asked)) data-word="delete"
                            data-done=(format!("Deleted {groups}. Those that can be restored are at Expired.")) {
                            h2 id="delete-all-title" { "Delete " (what) "?" }
                            p { (groups) " will be missing from the next scrape on. As many as " code { "history.groups" }
                                " says can be restored." }
                            label { "Type " strong { "delete" } " to go on"
                                input name="word" autocomplete="off" spellcheck="false" required pattern="delete"; }
                            p class="buttons" {
                                button type="submit" class="dangerous" { "Delete " (groups) }
                                button type="button" data-close { "Cancel" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn url(asked: &Address<'_>) -> String {
    if asked.search.is_empty() {
        link("api/v2/groups", &[("match[]", r#"{job=~".+"}"#)])
    } else {
        link("api/v2/groups", &[("search", asked.search)])
    }
}

fn empty(context: &Context<'_>) -> Markup {
    let user = context.api.caller.name().map(|name| format!(" -u {}", quoted(name)));
    let address = context.address();
    html! {
        h1 { "Groups" }
        div id="empty" data-live {
            p { "Nothing has been pushed yet. To push the first metric:" }
            pre class="copy" id="first-push" tabindex="0" {
                "echo 'some_metric 3.14' |\n  curl" (user.unwrap_or_default()) " --data-binary @- "
                (quoted(&format!("{address}/metrics/job/some_job")))
            }
            button type="button" class="needs-script" data-copy="first-push" { "Copy" }
            @if !context.may.push { p { "Your login has no permission to push: use a token that has." } }
            p { "It appears here at once, and for Prometheus at " a href=(context.telemetry()) { (address) "/" (context.telemetry()) } "." }
        }
    }
}

/// For a shell, as one word.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    if text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
