//! Removed groups: listed, restored, and reported to those who listen.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use support::{Exposition, Gateway, Listener, MILLISECOND, PATIENCE, minutes};

const HOUR: &str = "[ttl]\ndefault = '1h'\n[web]\nenable-admin-api = true\n";

#[track_caller]
fn gone(gateway: &Gateway) -> Vec<Value> {
    let data = gateway.get("/api/v2/expired").expect(200).data();
    data["groups"].as_array().unwrap().clone()
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().concat()
}

fn of_job(job: &str) -> String {
    format!("match[]=%7Bjob%3D~%22{job}%22%7D")
}

#[test]
fn an_expired_group_is_listed_and_restored_with_all_that_it_had() {
    let gateway =
        Gateway::start(&format!("{HOUR}[[ttl.rules]]\nmatch = '{{job=\"r\"}}'\nttl = '30m'\n"));
    let body = "# HELP m What.\n# TYPE m counter\nm{a=\"b\"} 1\n";
    gateway.put("/metrics/job/r", body).expect(200);
    gateway.put("/metrics/job/j", "n 1\n").expect(200);
    let before = gateway.scrape();
    gateway.advance(minutes(30));
    gateway.scrape().lacks("\"r\"");
    let listed = gone(&gateway);
    assert_eq!(listed.len(), 1);
    let group = &listed[0];
    assert_eq!(group["labels"], json!({ "job": "r" }));
    assert_eq!((&group["why"], &group["series"]), (&json!("expired"), &json!(1)));
    assert_eq!(group["rule"], json!({ "position": 1, "match": "{job=\"r\"}" }));
    assert_eq!(group["expires"], group["at"], "the clock stood where it expired");

    // It survives a restart.
    let gateway = gateway.restart();
    assert_eq!(gone(&gateway), listed);
    let answer = gateway.post(&format!("/api/v2/expired/restore?{}", of_job("r")), "").expect(200);
    assert_eq!(answer.data()["restored"][0]["labels"], json!({ "job": "r" }));
    assert!(gone(&gateway).is_empty());
    let lines = |of: &Exposition| -> Vec<String> {
        of.lines().filter(|line| line.contains("job=\"r\"")).map(str::to_owned).collect()
    };
    assert_eq!(lines(&gateway.scrape()), lines(&before), "its push time, too");
    let gateway = gateway.restart();
    assert_eq!(lines(&gateway.scrape()), lines(&before));
    assert!(gone(&gateway).is_empty());
    gateway.advance(minutes(30));
    gateway.scrape().lacks("\"r\"");
    gateway.stop();
}

#[test]
fn a_group_that_is_there_again_is_not_overwritten() {
    let gateway = Gateway::start(HOUR);
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    gateway.delete("/metrics/job/j").expect(202);
    gateway.put("/metrics/job/j", "m 2\n").expect(200);
    let answer = gateway.post(&format!("/api/v2/expired/restore?{}", of_job("j")), "").expect(200);
    let refused = &answer.data()["refused"][0];
    assert!(refused["error"].as_str().unwrap().contains("exists again"), "{refused}");
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 2"]);
    // A group whose series another group has taken is not restored either.
    gateway.put("/metrics/job/k", "# TYPE n gauge\nn 1\n").expect(200);
    gateway.delete("/metrics/job/k").expect(202);
    gateway.put("/metrics/job/l", "# TYPE n counter\nn 1\n").expect(200);
    let answer = gateway.post(&format!("/api/v2/expired/restore?{}", of_job("k")), "").expect(200);
    assert_eq!(answer.data()["refused"].as_array().unwrap().len(), 1);
    assert_eq!(gone(&gateway).len(), 2, "they can still be restored later");
    gateway.post("/api/v2/expired/restore?match[]=%7Bjob%3D%22none%22%7D", "").expect(404);
    gateway.stop();
}

#[test]
fn of_what_is_gone_only_so_much_is_kept() {
    let gateway = Gateway::start(&format!("{HOUR}[history]\ngroups = 3\n"));
    for job in 0..5 {
        gateway.put(&format!("/metrics/job/{job}"), "m 1\n").expect(200);
        gateway.delete(&format!("/metrics/job/{job}")).expect(202);
        gateway.advance(MILLISECOND);
    }
    let jobs = |gateway: &Gateway| -> Vec<String> {
        let job = |group: &Value| group["labels"]["job"].as_str().unwrap().to_owned();
        gone(gateway).iter().map(job).collect()
    };
    assert_eq!(jobs(&gateway), ["4", "3", "2"]);
    let gateway = gateway.restart();
    assert_eq!(jobs(&gateway), ["4", "3", "2"]);
    // Of many that expire at once, in more than one batch, too.
    for job in 0..300 {
        gateway.put(&format!("/metrics/job/{job}"), "m 1\n").expect(200);
    }
    gateway.advance(minutes(60));
    let expired = jobs(&gateway);
    assert_eq!(expired.len(), 3);
    let gateway = gateway.restart();
    assert_eq!(jobs(&gateway), expired);
    gateway.scrape().lacks("m{");
    let gateway = gateway.stop().start_with(&format!("{HOUR}[history]\ngroups = 0\n"));
    gateway.put("/metrics/job/new", "m 1\n").expect(200);
    gateway.delete("/metrics/job/new").expect(202);
    gateway.stop();
}

