//! Bits that flip in a store at rest: never a wrong value, never a hang or a panic. Either all is right,
//! or the start names what is damaged and stops; `verify` finds it, and `repair` keeps what can be read.

#![expect(clippy::unwrap_used, reason = "whatever a test does not expect fails it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::serving::{self, Process, agent};

const GROUPS: usize = 40;
const FAMILIES: usize = 60;
/// Of a store that was closed in order, and of one that was killed.
const FLIPS: usize = 150;
const FLIPS_VARIABLE: &str = "TIDEGATE_DAMAGE_FLIPS";

/// The values of a group's families, by group.
type Groups = BTreeMap<String, Vec<String>>;

/// Pushes groups of some kilobytes each, twice, so that there are old versions in the log, too.
fn push(gateway: &Process) {
    for round in 1..=2 {
        for group in 0..GROUPS {
            let line = |family| format!("family_{family}{{pad=\"{}\"}} {round}\n", "x".repeat(80));
            let body: String = (0..FAMILIES).map(line).collect();
            let uri = format!("http://{}/metrics/job/damage/group/{group}", gateway.address());
            assert_eq!(agent().put(uri).send(body).unwrap().status(), 200);
        }
    }
}

fn groups(exposition: &str) -> Groups {
    let mut groups = Groups::new();
    for line in exposition.lines().filter(|line| line.starts_with("family_")) {
        let (_, rest) = line.split_once("group=\"").unwrap();
        let (group, rest) = rest.split_once('"').unwrap();
        let (_, value) = rest.rsplit_once(' ').unwrap();
        groups.entry(group.to_owned()).or_default().push(value.to_owned());
    }
    groups
}

fn stop(gateway: &Process) {
    gateway.terminate();
    gateway.wait();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn tidegate(command: &str, store: &Path) -> Output {
    let mut tidegate = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    tidegate.arg(command).arg(format!("--storage.path={}", store.display()));
    if command == "repair" {
        tidegate.arg("--yes");
    }
    tidegate.output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[expect(clippy::disallowed_methods, reason = "it is no setting of the gateway")]
fn flips() -> usize {
    std::env::var(FLIPS_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(FLIPS)
}

/// A store with all groups, closed in order or killed.
fn written(folder: &Path, sealed: bool) -> Groups {
    let gateway = Process::start(folder, &[]);
    push(&gateway);
    let groups = groups(&gateway.scrape());
    if sealed {
        stop(&gateway);
    } else {
        gateway.kill();
    }
    groups
}

/// The places of a file at which a bit is flipped: all over what is in use.
fn places(db: &[u8]) -> impl Iterator<Item = usize> {
    let used = db.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    let step = (used / flips()).max(1);
    // A different bit and offset each time, the same in every run.
    (0..used).step_by(step).enumerate().map(move |(at, place)| (place + at * 37 % step).min(used))
}

#[test]
fn a_flip_in_a_store_that_was_closed_stops_the_start_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    written(&whole, true);
    let db = fs::read(whole.join("db")).unwrap();
    for place in places(&db) {
        let damaged = folder.path().join("damaged");
        copy(&whole, &damaged);
        let mut flipped = db.clone();
        flipped[place] ^= 1 << (place % 8);
        fs::write(damaged.join("db"), &flipped).unwrap();
        let Err(log) =
            Process::attempt(&mut serving::command(env!("CARGO_BIN_EXE_tidegate"), &damaged))
        else {
            panic!("byte {place}: it started");
        };
        assert!(
            log.contains("is damaged") && log.contains("tidegate repair"),
            "byte {place}: {log}"
        );
        assert!(
            fs::read(damaged.join("db")).unwrap() == flipped,
            "byte {place}: the file has changed"
        );
        fs::remove_dir_all(damaged).unwrap();
    }
    println!("flips in closed stores: {} and more, all refused at the start", flips());
}

#[test]
fn what_a_flip_leaves_is_found_by_verify_and_kept_by_repair() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let all = written(&whole, true);
    let sound = tidegate("verify", &whole);
    assert!(sound.status.success(), "{}", text(&sound));
    assert!(text(&sound).contains(&format!("{GROUPS} groups")), "{}", text(&sound));
    let db = fs::read(whole.join("db")).unwrap();
    let mut kept = 0;
    for (at, place) in places(&db).enumerate().filter(|(at, _)| at % 15 == 0) {
        let damaged = folder.path().join(format!("damaged-{at}"));
        copy(&whole, &damaged);
        let mut flipped = db.clone();
        flipped[place] ^= 1 << (place % 8);
        fs::write(damaged.join("db"), &flipped).unwrap();
        let found = tidegate("verify", &damaged);
        assert_eq!(found.status.code(), Some(1), "byte {place}: {}", text(&found));
        assert!(text(&found).contains("damaged: "), "byte {place}: {}", text(&found));
        assert!(fs::read(damaged.join("db")).unwrap() == flipped, "verify has changed the file");
        let repaired = tidegate("repair", &damaged);
        if !repaired.status.success() {
            // Nothing of it can be read: then it says so, and leaves it.
            assert!(text(&repaired).contains("cannot repair"), "byte {place}: {}", text(&repaired));
            assert!(fs::read(damaged.join("db")).unwrap() == flipped);
            continue;
        }
        let old = fs::read_dir(folder.path()).unwrap().find_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.starts_with(&format!("damaged-{at}.damaged-")).then_some(name)
        });
        let old = folder.path().join(old.expect("the old files are kept"));
        assert!(fs::read(old.join("db")).unwrap() == flipped);
        let gateway = Process::start(&damaged, &[]);
        let found = groups(&gateway.scrape());
        gateway.kill();
        for (group, values) in &found {
            assert_eq!(values.len(), FAMILIES, "byte {place}: group {group} is in part");
            let same = values.iter().all(|value| *value == values[0]);
            assert!(same && ["1", "2"].contains(&values[0].as_str()), "byte {place}: {values:?}");
        }
        kept += found.len();
    }
    println!("flips in closed stores: repair kept {kept} groups, none in part");
    assert!(kept > all.len(), "repair keeps something");
}

