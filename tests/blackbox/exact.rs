//! From its deadline on no answer shows a group, whether or not it was removed from the store; and
//! every earlier push is there, however many expire.

use std::ops::Range;

use serde_json::{Value, json};

use support::protobuf::{CONTENT_TYPE, body, family, gauge};
use support::{Answer, Client, Gateway, MILLISECOND, eventually, gunzip, just_below, minutes};

const GZIP: (&str, &str) = ("Accept-Encoding", "gzip");
const PROTOBUF: (&str, &str) = ("Accept", CONTENT_TYPE);
const OPENMETRICS: (&str, &str) = ("Accept", "application/openmetrics-text; version=1.0.0");

/// Every answer that has groups in it.
const ANSWERS: [(&str, &[(&str, &str)]); 11] = [
    ("/metrics", &[]),
    ("/metrics", &[GZIP]),
    ("/metrics", &[PROTOBUF]),
    ("/metrics", &[PROTOBUF, GZIP]),
    ("/metrics", &[OPENMETRICS]),
    ("/metrics?name[]=m", &[]),
    ("/api/v1/metrics", &[]),
    ("/api/v2/groups", &[]),
    ("/api/v2/ttl/preview?at=%2B5000000h", &[]),
    ("/", &[]),
    ("/status", &[]),
];

#[track_caller]
fn mentions(gateway: &Gateway, (path, headers): (&str, &[(&str, &str)]), text: &str) -> bool {
    let answer = gateway.send("GET", path, headers, b"").expect(200);
    let zipped = answer.header("content-encoding") == Some("gzip");
    let body = if zipped { gunzip(&answer.body) } else { answer.body };
    String::from_utf8_lossy(&body).contains(text)
}

#[test]
fn no_answer_shows_a_group_from_its_deadline_on() {
    let gateway = Gateway::start("[web]\nenable-openmetrics = true\n");
    for answer in ANSWERS {
        // The status page is about the gateway: it may list groups or not, but no removed one.
        let lists = answer.0 != "/status";
        gateway.put("/metrics/job/vanishing?ttl=10m", "m 1\n").expect(200);
        gateway.put("/metrics/job/failing/of/vanishing", "m{job=\"x\"} 1 1\n").expect(400);
        gateway.advance(just_below(minutes(10)));
        assert!(!lists || mentions(&gateway, answer, "vanishing"), "{answer:?}");
        // The next request is the first since: nobody has had the time to remove anything.
        gateway.delete("/metrics/job/failing/of/vanishing").expect(202);
        gateway.advance(MILLISECOND);
        assert!(!mentions(&gateway, answer, "vanishing"), "{answer:?}");
    }
    let one = "/api/v2/groups/families?job=vanishing";
    gateway.put("/metrics/job/vanishing?ttl=10m", "m 1\n").expect(200);
    gateway.advance(just_below(minutes(10)));
    gateway.get(one).expect(200);
    gateway.advance(MILLISECOND);
    gateway.get(one).expect(404);
    gateway.stop();
}

#[test]
fn a_page_a_preview_and_a_delete_pass_over_what_has_expired() {
    let gateway = Gateway::start("[web]\nenable-admin-api = true\n");
    let all = "match[]=%7Bjob%3D~%22.%2B%22%7D";
    for path in ["/api/v2/groups?limit=10", "/api/v2/ttl/preview?at=%2B9000h"] {
        gateway.put("/metrics/job/a?ttl=10m", "m 1\n").expect(200);
        gateway.put("/metrics/job/b?ttl=20m", "m 1\n").expect(200);
        gateway.advance(minutes(10));
        let data = gateway.get(path).expect(200).data();
        assert_eq!(data["groups"].as_array().unwrap().len(), 1, "{path}: {data}");
        assert_eq!(data["groups"][0]["labels"], json!({ "job": "b" }));
    }
    for (method, path, key) in [
        ("DELETE", format!("/api/v2/groups?{all}&dry_run=1"), "deleted"),
        ("POST", format!("/api/v2/groups/touch?{all}"), "touched"),
        ("PUT", format!("/api/v2/groups/ttl?{all}&ttl=never"), "changed"),
        ("DELETE", format!("/api/v2/groups?{all}"), "deleted"),
    ] {
        gateway.put("/metrics/job/a?ttl=10m", "m 1\n").expect(200);
        gateway.put("/metrics/job/b?ttl=never", "m 1\n").expect(200);
        // Neither touched nor overridden before, so that it is the deadline of the push.
        gateway.send("PUT", &format!("/api/v2/groups/ttl?{all}&ttl=default"), &[], b"").expect(200);
        gateway.advance(minutes(10));
        let data = gateway.send(method, &path, &[], b"").expect(200).data();
        assert_eq!(data[key], json!([{ "job": "b" }]), "{method} {path}");
    }
    gateway.stop();
}

