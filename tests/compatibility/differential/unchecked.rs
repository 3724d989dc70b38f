//! Without the consistency check: a push is answered before it is applied.

use crate::differential::http::Request;
use crate::differential::pair::Pair;

fn play(steps: &[(&str, &str, &str)]) {
    let mut pair = Pair::start(&["--push.disable-consistency-check", "--web.enable-admin-api"]);
    for (method, path, body) in steps {
        pair.same(&Request::new(method, format!("/metrics/{path}")).body(*body));
        pair.same_state();
    }
    pair.wipe();
    pair.same_state();
    pair.finish();
}

#[test]
fn pushes_are_taken_and_applied_in_their_order() {
    play(&[
        ("PUT", "job/x", "a 1\nb 2\n"),
        ("POST", "job/x", "b 3\nc 4\n"),
        ("PUT", "job/x", "c 5\n"),
        ("PUT", "job/y", ""),
        ("POST", "job/x", ""),
        ("DELETE", "job/x", ""),
        ("DELETE", "job/x", ""),
        ("POST", "job/x/instance/i", "a 1\n"),
    ]);
}

#[test]
fn malformed_pushes_are_still_refused() {
    play(&[
        ("PUT", "job/x", "a\n"),
        ("PUT", "job/x/a", "a 1\n"),
        ("PUT", "job@base64/=", "a 1\n"),
        ("DELETE", "job/x/a", ""),
        ("PUT", "job/x", "a{b=\"c\",b=\"d\"} 1\n"),
    ]);
}

/// They are answered as taken, and then dropped.
#[test]
fn timestamps_are_dropped_later() {
    play(&[
        ("PUT", "job/x", "a 1 1000\n"),
        ("PUT", "job/y", "a 1\n"),
        ("POST", "job/y", "b 1 1000\n"),
        ("PUT", "job/y", "c 1\n"),
    ]);
}

#[test]
fn what_is_consistent_is_shown_as_elsewhere() {
    play(&[
        ("PUT", "job/x/instance/i/a/1", "m 1\nm{b=\"2\"} 1\nn{a=\"9\"} 1\n"),
        ("PUT", "job/x", "m{instance=\"body\"} 1\n"),
        ("PUT", "job/y", "# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_count 4\n"),
        ("PUT", "job/y", "# HELP push_time_seconds mine\na 1\npush_time_seconds 5\n"),
    ]);
}

/// Many at once: what was sent last is what counts.
#[test]
fn the_last_of_many_counts() {
    let mut pair = Pair::start(&["--push.disable-consistency-check"]);
    for round in 0..200 {
        let (path, body) =
            (format!("/metrics/job/{}", round % 7), format!("m{} {round}\n", round % 3));
        pair.same(&if round % 5 == 4 { Request::delete(path) } else { Request::post(path, body) });
    }
    pair.same_state();
    pair.finish();
}
