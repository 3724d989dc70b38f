//! A disk that is full, or breaks: pushes are refused whole, reads go on, and once the disk takes
//! writes again so does the gateway, by itself, with everything that it had acknowledged.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::load::{States, states};
use super::trace::strace;
use crate::disk::Disk;
use support::serving::{Process, agent, command};

const FAMILIES: u64 = 40;
const GROUPS: u64 = 12;
const ROUNDS: u64 = 4;
const OUTAGES_MAX: u64 = 4;

/// The groups as their client knows them.
#[derive(Default)]
struct Known {
    /// The number of the last push that was answered 200, by group.
    acknowledged: BTreeMap<u64, u64>,
    /// Those of later pushes, of which nothing is known.
    refused: BTreeMap<u64, Vec<u64>>,
    pushes: u64,
}

impl Known {
    /// Pushes once. Returns status and text.
    fn push(&mut self, address: SocketAddr) -> (u16, String) {
        self.try_push(address).expect("it answers")
    }

    /// The same; `None` if the gateway has ended.
    fn try_push(&mut self, address: SocketAddr) -> Option<(u16, String)> {
        self.pushes += 1;
        let (group, push) = (self.pushes % GROUPS, self.pushes);
        let line = |family| format!("family_{family}{{pad=\"{}\"}} {push}\n", "x".repeat(200));
        let body: String = (0..FAMILIES).map(line).collect();
        let uri = format!("http://{address}/metrics/job/outage/group/{group}");
        let Ok(mut response) = agent().put(uri).send(body) else {
            self.refused.entry(group).or_default().push(push);
            return None;
        };
        let (status, text) = (response.status().as_u16(), response.body_mut().read_to_string());
        if status == 200 {
            self.acknowledged.insert(group, push);
            self.refused.remove(&group);
        } else {
            self.refused.entry(group).or_default().push(push);
        }
        Some((status, text.expect("it is text")))
    }

    /// Each group is whole, and no older than acknowledged.
    fn check(&self, states: &States, when: &str) {
        for group in 0..GROUPS {
            let found = states.get(&("outage".to_owned(), group.to_string()));
            let found = found.filter(|families| !families.is_empty());
            let push = found.map(|families| {
                assert_eq!(families.len() as u64, FAMILIES, "{when}: group {group} is in part");
                let first = families.values().next().copied();
                assert!(families.values().all(|push| Some(*push) == first), "{when}: {families:?}");
                first.expect("it is not empty")
            });
            let acknowledged = self.acknowledged.get(&group).copied();
            let refused = self.refused.get(&group);
            let may_be = push == acknowledged
                || push.is_some_and(|push| refused.is_some_and(|refused| refused.contains(&push)));
            assert!(may_be, "{when}: group {group} is {push:?}, acknowledged was {acknowledged:?}");
        }
    }
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut response = agent().get(format!("http://{address}{path}")).call().expect("it answers");
    let text = response.body_mut().read_to_string().expect("it is text");
    (response.status().as_u16(), text)
}

/// Looks again and again until it is ready, for half a minute at the most; `None` if it ends instead.
fn try_wait_until_ready(address: SocketAddr) -> Option<()> {
    for _ in 0..1500 {
        if agent().get(format!("http://{address}/-/ready")).call().ok()?.status() == 200 {
            return Some(());
        }
        #[expect(clippy::disallowed_methods, reason = "it tries again in its own time")]
        thread::sleep(Duration::from_millis(20));
    }
    panic!("it is not ready again: {:?}", get(address, "/-/ready"));
}

fn wait_until_ready(address: SocketAddr) {
    try_wait_until_ready(address).expect("it answers");
}

#[test]
fn a_disk_that_is_full_is_overcome_once_there_is_room_again() {
    let folder = tempfile::tempdir().expect("there is room for a temporary folder");
    let disk = Disk::new(folder.path());
    let gateway = disk.start();
    let address = gateway.address();
    let mut known = Known::default();
    for round in 0..ROUNDS {
        for _ in 0..3 * GROUPS {
            assert_eq!(known.push(address), (200, String::new()), "round {round}");
        }
        disk.fill();
        let refused = (0..20_000).map(|_| known.push(address)).find(|(status, _)| *status != 200);
        let (status, text) = refused.expect("the disk is full");
        assert_eq!(
            (status, text.as_str()),
            (507, "not stored: no space left on the disk of the store\n")
        );
        let (status, text) = get(address, "/-/ready");
        assert!(status == 503 && text.contains("no space left"), "{status} {text}");
        assert_eq!(get(address, "/-/healthy").0, 200, "it is of use: it waits");
        let exposition = gateway.scrape();
        assert!(exposition.contains("\ntidegate_store_writable 0\n"));
        known.check(&states(&exposition), "while it is full");
        assert_eq!(get(address, "/api/v2/groups").0, 200);
        disk.clear();
        wait_until_ready(address);
        let exposition = gateway.scrape();
        assert!(exposition.contains("\ntidegate_store_writable 1\n"));
        known.check(&states(&exposition), "once there is room");
    }
    for _ in 0..GROUPS {
        assert_eq!(known.push(address).0, 200);
    }
    gateway.kill();
    known.check(&states(&disk.start().scrape()), "after a restart");
}

