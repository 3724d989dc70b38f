//! Refused pushes, the reasons, and that they change nothing but the time of the failure.

use support::protobuf::{self, MetricType};
use support::{Answer, Gateway, Tidegate, minutes};

const PREFIX: &str = "pushed metrics are invalid or inconsistent with existing metrics: ";

/// Pushes what has to be refused, and sees to it that nothing changed but the time of the failure.
#[track_caller]
fn refused(gateway: &Gateway, push: impl FnOnce() -> Answer, reason: &str) {
    let before = gateway.scrape().pushed_but_failures();
    let answer = push().expect(400);
    let text = answer.text();
    assert!(text.starts_with(PREFIX) && text.contains(reason), "{reason:?}: {text:?}");
    assert!(text.ends_with('\n') && answer.header("x-content-type-options") == Some("nosniff"));
    assert_eq!(gateway.scrape().pushed_but_failures(), before, "{reason}");
}

/// A gateway with pushed families of all types, and a group to push to.
fn with_families() -> Gateway {
    let gateway = Gateway::start("");
    let body = "# TYPE counter counter\ncounter 1\n# TYPE gauge gauge\ngauge{l=\"1\"} 1\nuntyped 1\n\
                # TYPE summary summary\nsummary_sum 1\nsummary_count 1\n\
                # TYPE histogram histogram\nhistogram_bucket{le=\"1\"} 1\nhistogram_count 1\n\
                taken_count 1\ntaken_sum 1\ntaken_bucket 1\n";
    gateway.put("/metrics/job/first", body).expect(200);
    gateway.put("/metrics/job/second", "other 1\n").expect(200);
    gateway
}

#[test]
fn text_that_contradicts_what_is_stored_is_refused() {
    let gateway = with_families();
    for (body, reason) in [
        ("# TYPE counter gauge\ncounter 1\n", "counter"),
        ("untyped 1\ncounter 1\n", "should have COUNTER"),
        ("# TYPE untyped counter\nuntyped 1\n", "has type COUNTER but should have UNTYPED"),
        ("# TYPE histogram summary\nhistogram_sum 1\n", "should have HISTOGRAM"),
        ("gauge{job=\"first\",l=\"1\"} 1 12\n", "pushed metrics must not have timestamps"),
        // Suffixes, the new one last…
        ("summary_count 1\n", "\"summary_count\" collides"),
        ("summary_sum 1\n", "\"summary_sum\" collides"),
        ("histogram_count 1\n", "\"histogram_count\" collides"),
        ("histogram_sum 1\n", "\"histogram_sum\" collides"),
        ("histogram_bucket 1\n", "\"histogram_bucket\" collides"),
        // …and first.
        ("# TYPE taken summary\ntaken_sum 1\n", "collides"),
        ("# TYPE taken histogram\ntaken_sum 1\n", "collides"),
        // The gateway's own families count too.
        ("# TYPE tidegate_groups counter\ntidegate_groups 1\n", "should have GAUGE"),
        ("tidegate_expiry_lag_seconds_count 1\n", "collides"),
        ("# TYPE tidegate_expiry_lag_seconds gauge\ntidegate_expiry_lag_seconds 1\n", "HISTOGRAM"),
    ] {
        for method in ["PUT", "POST"] {
            let push = || gateway.send(method, "/metrics/job/second", &[], body.as_bytes());
            refused(&gateway, push, reason);
        }
    }
    gateway.stop();
}

#[test]
fn names_that_only_look_alike_are_accepted() {
    let gateway = with_families();
    for body in [
        // Summaries have no buckets, and only they and histograms take further names.
        "summary_bucket 1\n",
        "counter_count 1\ncounter_sum 1\ngauge_bucket 1\n",
        "# TYPE taken gauge\ntaken 1\n",
        "m{a=\"\"} 1\n",
        "m{le=\"1\",quantile=\"0.5\"} 1\n",
        "counter_total 1\n",
    ] {
        gateway.put("/metrics/job/second", body).expect(200);
    }
    gateway.stop();
}

