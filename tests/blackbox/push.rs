//! PUT replaces a group, POST the families that it brings, and the grouping labels always count.

use support::{Gateway, minutes};

const NO_SETTINGS: &str = "";

#[test]
fn put_replaces_the_group_and_post_only_what_it_brings() {
    let gateway = Gateway::start(NO_SETTINGS);
    gateway.put("/metrics/job/j", "a{l=\"1\"} 1\na{l=\"2\"} 2\nb 3\n").expect(200);
    gateway.put("/metrics/job/other", "c 4\n").expect(200);

    // A family is replaced with all of its series, and the others stay.
    gateway.post("/metrics/job/j", "a{l=\"2\"} 5\n").expect(200);
    gateway
        .scrape()
        .shows(&["a{instance=\"\",job=\"j\",l=\"2\"} 5", "b{instance=\"\",job=\"j\"} 3"])
        .lacks("l=\"1\"");

    gateway.put("/metrics/job/j", "d 6\n").expect(200);
    gateway
        .scrape()
        .shows(&["d{instance=\"\",job=\"j\"} 6", "c{instance=\"\",job=\"other\"} 4"])
        .lacks("a{")
        .lacks("b{");
    gateway.stop();
}

#[test]
fn a_push_is_answered_200_with_no_body() {
    let gateway = Gateway::start(NO_SETTINGS);
    for method in ["PUT", "POST"] {
        let answer = gateway.send(method, "/metrics/job/j", &[], b"m 1\n").expect(200);
        assert_eq!(answer.body, b"");
        assert_eq!(answer.header("content-length"), Some("0"));
    }
    gateway.stop();
}

#[test]
fn an_empty_push_renews_the_group_and_with_put_empties_it() {
    for nothing in ["", "# only a comment\n", "# TYPE m counter\n# HELP m Has no sample.\n", "\n\n"]
    {
        let gateway = Gateway::start(NO_SETTINGS);
        gateway.put("/metrics/job/j", "m 1\n").expect(200);
        gateway.advance(minutes(1));
        gateway.post("/metrics/job/j", nothing).expect(200);
        let posted = gateway.scrape();
        posted.shows(&["m{instance=\"\",job=\"j\"} 1"]);
        let pushed = "push_time_seconds{instance=\"\",job=\"j\"}";
        assert_eq!(posted.value(pushed), gateway.wall_text(), "{nothing:?}");

        gateway.advance(minutes(1));
        gateway.put("/metrics/job/j", nothing).expect(200);
        let put = gateway.scrape();
        put.lacks("m{");
        assert_eq!(put.value(pushed), gateway.wall_text(), "{nothing:?}");

        // A group of nothing but its two stamps is a group.
        gateway.post("/metrics/job/new", nothing).expect(200);
        let stamp = "push_time_seconds{instance=\"\",job=\"new\"}";
        assert_eq!(gateway.scrape().value(stamp), gateway.wall_text());
        gateway.stop();
    }
}

#[test]
fn grouping_labels_count_over_labels_of_the_body() {
    let gateway = Gateway::start(NO_SETTINGS);
    for (path, body, shown) in [
        // Without an instance of any kind there is an empty one.
        ("/metrics/job/a", "m 1\n", "m{instance=\"\",job=\"a\"} 1"),
        ("/metrics/job/b", "m{job=\"x\"} 1\n", "m{instance=\"\",job=\"b\"} 1"),
        // The body's instance stays where the key has none.
        ("/metrics/job/c", "m{instance=\"i\"} 1\n", "m{instance=\"i\",job=\"c\"} 1"),
        ("/metrics/job/d/instance/k", "m{instance=\"i\"} 1\n", "m{instance=\"k\",job=\"d\"} 1"),
        (
            "/metrics/job/e/zone/z",
            "m{zone=\"\",a=\"1\",job=\"\",zz=\"2\"} 1\n",
            "m{a=\"1\",instance=\"\",job=\"e\",zone=\"z\",zz=\"2\"} 1",
        ),
        // As the Go Pushgateway has it: an empty label is a label.
        ("/metrics/job/f", "m{l=\"\"} 1\n", "m{instance=\"\",job=\"f\",l=\"\"} 1"),
    ] {
        gateway.put(path, body).expect(200);
        gateway.scrape().shows(&[shown]);
    }
    gateway.stop();
}

