//! The removed groups that are kept are bounded by both settings, whichever is reached first.

use serde_json::Value;

use support::{Gateway, MILLISECOND, eventually, minutes};

#[track_caller]
fn kept(gateway: &Gateway) -> (Vec<String>, u64) {
    let data = gateway.get("/api/v2/expired?limit=10000").expect(200).data();
    let groups = data["groups"].as_array().unwrap();
    assert_eq!(data["total"], groups.len());
    let job = |group: &Value| group["labels"]["job"].as_str().unwrap().to_owned();
    let bytes = groups.iter().map(|group| group["bytes"].as_u64().unwrap()).sum();
    (groups.iter().map(job).collect(), bytes)
}

/// Pushes a group with a value of so many bytes, and has it go.
fn come_and_go(gateway: &Gateway, job: &str, bytes: usize) {
    let value = "x".repeat(bytes);
    gateway.put(&format!("/metrics/job/{job}"), format!("m{{v=\"{value}\"}} 1\n")).expect(200);
    gateway.delete(&format!("/metrics/job/{job}")).expect(202);
    gateway.advance(MILLISECOND);
}

#[test]
fn the_bytes_of_what_is_gone_are_bounded_and_the_latest_kept() {
    const SIZE: u64 = 20 * 1024;
    let gateway = Gateway::start("[history]\nsize = '20KiB'\ngroups = 1000\n");
    for at in 0..40 {
        come_and_go(&gateway, &format!("j{at}"), 2000);
        let (jobs, bytes) = kept(&gateway);
        assert!(bytes <= SIZE, "{bytes} bytes of {jobs:?}");
        let latest: Vec<_> = (0..=at).rev().take(jobs.len()).map(|at| format!("j{at}")).collect();
        assert_eq!(jobs, latest, "the latest, without a gap");
    }
    let (jobs, bytes) = kept(&gateway);
    assert!(jobs.len() >= 5 && bytes > SIZE / 2, "{bytes} bytes of {jobs:?}");
    let gateway = gateway.restart();
    assert_eq!(kept(&gateway), (jobs.clone(), bytes));
    // One that is too large by itself pushes no other out.
    come_and_go(&gateway, "large", 30_000);
    assert_eq!(kept(&gateway).0, jobs);
    // A group that is pushed out is purged from the store.
    gateway.post("/api/v2/expired/restore?match[]=%7Bjob%3D%22j0%22%7D", "").expect(404);
    // A bound that is lower from now on, though nothing more goes.
    let gateway = lower(gateway, "size = '5KiB'", |bytes, _| bytes <= 5 * 1024);
    let (fewer, _) = kept(&gateway);
    assert!(!fewer.is_empty() && jobs.starts_with(&fewer), "{fewer:?}");
    let gateway = lower(gateway, "groups = 1", |_, groups| groups == 1);
    let gateway = lower(gateway, "groups = 0", |_, groups| groups == 0);
    let gateway = gateway.stop().start_with("");
    assert_eq!(kept(&gateway).0, [""; 0], "it is purged from the store");
    gateway.stop();
}

/// Starts again with another bound, and waits until that is kept.
fn lower(gateway: Gateway, bound: &str, kept: impl Fn(u64, usize) -> bool) -> Gateway {
    let gateway = gateway.stop().start_with(&format!("[history]\n{bound}\n"));
    eventually(bound, || {
        // The reaper looks now and then; it may not have begun to wait when the first minute passed.
        gateway.advance(minutes(1));
        let (groups, bytes) = self::kept(&gateway);
        kept(bytes, groups.len()).then_some(())
    });
    gateway
}

#[test]
fn whichever_of_number_and_bytes_is_reached_first_counts() {
    let gateway = Gateway::start("[history]\nsize = '1MiB'\ngroups = 4\n");
    for at in 0..10 {
        come_and_go(&gateway, &format!("j{at}"), 100);
    }
    assert_eq!(kept(&gateway).0, ["j9", "j8", "j7", "j6"]);
    gateway.stop();
    // A group that is not kept leaves nothing behind, whether it expires or is deleted.
    for none in ["groups = 0", "size = '0B'"] {
        let gateway = Gateway::start(&format!("[ttl]\ndefault = '10m'\n[history]\n{none}\n"));
        gateway.put("/metrics/job/expires", "m 1\n").expect(200);
        gateway.put("/metrics/job/is-deleted", "n 1\n").expect(200);
        gateway.delete("/metrics/job/is-deleted").expect(202);
        gateway.advance(minutes(10));
        gateway.scrape().lacks("expires");
        assert_eq!(kept(&gateway).0, [""; 0], "{none}");
        let gateway = gateway.restart();
        assert_eq!((kept(&gateway).0.len(), gateway.scrape().pushed().as_str()), (0, ""), "{none}");
        gateway.stop();
    }
}
