//! The consistency check: what is refused, what is not, and what a refusal leaves behind.

use crate::differential::explained::Why;
use crate::differential::http::Request;
use crate::differential::pair::Pair;
use crate::differential::pushes::play;

#[test]
fn types() {
    play(
        &[],
        &[
            (
                "another type in another group",
                &[
                    ("PUT", "job/x", "# TYPE m counter\nm 1\n"),
                    ("PUT", "job/y", "# TYPE m gauge\nm 1\n"),
                    ("PUT", "job/y", "m 1\n"),
                    ("PUT", "job/y", "# TYPE m summary\nm_sum 1\n"),
                    ("PUT", "job/y", "# TYPE m histogram\nm_sum 1\n"),
                    ("PUT", "job/y", "# TYPE m counter\nm 1\n"),
                    ("DELETE", "job/x", ""),
                    ("PUT", "job/y", "# TYPE m gauge\nm 1\n"),
                ],
            ),
            (
                "families of the gateway itself",
                &[
                    (
                        "PUT",
                        "job/x",
                        "# TYPE pushgateway_build_info counter\npushgateway_build_info 1\n",
                    ),
                    ("PUT", "job/x", "pushgateway_build_info 1\n"),
                    ("PUT", "job/x", "# TYPE process_open_fds counter\nprocess_open_fds 1\n"),
                    (
                        "PUT",
                        "job/x",
                        "# TYPE process_cpu_seconds_total gauge\nprocess_cpu_seconds_total 1\n",
                    ),
                    (
                        "PUT",
                        "job/x",
                        "# TYPE pushgateway_http_requests_total gauge\npushgateway_http_requests_total 1\n",
                    ),
                    (
                        "PUT",
                        "job/x",
                        "# TYPE pushgateway_http_push_size_bytes gauge\npushgateway_http_push_size_bytes 1\n",
                    ),
                    ("PUT", "job/x", "# TYPE push_time_seconds counter\nm 1\n"),
                    (
                        "PUT",
                        "job/x",
                        "# TYPE pushgateway_build_info gauge\npushgateway_build_info 1\n",
                    ),
                ],
            ),
        ],
    );
}

#[test]
fn duplicates() {
    play(
        &[],
        &[
            (
                "in a push",
                &[
                    ("PUT", "job/x", "m 1\nm 2\n"),
                    ("PUT", "job/x", "m{a=\"b\",c=\"d\"} 1\nm{c=\"d\",a=\"b\"} 2\n"),
                    ("PUT", "job/x", "m{a=\"b\"} 1\nm{a=\"bc\"} 1\nm{ab=\"c\"} 1\n"),
                ],
            ),
            (
                "between groups",
                &[
                    ("PUT", "job/x/instance/i", "m 1\nn 2\n"),
                    ("PUT", "job/x", "m{instance=\"i\"} 1\n"),
                    ("PUT", "job/x", "m{instance=\"j\"} 1\n"),
                    ("POST", "job/x", "n{instance=\"i\"} 1\n"),
                    ("PUT", "job/x/instance/j", "m 1\n"),
                    ("DELETE", "job/x", ""),
                    ("PUT", "job/x/instance/j", "m 1\n"),
                ],
            ),
            (
                "a group of fewer labels, with the others in the body",
                &[
                    ("PUT", "job/x/a/1/b/2", "m 1\n"),
                    ("PUT", "job/x/a/1", "m{b=\"2\"} 1\n"),
                    ("PUT", "job/x/b/2", "m{a=\"1\"} 1\n"),
                    ("PUT", "job/x", "m{a=\"1\",b=\"2\",c=\"3\"} 1\n"),
                ],
            ),
            (
                "a group in the way of its own push only",
                &[
                    ("PUT", "job/x", "m 1\n"),
                    ("PUT", "job/x", "m 2\n"),
                    ("POST", "job/x", "m 3\n"),
                    ("POST", "job/x", "n{instance=\"\"} 3\n"),
                ],
            ),
        ],
    );
}

