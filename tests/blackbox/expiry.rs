//! A group expires at its deadline: whole, to the millisecond, whatever the host clock does.

use std::time::Duration;

use support::{Answer, Gateway, MILLISECOND, eventually, just_below, minutes};

const TEN_MINUTES: &str = "[ttl]\ndefault = '10m'\n";
const HOUR_MS: i64 = 3_600_000;

fn push_with_ttl(gateway: &Gateway, path: &str, ttl: &str) -> Answer {
    gateway.send("PUT", path, &[("Tidegate-TTL", ttl)], b"m 1\n")
}

/// How long after now the answer says that the group expires.
#[track_caller]
fn expires_in(gateway: &Gateway, answer: &Answer) -> Duration {
    let text = answer.header("tidegate-expires").expect("every push is answered with it");
    let expires = humantime::parse_rfc3339(text).unwrap();
    expires.duration_since(gateway.wall().to_system_time()).unwrap()
}

#[test]
fn a_group_is_gone_once_its_ttl_has_passed() {
    let gateway = Gateway::start(TEN_MINUTES);
    gateway.put("/metrics/job/backup", "last_run 1\nsize 2\n").expect(200);
    gateway.put("/metrics/job/failed", "m 1 1\n").expect(400);
    gateway.advance(minutes(1));
    gateway.put("/metrics/job/later", "last_run 2\n").expect(200);

    gateway.advance(just_below(minutes(9)));
    for scrape in [gateway.scrape(), gateway.scrape_gzip()] {
        scrape.shows(&["last_run{instance=\"\",job=\"backup\"} 1", "tidegate_groups 3"]);
    }
    gateway.advance(MILLISECOND);
    for scrape in [gateway.scrape(), gateway.scrape_gzip()] {
        // Whole: all families, the stamps, and a header that nobody else needs.
        scrape.lacks("backup").lacks("size");
        scrape.shows(&["last_run{instance=\"\",job=\"later\"} 2"]);
    }
    gateway.advance(minutes(1));
    for scrape in [gateway.scrape(), gateway.scrape_gzip()] {
        scrape.lacks("later").lacks("last_run").shows(&["tidegate_series 0"]);
    }
    gateway.stop();
}

#[test]
fn the_group_of_a_failed_push_expires_too() {
    let gateway = Gateway::start(TEN_MINUTES);
    gateway.put("/metrics/job/failed", "m 1 1\n").expect(400);
    gateway.scrape().shows(&["push_time_seconds{instance=\"\",job=\"failed\"} 0"]);
    gateway.advance(minutes(10));
    gateway.scrape().lacks("failed");
    gateway.stop();
}

#[test]
fn only_a_push_that_succeeds_renews_the_deadline() {
    let gateway = Gateway::start(TEN_MINUTES);
    for path in ["/metrics/job/put", "/metrics/job/post", "/metrics/job/empty", "/metrics/job/bad"]
    {
        gateway.put(path, format!("{}_m 1\n", &path[13..])).expect(200);
    }
    gateway.advance(minutes(6));
    gateway.put("/metrics/job/put", "put_m 2\n").expect(200);
    gateway.post("/metrics/job/post", "other 1\n").expect(200);
    gateway.post("/metrics/job/empty", "").expect(200);
    gateway.put("/metrics/job/bad", "bad_m 1 1\n").expect(400);
    gateway.put("/metrics/job/bad", "bad_m x\n").expect(400);
    gateway.advance(minutes(6));
    gateway
        .scrape()
        .shows(&[
            "put_m{instance=\"\",job=\"put\"} 2",
            "post_m{instance=\"\",job=\"post\"} 1",
            "empty_m{instance=\"\",job=\"empty\"} 1",
        ])
        .lacks("bad");
    gateway.advance(minutes(4));
    assert_eq!(gateway.scrape().pushed(), "");
    gateway.stop();
}

