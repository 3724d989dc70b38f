//! Classic histograms, summaries, counters and plain samples, in text and in protobuf.

use crate::judge::case::Verdict::{Accepted, Either, Kept, Refused};
use crate::judge::case::{Case, Push, Verdict};
use crate::judge::native::exemplar;
use crate::judge::random::Random;
use support::protobuf::{
    self, Bucket, Counter, Exemplar, Histogram, Metric, MetricType, Quantile, Summary, Timestamp,
    Value,
};

/// Makes a case whose families and groups begin with a name.
type Maker = fn(&str, &mut Random) -> Case;

/// A histogram in text, of bounds and counts as they are written.
fn text_histogram(name: &str, buckets: &[(&str, &str)], sum: &str, count: &str) -> String {
    let mut text = format!("# TYPE {name} histogram\n");
    for (bound, count) in buckets {
        text += &format!("{name}_bucket{{l=\"v\",le=\"{bound}\"}} {count}\n");
    }
    text + &format!("{name}_sum{{l=\"v\"}} {sum}\n{name}_count{{l=\"v\"}} {count}\n")
}

fn bucket(bound: f64, count: u64) -> Bucket {
    Bucket { cumulative_count: Some(count), upper_bound: Some(bound), ..Bucket::default() }
}

/// A histogram in protobuf.
fn histogram(bucket: Vec<Bucket>, count: u64) -> Histogram {
    Histogram { sample_count: Some(count), sample_sum: Some(1.5), bucket, ..Histogram::default() }
}

fn histogram_case(
    what: &str,
    name: &str,
    kind: MetricType,
    histogram: Histogram,
    verdict: Verdict,
) -> Case {
    let metric = Metric {
        label: protobuf::labels(&[("l", "v")]),
        histogram: Some(histogram),
        ..Metric::default()
    };
    Case::protobuf(what, name, &[protobuf::family(name, kind, vec![metric])], verdict)
}

/// A histogram in one of both formats, of bounds that both can write.
fn either_format(
    what: &str,
    name: &str,
    random: &mut Random,
    buckets: &[(f64, u64)],
    count: u64,
    verdict: Verdict,
) -> Case {
    if random.chance(2) {
        let buckets = buckets.iter().map(|(bound, count)| bucket(*bound, *count)).collect();
        return histogram_case(
            what,
            name,
            MetricType::Histogram,
            histogram(buckets, count),
            verdict,
        );
    }
    let texts: Vec<_> = buckets.iter().map(|(b, c)| (number(*b), c.to_string())).collect();
    let texts: Vec<_> = texts.iter().map(|(b, c)| (b.as_str(), c.as_str())).collect();
    Case::text(what, name, text_histogram(name, &texts, "1.5", &count.to_string()), verdict)
}

fn number(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".into() } else { value.to_string() }
}

fn summary_text(name: &str, quantiles: &[(&str, &str)], sum: &str, count: &str) -> String {
    let mut text = format!("# TYPE {name} summary\n");
    for (quantile, value) in quantiles {
        text += &format!("{name}{{quantile=\"{quantile}\"}} {value}\n");
    }
    text + &format!("{name}_sum {sum}\n{name}_count {count}\n")
}

fn summary_case(what: &str, name: &str, quantiles: &[(f64, f64)], verdict: Verdict) -> Case {
    let quantile = |(quantile, value): &(f64, f64)| Quantile {
        quantile: Some(*quantile),
        value: Some(*value),
    };
    let summary = Summary {
        sample_count: Some(3),
        sample_sum: Some(1.5),
        quantile: quantiles.iter().map(quantile).collect(),
        created_timestamp: None,
    };
    let metric = Metric { summary: Some(summary), ..Metric::default() };
    Case::protobuf(
        what,
        name,
        &[protobuf::family(name, MetricType::Summary, vec![metric])],
        verdict,
    )
}

fn counter_case(
    what: &str,
    name: &str,
    value: f64,
    exemplar: Option<Exemplar>,
    created: Option<Timestamp>,
    verdict: Verdict,
) -> Case {
    let counter = Some(Counter { value: Some(value), exemplar, created_timestamp: created });
    let name = format!("{name}_total");
    let family =
        protobuf::family(&name, MetricType::Counter, vec![Metric { counter, ..Metric::default() }]);
    Case::protobuf(what, &name, &[family], verdict)
}

fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let gauge = Some(Value { value: Some(value) });
    Metric { label: protobuf::labels(labels), gauge, ..Metric::default() }
}

const HISTOGRAMS: &[Maker] = &[
    |name, random| {
        let mut buckets = vec![(0.1, 1), (1.0, 4), (2.5, 4)];
        if random.chance(2) {
            buckets.push((f64::INFINITY, 9));
        }
        either_format("buckets as they should be", name, random, &buckets, 9, Accepted)
    },
    |name, random| {
        let buckets = [(-2.0, 1), (-0.5, 2), (3.0, 4)];
        either_format("buckets below zero", name, random, &buckets, 4, Accepted)
    },
    |name, _| {
        let text = text_histogram(name, &[("1", "1"), ("1.0", "1"), ("+Inf", "2")], "1", "2");
        Case::text("a bound written in two ways", name, text, Refused)
    },
    |name, _| {
        let text = text_histogram(name, &[("1", "1"), ("1e0", "1"), ("+Inf", "2")], "1", "2");
        Case::text("a bound written in two ways", name, text, Refused)
    },
    |name, random| {
        let buckets = [(1.0, 1), (1.0, random.pick(&[1, 2])), (f64::INFINITY, 2)];
        either_format("a bound twice", name, random, &buckets, 2, Refused)
    },
    |name, random| {
        let buckets = [(1.0, 1), (f64::INFINITY, 2), (f64::INFINITY, 2)];
        either_format("+Inf twice", name, random, &buckets, 2, Refused)
    },
    |name, _| {
        let text = text_histogram(name, &[("1", "1"), ("+Inf", "2"), ("Inf", "2")], "1", "2");
        Case::text("+Inf written in two ways", name, text, Refused)
    },
    |name, _| {
        let text = text_histogram(name, &[("-0", "1"), ("0", "1"), ("+Inf", "2")], "1", "2");
        Case::text("zero and minus zero", name, text, Either)
    },
    |name, random| {
        let buckets = [(2.5, 4), (1.0, 3), (0.1, 1)];
        either_format("buckets in falling order", name, random, &buckets, 4, Accepted)
    },
    |name, random| {
        let buckets = [(f64::INFINITY, 4), (0.1, 1), (1.0, 3)];
        either_format("+Inf first", name, random, &buckets, 4, Accepted)
    },
    |name, random| {
        let buckets = [(0.1, 3), (1.0, 1), (f64::INFINITY, 4)];
        either_format("counts that fall", name, random, &buckets, 4, Either)
    },
    |name, random| {
        let buckets = [(0.1, 3), (f64::INFINITY, 4)];
        either_format("+Inf is not the count", name, random, &buckets, 9, Either)
    },
    |name, random| {
        let buckets = [(0.1, 30)];
        either_format("a bucket above the count", name, random, &buckets, 9, Either)
    },
    |name, random| either_format("no buckets", name, random, &[], 9, Accepted),
    |name, random| {
        let kind = random.pick(&[MetricType::Histogram, MetricType::GaugeHistogram]);
        let buckets = vec![bucket(f64::NAN, 1), bucket(1.0, 2)];
        histogram_case("a bound that is no number", name, kind, histogram(buckets, 2), Either)
    },
    |name, random| {
        let kind = random.pick(&[MetricType::Histogram, MetricType::GaugeHistogram]);
        let buckets = vec![bucket(f64::NEG_INFINITY, 1), bucket(1.0, 2)];
        histogram_case("a bound of -Inf", name, kind, histogram(buckets, 2), Either)
    },
    |name, _| {
        let buckets = vec![bucket(0.5, 1), bucket(1.0, 2)];
        let histogram = histogram(buckets, 2);
        histogram_case("a gauge histogram", name, MetricType::GaugeHistogram, histogram, Accepted)
    },
    |name, random| {
        let mut float = histogram(vec![], 0);
        let half = |bound, count| Bucket {
            cumulative_count_float: Some(count),
            upper_bound: Some(bound),
            ..Bucket::default()
        };
        float.bucket = vec![half(0.5, 1.25), half(1.0, 2.5)];
        (float.sample_count, float.sample_count_float) = (None, Some(2.5));
        let kind = random.pick(&[MetricType::Histogram, MetricType::GaugeHistogram]);
        histogram_case("classic buckets with float counts", name, kind, float, Accepted)
    },
    |name, random| {
        let value = random.pick(&[-1.0, f64::NAN, f64::INFINITY]);
        let mut float = histogram(vec![bucket(1.0, 1)], 2);
        float.sample_count_float = Some(value);
        histogram_case("a float count that is no count", name, MetricType::Histogram, float, Either)
    },
    |name, random| {
        let count = random.pick(&["-1", "NaN"]);
        let text = text_histogram(name, &[("1", "1"), ("+Inf", "2")], "1", count);
        Case::text("a count that is no count", name, text, Refused)
    },
    |name, random| {
        let count = random.pick(&["-1", "NaN"]);
        let text = text_histogram(name, &[("1", count), ("+Inf", "2")], "1", "2");
        Case::text("a bucket's count that is no count", name, text, Refused)
    },
    |name, _| {
        let text = text_histogram(name, &[("1", "1.5"), ("+Inf", "2.5")], "1", "2.5");
        let labels = "{instance=\"\",job=\"JOB\",l=\"v\"".replace("JOB", name);
        let kept = vec![
            format!("{name}_bucket{labels},le=\"1\"}} 1.5"),
            format!("{name}_count{labels}}} 2.5"),
        ];
        Case::text("fractions as counts", name, text, Kept(kept))
    },
    |name, _| {
        let text = text_histogram(name, &[("one", "1")], "1", "2");
        Case::text("a bound that is a word", name, text, Refused)
    },
    |name, _| {
        let text = format!("# TYPE {name} histogram\n{name}_bucket{{le=\"1\"}} 3\n");
        Case::text("neither sum nor count", name, text, Either)
    },
    |name, _| {
        let text = format!("# TYPE {name} histogram\n{name}_bucket 3\n{name}_count 3\n");
        Case::text("a bucket without a bound", name, text, Either)
    },
    |name, random| {
        let mut with = bucket(1.0, 1);
        with.exemplar = Some(exemplar(1, random.chance(2)));
        let mut last = bucket(f64::INFINITY, 2);
        last.exemplar = Some(exemplar(2, random.chance(2)));
        let histogram = histogram(vec![with, last], 2);
        histogram_case(
            "exemplars of classic buckets",
            name,
            MetricType::Histogram,
            histogram,
            Accepted,
        )
    },
    |name, random| {
        let label = protobuf::labels(&[("", "v")]);
        let mut with = bucket(1.0, 1);
        with.exemplar = Some(Exemplar { label, ..exemplar(1, random.chance(2)) });
        let histogram = histogram(vec![with], 2);
        histogram_case(
            "an exemplar's label without a name",
            name,
            MetricType::Histogram,
            histogram,
            Refused,
        )
    },
];

