//! Acknowledged pushes are there after a restart, deadlines included; and a folder that cannot be
//! used is left as it is.

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;

use tidegate::time::UnixNanos;

use support::{Gateway, MILLISECOND, Tidegate, eventually, finished, just_below, minutes};

const TEN_MINUTES: &str = "[ttl]\ndefault = '10m'\n";
const HOUR_MS: i64 = 3_600_000;

#[test]
fn everything_is_as_it_was() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j/instance/i", "# HELP m Help.\n# TYPE m gauge\nm 1\n").expect(200);
    gateway.put("/metrics/job/j/instance/i", "m 1 1\n").expect(400);
    gateway.put("/metrics/job@base64/L8O8/q@base64/IlwK", "n{l=\"\\\\\"} NaN\n").expect(200);
    gateway.put("/metrics/job/failed", "m 1 1\n").expect(400);
    gateway.put("/metrics/job/empty", "").expect(200);
    let types = "# TYPE h histogram\nh_bucket{le=\"1\"} 0.5\nh_count 1.5\nh_sum 2\n\
                 # TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 1\ns_count 2\n";
    gateway.put("/metrics/job/types", types).expect(200);
    let before = gateway.scrape().pushed();
    let gateway = gateway.restart();
    assert_eq!(gateway.scrape().pushed(), before);
    assert_eq!(gateway.scrape_gzip().pushed(), before);
    // And again, as a second generation writes what it read.
    let gateway = gateway.restart();
    assert_eq!(gateway.scrape().pushed(), before);
    gateway.stop();
}

#[test]
fn pushes_are_checked_against_stored_groups_as_before_the_restart() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", "# TYPE s summary\ns_count 1\nm{instance=\"i\"} 1\n").expect(200);
    let gateway = gateway.restart();
    for body in ["# TYPE s gauge\ns 1\n", "s_sum 1\n", "m 1\n"] {
        gateway.put("/metrics/job/j/instance/i", body).expect(400);
    }
    gateway.post("/metrics/job/j", "m 2\n").expect(200);
    gateway.put("/metrics/job/j/instance/i", "m 1\n").expect(200);
    gateway.stop();
}

#[test]
fn the_help_that_counts_is_still_that_of_the_most_recent_push() {
    let gateway = Gateway::start("");
    for job in ["b", "c", "a"] {
        gateway.put(&format!("/metrics/job/{job}"), format!("# HELP m {job}\nm 1\n")).expect(200);
    }
    let gateway = gateway.restart();
    gateway.scrape().shows(&["# HELP m a"]);
    gateway.delete("/metrics/job/a").expect(202);
    gateway.scrape().shows(&["# HELP m c"]);
    let gateway = gateway.restart();
    gateway.post("/metrics/job/b", "# HELP m b again\nm 1\n").expect(200);
    gateway.scrape().shows(&["# HELP m b again"]);
    gateway.stop();
}

#[test]
fn deadlines_run_on_while_the_gateway_is_down() {
    let gateway = Gateway::start(TEN_MINUTES);
    gateway.put("/metrics/job/first", "m 1\n").expect(200);
    gateway.send("PUT", "/metrics/job/own", &[("Tidegate-TTL", "20m")], b"m 2\n").expect(200);
    gateway.send("PUT", "/metrics/job/never", &[("Tidegate-TTL", "never")], b"m 3\n").expect(200);
    gateway.advance(minutes(4));
    let mut stopped = gateway.stop();
    stopped.advance(minutes(5));
    let gateway = stopped.start();
    gateway.scrape().shows(&["m{instance=\"\",job=\"first\"} 1"]);
    gateway.advance(minutes(1));
    gateway.scrape().lacks("first").shows(&["m{instance=\"\",job=\"own\"} 2"]);

    // Expired while nobody ran: the first scrape already does not show it.
    let mut stopped = gateway.stop();
    stopped.advance(minutes(10));
    let gateway = stopped.start();
    gateway.scrape().lacks("own").shows(&["m{instance=\"\",job=\"never\"} 3"]);
    gateway.put("/metrics/job/own", "# TYPE m untyped\nm 4\n").expect(200);
    gateway.scrape().shows(&["m{instance=\"\",job=\"own\"} 4"]);
    gateway.stop();
}

#[test]
fn an_expired_group_does_not_come_back() {
    let gateway = Gateway::start(TEN_MINUTES);
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    gateway.advance(minutes(10));
    // At once: it may not be reaped yet.
    let gateway = gateway.stop().start_with("[ttl]\ndefault = '10m'\n[log]\nlevel = 'error'\n");
    assert_eq!(gateway.scrape().pushed(), "");
    gateway.stop();
}

#[test]
fn a_clock_that_was_set_while_the_gateway_ran_moves_no_deadline() {
    for step in [HOUR_MS, -HOUR_MS] {
        // Whether or not there was a push after the clock was set.
        for push_after in [true, false] {
            let gateway = Gateway::start(TEN_MINUTES);
            gateway.put("/metrics/job/j", "m 1\n").expect(200);
            gateway.set_host_clock_by(step);
            if push_after {
                gateway.put("/metrics/job/other", "n 1\n").expect(200);
            }
            // At once: the gateway is given no other occasion to notice.
            let gateway = gateway.restart();
            let what = format!("step by {step} ms, push after it: {push_after}");
            gateway.advance(just_below(minutes(10)));
            assert!(gateway.scrape().has("m{instance=\"\",job=\"j\"} 1"), "{what}: expired early");
            gateway.advance(MILLISECOND);
            assert!(!gateway.scrape().pushed().contains("\"j\""), "{what}: still there");
            gateway.stop();
        }
    }
}

