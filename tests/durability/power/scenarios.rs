//! The work during which the power is cut.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::power::disk::{self, Image};
use crate::power::history::Found;
use crate::power::load::{Families, Held, JOB, LARGE, Load, MEDIUM, SMALL, Size, body, path};
use crate::power::scenario::{Phase, STORE, Scenario, temporary};
use crate::power::{cut, seed, survives};
use support::programs::Program;
use support::random::Random;
use support::serving::agent;

fn load(name: &'static str, clients: usize, requests: usize, sizes: &[Size]) -> Phase {
    Phase::Load(Load { name, clients, requests, sizes: sizes.to_vec() })
}

fn scenario(name: &'static str, phases: Vec<Phase>) -> Scenario {
    Scenario { name, flags: vec![], disk: Image::new(), found: Found::default(), phases }
}

#[test]
fn a_store_that_is_created_and_written_over_and_over() {
    let seed = seed();
    let phases = vec![load("load", 3, 60, &[SMALL, SMALL, MEDIUM, LARGE])];
    let recording = scenario("creation and load", phases).record(seed);
    let reused = recording.reused_segments().len();
    println!("{reused} segments were written again");
    assert!(reused > 5, "{reused} segments were written again: too few to show anything");
    survives(&recording, 35, seed);
}

#[test]
fn a_stop_in_order_and_the_start_after_it() {
    let seed = seed();
    let phases = vec![
        load("load", 2, 12, &[SMALL, MEDIUM]),
        Phase::Restart,
        load("load", 2, 12, &[SMALL, MEDIUM]),
        Phase::Restart,
        Phase::Restart,
        load("load", 2, 6, &[SMALL]),
    ];
    survives(&scenario("stop and start", phases).record(seed), 20, seed);
}

#[test]
fn a_wipe_between_pushes() {
    let seed = seed();
    let sizes = [SMALL, SMALL, MEDIUM, LARGE];
    let phases = vec![
        load("load", 3, 10, &sizes),
        Phase::Wipe,
        load("load", 3, 10, &sizes),
        Phase::Wipe,
        Phase::Wipe,
        load("load", 3, 5, &sizes),
    ];
    survives(&scenario("wipe", phases).record(seed), 15, seed);
}

#[test]
fn a_store_of_the_first_version_on_its_way_to_the_present_one() {
    let seed = seed();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store");
    let read = |name| fs::read_to_string(fixtures.join(name)).expect("the fixture is there");
    let folder = temporary();
    restore_dump(&read("v0001.dump"), &folder.path().join(STORE));
    let mut scenario =
        scenario("migration", vec![load("load", 2, 15, &[SMALL, MEDIUM]), Phase::Restart]);
    // The groups of the fixture would have expired long ago.
    scenario.flags = vec!["--ttl.startup-grace=10m".into()];
    scenario.disk = disk::read(folder.path());
    scenario.found = Found::parse(&read("v0001.expected.txt"));
    assert!(scenario.found.others.len() > 500, "the fixture is read");
    survives(&scenario.record(seed), 15, seed);
}

/// A store of the first version, as `tests/durability/migrations.rs` makes one.
fn restore_dump(dump: &str, folder: &Path) {
    fs::create_dir_all(folder).expect("the folder is ours");
    let db = sled::open(folder).expect("nothing is there yet");
    let bytes = |hex: &str| -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("it is hex");
        (0..hex.len()).step_by(2).map(byte).collect()
    };
    let mut tree = None;
    for line in dump.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(' ').expect("a line has two parts") {
            ("tree", name) => tree = Some(db.open_tree(name).expect("the tree can be opened")),
            (key, value) => {
                let tree = tree.as_ref().expect("entries are below their tree");
                tree.insert(bytes(key), bytes(value)).expect("the entry can be written");
            }
        }
    }
    drop(tree);
    db.flush().expect("there is room");
    drop(db);
    fs::write(folder.join("schema_version"), "1\n").expect("the folder is ours");
    // sled lets go of its files on a thread of its own, some time after it was dropped.
    let db = fs::File::open(folder.join("db")).expect("there is a store");
    db.lock().expect("a file can be locked");
}

#[test]
fn an_import_and_the_pushes_after_it() {
    let seed = seed();
    let folder = temporary();
    let file = folder.path().join("pushgateway.data");
    let groups = persist(&file);
    let phases = vec![load("import", 2, 15, &[SMALL, MEDIUM]), Phase::Restart];
    let mut scenario = scenario("import", phases);
    scenario.flags = vec![format!("--persistence.file={}", file.display())];
    scenario.found = Found { groups, ..Found::default() };
    survives(&scenario.record(seed), 15, seed);
}

/// Has the Go Pushgateway write a persistence file, and says what it has.
fn persist(file: &Path) -> BTreeMap<String, Held> {
    let mut groups = BTreeMap::new();
    let reference = Program::persisting_reference(file, &["--web.enable-lifecycle"]);
    let url = format!("http://{}", reference.address());
    for at in 0..40 {
        // The load pushes to some of them, too.
        let size = if at % 2 == 0 { SMALL } else { MEDIUM };
        let group = format!("{JOB}import-{}/{}-{}", at / 4, size.name, at / 2 % 2);
        let families = 0..size.families;
        let body = body(families.clone(), size.label, 0);
        let pushed = agent().put(format!("{url}{}", path(&group))).send(body);
        assert_eq!(pushed.expect("the reference is there").status(), 200);
        let families: Families = families.map(|family| (family, 0)).collect();
        groups.insert(group, Held { families, expires: None });
    }
    let quit = agent().put(format!("{url}/-/quit")).send_empty();
    assert_eq!(quit.expect("the reference is there").status(), 200);
    assert!(reference.ended().success(), "it writes the file when it ends");
    groups
}

#[test]
fn a_second_cut_during_the_recovery_from_the_first() {
    let seed = seed();
    let mut random = Random::new(seed);
    let first = scenario("first cut", vec![load("load", 2, 12, &[SMALL, MEDIUM, LARGE])]);
    let first = first.record(seed);
    let moment = *random.pick(&first.history.answers());
    let disk = first.disk_at(moment + 1).cut(&mut random);
    let folder = temporary();
    disk::write(&disk, folder.path());
    let mut second =
        scenario("second cut", vec![load("load", 2, 12, &[SMALL, MEDIUM]), Phase::Restart]);
    second.found = second.find(folder.path()).expect("the first cut is survived");
    second.disk = disk;
    survives(&second.record(seed), 10, seed);
}

#[test]
fn the_simulator_notices_what_is_answered_before_it_is_synced() {
    let seed = seed();
    let mut scenario = scenario("no syncs", vec![load("load", 2, 15, &[SMALL, MEDIUM])]);
    scenario.flags = vec!["--storage.sync=1h".into()];
    let lost = cut(&scenario.record(seed), 10, seed, false);
    assert!(!lost.is_empty(), "{seed}: nothing was lost");
}
