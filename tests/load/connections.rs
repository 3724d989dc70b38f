//! Thousands of connections: idle ones, slow ones, and more than are allowed.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::gateway::Gateway;
use crate::others::{Others, go_on};
use crate::{alone, beside_others, figure, pass};
use support::{PATIENCE, eventually};

const IDLE: usize = 10_000;
const SLOW: usize = 1000;
/// For how long the slow ones send a byte a second.
const SECONDS: u32 = 5;

/// The memory of a connection that waits for a request, and of one that waits for the rest of one: its
/// buffer and the state of its task, with room.
const KIB_PER_IDLE_MAX: u64 = 32;
const KIB_PER_SLOW_MAX: u64 = 96;
/// The memory of a head that does not end, and of a connection whose pushes were large, once it is
/// idle.
const KIB_PER_HEAD_MAX: u64 = 250;
const KIB_AFTER_PUSHES_MAX: u64 = 500;

/// Lets this process have so many sockets, where the host allows it at all.
#[track_caller]
fn may_open(files: usize) {
    let limit = getrlimit(Resource::Nofile);
    let (files, maximum) = (files as u64 + 1000, limit.maximum);
    assert!(
        maximum.is_none_or(|maximum| maximum >= files),
        "this test needs {files} file descriptors, and the host allows {maximum:?} (ulimit -Hn)"
    );
    // Other tests of this process do the same: only ever more.
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

const ASK: &[u8] = b"GET /-/healthy HTTP/1.1\r\nHost: test\r\n\r\n";

/// Asks on a connection, which has to be served.
#[track_caller]
fn is_served(mut stream: &TcpStream) {
    stream.write_all(ASK).unwrap();
    answers(stream, "200 OK");
}

/// Reads the one answer that comes, whose body is short; returns all of it.
#[track_caller]
pub(crate) fn answers(mut stream: &TcpStream, status: &str) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    while !text.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "it was closed after {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..read]);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
    text
}

#[test]
fn ten_thousand_idle_connections_are_held() {
    let _machine = alone();
    may_open(IDLE);
    let gateway = Gateway::start(&["--limits.connections=10100"]);
    go_on(&gateway);
    let (before, quiet) = (gateway.memory(), Others::run_for(&gateway, Duration::from_secs(1)));
    let began = Instant::now();
    let idle: Vec<_> = (0..IDLE).map(|_| connect(gateway.address())).collect();
    // Some have never asked for anything, as a port scan does not; others wait between requests.
    idle.iter().step_by(2).for_each(is_served);
    eventually("all connections", || (gateway.files() > IDLE).then_some(()));
    figure(&format!("{IDLE} connections within {:?}", began.elapsed()));
    let busy = Others::run_for(&gateway, Duration::from_secs(1));
    busy.are_much_as(&quiet, "beside 10,000 idle connections");
    let grown = gateway.memory().now.saturating_sub(before.now);
    figure(&format!("{grown} KiB for {IDLE} idle connections"));
    assert!(grown < IDLE as u64 * KIB_PER_IDLE_MAX, "grown by {grown} KiB");
    // They are all still there.
    idle.iter().step_by(97).for_each(is_served);
    assert_eq!(gateway.reached("limits.connections"), 0);
    drop(idle);
    eventually("connections are closed", || (gateway.files() < 100).then_some(()));
    go_on(&gateway);
    gateway.stop();
}

#[test]
fn clients_that_send_a_byte_a_second_hold_up_nobody() {
    let _machine = alone();
    may_open(SLOW);
    let gateway = Gateway::start(&[]);
    go_on(&gateway);
    let (before, quiet) = (gateway.memory(), Others::run_for(&gateway, Duration::from_secs(2)));
    // Half are slow with the head, half with the body.
    let pad = "x".repeat(200);
    let slow: Vec<_> = (0..SLOW)
        .map(|job| {
            let head = format!("PUT /metrics/job/slow-{job} HTTP/1.1\r\n");
            let body = format!("#{pad}\nm 1\n");
            let length = body.len();
            let rest = format!("Host: test\r\nX-Pad: {pad}\r\nContent-Length: {length}\r\n\r\n");
            let (at_once, slowly) = if job % 2 == 0 {
                (head, format!("{rest}{body}"))
            } else {
                (format!("{head}{rest}"), body)
            };
            let mut stream = connect(gateway.address());
            stream.write_all(at_once.as_bytes()).unwrap();
            (stream, slowly)
        })
        .collect();
    let others = Others::start(&gateway);
    for second in 0..SECONDS as usize {
        for (stream, slowly) in &slow {
            (&mut &*stream).write_all(&slowly.as_bytes()[second..=second]).unwrap();
        }
        pass(Duration::from_secs(1));
    }
    others.stop().are_much_as(&quiet, "beside 1,000 slow clients");
    let grown = gateway.memory().now.saturating_sub(before.now);
    figure(&format!("{grown} KiB for {SLOW} slow clients"));
    assert!(grown < SLOW as u64 * KIB_PER_SLOW_MAX, "grown by {grown} KiB");
    // A slow push is a push all the same.
    for (stream, slowly) in &slow {
        (&mut &*stream).write_all(&slowly.as_bytes()[SECONDS as usize..]).unwrap();
    }
    for (stream, _) in &slow {
        answers(stream, "200 OK");
    }
    let exposition = gateway.scrape();
    let stored = exposition.family("m").iter().filter(|line| line.ends_with(" 1")).count();
    assert_eq!(stored, SLOW);
    gateway.stop();
}

