//! Pushes that break the reference: from then on it shows nothing and takes nothing, until the
//! group is deleted. Here each is refused, or harmless, and nothing else notices.

use crate::differential::explained::Why;
use crate::differential::http::Request;
use crate::differential::pair::Pair;
use support::protobuf::{CONTENT_TYPE, MetricType, body, family, gauge};

/// Sends the pushes to a fresh pair. The last has to be answered with `status` here, the state as
/// it was before has to stay, and the reference's scrape has to be broken: or else it is no poison.
fn poison(flags: &[&str], pushes: &[Request], status: u16) {
    let mut pair = Pair::start(flags);
    let scrape = Request::get("/metrics");
    let (last, first) = pushes.split_last().unwrap();
    pair.case(last.to_string());
    pair.same(&Request::put("/metrics/job/bystander", "bystander 1\n"));
    for push in first {
        pair.same(push);
    }
    pair.settle();
    pair.same(&scrape);
    let (_, ours) = pair.send(last);
    pair.check(ours.status == Some(status), &format!("{status}, not {:?}", ours.status));
    // Deletes and unchecked pushes are applied behind the answer.
    pair.settle();
    let shown = pair.differs(Why::Poison, &scrape, 200);
    let line = "\nbystander{instance=\"\",job=\"bystander\"} 1\n";
    pair.check(shown.text().contains(line), "others are still shown");
    let other = Request::put("/metrics/job/other", "other 1\n");
    let taken = if flags.contains(&"--push.disable-consistency-check") { 202 } else { 200 };
    let answer = pair.only_ours(&other);
    pair.check(answer.status == Some(taken), "others can still push");
    pair.settle();
    let shown = pair.only_ours(&scrape).text();
    pair.check(shown.contains("\nother{instance=\"\",job=\"other\"} 1\n"), "and are shown");
    pair.check(pair.only_ours(&Request::get("/api/v1/metrics")).status == Some(200), "the API");
    pair.finish();
}

#[test]
fn grouping_values_that_are_not_utf8() {
    for path in ["job/%FF", "job/x/l/%FF", "job@base64/_w", "job/x/l@base64/_w", "job/%C3"] {
        poison(&[], &[Request::put(format!("/metrics/{path}"), "m 1\n")], 400);
    }
}

#[test]
fn names_that_are_not_utf8() {
    for flags in [&[][..], &["--push.enable-utf8-names"]] {
        let mut pair = Pair::start(flags);
        for path in ["job/x/%FF/v", "job/x/a%FF/v"] {
            let push = Request::put(format!("/metrics/{path}"), "m 1\n");
            pair.differs(Why::Poison, &push, 400);
        }
        pair.same_state();
        pair.finish();
    }
}

/// A delete of such a group finds nothing, and says what every delete says.
#[test]
fn deletes_of_groups_that_are_not_utf8() {
    let mut pair = Pair::start(&[]);
    let delete = Request::delete("/metrics/job/%FF");
    let (reference, ours) = pair.send(&delete);
    pair.check(reference.status == Some(202), "the reference takes it");
    pair.check(matches!(ours.status, Some(202 | 400)), "it is answered");
    pair.same_state();
    pair.finish();
}

#[test]
fn names_that_decode_to_a_reserved_one() {
    let push = Request::put("/metrics/job/x/U______x/v", "m 1\n");
    poison(&["--push.enable-utf8-names"], &[push], 400);
}

#[test]
fn a_failed_push_whose_stamp_would_collide() {
    // The two groups have the same labels once the empty instance is added.
    let first = Request::put("/metrics/job/x", "m 1\n");
    let second = Request::put("/metrics/job/x/instance/", "n 1\n");
    poison(&[], &[first, second], 400);
}

#[test]
fn a_time_of_failure_of_another_type() {
    let push = "# TYPE push_failure_time_seconds counter\npush_failure_time_seconds 1\n";
    let mut pair = Pair::start(&[]);
    // It has to be the only group.
    pair.same(&Request::put("/metrics/job/x", "m 1\n"));
    pair.same(&Request::put("/metrics/job/x", push));
    let ours = pair.only_ours(&Request::put("/metrics/job/y", "m 1\n"));
    pair.check(ours.status == Some(200), "others can still push");
    let reference = pair.only_reference(&Request::put("/metrics/job/y", "m 1\n"));
    pair.check(reference.status.is_none(), "the reference cannot: or else it is no poison");
    let scrape = pair.differs(Why::Poison, &Request::get("/metrics"), 200);
    let never = "push_failure_time_seconds{instance=\"\",job=\"y\"} 0\n";
    pair.check(scrape.text().contains(never), "the time of failure is the gateway's");
    pair.finish();
}

/// The reference's scrape is then cut off before its first byte, with a status of 200.
#[test]
fn a_family_without_a_name() {
    let mut nameless = family("", MetricType::Gauge, vec![gauge(&[], 1.0)]);
    for name in [Some(String::new()), None] {
        nameless.name = name;
        let push = Request::put("/metrics/job/x", body(std::slice::from_ref(&nameless)));
        poison(&[], &[push.header("Content-Type", CONTENT_TYPE)], 400);
    }
}

#[test]
fn anything_inconsistent_where_nothing_is_checked() {
    let unchecked = ["--push.disable-consistency-check"];
    for (first, second) in [
        ("# TYPE m gauge\nm 1\n", "# TYPE m counter\nm 1\n"),
        ("m{job=\"x\"} 1\n", "n{__a=\"b\"} 1\n"),
        ("m 1\n", "m 2\nm 3\n"),
        ("# TYPE m summary\nm_sum 1\n", "m_count 1\n"),
    ] {
        let pushes =
            [Request::put("/metrics/job/x", first), Request::put("/metrics/job/y", second)];
        poison(&unchecked, &pushes, 202);
    }
}