#[test]
fn groups_are_deleted_by_selector() {
    let gateway = Gateway::start(HOUR);
    for job in ["a1", "a2", "b"] {
        gateway.put(&format!("/metrics/job/{job}"), "m 1\n").expect(200);
    }
    let path = format!("/api/v2/groups?{}", of_job("a."));
    let would = gateway.delete(&format!("{path}&dry_run=true")).expect(200).data();
    assert_eq!((&would["count"], &would["dry_run"]), (&json!(2), &json!(true)));
    gateway.scrape().shows(&["m{instance=\"\",job=\"a1\"} 1"]);
    // A group that is pushed in the meantime stays.
    let before = humantime::format_rfc3339_nanos(gateway.wall().to_system_time()).to_string();
    gateway.advance(MILLISECOND);
    gateway.put("/metrics/job/a2", "m 2\n").expect(200);
    let before = humantime::format_rfc3339_nanos(
        humantime::parse_rfc3339(&before).unwrap() + Duration::from_nanos(1),
    );
    let did = gateway.delete(&format!("{path}&pushed_before={before}")).expect(200).data();
    assert_eq!(did["deleted"], json!([{ "job": "a1" }]));
    gateway.scrape().lacks("a1").shows(&["m{instance=\"\",job=\"a2\"} 2"]);
    gateway.delete("/api/v2/groups").expect(400);
    assert_eq!(gone(&gateway)[0]["why"], "deleted");
    gateway.stop();
}

#[test]
fn only_an_admin_changes_more_than_one_group() {
    let gateway = Gateway::start("");
    for job in ["a1", "a2"] {
        gateway.put(&format!("/metrics/job/{job}"), "m 1\n").expect(200);
    }
    let error = gateway.delete(&format!("/api/v2/groups?{}", of_job("a."))).expect(403).json();
    assert!(error["error"].as_str().unwrap().contains("web.enable-admin-api"), "{error}");
    gateway.post(&format!("/api/v2/groups/touch?{}", of_job("a.")), "").expect(403);
    gateway.delete(&format!("/api/v2/groups?{}&dry_run=1", of_job("a."))).expect(200);
    gateway.delete(&format!("/api/v2/groups?{}", of_job("a1"))).expect(200);
    gateway.scrape().lacks("a1").shows(&["m{instance=\"\",job=\"a2\"} 1"]);
    gateway.stop();
}

#[test]
fn most_groups_are_deleted_at_once_and_the_others_survive_a_restart() {
    let gateway = Gateway::start(HOUR);
    for job in 0..1500 {
        gateway.put(&format!("/metrics/job/go-{job}"), format!("m {job}\n")).expect(200);
    }
    let large = lines(800, |n| format!("large{{n=\"{n}\"}} {n}\n"));
    gateway.put("/metrics/job/stay", &large).expect(200);
    let did = gateway.delete(&format!("/api/v2/groups?{}", of_job("go-.*"))).expect(200).data();
    assert_eq!(did["count"], 1500);
    gateway.scrape().lacks("go-").shows(&["large{instance=\"\",job=\"stay\",n=\"799\"} 799"]);
    let gateway = gateway.restart();
    gateway.scrape().lacks("go-").shows(&["large{instance=\"\",job=\"stay\",n=\"799\"} 799"]);
    assert_eq!(gateway.get("/api/v2/expired").expect(200).data()["total"], 1000);
    gateway.post(&format!("/api/v2/expired/restore?{}", of_job("go-1499")), "").expect(200);
    gateway.scrape().shows(&["m{instance=\"\",job=\"go-1499\"} 1499"]);
    gateway.stop();
}

