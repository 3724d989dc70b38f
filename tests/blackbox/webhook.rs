//! The webhook: what it is told, signed how, and again until it has understood.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use support::{Client, Gateway, PATIENCE, Tidegate, eventually, minutes};

/// Where the gateway sends to: each request waits until the test takes it.
struct Endpoint(TcpListener);

/// A request that was not answered yet.
struct Request {
    stream: TcpStream,
    head: String,
    body: String,
}

impl Endpoint {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0.local_addr().unwrap())
    }

    #[track_caller]
    fn accept(&self) -> TcpStream {
        let stream = eventually("a request", || match self.0.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    #[track_caller]
    fn next(&self) -> Request {
        let stream = self.accept();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let mut request = Request { stream, head, body: String::new() };
        let length = request.header("content-length").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        request.body = String::from_utf8(body).unwrap();
        request
    }

    /// The requests that arrive until this many groups were delivered, each answered by its jobs.
    #[track_caller]
    fn told(&self, count: usize, status: impl Fn(&[String]) -> &'static str) -> Vec<Vec<String>> {
        let mut told = Vec::new();
        while told.iter().map(Vec::len).sum::<usize>() < count {
            let request = self.next();
            let jobs = request.jobs();
            let status = status(&jobs);
            request.answer(status);
            if status.starts_with('2') {
                told.push(jobs);
            }
        }
        told
    }
}

impl Request {
    fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn jobs(&self) -> Vec<String> {
        let groups = self.json()["groups"].as_array().unwrap().clone();
        groups.iter().map(|group| group["labels"]["job"].as_str().unwrap().to_owned()).collect()
    }

    fn answer(mut self, status: &str) {
        let response =
            format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        self.stream.write_all(response.as_bytes()).unwrap();
    }
}

fn settings(url: &str, more: &str) -> String {
    format!(
        "[ttl]\ndefault = '1h'\n[web]\nenable-admin-api = true\n[notify]\nurl = '{url}'\n{more}"
    )
}

/// Pushes and deletes groups. Those of one call are told of together, if a request is under way.
fn come_and_go(client: &Client, jobs: &[String]) {
    for job in jobs {
        client.put(&format!("/metrics/job/{job}"), "m 1\n").expect(200);
    }
    for job in jobs {
        client.delete(&format!("/metrics/job/{job}")).expect(202);
    }
}

fn jobs(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|at| format!("g{at}")).collect()
}

