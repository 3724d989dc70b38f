//! Metrics of every kind that protobuf bodies can have.

use support::protobuf::{
    Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary,
    Timestamp, Value, exemplar, family, gauge, labels, span,
};

/// Its name, and the families of a push that shows it.
type Kind = (&'static str, Vec<MetricFamily>);

pub(crate) fn all() -> Vec<Kind> {
    [values(), families(), summaries(), odd_metrics(), histograms()].concat()
}

fn counter(value: Counter) -> Metric {
    Metric { counter: Some(value), ..Metric::default() }
}

pub(crate) fn summary(value: Summary) -> Metric {
    Metric { summary: Some(value), ..Metric::default() }
}

pub(crate) fn histogram(value: Histogram) -> Metric {
    Metric { histogram: Some(value), ..Metric::default() }
}

fn one(name: &'static str, kind: MetricType, metric: Metric) -> Kind {
    (name, vec![family("m", kind, vec![metric])])
}

const CREATED: Option<Timestamp> = Some(Timestamp { seconds: 1_700_000_000, nanos: 1 });

fn values() -> Vec<Kind> {
    let unset = Metric { gauge: Some(Value::default()), ..Metric::default() };
    let untyped = Metric { untyped: Some(Value { value: Some(-1.0) }), ..Metric::default() };
    let full =
        Counter { value: Some(3.0), exemplar: Some(exemplar(1.0)), created_timestamp: CREATED };
    vec![
        one("a gauge", MetricType::Gauge, gauge(&[("a", "1")], 1.5)),
        one("a gauge with no value", MetricType::Gauge, unset),
        one("a counter with no value", MetricType::Counter, counter(Counter::default())),
        one("a counter with all", MetricType::Counter, counter(full)),
        one("an untyped metric", MetricType::Untyped, untyped),
    ]
}

fn families() -> Vec<Kind> {
    let simple = |name| family(name, MetricType::Gauge, vec![gauge(&[], 1.0)]);
    let another = Counter { value: Some(2.0), ..Counter::default() };
    let another = family("m", MetricType::Counter, vec![counter(another)]);
    let labelled =
        |value, number| family("m", MetricType::Gauge, vec![gauge(&[("a", value)], number)]);
    let help = Some("two\nlines \\ \"quoted\"".to_owned());
    let unit = Some("seconds".to_owned());
    vec![
        ("nothing", vec![]),
        ("an empty family", vec![family("m", MetricType::Gauge, vec![])]),
        ("no type", vec![MetricFamily { r#type: None, ..another.clone() }]),
        ("help and unit", vec![MetricFamily { help, unit, ..simple("m") }]),
        ("an empty help", vec![MetricFamily { help: Some(String::new()), ..simple("m") }]),
        ("a family twice", vec![labelled("1", 1.0), simple("n"), labelled("2", 2.0)]),
        ("a family twice, with another type", vec![simple("m"), another]),
    ]
}

fn summaries() -> Vec<Kind> {
    let quantiles = vec![
        Quantile { quantile: Some(0.9), value: Some(1.0) },
        Quantile { quantile: Some(0.5), value: Some(f64::NAN) },
        Quantile::default(),
    ];
    let full = Summary {
        sample_count: Some(10),
        sample_sum: Some(2.5),
        quantile: quantiles,
        created_timestamp: CREATED,
    };
    vec![
        one("a summary", MetricType::Summary, summary(full)),
        one("an empty summary", MetricType::Summary, summary(Summary::default())),
    ]
}

fn odd_metrics() -> Vec<Kind> {
    let both = Metric {
        counter: Some(Counter { value: Some(1.0), ..Counter::default() }),
        ..gauge(&[], 2.0)
    };
    let unset = LabelPair { name: Some("a".to_owned()), value: None };
    let unset = Metric { label: vec![unset], ..gauge(&[], 1.0) };
    let grouping = gauge(&[("job", "y"), ("instance", "z"), ("a", "b")], 1.0);
    let series = [labels(&[("a", "1")]), labels(&[("b", "\u{fc}\"\\\n")])];
    let series = series.map(|label| Metric { label, ..gauge(&[], 1.0) });
    vec![
        one("an empty metric", MetricType::Gauge, Metric::default()),
        one("two kinds in one metric", MetricType::Gauge, both),
        one("a label without a value", MetricType::Gauge, unset),
        one("grouping labels in the body", MetricType::Gauge, grouping),
        ("two series", vec![family("m", MetricType::Gauge, series.to_vec())]),
    ]
}

fn bucket(bound: f64, count: u64) -> Bucket {
    Bucket { upper_bound: Some(bound), cumulative_count: Some(count), ..Bucket::default() }
}

fn float_bucket(bound: f64, count: f64) -> Bucket {
    Bucket { upper_bound: Some(bound), cumulative_count_float: Some(count), ..Bucket::default() }
}

/// A native histogram with buckets on both sides.
fn native(schema: i32) -> Histogram {
    Histogram {
        // 1 + 4 + 2 + 0 below zero, 3 about it, 2 + 3 + 0 + 4 above it.
        sample_count: Some(19),
        sample_sum: Some(-12.5),
        schema: Some(schema),
        zero_threshold: Some(1e-128),
        zero_count: Some(3),
        negative_span: vec![span(-2, 2), span(1, 2)],
        negative_delta: vec![1, 3, -2, -2],
        positive_span: vec![span(0, 3), span(5, 1)],
        positive_delta: vec![2, 1, -3, 4],
        ..Histogram::default()
    }
}

fn native_float(schema: i32) -> Histogram {
    Histogram {
        sample_count_float: Some(40.5),
        sample_sum: Some(1.5),
        schema: Some(schema),
        zero_threshold: Some(0.25),
        zero_count_float: Some(1.5),
        negative_span: vec![span(0, 2)],
        negative_count: vec![0.5, 0.25],
        positive_span: vec![span(-3, 1), span(2, 2)],
        positive_count: vec![2.5, 0.0, 1e6],
        ..Histogram::default()
    }
}

/// Each as a histogram and as a gauge histogram.
fn histograms() -> Vec<Kind> {
    let classic = Histogram {
        sample_count: Some(5),
        sample_sum: Some(1.0),
        bucket: vec![bucket(0.1, 1), bucket(1e6, 4), bucket(f64::INFINITY, 5)],
        created_timestamp: CREATED,
        ..Histogram::default()
    };
    let exemplars = Histogram {
        sample_count: Some(5),
        bucket: vec![Bucket { exemplar: Some(exemplar(0.5)), ..bucket(1.0, 2) }],
        ..Histogram::default()
    };
    let float = Histogram {
        sample_count_float: Some(5.5),
        sample_sum: Some(1.0),
        bucket: vec![float_bucket(0.1, 1.5), float_bucket(f64::INFINITY, 5.5)],
        ..Histogram::default()
    };
    let float_and_whole = Histogram {
        sample_count: Some(7),
        sample_count_float: Some(5.5),
        bucket: vec![Bucket { cumulative_count: Some(9), ..float_bucket(0.1, 1.5) }],
        ..Histogram::default()
    };
    let no_buckets = Histogram {
        schema: Some(3),
        zero_threshold: Some(0.0),
        zero_count: Some(0),
        positive_span: vec![span(0, 0)],
        ..Histogram::default()
    };
    let both = Histogram {
        bucket: vec![bucket(1.0, 2), bucket(f64::INFINITY, 19)],
        exemplars: vec![exemplar(0.5), exemplar(2.0)],
        ..native(1)
    };
    let histograms = [
        ("an empty histogram", Histogram::default()),
        ("a classic histogram", classic),
        ("a classic histogram with exemplars", exemplars),
        ("a float histogram", float),
        ("a float histogram with a whole count too", float_and_whole),
        ("a native histogram, with its buckets empty", no_buckets),
        ("a native histogram", native(3)),
        ("a native histogram, coarse", native(-2)),
        ("a native histogram, fine", native(8)),
        ("a native histogram, schema 0", native(0)),
        ("a native float histogram", native_float(2)),
        ("a native float histogram, coarse", native_float(-4)),
        ("a native and classic histogram", both),
    ];
    let kinds = histograms.into_iter().flat_map(|(name, value)| {
        let metric = histogram(value);
        [
            one(name, MetricType::Histogram, metric.clone()),
            one(name, MetricType::GaugeHistogram, metric),
        ]
    });
    kinds.collect()
}