#[test]
fn a_group_is_the_set_of_its_labels_whatever_their_order() {
    let gateway = Gateway::start(NO_SETTINGS);
    gateway.put("/metrics/job/j/a/1/b/2", "m 1\n").expect(200);
    gateway.put("/metrics/job/j/b/2/a/1", "m 2\n").expect(200);
    // These are others.
    gateway.put("/metrics/job/j/a/1", "m 3\n").expect(200);
    gateway.put("/metrics/job/j", "m 4\n").expect(200);
    let scrape = gateway.scrape();
    assert_eq!(scrape.family("m").len(), 1 + 3, "{:?}", scrape.family("m"));
    scrape.shows(&[
        "m{a=\"1\",b=\"2\",instance=\"\",job=\"j\"} 2",
        "m{a=\"1\",instance=\"\",job=\"j\"} 3",
        "m{instance=\"\",job=\"j\"} 4",
    ]);
    gateway.stop();
}

#[test]
fn every_group_has_the_times_of_its_last_success_and_failure() {
    let gateway = Gateway::start(NO_SETTINGS);
    let labels = "{instance=\"i\",job=\"j\"}";
    let (succeeded, failed) =
        (format!("push_time_seconds{labels}"), format!("push_failure_time_seconds{labels}"));
    let path = "/metrics/job/j/instance/i";

    // A failure creates the group.
    let first = gateway.wall_text();
    gateway.put(path, "m 1 1234\n").expect(400);
    let scrape = gateway.scrape();
    assert_eq!((scrape.value(&succeeded), scrape.value(&failed)), ("0", first.as_str()));

    // A success leaves the time of the failure, also where it replaces the group.
    gateway.advance(minutes(1));
    let second = gateway.wall_text();
    gateway.put(path, "m 1\n").expect(200);
    let scrape = gateway.scrape();
    assert_eq!((scrape.value(&succeeded), scrape.value(&failed)), (&*second, &*first));

    gateway.advance(minutes(1));
    let third = gateway.wall_text();
    gateway.post(path, "m 1 1234\n").expect(400);
    let scrape = gateway.scrape();
    assert_eq!((scrape.value(&succeeded), scrape.value(&failed)), (&*second, &*third));
    scrape.shows(&[
        "m{instance=\"i\",job=\"j\"} 1",
        "# HELP push_time_seconds Last Unix time when changing this group in the Pushgateway succeeded.",
        "# TYPE push_time_seconds gauge",
        "# HELP push_failure_time_seconds Last Unix time when changing this group in the Pushgateway failed.",
        "# TYPE push_failure_time_seconds gauge",
    ]);

    gateway.put("/metrics/job/never-failed", "m2 1\n").expect(200);
    let never = "push_failure_time_seconds{instance=\"\",job=\"never-failed\"}";
    assert_eq!(gateway.scrape().value(never), "0");
    gateway.stop();
}

#[test]
fn an_unreadable_push_changes_neither_time() {
    let gateway = Gateway::start(NO_SETTINGS);
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    let before = gateway.scrape().pushed();
    gateway.advance(minutes(1));
    gateway.put("/metrics/job/j", "m one\n").expect(400);
    gateway.put("/metrics/job/j/odd", "m 1\n").expect(400);
    gateway.send("PUT", "/metrics/job/j", &[("Content-Encoding", "gzip")], b"m 1\n").expect(400);
    gateway.send("PUT", "/metrics/job/j", &[("Tidegate-TTL", "soon")], b"m 1\n").expect(400);
    gateway.put("/metrics/job/new", "m one\n").expect(400);
    assert_eq!(gateway.scrape().pushed(), before);
    gateway.stop();
}

