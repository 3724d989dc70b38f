//! The worst hour of a disk: full at the start, read-only, or with the folder of the store removed under the
//! running gateway. Groups are served as long as they can be read, nothing is lost, and there is a way out.

use std::fs;
use std::net::SocketAddr;

use serde_json::Value;
use support::eventually;
use support::serving::{Process, agent};
use ureq::http::Response;
use ureq::{Body, Error};

use crate::disk::Disk;

fn answer(response: Result<Response<Body>, Error>) -> (u16, String) {
    let mut response = response.expect("it answers");
    (response.status().as_u16(), response.body_mut().read_to_string().expect("it is text"))
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    answer(agent().get(format!("http://{address}{path}")).call())
}

fn push(address: SocketAddr, group: usize) -> (u16, String) {
    let line = |family| format!("family_{family}{{pad=\"{}\"}} 1\n", "x".repeat(200));
    let body: String = (0..40).map(line).collect();
    answer(agent().put(format!("http://{address}/metrics/job/worst/group/{group}")).send(body))
}

fn delete(address: SocketAddr, group: usize) -> u16 {
    answer(agent().delete(format!("http://{address}/metrics/job/worst/group/{group}")).call()).0
}

fn groups(address: SocketAddr) -> usize {
    let (status, exposition) = get(address, "/metrics");
    assert_eq!(status, 200);
    exposition.lines().filter(|line| line.starts_with("push_time_seconds{")).count()
}

/// Pushes groups from this number on until the disk is full. Returns the first that was refused.
fn fill_up(address: SocketAddr, from: usize) -> usize {
    (from..from + 5000).find(|group| push(address, *group).0 == 507).expect("the disk is full")
}

fn says_full(address: SocketAddr) {
    let (status, text) = get(address, "/-/ready");
    assert!(status == 503 && text.contains("no space left on the disk"), "{status} {text}");
    assert_eq!(get(address, "/-/healthy").0, 200);
}

#[test]
fn a_full_disk_takes_deletions_and_changes_of_ttls() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    let gateway = disk.start();
    let address = gateway.address();
    (0..20).for_each(|group| assert_eq!(push(address, group).0, 200));
    disk.fill();
    let count = fill_up(address, 20);
    eventually("deletions are taken", || (delete(address, 0) == 202).then_some(()));
    says_full(address);
    assert_eq!(groups(address), count - 1);
    for group in 1..15 {
        assert_eq!(delete(address, group), 202);
    }
    let uri = format!("http://{address}/api/v2/groups/ttl?match={{group=\"19\"}}&ttl=5m");
    let (status, text) = answer(agent().put(uri.replace('"', "%22")).send_empty());
    assert_eq!(status, 200, "{text}");
    assert_eq!(push(address, 1).0, 507, "what was freed is not for pushes");
    assert_eq!(groups(address), count - 15);
    gateway.kill();
    // All of that is there after a restart, on a disk that is still full.
    let gateway = disk.start();
    let address = gateway.address();
    assert_eq!(groups(address), count - 15);
    let (_, text) = get(address, "/api/v2/groups?match=%7Bgroup=%2219%22%7D");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["data"]["groups"][0]["ttl_seconds"], 300.0, "{text}");
    disk.clear();
    eventually("there is room", || (push(address, 1).0 == 200).then_some(()));
    assert_eq!(groups(address), count - 14);
}

#[test]
fn a_gateway_comes_up_on_a_full_disk_and_takes_deletions() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    let gateway = disk.start();
    (0..20).for_each(|group| assert_eq!(push(gateway.address(), group).0, 200));
    gateway.kill();
    disk.fill();
    for _ in 0..2 {
        let gateway = disk.start();
        let address = gateway.address();
        let before = groups(address);
        assert!(before > 17, "{before}");
        let refused = (100..5000).map(|group| push(address, group)).find(|it| it.0 != 200).unwrap();
        assert_eq!((refused.0, refused.1.contains("no space left")), (507, true), "{refused:?}");
        says_full(address);
        let after = groups(address);
        eventually("deletions are taken", || (delete(address, before) == 202).then_some(()));
        assert_eq!(groups(address), after);
        gateway.kill();
    }
    disk.clear();
    let gateway = disk.start();
    assert_eq!(push(gateway.address(), 1).0, 200);
    assert!(groups(gateway.address()) >= 20);
}

#[test]
fn a_gateway_comes_up_on_a_read_only_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    for sealed in [true, false] {
        let gateway = disk.start();
        (0..20).for_each(|group| assert_eq!(push(gateway.address(), group).0, 200));
        if sealed {
            gateway.terminate();
            gateway.wait();
        } else {
            gateway.kill();
        }
        disk.remount("ro");
        let gateway = disk.start();
        let address = gateway.address();
        assert_eq!(groups(address), 20, "sealed: {sealed}");
        let (status, text) = push(address, 1);
        assert!(status == 503 && text.contains("Read-only file system"), "{status} {text}");
        let (status, text) = get(address, "/-/ready");
        assert!(status == 503 && text.contains("Read-only file system"), "{status} {text}");
        disk.remount("rw");
        eventually("it can be written", || (push(address, 1).0 == 200).then_some(()));
        gateway.kill();
    }
}

#[test]
fn a_folder_that_is_removed_under_the_gateway_ends_it() {
    for replaced in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        let gateway = Process::start(&store, &[]);
        assert_eq!(push(gateway.address(), 1).0, 200);
        fs::rename(&store, folder.path().join("removed")).unwrap();
        if replaced {
            fs::create_dir(&store).unwrap();
            fs::write(store.join("db"), "").unwrap();
        }
        let uri = format!("http://{}/metrics/job/late", gateway.address());
        // Refused, or no answer of a process that has ended.
        let pushed = agent().put(uri).send("m 1\n");
        assert!(
            pushed.map_or(true, |response| response.status() != 200),
            "nothing is acknowledged"
        );
        assert!(!gateway.wait().success(), "the process ends, and not well");
    }
}
