//! Replicas while the network to etcd fails, and etcd itself does.

use std::time::Duration;

use support::cluster::{Etcd, Replica, leader_of};
use support::eventually;
use support::proxy::{Mode, Proxy};

use super::faults::{Pushers, assert_none_refused, check, wait};

/// Replicas that reach etcd through proxies of their own.
struct Network {
    etcd: Etcd,
    proxies: Vec<Vec<Proxy>>,
    replicas: Vec<Replica>,
}

impl Network {
    fn start(more: &[&str]) -> Self {
        let etcd = Etcd::start();
        let (mut proxies, mut replicas) = (Vec::new(), Vec::new());
        for id in ["a", "b", "c"] {
            let own: Vec<_> = etcd.clients().iter().map(|port| Proxy::start(*port)).collect();
            let flag =
                |proxy: &Proxy| format!("--cluster.endpoints=http://127.0.0.1:{}", proxy.port());
            let endpoints: Vec<_> = own.iter().map(flag).collect();
            replicas.push(Replica::start_at(&endpoints, id, more));
            proxies.push(own);
        }
        Self { etcd, proxies, replicas }
    }

    fn set(&self, replica: usize, mode: Mode) {
        for proxy in &self.proxies[replica] {
            proxy.set(mode);
        }
    }
}

/// How often a group was pushed, as it is stored.
fn pushes(replica: &Replica, instance: usize) -> u64 {
    let path = format!("/api/v2/groups?match[]=%7Binstance%3D%22{instance}%22%7D");
    let found = replica.get(&path).expect(200).data();
    found["groups"][0]["pushes"].as_u64().unwrap_or_else(|| panic!("{found}"))
}

#[test]
fn a_commit_without_an_answer_is_decided_and_made_once() {
    let network = Network::start(&["--cluster.lease-ttl=10s"]);
    let leader = leader_of(&network.replicas);
    let all: Vec<_> = network.replicas.iter().collect();
    let pushers = Pushers::start(6, &all);
    for _ in 0..4 {
        pushers.more(100);
        network.set(leader, Mode::NoAnswers);
        wait(Duration::from_millis(300));
        network.set(leader, Mode::Pass);
    }
    pushers.more(100);
    let pushed = pushers.stop();
    assert_none_refused(&pushed);
    for replica in &network.replicas {
        check(replica, &pushed);
    }
    for pushed in &pushed {
        assert_eq!(pushes(&network.replicas[0], pushed.group), pushed.acknowledged, "{pushed:?}");
    }
    assert!(network.replicas[leader].metric("tidegate_cluster_commit_retries_total") > 0.0);
}

#[test]
fn a_leader_that_is_cut_off_from_etcd_is_replaced_and_told_so_when_it_is_back() {
    let network = Network::start(&["--cluster.lease-ttl=2s"]);
    let leader = leader_of(&network.replicas);
    let others: Vec<_> =
        (0..3).filter(|at| *at != leader).map(|at| &network.replicas[at]).collect();
    let pushers = Pushers::start(6, &others);
    pushers.more(100);
    network.set(leader, Mode::Nothing);
    pushers.more(300);
    eventually("another leader", || others.iter().any(|replica| replica.leads()).then_some(()));
    network.set(leader, Mode::Pass);
    pushers.more(100);
    let pushed = pushers.stop();
    assert_none_refused(&pushed);
    let cut_off = &network.replicas[leader];
    eventually("what has happened meanwhile", || {
        let old = cut_off.scrape();
        let new = others[0].scrape();
        (old.pushed() == new.pushed()).then_some(())
    });
    check(cut_off, &pushed);
    assert_eq!(cut_off.metric("tidegate_cluster_leader"), 0.0);
}