#[test]
fn a_push_before_the_deadline_renews_it_whatever_expires_then() {
    let gateway = Gateway::start("[ttl]\ndefault = '10m'\n");
    push_many(&gateway, 0..300, "");
    gateway.advance(just_below(minutes(10)));
    // Every third, at the last moment.
    let pushed: Vec<_> = (0..300).step_by(3).collect();
    for at in &pushed {
        gateway.put(&format!("/metrics/job/j{at}"), "m 2\n").expect(200);
    }
    gateway.advance(MILLISECOND);
    for scrape in [gateway.scrape(), gateway.scrape_gzip()] {
        assert_eq!(scrape.family("m").len(), 1 + pushed.len());
        for at in &pushed {
            scrape.shows(&[&format!("m{{instance=\"\",job=\"j{at}\"}} 2")]);
        }
    }
    gateway.advance(just_below(just_below(minutes(10))));
    assert_eq!(gateway.scrape().family("m").len(), 1 + pushed.len());
    gateway.advance(MILLISECOND);
    assert_eq!(gateway.scrape().pushed(), "");
    gateway.stop();
}

#[test]
fn a_husk_lives_by_the_default_even_where_a_rule_keeps_for_ever() {
    let gateway = Gateway::start(
        "[ttl]\ndefault = '10m'\n[[ttl.rules]]\nmatch = '{job=~\".+\"}'\nttl = 'never'\n",
    );
    let kept = gateway.put("/metrics/job/kept", "m 1\n").expect(200);
    assert_eq!(kept.header("tidegate-expires"), Some("never"));
    let husk = gateway.put("/metrics/job/husk?ttl=never", "m 1 1\n").expect(400);
    assert_eq!(expires_in_ms(&gateway, &husk), 600_000);
    let data = gateway.get("/api/v2/groups/families?job=husk").expect(200).data();
    assert_eq!((&data["ttl"], &data["ttl_source"]), (&json!("10m"), &json!("default")), "{data}");
    gateway.advance(just_below(minutes(10)));
    gateway.scrape().shows(&["push_time_seconds{instance=\"\",job=\"husk\"} 0"]);
    gateway.advance(MILLISECOND);
    gateway.scrape().lacks("husk").shows(&["m{instance=\"\",job=\"kept\"} 1"]);
    // A push that succeeds makes it a group as any other.
    gateway.put("/metrics/job/husk", "m 1 1\n").expect(400);
    let answer = gateway.put("/metrics/job/husk", "m 1\n").expect(200);
    assert_eq!(answer.header("tidegate-expires"), Some("never"));
    gateway.stop();
}

