//! Bodies in protobuf.

use crate::differential::explained::Why;
use crate::differential::http::Request;
use crate::differential::kinds::{self, histogram, summary};
use crate::differential::pair::Pair;
use support::protobuf::{
    CONTENT_TYPE, Histogram, Metric, MetricFamily, MetricType, Summary, body, family, gauge, labels,
};

fn push(families: &[MetricFamily]) -> Request {
    raw(body(families))
}

fn raw(body: Vec<u8>) -> Request {
    Request::put("/metrics/job/x", body).header("Content-Type", CONTENT_TYPE)
}

#[test]
fn every_kind_of_metric() {
    let mut pair = Pair::with_wipe();
    for (name, families) in kinds::all() {
        pair.case(name);
        pair.same(&push(&families));
        pair.settle();
        pair.same(&Request::get("/api/v1/metrics"));
        // Later releases write counts that are no integers, and gauge histograms, in text too.
        let is_gauge = families.iter().any(|family| family.r#type() == MetricType::GaugeHistogram);
        if !name.contains("float") && !is_gauge {
            pair.same(&Request::get("/metrics"));
        }
        // In the forms for people it shows whether something is set to its default or not at all.
        let has_defaults =
            name.contains("no ") || name.contains("empty") || name.contains("without");
        let formats: &[&str] = if name == "two kinds in one metric" {
            &[]
        } else if has_defaults || name == "a summary" {
            &["delimited"]
        } else {
            &["delimited", "text", "compact-text"]
        };
        for encoding in formats {
            let accept = format!(
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding={encoding}"
            );
            pair.same(&Request::get("/metrics").header("Accept", &accept));
        }
        pair.wipe();
    }
    pair.finish();
}

#[test]
fn the_content_type_of_protobuf() {
    let mut pair = Pair::with_wipe();
    let families = [family("m", MetricType::Gauge, vec![gauge(&[], 1.0)])];
    for kind in [
        CONTENT_TYPE,
        "application/vnd.google.protobuf;encoding=delimited;proto=io.prometheus.client.MetricFamily",
        "application/vnd.google.protobuf; encoding=\"delimited\"; proto=\"io.prometheus.client.MetricFamily\"",
        "APPLICATION/vnd.google.Protobuf; Encoding=delimited; PROTO=io.prometheus.client.MetricFamily",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; x=y; encoding=delimited",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;",
        "application/vnd.google.protobuf ; proto = io.prometheus.client.MetricFamily ; encoding = delimited",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; encoding=delimited",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text",
        "application/vnd.google.protobuf",
        "text/plain",
    ] {
        pair.case(format!("Content-Type {kind:?}"));
        pair.same(&Request::put("/metrics/job/x", body(&families)).header("Content-Type", kind));
        pair.same_state();
        pair.wipe();
    }
    pair.finish();
}

#[test]
fn malformed_bodies() {
    let mut pair = Pair::with_wipe();
    let whole = body(&[family("m", MetricType::Gauge, vec![gauge(&[("a", "b")], 1.0)])]);
    let mut bodies: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
    bodies.extend([
        vec![0xff; 12],
        vec![0x80],
        vec![2, 0x0a, 5],
        // A group that ends before it starts, a field 0, a wire type that there is not.
        vec![1, 0x0c],
        vec![2, 0, 0],
        vec![2, 0x0e, 0],
        // A length that ends beyond the message.
        vec![3, 0x22, 9, 0],
        // A field that nobody knows.
        vec![5, 0x0a, 1, b'm', 0x78, 1],
        [whole.clone(), vec![9]].concat(),
        [whole.clone(), whole.clone()].concat(),
        b"m 1\n".to_vec(),
        b"# TYPE m gauge\nm 1\n".to_vec(),
        vec![0xff, 0xff, 0xff, 0xff, 0x0f],
    ]);
    for body in bodies {
        pair.case(format!("{}", body.escape_ascii()));
        let push = raw(body);
        let (reference, ours) = pair.send(&push);
        // The words for what is wrong with protobuf are the library's own.
        let refused = |status| status == Some(400);
        if refused(reference.status) && refused(ours.status) {
            pair.check(ours.text().ends_with('\n'), "a reason");
        } else {
            pair.same(&push);
        }
        pair.wipe();
        pair.same_state();
    }
    pair.finish();
}

/// Faults that Go's library reads over, or leaves for the check to find.
#[test]
fn bodies_that_contradict_the_definition() {
    let mut pair = Pair::with_wipe();
    let mut bodies = vec![
        // The name as a number, the type as a string, no name at all.
        vec![2, 0x08, 1],
        vec![4, 0x1a, 2, b'a', b'b'],
        vec![0],
    ];
    for kind in [6, 77, -1] {
        let mut odd = family("m", MetricType::Gauge, vec![gauge(&[], 1.0)]);
        odd.r#type = Some(kind);
        bodies.push(body(&[odd]));
    }
    // A value that is not UTF-8, as no encoder writes it.
    let mut bytes = body(&[family("m", MetricType::Gauge, vec![gauge(&[("a", "QQ")], 1.0)])]);
    let at = bytes.windows(2).position(|found| found == b"QQ").unwrap();
    bytes[at] = 0xff;
    bodies.push(bytes);
    for body in bodies {
        pair.case(format!("{}", body.escape_ascii()));
        pair.differs(Why::ProtobufStrict, &raw(body), 400);
        pair.wipe();
    }
    pair.same_state();
    pair.finish();
}

/// The reference takes any name in this format, and some of them break its scrape.
#[test]
fn names_obey_the_same_rules_as_in_text() {
    for name in ["a.b", "a b", "1a", "\u{fc}", "a-b", "a\"b", "a\nb"] {
        let mut pair = Pair::start(&[]);
        pair.case(format!("{name:?}"));
        let named = push(&[family(name, MetricType::Gauge, vec![gauge(&[], 1.0)])]);
        pair.differs(Why::ProtobufNames, &named, 400);
        pair.finish();
    }
    let mut pair = Pair::start(&["--push.enable-utf8-names"]);
    for name in ["a.b", "a b", "1a", "\u{fc}", "a-b", "a\"b", "a\nb"] {
        pair.same(&push(&[family(name, MetricType::Gauge, vec![gauge(&[(name, "c")], 1.0)])]));
        pair.same_state();
    }
    pair.finish();
}

#[test]
fn labels_are_judged_as_in_text() {
    let mut pair = Pair::with_wipe();
    for pairs in [
        &[("__a", "b")][..],
        &[("__name__", "b")],
        &[("a", "b"), ("a", "b")],
        &[("a", "b"), ("a", "c")],
        &[("job", "y"), ("job", "z")],
        &[("", "b")],
        &[("1", "b")],
        &[("a.b", "c")],
        &[("\u{fc}", "b")],
        &[("quantile", "b")],
        &[("le", "b")],
    ] {
        pair.case(format!("{pairs:?}"));
        pair.same(&push(&[family("m", MetricType::Gauge, vec![gauge(pairs, 1.0)])]));
        let kept = Summary { sample_count: Some(1), ..Summary::default() };
        let labelled = Metric { label: labels(pairs), ..summary(kept) };
        pair.same(&push(&[family("s", MetricType::Summary, vec![labelled])]));
        pair.same_state();
        pair.wipe();
    }
    pair.finish();
}

/// The reference checks the names of families that nobody will see.
#[test]
fn families_without_metrics_claim_no_name() {
    let mut pair = Pair::with_wipe();
    let empty = |name, kind| family(name, kind, vec![]);
    let whole = |name, kind| match kind {
        MetricType::Summary => family(name, kind, vec![summary(Summary::default())]),
        MetricType::Histogram => family(name, kind, vec![histogram(Histogram::default())]),
        _ => family(name, kind, vec![gauge(&[], 1.0)]),
    };
    let (gauge, histogram, summary) =
        (MetricType::Gauge, MetricType::Histogram, MetricType::Summary);
    for families in [
        vec![whole("m", histogram), empty("m_bucket", gauge)],
        vec![empty("m", histogram), whole("m_bucket", gauge)],
        vec![empty("m_count", gauge), whole("m", summary)],
        vec![empty("m", summary), empty("m_sum", gauge)],
    ] {
        pair.case(format!("{families:?}"));
        pair.differs(Why::Unseen, &push(&families), 200);
        pair.wipe();
    }
    pair.same(&push(&[empty("m", summary), whole("n", gauge)]));
    pair.same_state();
    pair.finish();
}

/// With two labels of one name, Prometheus refuses all that it has scraped.
#[test]
fn a_histogram_with_a_label_le_is_refused() {
    let mut pair = Pair::with_wipe();
    let labelled = Metric { label: labels(&[("le", "b")]), ..histogram(Histogram::default()) };
    let labelled = family("m", MetricType::Histogram, vec![labelled]);
    pair.differs(Why::Poison, &push(&[labelled]), 400);
    pair.wipe();
    let body = "# TYPE m histogram\nm_sum 1\n";
    pair.differs(Why::Poison, &Request::put("/metrics/job/x/le/1", body), 400);
    pair.wipe();
    pair.finish();
}

#[test]
fn timestamps_are_refused() {
    let mut pair = Pair::start(&[]);
    for timestamp in [0, 1, -1] {
        let stamped = Metric { timestamp_ms: Some(timestamp), ..gauge(&[], 1.0) };
        pair.same(&push(&[family("m", MetricType::Gauge, vec![stamped])]));
        pair.same_state();
    }
    pair.finish();
}
