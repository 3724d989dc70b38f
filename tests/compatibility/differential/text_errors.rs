//! Text bodies that are no exposition: each is refused with the same line and the same words.

use crate::differential::encodings::{gzip, snappy};
use crate::differential::explained::Why;
use crate::differential::http::Request;
use crate::differential::pair::Pair;

const HISTOGRAM: &str = "# HELP h Some help.\n# TYPE h histogram\nh_bucket{le=\"1\"} 3\n";

/// Bodies that both refuse, whether names may be any UTF-8 or not.
const REFUSED: [&str; 120] = [
    // The end.
    "m 1",
    "\na 1\nb 2",
    "m",
    "m{",
    "m{a",
    "m{a=",
    "m{a=\"",
    "m{a=\"b",
    "m{a=\"b\\",
    "m{a=\"b\"",
    "m{a=\"b\",",
    "m{a=\"b\"}",
    "m 1 2",
    "# a comment",
    "#",
    "# HELP",
    "# HELP m",
    "# HELP m text",
    "# TYPE m",
    "# TYPE m gauge",
    "{\"m",
    "{\"m\"",
    "{",
    // Names.
    "@m{a=\"b\"} 1 2\n",
    "1m 1\n",
    "m-n 1\n",
    "{a=\"b\"} 1 2\n",
    "\u{fc} 1\n",
    "m\u{fc} 1\n",
    "-\n",
    "\"m\" 1\n",
    "m{@=\"b\"} 1\n",
    "m{1=\"b\"} 1\n",
    "m{,} 1\n",
    "m{a=\"b\",,} 1\n",
    "m{\u{fc}=\"b\"} 1\n",
    "m{a:b=\"c\"} 1\n",
    "m{__name__=\"b\"} 1\n",
    "m{a+=\"b\"} 1\n",
    "m{a\"b\"} 1\n",
    "m{a} 1\n",
    "m{a b=\"c\"} 1\n",
    "m{a=b} 1\n",
    "m{a='b'} 1\n",
    "m{a=\"b\"+} 1\n",
    "m{a=\"b\" c=\"d\"} 1\n",
    "m{a=\"b\"c} 1\n",
    "m{a=\"b\",a=\"b\"} 1\n",
    "m{a=\"b\",c=\"d\",a=\"e\"} 1\n",
    "m{a=\"\\t\"} 1\n",
    "m{a=\"\\x41\"} 1\n",
    "m{a=\"\\'\"} 1\n",
    "\nm{a=\"new\nline\"} 1\n",
    "m{\"n\",a=\"b\"} 1\n",
    "m{a=\"b\",\"n\"} 1\n",
    "{\"m\",\"n\"} 1\n",
    "{\"m\",a=\"b\",\"n\"} 1\n",
    "{\"m\\xc5\",a=\"b\"} 1\n",
    "{\"m\".a=\"b\"} 1\n",
    "{\"m\"a=\"b\"} 1\n",
    "\n# TYPE \"m\\t\" counter\n",
    "\n# TYPE \"m\nn\" counter\n",
    "# HELP \"m\\q\" text\n",
    "{\"m\nn\"} 1\n",
    "\n{\"m\",\"new\nline\"=\"b\"} 1\n",
    "m{\"a\nb\"=\"c\"} 1\n",
    "m{\"a\\z\"=\"c\"} 1\n",
    "m{\"a\"\"b\"} 1\n",
    "{\"m\"} {a=\"b\"} 1\n",
    "m}} 1\n",
    "{\"a.b\",\"c.d\"} 1\n",
    "{\"\"} 1\n",
    "m{\"\"=\"a\"} 1\n",
    // Values and timestamps.
    "m\n",
    "m \n",
    "m{a=\"b\"}\n",
    "m{a=\"b\"} blubb\n",
    "m +\n",
    "m 1_2\n",
    "m 0x1p-3\n",
    "m 0x1P-3\n",
    "m 0X1\n",
    "m 0x1\n",
    "m 0b1\n",
    "m 0B1\n",
    "m 0o1\n",
    "m 0O1\n",
    "m 1e\n",
    "m 1e400\n",
    "m 1,5\n",
    "m .\n",
    "m infinit\n",
    "m nano\n",
    "m 1\r\n",
    "m 1 \n",
    "m 1 2.5\n",
    "m 1 1e3\n",
    "m 1 # {trace_id=\"x\"} 2\n",
    "m 1 9223372036854775808\n",
    "m 1 2 3\n",
    "m 1 2 \n",
    // Comments.
    "\n# HELP m one\n# HELP m two\n",
    "# HELP m\n# HELP m two\n# HELP m three\n",
    "\n# TYPE m counter\n# TYPE m untyped\n",
    "\nm 1\n# TYPE m counter\n",
    "\n# TYPE m blub\n",
    "# TYPE m unknown\n",
    "# TYPE m info\n",
    "# TYPE m stateset\n",
    "# TYPE m gauge counter\n",
    "\n# TYPE met-ric\n",
    "# HELP 1m text\n",
    "# HELP m a\\tb\n",
    // Parts of summaries and histograms.
    "\n# TYPE s summary\ns{quantile=\"x\"} 1\n",
    "\n# TYPE s summary\ns{quantile=\"0x1p-3\"} 1\n",
    "\n# TYPE s summary\ns{quantile=\"\"} 1\n",
    "\n# TYPE h histogram\nh_bucket{le=\"x\"} 1\n",
    "\n# TYPE h histogram\nh_bucket{le=\"0x1p-3\"} 1\n",
    "# TYPE h histogram\nh_bucket{le=\"1_0\"} 1\n",
    "# TYPE s summary\ns_count x\n",
];

