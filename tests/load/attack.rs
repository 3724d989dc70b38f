//! One ceiling of memory: whatever many clients send at once, to every endpoint and in every format, a
//! gateway takes what it has stored, the budget of requests under way, and a fixed part.
//!
//! The attackers take whatever answer they get. Only the memory of the process counts, that it
//! lives, and that an ordinary client beside them is answered.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;

use crate::cgroup::Cgroup;
use crate::gateway::Gateway;
use crate::streams::{self, Asked, Takes};
use crate::{alone, figure, groups, pass};
use support::{Client, gzip, snappy_framed, snappy_raw, zstd};

const MIB: usize = 1 << 20;
/// The size of a bomb once it is decompressed.
const BOMB: usize = 64 * MIB;
/// The size of a body that is sent as it is.
const PLAIN: usize = 8 * MIB;

/// Stored before: a listing of 10,000 is one of all.
const GROUPS: u64 = 10_000;

/// How long each attack goes on.
const ATTACK: Duration = Duration::from_secs(6);
/// An attack that has had its way with this much ends: others are on this machine.
const ENOUGH_KIB: u64 = 1 << 20;

/// Between two requests of an ordinary client, and two looks at the memory.
pub(crate) const PACE: Duration = Duration::from_millis(20);

const BUDGET_KIB: u64 = 64 << 10;
const FIXED_KIB: u64 = 128 << 10;
/// Of a control group in which an attack kills nothing.
const CGROUP_BYTES: u64 = 256 << 20;

// === the requests ===

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

/// A field of bytes.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    varint(&mut out, value.len());
    [out, value.to_vec()].concat()
}

/// A delimited family of a type, whose metrics are these bytes of its message.
fn family(kind: u8, metrics: &[u8]) -> Vec<u8> {
    let message = [&field(1, b"bomb")[..], &[3 << 3, kind], metrics].concat();
    let mut out = Vec::with_capacity(message.len() + 10);
    varint(&mut out, message.len());
    [out, message].concat()
}

/// Bodies of a format that are small for what they make a parser do, of about so many bytes.
fn bodies(bytes: usize) -> Vec<(&'static str, bool, Vec<u8>)> {
    let many = |piece: &[u8]| piece.repeat(bytes / piece.len());
    // A metric with a value of a type, filled with empty messages of it.
    let filled =
        |kind, value: u8, of: u8| family(kind, &field(4, &field(value, &many(&[of << 3 | 2, 0]))));
    let mut names = String::with_capacity(bytes);
    let mut n = 0;
    while names.len() < bytes {
        names += &format!("a{n} 1\n");
        n += 1;
    }
    let mut labels = String::from("m{");
    while labels.len() < bytes {
        labels += &format!("l{}=\"1\",", labels.len());
    }
    labels += "z=\"1\"} 1\n";
    let mut series = String::from("# TYPE m gauge\n");
    n = 0;
    while series.len() < bytes {
        series += &format!("m{{i=\"{n}\"}} 1\n");
        n += 1;
    }
    vec![
        ("newlines", false, many(b"\n")),
        ("one series again and again", false, many(b"a 1\n")),
        ("many families", false, names.into_bytes()),
        ("many labels", false, labels.into_bytes()),
        ("many series", false, series.into_bytes()),
        ("a long comment", false, [b"# ", &many(b"x")[..], b"\n"].concat()),
        ("empty families", true, many(&[0])),
        ("empty metrics", true, family(1, &many(&[0x22, 0]))),
        ("empty labels", true, family(1, &field(4, &many(&[1 << 3 | 2, 0])))),
        ("empty quantiles", true, filled(2, 4, 3)),
        ("empty buckets", true, filled(4, 7, 3)),
        ("empty spans", true, filled(4, 7, 12)),
        ("empty exemplars", true, filled(4, 7, 16)),
    ]
}

/// Made once: it is the gateway that is to work.
static PUSHES: LazyLock<Arc<Vec<Asked>>> = LazyLock::new(|| Arc::new(pushes()));
static READS: LazyLock<Arc<Vec<Asked>>> = LazyLock::new(|| Arc::new(reads()));

