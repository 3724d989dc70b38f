//! Quitting, wiping, and ends.

use crate::differential::http::{Answer, Request};
use crate::differential::pair::Pair;

/// The reference answers, and at the same moment begins to end: where the end is first, it does not.
fn quit(pair: &mut Pair, request: &Request) {
    let (reference, ours) = pair.send(request);
    let said =
        |answer: &Answer| answer.status == Some(200) && answer.body.starts_with(b"Requesting");
    pair.check(said(&ours), "ours answers");
    pair.check(
        said(&reference) || reference.status.is_none(),
        "the reference answers, or has ended",
    );
}

#[test]
fn quit_answers_and_then_ends_in_order() {
    for method in ["PUT", "POST"] {
        let mut pair = Pair::start(&["--web.enable-lifecycle"]);
        pair.case(method);
        for other in ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH"] {
            pair.same(&Request::new(other, "/-/quit"));
            pair.same(&Request::new(other, "/-/quit/"));
        }
        pair.same(&Request::new("PUT", "/-/quit/"));
        // One that cannot be decoded is no quit.
        pair.same(&Request::put("/-/quit", "x").header("Content-Encoding", "gzip"));
        pair.same(&Request::get("/-/ready"));
        quit(&mut pair, &Request::new(method, "/-/quit").body("whatever"));
        let ends = pair.ended();
        assert_eq!(ends[0].code(), Some(0), "the reference");
        assert_eq!(ends[1].code(), Some(0), "ours");
    }
}

#[test]
fn quit_below_a_prefix() {
    let mut pair = Pair::start(&["--web.enable-lifecycle", "--web.route-prefix=/foo"]);
    for method in ["GET", "PUT", "POST", "DELETE", "OPTIONS"] {
        pair.same(&Request::new(method, "/-/quit"));
    }
    pair.same(&Request::get("/foo/-/quit"));
    quit(&mut pair, &Request::new("PUT", "/foo/-/quit"));
    let ends = pair.ended();
    assert_eq!((ends[0].code(), ends[1].code()), (Some(0), Some(0)));
}

#[test]
fn signals_end_both_in_order() {
    for signal in ["TERM", "INT"] {
        let pair = Pair::start(&[]);
        pair.reference().signal(signal);
        pair.ours().signal(signal);
        let ends = pair.ended();
        assert_eq!((ends[0].code(), ends[1].code()), (Some(0), Some(0)), "{signal}");
    }
}

#[test]
fn wipe_where_it_is_on() {
    let mut pair = Pair::start(&["--web.enable-admin-api"]);
    for job in ["a", "b", "c"] {
        pair.same(&Request::put(format!("/metrics/job/{job}"), "m 1\n"));
    }
    for method in ["GET", "HEAD", "POST", "DELETE", "PATCH", "OPTIONS"] {
        pair.same(&Request::new(method, "/api/v1/admin/wipe"));
    }
    for path in ["/api/v1/admin", "/api/v1/admin/", "/admin/wipe"] {
        pair.same(&Request::new("PUT", path));
        pair.same(&Request::get(path));
    }
    pair.same_state();
    pair.same(&Request::put("/api/v1/admin/wipe", "whatever"));
    pair.same_state();
    pair.same(&Request::put("/metrics/job/a", "m 1\n"));
    pair.same_state();
    // Nothing is left to wipe.
    pair.wipe();
    pair.wipe();
    pair.same_state();
    pair.finish();
}