#[test]
fn groups_are_listed_in_pages_that_stay_in_place() {
    let gateway = Gateway::start(HOUR);
    for job in 0..25 {
        let body = lines(1 + job % 3, |n| format!("m{{n=\"{n}\"}} 1\n"));
        gateway.put(&format!("/metrics/job/j{job:02}?ttl={}m", 100 - job), body).expect(200);
        gateway.advance(MILLISECOND);
    }
    gateway.put("/metrics/job/bad", "m 1 1\n").expect(400);
    for sort in ["name", "-name", "deadline", "-last_push", "series", "-series"] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v2/groups?{}&sort={sort}&limit=7{after}", of_job("j.*"));
            let page = gateway.get(&path).expect(200).data();
            for group in page["groups"].as_array().unwrap() {
                seen.push(group["labels"]["job"].as_str().unwrap().to_owned());
            }
            // Groups that come and go elsewhere move no page.
            gateway.put("/metrics/job/a", "m 1\n").expect(200);
            gateway.delete("/metrics/job/a").expect(202);
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        let mut unique = seen.clone();
        unique.sort();
        unique.dedup();
        assert_eq!((seen.len(), unique.len()), (25, 25), "{sort}");
        match sort {
            "name" => assert_eq!(seen, unique),
            "deadline" | "-name" | "-last_push" => {
                unique.reverse();
                assert_eq!(seen, unique, "{sort}");
            }
            _ => {}
        }
    }
    let failing = gateway.get("/api/v2/groups?state=failing").expect(200).data();
    assert_eq!(failing["total"], 1);
    let error = failing["groups"][0]["last_failed_push_error"].as_str().unwrap();
    assert!(error.contains("timestamps"), "{error}");
    for query in ["state=odd", "sort=size", "limit=0", "after=x", "match[]=up", "mach[]=x"] {
        gateway.get(&format!("/api/v2/groups?{query}")).expect(400);
    }
    gateway.get("/api/v2/nothing").expect(404);
    assert_eq!(gateway.get("/api/v2/nothing").json()["errorType"], "not_found");
    gateway.send("PATCH", "/api/v2/groups", &[], b"").expect(405);
    gateway.stop();
}

#[test]
fn events_are_followed_and_resumed() {
    let gateway = Gateway::start(HOUR);
    let mut listener = Listener::new(&gateway, "", None);
    gateway.put("/metrics/job/a", "m 1\n").expect(200);
    let (id, name, data) = listener.event();
    assert_eq!((name.as_str(), &data["labels"]), ("pushed", &json!({ "job": "a" })));
    drop(listener);
    gateway.put("/metrics/job/a", "m 1 1\n").expect(400);
    gateway.put("/metrics/job/a", "nonsense nonsense\n").expect(400);
    gateway.put("/metrics/job/b", "m 1\n").expect(200);
    gateway.delete("/metrics/job/a").expect(202);
    gateway.advance(minutes(60));
    let mut listener = Listener::new(&gateway, "", Some(&id));
    let names: Vec<_> = (0..5).map(|_| listener.event().1).collect();
    assert_eq!(names, ["refused", "refused", "pushed", "deleted", "expired"]);
    let mut some = Listener::new(&gateway, "?event=expired", Some(&id));
    let (_, name, data) = some.event();
    assert_eq!((name.as_str(), &data["labels"]), ("expired", &json!({ "job": "b" })));
    // Who was connected to the gateway before a restart is told that events may be missing.
    let gateway = gateway.restart();
    let mut listener = Listener::new(&gateway, "", Some(&id));
    assert_eq!(listener.until("event:"), "missed");
    gateway.get("/api/v2/events?event=odd").expect(400);
    gateway.stop();
}

#[test]
fn a_webhook_is_told_signed_and_again_until_it_has_understood() {
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", endpoint.local_addr().unwrap());
    let gateway = Gateway::start(&format!("{HOUR}[notify]\nurl = '{url}'\nsecret = 'hush'\n"));
    gateway.put("/metrics/job/a", "m 1\n").expect(200);
    gateway.delete("/metrics/job/a").expect(202);
    let (first, _) = answer(&endpoint, "500 No");
    let (body, head) = answer(&endpoint, "200 OK");
    assert_eq!(first, body, "the same again");
    let value: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(value["groups"][0]["labels"], json!({ "job": "a" }));
    assert_eq!(value["groups"][0]["why"], "deleted");
    assert!(head.to_lowercase().contains("tidegate-signature: sha256="), "{head}");
    let config = gateway.get("/api/v2/config").expect(200).text().clone();
    assert!(!config.contains("hush"), "secrets are hidden");
    gateway.put("/metrics/job/b", "m 1\n").expect(200);
    gateway.advance(minutes(60));
    let (body, _) = answer(&endpoint, "200 OK");
    let value: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&value["groups"][0]["why"], value["groups"].as_array().unwrap().len()),
        (&json!("expired"), 1)
    );
    gateway.stop();
}

/// Takes one request and answers it. Returns body and head.
fn answer(endpoint: &TcpListener, status: &str) -> (String, String) {
    let (mut stream, _) = endpoint.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).unwrap();
    }
    let length = head.lines().find_map(|line| {
        line.to_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
    });
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).unwrap();
    let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(response.as_bytes()).unwrap();
    (String::from_utf8(body).unwrap(), head)
}
