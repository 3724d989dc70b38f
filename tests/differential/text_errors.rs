//! Text bodies that are no exposition: each is refused with the same line and the same words.

use crate::http::Request;
use crate::pair::Pair;

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