const OTHERS: &[Maker] = &[
    // Summaries.
    |name, _| {
        let text = summary_text(name, &[("0.5", "-3"), ("0.99", "NaN")], "NaN", "3");
        Case::text("a summary as it should be", name, text, Accepted)
    },
    |name, random| {
        let count = random.pick(&["-1", "NaN", "1.5", "-Inf", "-0.5"]);
        let text = summary_text(name, &[("0.5", "3")], "2", count);
        Case::text("a summary's count that is no count", name, text, Refused)
    },
    |name, _| {
        let text = summary_text(name, &[("0.5", "3"), ("0.50", "3")], "2", "3");
        Case::text("a quantile written in two ways", name, text, Refused)
    },
    |name, _| {
        let quantiles = [(0.5, 1.0), (0.9, 3.0), (0.5, 2.0)];
        summary_case("a quantile twice", name, &quantiles, Refused)
    },
    |name, random| {
        let quantiles = [(random.pick(&[1.5, -0.1, f64::INFINITY]), 1.0)];
        summary_case("a quantile out of range", name, &quantiles, Either)
    },
    |name, _| summary_case("a quantile that is no number", name, &[(f64::NAN, 1.0)], Either),
    |name, _| {
        let quantiles = [(0.9, 3.0), (0.5, 1.0)];
        summary_case("quantiles in falling order", name, &quantiles, Accepted)
    },
    // Counters.
    |name, random| {
        let exemplar = Some(exemplar(1, random.chance(2)));
        counter_case("a counter with an exemplar", name, 3.0, exemplar, None, Accepted)
    },
    |name, random| {
        let label = protobuf::labels(&[("", "v")]);
        let exemplar = Some(Exemplar { label, ..exemplar(1, random.chance(2)) });
        let what = "a counter with an exemplar whose label has no name";
        counter_case(what, name, 3.0, exemplar, None, Refused)
    },
    |name, random| {
        let length = random.pick(&[120, 121, 128, 129, 5000]);
        let label = protobuf::labels(&[("trace_id", &"x".repeat(length))]);
        let exemplar = Some(Exemplar { label, ..exemplar(1, true) });
        let verdict = if length <= 120 { Accepted } else { Either };
        counter_case("a counter with a long exemplar", name, 3.0, exemplar, None, verdict)
    },
    |name, random| {
        let label = protobuf::labels(&[
            ("a", "b"),
            (random.pick(&["a", "1a", "_a", "__a", "a.b", "a b"]), "c"),
        ]);
        let exemplar = Some(Exemplar { label, ..exemplar(1, true) });
        let what = "a counter with an exemplar with odd labels";
        counter_case(what, name, 3.0, exemplar, None, Either)
    },
    |name, random| {
        let value = random.pick(&[f64::NAN, f64::INFINITY, -1.0]);
        let exemplar = Some(Exemplar { value: Some(value), ..exemplar(1, true) });
        let what = "a counter with an exemplar of an odd value";
        counter_case(what, name, 3.0, exemplar, None, Either)
    },
    |name, random| {
        let value = random.pick(&[-1.0, f64::NAN, f64::NEG_INFINITY]);
        counter_case("a counter below zero", name, value, None, None, Accepted)
    },
    |name, random| {
        let seconds = random.pick(&[0, 1_700_000_000, 99_999_999_999, -5]);
        let created = Some(Timestamp { seconds, nanos: random.pick(&[0, 999_999_999]) });
        counter_case("a counter with a created time", name, 3.0, None, created, Accepted)
    },
    |name, random| {
        let created = Some(Timestamp {
            seconds: random.pick(&[i64::MAX, i64::MIN, 1_700_000_000]),
            nanos: random.pick(&[-1, i32::MAX, i32::MIN, 1_000_000_000]),
        });
        counter_case("a counter with an odd created time", name, 3.0, None, created, Either)
    },
    |name, random| {
        let timestamp = Some(Timestamp {
            seconds: random.pick(&[i64::MAX, i64::MIN, 0]),
            nanos: random.pick(&[-1, i32::MAX, 0]),
        });
        let exemplar = Some(Exemplar { timestamp, ..exemplar(1, true) });
        let what = "a counter with an exemplar of an odd time";
        counter_case(what, name, 3.0, exemplar, None, Either)
    },
    // Series.
    |name, random| {
        let empty = random.pick(&["path=\"\"", "path=\"\",query=\"\""]);
        Case::text(
            "a series and an empty label",
            name,
            format!("{name} 3\n{name}{{{empty}}} 4\n"),
            Refused,
        )
    },
    |name, _| {
        let text = format!("{name}{{a=\"\",b=\"1\"}} 3\n{name}{{b=\"1\",c=\"\"}} 4\n");
        Case::text("a series twice by different empty labels", name, text, Refused)
    },
    |name, _| {
        let metrics = vec![gauge(&[("b", "1")], 3.0), gauge(&[("b", "1"), ("a", "")], 4.0)];
        let families = [protobuf::family(name, MetricType::Gauge, metrics)];
        Case::protobuf("a series and an empty label", name, &families, Refused)
    },
    |name, _| {
        let text = text_histogram(name, &[("1", "1")], "1", "2");
        let text = text.clone() + &text.replace("# TYPE", "#").replace("l=\"v\"", "k=\"\",l=\"v\"");
        Case::text("a histogram twice by an empty label", name, text, Refused)
    },
    |name, _| {
        let text = format!("{name}{{a=\"\",b=\"1\"}} 3\n{name}{{a=\"2\",b=\"\"}} 4\n");
        Case::text("empty labels of different series", name, text, Accepted)
    },
    |name, _| {
        let text = format!("{name}{{job=\"a\"}} 3\n{name}{{job=\"b\"}} 4\n");
        Case::text("a series twice by its grouping label", name, text, Refused)
    },
    |name, random| {
        // An empty value is written so in a path.
        let plain = Push::text(name, format!("{name} 3\n"), Either);
        let odd = Push::text(&format!("{name}/path@base64/="), format!("{name} 4\n"), Either);
        let mut pushes = vec![plain, odd];
        if random.chance(2) {
            pushes.reverse();
        }
        Case::new("two groups that differ by an empty label", pushes)
    },
    |name, _| {
        let plain = Push::text(name, format!("{name}{{path=\"\",l=\"1\"}} 3\n"), Accepted);
        let group = format!("{name}/instance@base64/=");
        let odd = Push::text(&group, format!("{name}{{l=\"1\"}} 4\n"), Either);
        Case::new("a series in two groups by an empty label", vec![plain, odd])
    },
    |name, _| {
        let one = Push::text(name, format!("{name}{{kind=\"a\"}} 3\n"), Accepted);
        let text = format!("{name}{{path=\"\"}} 4\n");
        let other = Push::text(&format!("{name}/kind/a"), text, Refused);
        Case::new("a series in two groups, one with an empty label", vec![one, other])
    },
    |name, _| {
        let text = format!("{name}{{__name__=\"other\"}} 3\n");
        Case::text("a label that is the name", name, text, Either)
    },
    |name, _| {
        let families =
            [protobuf::family(name, MetricType::Gauge, vec![gauge(&[("__name__", "other")], 3.0)])];
        Case::protobuf("a label that is the name", name, &families, Either)
    },
    |name, random| {
        let label = random.pick(&["__address__", "__x", "le", "quantile", "exported_job"]);
        Case::text("a label of an odd name", name, format!("{name}{{{label}=\"1\"}} 3\n"), Either)
    },
    |name, random| {
        let value = random.pick(&["NaN", "+Inf", "-Inf", "-0", "5e-324", "1.7976931348623157e308"]);
        Case::text("a value of an odd kind", name, format!("{name}{{l=\"x\"}} {value}\n"), Accepted)
    },
    |name, random| {
        // Of the bits that mark a series that has ended.
        let value = f64::from_bits(random.pick(&[0x7ff0_0000_0000_0002, 0x7ff8_0000_0000_0001]));
        let families =
            [protobuf::family(name, MetricType::Gauge, vec![gauge(&[("l", "x")], value)])];
        Case::protobuf("a NaN of odd bits", name, &families, Either)
    },
    |name, random| {
        let help =
            random.pick(&["a\\nb \\\\ \"c\"", "", "ü 日本 \u{1f600}", " blanks ", "# HELP x"]);
        let text = format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} 1\n");
        Case::text("an odd help", name, text, Accepted)
    },
    |name, random| {
        let mut family = protobuf::family(name, MetricType::Gauge, vec![gauge(&[], 1.0)]);
        family.help = Some(random.pick(&["a\nb\r\n\"\\", "\u{0}", "", "\u{feff}x"]).into());
        family.unit = Some(random.pick(&["", "seconds", "bytes"]).into());
        Case::protobuf("an odd help and a unit", name, &[family], Either)
    },
    |name, random| {
        let value = random.pick(&["a\nb", "\u{0}", "\r", "\"\\", "\u{2028}", "{}", "# EOF"]);
        let families = [protobuf::family(
            name,
            MetricType::Untyped,
            vec![Metric {
                label: protobuf::labels(&[("l", value)]),
                untyped: Some(Value { value: Some(1.0) }),
                ..Metric::default()
            }],
        )];
        Case::protobuf("a label of an odd value", name, &families, Accepted)
    },
    |name, random| {
        let label = random.pick(&["1a", "a-b", "", "a b", "ü"]);
        let families =
            [protobuf::family(name, MetricType::Gauge, vec![gauge(&[(label, "v")], 3.0)])];
        Case::protobuf("a label of a name that is none of the old", name, &families, Either)
    },
    |name, _| {
        let metrics = vec![gauge(&[("l", "1"), ("l", "1")], 3.0)];
        Case::protobuf(
            "a label twice",
            name,
            &[protobuf::family(name, MetricType::Gauge, metrics)],
            Refused,
        )
    },
    |name, _| {
        Case::protobuf(
            "a family of no metrics",
            name,
            &[protobuf::family(name, MetricType::Gauge, vec![])],
            Either,
        )
    },
];

/// How many kinds of cases there are here.
pub(crate) const KINDS: usize = HISTOGRAMS.len() + OTHERS.len();

/// A case of a kind.
pub(crate) fn case(kind: usize, name: &str, random: &mut Random) -> Case {
    let mut makers = HISTOGRAMS.iter().chain(OTHERS);
    let make = makers.nth(kind).expect("the kind is below their number");
    make(name, random)
}
