//! `/expiry`: what expires when, and what another `[ttl]` table would change.

use std::collections::HashMap;
use std::time::Duration;

use maud::{Markup, html};
use serde_json::{Map, json};

use super::chart::{self, SHADES, Stack};
use super::layout::{Content, Context, Finds, chips, group_link, link, refused, search_box};
use super::readable::{self, count};
use crate::gateway::GroupView;
use crate::gateway::preview::TtlDecision;
use crate::http::access::Permission;
use crate::http::body::Bounds;
use crate::http::query::preview::{Comparison, TABLE_BYTES_MAX, comparison, table_bytes};
use crate::http::query::{Query, QueryError, bad};
use crate::model::name::quoted;
use crate::model::{AutoTtl, Meter as _, RuleTtl, Ttl, TtlPolicy, TtlRule};
use crate::time::UnixMillis;

/// The largest form with a table.
pub(super) const FORM_BYTES_MAX: usize = 256 * 1024;
/// So many changes are listed.
const CHANGES_MAX: usize = 500;
const REFRESH_SECONDS: u32 = 10;

/// How far one looks ahead.
struct Window {
    name: &'static str,
    bars: u64,
    bar: Duration,
    /// Every so many bars there is a label.
    labelled: u64,
}

const WINDOWS: [Window; 4] = [
    Window { name: "hour", bars: 30, bar: Duration::from_mins(2), labelled: 5 },
    Window { name: "day", bars: 24, bar: Duration::from_hours(1), labelled: 4 },
    Window { name: "week", bars: 28, bar: Duration::from_hours(6), labelled: 4 },
    Window { name: "month", bars: 30, bar: Duration::from_hours(24), labelled: 5 },
];

/// The groups of a window: by job and bar.
struct Picture {
    /// Most groups first: the job, `None` for all others, and how many groups in each bar.
    jobs: Vec<(Option<String>, Vec<u32>)>,
    /// Later than the window, and never.
    later: usize,
    never: usize,
}

pub(super) async fn content(
    context: &Context<'_>,
    query: &Query<'_>,
    form: Option<&[u8]>,
    bounds: &mut Bounds,
) -> Result<Content, QueryError> {
    let over = query.get("over").unwrap_or("day");
    let window = WINDOWS.iter().find(|window| window.name == over);
    let expected = || bad(format!("over={over}: expected hour, day, week or month"));
    let window = window.ok_or_else(expected)?;
    let search = query.get("search").unwrap_or("");
    let gateway = context.gateway();
    let now = gateway.now();
    let (groups, error) = match query.selection(bounds) {
        Ok(selection) => {
            let look = || selection.groups(gateway, &mut bounds.held, |_| true);
            (gateway.look_through(look).await??, None)
        }
        Err(error @ QueryError::Rejected(_)) => return Err(error),
        Err(error) => (Vec::new(), Some(error)),
    };
    let picture = gateway.look_through(|| Picture::of(&groups, now, window)).await?;
    let table = form.map(|form| {
        let pairs = form_urlencoded::parse(form);
        pairs.into_iter().find(|pair| pair.0 == "table").map(|pair| pair.1.into_owned())
    });
    let table = table.map(Option::unwrap_or_default);
    let compared = match table.as_deref() {
        None => None,
        Some(table) if table.len() > TABLE_BYTES_MAX => {
            Some(Err(bad(format!("the table is larger than {TABLE_BYTES_MAX} bytes"))))
        }
        Some(table) => Some(match table_bytes(table) {
            Ok(bytes) => {
                bounds.held.take(bytes)?;
                let compare = || comparison(&context.api, &groups, now, table);
                gateway.look_through(compare).await?
            }
            Err(error) => Err(error),
        }),
    };
    let refresh = compared.is_none() && error.is_none();
    let main = html! {
        h1 { "Expiry" }
        (search_box("expiry", Finds::Groups, search, &html! { input type="hidden" name="over" value=(over); }))
        (refused(error.as_ref()))
        nav class="tabs" aria-label="How far ahead" {
            @for Window { name, .. } in &WINDOWS {
                a href=(link("expiry", &[("over", name), ("search", search)]))
                    aria-current=[(*name == over).then_some("true")] { "Next " (name) }
            }
        }
        div id="picture" data-live { (picture.render(context, window, search, now)) }
        (proposal(context, query, table.as_deref(), compared))
    };
    let content = Content::new("Expiry", main);
    Ok(if refresh { content.refreshed(REFRESH_SECONDS) } else { content })
}