/// Runs a gateway of which some calls of the store fail, and pushes to it meanwhile.
/// Returns how many pushes were refused.
fn with_errors(call: &str, error: &str, when: &str) -> u64 {
    let what = format!("{call}: {error}: {when}");
    let folder = tempfile::tempdir().expect("there is room for a temporary folder");
    let store = folder.path().join("store");
    let mut known = Known::default();
    // So that the start of the one that fails has something to read.
    let gateway = Process::start(&store, &[]);
    for _ in 0..GROUPS {
        assert_eq!(known.push(gateway.address()).0, 200);
    }
    gateway.kill();
    let mut failing = Command::new(strace());
    failing.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(store.join("db"));
    failing.args(["-e", &format!("inject={call}:error={error}:when={when}")]);
    let gateway = command(env!("CARGO_BIN_EXE_tidegate"), &store);
    failing.arg(gateway.get_program()).args(gateway.get_args());
    // After some errors sled waits for ever now and then: then the process ends, for a supervisor to
    // start it again.
    failing.arg("--storage.commit-timeout=3s");
    let (mut refused, mut ended) = (0, false);
    // Where it does not start, nothing is lost either.
    if let Ok(gateway) = Process::attempt(&mut failing) {
        let address = gateway.address();
        // strace counts the calls of each thread by itself: each committer fails anew.
        for _ in 0..10 * GROUPS {
            if refused == OUTAGES_MAX {
                break;
            }
            let Some((status, text)) = known.try_push(address) else {
                ended = true;
                break;
            };
            match status {
                200 => {}
                503 | 507 => {
                    refused += 1;
                    assert!(text.starts_with("not stored: "), "{what}: {text}");
                    if try_wait_until_ready(address).is_none() {
                        ended = true;
                        break;
                    }
                }
                _ => panic!("{what}: {status} {text}"),
            }
        }
        if ended {
            gateway.wait();
        } else {
            known.check(&states(&gateway.scrape()), &what);
            gateway.kill_group();
        }
    }
    known.check(&states(&start_after(&store).scrape()), &what);
    refused
}

/// Starts a gateway where one was killed with its tracer: it may hold the store for a moment longer
/// than that.
fn start_after(store: &Path) -> Process {
    let mut log = String::new();
    for _ in 0..100 {
        match Process::attempt(&mut command(env!("CARGO_BIN_EXE_tidegate"), store)) {
            Ok(gateway) => return gateway,
            Err(said) if said.contains("in use by another process") => log = said,
            Err(said) => panic!("no gateway that is ready:\n{said}"),
        }
    }
    panic!("the store is still in use:\n{log}");
}

#[test]
fn errors_of_the_disk_at_any_call_are_overcome() {
    thread::scope(|scope| {
        for call in ["pwrite64", "fdatasync", "sync_file_range", "pread64"] {
            scope.spawn(move || {
                let moments = ["1", "2", "3..4", "7..8", "15", "40..42"];
                let refused = moments.iter().map(|when| with_errors(call, "EIO", when));
                let refused = refused.sum::<u64>() + with_errors(call, "ENOSPC", "5..7");
                assert!(refused > 0 || call == "pread64", "{call} never failed");
            });
        }
    });
}

/// A gateway whose syncs take many seconds each is useless, and must not look as if it were not.
#[test]
fn a_store_that_is_stuck_ends_the_process() {
    let folder = tempfile::tempdir().expect("there is room for a temporary folder");
    let store = folder.path().join("store");
    let log = folder.path().join("log");
    // It has to be there for strace to know it.
    Process::start(&store, &[]).kill();
    let mut stuck = Command::new(strace());
    stuck.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(store.join("db"));
    stuck.args(["-e", "inject=fdatasync:delay_enter=8000000:when=1+"]);
    let gateway = command(env!("CARGO_BIN_EXE_tidegate"), &store);
    let mut shell = Command::new("sh");
    // The log after it was ready is read, too.
    shell.args(["-c", "exec \"$@\" 2>&1 | tee \"$0\" >&2; exec cat \"$0\" >&2"]).arg(&log);
    shell.arg(stuck.get_program()).args(stuck.get_args());
    shell.arg(gateway.get_program()).args(gateway.get_args()).arg("--storage.commit-timeout=1s");
    let process = Process::spawn(&mut shell);
    let address = process.address();
    let pushed = agent().put(format!("http://{address}/metrics/job/a")).send("m 1\n");
    let refused = pushed.map_or(true, |response| response.status() == 503);
    assert!(refused, "nothing is acknowledged that is not on disk");
    process.wait();
    let log = fs::read_to_string(log).expect("it is text");
    assert!(log.contains("the write lane is stuck (storage.commit-timeout)"), "{log}");
    assert!(log.contains("msg=stopped error=\"the task watchdog ended"), "{log}");
}
