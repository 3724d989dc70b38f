//! Names beyond the old charset under every escaping scheme, and families whose names come together
//! in OpenMetrics.

use crate::judge::case::Verdict::{Accepted, Either, Refused};
use crate::judge::case::{Case, Push};
use crate::judge::random::Random;
use support::protobuf::{self, BucketSpan, Counter, Histogram, Metric, MetricType};

type Maker = fn(&str, &mut Random) -> Case;

/// A sample under a quoted name.
fn quoted(name: &str, kind: &str, labels: &str, value: &str) -> String {
    let comma = if labels.is_empty() { "" } else { "," };
    format!("# TYPE \"{name}\" {kind}\n{{\"{name}\"{comma}{labels}}} {value}\n")
}

/// Two groups, one push each.
fn two_groups(what: &str, name: &str, bodies: [String; 2], random: &mut Random) -> Case {
    let [one, other] = bodies;
    let mut pushes = vec![
        Push::text(&format!("{name}_a"), one, Either),
        Push::text(&format!("{name}_b"), other, Either),
    ];
    if random.chance(2) {
        pushes.reverse();
    }
    Case::new(what, pushes)
}

/// Both families in one push, or in one of two groups each.
fn beside(what: &str, name: &str, bodies: [String; 2], random: &mut Random) -> Case {
    if random.chance(2) {
        let mut case = two_groups(what, name, bodies, random);
        case.pushes.iter_mut().for_each(|push| push.verdict = Accepted);
        case.what += ", in two groups";
        return case;
    }
    Case::text(what, name, bodies.concat(), Accepted)
}

const NAMES: &[Maker] = &[
    |name, random| {
        let odd =
            random.pick(&[".requests", " with blanks", "käse", "-1", "日本", "{}", "\\\\", ".a_b"]);
        let text = quoted(&format!("{name}{odd}"), "gauge", "l=\"v\"", "1");
        Case::text("a name of an odd kind", name, text, Accepted)
    },
    |name, random| {
        let odd = random.pick(&[".req", "-req"]);
        let metric = format!("{name}{odd}_total");
        let counter = Some(Counter { value: Some(2.0), ..Counter::default() });
        let label = protobuf::labels(&[("a.b", "v"), ("c d", "w")]);
        let metric = protobuf::family(
            &metric,
            MetricType::Counter,
            vec![Metric { label, counter, ..Metric::default() }],
        );
        Case::protobuf("a counter with odd names", name, &[metric], Accepted)
    },
    |name, random| {
        let histogram = Histogram {
            sample_count: Some(3),
            sample_sum: Some(2.0),
            schema: Some(1),
            positive_span: vec![BucketSpan { offset: Some(0), length: Some(2) }],
            positive_delta: vec![1, 1],
            ..Histogram::default()
        };
        let label = protobuf::labels(&[("a.b", "v")]);
        let metric = Metric { label, histogram: Some(histogram), ..Metric::default() };
        let kind = random.pick(&[MetricType::Histogram, MetricType::GaugeHistogram]);
        let family = protobuf::family(&format!("{name}.native"), kind, vec![metric]);
        Case::protobuf("a native histogram with odd names", name, &[family], Accepted)
    },
    |name, _| {
        let metric = format!("{name}.h");
        let text = format!(
            "# TYPE \"{metric}\" histogram\n{{\"{metric}_bucket\",le=\"1\"}} 1\n\
             {{\"{metric}_bucket\",le=\"+Inf\"}} 2\n{{\"{metric}_sum\"}} 3\n{{\"{metric}_count\"}} 2\n"
        );
        Case::text("a classic histogram with an odd name", name, text, Accepted)
    },
    |name, random| {
        let pairs =
            [("l.a", "l_a"), ("l-a", "l.a"), ("1a", "_a"), ("l.a", "U__l_2e_a"), ("ü", "ö")];
        let (one, other) = random.pick(&pairs);
        let text = format!("{name}{{\"{one}\"=\"1\",\"{other}\"=\"2\"}} 1\n");
        Case::text("labels that are one once escaped", name, text, Refused)
    },
    |name, _| {
        let text = format!("{name}{{\"my.label\"=\"1\"}} 1\n");
        let push = Push::text(&format!("{name}/my_label/v"), text, Refused);
        Case::new("a label that is a grouping label once escaped", vec![push])
    },
    |name, _| {
        let text = format!("{name}{{\"l.a\"=\"1\"}} 1\n{name}{{l_a=\"1\"}} 2\n");
        Case::text("series that are one once escaped", name, text, Either)
    },
    |name, random| {
        let one = format!("{name}{{\"l.a\"=\"1\",kind=\"x\"}} 1\n");
        let push =
            Push::text(&format!("{name}/kind/x"), format!("{name}{{l_a=\"1\"}} 2\n"), Either);
        let mut pushes = vec![Push::text(name, one, Either), push];
        if random.chance(2) {
            pushes.reverse();
        }
        Case::new("series of two groups that are one once escaped", pushes)
    },
    |name, random| {
        let other = random.pick(&["_b", "-b", " b"]);
        let text = quoted(&format!("{name}.b"), "gauge", "", "1")
            + &quoted(&format!("{name}{other}"), "gauge", "", "2");
        Case::text("families that are one once escaped", name, text, Either)
    },
    |name, random| {
        let kind = random.pick(&["gauge", "counter", "untyped"]);
        let bodies = [
            quoted(&format!("{name}.b"), "gauge", "l=\"1\"", "1"),
            quoted(&format!("{name}_b"), kind, "l=\"1\"", "2"),
        ];
        two_groups("families of two groups that are one once escaped", name, bodies, random)
    },
    |name, random| {
        let bodies = [
            quoted(&format!("{name}.b"), "gauge", "", "1"),
            quoted(&format!("U__{name}_2e_b"), "gauge", "", "2"),
        ];
        two_groups("families that are one as values", name, bodies, random)
    },
    |name, random| {
        let suffix = random.pick(&["_count", "_sum"]);
        let bodies = [
            format!(
                "# TYPE \"{name}.b\" summary\n{{\"{name}.b_sum\"}} 3\n{{\"{name}.b_count\"}} 2\n"
            ),
            quoted(&format!("{name}_b{suffix}"), "gauge", "", "2"),
        ];
        two_groups("a part of a family once escaped", name, bodies, random)
    },
    |name, _| {
        let push = Push::text(&format!("{name}/U__a_2e_b/v"), format!("{name} 1\n"), Either);
        let other = Push::text(&format!("{name}/a_b/v"), format!("{name} 1\n"), Either);
        Case::new("grouping labels that are one once escaped", vec![push, other])
    },
];

