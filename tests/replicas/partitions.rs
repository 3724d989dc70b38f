//! Replicas on hosts of their own, whose network is cut: packets are dropped, and nobody is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use support::cluster::{Etcd, Replica, leader_of};
use support::eventually;
use support::hosts::Hosts;

use super::faults::{Pushers, assert_none_refused, check, slowest};

const LINE: &str = r#"m{instance="",job="j"} 1"#;

struct Site {
    hosts: Arc<Hosts>,
    // Before etcd: they end first.
    replicas: Vec<Replica>,
    _etcd: Etcd,
}

impl Site {
    /// `None` where this machine allows no hosts.
    fn start(more: &[&str]) -> Option<Self> {
        let hosts = Arc::new(Hosts::new(3)?);
        let etcd = Etcd::start_on(hosts.outside());
        let replicas = [(0, "a"), (1, "b"), (2, "c")]
            .map(|(at, id)| Replica::start_on(&hosts, at, &etcd, id, more));
        Some(Self { hosts, replicas: replicas.into(), _etcd: etcd })
    }

    fn leader(&self) -> u8 {
        u8::try_from(leader_of(&self.replicas)).unwrap()
    }

    fn replica(&self, at: u8) -> &Replica {
        &self.replicas[usize::from(at)]
    }
}

#[test]
fn a_leader_whose_host_is_cut_off_is_replaced_within_its_lease_and_pushes_are_held() {
    let Some(site) = Site::start(&["--cluster.lease-ttl=3s"]) else { return };
    let leader = site.leader();
    let others: Vec<_> = (0..3).filter(|at| *at != leader).map(|at| site.replica(at)).collect();
    let pushers = Pushers::start(4, &others);
    pushers.more(50);
    site.hosts.set_connected(leader, false);
    pushers.more(100);
    site.hosts.set_connected(leader, true);
    eventually("the old leader to follow", || (!site.replica(leader).leads()).then_some(()));
    pushers.more(50);
    let pushed = pushers.stop();
    assert_none_refused(&pushed);
    // The lease, and what etcd takes to notice that it has ended.
    let slowest = slowest(&pushed);
    assert!((1..8).contains(&slowest.as_secs()), "{pushed:?}");
    for replica in &site.replicas {
        check(replica, &pushed);
    }
    // The others cannot know: no connection was refused. So nobody was deposed but by the lease.
    site.replica(leader).put("/metrics/job/j", "m 1\n").expect(200);
    assert!(others[0].scrape().has(LINE));
}

#[test]
fn replicas_that_see_etcd_and_not_each_other_depose_nobody() {
    let Some(site) = Site::start(&[]) else { return };
    let leader = site.leader();
    let follower = site.replica((leader + 1) % 3);
    let terms = |site: &Site| -> f64 {
        site.replicas.iter().map(|replica| replica.metric("tidegate_cluster_terms_total")).sum()
    };
    let before = terms(&site);
    site.hosts.set_apart(true);
    // Held for as long as a request waits for a leader.
    let began = Instant::now();
    let answer = follower.put("/metrics/job/j", "m 1\n");
    assert!(matches!(answer.status, 503 | 504), "{}", answer.text());
    assert!(began.elapsed() > Duration::from_secs(9), "{:?}", began.elapsed());
    // Straight to the leader it goes, and whoever is asked shows it.
    site.replica(leader).put("/metrics/job/j", "m 1\n").expect(200);
    for replica in &site.replicas {
        assert!(replica.scrape().has(LINE));
    }
    assert!(site.replica(leader).leads());
    site.hosts.set_apart(false);
    eventually("a push through the follower", || {
        (follower.put("/metrics/job/k", "m 2\n").status == 200).then_some(())
    });
    assert!((terms(&site) - before).abs() < 0.5, "nobody else has come to lead");
}

#[test]
fn a_host_that_comes_and_goes_loses_nothing() {
    let Some(site) = Site::start(&["--cluster.lease-ttl=2s"]) else { return };
    let all: Vec<_> = site.replicas.iter().collect();
    // Through each of them: of those that are cut off some wait, and are refused at the end.
    let pushers = Pushers::start(6, &all);
    for at in [0, 1, 2, site.leader()] {
        pushers.more(40);
        site.hosts.set_connected(at, false);
        if at == 1 {
            super::faults::wait(Duration::from_secs(4));
        }
        site.hosts.set_connected(at, true);
    }
    pushers.more(60);
    let pushed = pushers.stop();
    for replica in &site.replicas {
        check(replica, &pushed);
    }
}
