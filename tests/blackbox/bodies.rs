//! Bodies: text, protobuf, compressed or not; and the errors for one that cannot be
//! read.

use support::protobuf::{self, Histogram, Metric, MetricType};
use support::{Gateway, gzip, snappy_framed, snappy_raw, zstd};

const PATH: &str = "/metrics/job/j";
const TEXT: &[u8] = b"# TYPE m gauge\nm{l=\"1\"} 1\nm{l=\"2\"} 2.5e-7\n";

#[test]
fn text_is_shown_as_the_go_pushgateway_shows_it() {
    let gateway = Gateway::start("");
    let body = " \t m \t 1e6\n# a comment\n\n\
                # HELP q Quotes \\\\ and\\nlines.\n# TYPE q Gauge\n\
                q {b = \"a\\\\b\\\"c\\nd\" , a=\"ü\" , } -0.00001\n\
                {\"named\",l=\"v\"} +Inf\n\
                nan NaN\nneg -Inf\nbig 1756047.3\nzero -0\n\
                # TYPE s summary\ns{quantile=\"0.5\"} 1\ns{quantile=\"0.99\"} 2\ns_sum 3\ns_count 4\n\
                # TYPE h histogram\nh_bucket{le=\"0.1\"} 1\nh_bucket{le=\"1e6\"} 2\nh_sum 3\nh_count 4\n";
    gateway.put(PATH, body).expect(200);
    let own = "instance=\"\",job=\"j\"";
    let scrape = gateway.scrape();
    for line in [
        "m{OWN} 1e+06",
        "q{a=\"ü\",b=\"a\\\\b\\\"c\\nd\",OWN} -1e-05",
        "named{OWN,l=\"v\"} +Inf",
        "nan{OWN} NaN",
        "neg{OWN} -Inf",
        "big{OWN} 1.7560473e+06",
        "zero{OWN} 0",
        "s{OWN,quantile=\"0.5\"} 1",
        "s{OWN,quantile=\"0.99\"} 2",
        "s_sum{OWN} 3",
        "s_count{OWN} 4",
        "h_bucket{OWN,le=\"0.1\"} 1",
        "h_bucket{OWN,le=\"1e+06\"} 2",
        "h_bucket{OWN,le=\"+Inf\"} 4",
        "h_sum{OWN} 3",
        "h_count{OWN} 4",
    ] {
        scrape.shows(&[&line.replace("OWN", own)]);
    }
    scrape.shows(&[
        "# TYPE m untyped",
        "# TYPE q gauge",
        "# HELP q Quotes \\\\ and\\nlines.",
        "# TYPE s summary",
        "# TYPE h histogram",
    ]);
    gateway.stop();
}

#[test]
fn malformed_text_is_refused_with_the_line_that_is_wrong() {
    let gateway = Gateway::start("");
    for (body, line, reason) in [
        ("m 1", 1, "unexpected end of input stream"),
        ("m 1\n# comment", 2, "unexpected end of input stream"),
        ("blablabla\n", 1, "expected float as value, got"),
        ("a 1\nb 2\nc three\n", 3, "expected float as value, got \"three\""),
        ("\n\nm{l=\"\\x\"} 1\n", 3, "invalid escape sequence '\\x'"),
        ("m{l=\"a\nb\"} 1\n", 1, "contains unescaped new-line"),
        ("m{@=\"bla\"} 1\n", 1, "invalid label name for metric \"m\""),
        ("m{__name__=\"x\"} 1\n", 1, "label name \"__name__\" is reserved"),
        ("m{l+=\"x\"} 1\n", 1, "expected '=' after label name, found '+'"),
        ("m{l=x} 1\n", 1, "expected '\"' at start of label value, found 'x'"),
        ("m{l=\"x\" 1\n", 1, "unexpected end of label value \"x\""),
        ("m{a=\"1\",a=\"2\"} 1\n", 1, "duplicate label names for metric \"m\""),
        // A blank behind the value announces a timestamp.
        ("m 1 2.72\n", 1, "expected integer as timestamp, got \"2.72\""),
        ("m 1 2 3\n", 1, "spurious string after timestamp"),
        ("m 1_2\n", 1, "expected float as value"),
        ("m 0x1p-3\n", 1, "expected float as value"),
        ("# HELP m a\n# HELP m b\n", 2, "second HELP line for metric name \"m\""),
        ("# TYPE m gauge\n# TYPE m gauge\n", 2, "second TYPE line for metric name \"m\""),
        ("m 1\n# TYPE m gauge\n", 2, "or TYPE reported after samples"),
        ("# TYPE m bla\n", 1, "unknown metric type \"bla\""),
        ("# TYPE m info\n", 1, "unknown metric type \"info\""),
        ("# TYPE me-t gauge\n", 1, "invalid metric name in comment"),
        ("@m 1\n", 1, "invalid metric name"),
        ("{} 3.14\n", 1, "invalid metric name"),
        ("{\"a.b\"} 1\n", 1, "invalid metric name \"a.b\""),
        ("{\"a\",\"b\"} 1\n", 1, "multiple metric names for metric \"a\""),
        ("m{\"a.b\"=\"1\"} 1\n", 1, "invalid label name \"a.b\""),
        (
            "# TYPE s summary\ns{quantile=\"x\"} 1\n",
            2,
            "expected float as value for 'quantile' label",
        ),
        ("# TYPE h histogram\nh_bucket{le=\"x\"} 1\n", 2, "expected float as value for 'le' label"),
        ("# TYPE h histogram\nh_count -1\n", 2, "negative count for histogram \"h\""),
        ("# TYPE h histogram\nh_bucket{le=\"1\"} -1\n", 2, "negative bucket population"),
    ] {
        let start = format!("text format parsing error in line {line}: ");
        gateway.put(PATH, body).expect(400).says(&start).says(reason);
    }
    gateway.put(PATH, b"m{l=\"\xff\"} 1\n").expect(400).says("line 1: invalid label value");
    assert_eq!(gateway.scrape().pushed(), "");
    gateway.stop();
}

