//! The scrape: formats, escaping of names, compression.

use crate::differential::http::Request;
use crate::differential::pair::Pair;
use support::protobuf::{
    CONTENT_TYPE, Counter, Histogram, Metric, MetricFamily, MetricType, body, exemplar, family,
    gauge, labels, span,
};

const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding";

fn families() -> Vec<MetricFamily> {
    let counter =
        Counter { value: Some(5.0), exemplar: Some(exemplar(1.5)), created_timestamp: None };
    let native = Histogram {
        sample_count: Some(4),
        sample_sum: Some(3.5),
        schema: Some(3),
        zero_threshold: Some(1e-9),
        zero_count: Some(1),
        positive_span: vec![span(2, 2)],
        positive_delta: vec![1, 1],
        ..Histogram::default()
    };
    vec![
        family(
            "c",
            MetricType::Counter,
            vec![Metric {
                label: labels(&[("a", "\"quoted\" \\ \n \u{fc}")]),
                counter: Some(counter),
                ..Metric::default()
            }],
        ),
        family(
            "h",
            MetricType::Histogram,
            vec![Metric { histogram: Some(native), ..Metric::default() }],
        ),
        family("g", MetricType::Gauge, vec![gauge(&[], f64::NEG_INFINITY)]),
    ]
}

fn store(pair: &mut Pair, families: &[MetricFamily]) {
    let push = Request::put("/metrics/job/x", body(families)).header("Content-Type", CONTENT_TYPE);
    pair.same(&push);
    let text = "# HELP s A \\\\ summary.\n# TYPE s summary\ns{quantile=\"0.5\"} 1e-7\ns_sum 2\ns_count 3\n\
                # TYPE f histogram\nf_bucket{le=\"1\"} 5\nf_count 15\nu 1\n";
    pair.same(&Request::post("/metrics/job/x", text));
}

const ACCEPTS: [&str; 56] = [
    "",
    "*/*",
    "text/*",
    "application/*",
    "text/html",
    "text/plain",
    "TEXT/PLAIN",
    "text/plain;version=0.0.4",
    "text/plain; version=0.0.4",
    "text/plain;version=\"0.0.4\"",
    "text/plain;version=1.0.0",
    "text/plain;version=0.0.4;escaping=allow-utf-8",
    "text/plain;version=1.0.0;escaping=allow-utf-8",
    "text/plain;version=0.0.4;escaping=underscores",
    "text/plain;version=0.0.4;escaping=dots",
    "text/plain;version=0.0.4;escaping=values",
    "text/plain;version=0.0.4;escaping=nonsense",
    "text/plain;version=0.0.4;Escaping=dots",
    "text/plain;version=0.0.4;escaping=Dots",
    "text/plain;charset=utf-8",
    "application/openmetrics-text",
    "application/openmetrics-text;version=1.0.0",
    "application/openmetrics-text;version=0.0.1;q=1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "application/openmetrics-text;version=1.0.0;escaping=values,*/*;q=0.1",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    "application/vnd.google.protobuf;encoding=delimited;proto=io.prometheus.client.MetricFamily",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=compact-text",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=nonsense",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily",
    "application/vnd.google.protobuf;encoding=delimited",
    "application/vnd.google.protobuf",
    "application/vnd.google.protobuf;proto=Other;encoding=delimited",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=allow-utf-8",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=values",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=dots",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text;escaping=allow-utf-8",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=compact-text;escaping=values",
    "text/plain;q=0.5,application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6",
    "text/plain;q=0.6,application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.5",
    "text/plain,application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,text/plain",
    "*/*,application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0",
    "text/html,application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text;q=0.9,*/*;q=0.8",
    "text/plain;q=nonsense,application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.1",
    "text/plain;q=2",
    "text/plain;version=0.0.4;q=1.0;escaping=values",
    "what is this",
    ",,,",
    ";q=1",
    "text/plain;version",
];

#[test]
fn the_format_is_what_the_client_prefers() {
    let mut pair = Pair::start(&[]);
    store(&mut pair, &families());
    for accept in ACCEPTS {
        let scrape = Request::get("/metrics");
        pair.same(&if accept.is_empty() { scrape } else { scrape.header("Accept", accept) });
    }
    // Two lines of a header.
    let twice = Request::get("/metrics").header("Accept", "text/html");
    pair.same(&twice.header("Accept", &format!("{PROTOBUF}=delimited")));
    pair.finish();
}

