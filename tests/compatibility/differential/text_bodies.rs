//! Text bodies that are an exposition: both show the same of them.

use crate::differential::http::Request;
use crate::differential::pair::Pair;

/// Pushes each body to an empty store.
fn show(flags: &[&str], bodies: &[&str]) {
    let mut pair = Pair::start(&[flags, &["--web.enable-admin-api"]].concat());
    for body in bodies {
        pair.same(&Request::put("/metrics/job/x", *body));
        pair.same_state();
        pair.wipe();
    }
    pair.finish();
}

#[test]
fn samples_and_comments() {
    show(
        &[],
        &[
            "",
            "\n\n",
            "  \t \n\n",
            "# a comment\n#\n# \n#x\n## HELP m x\n",
            "a 1.234\nno_labels{} 3\n# HELP line about nothing.\n",
            "m{a=\"b\"}1\nn{}2\n",
            " \tm \t{ \ta \t= \t\"b\" \t, \t} \t1\n",
            "m{a=\"b\"\t,c   =   \"d\"\t\t} +Inf\nm{ a = \"e\" , }-Inf\n",
            "m:n{_a9=\"b\"} 1\n_ 2\n:: 3\n",
            "m{a=\"\"} 1\nm{a=\"\\\\\\\"\\n\"} 2\nm{a=\"{}=,# \"} 3\nm{a=\"\u{1f4a9}\t\r\"} 4\n",
            "m{b=\"1\",a=\"2\",Z=\"3\"} 1\n",
            "# HELP m two-line\\n doc  str\\\\ing\n# TYPE m counter\nm 1\n",
            " # HELP  m  \tdoc \"str\"ing\t \n  #    TYPE    m \t gauge\nm 1\n",
            "# HELP m \n# TYPE m gauge\nm 1\n",
            "# HELP m\nm 1\n# HELP m\n",
            "# HELP m\n# HELP m late\nm 1\n",
            "m 1\n# HELP m afterwards\n",
            "# HELP m \\\"quoted\\\"\nm 1\n",
            "# HELP m \u{fc}\u{1f4a9} <b>&\nm{a=\"<&>\u{2028}\"} 1\n",
            "# HELP\n# TYPE\n# HELP \n# TYPE \nm 1\n",
            "# TYPE m\nm 1\n",
            "# HELP m x\n# TYPE n gauge\n",
            "# TYPE m gauge\n# HELP m after the type\nm 1\n",
            "# UNIT m seconds\n# EOF\nm 1\n",
            "# TYPE foo counter\nfoo_total 1\n",
            "# type m gauge\n# help m x\nm 1\n",
            "#TYPE m gauge\n#HELP m x\nm 1\n",
            "#\tTYPE\tm\tgauge\nm 1\n",
            "z 1\na 1\nM 1\n_ 1\nm_1 1\nm 1\n",
            "m{a=\"1\"} 1\nn 1\nm{a=\"2\"} 2\n",
            "m{a=\"10\"} 1\nm{a=\"9\"} 1\nm{b=\"1\"} 1\nm 1\nm{a=\"1\",b=\"1\"} 1\n",
            "\"m\" 1\n",
            "{\"m\"} 1\n{\"m\",a=\"b\"} 2\n{a=\"c\",\"m\"} 3\n{m} 4\n",
            "{\"m\",\"a\"=\"b\",} 1\nm{\"a\"=\"c\"} 2\n{ \"m\" , \"a\" = \"d\" } 3\n",
            "# TYPE \"m\" gauge\n# HELP \"m\" text\n{\"m\"} 1\n",
        ],
    );
}