#[test]
fn an_alertmanager_is_told_in_alerts_of_its_own_form() {
    let endpoint = Endpoint::new();
    let url = endpoint.url("/api/v2/alerts");
    let gateway = Gateway::start(&settings(&url, "format = 'alertmanager'\n"));
    gateway.put("/metrics/job/backup/instance/db-1?ttl=10m", "m 1\n").expect(200);
    gateway.advance(minutes(10));
    let at = humantime::format_rfc3339_millis(gateway.wall().to_system_time()).to_string();
    let request = endpoint.next();
    assert!(request.head.starts_with("POST /api/v2/alerts HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(request.header("tidegate-signature"), None, "there is no secret");
    let alerts = request.json();
    assert_eq!(alerts.as_array().unwrap().len(), 1);
    let labels = json!({
        "alertname": "TidegateGroupGone", "event": "expired", "instance": "db-1", "job": "backup",
    });
    assert_eq!(alerts[0]["labels"], labels);
    assert_eq!(alerts[0]["startsAt"], at);
    let annotations = alerts[0]["annotations"].as_object().unwrap();
    assert!(annotations.values().all(Value::is_string), "as an Alertmanager has it");
    let summary = annotations["summary"].as_str().unwrap();
    assert!(summary.contains("backup") && summary.contains("10m"), "{summary}");
    request.answer("200 OK");
    gateway.stop();
}

#[test]
fn a_notification_is_signed_with_the_secret() {
    let endpoint = Endpoint::new();
    let gateway = Gateway::start(&settings(&endpoint.url("/"), "secret = 'a b\u{fc}'\n"));
    come_and_go(&gateway, &["caf\u{e9}".to_owned()]);
    let request = endpoint.next();
    let mut mac = Hmac::<Sha256>::new_from_slice("a b\u{fc}".as_bytes()).unwrap();
    mac.update(request.body.as_bytes());
    let mut expected = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        write!(expected, "{byte:02x}").unwrap();
    }
    assert_eq!(request.header("tidegate-signature"), Some(expected));
    request.answer("204 No Content");
    gateway.stop();
}

/// In the real binary, as the log says who was not told of.
#[test]
fn a_group_that_the_endpoint_refuses_keeps_no_other_from_being_told() {
    let endpoint = Endpoint::new();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("--notify.url={}", endpoint.url("/"));
    let mut gateway = Tidegate::serve(folder.path(), &[&url]);
    come_and_go(&gateway, &["first".to_owned()]);
    // The others gather while this one is under way.
    let first = endpoint.next();
    come_and_go(&gateway, &jobs(0..8));
    first.answer("200 OK");
    let culprit = "g5".to_owned();
    let refuse = |jobs: &[String]| {
        if jobs.contains(&culprit) { "400 Bad Request" } else { "200 OK" }
    };
    let told = endpoint.told(7, refuse).concat();
    let mut expected = jobs(0..8);
    expected.retain(|job| *job != culprit);
    assert_eq!(told, expected, "each once, and in order");
    let line = gateway.process().logs("the group that was dropped", |line| {
        line.contains("rejects").then(|| line.to_owned())
    });
    assert!(line.contains("level=error") && line.contains("g5") && line.contains("400"), "{line}");
    // And it goes on.
    come_and_go(&gateway, &["last".to_owned()]);
    assert_eq!(endpoint.told(1, refuse), [["last"]]);
    // The metrics have counted it.
    eventually("nothing that waits", || {
        let scrape = gateway.scrape();
        let value = |name: &str| scrape.value(&format!("tidegate_webhook_{name}"));
        let outcomes = ["delivered", "rejected", "dropped"];
        let told =
            outcomes.map(|it| value(&format!("groups_total{{outcome=\"{it}\"}}")).to_owned());
        (told == ["9", "1", "0"] && value("waiting_groups") == "0").then_some(())
    });
    gateway.stop();
}

#[test]
fn an_endpoint_that_is_busy_is_asked_again_later_and_then_later_still() {
    let endpoint = Endpoint::new();
    let gateway = Gateway::start(&settings(&endpoint.url("/"), ""));
    come_and_go(&gateway, &["a".to_owned()]);
    let mut asked = Vec::new();
    for status in ["503 Service Unavailable", "429 Too Many Requests", "200 OK"] {
        let request = endpoint.next();
        assert_eq!(request.jobs(), ["a"]);
        asked.push(Instant::now());
        request.answer(status);
    }
    let pause = |at: usize| asked[at + 1].duration_since(asked[at]);
    assert!(pause(0) >= Duration::from_millis(400), "{:?}", pause(0));
    assert!(pause(1) >= Duration::from_millis(900), "{:?}", pause(1));
    assert_eq!(gateway.scrape().value("tidegate_webhook_failures_total"), "2");
    gateway.stop();
}

/// In the real binary, as the log says where it was sent to.
#[test]
fn a_redirection_is_a_failure_that_is_repeated_word_by_word() {
    let (endpoint, elsewhere) = (Endpoint::new(), Endpoint::new());
    let folder = tempfile::tempdir().unwrap();
    let url = format!("--notify.url={}", endpoint.url("/"));
    let mut gateway = Tidegate::serve(folder.path(), &[&url, "--notify.secret=hush"]);
    come_and_go(&gateway, &["a".to_owned()]);
    let mut first: Option<(String, Option<String>)> = None;
    for status in [301, 302, 303, 307, 308, 304] {
        let request = endpoint.next();
        assert!(request.head.starts_with("POST / "), "{}", request.head);
        let told = (request.body.clone(), request.header("tidegate-signature"));
        assert_eq!(first.get_or_insert_with(|| told.clone()), &told, "as before");
        // Later events go into a request of their own.
        come_and_go(&gateway, &[format!("since-{status}")]);
        request.answer(&format!("{status} Elsewhere\r\nLocation: {}", elsewhere.url("/there")));
        let line = gateway.process().logs("the redirection", |line| {
            line.contains("cannot deliver removed groups").then(|| line.to_owned())
        });
        assert!(line.contains(&status.to_string()) && line.contains("/there"), "{line}");
    }
    let request = endpoint.next();
    assert_eq!(request.jobs(), ["a"]);
    request.answer("200 OK");
    assert_eq!(endpoint.told(6, |_| "200 OK").concat().len(), 6);
    let nobody = elsewhere.0.accept().map(drop).unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
    gateway.stop();
}

#[test]
fn an_endpoint_that_was_down_learns_of_all_that_went_in_the_meantime() {
    let endpoint = Endpoint::new();
    let gateway = Gateway::start(&settings(&endpoint.url("/"), ""));
    for at in 0..700 {
        gateway.put(&format!("/metrics/job/g{at}?ttl=10m"), "m 1\n").expect(200);
    }
    come_and_go(&gateway, &["first".to_owned()]);
    // It hangs up without an answer, as one that crashes does.
    drop(endpoint.accept());
    gateway.advance(minutes(10));
    drop(endpoint.accept());
    come_and_go(&gateway, &["last".to_owned()]);
    let told = endpoint.told(702, |_| "200 OK");
    assert!(told.iter().all(|batch| batch.len() <= 500), "in batches");
    let told = told.concat();
    let (first, last) = (&told[0], &told[701]);
    assert_eq!((first.as_str(), last.as_str()), ("first", "last"), "in order");
    let mut expired = told[1..701].to_vec();
    let mut expected = jobs(0..700);
    expired.sort();
    expected.sort();
    assert_eq!(expired, expected, "each once");
    gateway.stop();
}