/// Lines that end in blanks or as on Windows, and a body that begins with a byte order mark: what the
/// reference says to the same body without.
#[test]
fn ends_of_lines() {
    let mut pair = Pair::with_wipe();
    for body in [
        "m 1 \n",
        "m{a=\"b\"} 1\t \nn 2\n",
        "m 1 2 \n",
        "m 1 \r\n",
        "# HELP m help\r\n# TYPE m gauge\r\n\r\nm{a=\"b\"} 1\r\nm{a=\"c\"} 2 \r\n",
        "# TYPE m counter\t\nm 1\n",
        "\u{feff}m 1\n",
        "\u{feff}# HELP m help \r\n# TYPE m gauge \r\nm 1 \r\n",
        "m 1 \nwhat is this \r\n",
        "m 1 \nm 2",
        "m 1 \nm 1 \n",
        "m{a=\"\r\n\"} 1 \n",
        "\u{feff}",
        "\u{feff}\u{feff}m 1\n",
    ] {
        pair.same(&Request::put("/metrics/job/x", body));
        pair.same_state();
        pair.wipe();
        let zipped = Request::put("/metrics/job/x", gzip(body.as_bytes()));
        pair.same(&zipped.header("Content-Encoding", "gzip"));
        pair.same_state();
        pair.wipe();
    }
    pair.check(pair.met(Why::LineEnds), "the reference refuses them");
    pair.finish();
}

/// The likely format of a body that is no text stands behind the reference's words.
#[test]
fn what_a_body_seems_to_be() {
    let mut pair = Pair::start(&[]);
    let push = |body: &[u8]| Request::put("/metrics/job/x", body);
    let wide: Vec<u8> = "m 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (push, cause) in [
        (push(&gzip(b"m 1\n")), " (it begins as gzip does: send it with Content-Encoding: gzip)\n"),
        (
            push(&snappy(b"m 1\n")),
            " (it begins as snappy does: send it with Content-Encoding: snappy)\n",
        ),
        (
            push(b"\x28\xb5\x2f\xfd\x04"),
            " (it begins as zstd does: send it with Content-Encoding: zstd)\n",
        ),
        (push(&wide), " (it is UTF-16: send it as UTF-8)\n"),
        (push(&[&b"\xff\xfe"[..], &wide].concat()), " (it is UTF-16: send it as UTF-8)\n"),
        (
            push(b"\x0a\x05\x0a").header("Content-Type", "application/x-protobuf"),
            "io.prometheus.client.MetricFamily messages)\n",
        ),
    ] {
        let answer = pair.same(&push);
        pair.check(answer.status == Some(400) && answer.text().ends_with(cause), cause);
    }
    pair.check(pair.met(Why::Causes), "the reference does not say so");
    pair.finish();
}

fn refuse(pair: &mut Pair, bodies: &[&str]) {
    for body in bodies {
        let answer = pair.same(&Request::put("/metrics/job/x", *body));
        let refused = answer.status == Some(400) || answer.status == Some(200);
        pair.check(refused, body);
    }
}

#[test]
fn malformed_text_is_refused_with_the_same_words() {
    let mut pair = Pair::start(&[]);
    refuse(&mut pair, &REFUSED);
    for body in
        [format!("{HISTOGRAM}h_bucket{{le=\"2\"}} x\n"), format!("{}m 1 2 3\n", "ok 1\n".repeat(7))]
    {
        pair.same(&Request::put("/metrics/job/x", body));
    }
    for body in
        [&b"m{a=\"\xbd\"} 1\n"[..], b"m{a=\"b\xff\"} 1\n", b"m\xff 1\n", b"# TYPE \xff gauge\n"]
    {
        pair.same(&Request::put("/metrics/job/x", body));
    }
    pair.same_state();
    pair.finish();
}

#[test]
fn malformed_text_is_refused_where_names_are_utf8_too() {
    let mut pair = Pair::start(&["--push.enable-utf8-names"]);
    refuse(&mut pair, &REFUSED);
    pair.same_state();
    pair.finish();
}
