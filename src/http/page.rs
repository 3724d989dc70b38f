//! `/` and `/status`: a page for people, with what is stored, the settings, and the build.

use std::fmt::Write as _;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use maud::{DOCTYPE, Markup, html};

use crate::gateway::{Gateway, StoredGroup};
use crate::model::GroupingKey;
use crate::store::ReadError;
use crate::telemetry::build::{BUILD, Build};
use crate::time::UnixNanos;

/// More than these are not listed: a page is to be read.
const GROUPS_MAX: usize = 200;

/// The page. Blocks on the store.
pub(super) fn page(
    gateway: &Gateway,
    flags: &[(String, String)],
    started: UnixNanos,
) -> Result<Response<Full<Bytes>>, ReadError> {
    let ids = gateway.stored_groups();
    let mut groups = Vec::new();
    for id in ids.iter().take(GROUPS_MAX) {
        groups.extend(gateway.read_group(*id)?);
    }
    groups.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let text = render(&groups, ids.len(), flags, started).into_string();
    let mut response = Response::new(Full::new(text.into()));
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

fn render(
    groups: &[StoredGroup],
    count: usize,
    flags: &[(String, String)],
    started: UnixNanos,
) -> Markup {
    let Build { version, revision, branch, user, date, compiler, .. } = BUILD;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                meta name="robots" content="noindex";
                meta name="color-scheme" content="light dark";
                title { "Tidegate" }
            }
            body {
                h1 { "Tidegate" }
                p { "A push gateway for Prometheus. Metrics: " a href="metrics" { "metrics" } "." }
                h2 { "Groups" }
                @if count == 0 {
                    p { "Nothing has been pushed yet. To push a metric:" }
                    pre { "echo 'some_metric 3.14' |\n  curl --data-binary @- http://HOST:9091/metrics/job/some_job" }
                } @else {
                    p { (count) " groups" @if count > groups.len() { ", of which these are " (groups.len()) } "." }
                    table {
                        thead { tr { th { "Group" } th { "Last push" } th { "Families" } th { "Series" } } }
                        tbody {
                            @for group in groups {
                                tr {
                                    td { code { (labels(&group.key)) } }
                                    td {
                                        (instant(group.pushed))
                                        @if failed(group) { strong { " Last push failed!" } }
                                    }
                                    td {
                                        @for family in &group.families {
                                            div title=(family.help.as_deref().unwrap_or("")) {
                                                code { (family.name) } " " (family.kind.as_text())
                                            }
                                        }
                                    }
                                    td { (group.families.iter().map(|family| family.metrics.len()).sum::<usize>()) }
                                }
                            }
                        }
                    }
                }
                h2 { "Settings" }
                table {
                    @for (name, value) in flags { tr { th scope="row" { (name) } td { code { (value) } } } }
                }
                h2 { "Build" }
                table {
                    @for (name, value) in [
                        ("version", version),
                        ("revision", revision),
                        ("branch", branch),
                        ("build user", user),
                        ("build date", date),
                        ("compiler", compiler),
                    ] { tr { th scope="row" { (name) } td { (value) } } }
                    tr { th scope="row" { "started" } td { (instant(Some(started))) } }
                }
            }
        }
    }
}

/// Whether the last push was refused.
fn failed(group: &StoredGroup) -> bool {
    group.failed.is_some_and(|failed| group.pushed.is_none_or(|pushed| failed > pushed))
}

/// The job first, as it is what one looks for.
fn labels(key: &GroupingKey) -> String {
    let mut text = format!("job={:?}", key.get("job").unwrap_or(""));
    for (name, value) in key.labels().filter(|label| label.0 != "job") {
        write!(text, ", {name}={value:?}").expect("a string grows");
    }
    text
}

fn instant(at: Option<UnixNanos>) -> String {
    at.map_or_else(
        || "never".to_owned(),
        |at| humantime::format_rfc3339_seconds(at.to_system_time()).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::StoredFamily;
    use crate::model::{Label, Metric, MetricType};

    #[test]
    fn what_was_pushed_is_shown_and_not_executed() {
        let family = StoredFamily {
            name: "m".into(),
            help: Some("\"><script>".into()),
            kind: MetricType::Gauge,
            stored: UnixNanos(0),
            metrics: vec![Metric::gauge(vec![], 1.0)],
        };
        let group = StoredGroup {
            key: GroupingKey::new(vec![Label::new("job", "<b>"), Label::new("a", "1")]).unwrap(),
            created: UnixNanos(0),
            pushed: None,
            failed: Some(UnixNanos(1)),
            families: vec![family],
        };
        let flags = [("web.listen-address".to_owned(), ":9091".to_owned())];
        let page = render(&[group], 300, &flags, UnixNanos(0)).into_string();
        for part in [
            "job=&quot;&lt;b&gt;&quot;, a=&quot;1&quot;",
            "Last push failed!",
            "300 groups, of which these are 1.",
            "web.listen-address",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert!(!page.contains("<script>"));
        assert!(render(&[], 0, &[], UnixNanos(0)).into_string().contains("curl"));
    }
}
