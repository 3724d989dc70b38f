//! Pushes that a scraper would refuse, drop or end for. The reference stores and shows them; here each
//! is refused in words that say what is wrong.

use crate::differential::explained::Why;
use crate::differential::http::Request;
use crate::differential::kinds::{histogram, summary};
use crate::differential::pair::Pair;
use crate::differential::text_bodies::NUMBERS;
use support::protobuf::{
    Bucket, CONTENT_TYPE, Counter, Exemplar, Histogram, Metric, MetricFamily, MetricType, Quantile,
    Summary, Timestamp, body, exemplar, family, labels, span,
};

const PATH: &str = "/metrics/job/x";

fn push(families: &[MetricFamily]) -> Request {
    Request::put(PATH, body(families)).header("Content-Type", CONTENT_TYPE)
}

/// Each is a push of a family by itself, and what is said of it.
fn refuses(pair: &mut Pair, name: &str, kind: MetricType, metric: Metric, words: &str) {
    pair.case(name);
    pair.refuses(Why::Scrapers, &push(&[family("m", kind, vec![metric])]), words);
}

/// One that agrees with itself.
fn native() -> Histogram {
    Histogram {
        sample_count: Some(7),
        sample_sum: Some(3.5),
        schema: Some(3),
        zero_threshold: Some(0.001),
        zero_count: Some(1),
        negative_span: vec![span(0, 1)],
        negative_delta: vec![2],
        positive_span: vec![span(-2, 2), span(3, 1)],
        positive_delta: vec![1, 1, -1],
        ..Histogram::default()
    }
}

#[test]
fn native_histograms_that_contradict_themselves() {
    let mut pair = Pair::with_wipe();
    let good = family("m", MetricType::Histogram, vec![histogram(native())]);
    pair.same(&push(&[good]));
    pair.same_state();
    pair.wipe();
    for (name, broken, words) in [
        ("a count too high", Histogram { sample_count: Some(8), ..native() }, "its count is 8"),
        ("a count too low", Histogram { sample_count: Some(6), ..native() }, "its count is 6"),
        ("no count", Histogram { sample_count: None, ..native() }, "its count is 0"),
        (
            "a negative bucket",
            Histogram { positive_delta: vec![1, -2, 4], ..native() },
            "expected none to be negative",
        ),
        (
            "spans wider than the buckets",
            Histogram { positive_span: vec![span(-2, 3), span(3, 1)], ..native() },
            "spans are of 4 buckets, and it has 3",
        ),
        (
            "spans narrower than the buckets",
            Histogram { negative_span: vec![], ..native() },
            "spans are of 0 buckets, and it has 1",
        ),
        (
            "a span that goes back",
            Histogram { positive_span: vec![span(-2, 2), span(-1, 1)], ..native() },
            "has the offset -1",
        ),
        ("a schema that there is not", Histogram { schema: Some(9), ..native() }, "schema is 9"),
        (
            "a negative threshold",
            Histogram { zero_threshold: Some(-0.5), ..native() },
            "zero threshold is -0.5",
        ),
        (
            "a float count and whole buckets",
            Histogram { sample_count_float: Some(7.0), ..native() },
            "float counts and integer buckets",
        ),
    ] {
        for kind in [MetricType::Histogram, MetricType::GaugeHistogram] {
            refuses(&mut pair, name, kind, histogram(broken.clone()), words);
        }
    }
    // A NaN that was observed is in no bucket.
    let not_a_number = Histogram { sample_count: Some(8), sample_sum: Some(f64::NAN), ..native() };
    pair.case("an observation that is no number");
    pair.same(&push(&[family("m", MetricType::Histogram, vec![histogram(not_a_number)])]));
    pair.same_state();
    pair.finish();
}

#[test]
fn buckets_and_quantiles_that_come_twice_by_value() {
    let mut pair = Pair::with_wipe();
    for (body, words) in [
        (
            "# TYPE m histogram\nm_bucket{le=\"1\"} 1\nm_bucket{le=\"1.0\"} 2\nm_count 2\n",
            "le = 1 comes twice",
        ),
        (
            "# TYPE m histogram\nm_bucket{le=\"5\"} 3\nm_bucket{le=\"1\"} 9\nm_bucket{le=\"1\"} 8\n",
            "le = 1 comes twice",
        ),
        (
            "# TYPE m histogram\nm_bucket{le=\"+Inf\"} 1\nm_bucket{le=\"inf\"} 1\n",
            "le = inf comes twice",
        ),
        (
            "# TYPE m histogram\nm_bucket{le=\"-0\"} 1\nm_bucket{le=\"0\"} 1\n",
            "le = -0 comes twice",
        ),
        (
            "# TYPE m summary\nm{quantile=\"0.5\"} 2\nm{quantile=\"0.9\"} 1\nm{quantile=\".5\"} 3\n",
            "quantile 0.5 comes twice",
        ),
    ] {
        pair.refuses(Why::Scrapers, &Request::put(PATH, body), words);
    }
    let bucket = |bound| Bucket { upper_bound: Some(bound), ..Bucket::default() };
    let classic = |bucket| Histogram { bucket, ..Histogram::default() };
    for (name, bounds, words) in [
        ("a bucket twice", [2.0, 2.0], "le = 2 comes twice"),
        ("a bucket that is no number", [2.0, f64::NAN], "upper bound of a bucket is NaN"),
    ] {
        let buckets = bounds.into_iter().map(bucket).collect();
        refuses(&mut pair, name, MetricType::Histogram, histogram(classic(buckets)), words);
    }
    let quantile = |quantile| Quantile { quantile: Some(quantile), value: Some(1.0) };
    for (name, quantiles, words) in [
        ("a quantile twice", [0.5, 0.5], "quantile 0.5 comes twice"),
        ("a quantile that is no number", [0.5, f64::NAN], "a quantile is NaN"),
    ] {
        let quantile = quantiles.into_iter().map(quantile).collect();
        let twice = summary(Summary { quantile, ..Summary::default() });
        refuses(&mut pair, name, MetricType::Summary, twice, words);
    }
    pair.same_state();
    pair.finish();
}