fn family(name: &str, kind: &str) -> String {
    match kind {
        "summary" => format!("# TYPE {name} summary\n{name}_sum 3\n{name}_count 2\n"),
        "histogram" => format!(
            "# TYPE {name} histogram\n{name}_bucket{{le=\"1\"}} 1\n{name}_sum 3\n{name}_count 2\n"
        ),
        _ => format!("# TYPE {name} {kind}\n{name} 3\n"),
    }
}

/// Pairs of families that are apart in text and come together in OpenMetrics: suffix and type.
const PAIRS: &[[(&str, &str); 2]] = &[
    [("", "gauge"), ("_total", "counter")],
    [("", "counter"), ("_total", "counter")],
    [("", "untyped"), ("_total", "counter")],
    [("", "summary"), ("_total", "counter")],
    [("", "histogram"), ("_total", "counter")],
    [("", "gauge"), ("_total", "gauge")],
    [("", "untyped"), ("_total", "untyped")],
    [("_total", "counter"), ("_created", "gauge")],
    [("", "summary"), ("_created", "gauge")],
    [("", "histogram"), ("_created", "gauge")],
    [("", "gauge"), ("_created", "gauge")],
    [("", "gauge"), ("_info", "gauge")],
    [("", "counter"), ("_info", "gauge")],
    [("_total", "counter"), ("_total_created", "gauge")],
    [("_total", "counter"), ("_total_total", "counter")],
    [("_count", "counter"), ("_count_total", "counter")],
    [("", "histogram"), ("_gcount", "gauge")],
];

/// How many kinds of cases there are here.
pub(crate) const KINDS: usize = NAMES.len() + PAIRS.len() + 1;

/// A case of a kind.
pub(crate) fn case(kind: usize, name: &str, random: &mut Random) -> Case {
    if let Some(make) = NAMES.get(kind) {
        return make(name, random);
    }
    let Some(pair) = PAIRS.get(kind - NAMES.len()) else { return gauge_histogram(name, random) };
    let [one, other] = pair;
    let what = format!("{} {} beside {} {}", one.1, one.0, other.1, other.0);
    let bodies = pair.map(|(suffix, kind)| family(&format!("{name}{suffix}"), kind));
    beside(&what, name, bodies, random)
}

/// Its parts have names of their own in OpenMetrics.
fn gauge_histogram(name: &str, random: &mut Random) -> Case {
    let histogram =
        Histogram { sample_count: Some(2), sample_sum: Some(1.0), ..Histogram::default() };
    let metric = Metric { histogram: Some(histogram), ..Metric::default() };
    let family = protobuf::family(name, MetricType::GaugeHistogram, vec![metric]);
    let suffix = random.pick(&["_gcount", "_gsum"]);
    let text = format!("# TYPE {name}{suffix} gauge\n{name}{suffix} 1\n");
    Case::new(
        "a gauge histogram beside a gauge of its part's name",
        vec![
            Push::protobuf(&format!("{name}_a"), &[family], Accepted),
            Push::text(&format!("{name}_b"), text, Accepted),
        ],
    )
}
