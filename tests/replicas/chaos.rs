//! Kills, stops, cuts and restarts at random, under load, of replicas whose clocks differ. Each group has one pusher, whose numbers rise: it is a
//! register, and every read is checked against what was acknowledged before it began and sent before it
//! ended.
//!
//! `TIDEGATE_KILLS` says how many faults there are, `TIDEGATE_SEED` which.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::cluster::{Etcd, Replica, leader_of};
use support::hosts::Hosts;
use support::random::Random;
use support::{Client, eventually};

const GROUPS: usize = 8;
const KILLS: usize = 12;

/// The state of each group, as it is known from outside.
#[derive(Debug, Default)]
struct Registers {
    sent: [AtomicU64; GROUPS],
    acknowledged: [AtomicU64; GROUPS],
    /// The greatest value that a read has found.
    read: [AtomicU64; GROUPS],
    answers: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
    reads: AtomicU64,
    old_reads: AtomicU64,
    slowest_ms: AtomicU64,
    stop: AtomicBool,
}

fn write(group: usize, clients: &[Client], all: &Registers) {
    let mut random = Random::new(group as u64);
    let path = format!("/metrics/job/chaos/instance/{group}");
    for value in 1.. {
        if all.stop.load(Ordering::Relaxed) {
            return;
        }
        all.sent[group].store(value, Ordering::SeqCst);
        let began = Instant::now();
        let client = random.pick(clients);
        match client.try_send("PUT", &path, &[], format!("m {value}\n").as_bytes()) {
            Ok(answer) if answer.status == 200 => {
                all.acknowledged[group].store(value, Ordering::SeqCst);
                all.answers.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => {
                let text = answer.text();
                assert!(matches!(answer.status, 503 | 504), "{} {text}", answer.status);
                all.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                all.broken.fetch_add(1, Ordering::Relaxed);
            }
        }
        let took = u64::try_from(began.elapsed().as_millis()).unwrap();
        all.slowest_ms.fetch_max(took, Ordering::Relaxed);
    }
}

fn read(seed: u64, clients: &[Client], all: &Registers) {
    let mut random = Random::new(1000 + seed);
    while !all.stop.load(Ordering::Relaxed) {
        let load = |of: &[AtomicU64; GROUPS]| of.each_ref().map(|it| it.load(Ordering::SeqCst));
        let (before, seen) = (load(&all.acknowledged), load(&all.read));
        let Ok(answer) = random.pick(clients).try_send("GET", "/metrics", &[], b"") else {
            continue;
        };
        let after = load(&all.sent);
        if answer.status != 200 || answer.header("tidegate-staleness") != Some("0") {
            all.old_reads.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let text = answer.text();
        for group in 0..GROUPS {
            let series = format!("m{{instance=\"{group}\",job=\"chaos\"}} ");
            let value = text.lines().find_map(|line| line.strip_prefix(&series));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let value = value.map_or(0, |value| value.parse::<f64>().unwrap() as u64);
            let least = before[group].max(seen[group]);
            assert!(
                (least..=after[group]).contains(&value),
                "group {group}: read {value}, expected {least} to {}",
                after[group]
            );
            all.read[group].fetch_max(value, Ordering::SeqCst);
        }
        all.reads.fetch_add(1, Ordering::Relaxed);
    }
}

fn more(all: &Registers, count: u64) {
    let until = all.answers.load(Ordering::Relaxed) + count;
    eventually("more pushes", || (all.answers.load(Ordering::Relaxed) >= until).then_some(()));
}

#[expect(clippy::disallowed_methods, reason = "whoever runs it says how long it is to be")]
fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Replicas on hosts of their own, where there can be such, whose clocks differ.
fn three(hosts: Option<&Arc<Hosts>>, etcd: &Etcd) -> Vec<Replica> {
    let flags = ["--cluster.lease-ttl=2s"];
    [(0, "a", "-1.5"), (1, "b", "+0"), (2, "c", "+1.5")]
        .into_iter()
        .map(|(at, id, clock)| {
            let mut replica = match hosts {
                Some(hosts) => Replica::new_on(hosts, at, etcd, id, &flags),
                None => Replica::new_at_home(etcd, id, &flags),
            };
            replica.set_clock(clock);
            replica.run();
            replica
        })
        .collect()
}

#[test]
fn reads_and_writes_are_linearizable_whoever_is_killed() {
    let hosts = Hosts::new(3).map(Arc::new);
    let mut etcd = match &hosts {
        Some(hosts) => Etcd::start_on(hosts.outside()),
        None => Etcd::start(),
    };
    let mut replicas = three(hosts.as_ref(), &etcd);
    let clients: Vec<Client> = replicas.iter().map(|replica| replica.client().clone()).collect();
    let all = Arc::new(Registers::default());
    let spawn = |work: fn(u64, &[Client], &Registers), at: u64| {
        let (clients, all) = (clients.clone(), Arc::clone(&all));
        thread::spawn(move || work(at, &clients, &all))
    };
    let writes = |at, clients: &[Client], all: &Registers| {
        write(usize::try_from(at).unwrap(), clients, all);
    };
    let mut threads: Vec<_> = (0..GROUPS as u64).map(|at| spawn(writes, at)).collect();
    threads.extend((0..3).map(|at| spawn(read, at)));

    let mut random = Random::new(number("TIDEGATE_SEED", 7) as u64);
    let kills = number("TIDEGATE_KILLS", KILLS);
    let (mut leaders, mut followers, mut members, mut stops, mut cuts) = (0, 0, 0, 0, 0);
    for _ in 0..kills {
        more(&all, 50);
        let leader = leader_of(&replicas);
        let another_leads = |replicas: &[Replica]| {
            eventually("another leader", || {
                let mut others = (0..3).filter(|at| *at != leader);
                others.find(|at| replicas[*at].leads())
            })
        };
        match random.below(6) {
            0 | 1 => {
                leaders += 1;
                replicas[leader].kill();
                more(&all, 20);
                replicas[leader].run();
            }
            2 => {
                followers += 1;
                let follower = (leader + 1 + random.below(2)) % 3;
                replicas[follower].kill();
                more(&all, 20);
                replicas[follower].run();
            }
            3 => {
                members += 1;
                let member = etcd.leader();
                etcd.kill(member);
                more(&all, 20);
                etcd.restart(member);
            }
            4 if let Some(hosts) = &hosts => {
                cuts += 1;
                let at = u8::try_from(leader).unwrap();
                hosts.set_connected(at, false);
                another_leads(&replicas);
                hosts.set_connected(at, true);
            }
            _ => {
                stops += 1;
                // Longer than its lease.
                replicas[leader].signal("STOP");
                another_leads(&replicas);
                replicas[leader].signal("CONT");
            }
        }
    }
    more(&all, 100);
    all.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("every read was as it should be");
    }
    for replica in &replicas {
        let shown = replica.scrape();
        for group in 0..GROUPS {
            let value = shown.value(&format!("m{{instance=\"{group}\",job=\"chaos\"}}"));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let value = value.parse::<f64>().unwrap() as u64;
            let load = |of: &[AtomicU64; GROUPS]| of[group].load(Ordering::SeqCst);
            assert!(
                (load(&all.acknowledged)..=load(&all.sent)).contains(&value),
                "{group}: {value}"
            );
        }
    }
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    println!(
        "chaos: {kills} faults ({leaders} leaders and {followers} followers killed, {members} leaders \
         of etcd killed, {stops} leaders stopped, {cuts} cut off); {} pushes acknowledged, 0 lost, {} refused, {} \
         without an answer; {} reads fresh and in order, {} not fresh; slowest push {:?}",
        count(&all.answers),
        count(&all.refused),
        count(&all.broken),
        count(&all.reads),
        count(&all.old_reads),
        Duration::from_millis(count(&all.slowest_ms)),
    );
}