#[test]
fn labels() {
    play(
        &[],
        &[
            (
                "names that are reserved",
                &[
                    ("PUT", "job/x", "m{__a=\"b\"} 1\n"),
                    ("PUT", "job/x", "m{__=\"b\"} 1\n"),
                    ("PUT", "job/x", "m{_=\"b\"} 1\n"),
                    ("PUT", "job/x", "m{a__=\"b\",_a=\"c\"} 1\n"),
                ],
            ),
            (
                "a quantile on a summary",
                &[
                    ("PUT", "job/quantile", "# TYPE s summary\ns_sum{quantile=\"0.5\"} 1\n"),
                    ("PUT", "job/x/quantile/0.5", "# TYPE s summary\ns_sum 1\n"),
                    ("PUT", "job/x", "# TYPE h histogram\nh_sum{quantile=\"0.5\"} 1\n"),
                    ("PUT", "job/x", "# TYPE h histogram\nh_sum{le=\"0.5\"} 1\n"),
                    ("PUT", "job/x", "# TYPE c counter\nc{quantile=\"0.5\",le=\"1\"} 1\n"),
                ],
            ),
            (
                "a replacement character is a character",
                &[("PUT", "job/x", "m{a=\"\u{fffd}\"} 1\n"), ("PUT", "job/%EF%BF%BD", "m 1\n")],
            ),
        ],
    );
}

#[test]
fn suffixes() {
    let mut scenarios = Vec::new();
    for (kind, sample) in [("summary", "m_sum 1"), ("histogram", "m_sum 1"), ("gauge", "m 1")] {
        for suffix in ["count", "sum", "bucket", "total"] {
            scenarios.push((
                format!("# TYPE m {kind}\n{sample}\n"),
                format!("# TYPE m_{suffix} gauge\nm_{suffix} 1\n"),
            ));
        }
    }
    let mut pair = Pair::with_wipe();
    for (whole, part) in scenarios {
        for (first, second) in [(&whole, &part), (&part, &whole)] {
            pair.case(format!("{first:?} and {second:?}"));
            pair.same(&Request::put("/metrics/job/x", first.as_str()));
            pair.same(&Request::put("/metrics/job/y", second.as_str()));
            pair.same_state();
            pair.same(&Request::post("/metrics/job/x", second.as_str()));
            pair.same_state();
            pair.same(&Request::put("/metrics/job/x", second.as_str()));
            pair.same_state();
            pair.wipe();
            pair.same(&Request::put("/metrics/job/x", format!("{part}{whole}")));
            pair.same_state();
            pair.wipe();
        }
    }
    pair.finish();
}

/// The families of the gateway itself are in the check too, as far as they share names.
#[test]
fn suffixes_of_the_gateways_own() {
    play(
        &[],
        &[(
            "its summaries",
            &[
                ("PUT", "job/x", "m 1\n"),
                ("PUT", "job/y", "pushgateway_http_push_size_bytes_sum 1\n"),
                ("PUT", "job/y", "pushgateway_http_push_duration_seconds_count 1\n"),
                ("PUT", "job/y", "pushgateway_http_push_size_bytes_bucket 1\n"),
                ("PUT", "job/y", "# TYPE push_time_seconds_sum gauge\npush_time_seconds_sum 1\n"),
                ("PUT", "job/y", "# TYPE push_time histogram\npush_time_sum 1\n"),
            ],
        )],
    );
}

#[test]
fn what_is_not_refused() {
    play(
        &[],
        &[
            (
                "series of different labels",
                &[("PUT", "job/x", "m 1\nm{a=\"b\"} 2\nm{c=\"d\",e=\"f\"} NaN\n")],
            ),
            (
                "odd buckets",
                &[(
                    "PUT",
                    "job/x",
                    "# TYPE h histogram\nh_bucket{le=\"5\"} 9\nh_bucket{le=\"1\"} 12\nh_count 3\n",
                )],
            ),
            (
                "many problems at once",
                &[
                    ("PUT", "job/x", "# TYPE m gauge\nm 1\n"),
                    ("PUT", "job/y", "m 1\nm 1\nn{__a=\"b\"} 1\nm_sum 1\n"),
                    ("PUT", "job/y", "m 1\nn 1 1000\n"),
                ],
            ),
        ],
    );
}