#[test]
fn text_that_contradicts_itself_is_refused() {
    let gateway = with_families();
    for (body, reason) in [
        ("m 1\nm 2\n", "was collected before with the same name and label values"),
        ("m{a=\"1\",b=\"2\"} 1\nm{b=\"2\",a=\"1\"} 2\n", "was collected before"),
        // The same once the grouping labels are in it.
        ("m{job=\"x\"} 1\nm{job=\"y\"} 2\n", "was collected before"),
        ("m{instance=\"\"} 1\nm 2\n", "was collected before"),
        // A label without a value is none.
        ("m{a=\"\"} 1\nm 2\n", "was collected before"),
        ("m_sum 1\n# TYPE m summary\nm_count 1\n", "collides"),
        ("m{__x=\"1\"} 1\n", "\"__x\""),
        ("m 1 1700000000000\n", "pushed metrics must not have timestamps"),
        ("m 1 0\n", "pushed metrics must not have timestamps"),
        ("fine 1\nm 1 5\n", "pushed metrics must not have timestamps"),
    ] {
        refused(&gateway, || gateway.put("/metrics/job/second", body), reason);
    }
    gateway.stop();
}

#[test]
fn a_series_can_be_in_one_group_only() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", "m{instance=\"i\",a=\"1\"} 1\n").expect(200);
    let duplicate = "was collected before with the same name and label values";
    for (path, body) in [
        ("/metrics/job/j/instance/i", "m{a=\"1\"} 2\n"),
        ("/metrics/job/j/a/1", "m{instance=\"i\"} 2\n"),
        ("/metrics/job/j/a/1/instance/i", "m 2\n"),
        ("/metrics/job/j/a/1/instance/i", "fine 1\nm{a=\"2\"} 2\n"),
    ] {
        refused(&gateway, || gateway.put(path, body), duplicate);
    }
    // Without the first group it is free.
    gateway.delete("/metrics/job/j").expect(202);
    gateway.put("/metrics/job/j/a/1/instance/i", "m 2\n").expect(200);
    gateway.scrape().shows(&["m{a=\"1\",instance=\"i\",job=\"j\"} 2"]);
    refused(&gateway, || gateway.put("/metrics/job/j", "m{instance=\"i\",a=\"1\"} 1\n"), duplicate);
    gateway.stop();
}

/// The answer says who holds the name, since when, and how to get out of the way.
#[test]
fn a_refusal_names_the_group_that_is_in_the_way() {
    let gateway = Gateway::start("[ttl]\ndefault = '7d'\n[push]\nenable-utf8-names = true\n");
    gateway
        .put("/metrics/job/a", "# TYPE x gauge\nx 1\n# TYPE s summary\ns_sum 1\ns_count 1\n")
        .expect(200);
    gateway
        .put("/metrics/job/b?ttl=never", "part_count 1\nseries{env=\"e\"} 1\n{\"dotted.name\"} 1\n")
        .expect(200);
    gateway.advance(minutes(61));
    for (body, held) in [
        (
            "# TYPE x counter\nx 1\n",
            "x has type COUNTER but should have GAUGE: the group {job=\"a\"} has it as gauge (created 2",
        ),
        (
            "# TYPE x counter\nx 1\n",
            "Z); it expires in 6d 22h unless it is pushed again; push it as that",
        ),
        ("s_count 1\n", "named \"s\": the group {job=\"a\"} has \"s\" (created "),
        ("# TYPE part summary\npart_sum 1\n", "the group {job=\"b\"} has \"part_count\" (created "),
        ("# TYPE part summary\npart_sum 1\n", "); it never expires; push under another name"),
        ("dotted_name 1\n", "the group {job=\"b\"} has \"dotted.name\" (created "),
        (
            "# TYPE tidegate_groups counter\ntidegate_groups 1\n",
            "the gateway's own metrics have it",
        ),
        ("tidegate_expiry_lag_seconds_count 1\n", "the gateway's own metrics have it"),
    ] {
        refused(&gateway, || gateway.put("/metrics/job/c", body), held);
    }
    let duplicate = || gateway.put("/metrics/job/b/env/e", "series 1\n");
    refused(&gateway, duplicate, "label values: the group {job=\"b\"} has it (created ");
    // Several, of which the pushed one is none.
    gateway.put("/metrics/job/d", "# TYPE x gauge\nx 1\n").expect(200);
    gateway.put("/metrics/job/e", "# TYPE x gauge\nx 1\n").expect(200);
    let counter = "# TYPE x counter\nx 1\n";
    refused(
        &gateway,
        || gateway.put("/metrics/job/c", counter),
        "{job=\"a\"} and 2 others have it as gauge (",
    );
    refused(
        &gateway,
        || gateway.put("/metrics/job/a", counter),
        "{job=\"d\"} and another one have it as gauge (",
    );
    // A push that contradicts itself is in nobody's way.
    let alone = gateway.put("/metrics/job/c", "y 1\ny 2\n").expect(400).text();
    assert!(alone.ends_with("label values\n"), "{alone}");
    // It is said to the client, as far as that may know it, and kept without.
    let group = gateway.get("/api/v2/groups?group=job/a").expect(200).data()["groups"][0].clone();
    let kept = group["last_failed_push_error"].as_str().unwrap();
    assert!(kept.ends_with("should have GAUGE"), "{kept}");
    // However long its labels are.
    gateway.put(&format!("/metrics/job/{}", "j".repeat(900)), "long 1\n").expect(200);
    let text = gateway.put("/metrics/job/c", "# TYPE long gauge\nlong 1\n").expect(400).text();
    assert!(text.len() < 800, "{}: {text}", text.len());
    gateway.stop();
}