const PROTOBUF: &str = "application/vnd.google.protobuf; \
    proto=io.prometheus.client.MetricFamily; encoding=delimited";

fn pushes() -> Vec<Asked> {
    let mut asked = Vec::new();
    let mut push = |protobuf: bool, encoding: &str, body: Vec<u8>| {
        let mut headers = Vec::new();
        if protobuf {
            headers.push(("content-type", PROTOBUF.to_owned()));
        }
        if !encoding.is_empty() {
            headers.push(("content-encoding", encoding.to_owned()));
        }
        let path = format!("/metrics/job/attack/n/{}", asked.len());
        asked.push(Asked { method: "PUT".to_owned(), path, headers, body: body.into() });
    };
    for (_, protobuf, body) in bodies(PLAIN) {
        push(protobuf, "", body);
    }
    for (what, protobuf, body) in bodies(BOMB) {
        // Each in one encoding, the cheapest ones in all of them.
        push(protobuf, "gzip", gzip(&body));
        if matches!(what, "one series again and again" | "empty metrics") {
            push(protobuf, "zstd", zstd(&body));
            push(protobuf, "snappy", snappy_framed(&body));
            push(protobuf, "snappy", snappy_raw(&body));
        }
    }
    push(false, "snappy", vec![0xff, 0xff, 0xff, 0x7f, 0]);
    // Labels of the path, in every line of what is rendered.
    let long = "x".repeat(30_000);
    let lines: Vec<_> = (0..20_000).map(|n| format!("f{n} 1\n")).collect();
    asked.push(Asked {
        method: "POST".to_owned(),
        path: format!("/metrics/job/attack/one/{long}/other/{long}"),
        headers: Vec::new(),
        body: lines.concat().into(),
    });
    asked
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn reads() -> Vec<Asked> {
    let matchers = vec!["a=``"; 6000].join(",");
    let regex = |n| encoded(&format!("{{a{n}=~\"(x{{1,100}}){{9}}\"}}"));
    let regexes = (0..32).map(|n| format!("&match={}", regex(n))).collect::<Vec<_>>().concat();
    let words = vec!["j"; 15_000].join("+");
    let mut asked = Vec::new();
    let mut get = |path: String, headers: &[(&'static str, &str)]| {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        asked.push(Asked { method: "GET".to_owned(), path, headers, body: Bytes::new() });
    };
    for _ in 0..3 {
        get("/api/v2/groups?limit=10000".to_owned(), &[]);
    }
    get(format!("/api/v2/groups?match={{{}}}", encoded(&matchers)), &[]);
    get(format!("/api/v2/groups?search={words}"), &[]);
    get(format!("/api/v2/groups?limit=10000{regexes}"), &[]);
    get(format!("/api/v2/events?x=y{regexes}"), &[]);
    get("/api/v2/events".to_owned(), &[]);
    get("/api/v2/expired?limit=10000".to_owned(), &[]);
    get("/api/v1/metrics".to_owned(), &[]);
    get("/api/v1/status".to_owned(), &[]);
    get("/metrics".to_owned(), &[]);
    get("/metrics".to_owned(), &[("accept-encoding", "gzip")]);
    get("/metrics".to_owned(), &[("accept-encoding", "zstd")]);
    get("/metrics".to_owned(), &[("accept", PROTOBUF)]);
    for path in ["/", "/?limit=10000", "/expired", "/expiry", "/status", "/live"] {
        get(path.to_owned(), &[]);
    }
    get(format!("/nothing/{}", "x".repeat(60_000)), &[]);
    asked.push(Asked {
        method: "DELETE".to_owned(),
        path: format!("/api/v2/groups?match={}", encoded("{job=~\"(none){1,500}\"}")),
        headers: Vec::new(),
        body: Bytes::new(),
    });
    asked
}

// === over HTTP/1.1 ===

/// Sends one request on a connection of its own, and takes what comes. Whatever goes wrong is the
/// attacker's own concern.
fn ask(address: SocketAddr, asked: &Asked, takes: Takes, stop: &AtomicBool) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    // Nothing is waited for longer than the attack goes on.
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut head = format!("{} {} HTTP/1.1\r\nHost: test\r\n", asked.method, asked.path);
    for (name, value) in &asked.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n", asked.body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(&asked.body)?;
    let mut sink = vec![0; 64 << 10];
    while !stop.load(Ordering::Relaxed) {
        if takes == Takes::Nothing {
            pass(PACE);
            continue;
        }
        match stream.read(&mut sink) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Begins a body and does not end it.
fn hold(address: SocketAddr, at: usize, stop: &AtomicBool) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let head = format!(
        "PUT /metrics/job/held/n/{at} HTTP/1.1\r\nHost: test\r\nContent-Length: 60000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let piece = b"m{l=\"value\"} 1\n".repeat(4000);
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&piece)?;
        pass(PACE);
    }
    Ok(())
}

/// Attackers on connections of their own, until they are to stop.
fn over_http1(
    address: SocketAddr,
    pushes: &Arc<Vec<Asked>>,
    reads: &Arc<Vec<Asked>>,
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    let mut attackers = Vec::new();
    let mut again = |count: usize, asked: &Arc<Vec<Asked>>, takes| {
        for attacker in 0..count {
            let (asked, stop) = (Arc::clone(asked), Arc::clone(stop));
            attackers.push(std::thread::spawn(move || {
                let mut at = attacker * 7;
                while !stop.load(Ordering::Relaxed) {
                    at += 1;
                    let _ = ask(address, &asked[at % asked.len()], takes, &stop);
                }
            }));
        }
    };
    again(24, pushes, Takes::All);
    again(12, reads, Takes::All);
    again(80, reads, Takes::Nothing);
    for attacker in 0..12 {
        let stop = Arc::clone(stop);
        attackers.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let _ = hold(address, attacker, &stop);
            }
        }));
    }
    // Methods that nobody knows.
    let stop = Arc::clone(stop);
    attackers.push(std::thread::spawn(move || {
        for n in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let (method, path) = (format!("FOO{n}"), "/metrics/job/%FF".to_owned());
            let asked = Asked { method, path, headers: Vec::new(), body: Bytes::new() };
            let _ = ask(address, &asked, Takes::All, &stop);
        }
    }));
    attackers
}