#[test]
fn types() {
    let mut bodies = Vec::new();
    for kind in [
        "counter",
        "gauge",
        "untyped",
        "summary",
        "histogram",
        "COUNTER",
        "GaUgE",
        "Untyped",
        "SUMMARY",
        "Histogram",
    ] {
        bodies.push(format!("# TYPE m {kind}\nm 1\n"));
        bodies.push(format!("# TYPE m {kind}\nm_sum 1\n"));
        bodies.push(format!("# TYPE m {kind}\nm_count 2\nm_bucket{{le=\"1\"}} 1\n"));
        bodies.push(format!("# TYPE m {kind}\nm{{quantile=\"0.5\",le=\"1\"}} 1\n"));
        bodies.push(format!("# TYPE m {kind}\nm_bucket 1\n"));
        bodies.push(format!("# TYPE m {kind}\nm_bucket{{le=\"+Inf\"}} 5\nm_sum 3\nm_count 5\n"));
    }
    show(&[], &bodies.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn summaries() {
    show(
        &[],
        &[
            "# TYPE s summary\ns{a=\"1\",quantile=\"0.5\"} 110\nother -1\ns{a=\"1\",quantile=\"0.9\"} 140\n\
             s_count{a=\"1\"} 42\n# between\ns_sum{a=\"1\"} 4711\nfake_sum{a=\"1\"} 2001\n\
             # TYPE t summary\nt_count{b=\"2\",a=\"1\"} 20\ns_count{b=\"2\",a=\"1\"} 5\n\
             t{a=\"1\",b=\"2\",quantile=\".3\"} -1.2\ns_sum{a=\"2\"} 08\n\
             s{a=\"3\", quantile=\"0.2\"} 4711\n  s{a=\"1\",b=\"2\",quantile=\"-12.34\",} NaN\n",
            "# TYPE s summary\ns{quantile=\"0.9\"} 1\ns{quantile=\"0.5\"} 2\ns{quantile=\"0.7\"} 3\n",
            "# TYPE s summary\ns{quantile=\"NaN\"} 1\ns{quantile=\"+Inf\"} 2\ns{quantile=\"1e-7\"} 3\n",
            "# TYPE s summary\ns_count 42.0\ns_sum 1\n",
            "# TYPE s summary\ns_count 1e15\ns_sum NaN\n",
            "# TYPE s summary\ns_sum 1\ns_sum 2\ns_count 1\ns_count 2\n",
            "# TYPE s summary\ns 5\n",
            "# TYPE s summary\ns{a=\"b\"} 5\ns{quantile=\"0.5\",a=\"b\"} 6\n",
            "# TYPE s summary\ns_bucket{le=\"1\"} 5\n",
            "# TYPE s summary\ns_count{quantile=\"0.5\"} 5\n",
            "s_sum 1\ns_count 2\ns{quantile=\"0.5\"} 3\n",
            "s_sum 1\ns_count 2\n# TYPE t summary\nt_sum 3\n",
            "# HELP s text\n# TYPE s summary\n# HELP t other\n# TYPE t summary\ns_sum 1\nt_sum 2\n",
            "# TYPE s summary\ns{le=\"1\",quantile=\"0.5\"} 1\n",
        ],
    );
}

#[test]
fn histograms() {
    let full = |values: [&str; 4]| {
        format!(
            "# HELP h Some help.\n# TYPE h histogram\nh_bucket{{le=\"0.5\"}} {}\n\
             h_bucket{{le=\"172.8\"}} {}\nh_bucket{{le=\"+Inf\"}} {}\nh_sum 1.7560473e+06\n\
             h_count {}\n",
            values[0], values[1], values[2], values[3]
        )
    };
    let mut bodies = vec![
        "# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_sum 2\nh_count 4\n".to_owned(),
        "# TYPE h histogram\nh_bucket{le=\"1\"} 3\n".to_owned(),
        "# TYPE h histogram\nh_sum 3\n".to_owned(),
        "# TYPE h histogram\nh_count 3\n".to_owned(),
        "# TYPE h histogram\nh_count 9007199254740993\n".to_owned(),
        "# TYPE h histogram\nh_count -0\nh_bucket{le=\"1\"} -0\n".to_owned(),
        "# TYPE h histogram\nh_bucket{le=\"5\"} 3\nh_bucket{le=\"1\"} 9\nh_bucket{le=\"3\"} 8\n".to_owned(),
        "# TYPE h histogram\nh_bucket{le=\"NaN\"} 3\nh_bucket{le=\"-Inf\"} 9\n".to_owned(),
        "# TYPE h histogram\nh_bucket{le=\"1e6\"} 1\nh_bucket{le=\"1e-7\"} 2\nh_bucket{le=\"08\"} 3\n"
            .to_owned(),
        "# TYPE h histogram\nh_bucket{le=\"inf\"} 1\nh_count 9\n".to_owned(),
        "# TYPE h histogram\nh 5\n".to_owned(),
        "# TYPE h histogram\nh{a=\"b\"} 5\nh_bucket{a=\"b\",le=\"1\"} 6\n".to_owned(),
        "# TYPE h histogram\nh_bucket{a=\"b\"} 5\n".to_owned(),
        "# TYPE h histogram\nh_sum{le=\"1\"} 5\n".to_owned(),
        "# TYPE h histogram\nh_bucket{quantile=\"0.5\",le=\"1\"} 5\n".to_owned(),
        "# TYPE h histogram\nh_bucket{le=\"1\",b=\"1\",a=\"2\"} 5\nh_count{a=\"2\",b=\"1\"} 5\n\
         h_bucket{b=\"2\",le=\"1\",a=\"2\"} 6\nh_bucket{a=\"2\",le=\"+Inf\",b=\"1\"} 7\n"
            .to_owned(),
        "h_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n".to_owned(),
    ];
    bodies.push(full(["123", "1524", "2693", "2693"]));
    show(&[], &bodies.iter().map(String::as_str).collect::<Vec<_>>());
}

pub(crate) const NUMBERS: [&str; 92] = [
    "0",
    "-0",
    "+0",
    "1",
    "-1",
    "+1",
    "08",
    "-08",
    "1.",
    ".5",
    "-.5",
    "+.5",
    "00.50",
    "1e3",
    "1E3",
    "1e+3",
    "1e-3",
    "1e03",
    "1e-7",
    "0.0001",
    "0.00001",
    "0.000123",
    "999999",
    "999999.5",
    "1000000",
    "1000001",
    "123456789",
    "1e20",
    "1e21",
    "1e22",
    "1e100",
    "1e308",
    "1.7976931348623157e308",
    "5e-324",
    "2e-324",
    "1e-400",
    "4.9406564584124654e-324",
    "2.2250738585072014e-308",
    "0.1",
    "0.2",
    "0.30000000000000004",
    "1.0000000000000002",
    "3.141592653589793238462643383279502884197",
    "2398.283",
    "1756047.3",
    "8106104",
    "1583781848.025745",
    "3.14e42",
    "-1.23e-45",
    "9007199254740993",
    "18446744073709551615",
    "589824",
    "250000",
    "NaN",
    "nan",
    "NAN",
    "nAn",
    "+NaN",
    "Inf",
    "+Inf",
    "-Inf",
    "inf",
    "-inf",
    "+inf",
    "INF",
    "Infinity",
    "+Infinity",
    "-infinity",
    "iNfInItY",
    "1e-5",
    "12345.678",
    "100000",
    "99999.99999999999",
    "0.00009999999999999999",
    "1234567.8",
    "1e5",
    "1e6",
    "1e7",
    "123456e-1",
    "0e999",
    "1e-999",
    "1797693134862315708145274237317e278",
    "+-1",
    "--1",
    "1e5.5",
    "1 e5",
    "1f",
    "0x",
    "1e+",
    "e5",
    "\u{661}",
    "1\u{a0}",
];

/// Numbers are read as Go reads them, and written as Go writes them.
#[test]
fn numbers() {
    let mut pair = Pair::with_wipe();
    for (at, spelling) in NUMBERS.iter().enumerate() {
        let gauge = format!("# TYPE g{at} gauge\ng{at} {spelling}\n");
        pair.same(&Request::post("/metrics/job/x", gauge));
        let summary =
            format!("# TYPE s{at} summary\ns{at}{{quantile=\"{spelling}\"}} {spelling}\n");
        pair.same(&Request::post("/metrics/job/x", summary));
        // Go's conversion of a number that is no count depends on the processor, or is another number.
        let no_count = |number: f64| !(0.0..9e18).contains(&number) || number.fract() != 0.0;
        let count = if spelling.parse().is_ok_and(no_count) { "1" } else { spelling };
        let parts = format!("# TYPE t{at} summary\nt{at}_sum {spelling}\nt{at}_count {count}\n");
        pair.same(&Request::post("/metrics/job/x", parts));
        let bucket = format!("# TYPE h{at} histogram\nh{at}_bucket{{le=\"{spelling}\"}} 1\n");
        pair.same(&Request::post("/metrics/job/x", bucket));
        let sum = format!("# TYPE i{at} histogram\ni{at}_sum {spelling}\ni{at}_count 1\n");
        pair.same(&Request::post("/metrics/job/x", sum));
    }
    pair.same_state();
    for timestamp in ["0", "-0", "+1", "007", "9223372036854775807", "-9223372036854775808"] {
        pair.same(&Request::put("/metrics/job/x", format!("m 1 {timestamp}\n")));
    }
    pair.same_state();
    pair.finish();
}

/// Whatever the content type says but for one kind of protobuf, a body is text.
#[test]
fn the_content_type_of_text_does_not_matter() {
    let mut pair = Pair::with_wipe();
    for kind in [
        "",
        "text/plain",
        "text/plain; version=0.0.4",
        "text/plain; version=1.0.0; charset=utf-8",
        "application/openmetrics-text; version=1.0.0",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json",
        "application/octet-stream",
        "what is this",
        ";",
        "/",
        "text/plain; x",
        "application/vnd.google.protobuf",
        "application/vnd.google.protobuf; encoding=delimited",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text",
        "application/vnd.google.protobuf; proto=io.prometheus.client.metricfamily; encoding=delimited",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=Delimited",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; x",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily encoding=delimited",
        "application/vnd.google.protobuf, proto=io.prometheus.client.MetricFamily, encoding=delimited",
        "application/vnd.google.protobuffer; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    ] {
        pair.case(format!("Content-Type {kind:?}"));
        for body in ["# TYPE m counter\nm{a=\"b\"} 1\n", "what is this\n"] {
            let push = Request::put("/metrics/job/x", body);
            pair.same(&if kind.is_empty() { push } else { push.header("Content-Type", kind) });
        }
        pair.same_state();
        pair.wipe();
    }
    pair.finish();
}
