//! A disk that takes its time: pushes wait for it up to a limit, beyond that they are told so at
//! once.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::gateway::number;
use crate::{beside_others, figure};
use support::{PATIENCE, Tidegate, eventually, part};

/// One batch takes up to 1024 pushes before it goes to the disk; so many more are to find the queue
/// full.
const PUSHES: usize = 1024 + 200;
const QUEUE: usize = 8;
/// Long enough for all pushes to be sent meanwhile. On a machine where it is not they are sent during
/// the next.
const SYNC: Duration = Duration::from_secs(2);
/// Syncs that take no longer than they do: those of the thread that opens the store, as they are
/// counted for each thread by itself, and the first ones of the thread that commits.
const QUICK: usize = 3;

/// On `PATH`, else where the parts of the tests are kept.
fn strace() -> PathBuf {
    if Command::new("strace").arg("-V").output().is_ok() { "strace".into() } else { part("strace") }
}

/// A gateway that was started by strace, which would leave it behind if it were killed alone.
struct Traced(Tidegate);

impl Drop for Traced {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.process().id()).ok().and_then(Pid::from_raw);
        // An error means that it has ended already.
        let _ = kill_process_group(group.unwrap(), Signal::KILL);
    }
}

/// An answer, from a connection on which nothing else was asked.
struct Raw {
    status: u16,
    head: String,
    body: String,
}

fn read(stream: TcpStream) -> Raw {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "closed after {head:?}");
    }
    let mut body = String::new();
    stream.read_to_string(&mut body).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Raw { status, head: head.to_ascii_lowercase(), body }
}

#[test]
fn pushes_that_find_the_queue_full_are_told_so_at_once() {
    let _machine = beside_others();
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(strace());
    command.args(["-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fdatasync"]);
    let (delay, first) = (SYNC.as_micros(), QUICK + 1);
    command.args(["-e", &format!("inject=fdatasync:delay_exit={delay}:when={first}+")]);
    command.arg(env!("CARGO_BIN_EXE_tidegate"));
    command.arg(format!("--storage.path={}", folder.path().display()));
    command.arg("--web.listen-address=127.0.0.1:0");
    command.arg(format!("--limits.queue={QUEUE}"));
    let gateway = Traced(Tidegate::spawn(command.process_group(0)));
    let address = gateway.0.address();
    let gateway = &gateway.0;
    for push in 0..QUICK {
        gateway.put("/metrics/job/quick", format!("quick {push}\n")).expect(200);
    }
    let connections: Vec<_> = (0..PUSHES)
        .map(|job| {
            let mut stream = TcpStream::connect(address).unwrap();
            let request = format!(
                "PUT /metrics/job/waiting-{job} HTTP/1.1\r\nHost: test\r\n\
                 Connection: close\r\nContent-Length: 4\r\n\r\nm 1\n"
            );
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    // Nobody who reads has to wait for the disk.
    gateway.scrape().shows(&["quick{instance=\"\",job=\"quick\"} 2"]);
    let answers: Vec<_> = connections.into_iter().map(read).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    figure(&format!("{} of {PUSHES} found the queue full", refused.len()));
    assert!(!refused.is_empty(), "the queue was never full");
    for answer in &refused {
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.head.contains("\r\nretry-after: 1\r\n"), "{}", answer.head);
        assert!(answer.body.contains("limits.queue"), "{}", answer.body);
    }
    let exposition = eventually("an empty queue", || {
        let exposition = gateway.scrape();
        (number(&exposition, "tidegate_push_queue_length") == 0).then_some(exposition)
    });
    let count = refused.len() as u64;
    assert_eq!(crate::gateway::reached(&exposition, "limits.queue"), count);
    assert_eq!(number(&exposition, "tidegate_pushes_refused_total{reason=\"busy\"}"), count);
}
