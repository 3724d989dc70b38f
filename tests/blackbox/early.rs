//! Answers that do not wait for a body, heads that HTTP does not allow, and paths that push to nobody.

use support::{Connection, Gateway, Tidegate, finished};

const EXPECT: &str = "Host: t\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n";

fn with_token() -> (Gateway, String) {
    let token = finished(&mut Tidegate::command(&["token", "t", "--may=push"]));
    let text = String::from_utf8(token.stdout).unwrap();
    let (first, table) = text.split_once('\n').unwrap();
    let secret = first.rsplit(' ').next().unwrap();
    (Gateway::start(table), format!("Authorization: Bearer {secret}\r\n"))
}

#[test]
fn a_client_that_waits_to_be_asked_for_a_body_is_answered_at_once() {
    let (gateway, bearer) = with_token();
    let length = "Content-Length: 100000000000\r\nExpect: 100-continue\r\nHost: t\r\n";
    for (request, status) in [
        (format!("PUT /metrics/job/j HTTP/1.1\r\n{EXPECT}"), 401),
        (format!("POST /nowhere HTTP/1.1\r\n{EXPECT}"), 404),
        (format!("PUT /nowhere HTTP/1.1\r\n{EXPECT}Content-Encoding: gzip\r\n{bearer}"), 404),
        (format!("PUT /metrics HTTP/1.1\r\n{EXPECT}{bearer}"), 405),
        (format!("PUT /metrics/job/j/odd HTTP/1.1\r\n{EXPECT}{bearer}"), 400),
        (format!("PUT /metrics/job/j?ttl=soon HTTP/1.1\r\n{EXPECT}{bearer}"), 400),
        (format!("PUT /metrics/job/j HTTP/1.1\r\n{length}{bearer}"), 413),
        (format!("GET /-/ready HTTP/1.1\r\n{EXPECT}Content-Encoding: gzip\r\n"), 200),
        (format!("PUT /metrics/job/j HTTP/1.1\r\n{EXPECT}{bearer}Origin: http://evil\r\n"), 403),
    ] {
        let mut connection = Connection::open(gateway.address());
        connection.write(&format!("{request}\r\n"));
        assert_eq!(connection.status(), status, "{request}");
    }
    let mut push = Connection::open(gateway.address());
    let head = format!("PUT /metrics/job/j HTTP/1.1\r\n{bearer}Host: t\r\nContent-Length: 4\r\n");
    push.write(&format!("{head}Expect: 100-Continue\r\n\r\n"));
    assert_eq!(push.head(), ["HTTP/1.1 100 Continue"]);
    push.write("m 1\n");
    assert_eq!(push.status(), 200);
    gateway.stop();
}

/// Without `Expect`, too: the answer is there while the body is not, and the connection goes on once
/// it has come.
#[test]
fn an_answer_does_not_wait_for_a_body_that_nobody_wants() {
    let (gateway, bearer) = with_token();
    for (request, status) in [
        ("PUT /metrics/job/j HTTP/1.1\r\n".to_owned(), 401),
        ("PUT /metrics/job/j HTTP/1.1\r\nContent-Encoding: gzip\r\n".to_owned(), 401),
        ("POST /nowhere HTTP/1.1\r\nContent-Encoding: gzip\r\n".to_owned(), 404),
        (format!("PUT /metrics/job/j/odd HTTP/1.1\r\n{bearer}"), 400),
        ("GET /-/ready HTTP/1.1\r\nContent-Encoding: gzip\r\n".to_owned(), 200),
    ] {
        for (framing, body) in [
            ("Content-Length: 8\r\n", "01234567"),
            ("Transfer-Encoding: chunked\r\n", "8\r\n01234567\r\n0\r\n\r\n"),
        ] {
            let mut connection = Connection::open(gateway.address());
            connection.write(&format!("{request}Host: t\r\n{framing}\r\n"));
            assert_eq!(connection.status(), status, "{request}{framing}");
            connection.write(body);
            connection.write("GET /-/healthy HTTP/1.1\r\nHost: t\r\n\r\n");
            assert_eq!(connection.status(), 200, "{request}{framing}");
        }
    }
    gateway.stop();
}