/// Go's runtime is not here, so that its families are anybody's.
#[test]
fn families_of_the_go_runtime() {
    let mut pair = Pair::start(&[]);
    let counter = "# TYPE go_goroutines counter\ngo_goroutines 1\n";
    pair.differs(Why::GoRuntime, &Request::put("/metrics/job/x", counter), 200);
    let gauge = "# TYPE go_goroutines gauge\n# HELP go_goroutines Number of goroutines that currently exist.\ngo_goroutines 7\n";
    pair.same(&Request::put("/metrics/job/x", gauge));
    let line = "\ngo_goroutines{instance=\"\",job=\"x\"} 7\n";
    for scrape in
        [pair.only_reference(&Request::get("/metrics")), pair.only_ours(&Request::get("/metrics"))]
    {
        pair.check(scrape.text().contains(line), "the pushed series is there");
    }
    pair.finish();
}

/// A pushed family that the gateway has too is one family with both.
#[test]
fn families_that_the_gateway_has_too() {
    let mut pair = Pair::start(&[]);
    let own = "# TYPE process_open_fds gauge\nprocess_open_fds 7\n\
               # TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 8\n\
               # TYPE pushgateway_build_info gauge\npushgateway_build_info 9\n";
    pair.same(&Request::put("/metrics/job/x", own));
    for scrape in
        [pair.only_reference(&Request::get("/metrics")), pair.only_ours(&Request::get("/metrics"))]
    {
        let text = scrape.text();
        for line in [
            "\nprocess_open_fds{instance=\"\",job=\"x\"} 7\n",
            "\nprocess_cpu_seconds_total{instance=\"\",job=\"x\"} 8\n",
            "\npushgateway_build_info{instance=\"\",job=\"x\"} 9\n",
            "\nprocess_open_fds ",
            "\npushgateway_build_info{",
            "\n# HELP process_open_fds Number of open file descriptors.\n",
            "\n# TYPE pushgateway_http_requests_total counter\n",
            "\n# TYPE pushgateway_http_push_duration_seconds summary\n",
            "\n# TYPE pushgateway_http_push_size_bytes summary\n",
            "\npushgateway_http_requests_total{code=\"200\",handler=\"push\",method=\"put\"} 1\n",
        ] {
            pair.check(text.contains(line), line);
        }
        for name in ["process_open_fds", "pushgateway_build_info"] {
            let types = text.matches(&format!("# TYPE {name} ")).count();
            pair.check(types == 1, "there is one family of a name");
        }
    }
    pair.finish();
}

/// Where groups differ in the HELP of a family, the latest push counts here; there, any.
#[test]
fn help() {
    let mut pair = Pair::with_wipe();
    for (job, help) in [("x", "one"), ("y", "two"), ("a", "three")] {
        let body = format!("# HELP m {help}\n# TYPE m gauge\nm 1\n");
        pair.same(&Request::put(format!("/metrics/job/{job}"), body));
        let scrape = pair.only_ours(&Request::get("/metrics")).text();
        pair.check(scrape.contains(&format!("# HELP m {help}\n# TYPE m gauge\n")), help);
    }
    pair.wipe();
    // One that the gateway has gets the gateway's, where it had that from the start.
    let known = "# HELP process_open_fds mine\n# TYPE process_open_fds gauge\nprocess_open_fds 1\n";
    pair.same(&Request::put("/metrics/job/x", known));
    for scrape in
        [pair.only_reference(&Request::get("/metrics")), pair.only_ours(&Request::get("/metrics"))]
    {
        let is_own =
            scrape.text().contains("# HELP process_open_fds Number of open file descriptors.\n");
        pair.check(is_own, "the gateway's HELP counts");
    }
    // The reference compares the HELP of families that came later.
    let late = "# HELP pushgateway_http_requests_total mine\n# TYPE pushgateway_http_requests_total counter\n\
                pushgateway_http_requests_total 1\n";
    pair.differs(Why::Help, &Request::put("/metrics/job/x", late), 200);
    pair.finish();
}
