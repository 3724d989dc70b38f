//! Damage at rest: bits that flip, ranges that are cut out or written over, in stores of several shapes,
//! closed or killed. The gateway comes up all the same; never with a wrong value, never with a loss that
//! it does not tell of; and whatever is physically there it has, as `scan.py` says, which shares no code
//! with it. `verify` finds the damage, `repair` does the same as the start.

#![expect(clippy::print_stdout, reason = "tests/long keeps the results")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use support::random::Random;
use support::serving::{Process, agent};

/// So many trials of each kind of damage with each store; `tests/long damage` has more.
const TRIALS: usize = 20;
const TRIALS_VARIABLE: &str = "TIDEGATE_DAMAGE_TRIALS";

/// The values of a group's families by name, by group.
type Groups = BTreeMap<String, BTreeMap<String, f64>>;

/// A store that is pushed to.
#[derive(Clone, Copy)]
struct Shape {
    groups: usize,
    families: usize,
}

const SHAPES: [Shape; 3] = [
    // Its families lie in many chunks.
    Shape { groups: 1, families: 3000 },
    Shape { groups: 40, families: 60 },
    Shape { groups: 5000, families: 1 },
];

/// Damages a file, of which so many bytes are in use.
type Damage = fn(&mut Vec<u8>, usize, &mut Random);

const DAMAGES: [(&str, Damage); 3] = [
    ("a flipped bit", |db, used, random| {
        let at = random.below(used);
        db[at] ^= 1 << random.below(8);
    }),
    ("a range that was written over", |db, used, random| {
        let at = random.below(used);
        let end = db.len().min(at + 1 + random.below(20_000));
        db[at..end].fill_with(|| random.bits().to_le_bytes()[0]);
    }),
    ("an end that was cut off", |db, used, random| {
        db.truncate(used - random.below(used / 4));
    }),
];

/// Pushes all groups twice, so that there are old versions in the file, too.
fn written(folder: &Path, shape: Shape, sealed: bool) -> Groups {
    let gateway = Process::start(folder, &[]);
    let agent = agent();
    for round in 1..=2 {
        for group in 0..shape.groups {
            let line = |family| format!("family_{family}{{pad=\"{}\"}} {round}\n", "x".repeat(80));
            let body: String = (0..shape.families).map(line).collect();
            let uri = format!("http://{}/metrics/job/damage/group/{group}", gateway.address());
            assert_eq!(agent.put(uri).send(body).unwrap().status(), 200);
        }
    }
    let groups = groups(&gateway.scrape());
    assert_eq!(groups.len(), shape.groups);
    if sealed {
        gateway.terminate();
        gateway.wait();
    } else {
        gateway.kill();
    }
    groups
}

fn groups(exposition: &str) -> Groups {
    let mut groups = Groups::new();
    for line in exposition.lines().filter(|line| line.starts_with("family_")) {
        let (family, rest) = line.split_once('{').unwrap();
        let (_, rest) = rest.split_once("group=\"").unwrap();
        let (group, rest) = rest.split_once('"').unwrap();
        let (_, value) = rest.rsplit_once(' ').unwrap();
        let families = groups.entry(group.to_owned()).or_default();
        families.insert(family.to_owned(), value.parse().unwrap());
    }
    groups
}