/// A head that goes on and on is refused before it is large.
#[test]
fn heads_take_a_bounded_amount_of_memory() {
    const CLIENTS: usize = 200;
    let _machine = beside_others();
    let gateway = Gateway::start(&[]);
    go_on(&gateway);
    let before = gateway.memory();
    let header = format!("X-Pad: {}\r\n", "x".repeat(8000));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = connect(gateway.address());
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n").unwrap();
            stream
        })
        .collect();
    for _ in 0..100 {
        for mut stream in &clients {
            // One that was refused already takes no more.
            let _ = stream.write_all(header.as_bytes());
        }
    }
    for mut stream in &clients {
        let mut start = [0; 12];
        match stream.read_exact(&mut start) {
            Ok(()) => assert_eq!(&start, b"HTTP/1.1 431", "{start:?}"),
            // The answer is lost where the gateway closes while we write.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    let grown = gateway.memory().peak.saturating_sub(before.now);
    figure(&format!("{grown} KiB for {CLIENTS} heads that go on"));
    assert!(grown < CLIENTS as u64 * KIB_PER_HEAD_MAX, "grown by {grown} KiB");
    go_on(&gateway);
    gateway.stop();
}

/// The buffer of a large push is not kept for the next one.
#[test]
fn connections_that_have_pushed_much_take_little_once_they_are_idle() {
    const CLIENTS: usize = 200;
    let _machine = beside_others();
    let gateway = Gateway::start(&[]);
    go_on(&gateway);
    let before = gateway.memory();
    let comment = format!("#{}\n", "x".repeat(900 << 10));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|job| {
            let mut stream = connect(gateway.address());
            let length = comment.len();
            let head = format!(
                "PUT /metrics/job/{job} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(comment.as_bytes()).unwrap();
            answers(&stream, "200 OK");
            stream
        })
        .collect();
    let grown = gateway.memory().now.saturating_sub(before.now);
    figure(&format!(
        "{grown} KiB for {CLIENTS} idle connections that have pushed {} KiB",
        comment.len() >> 10
    ));
    assert!(grown < CLIENTS as u64 * KIB_AFTER_PUSHES_MAX, "grown by {grown} KiB");
    clients.iter().for_each(is_served);
    gateway.stop();
}

/// A shell's usual 1024 file descriptors are not the limit where the host allows more.
#[test]
fn the_gateway_takes_as_many_file_descriptors_as_it_may() {
    let _machine = beside_others();
    let gateway = Gateway::start_with_files(128, 1000, &[]);
    let idle: Vec<_> = (0..300).map(|_| connect(gateway.address())).collect();
    idle.iter().for_each(is_served);
    go_on(&gateway);
    gateway.stop();
}

/// Where the host allows fewer than there are connections, the store still has its own.
#[test]
fn connections_leave_file_descriptors_for_the_store() {
    let _machine = beside_others();
    let gateway = Gateway::start_with_files(200, 200, &[]);
    // On a connection that is kept: a new one has to wait as all others do.
    go_on(&gateway);
    let flood: Vec<_> = (0..400).map(|_| connect(gateway.address())).collect();
    is_served(&flood[0]);
    eventually("the limit", || (gateway.reached("limits.connections") > 0).then_some(()));
    let files = gateway.files();
    assert!(files <= 170, "{files} of 200 file descriptors");
    go_on(&gateway);
    // They are served in turn, once those before them have closed.
    for stream in &flood {
        is_served(stream);
        stream.shutdown(Shutdown::Both).unwrap();
    }
    gateway.stop();
}