#[test]
fn a_push_can_set_its_ttl_and_learns_when_its_group_expires() {
    let gateway = Gateway::start(TEN_MINUTES);
    for (ttl, minutes) in [("1m", 1), ("1h30m", 90), ("1h 30m", 90), ("2d", 2880), ("90s", 1)] {
        let answer = push_with_ttl(&gateway, "/metrics/job/j", ttl).expect(200);
        assert_eq!(expires_in(&gateway, &answer).as_secs() / 60, minutes, "{ttl}");
    }
    let answer = push_with_ttl(&gateway, "/metrics/job/j", "never").expect(200);
    assert_eq!(answer.header("tidegate-expires"), Some("never"));
    gateway.advance(minutes(1_000_000));
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 1"]);
    // It is the TTL of that push, not of the group.
    let answer = gateway.post("/metrics/job/j", "m 2\n").expect(200);
    assert_eq!(expires_in(&gateway, &answer), minutes(10));
    gateway.advance(minutes(10));
    assert_eq!(gateway.scrape().pushed(), "");
    gateway.stop();
}

#[test]
fn a_ttl_that_cannot_be_read_is_refused_and_changes_nothing() {
    let gateway = Gateway::start(TEN_MINUTES);
    push_with_ttl(&gateway, "/metrics/job/j", "1h").expect(200);
    let before = gateway.scrape().pushed();
    for ttl in ["", "soon", "-1m", "10", "1 fortnight", "1h;", "Never mind"] {
        push_with_ttl(&gateway, "/metrics/job/j", ttl).expect(400).says("Tidegate-TTL");
        push_with_ttl(&gateway, "/metrics/job/new", ttl).expect(400);
    }
    assert_eq!(gateway.scrape().pushed(), before);
    gateway.advance(minutes(59));
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 1"]);
    gateway.stop();
}

#[test]
fn a_ttl_of_zero_expires_the_group_at_once() {
    let gateway = Gateway::start(TEN_MINUTES);
    gateway.put("/metrics/job/j", "m 1\nforgotten 1\n").expect(200);
    for ttl in ["0s", "0"] {
        let answer = push_with_ttl(&gateway, "/metrics/job/j", ttl).expect(200);
        assert_eq!(expires_in(&gateway, &answer), Duration::ZERO);
        assert_eq!(gateway.scrape().pushed(), "");
        assert_eq!(gateway.scrape_gzip().pushed(), "");
    }
    gateway.put("/metrics/job/j", "m 2\n").expect(200);
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 2"]).lacks("forgotten");
    gateway.stop();
}

#[test]
fn the_first_rule_that_matches_the_grouping_labels_gives_the_ttl() {
    let gateway = Gateway::start(
        "[ttl]\ndefault = '10m'\n\
         [[ttl.rules]]\nmatch = '{job=~\"backup-.+\", env!=\"test\"}'\nttl = '36h'\n\
         [[ttl.rules]]\nmatch = '{job=~\"backup-.*\"}'\nttl = '1m'\n\
         [[ttl.rules]]\nmatch = '{instance=\"\", job=\"inventory\"}'\nttl = 'never'\n\
         [[ttl.rules]]\nmatch = '{env!~\"prod|\"}'\nttl = '2m'\n",
    );
    for (path, expected) in [
        ("/metrics/job/backup-db", 36 * 60),
        ("/metrics/job/backup-db/env/prod", 36 * 60),
        ("/metrics/job/backup-db/env/test", 1),
        // A regular expression matches whole values.
        ("/metrics/job/my-backup-db", 10),
        ("/metrics/job/backup-", 1),
        ("/metrics/job/inventory/instance/i", 10),
        ("/metrics/job/other/env/test", 2),
        ("/metrics/job/other/env/prod", 10),
    ] {
        let answer = gateway.put(path, "m 1\n").expect(200);
        assert_eq!(expires_in(&gateway, &answer), minutes(expected), "{path}");
        // The TTL of the push counts over every rule.
        let answer = push_with_ttl(&gateway, path, "5m").expect(200);
        assert_eq!(expires_in(&gateway, &answer), minutes(5), "{path}");
    }
    let answer = gateway.put("/metrics/job/inventory", "m 1\n").expect(200);
    assert_eq!(answer.header("tidegate-expires"), Some("never"));
    gateway.advance(minutes(6));
    let scrape = gateway.scrape();
    assert_eq!(scrape.family("m").len(), 1 + 1, "{:?}", scrape.family("m"));
    gateway.stop();
}