#[test]
fn pushed_stamps_never_count() {
    let gateway = Gateway::start(NO_SETTINGS);
    // Of another type too: the Go Pushgateway can be poisoned with that (compat 1.8 c).
    let body = "m 1\n# TYPE push_time_seconds counter\npush_time_seconds 7\n\
                # TYPE push_failure_time_seconds counter\npush_failure_time_seconds 8\n";
    for _ in 0..2 {
        gateway.put("/metrics/job/j", body).expect(200);
        gateway.post("/metrics/job/j", body).expect(200);
        let now = gateway.wall_text();
        gateway.scrape().shows(&[
            "# TYPE push_time_seconds gauge",
            "# TYPE push_failure_time_seconds gauge",
            &format!("push_time_seconds{{instance=\"\",job=\"j\"}} {now}"),
            "push_failure_time_seconds{instance=\"\",job=\"j\"} 0",
        ]);
    }
    gateway.put("/metrics/job/next", "m 1\n").expect(200);
    gateway.stop();
}

#[test]
fn the_help_of_the_most_recent_push_counts_while_its_group_is_there() {
    let gateway = Gateway::start(NO_SETTINGS);
    let push = |job: &str, help: &str| {
        let body = format!("# HELP m {help}\n# TYPE m gauge\nm 1\n");
        gateway.put(&format!("/metrics/job/{job}"), body).expect(200);
    };
    let help = || gateway.scrape().family("m")[0].clone();
    push("a", "From a.");
    push("b", "From b.");
    assert_eq!(help(), "# HELP m From b.");
    push("a", "From a again.");
    assert_eq!(help(), "# HELP m From a again.");
    gateway.delete("/metrics/job/a").expect(202);
    assert_eq!(help(), "# HELP m From b.");
    // It is escaped as it was in the push.
    push("b", "Back\\\\slash and\\nnewline.");
    assert_eq!(help(), "# HELP m Back\\\\slash and\\nnewline.");
    gateway.stop();
}

#[test]
fn the_type_of_a_family_can_change_with_its_only_group() {
    let gateway = Gateway::start(NO_SETTINGS);
    for (method, kind) in [("PUT", "counter"), ("PUT", "gauge"), ("POST", "untyped")] {
        let body = format!("# TYPE m {kind}\nm 1\n");
        gateway.send(method, "/metrics/job/j", &[], body.as_bytes()).expect(200);
        gateway.scrape().shows(&[&format!("# TYPE m {kind}")]);
    }
    gateway.stop();
}

#[test]
fn a_family_that_the_gateway_has_too_is_one_family() {
    let gateway = Gateway::start(NO_SETTINGS);
    let body = "# HELP tidegate_groups Foreign.\n# TYPE tidegate_groups gauge\ntidegate_groups 7\n";
    gateway.put("/metrics/job/j", body).expect(200);
    let scrape = gateway.scrape();
    scrape.shows(&["tidegate_groups{instance=\"\",job=\"j\"} 7", "tidegate_groups 1"]);
    scrape.lacks("Foreign.");
    gateway.stop();
}

#[test]
fn large_groups_and_families_are_shown_whole() {
    let gateway = Gateway::start(NO_SETTINGS);
    let families: Vec<_> = (0..1000).map(|n| format!("f{n:04}{{l=\"x\"}} {n}\n")).collect();
    gateway.put("/metrics/job/wide", families.concat()).expect(200);
    gateway.post("/metrics/job/wide", "f0500 -1\n").expect(200);
    let series: Vec<_> = (0..5000).map(|n| format!("deep{{n=\"{n}\"}} {n}\n")).collect();
    let series = series.concat();
    gateway.put("/metrics/job/deep", &series).expect(200);
    gateway.put("/metrics/job/shrunk", series.replace("deep", "shrunk")).expect(200);
    gateway.put("/metrics/job/shrunk", "shrunk{n=\"1\"} 1\n").expect(200);
    let shown = gateway.scrape();
    let check = |shown: &support::Exposition| {
        let wide = shown.names().filter(|name| name.starts_with('f')).count();
        assert_eq!((wide, shown.family("deep").len()), (1000, 1 + 5000));
        assert_eq!(shown.family("shrunk").len(), 1 + 1);
        shown.shows(&[
            "f0500{instance=\"\",job=\"wide\"} -1",
            "f0499{instance=\"\",job=\"wide\",l=\"x\"} 499",
            "deep{instance=\"\",job=\"deep\",n=\"4999\"} 4999",
        ]);
    };
    check(&shown);
    let gateway = gateway.restart();
    let again = gateway.scrape();
    check(&again);
    let sorted = |text: String| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(again.pushed()), sorted(shown.pushed()));
    gateway.stop();
}
