//! Replicas whose hosts do not agree on the time.

use std::time::{Duration, Instant};

use support::cluster::{Etcd, Replica, leader_of};
use support::eventually;

use super::operations::{expire_at_one_instant, expiry};

const LINE: &str = r#"m{instance="",job="j"} 1"#;

#[test]
fn a_group_expires_at_one_instant_although_hosts_disagree() {
    let etcd = Etcd::start();
    let replicas = [("a", "-1.5"), ("b", "+0"), ("c", "+1.5")]
        .map(|(id, clock)| Replica::start_with_clock(clock, &etcd, id, &["--ttl.expose-deadline"]));
    let leader = leader_of(&replicas);
    let expires = expiry(&replicas, leader, "skewed") - [-1.5, 0.0, 1.5][leader];
    expire_at_one_instant(&replicas, expires, "skewed");
    eventually("the skew", || {
        let skew = replicas[leader].metric("tidegate_cluster_clock_skew_seconds");
        (skew > 2.0).then_some(())
    });
}

#[test]
fn a_host_whose_clock_is_far_ahead_moves_nobody() {
    let etcd = Etcd::start_with(1, &[]);
    let first = Replica::start(&etcd, "a", &[]);
    first.put("/metrics/job/j?ttl=30m", "m 1\n").expect(200);
    let mut ahead = Replica::start_with_clock("+7200", &etcd, "b", &[]);
    assert!(ahead.scrape().has(LINE), "it goes by the time of the leader");
    // Also through it: proofs go by the time that both have.
    ahead.put("/metrics/job/k?ttl=30m", "m 2\n").expect(200);
    let mut first = first;
    first.stop();
    eventually("the next leader", || ahead.leads().then_some(()));
    assert!(ahead.scrape().has(LINE));
    ahead.put("/metrics/job/l?ttl=30m", "m 3\n").expect(200);
    first.run();
    for replica in [&first, &ahead] {
        let shown = replica.scrape();
        shown.shows(&[LINE, r#"m{instance="",job="k"} 2"#, r#"m{instance="",job="l"} 3"#]);
    }
    ahead.stop();
    eventually("the first to lead again", || first.leads().then_some(()));
    assert!(first.scrape().has(LINE));
}

#[test]
fn changes_of_leader_do_not_move_gateway_time() {
    let etcd = Etcd::start_with(1, &[]);
    let replicas = [("a", "-20"), ("b", "+20")]
        .map(|(id, clock)| Replica::start_with_clock(clock, &etcd, id, &[]));
    replicas[0].put("/metrics/job/j?ttl=8s", "m 1\n").expect(200);
    let pushed = Instant::now();
    let mut changes = 0;
    while replicas[0].scrape().has(LINE) {
        if pushed.elapsed() < Duration::from_secs(6) {
            let leader = leader_of(&replicas);
            replicas[leader].post("/api/v2/cluster/step-down", "").expect(200);
            replicas[leader].put("/metrics/job/k", "m 2\n").expect(200);
            changes += 1;
        }
    }
    let after = pushed.elapsed().as_secs_f64();
    assert!((7.5..8.5).contains(&after), "{after} s, {changes} changes of leader");
    assert!(changes > 10, "{changes}");
}

#[test]
fn the_time_in_which_all_were_down_counts_or_not_as_the_settings_say() {
    for (setting, stays) in [("pause", true), ("count", false)] {
        let etcd = Etcd::start_with(1, &[]);
        let flag = format!("--ttl.downtime={setting}");
        let mut replicas = ["a", "b"].map(|id| Replica::start(&etcd, id, &[&flag]));
        replicas[0].put("/metrics/job/j?ttl=30m", "m 1\n").expect(200);
        // Their leases have not ended when they are back, as after a power cut.
        for replica in &mut replicas {
            replica.kill();
            replica.set_clock("+3600");
            replica.begin();
        }
        for replica in &mut replicas {
            replica.process().logs("being ready", |line| line.contains("msg=ready").then_some(()));
            assert_eq!(replica.scrape().has(LINE), stays, "{setting}");
        }
        let leader = leader_of(&replicas);
        replicas[1 - leader].put("/metrics/job/k", "m 2\n").expect(200);
        for replica in &replicas {
            assert_eq!(replica.scrape().has(LINE), stays, "{setting}");
        }
    }
}