#[test]
fn a_follower_that_is_cut_off_says_so_and_stops_serving_in_time() {
    let network = Network::start(&["--cluster.stale-limit=3s"]);
    let leader = leader_of(&network.replicas);
    let follower = (leader + 1) % 3;
    let (leader, cut_off) = (&network.replicas[leader], &network.replicas[follower]);
    leader.put("/metrics/job/j", "m 1\n").expect(200);
    assert_eq!(cut_off.get("/metrics").expect(200).header("tidegate-staleness"), Some("0"));
    network.set(follower, Mode::Nothing);
    leader.put("/metrics/job/j", "m 2\n").expect(200);
    let old = cut_off.get("/metrics").expect(200);
    assert_ne!(old.header("tidegate-staleness"), Some("0"));
    // It still knows who leads.
    cut_off.put("/metrics/job/k", "m 3\n").expect(200);
    assert!(leader.scrape().has(r#"m{instance="",job="k"} 3"#));
    eventually("the limit", || (cut_off.get("/metrics").status == 503).then_some(()));
    cut_off.get("/metrics").expect(503).says("cluster.stale-limit");
    network.set(follower, Mode::Pass);
    eventually("the others' changes", || (cut_off.get("/metrics").status == 200).then_some(()));
    assert!(cut_off.scrape().has(r#"m{instance="",job="j"} 2"#));
}

#[test]
fn etcd_without_a_quorum_holds_pushes_and_scrapes_go_on() {
    let mut network = Network::start(&["--storage.commit-timeout=3s"]);
    network.replicas[0].put("/metrics/job/j", "m 1\n").expect(200);
    let leader = network.etcd.leader();
    let others: Vec<_> = (0..3).filter(|at| *at != leader).collect();
    for at in &others {
        network.etcd.kill(*at);
    }
    for replica in &network.replicas {
        assert!(replica.scrape().has(r#"m{instance="",job="j"} 1"#));
    }
    let all: Vec<_> = network.replicas.iter().collect();
    let pushers = Pushers::start(4, &all);
    // For longer than a commit may take that is stuck.
    wait(Duration::from_secs(6));
    for at in others {
        network.etcd.restart(at);
    }
    pushers.more(50);
    let pushed = pushers.stop();
    assert_none_refused(&pushed);
    for replica in &network.replicas {
        check(replica, &pushed);
    }
}

#[test]
fn a_replica_that_has_missed_what_etcd_has_compacted_loads_all_again() {
    let network = Network::start(&[]);
    let leader = leader_of(&network.replicas);
    let follower = (leader + 1) % 3;
    for at in 0..20 {
        network.replicas[leader].put(&format!("/metrics/job/j/instance/{at}"), "m 1\n").expect(200);
    }
    network.set(follower, Mode::Nothing);
    for at in 10..40 {
        network.replicas[leader].put(&format!("/metrics/job/j/instance/{at}"), "m 2\n").expect(200);
    }
    network.replicas[leader].delete("/metrics/job/j/instance/0").expect(202);
    let status = network.etcd.ctl(&["get", "/tidegate/main/batch", "-w", "json", "--keys-only"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let revision = status["header"]["revision"].as_i64().unwrap().to_string();
    network.etcd.ctl(&["compact", &revision]);
    network.set(follower, Mode::Pass);
    eventually("all groups", || {
        let (old, new) = (&network.replicas[leader], &network.replicas[follower]);
        let (mut old, mut new): (Vec<_>, Vec<_>) =
            (old.scrape().lines().map(str::to_owned).collect(), {
                new.scrape().lines().map(str::to_owned).collect()
            });
        old.sort_unstable();
        new.sort_unstable();
        (old == new).then_some(())
    });
    assert_eq!(network.replicas[follower].metric("tidegate_cluster_feed_reloads_total"), 1.0);
}

#[test]
fn a_leader_whose_feed_has_missed_what_is_compacted_leads_on() {
    let network = Network::start(&["--cluster.lease-ttl=10s"]);
    let leader = leader_of(&network.replicas);
    let all: Vec<_> = network.replicas.iter().collect();
    let pushers = Pushers::start(4, &all);
    for _ in 0..3 {
        pushers.more(50);
        // Its watch breaks, and goes on behind what others have written meanwhile.
        network.set(leader, Mode::Refused);
        for at in 0..20 {
            network.etcd.ctl(&["put", "/test", &at.to_string()]);
        }
        let status = network.etcd.ctl(&["get", "/test", "-w", "json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let revision = status["header"]["revision"].as_i64().unwrap().to_string();
        network.etcd.ctl(&["compact", &revision]);
        network.set(leader, Mode::Pass);
    }
    pushers.more(50);
    let pushed = pushers.stop();
    assert_none_refused(&pushed);
    for replica in &network.replicas {
        check(replica, &pushed);
    }
    assert!(network.replicas[leader].leads());
    // The watch may still pause before its next attempt.
    eventually("a reload", || {
        let reloads = network.replicas[leader].metric("tidegate_cluster_feed_reloads_total");
        (reloads >= 1.0).then_some(())
    });
}

#[test]
fn etcd_without_room_refuses_pushes_and_goes_on_once_there_is_some() {
    let etcd = Etcd::start_with(1, &["--quota-backend-bytes=4194304"]);
    let replica = Replica::start(&etcd, "a", &[]);
    let other = Replica::start(&etcd, "b", &[]);
    let leads = if replica.leads() { &replica } else { &other };
    for job in ["x", "y", "z"] {
        replica.put(&format!("/metrics/job/{job}"), "x 1\n").expect(200);
    }
    replica.put("/metrics/job/short?ttl=20s", "short 1\n").expect(200);
    let mut random = support::random::Random::new(3);
    let mut text = || -> String {
        let lines: Vec<_> = (0..4000)
            .map(|at| {
                format!("m{{n=\"{at}\",x=\"{:016x}{:016x}\"}} 1\n", random.bits(), random.bits())
            })
            .collect();
        lines.concat()
    };
    let full = eventually("a full etcd", || {
        let answer = replica.put("/metrics/job/j", text());
        (answer.status != 200).then_some(answer)
    });
    full.expect(507).says("etcd has no room");
    assert!(replica.scrape().lines().any(|line| line.starts_with("m{")));
    // Deletions go on, through any replica, one by one and several at once, and so does reaping.
    let lacks = |job: &str| {
        for replica in [&replica, &other] {
            eventually("the deletion", || {
                (!replica.scrape().lines().any(|line| line.contains(job))).then_some(())
            });
        }
    };
    replica.delete("/metrics/job/x").expect(202);
    other.delete("/metrics/job/nobody").expect(202);
    lacks("job=\"x\"");
    let several = "/api/v2/groups?match[]=%7Bjob%3D%22y%22%7D";
    other.delete(several).expect(200);
    lacks("job=\"y\"");
    other.put("/metrics/job/j", "m 1\n").expect(507);
    // With thousands of labelled series, and by an encoded name.
    other.delete("/metrics/job@base64/ag").expect(202);
    lacks("job=\"j\"");
    lacks("job=\"short\"");
    eventually("its keys to be deleted", || {
        let keys = etcd.ctl(&["get", "--prefix", "/tidegate/main/c/", "--keys-only"]);
        let heads = keys.lines().filter(|key| key.ends_with("00000000")).count();
        // z alone.
        (heads == 1).then_some(())
    });
    assert!(leads.leads(), "it leads on");
    let status = etcd.ctl(&["get", "/tidegate/main/batch", "-w", "json", "--keys-only"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let revision = status["header"]["revision"].as_i64().unwrap().to_string();
    etcd.ctl(&["compact", &revision]);
    etcd.ctl(&["defrag"]);
    etcd.ctl(&["alarm", "disarm"]);
    eventually("a push that is stored", || {
        (replica.put("/metrics/job/k", "k 1\n").status == 200).then_some(())
    });
    for replica in [&replica, &other] {
        let shown = replica.scrape();
        shown.shows(&[r#"k{instance="",job="k"} 1"#, r#"x{instance="",job="z"} 1"#]);
        shown.lacks("job=\"x\"").lacks("job=\"y\"").lacks("short");
    }
    // And what is deleted can be restored again.
    replica.delete("/metrics/job/z").expect(202);
    assert!(other.get("/api/v2/expired").expect(200).text().contains("\"z\""));
}

#[test]
fn a_replica_waits_for_etcd_and_can_be_stopped_meanwhile() {
    let mut etcd = Etcd::start_with(1, &[]);
    etcd.kill(0);
    let mut waiting = Replica::begin_at(&etcd.endpoints(), "a", &[]);
    waiting.process().logs("etcd", |line| line.contains("waiting for it").then_some(()));
    waiting.get("/-/ready").expect(503).says("loading the store");
    waiting.put("/metrics/job/j", "m 1\n").expect(503);
    waiting.stop();
    waiting.begin();
    waiting.process().logs("etcd", |line| line.contains("waiting for it").then_some(()));
    etcd.restart(0);
    waiting.process().logs("being ready", |line| line.contains("msg=ready").then_some(()));
    waiting.put("/metrics/job/j", "m 1\n").expect(200);
    // One that leads ends in order, too, where nothing can be committed.
    etcd.kill(0);
    waiting.stop();
}

#[test]
fn a_cluster_that_is_deleted_under_its_replicas_begins_anew() {
    let etcd = Etcd::start_with(1, &[]);
    let replicas = ["a", "b"].map(|id| Replica::start(&etcd, id, &[]));
    replicas[0].put("/metrics/job/j", "m 1\n").expect(200);
    etcd.ctl(&["del", "--prefix", "/tidegate/main/"]);
    for replica in &replicas {
        eventually("an empty cluster", || {
            let answer = replica.get("/metrics");
            let is_empty = answer.status == 200 && !answer.text().contains("m{");
            is_empty.then_some(())
        });
    }
    for (at, replica) in replicas.iter().enumerate() {
        replica.put(&format!("/metrics/job/k{at}"), "m 2\n").expect(200);
    }
    for replica in &replicas {
        let shown = replica.scrape();
        shown.shows(&[r#"m{instance="",job="k0"} 2"#, r#"m{instance="",job="k1"} 2"#]);
        shown.lacks("job=\"j\"");
    }
}

#[test]
fn groups_that_somebody_writes_to_etcd_are_loaded_and_the_leader_leads_on() {
    let mut etcd = Etcd::start_with(1, &[]);
    let replica = Replica::start(&etcd, "a", &[]);
    for job in ["j", "k"] {
        replica.put(&format!("/metrics/job/{job}"), "m 1\n").expect(200);
    }
    etcd.ctl(&["del", "/tidegate/main/c/0/000000000000000100000000"]);
    eventually("the deletion", || {
        let shown = replica.scrape();
        let is_deleted = !shown.has(r#"m{instance="",job="j"} 1"#);
        assert!(shown.has(r#"m{instance="",job="k"} 1"#));
        is_deleted.then_some(())
    });
    replica.put("/metrics/job/j", "m 2\n").expect(200);
    assert!(replica.scrape().has(r#"m{instance="",job="j"} 2"#));
    assert!(replica.metric("tidegate_cluster_terms_total") < 5.0, "it leads on");
    etcd.kill(0);
}

#[test]
fn a_group_in_etcd_that_cannot_be_read_is_set_aside_and_pushes_go_on() {
    let etcd = Etcd::start_with(1, &[]);
    let mut replicas = ["a", "b"].map(|id| Replica::start(&etcd, id, &[]));
    for job in ["j", "k"] {
        replicas[0].put(&format!("/metrics/job/{job}"), "m 1\n").expect(200);
    }
    let (hidden, shown) = (r#"m{instance="",job="j"} 1"#, r#"m{instance="",job="k"} 1"#);
    etcd.ctl(&["put", "/tidegate/main/c/0/000000000000000100000000", "junk"]);
    for replica in &replicas {
        eventually("a group that is not shown", || (!replica.scrape().has(hidden)).then_some(()));
        assert!(replica.scrape().has(shown));
        let set_aside = replica.metric("tidegate_cluster_groups_set_aside_total");
        assert!(set_aside >= 1.0, "{set_aside}");
    }
    // Also at a start, and until it is pushed again.
    replicas[1].stop();
    replicas[1].run();
    assert!(replicas[1].scrape().has(shown) && !replicas[1].scrape().has(hidden));
    replicas[1].put("/metrics/job/j", "m 2\n").expect(200);
    for replica in &replicas {
        replica.scrape().shows(&[r#"m{instance="",job="j"} 2"#, shown]);
    }
}

#[test]
fn a_leader_without_etcd_stops_in_order() {
    let mut etcd = Etcd::start_with(1, &[]);
    let mut replicas = ["a", "b"].map(|id| Replica::start(&etcd, id, &[]));
    replicas[0].put("/metrics/job/j", "m 1\n").expect(200);
    etcd.kill(0);
    // The batch that a leader writes each second is under way.
    eventually("a heartbeat without an answer", || {
        (replicas[0].metric("tidegate_cluster_staleness_seconds") > 1.5).then_some(())
    });
    for replica in &mut replicas {
        replica.stop();
    }
}

#[test]
fn a_request_that_comes_late_is_not_carried_out_again() {
    let etcd = Etcd::start_with(1, &[]);
    let start = |id| {
        let mut replica = Replica::new_at_home(&etcd, id, &["--cluster.lease-ttl=10s"]);
        let proxy = Proxy::start(replica.address().port());
        replica.advertise(proxy.port());
        replica.run();
        (replica, proxy)
    };
    let ((first, to_first), (other, _to_other)) = (start("a"), start("b"));
    eventually("the first to lead", || first.leads().then_some(()));
    // Nobody may lead at the moment.
    let step_down = |leader: &Replica| drop(leader.post("/api/v2/cluster/step-down", ""));
    // On its way to the first for as long as that leads; it is known not to have come there, and the
    // other carries it out.
    to_first.set(Mode::Late);
    let client = other.client().clone();
    let held = std::thread::spawn(move || client.put("/metrics/job/j", "m 1\n").expect(200));
    wait(Duration::from_millis(300));
    while first.leads() {
        step_down(&first);
    }
    held.join().unwrap();
    eventually("the other to lead", || other.leads().then_some(()));
    other.put("/metrics/job/j", "m 2\n").expect(200);
    // The first leads again when it gets there.
    eventually("the first to lead again", || {
        if other.leads() {
            step_down(&other);
        }
        first.leads().then_some(())
    });
    to_first.set(Mode::Pass);
    eventually("a push through the other", || {
        (other.put("/metrics/job/k", "m 3\n").status == 200).then_some(())
    });
    wait(Duration::from_millis(300));
    let path = "/api/v2/groups?match[]=%7Bjob%3D%22j%22%7D";
    let found = first.get(path).expect(200).data();
    assert_eq!(found["groups"][0]["pushes"], 2, "{found}");
    assert!(first.scrape().has(r#"m{instance="",job="j"} 2"#));
}