/// The groups that are physically there.
fn scanned(store: &Path) -> Groups {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/durability/scan.py");
    let output = Command::new("python3").arg(script).arg(store).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let groups: BTreeMap<String, BTreeMap<String, Vec<f64>>> =
        serde_json::from_slice(&output.stdout).unwrap();
    let values = |families: BTreeMap<String, Vec<f64>>| {
        families.into_iter().map(|(family, values)| (family, values[0])).collect()
    };
    groups.into_iter().map(|(group, families)| (group, values(families))).collect()
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

fn tidegate(command: &[&str], store: &Path) -> Output {
    let mut tidegate = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    tidegate.args(command).arg(format!("--storage.path={}", store.display())).output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[expect(clippy::disallowed_methods, reason = "it is no setting of the gateway")]
fn trials() -> usize {
    std::env::var(TRIALS_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(TRIALS)
}

/// Compares the groups of a damaged store that was opened with those that it had, and with those that are
/// physically there. Returns how many are not as they were.
fn judge(found: &Groups, all: &Groups, there: &Groups, log: &str, context: &str) -> usize {
    let log = log.replace('\\', "");
    let mut changed = 0;
    for (group, families) in found {
        assert!(all.contains_key(group), "{context}: group {group} was never there");
        let is_pushed = |value: &f64| [1.0, 2.0].contains(value);
        assert!(families.values().all(is_pushed), "{context}: {group}: {families:?}");
        changed += usize::from(families != &all[group]);
        if families != &all[group] {
            let is_in_part = families.len() < all[group].len();
            let name = format!(": {{group=\"{group}\",job=\"damage\"}}");
            let mut lines = log.lines().filter(|line| line.contains(&name));
            let is_named =
                lines.any(|line| line.contains(if is_in_part { "in part: " } else { "of 2" }));
            // Where nothing is left of its latest push, nobody can say that it is this one.
            let is_said = is_named || !is_in_part && log.contains("of an earlier time: ");
            assert!(is_said, "{context}: {group} is not as it was, without a word:\n{log}");
        }
    }
    for (group, families) in there {
        assert_eq!(found.get(group), Some(families), "{context}: {group} was left behind\n{log}");
    }
    changed + all.len() - found.len()
}

fn trials_of(shape: Shape, sealed: bool) {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let all = written(&whole, shape, sealed);
    assert!(scanned(&whole) == all, "the scan finds all of a store that is whole");
    let sound = tidegate(&["verify"], &whole);
    assert!(sound.status.success(), "{}", text(&sound));
    let db = fs::read(whole.join("db")).unwrap();
    let used = db.iter().rposition(|byte| *byte != 0).unwrap();
    let mut random = Random::new(0x5EED ^ shape.groups as u64 ^ u64::from(sealed));
    for (what, damage) in DAMAGES {
        let (mut hit, mut lost) = (0, 0);
        for trial in 0..trials() {
            let context = format!("{} groups, sealed {sealed}, {what} {trial}", shape.groups);
            let damaged = folder.path().join("damaged");
            copy(&whole, &damaged);
            let mut bytes = db.clone();
            damage(&mut bytes, used, &mut random);
            fs::write(damaged.join("db"), &bytes).unwrap();
            let there = scanned(&damaged);
            // One in two is repaired before, as an operator would who is careful.
            let repaired = (trial % 2 == 0).then(|| repair(&damaged, &bytes, sealed, &context));
            let gateway = Process::start(&damaged, &[]);
            let found = groups(&gateway.scrape());
            // The log has the first of them.
            let report =
                fs::read_to_string(damaged.join("damaged-1/report.txt")).unwrap_or_default();
            let log = format!("{}\n{report}", repaired.as_deref().unwrap_or(gateway.started()));
            let changed = judge(&found, &all, &there, &log, &context);
            let is_said = repaired.is_some() || gateway.says_damaged();
            assert!(changed == 0 || is_said, "{context}: {changed} groups without a word");
            assert!(repaired.is_none() || !gateway.says_damaged(), "{context}: not mended");
            // It takes pushes again.
            let uri = format!("http://{}/metrics/job/after", gateway.address());
            assert_eq!(agent().put(uri).send("m 1\n").unwrap().status(), 200, "{context}");
            gateway.kill();
            hit += usize::from(changed > 0);
            lost += changed;
            fs::remove_dir_all(&damaged).unwrap();
        }
        println!(
            "{} groups, {}: {what}: {} stores, {hit} of them with {lost} groups not as they were, all of \
             it told; none left behind, no wrong value",
            shape.groups,
            if sealed { "closed" } else { "killed" },
            trials()
        );
    }
}

/// Repairs a store, and looks at all that is said. Returns what `verify` said.
fn repair(damaged: &Path, bytes: &[u8], sealed: bool, context: &str) -> String {
    let verified = tidegate(&["verify", "--output=json"], damaged);
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    let is_sound = report["sound"] == true;
    assert_eq!(verified.status.success(), is_sound, "{context}: {report}");
    assert!(!(sealed && is_sound), "{context}: the file has changed since it was closed");
    assert!(fs::read(damaged.join("db")).unwrap() == bytes, "{context}: verify changes the file");
    let repaired = tidegate(&["repair", "--yes"], damaged);
    assert!(repaired.status.success(), "{context}: {}", text(&repaired));
    let old = damaged.join("damaged-1");
    assert!(fs::read(old.join("db")).unwrap() == bytes, "{context}: the old files are kept");
    let again = tidegate(&["verify"], damaged);
    assert!(again.status.success(), "{context}: {}", text(&again));
    let summary = report["summary"].as_str().unwrap();
    let told = fs::read_to_string(old.join("report.txt")).unwrap();
    assert!(told.starts_with(summary), "{context}: {told}");
    text(&repaired)
}

#[test]
fn one_wide_group() {
    trials_of(SHAPES[0], true);
    trials_of(SHAPES[0], false);
}

#[test]
fn forty_groups() {
    trials_of(SHAPES[1], true);
    trials_of(SHAPES[1], false);
}

#[test]
fn many_groups() {
    trials_of(SHAPES[2], true);
    trials_of(SHAPES[2], false);
}

/// A store of which the file `name` was damaged: it comes up, with all groups.
#[test]
fn files_beside_the_log_cost_no_group() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape { groups: 3, families: 2 };
    for sealed in [true, false] {
        let whole = folder.path().join(format!("whole-{sealed}"));
        let all = written(&whole, shape, sealed);
        for name in ["conf", "mark", "schema_version", "seal"] {
            let damages: [fn(&PathBuf); 3] = [
                |file| fs::write(file, "").unwrap(),
                |file| fs::write(file, [0xFF; 700]).unwrap(),
                |file| fs::remove_file(file).unwrap(),
            ];
            for (at, damage) in damages.into_iter().enumerate() {
                // Without its version a folder has no store.
                let is_there = whole.join(name).try_exists().unwrap();
                if !is_there || (name, at) == ("schema_version", 2) {
                    continue;
                }
                let damaged = folder.path().join("damaged");
                copy(&whole, &damaged);
                damage(&damaged.join(name));
                let gateway = Process::start(&damaged, &[]);
                assert!(groups(&gateway.scrape()) == all, "{name}, {at}, sealed: {sealed}");
                gateway.kill();
                fs::remove_dir_all(&damaged).unwrap();
            }
        }
    }
}
