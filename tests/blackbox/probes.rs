//! Health and readiness, and connections that go on whatever was asked over them.

use support::{Connection, Gateway, push_in_chunks};

#[test]
fn a_gateway_that_serves_is_healthy_and_ready() {
    let gateway = Gateway::start("");
    for path in ["/-/healthy", "/-/ready"] {
        let answer = gateway.get(path).expect(200);
        assert_eq!(answer.text(), "OK", "{path}");
        let head = gateway.send("HEAD", path, &[], b"").expect(200);
        assert_eq!(head.body, b"", "{path}");
    }
    gateway.stop();
}

#[test]
fn a_connection_survives_whatever_was_refused_on_it() {
    let gateway = Gateway::start("");
    let mut connection = Connection::open(gateway.address());
    for (request, body, status) in [
        ("PUT /metrics/job/j", "m 1\n", 200),
        ("PUT /metrics/job/j", "m one\n", 400),
        ("PUT /metrics/job/j", "m 1 1\n", 400),
        ("PUT /metrics/job/j/odd", "m 1\n", 400),
        ("PUT /nowhere", "m 1\n", 404),
        ("PATCH /metrics", "m 1\n", 405),
        ("DELETE /metrics/job/j", "", 202),
        ("DELETE /metrics/job/j", "ignored", 202),
        ("GET /-/ready", "", 200),
        ("PUT /metrics/job/j", "m 2\n", 200),
    ] {
        let length = body.len();
        connection.write(&format!(
            "{request} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        assert_eq!(connection.status(), status, "{request}");
    }
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 2"]);
    gateway.stop();
}

#[test]
fn requests_can_follow_each_other_without_waiting() {
    let gateway = Gateway::start("");
    let mut connection = Connection::open(gateway.address());
    let push = "POST /metrics/job/j HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nm 1\n";
    connection.write(&push.repeat(10));
    for _ in 0..10 {
        assert_eq!(connection.status(), 200);
    }
    gateway.stop();
}

/// Also where it is not read to the end.
#[test]
fn every_request_in_chunks_is_answered() {
    let gateway = Gateway::start("");
    for (path, status) in [
        ("/metrics/job/j", 200),
        ("/metrics/job/j/odd", 400),
        ("/metrics/job@base64/!", 400),
        ("/nowhere", 404),
        ("/metrics", 405),
    ] {
        for chunks in [&["a 1\n", "b 2\n"][..], &["a ", "1", "\n", "b 2\n"], &["a 1\n"], &[]] {
            let answer = push_in_chunks(gateway.address(), path, chunks);
            assert_eq!(answer, status, "{path} {chunks:?}");
        }
    }
    gateway.stop();
}

/// Chunked, with `Expect`, and as HTTP/1.0: what simple clients send.
#[test]
fn bodies_arrive_however_they_are_sent() {
    let gateway = Gateway::start("");
    let mut push = Connection::begin_push(gateway.address(), "/metrics/job/expect", 4);
    push.write("m 1\n");
    assert_eq!(push.status(), 200);
    for (job, request) in [
        (
            "chunked",
            "HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nm \r\n2\r\n1\n\r\n0\r\n\r\n",
        ),
        ("old", "HTTP/1.0\r\nContent-Length: 4\r\n\r\nm 1\n"),
    ] {
        let mut push = Connection::open(gateway.address());
        push.write(&format!("PUT /metrics/job/{job} {request}"));
        assert_eq!(push.status(), 200, "{job}");
    }
    for job in ["expect", "chunked", "old"] {
        gateway.scrape().shows(&[&format!("m{{instance=\"\",job=\"{job}\"}} 1")]);
    }
    gateway.stop();
}