/// An ordinary client: how often it has pushed, and what was not answered by 200.
fn honest(address: SocketAddr, stop: &AtomicBool) -> (usize, Vec<String>) {
    let client = Client::new(address);
    let mut wrong = Vec::new();
    let mut pushes = 0;
    while !stop.load(Ordering::Relaxed) {
        pushes += 1;
        let body = format!("honest {pushes}\n");
        match client.try_send("PUT", "/metrics/job/honest", &[], body.as_bytes()) {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => wrong.push(format!("{}: {}", answer.status, answer.text())),
            Err(error) => {
                wrong.push(error.to_string());
                break;
            }
        }
        pass(PACE);
    }
    (pushes, wrong)
}

// === the attacks ===

#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    Http1,
    Http2,
}

/// The outcome of an attack.
#[derive(Debug)]
struct Outcome {
    before: u64,
    peak: u64,
    pushes: usize,
    wrong: Vec<String>,
}

/// Attacks until the time is over, or the memory beyond all measure, or the gateway gone.
fn attack(gateway: &Gateway, protocol: Protocol) -> Outcome {
    let address = gateway.address();
    let (pushes, reads) = (Arc::clone(&PUSHES), Arc::clone(&READS));
    let stop = Arc::new(AtomicBool::new(false));
    gateway.forget_peak();
    let before = gateway.memory().now;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut attackers = Vec::new();
    let beside = Arc::clone(&stop);
    let ordinary: JoinHandle<(usize, Vec<String>)> = if protocol == Protocol::Http1 {
        attackers = over_http1(address, &pushes, &reads, &stop);
        std::thread::spawn(move || honest(address, &beside))
    } else {
        for (connections, asked, takes) in
            [(4, &reads, Takes::Nothing), (2, &reads, Takes::All), (2, &pushes, Takes::All)]
        {
            let streams = if Arc::ptr_eq(asked, &pushes) { 12 } else { 100 };
            let (asked, stop) = (Arc::clone(asked), Arc::clone(&stop));
            runtime.spawn(streams::attack(address, connections, streams, takes, asked, stop));
        }
        let handle = runtime.handle().clone();
        std::thread::spawn(move || handle.block_on(streams::honest(address, beside)))
    };
    let began = Instant::now();
    let mut peak = before;
    while began.elapsed() < ATTACK && !ordinary.is_finished() {
        // Where the process has ended there is no more to see; that it is shows below.
        let Some(memory) = gateway.try_memory() else { break };
        peak = peak.max(memory.peak);
        if peak > before + ENOUGH_KIB {
            break;
        }
        pass(PACE);
    }
    stop.store(true, Ordering::Relaxed);
    let (pushes, wrong) = ordinary.join().unwrap();
    for attacker in attackers {
        attacker.join().unwrap();
    }
    runtime.shutdown_background();
    Outcome { before, peak, pushes, wrong }
}