#[test]
fn thousands_expire_in_one_instant_while_others_are_pushed() {
    const EXPIRE: usize = 5_000;
    let gateway = Gateway::start("[ttl]\ndefault = '10m'\n");
    push_many(&gateway, 0..EXPIRE, "");
    gateway.scrape().shows(&[&format!("tidegate_groups {EXPIRE}")]);
    gateway.advance(minutes(10));
    let scrape = gateway.scrape();
    assert_eq!(scrape.pushed(), "", "the scrape right after");
    // New ones, and some of those that have expired: their series are removed.
    std::thread::scope(|scope| {
        let client: &Client = &gateway;
        scope.spawn(|| push_many(client, EXPIRE..EXPIRE + 200, ""));
        for at in 0..100 {
            gateway.post(&format!("/metrics/job/j{at}"), "again 1\n").expect(200);
            gateway.scrape().shows(&[&format!("again{{instance=\"\",job=\"j{at}\"}} 1")]);
        }
    });
    let total = EXPIRE.to_string();
    eventually("all to be counted", || {
        let scrape = gateway.scrape();
        assert_eq!(scrape.family("again").len(), 1 + 100);
        assert_eq!(scrape.family("m").len(), 1 + 200);
        (scrape.value("tidegate_expired_groups_total") == total).then_some(())
    });
    gateway.scrape().shows(&[
        "tidegate_groups 300",
        "tidegate_expired_series_total 5000",
        "tidegate_expiry_lag_seconds_count 5000",
    ]);
    let gateway = gateway.restart();
    let scrape = gateway.scrape();
    assert_eq!((scrape.family("again").len(), scrape.family("m").len()), (1 + 100, 1 + 200));
    gateway.stop();
}

#[test]
fn of_many_groups_pages_previews_and_deletes_have_the_right_ones() {
    const GROUPS: usize = 20_000;
    let gateway = Gateway::start("[web]\nenable-admin-api = true\n");
    // Those that go first are the ones pushed last.
    push_many(&gateway, 0..GROUPS / 2, "?ttl=2h");
    push_many(&gateway, GROUPS / 2..GROUPS, "?ttl=1h");
    let job = |group: &Value| group["labels"]["job"].as_str().unwrap().to_owned();
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v2/groups?sort=deadline&limit=7000{after}");
        let page = gateway.get(&path).expect(200).data();
        assert_eq!(page["total"], GROUPS);
        seen.extend(page["groups"].as_array().unwrap().iter().map(job));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    for (at, half) in [(GROUPS / 2..GROUPS), (0..GROUPS / 2)].into_iter().enumerate() {
        let seen = &mut seen[at * GROUPS / 2..(at + 1) * GROUPS / 2];
        seen.sort();
        let mut expected: Vec<_> = half.map(|at| format!("j{at}")).collect();
        expected.sort();
        assert!(*seen == expected, "by deadline, each once");
    }

    let preview = gateway.get("/api/v2/ttl/preview?at=%2B90m&limit=5").expect(200).data();
    let counts = (&preview["gone"], &preview["stay"]);
    assert_eq!(counts, (&json!(GROUPS / 2), &json!(GROUPS / 2)));
    assert_eq!(preview["groups"].as_array().unwrap().len(), 5);

    let path = "/api/v2/groups?match[]=%7Bjob%3D~%22j1.*%22%7D";
    let expected = (0..GROUPS).filter(|at| at.to_string().starts_with('1')).count();
    let would = gateway.delete(&format!("{path}&dry_run=true")).expect(200).data();
    assert_eq!(would["count"], expected);
    let did = gateway.delete(path).expect(200).data();
    assert_eq!((&did["count"], &did["deleted"]), (&json!(expected), &would["deleted"]));
    let left = GROUPS - expected;
    gateway.scrape().shows(&[&format!("tidegate_groups {left}")]).lacks("\"j1");
    assert_eq!(gateway.get("/api/v2/groups?limit=1").expect(200).data()["total"], left);
    gateway.stop();
}

/// How many milliseconds after now the answer says that the group expires.
#[track_caller]
fn expires_in_ms(gateway: &Gateway, answer: &Answer) -> u128 {
    let text = answer.header("tidegate-expires").expect("every push is answered with it");
    let expires = humantime::parse_rfc3339(text).unwrap();
    expires.duration_since(gateway.wall().to_system_time()).unwrap().as_millis()
}

