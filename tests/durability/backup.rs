//! Backups: one moment of a gateway under load, with all that a group has; whole, or known not to be.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::Value;
use support::serving::{Process, agent};

const GROUPS: u64 = 40;

fn tidegate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate")).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn done(args: &[&str]) -> String {
    let output = tidegate(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    text(&output)
}

fn storage(path: &Path) -> String {
    format!("--storage.path={}", path.display())
}

/// Pushes the number of the push to one group after the other; each fifth time a wide one.
fn push(gateway: &Process, number: u64) {
    let families = if number.is_multiple_of(5) { 300 } else { 3 };
    let line = |family| format!("family_{family}{{pad=\"{}\"}} {number}\n", "x".repeat(80));
    let body: String = (0..families).map(line).collect();
    let (address, group) = (gateway.address(), number % GROUPS);
    let uri = format!("http://{address}/metrics/job/backup/group/{group}");
    assert_eq!(agent().put(uri).send(body).unwrap().status(), 200);
}

/// The numbers of the pushes that the groups have, by group.
fn numbers(exposition: &str) -> Vec<Option<u64>> {
    let mut numbers = vec![None; usize::try_from(GROUPS).unwrap()];
    for line in exposition.lines().filter(|line| line.starts_with("family_")) {
        let (_, rest) = line.split_once("group=\"").unwrap();
        let (group, rest) = rest.split_once('"').unwrap();
        let number: u64 = rest.rsplit_once(' ').unwrap().1.parse().unwrap();
        let group: usize = group.parse().unwrap();
        assert!(numbers[group].is_none_or(|one| one == number), "group {group} is of two pushes");
        numbers[group] = Some(number);
    }
    numbers
}

/// All that the API says of groups; when they expire, to the minute: the host clock is read anew at each
/// start.
fn groups(gateway: &Process) -> Value {
    let uri = format!("http://{}/api/v2/groups?limit=100", gateway.address());
    let mut answer = agent().get(uri).call().unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    let mut answer: Value = serde_json::from_str(&text).unwrap();
    let mut groups = answer["data"]["groups"].take();
    for group in groups.as_array_mut().unwrap() {
        assert!(group["pushes"].is_number() && group["ttl"].is_string(), "{group}");
        let minute: String = group["expires"].as_str().unwrap().chars().take(16).collect();
        group["expires"] = minute.into();
    }
    groups
}

#[test]
fn a_backup_under_load_is_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Process::start(&folder.path().join("store"), &[]);
    let pushed = AtomicU64::new(0);
    let (stop, backups) = (AtomicU64::new(0), 6);
    thread::scope(|scope| {
        let pushes = scope.spawn(|| {
            while stop.load(Ordering::SeqCst) == 0 {
                push(&gateway, pushed.load(Ordering::SeqCst) + 1);
                pushed.fetch_add(1, Ordering::SeqCst);
            }
        });
        // Beside them others push, and delete what they have pushed.
        let others = scope.spawn(|| {
            for number in 0.. {
                if stop.load(Ordering::SeqCst) != 0 {
                    return;
                }
                let uri =
                    format!("http://{}/metrics/job/other/n/{}", gateway.address(), number % 50);
                let answer = match number % 3 {
                    0 => agent().delete(uri).call(),
                    _ => agent().put(uri).send("m 1\n"),
                };
                assert!(answer.unwrap().status().is_success());
            }
        });
        let url = format!("http://{}", gateway.address());
        for at in 0..backups {
            support::eventually("pushes", || {
                (pushed.load(Ordering::SeqCst) >= (at + 1) * 60).then_some(())
            });
            let file = folder.path().join(format!("{at}.backup"));
            let before = pushed.load(Ordering::SeqCst);
            let said = done(&["backup", &url, "--output", &file.display().to_string()]);
            let after = pushed.load(Ordering::SeqCst) + 1;
            assert!(said.contains("are as they were"), "{said}");
            let restored = folder.path().join(format!("restored-{at}"));
            done(&["restore", &file.display().to_string(), &storage(&restored)]);
            let copy = Process::start(&restored, &[]);
            assert!(!copy.says_damaged());
            let numbers = numbers(&copy.scrape());
            let last = numbers.iter().flatten().copied().max().unwrap();
            assert!((before..=after).contains(&last), "{last} is not of {before} to {after}");
            for number in last.saturating_sub(GROUPS - 1).max(1)..=last {
                let group = usize::try_from(number % GROUPS).unwrap();
                assert_eq!(numbers[group], Some(number), "of the moment after push {last}");
            }
            copy.kill();
        }
        stop.store(1, Ordering::SeqCst);
        pushes.join().unwrap();
        others.join().unwrap();
    });
}