#[test]
fn heads_that_http_does_not_allow_are_refused() {
    let gateway = Gateway::start("");
    for (head, status) in [
        ("GET /-/ready HTTP/1.1\r\n", 400),
        ("PUT /metrics/job/j HTTP/1.1\r\nContent-Length: 0\r\n", 400),
        ("GET /-/ready HTTP/1.1\r\nHost: a\r\nHost: b\r\n", 400),
        ("GET /-/ready HTTP/1.0\r\n", 200),
        ("PUT /metrics/job/j HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        ("GET /-/ready HTTP/1.1\r\nHost: t\r\nExpect: something\r\n", 417),
        ("PUT /metrics/job/j HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\n", 501),
        ("PUT /metrics/job/j HTTP/1.1\r\nHost: t\r\nContent-Length: x\r\n", 400),
        ("GET /-/ready HTTP/2.0\r\nHost: t\r\n", 505),
        ("GET ready HTTP/1.1\r\nHost: t\r\n", 400),
        ("nonsense\r\n", 400),
        ("GET /-/ready HTTP/1.1\r\nHost: t\r\nno colon\r\n", 400),
        (&*format!("GET /-/ready HTTP/1.1\r\nHost: t\r\nA: {}\r\n", "a".repeat(90_000)), 431),
        (&*format!("GET /{} HTTP/1.1\r\nHost: t\r\n", "a".repeat(70_000)), 414),
    ] {
        let mut connection = Connection::open(gateway.address());
        // In its turn behind another.
        connection.write("GET /-/healthy HTTP/1.1\r\nHost: t\r\n\r\n");
        connection.write(&format!("{head}\r\n"));
        assert_eq!(connection.status(), 200);
        let (found, body) = connection.answer();
        assert_eq!(found, status, "{head}");
        assert!(!body.is_empty(), "{head}");
    }
    gateway.stop();
}

#[test]
fn many_lines_and_odd_characters_are_no_reason_to_refuse_a_push() {
    let gateway = Gateway::start("");
    let lines = (0..5000).fold(String::new(), |lines, n| lines + &format!("x-{n}: y\r\n"));
    let mut connection = Connection::open(gateway.address());
    for (path, more) in [
        ("/metrics/job/many", &*lines),
        ("/metrics/job/odd/v/a<b>`c#d", ""),
        ("/metrics/job/query?ttl=1h&x=<>", ""),
    ] {
        connection.write(&format!(
            "PUT {path} HTTP/1.1\r\n{more}Host: t\r\nContent-Length: 4\r\n\r\nm 1\n"
        ));
        assert_eq!(connection.status(), 200, "{path}");
    }
    gateway.scrape().shows(&[
        "m{instance=\"\",job=\"many\"} 1",
        "m{instance=\"\",job=\"odd\",v=\"a<b>`c#d\"} 1",
        "m{instance=\"\",job=\"query\"} 1",
    ]);
    gateway.stop();
}

#[test]
fn an_address_with_a_slash_at_its_end_is_pushed_to() {
    let gateway = Gateway::start("");
    for (path, job) in
        [("//metrics/job/a", "a"), ("/%2Fmetrics/job/b/", "b"), ("///metrics//job@base64/Yw", "c")]
    {
        gateway.put(path, "m 1\n").expect(200);
        gateway.scrape().shows(&[&format!("m{{instance=\"\",job=\"{job}\"}} 1")]);
        gateway.delete(path).expect(202);
    }
    assert_eq!(gateway.put("/./metrics/job/a", "m 1\n").header("location"), Some("/metrics/job/a"));
    gateway.get("//metrics").expect(301);
    gateway.stop();
}

#[test]
fn whoever_misses_the_way_is_told_where_pushes_go() {
    let gateway = Gateway::start("");
    let before = gateway.get("/api/v2/groups").data();
    for (path, status) in [
        ("/metrics", 405),
        ("/metrics/jobs/x", 404),
        ("/metrics/metrics/job/x", 404),
        ("/metrics/job/", 400),
        ("/metrics/job", 404),
        ("//metrics/job//instance/x", 400),
        ("/metrics/job/x/path//var", 400),
    ] {
        for method in ["PUT", "POST", "DELETE"] {
            let answer = gateway.send(method, path, &[], b"m 1\n").expect(status);
            answer.says("pushes go to /metrics/job/JOB").says("@base64/");
        }
    }
    gateway.put("/metrics/job/x/path/var/log", "m 1\n").expect(400).says("/LABEL@base64/VALUE");
    assert_eq!(gateway.get("/api/v2/groups").data(), before);
    gateway.stop();
}

#[test]
fn methods_that_nobody_knows_leave_no_series() {
    let gateway = Gateway::start("");
    let series = |gateway: &Gateway| {
        let text = gateway.get("/metrics").expect(200).text();
        text.lines().filter(|line| line.starts_with("pushgateway_http_")).count()
    };
    let send = |at: usize, path: &str| {
        let mut connection = Connection::open(gateway.address());
        connection.write(&format!("FOO{at} {path} HTTP/1.1\r\nHost: t\r\n\r\n"));
        connection.status()
    };
    let paths = ["/metrics/job/%FF", "/metrics/job/x", "/", "/-/ready", "/api/v2/groups", "/x"];
    for path in paths {
        send(0, path);
    }
    let before = series(&gateway);
    for at in 1..50 {
        for path in paths {
            assert!(matches!(send(at, path), 404 | 405), "{path}");
        }
    }
    assert_eq!(series(&gateway), before);
    assert!(!gateway.get("/metrics").text().to_lowercase().contains("foo"));
    gateway.stop();
}