#[test]
fn compressed_bodies_are_understood() {
    let gateway = Gateway::start("");
    let members = [gzip(&TEXT[..20]), gzip(&TEXT[20..])].concat();
    for (number, (encoding, body)) in [
        ("gzip", gzip(TEXT)),
        ("GZip", gzip(TEXT)),
        ("gzip", members),
        ("snappy", snappy_framed(TEXT)),
        // As the Rust client library sends it.
        ("snappy", snappy_raw(TEXT)),
        ("zstd", zstd(TEXT)),
        ("identity", TEXT.to_vec()),
        ("x-gzip", gzip(TEXT)),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/metrics/job/{number}");
        gateway.send("PUT", &path, &[("Content-Encoding", encoding)], &body).expect(200);
        gateway.scrape().shows(&[&format!("m{{instance=\"\",job=\"{number}\",l=\"2\"}} 2.5e-07")]);
    }
    gateway.stop();
}

#[test]
fn an_encoding_that_is_not_known_is_refused_by_name() {
    let gateway = Gateway::start("");
    for encoding in ["br", "deflate", "gzip, gzip"] {
        let headers = [("Content-Encoding", encoding)];
        let answer = gateway.send("PUT", "/metrics/job/j", &headers, TEXT).expect(415);
        answer.says(encoding).says("gzip, snappy or zstd");
    }
    assert_eq!(gateway.scrape().pushed(), "");
    gateway.stop();
}

/// Typical mistakes of clients are recognized, with a remedy.
#[test]
fn a_refusal_names_the_likely_format_of_the_body() {
    let gateway = Gateway::start("");
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    for (body, cause) in [
        (gzip(TEXT), "Content-Encoding: gzip"),
        (zstd(TEXT), "Content-Encoding: zstd"),
        (snappy_framed(TEXT), "Content-Encoding: snappy"),
        (utf16("\u{feff}m 1\n"), "UTF-16"),
        (utf16("metric 1\n"), "UTF-16"),
        (b"m 1".to_vec(), "the last line does not end in a newline"),
    ] {
        gateway.put("/metrics/job/j", body.as_slice()).expect(400).says(cause);
    }
    let written = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
    gateway
        .send("POST", "/metrics/job/j", &written, &snappy_raw(b"\x0a\x06\x0a\x04\x0a\x02ab"))
        .expect(400)
        .says("remote write");
    gateway.put("/metrics/job/j", "\u{feff}m 1\r\nn 2 \r\n").expect(200);
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 1", "n{instance=\"\",job=\"j\"} 2"]);
    gateway.stop();
}

/// Some clients say so of every request.
#[test]
fn a_delete_may_say_that_its_body_is_compressed() {
    let gateway = Gateway::start("");
    for encoding in ["gzip", "br"] {
        gateway.put("/metrics/job/j", "m 1\n").expect(200);
        let headers = [("Content-Encoding", encoding)];
        gateway.send("DELETE", "/metrics/job/j", &headers, b"").expect(202);
        assert_eq!(gateway.scrape().pushed(), "");
    }
    gateway.stop();
}

#[test]
fn corrupt_compressed_bodies_are_refused() {
    let gateway = Gateway::start("");
    let cut = |mut body: Vec<u8>| {
        body.truncate(body.len() - 5);
        body
    };
    let flipped = |mut body: Vec<u8>| {
        let middle = body.len() / 2;
        body[middle] ^= 0xff;
        body
    };
    for (encoding, body) in [
        ("gzip", b"".to_vec()),
        ("gzip", TEXT.to_vec()),
        ("gzip", cut(gzip(TEXT))),
        ("gzip", flipped(gzip(TEXT))),
        ("gzip", gzip(b"m one\n")),
        ("snappy", TEXT.to_vec()),
        ("snappy", cut(snappy_framed(TEXT))),
        ("snappy", flipped(snappy_framed(TEXT))),
        ("snappy", cut(snappy_raw(TEXT))),
        ("zstd", TEXT.to_vec()),
        ("zstd", cut(zstd(TEXT))),
    ] {
        let answer = gateway.send("PUT", PATH, &[("Content-Encoding", encoding)], &body);
        assert!(answer.status == 400 && !answer.body.is_empty(), "{encoding} {body:?} {answer:?}");
    }
    assert_eq!(gateway.scrape().pushed(), "");
    gateway.stop();
}

