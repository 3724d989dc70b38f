//! The rows of faults as they were seen, each named after its row, with what is right.

use crate::judge::case::Verdict::{Accepted, Either, Refused};
use crate::judge::case::{Case, Push, Verdict};
use crate::judge::native::exemplar;
use support::protobuf::{
    self, BucketSpan, Counter, Exemplar, Histogram, Metric, MetricFamily, MetricType, Value,
};

fn native(
    name: &str,
    count: u64,
    deltas: &[i64],
    spans: &[(i32, u32)],
    sum: f64,
) -> [MetricFamily; 1] {
    let span =
        |(offset, length): &(i32, u32)| BucketSpan { offset: Some(*offset), length: Some(*length) };
    let histogram = Histogram {
        sample_count: Some(count),
        sample_sum: Some(sum),
        schema: Some(0),
        zero_threshold: Some(1e-128),
        zero_count: Some(0),
        positive_span: spans.iter().map(span).collect(),
        positive_delta: deltas.to_vec(),
        ..Histogram::default()
    };
    let metric = Metric { histogram: Some(histogram), ..Metric::default() };
    [protobuf::family(name, MetricType::Histogram, vec![metric])]
}

/// Native histograms whose parts contradict each other.
pub(crate) fn s1() -> Vec<Case> {
    let case = |what: &str, name: &str, families: [MetricFamily; 1], verdict: Verdict| {
        Case::protobuf(format!("S1: {what}"), name, &families, verdict)
    };
    vec![
        case("nothing wrong", "s1_valid", native("s1_valid", 5, &[2, 1], &[(0, 2)], 1.0), Accepted),
        case("count above", "s1_a", native("s1_a", 6, &[2, 1], &[(0, 2)], 1.0), Refused),
        case("count below", "s1_b", native("s1_b", 4, &[2, 1], &[(0, 2)], 1.0), Refused),
        case("negative bucket", "s1_c", native("s1_c", 1, &[2, -3], &[(0, 2)], 1.0), Refused),
        case("wide spans", "s1_d", native("s1_d", 5, &[2, 1], &[(0, 5)], 1.0), Refused),
        case("narrow spans", "s1_e", native("s1_e", 5, &[2, 1], &[(0, 1)], 1.0), Refused),
        case("span back", "s1_f", native("s1_f", 5, &[2, 1], &[(0, 1), (-1, 1)], 1.0), Refused),
        case("NaN", "s1_g", native("s1_g", 4, &[2, 1], &[(0, 2)], f64::NAN), Refused),
        case("NaN, more", "s1_h", native("s1_h", 9, &[2, 1], &[(0, 2)], f64::NAN), Accepted),
    ]
}

/// One bound in two spellings.
pub(crate) fn s2() -> Vec<Case> {
    let text = "# TYPE s2 histogram\ns2_bucket{le=\"1\"} 1\ns2_bucket{le=\"1.0\"} 1\n\
                s2_bucket{le=\"+Inf\"} 2\ns2_sum 1\ns2_count 2\n";
    vec![Case::text("S2: le 1 and 1.0", "s2", text, Refused)]
}

/// One label name twice once escaped.
pub(crate) fn s3() -> Vec<Case> {
    let text = "s3{\"l.a\"=\"1\",l_a=\"2\"} 1\n";
    vec![Case::text("S3: l.a and l_a", "s3", text, Refused)]
}

/// An exemplar whose label has an empty name.
pub(crate) fn s4() -> Vec<Case> {
    let label = protobuf::labels(&[("", "v")]);
    let exemplar = Some(Exemplar { label, ..exemplar(1, true) });
    let counter = Some(Counter { value: Some(1.0), exemplar, created_timestamp: None });
    let metric = Metric { counter, ..Metric::default() };
    let family = protobuf::family("s4_total", MetricType::Counter, vec![metric]);
    vec![Case::protobuf("S4: exemplar {\"\"=\"v\"}", "s4", &[family], Refused)]
}

/// An empty label is none.
pub(crate) fn s5() -> Vec<Case> {
    vec![Case::text("S5: m and m{path=\"\"}", "s5", "s5 3\ns5{path=\"\"} 4\n", Refused)]
}

/// Counts that are none.
pub(crate) fn s6() -> Vec<Case> {
    let case = |count: &str, name: &str, verdict| {
        let text = format!("# TYPE {name} summary\n{name}_sum 1\n{name}_count {count}\n");
        Case::text(format!("S6: _count {count}"), name, text, verdict)
    };
    vec![
        case("-1", "s6_a", Refused),
        case("NaN", "s6_b", Refused),
        case("1.5", "s6_c", Refused),
        case("1", "s6_d", Accepted),
    ]
}

/// Buckets in falling order.
pub(crate) fn s7() -> Vec<Case> {
    let text = "# TYPE s7 histogram\ns7_bucket{le=\"+Inf\"} 3\ns7_bucket{le=\"2\"} 2\n\
                s7_bucket{le=\"1\"} 1\ns7_sum 1\ns7_count 3\n";
    vec![Case::text("S7: falling buckets", "s7", text, Accepted)]
}

/// Families that have one name in OpenMetrics.
pub(crate) fn s8() -> Vec<Case> {
    let text = "# TYPE s8 gauge\ns8 1\n# TYPE s8_total counter\ns8_total 2\n";
    let one = Push::text("s8b", "# TYPE s8b gauge\ns8b 1\n", Accepted);
    let other = Push::text("s8b/l/v", "# TYPE s8b_total counter\ns8b_total 2\n", Accepted);
    vec![
        Case::text("S8: foo and foo_total", "s8", text, Accepted),
        Case::new("S8: foo and foo_total of two groups", vec![one, other]),
    ]
}

/// A name beyond the old charset, in every format as its header says.
pub(crate) fn s9() -> Vec<Case> {
    vec![Case::text("S9: {\"http.requests\"} 1", "s9", "{\"s9.requests\"} 1\n", Accepted)]
}

/// A native histogram with float counts.
pub(crate) fn s10() -> Vec<Case> {
    let histogram = Histogram {
        sample_count_float: Some(12.5),
        sample_sum: Some(3.0),
        schema: Some(0),
        zero_threshold: Some(1e-128),
        zero_count_float: Some(0.5),
        positive_span: vec![BucketSpan { offset: Some(0), length: Some(1) }],
        positive_count: vec![12.0],
        ..Histogram::default()
    };
    let metric = Metric { histogram: Some(histogram), ..Metric::default() };
    let family = protobuf::family("s10", MetricType::Histogram, vec![metric]);
    let gauge = Some(Value { value: Some(1.0) });
    let beside = protobuf::family(
        "s10_beside",
        MetricType::Gauge,
        vec![Metric { gauge, ..Metric::default() }],
    );
    vec![Case::protobuf("S10: float counts", "s10", &[family, beside], Accepted)]
}

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    [s1(), s2(), s3(), s4(), s5(), s6(), s7(), s8(), s9(), s10()].concat()
}

/// Siblings that were found since, which broke a scrape.
pub(crate) fn siblings() -> Vec<Case> {
    let name = "s5_name{__name__=\"other\"} 3\n";
    let group = |path: &str, value| Push::text(path, format!("s5_group {value}\n"), Either);
    let groups = vec![group("s5_group", 3), group("s5_group/path@base64/=", 4)];
    vec![
        Case::text("S5: a label that is the name", "s5_name", name, Either),
        Case::new("S5: two groups that differ by an empty label", groups),
    ]
}
