//! `/status`: how the gateway itself is.

use std::time::Duration;

use maud::{Markup, html};
use serde_json::Value;

use super::chart::{self, Line, Mark};
use super::layout::{Content, Context};
use super::readable::{self, relative};
use crate::http::query::cluster::{Cluster, Replica};
use crate::model::{Limit, MetricValue};
use crate::telemetry::build::{BUILD, Build};
use crate::telemetry::labels::PerTtlSource;
use crate::telemetry::metrics::Readings;
use crate::telemetry::recent::{SAMPLES_SPAN, Slice, Spent};
use crate::time::UnixNanos;

const REFRESH_SECONDS: u32 = 10;

pub(super) fn content(context: &Context<'_>) -> Content {
    let readings = context.gateway().readings();
    let main = html! {
        h1 { "Status" }
        div id="status" data-live {
            (facts(context, &readings))
            (cluster(context))
            (limits(context, &readings))
            (plots(context))
        }
        (settings(&context.api.settings()))
        (build())
    };
    Content::new("Status", main).refreshed(REFRESH_SECONDS)
}

fn facts(context: &Context<'_>, readings: &Readings) -> Markup {
    let gateway = context.gateway();
    let started = context.api.site.started;
    let memory = gateway.process_families().into_iter().find_map(|family| {
        let value = family.metrics.first().map(|metric| &metric.value);
        match value {
            Some(MetricValue::Gauge(bytes)) if family.name == "process_resident_memory_bytes" => {
                Some(*bytes)
            }
            _ => None,
        }
    });
    let PerTtlSource { overridden, push, rule, default } = readings.by_ttl_source;
    let grouped = readable::grouped;
    html! {
        dl class="facts" {
            div { dt { "Version" } dd { (BUILD.version) } }
            div { dt { "Started" } dd { (relative(started, context.now)) } }
            div { dt { "Groups" } dd { (readable::grouped(readings.groups)) } }
            div { dt { "Series" } dd { (readable::grouped(readings.series)) } }
            @if gateway.cluster().is_none() { div { dt { "Store" } dd { (readable::bytes(readings.store_bytes)) " on disk" } } }
            @if let Some(memory) = memory { div { dt { "Memory" } dd { (readable::value("bytes", memory)) } } }
            div { dt { "Next to expire" } dd { @match gateway.to_wall(*gateway.next_deadline().borrow()) {
                Some(at) => (relative(at, context.now)),
                None => "nothing",
            } } }
            div { dt { "TTLs from" } dd { "overrides " (grouped(overridden)) ", pushes " (grouped(push)) ", rules " (grouped(rule)) ", default " (grouped(default)) } }
        }
    }
}

