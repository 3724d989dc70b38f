//! The store after PUT, POST and DELETE, and the metrics that the gateway adds.

use crate::differential::explained::Why;
use crate::differential::http::Request;
use crate::differential::pair::Pair;

/// A request: method, what follows `/metrics/`, body.
pub(crate) type Step = (&'static str, &'static str, &'static str);

/// Sends the steps of each scenario to an empty store, and compares the state behind each.
pub(crate) fn play(flags: &[&str], scenarios: &[(&str, &[Step])]) {
    let mut pair = Pair::start(&[flags, &["--web.enable-admin-api"]].concat());
    for (name, steps) in scenarios {
        for (number, step) in steps.iter().enumerate() {
            pair.case(format!("{name}, step {number}"));
            pair.same(&request(step));
            pair.same_state();
        }
        pair.wipe();
    }
    pair.finish();
}

pub(crate) fn request((method, path, body): &Step) -> Request {
    Request::new(method, format!("/metrics/{path}")).body(*body)
}

#[test]
fn put_replaces_the_group_and_post_the_family() {
    play(
        &[],
        &[
            (
                "PUT drops what it does not bring",
                &[
                    ("PUT", "job/x", "a 1\nb 2\n"),
                    ("PUT", "job/x", "b 3\nc 4\n"),
                    ("PUT", "job/x", "b{l=\"1\"} 5\n"),
                    ("PUT", "job/x", ""),
                    ("PUT", "job/x", "# only a comment\n"),
                    ("PUT", "job/x", "a 1\n"),
                ],
            ),
            (
                "POST keeps other families, and replaces all series of its own",
                &[
                    ("POST", "job/x", "a{l=\"1\"} 1\na{l=\"2\"} 2\nb 2\n"),
                    ("POST", "job/x", "a{l=\"1\"} 3\n"),
                    ("POST", "job/x", "# TYPE c gauge\nc 1\n"),
                    ("POST", "job/x", ""),
                    ("POST", "job/x", "# HELP a none\n"),
                    ("POST", "job/y", ""),
                    ("PUT", "job/z", ""),
                ],
            ),
            (
                "the type of a family may change with the group that has it",
                &[
                    ("PUT", "job/x", "# TYPE a counter\na 1\n"),
                    ("POST", "job/x", "# TYPE a gauge\na 1\n"),
                    ("PUT", "job/x", "# TYPE a summary\na_sum 1\n"),
                    ("PUT", "job/x", "# TYPE b gauge\nb 1\n"),
                    ("PUT", "job/y", "# TYPE a histogram\na_sum 1\n"),
                ],
            ),
            (
                "a family moves to another group",
                &[
                    ("PUT", "job/x", "a{job=\"y\"} 1\n"),
                    ("PUT", "job/y", "a 1\nb 2\n"),
                    ("DELETE", "job/x", ""),
                    ("PUT", "job/y/instance/i", "b 2\n"),
                    ("DELETE", "job/y", ""),
                    ("DELETE", "job/y", ""),
                    ("DELETE", "job/y/instance/i/", ""),
                ],
            ),
            (
                "DELETE takes only the very group",
                &[
                    ("PUT", "job/x/instance/y", "a 1\n"),
                    ("PUT", "job/x", "b 1\n"),
                    ("DELETE", "job/x", ""),
                    ("DELETE", "job/x/instance/z", ""),
                    ("DELETE", "job/x/instance/y/l/v", ""),
                    ("DELETE", "job/x/instance/y", ""),
                    ("POST", "job/x/instance/y", "c 1\n"),
                ],
            ),
            (
                "a delete ignores its body",
                &[
                    ("PUT", "job/x", "a 1\n"),
                    ("DELETE", "job/x", "what is this"),
                    ("DELETE", "job/x/a", "b 1\n"),
                ],
            ),
            (
                "histograms and summaries are replaced whole",
                &[
                    (
                        "POST",
                        "job/x",
                        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_count 2\nh_sum 3\n",
                    ),
                    ("POST", "job/x", "# TYPE h histogram\nh_bucket{le=\"2\"} 1\n"),
                    (
                        "POST",
                        "job/x",
                        "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_count 2\ns_sum 3\n",
                    ),
                    ("POST", "job/x", "# TYPE s summary\ns_count 0\n"),
                ],
            ),
        ],
    );
}

#[test]
fn times_of_success_and_of_failure() {
    play(
        &[],
        &[
            (
                "a first push that fails makes the group",
                &[
                    ("PUT", "job/x", "a 1 1000\n"),
                    ("PUT", "job/x", "a 1\n"),
                    ("PUT", "job/x", "a 1\nb{__x=\"y\"} 1\n"),
                    ("POST", "job/x", "b 1 5\n"),
                    ("PUT", "job/x", "c 1\n"),
                    ("PUT", "job/x", ""),
                    ("DELETE", "job/x", ""),
                    ("POST", "job/x", ""),
                ],
            ),
            (
                "a malformed push leaves no trace",
                &[
                    ("PUT", "job/x", "a\n"),
                    ("PUT", "job/x", "a 1\n"),
                    ("PUT", "job/x", "b\n"),
                    ("POST", "job/x/y", "a 1\n"),
                    ("DELETE", "job/x/y", ""),
                ],
            ),
            (
                "a failed PUT replaces nothing",
                &[
                    ("PUT", "job/x", "a 1\nb 2\n"),
                    ("PUT", "job/x", "a 3\nc 4 1000\n"),
                    ("POST", "job/x", "a 3\nc 4 1000\n"),
                    ("PUT", "job/y", "a{job=\"z\"} 3 1000\n"),
                ],
            ),
            (
                "push_time_seconds is the gateway's",
                &[
                    ("PUT", "job/x", "push_time_seconds 5\n"),
                    (
                        "POST",
                        "job/x",
                        "# TYPE push_time_seconds counter\npush_time_seconds{a=\"b\"} 5\n",
                    ),
                    ("PUT", "job/x", "# TYPE push_time_seconds gauge\npush_time_seconds 5\n"),
                    ("PUT", "job/y", "# HELP push_time_seconds mine\na 1\npush_time_seconds 5\n"),
                    ("PUT", "job/y", "push_time_seconds 5 1000\n"),
                ],
            ),
        ],
    );
}

/// The reference takes the client's word for it from the second push on, against its manual.
#[test]
fn the_time_of_failure_is_the_gateways_too() {
    let mut pair = Pair::start(&[]);
    let body = "# TYPE push_failure_time_seconds gauge\npush_failure_time_seconds 5\n";
    pair.same(&Request::put("/metrics/job/x", body));
    pair.same_state();
    pair.same(&Request::put("/metrics/job/x", body));
    pair.settle();
    let scrape = pair.differs(Why::FailureTime, &Request::get("/metrics"), 200);
    let never = "push_failure_time_seconds{instance=\"\",job=\"x\"} 0\n";
    pair.check(scrape.text().contains(never), "it has never failed");
    pair.finish();
}

/// The reference has no limits: what is beyond one of ours is refused here.
#[test]
fn sizes_are_limited() {
    let mut pair = Pair::start_each(&[], &["--limits.label-value-length=1KiB"]);
    let long = "x".repeat(2000);
    pair.differs(
        Why::Limits,
        &Request::put("/metrics/job/x", format!("m{{a=\"{long}\"}} 1\n")),
        400,
    );
    pair.same(&Request::put("/metrics/job/x", format!("m{{a=\"{}\"}} 1\n", &long[..1000])));
    pair.finish();
}