fn histogram(histogram: Histogram) -> Metric {
    Metric { histogram: Some(histogram), ..Metric::default() }
}

#[test]
fn protobuf_is_understood() {
    let gateway = Gateway::start("");
    let mut help =
        protobuf::family("p", MetricType::Gauge, vec![protobuf::gauge(&[("l", "ü")], 1.5)]);
    help.help = Some("In\ntwo lines.".into());
    let counter = Metric {
        counter: Some(protobuf::Counter { value: Some(1e9), ..Default::default() }),
        ..Metric::default()
    };
    let classic = Histogram {
        sample_count: Some(4),
        sample_sum: Some(8.5),
        bucket: vec![protobuf::Bucket {
            cumulative_count: Some(3),
            upper_bound: Some(0.5),
            ..Default::default()
        }],
        ..Histogram::default()
    };
    let native = Histogram {
        sample_count: Some(7),
        sample_sum: Some(21.0),
        schema: Some(3),
        zero_threshold: Some(1e-128),
        zero_count: Some(1),
        positive_span: vec![protobuf::BucketSpan { offset: Some(0), length: Some(2) }],
        positive_delta: vec![2, 2],
        ..Histogram::default()
    };
    let body = protobuf::body(&[
        protobuf::family("twice", MetricType::Gauge, vec![protobuf::gauge(&[], 1.0)]),
        help,
        protobuf::family("c", MetricType::Counter, vec![counter]),
        protobuf::family("classic", MetricType::Histogram, vec![histogram(classic)]),
        protobuf::family("native", MetricType::Histogram, vec![histogram(native)]),
        // The later of two counts.
        protobuf::family("twice", MetricType::Gauge, vec![protobuf::gauge(&[], 2.0)]),
    ]);
    let other_order = "Application/vnd.google.Protobuf;encoding=delimited;x=y;\
                       proto=io.prometheus.client.MetricFamily";
    for content_type in [protobuf::CONTENT_TYPE, other_order] {
        gateway.send("PUT", PATH, &[("Content-Type", content_type)], &body).expect(200);
    }
    let check = |gateway: &Gateway| {
        gateway.scrape().shows(&[
            "# HELP p In\\ntwo lines.",
            "p{instance=\"\",job=\"j\",l=\"ü\"} 1.5",
            "# TYPE c counter",
            "c{instance=\"\",job=\"j\"} 1e+09",
            "classic_bucket{instance=\"\",job=\"j\",le=\"0.5\"} 3",
            "classic_bucket{instance=\"\",job=\"j\",le=\"+Inf\"} 4",
            "classic_sum{instance=\"\",job=\"j\"} 8.5",
            // Text has no native buckets.
            "# TYPE native histogram",
            "native_bucket{instance=\"\",job=\"j\",le=\"+Inf\"} 7",
            "native_sum{instance=\"\",job=\"j\"} 21",
            "native_count{instance=\"\",job=\"j\"} 7",
            "twice{instance=\"\",job=\"j\"} 2",
        ]);
    };
    check(&gateway);
    let gateway = gateway.restart();
    check(&gateway);
    gateway.stop();
}

#[test]
fn invalid_protobuf_is_refused_and_other_types_are_text() {
    let gateway = Gateway::start("");
    let protobuf = [("Content-Type", protobuf::CONTENT_TYPE)];
    let good = protobuf::body(&[protobuf::family(
        "m",
        MetricType::Gauge,
        vec![protobuf::gauge(&[], 1.0)],
    )]);
    for bad in [&b"m 1\n"[..], &good[..good.len() - 1], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        gateway.send("PUT", PATH, &protobuf, bad).expect(400);
    }
    assert_eq!(gateway.scrape().pushed(), "");
    for content_type in [
        "application/x-www-form-urlencoded",
        "application/openmetrics-text; version=1.0.0",
        "text/plain; version=1.0.0",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text",
        "nonsense",
    ] {
        gateway.send("PUT", PATH, &[("Content-Type", content_type)], b"m 1\n").expect(200);
    }
    let gzipped = [protobuf[0], ("Content-Encoding", "gzip")];
    gateway.send("PUT", PATH, &gzipped, &gzip(&good)).expect(200);
    gateway.scrape().shows(&["# TYPE m gauge", "m{instance=\"\",job=\"j\"} 1"]);
    gateway.stop();
}