#[test]
fn names_are_escaped_as_the_client_asks() {
    let mut pair = Pair::start(&["--push.enable-utf8-names"]);
    // One family only: escaped, names may become the same.
    let text = "# HELP \"my.metric name_\u{fc}\" Some help.\n# TYPE \"my.metric name_\u{fc}\" gauge\n\
                {\"my.metric name_\u{fc}\",\"a.b_c\"=\"v.1\",legacy_label=\"w.2\",\"1x\"=\"\"} 1\n\
                # TYPE \"h.1\" histogram\n{\"h.1_bucket\",le=\"1\"} 1\n{\"h.1_count\"} 2\n\
                # TYPE \"s\\\"q\\\\\\n\" summary\n{\"s\\\"q\\\\\\n\",quantile=\"0.5\"} 1\n\
                # TYPE legacy_name counter\nlegacy_name{\"x-y\"=\"z\"} 1\n\
                {\"0digit\"} 1\n{\"\u{4f50}\u{1f4a9}\"} 2\n{\"U__x_2e_y\"} 3\n{\"a:b.c\"} 4\n";
    pair.same(&Request::put("/metrics/job/x/U__group_2e_label/v", text));
    pair.same_state();
    for accept in ACCEPTS {
        let scrape = Request::get("/metrics");
        pair.same(&if accept.is_empty() { scrape } else { scrape.header("Accept", accept) });
    }
    for escaping in ["underscores", "dots", "values", "allow-utf-8"] {
        for format in ["delimited", "text", "compact-text"] {
            let accept = format!("{PROTOBUF}={format};escaping={escaping}");
            pair.same(&Request::get("/metrics").header("Accept", &accept));
        }
    }
    pair.finish();
}

#[test]
fn the_answer_is_compressed_as_the_client_prefers() {
    let mut pair = Pair::start(&[]);
    store(&mut pair, &families());
    for encoding in [
        "gzip",
        "GZIP",
        "gzip;q=1.0",
        "gzip;q=0.5",
        "gzip;q=0",
        "gzip, deflate",
        "deflate",
        "br",
        "identity",
        "identity;q=0",
        "identity, gzip",
        "gzip, identity",
        "gzip, identity;q=0.5",
        "gzip;q=0.5, identity",
        "gzip;q=0.5, identity;q=0.5",
        "gzip;q=0.5, identity;q=0.6",
        "*",
        "*;q=0",
        "*;q=0.5, gzip",
        "identity;q=0, *",
        "identity;q=0, *;q=0",
        "zstd",
        "zstd, gzip",
        "gzip, zstd",
        "gzip;q=0.9, zstd;q=0.8",
        "gzip;q=0.8, zstd;q=0.9",
        "identity, zstd",
        "zstd;q=0",
        "x-gzip",
        "snappy",
        "gzip,gzip",
        ", gzip",
        "gzip;q=nonsense",
        "nonsense;q=;,gzip",
        " gzip ",
        "",
    ] {
        for accept in ["text/plain", &format!("{PROTOBUF}=delimited")] {
            pair.case(format!("Accept-Encoding {encoding:?}, Accept {accept}"));
            let scrape = Request::get("/metrics").header("Accept", accept);
            pair.same(&scrape.header("Accept-Encoding", encoding));
        }
    }
    // Nothing else is compressed.
    for path in ["/api/v1/metrics", "/-/ready", "/metrics/job/x", "/nowhere"] {
        pair.same(&Request::get(path).header("Accept-Encoding", "gzip"));
    }
    pair.finish();
}

/// Without pushes, and with groups that have nothing but their times.
#[test]
fn an_empty_store_in_every_format() {
    let mut pair = Pair::start(&[]);
    for round in 0..2 {
        for format in ["delimited", "text", "compact-text"] {
            let accept = format!("{PROTOBUF}={format}");
            pair.same(&Request::get("/metrics").header("Accept", &accept));
        }
        pair.same(&Request::get("/metrics"));
        if round == 0 {
            pair.same(&Request::put("/metrics/job/x", ""));
        }
    }
    pair.finish();
}
