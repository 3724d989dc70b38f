//! The JSON API, down to the order of its keys.

use crate::differential::explained::Why;
use crate::differential::http::Request;
use crate::differential::json::{build, groups};
use crate::differential::pair::Pair;
use support::protobuf::{
    Bucket, CONTENT_TYPE, Histogram, Metric, MetricFamily, MetricType, Summary, body, family,
    labels, span,
};

fn push(families: &[MetricFamily]) -> Request {
    Request::put("/metrics/job/x", body(families)).header("Content-Type", CONTENT_TYPE)
}

#[test]
fn groups_in_full() {
    let mut pair = Pair::with_wipe();
    pair.same(&Request::get("/api/v1/metrics"));
    for (path, body) in [
        ("job/x", "m 1\n"),
        (
            "job/x/a/b/instance/i",
            "# HELP m some \\\\ \\n <help>&'\"\n# TYPE m counter\nm{c=\"d\"} 1.5\n",
        ),
        (
            "job/%22%27%5C%C3%B6%3C%3E%26/l/%E2%80%A8%00%09%7F",
            "m{v=\"\\\"'\\\\\\n<>&\u{2028}\u{1f4a9}\"} 1\n",
        ),
        ("job/y", "z 1\na 1\nA 1\n_ 1\nlast_push 1\nmetrics{labels=\"x\",value=\"y\"} 1\n"),
        ("job/y/l/v", ""),
        (
            "job/numbers",
            "a 1e6\nb 1e5\nc NaN\nd +Inf\ne -Inf\nf -0\ng 0.00001\nh 1e21\ni 123456789.5\n",
        ),
        (
            "job/summaries",
            "# TYPE s summary\ns{quantile=\"0.5\"} 1.5\ns{quantile=\"0.1\"} NaN\ns{quantile=\"1e-7\"} 3\n\
             s_sum 4e9\ns_count 5\ns_count{e=\"empty\"} 0\n# TYPE t summary\nt_sum 1\n",
        ),
        (
            "job/histograms",
            "# TYPE h histogram\nh_bucket{le=\"0.1\"} 3\nh_bucket{le=\"+Inf\"} 7\nh_sum 8\nh_count 7\n\
             h_bucket{f=\"g\",le=\"1e6\"} 1\n# TYPE k histogram\nk_bucket{le=\"10\"} 1\nk_count 2\n\
             # TYPE j histogram\nj_bucket{le=\"1\"} 1\nj_count 1\n",
        ),
        ("job/failed", "m 1 1000\n"),
    ] {
        pair.case(path);
        pair.same(&Request::put(format!("/metrics/{path}"), body));
        pair.same_state();
    }
    // A failure behind a success, and a success behind a failure.
    pair.same(&Request::put("/metrics/job/y", "m 1 1000\n"));
    pair.same(&Request::put("/metrics/job/failed", "m 1\n"));
    pair.same_state();
    pair.same(&Request::get("/api/v1/metrics?x=y"));
    pair.finish();
}

/// A family may be called as what the API says about a group. In the reference it takes its place.
#[test]
fn families_that_are_called_as_the_apis_own_keys() {
    let mut pair = Pair::start(&[]);
    for name in ["labels", "last_push_successful", "status", "data", "time_stamp"] {
        pair.case(name);
        pair.same(&Request::put("/metrics/job/x", format!("{name} 1\n")));
        let (reference, ours) = pair.send(&Request::get("/api/v1/metrics"));
        if groups(&reference.text()) != groups(&ours.text()) {
            pair.differ(&"/api/v1/metrics", &format!("{}\n{}", reference.text(), ours.text()));
        }
        pair.same(&Request::get("/metrics"));
    }
    pair.finish();
}

/// The histograms of Prometheus's own test of this API, in numbers of our own.
#[test]
fn buckets_of_native_histograms_have_bounds() {
    let mut pair = Pair::with_wipe();
    for schema in [-4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8] {
        // Bounds that are no longer numbers of their own would say nothing.
        let offsets: &[i32] =
            if schema < 0 { &[-9, -1, 0, 1, 3] } else { &[-700, -9, -1, 0, 1, 8, 130] };
        for &offset in offsets {
            pair.case(format!("schema {schema}, offset {offset}"));
            let histogram = |float: bool| {
                let counts = if float { vec![1.5, 2.0, 0.0, 0.25] } else { Vec::new() };
                // Those of each side are 2, 1, 0 and 3.
                let deltas = if float { Vec::new() } else { vec![2, -1, -1, 3] };
                Histogram {
                    sample_count: (!float).then_some(14),
                    sample_count_float: float.then_some(9.5),
                    sample_sum: Some(2.5),
                    schema: Some(schema),
                    zero_threshold: Some(0.001),
                    zero_count: (!float).then_some(2),
                    zero_count_float: float.then_some(2.5),
                    negative_span: vec![span(offset, 2), span(3, 2)],
                    negative_delta: deltas.clone(),
                    negative_count: counts.clone(),
                    positive_span: vec![span(offset, 3), span(0, 1)],
                    positive_delta: deltas,
                    positive_count: counts,
                    ..Histogram::default()
                }
            };
            let metric = |float, value| Metric {
                label: labels(&[("kind", value)]),
                histogram: Some(histogram(float)),
                ..Metric::default()
            };
            let metrics = vec![metric(false, "whole"), metric(true, "float")];
            pair.same(&push(&[family("h", MetricType::Histogram, metrics)]));
            pair.same(&Request::get("/api/v1/metrics"));
        }
    }
    pair.finish();
}