/// The keys differ, the labels of their series do not: even the two stamps would be there twice.
#[test]
fn an_empty_instance_and_none_are_two_groups_that_cannot_both_be_there() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    let before = gateway.scrape().pushed();
    let other = "/metrics/job/j/instance@base64/=";
    let named = "the group {instance=\"\",job=\"j\"} has the labels of the group {job=\"j\"}, as a label without a \
                 value is no label";
    gateway.put(other, "m 2\n").expect(400).says(named);
    gateway.put(other, "n 2\n").expect(400).says("was collected before");
    assert_eq!(gateway.scrape().pushed(), before, "the stamp of the failure has no place");
    gateway.delete("/metrics/job/j").expect(202);
    gateway.put(other, "m 2\n").expect(200);
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 2"]);
    gateway.stop();
}

/// The same where only a scraper that escapes names has them alike.
#[test]
fn two_groups_whose_labels_are_escaped_alike_cannot_both_be_there() {
    let gateway = Gateway::start("[push]\nenable-utf8-names = true\n");
    gateway.put("/metrics/job/j/l_a/1", "m 1\n").expect(200);
    let named = "the labels of the group {job=\"j\",l_a=\"1\"}, as a scraper escapes their names; push to that one";
    gateway.put("/metrics/job/j/l.a/1", "n 1\n").expect(400).says(named);
    gateway.stop();
}

#[test]
fn a_collision_ends_once_the_other_family_is_removed() {
    for (first, second) in [
        ("# TYPE m counter\nm 1\n", "# TYPE m gauge\nm 1\n"),
        ("# TYPE m summary\nm_sum 1\nm_count 1\n", "m_count 1\n"),
        ("m_bucket 1\n", "# TYPE m histogram\nm_count 1\n"),
    ] {
        let gateway = Gateway::start("");
        gateway.put("/metrics/job/a", first).expect(200);
        refused(&gateway, || gateway.put("/metrics/job/b", second), "");
        gateway.put("/metrics/job/a", "something_else 1\n").expect(200);
        gateway.put("/metrics/job/b", second).expect(200);
        refused(&gateway, || gateway.put("/metrics/job/a", first), "");
        gateway.stop();
    }
}

#[test]
fn protobuf_that_is_not_what_it_says_is_refused() {
    let gateway = with_families();
    let gauge = protobuf::gauge;
    let two_labels = gauge(&[("a", "1"), ("a", "2")], 1.0);
    let grouping_label_twice = gauge(&[("job", "1"), ("job", "2")], 1.0);
    let mut late = gauge(&[], 1.0);
    late.timestamp_ms = Some(1);
    let summary = |labels: &[(&str, &str)]| protobuf::Metric {
        gauge: None,
        summary: Some(protobuf::Summary {
            sample_count: Some(1),
            sample_sum: Some(1.0),
            ..Default::default()
        }),
        ..gauge(labels, 0.0)
    };
    let cases = [
        ("m", MetricType::Counter, gauge(&[], 1.0), "is not a COUNTER"),
        ("m", MetricType::Histogram, gauge(&[], 1.0), "is not a HISTOGRAM"),
        ("m", MetricType::Gauge, two_labels, "two labels"),
        ("m", MetricType::Gauge, grouping_label_twice, "two labels"),
        ("m", MetricType::Gauge, gauge(&[("a-b", "1")], 1.0), "\"a-b\""),
        ("m", MetricType::Gauge, gauge(&[("", "1")], 1.0), "\"\""),
        ("m", MetricType::Gauge, gauge(&[("__x", "1")], 1.0), "\"__x\""),
        ("m", MetricType::Gauge, late, "timestamps"),
        ("m", MetricType::Summary, summary(&[("quantile", "1")]), "quantile"),
    ];
    for (name, kind, metric, reason) in cases {
        let body = protobuf::body(&[protobuf::family(name, kind, vec![metric])]);
        let headers = [("Content-Type", protobuf::CONTENT_TYPE)];
        let push = || gateway.send("PUT", "/metrics/job/second", &headers, &body);
        refused(&gateway, push, reason);
    }
    gateway.stop();
}

