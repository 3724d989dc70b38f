//! Behaviour of later releases of the reference with the text format, and ours with them: 1.11.0 does
//! not know it yet, or writes nonsense.

use crate::differential::explained::Why;
use crate::differential::http::Request;
use crate::differential::pair::Pair;

const PATH: &str = "/metrics/job/x";

/// Pushes a body that both take, of which the scrape shows these lines here only.
fn shown(body: &str, lines: &[&str]) {
    let mut pair = Pair::start(&[]);
    pair.case(body.escape_debug().to_string());
    pair.same(&Request::put(PATH, body));
    let scrape = pair.differs(Why::Later, &Request::get("/metrics"), 200);
    for line in lines {
        pair.check(scrape.text().contains(&format!("\n{line}\n")), line);
    }
    pair.finish();
}

#[test]
fn histograms_with_counts_that_are_no_integers() {
    shown(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1.5\nh_bucket{le=\"+Inf\"} 2.5\nh_sum 3\nh_count 2.5\n",
        &[
            "h_bucket{instance=\"\",job=\"x\",le=\"1\"} 1.5",
            "h_bucket{instance=\"\",job=\"x\",le=\"+Inf\"} 2.5",
            "h_sum{instance=\"\",job=\"x\"} 3",
            "h_count{instance=\"\",job=\"x\"} 2.5",
        ],
    );
    // One of them is enough.
    shown(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_count 2.5\n",
        &[
            "h_bucket{instance=\"\",job=\"x\",le=\"1\"} 1",
            "h_bucket{instance=\"\",job=\"x\",le=\"+Inf\"} 2.5",
        ],
    );
    shown(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1.5\nh_count 2\n",
        &[
            "h_bucket{instance=\"\",job=\"x\",le=\"1\"} 1.5",
            "h_bucket{instance=\"\",job=\"x\",le=\"+Inf\"} 2",
        ],
    );
}

#[test]
fn gauge_histograms() {
    let mut pair = Pair::start(&[]);
    for kind in ["gaugehistogram", "GaugeHistogram", "GAUGEHISTOGRAM"] {
        let body = format!("# TYPE g {kind}\ng_bucket{{le=\"1\"}} 1\ng_sum 3\ng_count 2\n");
        pair.differs(Why::Later, &Request::put(PATH, body), 200);
        let scrape = pair.only_ours(&Request::get("/metrics")).text();
        for line in [
            "# TYPE g histogram",
            "g_bucket{instance=\"\",job=\"x\",le=\"1\"} 1",
            "g_bucket{instance=\"\",job=\"x\",le=\"+Inf\"} 2",
            "g_sum{instance=\"\",job=\"x\"} 3",
        ] {
            pair.check(scrape.contains(&format!("{line}\n")), line);
        }
    }
    pair.finish();
}

/// 1.11.0 knows their other name, and makes single metrics of their parts.
#[test]
fn gauge_histograms_by_their_other_name() {
    shown(
        "# TYPE g gauge_histogram\ng_bucket{le=\"1\"} 1\ng_sum 3\ng_count 2\n",
        &[
            "g_bucket{instance=\"\",job=\"x\",le=\"1\"} 1",
            "g_bucket{instance=\"\",job=\"x\",le=\"+Inf\"} 2",
            "g_sum{instance=\"\",job=\"x\"} 3",
        ],
    );
}

/// 1.11.0 makes large numbers of them.
#[test]
fn no_negative_counts() {
    let mut pair = Pair::start(&[]);
    for (line, reason) in [
        ("h_count -3", "negative count for histogram \"h\""),
        ("h_count -3.5", "negative count for histogram \"h\""),
        ("h_count -Inf", "negative count for histogram \"h\""),
        ("h_bucket{le=\"2\"} -4", "negative bucket population for histogram \"h\""),
        ("h_bucket{le=\"2\"} -0.5", "negative bucket population for histogram \"h\""),
    ] {
        let body = format!("# HELP h Some help.\n# TYPE h histogram\nh_sum 3\n{line}\n");
        let answer = pair.differs(Why::Later, &Request::put(PATH, body), 400);
        let expected = format!("text format parsing error in line 4: {reason}\n");
        pair.check(answer.text() == expected, &expected);
    }
    pair.finish();
}

/// A text that is no name without quotes is none in quotes, unless names may be any UTF-8.
#[test]
fn names_in_quotes_are_names() {
    let mut pair = Pair::start(&[]);
    for (body, reason) in [
        ("{\"a.b\",c=\"d\"} 1\n", "line 1: invalid metric name \"a.b\"\n"),
        ("\n{c=\"d\",\"a b\"} 1\n", "line 2: invalid metric name \"a b\"\n"),
        ("{\"1\"} 1\n", "line 1: invalid metric name \"1\"\n"),
        ("# TYPE \"a.b\" counter\n", "line 1: invalid metric name"),
        ("# HELP \"a.b\" text\n", "line 1: invalid metric name"),
        ("m{\"e\"=\"f\", \"a.b\"=\"c\"} 1\n", "line 1: invalid label name \"a.b\"\n"),
        ("m{\"1\"=\"f\"} 1\n", "line 1: invalid label name \"1\"\n"),
    ] {
        let answer = pair.differs(Why::Later, &Request::put(PATH, body), 400);
        let expected = format!("text format parsing error in {reason}");
        pair.check(
            answer.text().starts_with(&expected),
            &format!("{expected:?}, not {:?}", answer.text()),
        );
    }
    pair.finish();
}

/// 1.11.0 finds only in the check that a sample has no name.
#[test]
fn samples_have_a_name() {
    let mut pair = Pair::start(&[]);
    for body in ["{} 3.14\n", "{ } 1\n", "a 1\n{} 2\n", "# TYPE a gauge\n{} 2\n"] {
        let answer = pair.differs(Why::Later, &Request::put(PATH, body), 400);
        let says = "text format parsing error in line ";
        pair.check(answer.text().starts_with(says), &answer.text());
    }
    pair.finish();
}
