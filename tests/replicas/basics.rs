//! Replicas while nothing fails: one state for all, whichever is asked.

use support::cluster::{Etcd, Replica, leader_of};
use support::{Exposition, eventually};

/// Three replicas.
fn three(etcd: &Etcd, more: &[&str]) -> Vec<Replica> {
    ["a", "b", "c"].map(|id| Replica::start(etcd, id, more)).into()
}

/// How many series of the family m a replica shows.
fn count(replica: &Replica) -> usize {
    replica.scrape().lines().filter(|line| line.starts_with("m{")).count()
}

/// The lines of an exposition, in an order that all replicas have alike.
fn sorted(exposition: &Exposition) -> Vec<String> {
    let mut lines: Vec<_> = exposition.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn any_replica_takes_any_push_and_all_serve_the_same() {
    let etcd = Etcd::start();
    let replicas = three(&etcd, &["--ttl.expose-deadline"]);
    for (at, replica) in replicas.iter().enumerate() {
        let path = format!("/metrics/job/j{at}");
        let answer = replica.put(&path, "# HELP m Some.\n# TYPE m counter\nm 1\nn 2\n").expect(200);
        assert!(answer.header("tidegate-expires").is_some(), "{:?}", answer.headers);
        // It reads its own writes.
        assert!(replica.scrape().has(&format!("m{{instance=\"\",job=\"j{at}\"}} 1")));
    }
    let all: Vec<_> = replicas.iter().map(|replica| sorted(&replica.scrape())).collect();
    assert_eq!(all[0], all[1]);
    assert_eq!(all[1], all[2]);
    assert!(all[0].iter().any(|line| line.starts_with("push_expiry_time_seconds{")));

    // Parts of a group, refusals, deletion, through any of them.
    replicas[1].post("/metrics/job/j0", "n 5\n").expect(200);
    replicas[2].put("/metrics/job/j1", "# TYPE m gauge\nm 1\n").expect(400).says("m");
    replicas[0].delete("/metrics/job/j2").expect(202);
    for replica in &replicas {
        let shown = replica.scrape();
        shown.shows(&[r#"m{instance="",job="j0"} 1"#, r#"n{instance="",job="j0"} 5"#]);
        shown.lacks("job=\"j2\"");
        let failed = shown.value(r#"push_failure_time_seconds{instance="",job="j1"}"#);
        assert_ne!(failed, "0");
    }
    let all: Vec<_> = replicas.iter().map(|replica| sorted(&replica.scrape())).collect();
    assert!(all[0] == all[1] && all[1] == all[2], "{all:#?}");

    // Who has written through one reads it from another.
    for at in 0..9 {
        let written = replicas[at % 3].put("/metrics/job/own", format!("own {at}\n")).expect(200);
        let revision = written.header("tidegate-revision").unwrap().to_owned();
        let asked = [("Tidegate-Min-Revision", revision.as_str())];
        let path = "/api/v2/groups?match[]=%7Bjob%3D%22own%22%7D";
        let read = replicas[(at + 1) % 3].send("GET", path, &asked, b"").expect(200).data();
        assert_eq!(read["groups"][0]["pushes"], at + 1, "{read}");
        let ahead = (revision.parse::<u64>().unwrap() + 1_000_000).to_string();
        if at == 0 {
            let asked = [("Tidegate-Min-Revision", ahead.as_str())];
            replicas[1].send("GET", "/", &asked, b"").expect(503).says("has come to revision");
            let asked = [("Tidegate-Min-Revision", "soon")];
            replicas[1].send("GET", "/metrics", &asked, b"").expect(400).says("expected the");
        }
    }
    replicas[0].delete("/metrics/job/own").expect(202);
    for replica in &replicas {
        eventually("the deletion", || {
            (!replica.scrape().lines().any(|line| line.contains("own"))).then_some(())
        });
    }

    // One that comes later has it all.
    let all: Vec<_> = replicas.iter().map(|replica| sorted(&replica.scrape())).collect();
    let late = Replica::start(&etcd, "d", &["--ttl.expose-deadline"]);
    assert_eq!(sorted(&late.scrape()), all[0]);
    let names = late.get("/api/v2/expired").expect(200).json().to_string();
    assert!(names.contains("j2"), "{names}");
}

#[test]
fn changes_through_a_follower_are_those_of_the_leader() {
    let etcd = Etcd::start();
    let replicas = three(&etcd, &[]);
    let leader = leader_of(&replicas);
    let follower = &replicas[(leader + 1) % 3];
    for at in 0..100 {
        follower.put(&format!("/metrics/job/j/instance/{at}"), format!("m {at}\n")).expect(200);
    }
    let selector = "/api/v2/groups?match[]=%7Binstance%3D~%22..%22%7D";
    follower.delete(selector).expect(200);
    for replica in &replicas {
        assert_eq!(count(replica), 10);
    }
    follower.put("/api/v1/admin/wipe", "").expect(202);
    for replica in &replicas {
        assert_eq!(count(replica), 0);
    }
    // The chunks of what was wiped go, too.
    eventually("an empty tree", || {
        let keys = etcd.ctl(&["get", "--prefix", "/tidegate/main/c/", "--keys-only"]);
        keys.trim().is_empty().then_some(())
    });
    follower.put("/metrics/job/again", "m 1\n").expect(200);
    for replica in &replicas {
        assert!(replica.scrape().has(r#"m{instance="",job="again"} 1"#));
    }
}

#[test]
fn a_push_that_is_too_large_for_a_cluster_is_refused_and_nothing_is_half_done() {
    let etcd = Etcd::start();
    let replicas = three(&etcd, &[]);
    let mut random = support::random::Random::new(1);
    let mut line = |at: usize| format!("m{{n=\"{at}\",x=\"{:016x}\"}} {}\n", random.bits(), at);
    let large: String = (0..100_000).map(&mut line).collect();
    let fits: String = (0..10_000).map(&mut line).collect();
    for replica in &replicas {
        replica.put("/metrics/job/large", &large).expect(413).says("too large for a cluster");
        replica.put("/metrics/job/fits", &fits).expect(200);
        assert_eq!(count(replica), 10_000);
    }
    // Many families are many chunks.
    let wide = |count: usize| {
        let lines: Vec<_> = (0..count).map(|at| format!("f{at} {at}\n")).collect();
        lines.concat()
    };
    replicas[0].put("/metrics/job/wide", wide(20_000)).expect(200);
    replicas[1].post("/metrics/job/wide", "f7 8\n").expect(200);
    replicas[2].put("/metrics/job/wide", wide(3)).expect(200);
    for replica in &replicas {
        assert!(!replica.scrape().lines().any(|line| line.starts_with("f7{")));
    }
}

#[test]
fn a_rule_that_is_changed_at_one_replica_counts_at_all() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidegate.toml");
    std::fs::write(&file, "[ttl]\ndefault = \"1h\"\n").unwrap();
    let config = format!("--config.file={}", file.display());
    let mut replicas = three(&etcd, &[&config]);
    let leader = leader_of(&replicas);
    replicas[0].put("/metrics/job/j", "m 1\n").expect(200);
    std::fs::write(&file, "[ttl]\ndefault = \"2h\"\n").unwrap();
    replicas[(leader + 1) % 3].post("/-/reload", "").expect(200);
    let default = |replica: &Replica| {
        let groups = replica.get("/api/v2/groups").expect(200).json().to_string();
        groups.contains("\"ttl\":\"2h\"").then_some(())
    };
    for replica in &replicas {
        eventually("the new rule", || default(replica));
    }
    // A file that was replaced does not come back with a start.
    std::fs::write(&file, "[ttl]\ndefault = \"1h\"\n").unwrap();
    replicas[leader].stop();
    replicas[leader].begin();
    replicas[leader]
        .process()
        .logs("the other policy", |line| line.contains("another TTL policy").then_some(()));
    replicas[leader].process().logs("being ready", |line| line.contains("msg=ready").then_some(()));
    for replica in &replicas {
        eventually("the rule that is in force", || default(replica));
    }
    assert_eq!(replicas[leader].metric("tidegate_cluster_policy_differs"), 1.0);
    let status = replicas[leader].get("/status").expect(200).text();
    assert!(status.contains("another TTL policy is in force"));
}
