//! Where a group's TTL comes from: the push, rules, the group's own rhythm, the operator.

use std::time::Duration;

use serde_json::{Value, json};

use support::{Answer, Gateway, MILLISECOND, eventually, just_below, minutes};

const HOUR: &str = "[ttl]\ndefault = '1h'\n";

/// The group of a job, in full.
#[track_caller]
fn group(gateway: &Gateway, job: &str) -> Value {
    gateway.get(&format!("/api/v2/groups/families?job={job}")).expect(200).data()
}

fn selector(selector: &str) -> String {
    percent_encoding::utf8_percent_encode(selector, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// How many seconds after now the answer says that the group expires.
#[track_caller]
fn expires_in(gateway: &Gateway, answer: &Answer) -> f64 {
    let text = answer.header("tidegate-expires").expect("every push is answered with it");
    let expires = humantime::parse_rfc3339(text).unwrap();
    expires.duration_since(gateway.wall().to_system_time()).unwrap().as_secs_f64()
}

#[test]
fn a_push_sets_its_ttl_in_four_ways_of_which_the_first_counts() {
    let gateway = Gateway::start(HOUR);
    let body = "push_ttl_seconds 40\nm 1\n";
    let header = [("Tidegate-TTL", "10s")];
    for (path, headers, body, seconds) in [
        ("/metrics/job/j", &[][..], "m 1\n", 3600.0),
        ("/metrics/job/j", &[], body, 40.0),
        ("/metrics/job/j/__ttl__/30s", &[], body, 30.0),
        ("/metrics/job/j/__ttl__@base64/MzBz", &[], body, 30.0),
        ("/metrics/job/j/__ttl__/30s?ttl=20s", &[], body, 20.0),
        ("/metrics/job/j/__ttl__/30s?ttl=20s", &header, body, 10.0),
    ] {
        for method in ["PUT", "POST"] {
            let answer = gateway.send(method, path, headers, body.as_bytes()).expect(200);
            assert!((expires_in(&gateway, &answer) - seconds).abs() < 1e-6, "{path}");
        }
    }
    // The label is not part of the grouping key, and the gauge is a series as any other.
    gateway.scrape().lacks("__ttl__").shows(&["push_ttl_seconds{instance=\"\",job=\"j\"} 40"]);
    gateway.delete("/metrics/job/j/__ttl__/30s").expect(202);
    gateway.scrape().lacks("\"j\"");
    gateway.stop();
}

#[test]
fn a_ttl_that_cannot_be_read_changes_nothing() {
    let gateway = Gateway::start(HOUR);
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    for (path, body) in [
        ("/metrics/job/j?ttl=soon", "m 2\n"),
        ("/metrics/job/j/__ttl__/soon", "m 2\n"),
        ("/metrics/job/j/__ttl__@base64/%21", "m 2\n"),
        ("/metrics/job/j", "m 2\npush_ttl_seconds -1\n"),
        ("/metrics/job/j", "m 2\n# TYPE push_ttl_seconds counter\npush_ttl_seconds 1\n"),
    ] {
        gateway.put(path, body).expect(400);
    }
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 1"]);
    assert_eq!(group(&gateway, "j")["last_failed_push"], Value::Null);
    gateway.stop();
}

#[test]
fn a_ttl_beyond_the_bounds_is_clamped_and_the_answer_says_so() {
    let gateway = Gateway::start("[ttl]\nmin = '1m'\nmax = '1d'\n");
    for (asked, got, by) in
        [("5s", 60.0, "ttl.min"), ("30d", 86_400.0, "ttl.max"), ("never", 86_400.0, "ttl.max")]
    {
        let answer = gateway.put(&format!("/metrics/job/j?ttl={asked}"), "m 1\n").expect(200);
        assert!((expires_in(&gateway, &answer) - got).abs() < 1e-6, "{asked}");
        let clamped = answer.header("tidegate-ttl-clamped").expect("it says so");
        assert!(clamped.contains(by), "{clamped}");
    }
    let answer = gateway.put("/metrics/job/j?ttl=1h", "m 1\n").expect(200);
    assert_eq!(answer.header("tidegate-ttl-clamped"), None);
    // Zero means to expire at once, which is no TTL that is too short.
    let answer = gateway.put("/metrics/job/j?ttl=0s", "m 1\n").expect(200);
    assert_eq!(answer.header("tidegate-ttl-clamped"), None);
    gateway.scrape().lacks("\"j\"");
    gateway.stop();
}

const AUTO: &str = "[ttl]\ndefault = '1d'\n[[ttl.rules]]\nmatch = '{job=\"j\"}'\nttl = 'auto'\n\
                    auto = { missed = 3, min = '1m', max = '30d' }\n";

#[test]
fn an_auto_ttl_follows_the_rhythm_of_the_group_across_restarts() {
    let gateway = Gateway::start(AUTO);
    let push = |gateway: &Gateway| {
        let answer = gateway.put("/metrics/job/j", "m 1\n").expect(200);
        expires_in(gateway, &answer)
    };
    assert!((push(&gateway) - 86_400.0).abs() < 1e-6, "the default, until two intervals are known");
    let says = |gateway: &Gateway, auto: &str, in_words: &str| {
        assert_eq!(group(gateway, "j")["auto"], auto);
        for (page, text) in [("/", auto), ("/group?job=j", in_words)] {
            let page = gateway.get(page).expect(200).text();
            assert!(page.contains(text), "{text}: {page}");
        }
    };
    says(&gateway, "auto: still learning", "which it is still learning");
    gateway.advance(minutes(10));
    assert!((push(&gateway) - 86_400.0).abs() < 1e-6);
    let gateway = gateway.restart();
    gateway.advance(minutes(10));
    assert!((push(&gateway) - 1800.0).abs() < 1e-6, "three pushes missed");
    assert_eq!(group(&gateway, "j")["interval_seconds"], 600.0);
    says(&gateway, "auto: 3 \u{d7} 10m", "3 times 10m");
    // A push that is doubled, then one that is late.
    assert!(push(&gateway) > 1500.0);
    let gateway = gateway.restart();
    gateway.advance(minutes(20));
    let answer = push(&gateway);
    assert!(answer > 1500.0 && answer < 2400.0, "{answer}");
    gateway.advance(minutes(45));
    gateway.scrape().lacks("\"j\"");
    gateway.stop();
}

#[test]
fn an_operator_overrides_all_ttls_until_he_takes_it_back() {
    let mut gateway = Gateway::start(HOUR);
    let set = |gateway: &Gateway, ttl: &str| {
        let of = selector(r#"{job="j"}"#);
        gateway.send("PUT", &format!("/api/v2/groups/ttl?match[]={of}&ttl={ttl}"), &[], b"")
    };
    gateway.put("/metrics/job/j?ttl=10m", "m 1\n").expect(200);
    gateway.put("/metrics/job/k", "m 1\n").expect(200);
    assert_eq!(group(&gateway, "k")["auto"], Value::Null);
    let changed = set(&gateway, "never").expect(200).data();
    assert_eq!(changed["changed"], json!([{ "job": "j" }]));
    gateway.scrape().shows(&[
        "tidegate_groups_by_ttl_source{source=\"override\"} 1",
        "tidegate_groups_by_ttl_source{source=\"default\"} 1",
        "tidegate_groups_by_ttl_source{source=\"push\"} 0",
    ]);
    gateway.advance(minutes(50));
    let answer = gateway.put("/metrics/job/j?ttl=10m", "m 2\n").expect(200);
    assert_eq!(answer.header("tidegate-expires"), Some("never"), "it beats what a push asks for");
    gateway = gateway.restart();
    gateway.advance(minutes(70));
    let found = group(&gateway, "j");
    assert_eq!((&found["ttl"], &found["ttl_source"]), (&json!("never"), &json!("override")));
    gateway.put("/metrics/job/j?ttl=10m", "m 2\n").expect(200);
    set(&gateway, "default").expect(200);
    assert_eq!(group(&gateway, "j")["ttl_source"], "push", "it is what the push asked for again");
    gateway.advance(just_below(minutes(10)));
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 2"]);
    gateway.advance(MILLISECOND);
    gateway.scrape().lacks("\"j\"");
    for (query, part) in [
        ("", "ttl is missing"),
        ("ttl=1h", "match[] is missing"),
        ("ttl=soon&match[]={job=\"j\"}", "soon"),
        ("ttl=1h&match[]={job=}", "match[]"),
        ("ttl=1h&matcher={job=\"j\"}", "unknown parameter"),
    ] {
        let query = query.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let answer = gateway.send("PUT", &format!("/api/v2/groups/ttl?{query}"), &[], b"");
        let error = answer.expect(400).json();
        assert!(error["error"].as_str().unwrap().contains(part), "{error}");
        assert_eq!(error["errorType"], "bad_data");
    }
    gateway.stop();
}

#[test]
fn a_touch_renews_the_deadline_and_is_no_push() {
    let gateway = Gateway::start(HOUR);
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    let pushed = gateway.wall_text();
    gateway.advance(minutes(50));
    let of = selector(r#"{job="j"}"#);
    gateway.post(&format!("/api/v2/groups/touch?match[]={of}"), "").expect(200);
    gateway.advance(just_below(minutes(60)));
    gateway.scrape().shows(&[&format!("push_time_seconds{{instance=\"\",job=\"j\"}} {pushed}")]);
    gateway.advance(MILLISECOND);
    gateway.scrape().lacks("\"j\"");
    gateway.stop();
}

#[test]
fn deadlines_can_stand_still_while_the_gateway_is_down() {
    let gateway = Gateway::start("[ttl]\ndefault = '1h'\ndowntime = 'pause'\n");
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    gateway.advance(minutes(50));
    let mut stopped = gateway.stop();
    stopped.advance(minutes(600));
    let gateway = stopped.start();
    gateway.advance(just_below(minutes(10)));
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 1"]);
    gateway.advance(MILLISECOND);
    gateway.scrape().lacks("\"j\"");
    // Another downtime does not count the first again.
    gateway.put("/metrics/job/k", "m 1\n").expect(200);
    let mut stopped = gateway.stop();
    stopped.advance(minutes(600));
    let gateway = stopped.start();
    let answer = gateway.put("/metrics/job/l", "m 1\n").expect(200);
    assert!((expires_in(&gateway, &answer) - 3600.0).abs() < 1e-6, "wall time is wall time");
    gateway.advance(just_below(minutes(60)));
    gateway.scrape().shows(&["m{instance=\"\",job=\"k\"} 1"]);
    gateway.stop();
}

#[test]
fn nothing_expires_within_the_grace_of_a_start() {
    let gateway = Gateway::start("[ttl]\ndefault = '1h'\nstartup-grace = '5m'\n");
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    let mut stopped = gateway.stop();
    stopped.advance(minutes(600));
    let gateway = stopped.start();
    let answer = gateway.put("/metrics/job/k?ttl=1m", "m 1\n").expect(200);
    assert!((expires_in(&gateway, &answer) - 300.0).abs() < 1e-6);
    gateway.advance(just_below(minutes(5)));
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 1", "m{instance=\"\",job=\"k\"} 1"]);
    gateway.advance(MILLISECOND);
    gateway.scrape().lacks("\"j\"").lacks("\"k\"");
    gateway.stop();
}

const LIFECYCLE: &str = "[web]\nenable-lifecycle = true\n";

#[test]
fn a_reload_applies_rules_to_what_is_there_and_leaves_what_pushes_asked_for() {
    let mut gateway = Gateway::start(&format!("{HOUR}{LIFECYCLE}"));
    gateway.put("/metrics/job/rule", "m 1\n").expect(200);
    gateway.put("/metrics/job/default", "m 1\n").expect(200);
    gateway.put("/metrics/job/asked?ttl=1h", "m 1\n").expect(200);
    gateway.write_settings(&format!(
        "[ttl]\ndefault = '2h'\n[[ttl.rules]]\nmatch = '{{job=\"rule\"}}'\nttl = '30m'\n{LIFECYCLE}\
         [storage]\ncache-size = '32MiB'\n"
    ));
    let answer = gateway.post("/-/reload", "").expect(200).text();
    assert!(answer.contains("replaced: ttl.default, ttl.rules"), "{answer}");
    assert!(answer.contains("restart") && answer.contains("storage.cache-size"), "{answer}");
    let ttls = ["rule", "default", "asked"].map(|job| group(&gateway, job)["ttl_seconds"].clone());
    assert_eq!(ttls, [json!(1800.0), json!(7200.0), json!(3600.0)]);
    gateway.advance(minutes(30));
    gateway.scrape().lacks("\"rule\"").shows(&["tidegate_config_last_reload_successful 1"]);
    gateway.advance(minutes(30));
    gateway.scrape().lacks("\"asked\"").shows(&["m{instance=\"\",job=\"default\"} 1"]);

    gateway.write_settings(&format!(
        "[ttl]\ndefault = 'soon'\n[[ttl.rules]]\nmatch = 'up'\nttl = '1h'\n{LIFECYCLE}"
    ));
    let answer = gateway.post("/-/reload", "").expect(500).text();
    assert!(
        answer.contains("ttl.default") && answer.contains("rule 1 of ttl.rules (line 3): match"),
        "{answer}"
    );
    gateway.scrape().shows(&["tidegate_config_last_reload_successful 0"]);
    assert_eq!(group(&gateway, "default")["ttl_seconds"], 7200.0, "nothing has changed");
    let config = gateway.get("/api/v2/config").expect(200).data();
    assert_eq!(config["settings"]["ttl.default"]["value"], "2h");
    gateway.write_settings(HOUR);
    gateway.stop();
}

#[test]
fn a_reload_has_to_be_enabled() {
    let gateway = Gateway::start("");
    gateway.post("/-/reload", "").expect(403);
    gateway.get("/-/reload").expect(405);
    gateway.stop();
}

#[test]
fn a_settings_file_is_watched_where_that_is_set() {
    let watch = "[config]\nwatch = true\n";
    let mut gateway = Gateway::start(&format!("{HOUR}{watch}"));
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    gateway.write_settings(&format!("[ttl]\ndefault = '2h'\n{watch}"));
    eventually("the file is read", || {
        (group(&gateway, "j")["ttl_seconds"] == 7200.0).then_some(())
    });
    gateway.write_settings("[ttl]\ndefault = 'soon'\n");
    eventually("the file is found to be wrong", || {
        let metrics = gateway.get("/metrics").expect(200).text().clone();
        metrics.contains("tidegate_config_last_reload_successful 0").then_some(())
    });
    gateway.write_settings(HOUR);
    gateway.stop();
}

#[test]
fn a_preview_says_what_will_be_gone_and_why() {
    let gateway = Gateway::start(&format!(
        "{HOUR}[[ttl.rules]]\nmatch = '{{env=\"x\"}}'\nttl = '1h'\n[[ttl.rules]]\n\
         match = '{{job=~\"b.*\"}}'\nttl = '3h'\n"
    ));
    gateway.put("/metrics/job/backup", "m 1\n").expect(200);
    gateway.put("/metrics/job/other", "m 1\nn 2\n").expect(200);
    gateway.put("/metrics/job/asked?ttl=never", "m 1\n").expect(200);
    let preview =
        |at: &str| gateway.get(&format!("/api/v2/ttl/preview?at={at}")).expect(200).data();
    let now = preview("%2B0s");
    assert_eq!((&now["gone"], &now["stay"]), (&json!(0), &json!(3)));
    let later = preview("+2h");
    assert_eq!(later["gone"], 1);
    assert_eq!(later["groups"][0]["labels"], json!({ "job": "other" }));
    assert_eq!(later["groups"][0]["ttl_source"], "default");
    assert_eq!(later["groups"][0]["rule"], Value::Null);
    let latest = preview("+4h");
    assert_eq!(latest["groups"][1]["labels"], json!({ "job": "backup" }));
    let rule = json!({ "position": 2, "match": "{job=~\"b.*\"}" });
    assert_eq!(latest["groups"][1]["rule"], rule);

    let proposed = "[ttl]\ndefault = '5h'\n[[ttl.rules]]\nmatch = '{job=\"backup\"}'\nttl = '90m'\n\
                    [[ttl.rules]]\nmatch = '{job=\"backup\", env=\"x\"}'\nttl = '1h'\n";
    let compared = gateway.post("/api/v2/ttl/preview?at=+2h", proposed).expect(200).data();
    assert_eq!((&compared["today"]["gone"], &compared["proposed"]["gone"]), (&json!(1), &json!(1)));
    let changes: Vec<_> = compared["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            (change["labels"]["job"].as_str().unwrap(), change["change"].as_str().unwrap())
        })
        .collect();
    assert_eq!(changes, [("backup", "goes"), ("other", "stays")]);
    assert_eq!(compared["unchanged"], 1);
    assert!(
        compared["warnings"][0].as_str().unwrap().contains("rule 2 of ttl.rules (line "),
        "{compared}"
    );
    let error = gateway.post("/api/v2/ttl/preview", "[ttl]\ndefault = 'soon'\n").expect(400).json();
    assert!(error["error"].as_str().unwrap().contains("ttl.default"), "{error}");
    gateway.get("/api/v2/ttl/preview?at=tomorrow").expect(400);
    assert_eq!(group(&gateway, "other")["ttl"], "1h", "a preview changes nothing");
    gateway.advance(Duration::from_hours(2));
    gateway.scrape().lacks("\"other\"").shows(&["m{instance=\"\",job=\"backup\"} 1"]);
    gateway.stop();
}

#[test]
fn groups_say_when_they_expire_where_that_is_wanted() {
    let mut gateway = Gateway::start(&format!("[ttl]\nexpose-deadline = true\n{LIFECYCLE}"));
    let expires = |gateway: &Gateway, job: &str| {
        let exposition = gateway.scrape_gzip();
        let series = format!("push_expiry_time_seconds{{instance=\"\",job=\"{job}\"}}");
        exposition.value(&series).to_owned()
    };
    // The TTL there always counts, as with the other two.
    gateway.put("/metrics/job/j?ttl=1h", "m 1\npush_expiry_time_seconds 5\n").expect(200);
    gateway.put("/metrics/job/never?ttl=never", "m 1\n").expect(200);
    gateway.put("/metrics/job/default", "m 1\n").expect(200);
    assert_eq!(expires(&gateway, "j"), "1.7000036005e+09");
    assert_eq!(expires(&gateway, "never"), "+Inf");
    assert_eq!(expires(&gateway, "default"), "1.7006048005e+09");
    gateway.advance(minutes(1));
    let touch = format!("/api/v2/groups/touch?match[]={}", selector(r#"{job="j"}"#));
    gateway.post(&touch, "").expect(200);
    assert_eq!(expires(&gateway, "j"), "1.7000036605e+09");
    gateway.write_settings(&format!("[ttl]\ndefault = '2h'\nexpose-deadline = true\n{LIFECYCLE}"));
    gateway.post("/-/reload", "").expect(200);
    assert_eq!(expires(&gateway, "default"), "1.7000072005e+09");
    gateway = gateway.restart();
    assert_eq!(expires(&gateway, "default"), "1.7000072005e+09");
    assert_eq!(expires(&gateway, "never"), "+Inf");
    gateway.advance(minutes(60));
    gateway.scrape().lacks("\"j\"");
    // Not where nobody has asked for it.
    let gateway = gateway.stop().start_with("");
    gateway.scrape().lacks("push_expiry_time_seconds");
    gateway.put("/metrics/job/k", "m 1\npush_expiry_time_seconds 5\n").expect(200);
    gateway.scrape().lacks("push_expiry_time_seconds").shows(&["m{instance=\"\",job=\"k\"} 1"]);
    gateway.stop();
}