#[test]
fn ttls_of_the_settings_are_those_of_now_and_of_pushes_those_of_then() {
    let gateway = Gateway::start("[ttl]\ndefault = '1h'\n");
    gateway.put("/metrics/job/default", "m 1\n").expect(200);
    gateway.put("/metrics/job/ruled", "m 1\n").expect(200);
    gateway.send("PUT", "/metrics/job/own", &[("Tidegate-TTL", "30m")], b"m 1\n").expect(200);
    let gateway = gateway.stop().start_with(
        "[ttl]\ndefault = '10m'\n[[ttl.rules]]\nmatch = '{job=\"ruled\"}'\nttl = '20m'\n",
    );
    for job in ["default", "ruled", "own"] {
        gateway.advance(just_below(minutes(10)));
        gateway.scrape().shows(&[&format!("m{{instance=\"\",job=\"{job}\"}} 1")]);
        gateway.advance(MILLISECOND);
        gateway.scrape().lacks(&format!("job=\"{job}\""));
    }
    gateway.stop();
}

/// A folder's files with their bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(file, b)| (format!("{name}/{file}"), b)));
        } else {
            found.insert(name, std::fs::read(path).unwrap());
        }
    }
    found
}

/// Starts the real binary where it cannot; returns what it says.
#[track_caller]
fn fails_to_start(folder: &Path) -> String {
    let storage = format!("--storage.path={}", folder.display());
    let args = [storage.as_str(), "--web.listen-address=127.0.0.1:0"];
    let output = finished(&mut Tidegate::command(&args));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    let last = errors.lines().last().unwrap().to_owned();
    assert!(last.contains(&folder.display().to_string()), "names the folder: {last}");
    last
}

#[test]
fn a_second_process_on_the_folder_says_so_and_leaves_it_alone() {
    let folder = TempDir::new().unwrap();
    let first = Tidegate::serve(folder.path(), &[]);
    first.put("/metrics/job/j", "m 1\n").expect(200);
    let before = files(folder.path());
    let said = fails_to_start(folder.path());
    assert!(said.contains("in use by another process"), "{said}");
    assert_eq!(files(folder.path()), before);
    first.scrape().shows(&["m{instance=\"\",job=\"j\"} 1"]);
    first.stop();
    let next = Tidegate::serve(folder.path(), &[]);
    next.scrape().shows(&["m{instance=\"\",job=\"j\"} 1"]);
    next.stop();
}

#[test]
fn a_store_of_a_newer_version_is_left_as_it_is() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    let stopped = gateway.stop();
    let store = stopped.folder().join("store");
    std::fs::write(store.join("schema_version"), "99\n").unwrap();
    let before = files(&store);
    let said = fails_to_start(&store);
    assert!(said.contains("version 99"), "{said}");
    assert_eq!(files(&store), before);
    std::fs::write(store.join("schema_version"), "1\n").unwrap();
    let gateway = stopped.start();
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 1"]);
    gateway.stop();
}

#[test]
fn a_store_without_its_database_is_left_as_it_is() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    let stopped = gateway.stop();
    let store = stopped.folder().join("store");
    let database = store.join("db");
    let moved = stopped.folder().join("db");
    std::fs::rename(&database, &moved).unwrap();
    let before = files(&store);
    let said = fails_to_start(&store);
    assert!(said.contains("db is missing"), "{said}");
    assert_eq!(files(&store), before);
    std::fs::rename(&moved, &database).unwrap();
    let gateway = stopped.start();
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 1"]);
    gateway.stop();
}

#[test]
fn a_damaged_store_is_mended_and_every_page_says_so_until_its_old_files_are_removed() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    let stopped = gateway.stop();
    let store = stopped.folder().join("store");
    std::fs::write(store.join("schema_version"), "one\n").unwrap();
    let gateway = stopped.start();
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 1"]);
    let said = |path: &str| gateway.get(path).expect(200).text().contains("the store was damaged");
    for path in ["/-/ready", "/", "/expiry", "/live", "/status"] {
        assert!(said(path), "{path}");
    }
    std::fs::remove_dir_all(store.join("damaged-1")).unwrap();
    eventually("the old files are missed", || (!said("/-/ready")).then_some(()));
    gateway.stop();
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    for path in [file.clone(), file.join("below")] {
        let said = fails_to_start(&path);
        assert!(said.contains("cannot use"), "{said}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"not a folder");
}

#[test]
fn a_host_clock_that_is_years_off_at_the_start_expires_nothing_and_keeps_nothing_for_ever() {
    for years in [-56, 14] {
        let gateway = Gateway::start(TEN_MINUTES);
        gateway.put("/metrics/job/j", "m 1\n").expect(200);
        gateway.advance(minutes(4));
        gateway.put("/metrics/job/k", "m 1\n").expect(200);
        let right = gateway.wall();
        let mut stopped = gateway.stop();
        stopped.set_host_clock(UnixNanos(right.0 + years * 365 * 24 * HOUR_MS * 1_000_000));
        let gateway = stopped.start();
        let shown = |job: &str| format!("m{{instance=\"\",job=\"{job}\"}} 1");
        gateway.scrape().shows(&[&shown("j")]);
        // NTP sets it right, which moves no deadline.
        let off_ms = -years * 365 * 24 * HOUR_MS;
        gateway.set_host_clock_by(off_ms);
        gateway.advance(minutes(6));
        gateway.scrape().lacks("\"j\"").shows(&[&shown("k")]);
        // Nor does another start, with the clock as it should be.
        let gateway = gateway.restart();
        gateway.scrape().shows(&[&shown("k")]);
        gateway.advance(minutes(4));
        gateway.scrape().lacks("\"k\"");
        gateway.stop();
    }
}