impl Picture {
    fn of(groups: &[GroupView], now: UnixMillis, window: &Window) -> Self {
        let bars = usize::try_from(window.bars).unwrap_or(0);
        let mut jobs: HashMap<&str, Vec<u32>> = HashMap::new();
        let (mut later, mut never) = (0, 0);
        for group in groups {
            let left = group.deadline.saturating_since(now).as_millis();
            let bar = usize::try_from(left / window.bar.as_millis()).unwrap_or(usize::MAX);
            if group.deadline == UnixMillis::MAX {
                never += 1;
            } else if bar >= bars {
                later += 1;
            } else {
                let job = group.key.get("job").unwrap_or("");
                let counts = jobs.entry(job).or_insert_with(|| vec![0; bars]);
                if let Some(count) = counts.get_mut(bar) {
                    *count += 1;
                }
            }
        }
        let sum = |counts: &[u32]| counts.iter().sum::<u32>();
        let mut jobs: Vec<_> = jobs.into_iter().collect();
        jobs.sort_unstable_by(|a, b| (sum(&b.1), a.0).cmp(&(sum(&a.1), b.0)));
        let others = jobs.split_off(jobs.len().min(SHADES - 1));
        let mut jobs: Vec<_> =
            jobs.into_iter().map(|(job, counts)| (Some(job.to_owned()), counts)).collect();
        if !others.is_empty() {
            let mut all = vec![0; bars];
            for (_, counts) in others {
                for (all, count) in all.iter_mut().zip(counts) {
                    *all += count;
                }
            }
            jobs.push((None, all));
        }
        Self { jobs, later, never }
    }