/// A gateway with many groups, in a folder of its own; stopped.
fn stored() -> TempDir {
    let gateway = Gateway::start(&["--storage.sync=1s"]);
    groups::fill(gateway.address(), GROUPS);
    gateway.stop()
}

/// A copy of a folder with its files.
fn copied(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    let status =
        std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(to.path()).status();
    assert!(status.unwrap().success());
    to
}

/// The arguments for a protocol.
fn arguments(folder: &Path, protocol: Protocol) -> Vec<String> {
    match protocol {
        Protocol::Http1 => Vec::new(),
        Protocol::Http2 => {
            vec![format!("--web.config.file={}", streams::web_config(folder).display())]
        }
    }
}

#[test]
fn an_attack_takes_no_more_than_the_budget_and_a_fixed_part() {
    let _machine = alone();
    let stored = stored();
    let mut wrong = Vec::new();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let folder = copied(stored.path());
        let mut arguments = arguments(folder.path(), protocol);
        // A single push may not be too much for the budget.
        for limit in ["bytes-in-flight=64MiB", "body-size=16MiB", "decoded-size=32MiB"] {
            arguments.push(format!("--limits.{limit}"));
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let gateway = Gateway::start_in(folder, &arguments);
        let Outcome { before, peak, pushes, .. } = attack(&gateway, protocol);
        let said = format!(
            "{protocol:?}: {} MiB before, {} MiB at its peak, {pushes} ordinary pushes",
            before >> 10,
            peak >> 10
        );
        figure(&said);
        if peak > before + BUDGET_KIB + FIXED_KIB {
            wrong.push(said);
        } else {
            // One that has gone too far has not the time to stop in order.
            gateway.stop();
        }
    }
    assert!(wrong.is_empty(), "more than {BUDGET_KIB} KiB and {FIXED_KIB} KiB: {wrong:#?}");
}

#[test]
fn an_attack_within_a_small_control_group_kills_nothing_and_ordinary_pushes_go_on() {
    let _machine = alone();
    let mut wrong = Vec::new();
    let mut stored_groups = None;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let cgroup = match Cgroup::new("attack", CGROUP_BYTES) {
            Ok(cgroup) => cgroup,
            Err(reason) => {
                figure(&format!("left out, as there can be no control group: {reason}"));
                return;
            }
        };
        let stored = stored_groups.get_or_insert_with(stored);
        let folder = copied(stored.path());
        let arguments = arguments(folder.path(), protocol);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let gateway = Gateway::start_in_cgroup(folder, &cgroup.processes(), &arguments);
        let Outcome { before, peak, pushes, wrong: refused } = attack(&gateway, protocol);
        let said = format!(
            "{protocol:?}: {} MiB before, {} MiB at its peak, {} killed; of {pushes} ordinary pushes \
             {} were not answered by 200: {:?}",
            before >> 10,
            peak >> 10,
            cgroup.killed(),
            refused.len(),
            refused.first()
        );
        figure(&said);
        if cgroup.killed() > 0 || !refused.is_empty() || pushes < 10 {
            wrong.push(said);
            drop(gateway);
        } else {
            gateway.stop();
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