#[test]
fn a_flip_in_a_store_that_was_killed_yields_nothing_that_was_not_pushed() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    written(&whole, false);
    let db = fs::read(whole.join("db")).unwrap();
    let (mut started, mut lost, mut refused) = (0, 0, 0);
    for place in places(&db) {
        let damaged = folder.path().join("damaged");
        copy(&whole, &damaged);
        let mut flipped = db.clone();
        flipped[place] ^= 1 << (place % 8);
        fs::write(damaged.join("db"), &flipped).unwrap();
        match Process::attempt(&mut serving::command(env!("CARGO_BIN_EXE_tidegate"), &damaged)) {
            Ok(gateway) => {
                let found = groups(&gateway.scrape());
                // Half of what was pushed has the value 1.
                let is_latest = |values: &Vec<String>| values.iter().all(|value| value == "2");
                if found.len() < GROUPS || !found.values().all(is_latest) {
                    assert!(gateway.says_lost(), "byte {place}: groups are lost without a word");
                    lost += 1;
                }
                for (group, values) in found {
                    assert_eq!(values.len(), FAMILIES, "byte {place}: group {group} is in part");
                    assert!(
                        values.iter().all(|value| *value == values[0]),
                        "byte {place}: {values:?}"
                    );
                }
                gateway.kill();
                started += 1;
            }
            Err(log) => {
                assert!(
                    log.contains("damaged") || log.contains("cannot open"),
                    "byte {place}: {log}"
                );
                // A panic of sled is caught, and says no more than that.
                assert!(log.contains("level=error msg=stopped"), "byte {place}: {log}");
                refused += 1;
            }
        }
        fs::remove_dir_all(damaged).unwrap();
    }
    println!(
        "flips in killed stores: {started} started, {lost} of them with less than was pushed, which they said; \
         {refused} were refused, nothing wrong was shown"
    );
    assert!(started + refused >= flips(), "each place was tried");
}