    fn render(
        &self,
        context: &Context<'_>,
        window: &Window,
        search: &str,
        now: UnixMillis,
    ) -> Markup {
        let within: u32 = self.jobs.iter().flat_map(|(_, counts)| counts).sum();
        // The first of bar n.
        let start = |bar: u64| {
            now.saturating_add(window.bar.saturating_mul(u32::try_from(bar).unwrap_or(u32::MAX)))
        };
        let range = |from: UnixMillis, to: UnixMillis, search: &str| {
            let (from, to) = (from.0.to_string(), to.0.to_string());
            let pairs = [("from", &*from), ("to", &*to), ("search", search), ("sort", "deadline")];
            link("./", &pairs)
        };
        let wall = |at: UnixMillis| {
            context.gateway().to_wall(at).map(readable::instant).unwrap_or_default()
        };
        let stacks: Vec<_> = (0..window.bars)
            .map(|bar| {
                let (from, to) = (start(bar), start(bar + 1));
                let after = window.bar.saturating_mul(u32::try_from(bar).unwrap_or(0));
                let label = bar.is_multiple_of(window.labelled).then(|| match bar {
                    0 => "now".to_owned(),
                    _ => format!("+{}", readable::duration(after)),
                });
                let at = usize::try_from(bar).unwrap_or(0);
                let parts = (0..).zip(&self.jobs);
                let parts = parts.map(|(shade, (job, counts))| {
                    let shade = if job.is_none() { SHADES - 1 } else { shade };
                    (shade, counts.get(at).copied().unwrap_or(0))
                });
                Stack {
                    name: format!("{} to {}", wall(from), wall(to)),
                    label,
                    link: range(from, to, search),
                    parts: parts.filter(|(_, height)| *height > 0).collect(),
                }
            })
            .collect();
        let title = format!("Groups that expire in the next {}", window.name);
        html! {
            p class="summary" {
                (count(within as usize, "group", "groups")) " will expire within the next " (window.name)
                " if nobody pushes to them, " (readable::grouped(self.later as u64)) " later, and "
                (readable::grouped(self.never as u64)) " never."
            }
            @if within > 0 {
                div class="scroll" tabindex="0" role="region" aria-label=(title) { (chart::stacks(&title, &stacks)) }
                table class="legend" {
                    thead { tr { th scope="col" { "Job" } th scope="col" class="number" { "Groups" } } }
                    tbody {
                        @for ((job, counts), shade) in self.jobs.iter().zip(0..) {
                            @let shade = if job.is_none() { SHADES - 1 } else { shade };
                            tr {
                                th scope="row" {
                                    span class=(format!("dot shade{shade}")) {} " "
                                    @match job {
                                        Some(job) if search.is_empty() => {
                                            @let only = format!("{{job={}}}", quoted(job));
                                            a href=(range(now, start(window.bars), &only)) { bdi { (job) } }
                                        },
                                        Some(job) => bdi { (job) },
                                        None => "others",
                                    }
                                }
                                td class="number" { (readable::grouped(u64::from(counts.iter().sum::<u32>()))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn proposal(
    context: &Context<'_>,
    query: &Query<'_>,
    table: Option<&str>,
    compared: Option<Result<Comparison, QueryError>>,
) -> Markup {
    // The rules say what other groups there are: they are for whoever may read all of them.
    let all = context.api.caller.may_all(Permission::Read).is_ok();
    let today = all.then(|| toml_of(&context.gateway().ttl_policy()));
    let shown = table.or(today.as_deref()).unwrap_or("[ttl]\n");
    let rows = shown.lines().count().clamp(6, 24);
    let action = link(
        "expiry",
        &[("over", query.get("over").unwrap_or("")), ("search", query.get("search").unwrap_or(""))],
    );
    html! {
        section id="proposal" aria-labelledby="proposal-title" {
            h2 id="proposal-title" { "Try another table" }
            p { "Edit the table and compare: the effect on each group is shown, and nothing is changed." }
            div class="beside" {
                @if let Some(today) = &today {
                    div {
                        h3 { "Today" }
                        pre tabindex="0" aria-label="Today's table" { (today) }
                    }
                }
                form method="post" action=(format!("{action}#proposal")) {
                    h3 { label for="table" { "Proposed " code { "[ttl]" } " table" } }
                    textarea id="table" name="table" rows=(rows) spellcheck="false" { "\n" (shown) }
                    p class="buttons" { button type="submit" { "Compare" } }
                }
            }
            @match compared {
                None => {},
                Some(Err(error)) => p class="error" role="alert" { (error) },
                Some(Ok(compared)) => (changes(context, &compared)),
            }
        }
    }
}

fn changes(context: &Context<'_>, compared: &Comparison) -> Markup {
    let Comparison { expired_today, expired_proposed, changes, unchanged, warnings } = compared;
    debug_assert_eq!(*expired_today, 0, "what has expired is not there");
    html! {
        @for warning in warnings { p class="warning" { (warning) } }
        p class="summary" role="status" {
            "Of " (count(changes.len() + unchanged, "group", "groups")) ", "
            (readable::grouped(changes.len() as u64)) " would live longer or shorter"
            @if *expired_proposed > 0 { ", and " strong { (readable::grouped(*expired_proposed as u64)) " would expire at once" } }
            "."
        }
        @if !changes.is_empty() {
            div class="scroll" tabindex="0" role="region" aria-label="Table of changes" {
                table class="groups" {
                    thead { tr {
                        th scope="col" { "Group" } th scope="col" { "Change" } th scope="col" { "Today" } th scope="col" { "Proposed" }
                    } }
                    tbody {
                        @for change in changes.iter().take(CHANGES_MAX) {
                            tr {
                                th scope="row" { a class="chips" href=(group_link(&change.key)) { (chips(&change.key)) } }
                                td { span class=(format!("state {}", change.what)) { (change.what) } }
                                td { (fate(context, &change.today)) }
                                td { (fate(context, &change.proposed)) }
                            }
                        }
                    }
                }
            }
            @if changes.len() > CHANGES_MAX { p { "And " (readable::grouped((changes.len() - CHANGES_MAX) as u64)) " more." } }
        }
    }
}

fn fate(context: &Context<'_>, fate: &TtlDecision) -> Markup {
    html! {
        (super::groups::ttl(fate)) ", "
        (readable::relative_or_never(context.gateway().to_wall(fate.deadline), context.now))
    }
}

/// The table of a policy.
fn toml_of(policy: &TtlPolicy) -> String {
    let ttl = |ttl: Ttl| ttl.to_string();
    let (unbounded_min, unbounded_max) = TtlPolicy::UNBOUNDED;
    let mut table = Map::new();
    table.insert("default".into(), ttl(policy.default).into());
    if policy.min != unbounded_min {
        table.insert("min".into(), ttl(Ttl::After(policy.min)).into());
    }
    if policy.max != unbounded_max {
        table.insert("max".into(), ttl(policy.max).into());
    }
    let rule = |rule: &TtlRule| match rule.ttl {
        RuleTtl::Fixed(fixed) => json!({ "match": rule.selector.to_string(), "ttl": ttl(fixed) }),
        RuleTtl::Auto(AutoTtl { missed, min, max }) => json!({
            "match": rule.selector.to_string(),
            "ttl": "auto",
            "auto": { "missed": missed, "min": ttl(Ttl::After(min)), "max": ttl(Ttl::After(max)) },
        }),
    };
    if !policy.rules.is_empty() {
        table.insert("rules".into(), policy.rules.iter().map(rule).collect());
    }
    toml::to_string(&json!({ "ttl": table })).expect("it is of tables, lists, text and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupingKey, Label, Selector};

    #[test]
    fn the_groups_of_a_job_are_found_whatever_it_is_called() {
        for job in ["a\"b\\c\nd", "\u{5d0}\u{200f}x", "\u{1f600}\u{10ffff}", "e\u{301}\t\r\u{7f}'`"]
        {
            let key = GroupingKey::new(vec![Label::new("job", job)]).unwrap();
            let selector = format!("{{job={}}}", quoted(job));
            assert!(Selector::parse(&selector).unwrap().matches(&key), "{selector}");
        }
    }

    #[test]
    fn a_policy_is_written_as_it_is_read() {
        let selector = |text| Selector::parse(text).unwrap();
        let auto = RuleTtl::Auto(AutoTtl::default());
        let rules = vec![
            TtlRule { selector: selector(r#"{job=~"a'\\d\""}"#), ttl: RuleTtl::Fixed(Ttl::Never) },
            TtlRule { selector: selector(r#"{job="b"}"#), ttl: auto },
        ];
        let policy = TtlPolicy { rules, ..TtlPolicy::new(Ttl::After(Duration::from_hours(36))) };
        let table: toml::Value = toml::from_str(&toml_of(&policy)).unwrap();
        let rules = &table["ttl"]["rules"];
        assert_eq!(table["ttl"]["default"].as_str(), Some("1d 12h"));
        assert_eq!(rules[0]["match"].as_str(), Some(r#"{job=~"a'\\d\""}"#));
        assert_eq!(
            (rules[0]["ttl"].as_str(), rules[1]["ttl"].as_str()),
            (Some("never"), Some("auto"))
        );
        assert_eq!(rules[1]["auto"]["missed"].as_integer(), Some(3));
    }
}