#[test]
fn all_that_a_group_has_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let gateway = Process::start(&store, &[]);
    let address = gateway.address();
    for path in ["a", "b?ttl=30d", "c", "d", "removed"] {
        for value in 1..4 {
            let uri = format!("http://{address}/metrics/job/{path}");
            assert_eq!(agent().put(uri).send(format!("m {value}\n")).unwrap().status(), 200);
        }
    }
    let uri = |path: &str| format!("http://{address}{path}");
    let never = uri("/api/v2/groups/ttl?match=%7Bjob=%22c%22%7D&ttl=never");
    assert_eq!(agent().put(never).send_empty().unwrap().status(), 200);
    let refused = agent().put(uri("/metrics/job/d")).send("m 1\nm 2\n").unwrap();
    assert_eq!(refused.status(), 400);
    assert_eq!(agent().delete(uri("/metrics/job/removed")).call().unwrap().status(), 202);
    let (before, scraped) = (groups(&gateway), gateway.scrape());
    let of_gateway = folder.path().join("of-gateway").display().to_string();
    done(&["backup", &uri(""), "--output", &of_gateway]);
    gateway.terminate();
    gateway.wait();
    let of_store = folder.path().join("of-store").display().to_string();
    done(&["backup", &storage(&store), "--output", &of_store]);
    for file in [&of_gateway, &of_store] {
        done(&["verify", file]);
        let restored = folder.path().join("restored");
        done(&["restore", file, &storage(&restored)]);
        let again = tidegate(&["restore", file, &storage(&restored)]);
        assert!(text(&again).contains("there is a store in"), "{}", text(&again));
        let copy = Process::start(&restored, &[]);
        assert_eq!(groups(&copy), before, "{file}");
        let pushed = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.contains("job=\""));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(pushed(&copy.scrape()), pushed(&scraped), "{file}");
        let uri = format!(
            "http://{}/api/v2/expired/restore?match=%7Bjob=%22removed%22%7D",
            copy.address()
        );
        assert_eq!(agent().post(uri).send_empty().unwrap().status(), 200);
        assert!(copy.scrape().contains("m{instance=\"\",job=\"removed\"} 3"), "{}", copy.scrape());
        copy.kill();
        fs::remove_dir_all(&restored).unwrap();
    }
}

#[test]
fn a_backup_that_is_cut_off_or_damaged_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Process::start(&folder.path().join("store"), &[]);
    (1..=GROUPS).for_each(|number| push(&gateway, number));
    let file = folder.path().join("backup");
    let name = file.display().to_string();
    done(&["backup", &format!("http://{}", gateway.address()), "--output", &name]);
    let whole = fs::read(&file).unwrap();
    let middle = whole.len() / 2;
    let totals = b"\xF1Tg\x02\0\0\0\0\0\0\0\0\0\0\0\0";
    let end = whole.windows(totals.len()).rposition(|bytes| bytes == totals).unwrap();
    let flipped = [&whole[..middle], &[whole[middle] ^ 1], &whole[middle + 1..]].concat();
    for (what, bytes) in [
        ("cut", whole[..middle].to_vec()),
        ("without its end", whole[..end].to_vec()),
        ("flipped", flipped),
    ] {
        fs::write(&file, bytes).unwrap();
        assert_eq!(tidegate(&["verify", &name]).status.code(), Some(1), "{what}");
        let restored = folder.path().join(what);
        let refused = tidegate(&["restore", &name, &storage(&restored)]);
        assert!(text(&refused).contains("not whole"), "{what}: {}", text(&refused));
        assert!(!restored.try_exists().unwrap());
        done(&["restore", "--in-part", &name, &storage(&restored)]);
        let copy = Process::start(&restored, &[]);
        let found = numbers(&copy.scrape()).iter().flatten().count();
        assert!(found >= usize::try_from(GROUPS).unwrap() / 3, "{what}: {found} groups");
        copy.kill();
    }
    fs::write(&file, "something else").unwrap();
    let refused = tidegate(&["verify", &name]);
    assert!(text(&refused).contains("it is no backup"), "{}", text(&refused));
}