/// Each of these makes the Go Pushgateway fail all later scrapes, or lose them (compat 1.8).
#[test]
fn no_push_can_poison_the_gateway() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/good", "m 1\n").expect(200);
    let before = gateway.scrape().pushed();
    for path in ["/metrics/job/%FF", "/metrics/job/j/l/%C3%28", "/metrics/job/j/l@base64/_w"] {
        gateway.put(path, "m 1\n").expect(400).says("UTF-8");
        gateway.put(path, "m 1 1\n").expect(400);
    }
    let headers = [("Content-Type", protobuf::CONTENT_TYPE)];
    for name in ["", "a-b", "1a", "ä", "a b"] {
        let family = protobuf::family(name, MetricType::Gauge, vec![protobuf::gauge(&[], 1.0)]);
        let body = protobuf::body(&[family]);
        gateway.send("PUT", "/metrics/job/j", &headers, &body).expect(400);
    }
    let mut nameless = protobuf::family("", MetricType::Gauge, vec![protobuf::gauge(&[], 1.0)]);
    nameless.name = None;
    gateway.send("PUT", "/metrics/job/j", &headers, &protobuf::body(&[nameless])).expect(400);
    let after = gateway.scrape();
    after.shows(&["m{instance=\"\",job=\"good\"} 1"]).lacks("job=\"\u{fffd}");
    // A refused push may have left a stamp of its failure, in a group that can have one.
    let groups = |text: &str| text.matches("push_time_seconds{").count();
    assert!(groups(&after.pushed()) <= groups(&before) + 1);
    gateway.put("/metrics/job/good", "m 2\n").expect(200);
    gateway.stop();
}

#[test]
fn refusals_are_counted_by_reason() {
    let gateway = with_families();
    for (body, reason) in [
        ("m 1 1\n", "timestamp"),
        ("# TYPE counter gauge\ncounter 1\n", "type"),
        ("m 1\nm 1\n", "duplicate"),
        ("summary_count 1\n", "suffix"),
        ("m{__x=\"\"} 1\n", "label"),
        ("m x\n", "parse"),
    ] {
        let series = format!("tidegate_pushes_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(gateway.scrape().value(&series), "0");
        gateway.put("/metrics/job/second", body).expect(400);
        assert_eq!(gateway.scrape().value(&series), "1", "{reason}");
    }
    gateway.stop();
}

/// Whatever the reason, with who pushed it and from where, and once a minute for each group.
#[test]
fn each_refused_push_to_a_group_has_a_line_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Tidegate::serve(folder.path(), &["--limits.series-per-push=2"]);
    gateway.put("/metrics/job/taken", "# TYPE m counter\nm 1\n").expect(200);
    for (job, body, status, part) in [
        ("parse", "m one\n", 400, "reason=parse"),
        ("limit", "a 1\nb 1\nc 1\n", 413, "reason=limit"),
        ("type", "# TYPE m gauge\nm 1\n", 400, "reason=type"),
    ] {
        let path = format!("/metrics/job/{job}");
        for _ in 0..3 {
            gateway.put(&path, body).expect(status);
        }
        let line = gateway.process().logs("a refused push", |line| {
            line.contains("msg=\"push refused\"").then(|| line.to_owned())
        });
        for part in [part, &format!("path={path}"), "by=anonymous from=127.0.0.1", "method=PUT"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}