/// The replicas, where there are some.
fn cluster(context: &Context<'_>) -> Markup {
    let Some(cluster) = Cluster::of(context.gateway()) else { return html! {} };
    let Cluster { name, leader, replicas, staleness, warnings, .. } = cluster;
    let time = |ms: i64| relative(UnixNanos(ms.saturating_mul(1_000_000)), context.now);
    html! {
        section aria-labelledby="cluster-title" {
            h2 id="cluster-title" { "Cluster " (name) }
            @for warning in &warnings { p class="error" role="alert" { (warning) } }
            p {
                @match leader {
                    Some(leader) => { strong { (leader.id) } " came to lead " (time(leader.since_ms)) ". " }
                    None => {}
                }
                "This replica was up to date " (readable::duration(staleness)) " ago."
            }
            div class="scroll" tabindex="0" role="region" aria-label="Table of replicas" {
                table class="replicas" {
                    thead { tr { th scope="col" { "Replica" } th scope="col" { "Role" } th scope="col" { "Address" }
                        th scope="col" { "Version" } th scope="col" { "Revision" } th scope="col" { "Clock" } th scope="col" { "Settings" } } }
                    tbody {
                        @for Replica { member, leads, is_this, same_settings } in &replicas {
                            tr {
                                th scope="row" { (member.id) @if *is_this { " (this one)" } }
                                td { @if *leads { "leads" } @else { "follows" } }
                                td { (member.url) }
                                td { (member.version) }
                                // As it has told within the last five seconds.
                                td { (member.applied) }
                                td { @match member.skew_ms { Some(skew) => { (format!("{skew:+} ms")) } None => {} } }
                                td { @if *same_settings { "the same" } @else { "others" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A row: what is bounded, by which setting, how much there is, and how much may be.
type Row = (&'static str, &'static str, u64, u64);

fn limits(context: &Context<'_>, readings: &Readings) -> Markup {
    let gateway = context.gateway();
    let Readings { groups, series, queue_length, .. } = *readings;
    let limits = gateway.limits();
    let history = gateway.history_limits();
    let (removed, removed_bytes) = gateway.history_size();
    let (held, held_max) = context.api.site.budget.fill();
    let (connections, connections_max) = context.api.site.slots.fill();
    let rows: [Row; 7] = [
        ("Groups", Limit::Groups.as_str(), groups, limits.groups),
        ("Series", Limit::Series.as_str(), series, limits.series),
        ("Pushes that wait", Limit::Queue.as_str(), queue_length as u64, limits.queue as u64),
        ("Connections", Limit::Connections.as_str(), connections as u64, connections_max as u64),
        (
            "Bytes of requests under way",
            Limit::BytesInFlight.as_str(),
            held as u64,
            held_max as u64,
        ),
        ("Groups that can be restored", "history.groups", removed as u64, history.groups as u64),
        ("Bytes of such groups", "history.size", removed_bytes, history.bytes),
    ];
    html! {
        section aria-labelledby="limits-title" {
            h2 id="limits-title" { "Limits" }
            table class="limits" {
                thead { tr { th scope="col" { "What" } th scope="col" class="number" { "Now" } th scope="col" class="number" { "At most" }
                    th scope="col" { "Full" } th scope="col" class="aside" { "Setting" } } }
                tbody {
                    @for (what, setting, now, max) in rows {
                        @let format = |value: u64| if what.starts_with("Bytes") { readable::bytes(value) } else { readable::grouped(value) };
                        tr {
                            th scope="row" { (what) }
                            td class="number" { (format(now)) }
                            td class="number" { @if max >= u64::from(u32::MAX) * 1024 { "\u{221e}" } @else { (format(max)) } }
                            td { meter aria-label=(format!("{what}: how full")) min="0" max="1" high="0.8" value=(share(now, max)) {} }
                            td class="aside" { code { (setting) } }
                        }
                    }
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown, not computed with")]
fn share(now: u64, max: u64) -> String {
    format!("{:.3}", (now as f64 / (max as f64).max(1.0)).min(1.0))
}

fn plots(context: &Context<'_>) -> Markup {
    let gateway = context.gateway();
    let now = gateway.now();
    let slices = gateway.recent();
    let line = |name, value: &dyn Fn(&Slice) -> Option<f64>| Line {
        name,
        points: slices
            .iter()
            .filter_map(|slice| {
                let ago = now.saturating_since(slice.at).as_secs_f64();
                let across = 1.0 - ago / SAMPLES_SPAN.as_secs_f64();
                value(slice).filter(|_| across >= 0.0).map(|value| (across, value))
            })
            .collect(),
    };
    let times = |of: fn(&Slice) -> Option<Spent>| {
        [
            line("mean", &move |slice| of(slice).map(|spent| spent.mean)),
            line("99th percentile", &move |slice| of(slice).map(|spent| spent.p99)),
        ]
    };
    let rates = [
        line("committed", &|slice| Some(slice.changes)),
        line("refused", &|slice| Some(slice.refused)),
    ];
    let rate = |value: f64| format!("{}/s", readable::digits(value));
    let time = |seconds: f64| {
        if seconds < 1.0 {
            format!("{}\u{202f}ms", readable::digits(seconds * 1e3))
        } else {
            readable::duration(Duration::from_secs_f64(seconds))
        }
    };
    html! {
        section aria-labelledby="plots-title" {
            h2 id="plots-title" { "The last hour" }
            (chart::plot("Pushes and other changes", &rates, Mark::Line, rate))
            (chart::plot("Time of a commit", &times(|slice| slice.commits), Mark::Dots, time))
            (chart::plot("Time of a scrape", &times(|slice| slice.scrapes), Mark::Dots, time))
        }
    }
}

/// The settings in force, without secrets.
fn settings(all: &Value) -> Markup {
    let settings = all.get("settings").and_then(Value::as_object);
    let list = |name: &str| all.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let field = |of: &Value, name: &str| of.get(name).filter(|it| !it.is_null()).map(text);
    html! {
        section aria-labelledby="settings-title" {
            h2 id="settings-title" { "Settings" }
            @let (rules, tokens) = (list("ttl_rules"), list("access_tokens"));
            @if !rules.is_empty() {
                h3 { "TTL rules" }
                ol { @for rule in &rules { li { code { (field(rule, "match").unwrap_or_default()) } ": " (field(rule, "ttl").unwrap_or_default()) } } }
            }
            @if !tokens.is_empty() {
                h3 { "Tokens" }
                ul { @for token in &tokens { li {
                    strong { (field(token, "name").unwrap_or_default()) } " may "
                    (token.get("may").and_then(Value::as_array).map(|may| may.iter().map(text).collect::<Vec<_>>().join(", ")).unwrap_or_default())
                    @if let Some(groups) = field(token, "match") { ", for " code { (groups) } }
                } } }
            }
            div class="scroll" tabindex="0" role="region" aria-label="Table of settings" {
                table class="settings" {
                    thead { tr { th scope="col" { "Setting" } th scope="col" { "Value" } th scope="col" { "From" } } }
                    tbody {
                        @for (name, setting) in settings.into_iter().flatten() {
                            tr { th scope="row" { code { (name) } } td { (field(setting, "value").unwrap_or_default()) } td { (field(setting, "origin").unwrap_or_default()) } }
                        }
                    }
                }
            }
        }
    }
}

fn build() -> Markup {
    let Build { version, revision, branch, user, date, compiler, .. } = BUILD;
    html! {
        section aria-labelledby="build-title" {
            h2 id="build-title" { "Build" }
            table class="settings" { tbody {
                @for (name, value) in [
                    ("version", version), ("revision", revision), ("branch", branch),
                    ("build user", user), ("build date", date), ("compiler", compiler),
                ] { tr { th scope="row" { (name) } td { (value) } } }
            } }
        }
    }
}