#[test]
fn setting_the_host_clock_neither_expires_a_group_nor_keeps_it() {
    for step in [HOUR_MS, -HOUR_MS] {
        let gateway = Gateway::start(TEN_MINUTES);
        gateway.put("/metrics/job/j", "m 1\n").expect(200);
        gateway.advance(minutes(5));
        gateway.set_host_clock_by(step);
        gateway.advance(just_below(minutes(5)));
        gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 1"]);
        gateway.advance(MILLISECOND);
        assert_eq!(gateway.scrape().pushed(), "", "step by {step} ms");

        // Times for people follow the host clock.
        let answer = gateway.put("/metrics/job/j", "m 2\n").expect(200);
        assert_eq!(expires_in(&gateway, &answer), minutes(10), "step by {step} ms");
        let pushed =
            gateway.scrape().value("push_time_seconds{instance=\"\",job=\"j\"}").to_owned();
        assert_eq!(pushed, gateway.wall_text());
        gateway.stop();
    }
}

/// Whether or not it was reaped by then.
#[test]
fn an_expired_group_stands_in_nobodys_way() {
    for (first, second) in [
        ("# TYPE m counter\nm 1\n", "# TYPE m gauge\nm 2\n"),
        ("# TYPE m summary\nm_sum 1\nm_count 1\n", "m_count 2\n"),
        ("m{instance=\"i\"} 1\n", "m 2\n"),
    ] {
        let gateway = Gateway::start(TEN_MINUTES);
        let second_path = "/metrics/job/j/instance/i";
        gateway.put("/metrics/job/j", first).expect(200);
        gateway.advance(just_below(minutes(10)));
        gateway.put(second_path, second).expect(400);
        gateway.delete(second_path).expect(202);
        gateway.advance(MILLISECOND);
        gateway.put(second_path, second).expect(200);
        gateway.scrape().lacks("instance=\"\"");
        gateway.stop();
    }
}

#[test]
fn the_help_of_an_expired_group_is_forgotten() {
    let gateway = Gateway::start("[ttl]\ndefault = 'never'\n");
    gateway.put("/metrics/job/stays", "# HELP m Stays.\nm 1\n").expect(200);
    let goes = "# HELP m Goes.\nm 1\n";
    gateway
        .send("PUT", "/metrics/job/goes", &[("Tidegate-TTL", "1m")], goes.as_bytes())
        .expect(200);
    gateway.scrape().shows(&["# HELP m Goes."]);
    gateway.advance(minutes(1));
    // The header may wait for the reaper, but not the group: time stands still until both are removed.
    eventually("the help of the group that is left", || {
        let scrape = gateway.scrape();
        scrape.lacks("job=\"goes\"");
        scrape.has("# HELP m Stays.").then_some(())
    });
    gateway.stop();
}

#[test]
fn expiry_is_counted_and_the_next_deadline_shown() {
    let gateway = Gateway::start(TEN_MINUTES);
    assert_eq!(gateway.scrape().value("tidegate_next_deadline_timestamp_seconds"), "+Inf");
    gateway.put("/metrics/job/a", "m 1\nn 1\n").expect(200);
    push_with_ttl(&gateway, "/metrics/job/b", "20m").expect(200);
    gateway.scrape().shows(&[
        "tidegate_next_deadline_timestamp_seconds 1.7000006005e+09",
        "tidegate_groups_by_ttl_source{source=\"default\"} 1",
        "tidegate_groups_by_ttl_source{source=\"push\"} 1",
        "tidegate_expired_groups_total 0",
    ]);
    gateway.advance(minutes(15));
    eventually("the reaper", || {
        let scrape = gateway.scrape();
        (scrape.value("tidegate_expired_groups_total") == "1").then_some(())
    });
    gateway.scrape().shows(&[
        "tidegate_expired_series_total 2",
        "tidegate_groups 1",
        "tidegate_groups_by_ttl_source{source=\"default\"} 0",
        "tidegate_next_deadline_timestamp_seconds 1.7000012005e+09",
        "tidegate_expiry_lag_seconds_count 1",
    ]);
    gateway.stop();
}