/// The reference cuts them off, or makes others of them.
#[test]
fn counts_that_are_none() {
    let mut pair = Pair::with_wipe();
    let is_no_count = |spelling: &&&str| {
        // Go knows no NaN with a sign.
        let parsed = spelling.parse::<f64>().ok().filter(|_| **spelling != "+NaN");
        parsed.is_some_and(|count| !(count >= 0.0 && count.fract() == 0.0))
    };
    for spelling in NUMBERS.iter().filter(is_no_count) {
        let text = format!("# TYPE m summary\nm_sum 1\nm_count {spelling}\n");
        let words =
            "text format parsing error in line 3: no whole number as count for summary \"m\"\n";
        pair.refuses(Why::Scrapers, &Request::put(PATH, text), words);
    }
    let count = |count| Histogram { sample_count_float: Some(count), ..Histogram::default() };
    for (name, value, words) in
        [("NaN", f64::NAN, "the count is NaN"), ("negative", -0.5, "the count is -0.5")]
    {
        refuses(&mut pair, name, MetricType::Histogram, histogram(count(value)), words);
    }
    pair.same_state();
    pair.finish();
}

#[test]
fn labels_without_a_value_are_none() {
    const TWICE: &str = "was collected before with the same name and label values";
    let mut pair = Pair::with_wipe();
    for body in
        ["m{a=\"\"} 1\nm 2\n", "m{a=\"\"} 1\nm{b=\"\"} 2\n", "m{b=\"1\"} 1\nm{a=\"\",b=\"1\"} 2\n"]
    {
        pair.refuses(Why::Scrapers, &Request::put(PATH, body), TWICE);
    }
    for (group, path, body) in [
        ("job/x/a/1", "job/x", "m{a=\"1\",b=\"\"} 1\n"),
        ("job/x/a@base64/=/b/1", "job/x", "m{b=\"1\"} 1\n"),
        ("job/x/a@base64/=", "job/x", "n 1\n"),
        ("job/x", "job/x/a@base64/=", "n 1\n"),
    ] {
        pair.case(group);
        pair.same(&Request::put(format!("/metrics/{group}"), "m 1\n"));
        pair.refuses(Why::Scrapers, &Request::put(format!("/metrics/{path}"), body), TWICE);
    }
    pair.same_state();
    pair.finish();
}

#[test]
fn names_that_are_one_once_escaped() {
    let mut pair = Pair::start(&["--push.enable-utf8-names", "--web.enable-admin-api"]);
    for (first, second, words) in [
        ("{\"a.b\"} 1\n", "{\"a-b\"} 1\n", "\"a-b\" is called \"a_b\""),
        ("{\"a.b\"} 1\n", "a_b 1\n", "and so is \"a.b\""),
        ("a_b 1\n", "{\"a.b\"} 1\n", "and so is \"a_b\""),
        ("", "{\" \"} 1\n{\"\t\"} 2\n", "is called \"_\""),
        ("", "m{\"c.d\"=\"1\",\"c-d\"=\"2\"} 1\n", "two labels that are \"c_d\""),
        ("", "m{\"c.d\"=\"1\",c_d=\"2\"} 1\n", "two labels that are \"c_d\""),
        ("", "m{\"c.d\"=\"1\"} 1\nm{\"c-d\"=\"1\"} 2\n", "was collected before"),
    ] {
        pair.case(format!("{first:?} and {second:?}"));
        pair.same(&Request::put("/metrics/job/y", first));
        pair.refuses(Why::Scrapers, &Request::put(PATH, second), words);
    }
    pair.same_state();
    pair.finish();
}

#[test]
fn exemplars_that_nobody_can_read() {
    let mut pair = Pair::with_wipe();
    let long = "x".repeat(129);
    let with = |pairs: &[(&str, &str)]| Exemplar { label: labels(pairs), ..exemplar(1.0) };
    let late = Some(Timestamp { seconds: i64::MAX, nanos: 0 });
    for (name, exemplar, words) in [
        ("a label without a name", with(&[("", "v")]), "a label named \"\""),
        ("a name that is none", with(&[("a b", "v")]), "a label named \"a b\""),
        ("the name of the metric", with(&[("__name__", "v")]), "a label named \"__name__\""),
        ("a label twice", with(&[("a", "v"), ("a", "w")]), "two labels named \"a\""),
        ("too long", with(&[("a", &long)]), "more than 128 characters"),
        ("a time that is none", Exemplar { timestamp: late, ..exemplar(1.0) }, "year 1 to 9999"),
    ] {
        let counter =
            Counter { value: Some(1.0), exemplar: Some(exemplar.clone()), created_timestamp: None };
        let counter = Metric { counter: Some(counter), ..Metric::default() };
        refuses(&mut pair, name, MetricType::Counter, counter, words);
        let bucket = Bucket {
            upper_bound: Some(1.0),
            exemplar: Some(exemplar.clone()),
            ..Bucket::default()
        };
        let classic = Histogram { bucket: vec![bucket], ..Histogram::default() };
        refuses(&mut pair, name, MetricType::Histogram, histogram(classic), words);
        let native = Histogram { exemplars: vec![exemplar], ..native() };
        refuses(&mut pair, name, MetricType::Histogram, histogram(native), words);
    }
    pair.same_state();
    pair.finish();
}