#[test]
fn every_answer_to_a_push_says_when_its_group_expires() {
    let gateway = Gateway::start("[ttl]\ndefault = '10m'\n[limits]\nbody-size = '1KiB'\n");
    let long = "x".repeat(2000);
    let new = gateway.put("/metrics/job/new", "m{ 1\n").expect(400);
    let there = new.header("tidegate-expires").is_some();
    assert_eq!(there, gateway.scrape().lines().any(|line| line.contains("job=\"new\"")));
    let ok = gateway.put("/metrics/job/j?ttl=1h", "# TYPE m counter\nm 1\n").expect(200);
    assert_eq!(expires_in_ms(&gateway, &ok), 3_600_000);
    gateway.advance(minutes(1));
    for (body, status) in [("m{ 1\n", 400), ("m 1 1\n", 400), ("m{le", 400), (long.as_str(), 413)] {
        let answer = gateway.post("/metrics/job/j", body).expect(status);
        assert_eq!(expires_in_ms(&gateway, &answer), 3_540_000, "{body:.20}: not renewed");
    }
    // It contradicts another group, and so creates its own.
    let created = gateway.put("/metrics/job/k", "# TYPE m gauge\nm 1\n").expect(400);
    assert_eq!(expires_in_ms(&gateway, &created), 600_000);
    gateway.scrape().shows(&["push_time_seconds{instance=\"\",job=\"k\"} 0"]);
    let ttl = gateway.put("/metrics/job/j?ttl=soon", "m 1\n").expect(400);
    assert_eq!(expires_in_ms(&gateway, &ttl), 3_540_000);
    gateway.stop();

    let unchecked = "[ttl]\ndefault = '10m'\n[push]\ndisable-consistency-check = true\n";
    let gateway = Gateway::start(unchecked);
    for body in ["# TYPE m counter\nm 1\n", "# TYPE m gauge\nm 1\n", "m 1 1\n"] {
        let answer = gateway.put(&format!("/metrics/job/{}", body.len()), body).expect(202);
        assert_eq!(expires_in_ms(&gateway, &answer), 600_000, "{body:?}");
    }
    gateway.stop();
}

/// Of the same gauge some say the type and some do not.
#[test]
fn the_ttl_gauges_of_two_groups_go_together_with_and_without_a_type() {
    let untyped = "push_ttl_seconds 60\n";
    let typed = "# TYPE push_ttl_seconds gauge\npush_ttl_seconds 60\n";
    let protobuf = body(&[family("push_ttl_seconds", 1, vec![gauge(&[], 60.0)])]);
    for (first, second) in [(untyped, typed), (typed, untyped)] {
        // The other TTLs in the push change nothing of that.
        for query in ["", "?ttl=2m"] {
            let gateway = Gateway::start("");
            gateway.put(&format!("/metrics/job/a{query}"), first).expect(200);
            gateway.put(&format!("/metrics/job/b{query}"), second).expect(200);
            let headers = [("Content-Type", CONTENT_TYPE)];
            gateway.send("PUT", "/metrics/job/c", &headers, &protobuf).expect(200);
            assert_eq!(gateway.scrape().family("push_ttl_seconds").len(), 1 + 3, "{query}");
            gateway.advance(minutes(2));
            assert_eq!(gateway.scrape().pushed(), "");
            gateway.stop();
        }
    }
}

/// Pushes one series to each of the groups `j0`, `j1` and so on, over several connections.
fn push_many(client: &Client, range: Range<usize>, query: &str) {
    const CONNECTIONS: usize = 16;
    std::thread::scope(|scope| {
        for first in range.clone().take(CONNECTIONS) {
            let range = first..range.end;
            scope.spawn(move || {
                for at in range.step_by(CONNECTIONS) {
                    client.put(&format!("/metrics/job/j{at}{query}"), "m 1\n").expect(200);
                }
            });
        }
    });
}