#[test]
fn histograms_that_are_neither_or_both() {
    let mut pair = Pair::with_wipe();
    let whole = |count| Histogram { sample_count: Some(count), ..Histogram::default() };
    let classic = Bucket { upper_bound: Some(2.0), cumulative_count: Some(1), ..Bucket::default() };
    for (name, histogram) in [
        (
            "an empty span",
            Histogram { positive_span: vec![span(0, 0)], schema: Some(3), ..whole(0) },
        ),
        ("a zero bucket only", Histogram { zero_count: Some(3), schema: Some(3), ..whole(3) }),
        (
            "both",
            Histogram {
                bucket: vec![classic.clone()],
                schema: Some(1),
                positive_span: vec![span(1, 1)],
                positive_delta: vec![4],
                ..whole(4)
            },
        ),
        (
            "a whole and a float count",
            Histogram { sample_count_float: Some(2.5), bucket: vec![classic.clone()], ..whole(4) },
        ),
        (
            "a float count of zero",
            Histogram {
                sample_count_float: Some(0.0),
                bucket: vec![Bucket { cumulative_count_float: Some(0.5), ..classic }],
                ..whole(4)
            },
        ),
        (
            "fewer deltas than spans",
            Histogram {
                schema: Some(0),
                zero_threshold: Some(0.5),
                zero_count: Some(1),
                negative_span: vec![span(0, 1)],
                negative_delta: vec![1],
                ..whole(2)
            },
        ),
    ] {
        pair.case(name);
        let metric = Metric { histogram: Some(histogram), ..Metric::default() };
        pair.same(&push(&[
            family("h", MetricType::Histogram, vec![metric]),
            family(
                "s",
                MetricType::Summary,
                vec![Metric { summary: Some(Summary::default()), ..Metric::default() }],
            ),
        ]));
        pair.same(&Request::get("/api/v1/metrics"));
    }
    pair.finish();
}

#[test]
fn the_status_has_the_same_shape() {
    let mut pair = Pair::start(&[]);
    let status = Request::get("/api/v1/status");
    pair.same(&status);
    let (reference, ours) = pair.send(&status);
    let keys = |text: &str| build(text).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    pair.check(keys(&reference.text()) == keys(&ours.text()), "the keys of the build information");
    let version = build(&ours.text()).into_iter().find(|(key, _)| key == "version");
    let names_itself = version.is_some_and(|(_, version)| version == env!("CARGO_PKG_VERSION"));
    pair.check(names_itself, "the version is our own");
    pair.finish();
}

#[test]
fn any_origin_may_ask() {
    let mut pair = Pair::start(&[]);
    for path in ["/api/v1/status", "/api/v1/metrics", "/api/v1/nothing", "/metrics", "/-/ready"] {
        for method in ["GET", "OPTIONS", "PUT"] {
            let request = Request::new(method, path).header("Origin", "http://elsewhere");
            pair.same(&request.header("Access-Control-Request-Method", "GET"));
        }
    }
    pair.finish();
}

/// The self metrics of the two differ, in values that a program may not rely on.
#[test]
fn the_build_information_in_a_scrape_names_the_program() {
    let mut pair = Pair::start(&[]);
    let line = |text: String| {
        let line = text.lines().find(|line| line.starts_with("pushgateway_build_info{"));
        line.unwrap_or_default().to_owned()
    };
    let scrape = Request::get("/metrics");
    let (reference, ours) = pair.send(&scrape);
    let (reference, ours) = (line(reference.text()), line(ours.text()));
    let names = |line: &str| -> Vec<String> {
        line.split(['{', ','])
            .skip(1)
            .filter_map(|label| Some(label.split_once('=')?.0.to_owned()))
            .collect()
    };
    pair.check(names(&reference) == names(&ours), &format!("the labels of {ours}"));
    pair.check(reference != ours, &format!("{:?}: each is itself", Why::Itself));
    pair.finish();
}
