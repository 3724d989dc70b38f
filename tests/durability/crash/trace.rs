//! An answer comes after a sync of what it acknowledges: read off the system calls of the binary.
//!
//! A push is acknowledged by the `HTTP/1.1 200` on its connection. Before that, an `fdatasync` of
//! the file `db` must have ended that began after the `pwrite64` with the push's record had ended.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::{fs, thread};

use support::serving::{Process, agent, command};

const CLIENTS: usize = 4;
const PUSHES: usize = 12;

/// A system call; its text has its arguments, and what it filled in.
#[derive(Debug)]
struct Call {
    name: String,
    text: String,
    /// The lines of the trace at which it began and ended.
    began: usize,
    ended: usize,
}

/// The calls of a trace that `strace -f` wrote, by their end. One that another thread's interrupts
/// is in two lines.
fn calls(trace: &str) -> Vec<Call> {
    let mut unfinished: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let (began, text) = if let Some(text) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, (at, text));
            continue;
        } else if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|r| r.split_once('>')) {
            let Some((began, text)) = unfinished.remove(thread) else { continue };
            (began, format!("{text}{end}"))
        } else {
            (at, rest.to_owned())
        };
        let Some((name, _)) = text.split_once('(') else { continue };
        calls.push(Call { name: name.to_owned(), text, began, ended: at });
    }
    calls
}

impl Call {
    /// The descriptor that it is on, with what strace says of it.
    fn file(&self) -> &str {
        let (_, arguments) = self.text.split_once('(').unwrap_or_default();
        arguments.split([',', ')']).next().unwrap_or_default().trim()
    }

    fn is_of_db(&self) -> bool {
        self.file().ends_with("/db>")
    }
}

/// The name that a push has in its path and so in its record.
fn marker(text: &str) -> Option<&str> {
    let start = text.find("marker-")?;
    let rest = text.get(start..)?;
    rest.split_once("-end").map(|(marker, _)| marker)
}

/// Checks each answer. Says how many there were, or which came too early.
fn check(trace: &str) -> Result<usize, String> {
    let calls = calls(trace);
    let is = |call: &Call, names: &[&str]| names.contains(&call.name.as_str());
    let mut asked: BTreeMap<&str, &str> = BTreeMap::new();
    let mut answers = 0;
    for call in &calls {
        let reads = is(call, &["read", "recvfrom"]) && call.text.contains(" /metrics/job/");
        if let Some(marker) = marker(&call.text).filter(|_| reads) {
            asked.insert(call.file(), marker);
        }
        let answers_now = is(call, &["write", "writev", "sendto"]);
        if !answers_now || !call.text.contains("HTTP/1.1 200") {
            continue;
        }
        let Some(marker) = asked.remove(call.file()) else { continue };
        let needle = format!("{marker}-end");
        let is_record =
            |c: &&Call| is(c, &["pwrite64"]) && c.is_of_db() && c.text.contains(&needle);
        let written = calls.iter().filter(is_record).map(|write| write.ended).min();
        let Some(written) = written.filter(|written| *written < call.began) else {
            return Err(format!("{marker} was answered before it was written"));
        };
        let is_sync = |c: &&Call| is(c, &["fdatasync", "fsync"]) && c.is_of_db();
        let covers = |sync: &Call| sync.began > written && sync.ended < call.began;
        if !calls.iter().filter(is_sync).any(covers) {
            return Err(format!("{marker} was answered before a sync that covers it"));
        }
        answers += 1;
    }
    Ok(answers)
}

/// The path of strace: on `PATH`, else where the parts of the tests are kept.
pub(crate) fn strace() -> String {
    if Command::new("strace").arg("-V").output().is_ok() {
        return "strace".into();
    }
    let parts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parts");
    let found = Command::new(parts).arg("strace").output().expect("tests/parts can be run");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    String::from_utf8(found.stdout).expect("a path of ours is UTF-8").trim().to_owned()
}

/// The system calls of a gateway that is pushed to by a few clients at a time.
fn traced(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("there is room for a temporary folder");
    let trace = folder.path().join("trace");
    let mut traced = Command::new(strace());
    traced.args(["-f", "-y", "-s", "1048576", "-o"]).arg(&trace);
    traced.args(["-e", "trace=read,recvfrom,write,writev,sendto,pwrite64,fsync,fdatasync"]);
    let gateway = command(env!("CARGO_BIN_EXE_tidegate"), &folder.path().join("store"));
    traced.arg(gateway.get_program()).args(gateway.get_args()).args(arguments);
    let process = Process::spawn(&mut traced);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let address = process.address();
            scope.spawn(move || {
                let agent = agent();
                for push in 0..PUSHES {
                    let job = format!("marker-{client}-{push}-end");
                    let uri = format!("http://{address}/metrics/job/{job}");
                    let response = agent.put(uri).send("m 1\n").expect("the gateway is there");
                    assert_eq!(response.status(), 200);
                }
            });
        }
    });
    stop(&trace);
    process.wait();
    fs::read_to_string(&trace).expect("strace writes text")
}

/// Stops the gateway, so that strace ends by itself and has written everything.
fn stop(trace: &Path) {
    let text = fs::read_to_string(trace).expect("strace writes text");
    let (gateway, _) = text.split_once(' ').expect("the first line is the gateway's");
    let stopped = Command::new("sh").args(["-c", "kill -TERM \"$0\"", gateway]).status();
    assert!(stopped.expect("there is a shell").success());
}

#[test]
fn every_push_is_answered_after_a_sync_that_covers_it() {
    assert_eq!(check(&traced(&[])), Ok(CLIENTS * PUSHES));
}

#[test]
fn the_checker_notices_that_pushes_are_answered_before_they_are_synced() {
    let found = check(&traced(&["--storage.sync=1h"]));
    assert!(found.is_err(), "{found:?}");
}

#[test]
fn a_sync_covers_what_was_written_before_it_began() {
    let request =
        "1 recvfrom(9<socket:[1]>, \"PUT /metrics/job/marker-1-end HTTP/1.1\", 99) = 40\n";
    let write = "2 pwrite64(7</s/db>, \"marker-1-end\", 12, 0) = 12\n";
    let sync = "2 fdatasync(8</s/db>) = 0\n";
    let answer = "1 sendto(9<socket:[1]>, \"HTTP/1.1 200 OK\", 15, 0, NULL, 0) = 15\n";
    let early = ["2 fdatasync(8</s/db> <unfinished ...>\n", "2 <... fdatasync resumed>) = 0\n"];
    let late = [
        "3 pwrite64(7</s/db>, \"marker-1-end\" <unfinished ...>\n",
        "3 <... pwrite64 resumed>, 12, 0) = 12\n",
    ];
    for (lines, expected) in [
        (vec![request, write, sync, answer], Ok(1)),
        (vec![request, write, early[0], early[1], answer], Ok(1)),
        (vec![request, write, answer, sync], Err(())),
        (vec![request, sync, write, answer], Err(())),
        (vec![request, sync, answer, write], Err(())),
        (vec![request, late[0], early[0], late[1], early[1], answer], Err(())),
        (vec![request, write, early[0], answer, early[1]], Err(())),
        (vec![request, write, "2 fdatasync(8</s/conf>) = 0\n", answer], Err(())),
    ] {
        assert_eq!(check(&lines.concat()).map_err(|_| ()), expected, "{lines:#?}");
    }
}
