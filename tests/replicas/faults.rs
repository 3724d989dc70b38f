//! Replicas while something fails: nothing that was acknowledged is lost, and clients are held rather than
//! refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::cluster::{Etcd, Replica, leader_of};
use support::{Client, eventually};

/// Pushers, each with a group of its own and a number that rises with each push.
pub(crate) struct Pushers {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<Pushed>>,
    acknowledged: Arc<AtomicU64>,
}

/// The outcome of a pusher.
#[derive(Debug, Default)]
pub(crate) struct Pushed {
    pub(crate) group: usize,
    /// The last number that was acknowledged, and the last that was sent.
    pub(crate) acknowledged: u64,
    sent: u64,
    /// Other answers than 200, with their texts.
    refused: Vec<String>,
    /// No answers at all.
    broken: u64,
    slowest: Duration,
}

impl Pushers {
    /// Begins to push through these replicas, each through one after another.
    pub(crate) fn start(count: usize, replicas: &[&Replica]) -> Self {
        let clients: Vec<Client> =
            replicas.iter().map(|replica| replica.client().clone()).collect();
        Self::start_at(count, &clients)
    }

    /// The same through replicas that may end meanwhile.
    pub(crate) fn start_at(count: usize, clients: &[Client]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let threads = (0..count)
            .map(|group| {
                let (stop, clients) = (Arc::clone(&stop), clients.to_vec());
                let acknowledged = Arc::clone(&acknowledged);
                thread::spawn(move || push(group, &clients, &stop, &acknowledged))
            })
            .collect();
        Self { stop, threads, acknowledged }
    }

    /// Waits until so many more were acknowledged.
    pub(crate) fn more(&self, count: u64) {
        let until = self.acknowledged.load(Ordering::Relaxed) + count;
        eventually("more pushes", || {
            (self.acknowledged.load(Ordering::Relaxed) >= until).then_some(())
        });
    }

    pub(crate) fn stop(self) -> Vec<Pushed> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

fn push(group: usize, clients: &[Client], stop: &AtomicBool, all: &AtomicU64) -> Pushed {
    let mut pushed = Pushed { group, ..Pushed::default() };
    let path = format!("/metrics/job/pusher/instance/{group}");
    while !stop.load(Ordering::Relaxed) {
        pushed.sent += 1;
        let client = &clients[usize::try_from(pushed.sent).unwrap() % clients.len()];
        let began = Instant::now();
        match client.try_send("PUT", &path, &[], format!("m {}\n", pushed.sent).as_bytes()) {
            Ok(answer) if answer.status == 200 => {
                pushed.acknowledged = pushed.sent;
                all.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => {
                pushed.refused.push(format!("{} {}", answer.status, answer.text().trim()));
            }
            Err(_) => pushed.broken += 1,
        }
        pushed.slowest = pushed.slowest.max(began.elapsed());
    }
    pushed
}

/// Lets time pass, whatever comes of it.
#[expect(clippy::disallowed_methods, reason = "what comes of it is not to be waited for")]
pub(crate) fn wait(time: Duration) {
    thread::sleep(time);
}

/// Checks that each group has its last number that was acknowledged, or a later one, and how often it was
/// pushed.
pub(crate) fn check(replica: &Replica, pushed: &[Pushed]) {
    let shown = replica.scrape();
    for Pushed { group, acknowledged, sent, .. } in pushed {
        let value = shown.value(&format!("m{{instance=\"{group}\",job=\"pusher\"}}"));
        let value: f64 = value.parse().unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let value = value as u64;
        assert!((*acknowledged..=*sent).contains(&value), "group {group}: {value} of {pushed:?}");
    }
}

pub(crate) fn slowest(pushed: &[Pushed]) -> Duration {
    pushed.iter().map(|pushed| pushed.slowest).max().unwrap()
}

/// Asserts that nothing was said but that a replica starts or stops.
pub(crate) fn assert_only_unavailable(pushed: &[Pushed]) {
    for pushed in pushed {
        assert!(pushed.refused.iter().all(|refused| refused.starts_with("503")), "{pushed:?}");
    }
}

pub(crate) fn assert_none_refused(pushed: &[Pushed]) {
    for pushed in pushed {
        assert!(pushed.refused.is_empty() && pushed.broken == 0, "{pushed:?}");
    }
}

fn three(etcd: &Etcd, more: &[&str]) -> Vec<Replica> {
    ["a", "b", "c"].map(|id| Replica::start(etcd, id, more)).into()
}

#[test]
fn a_leader_that_is_killed_is_replaced_and_pushes_through_others_are_held() {
    let etcd = Etcd::start();
    let mut replicas = three(&etcd, &["--cluster.lease-ttl=2s"]);
    let leader = leader_of(&replicas);
    let others: Vec<_> = (0..3).filter(|at| *at != leader).map(|at| &replicas[at]).collect();
    let pushers = Pushers::start(8, &others);
    pushers.more(200);
    replicas[leader].kill();
    pushers.more(200);
    let pushed = pushers.stop();
    assert_none_refused(&pushed);
    let new = leader_of(&replicas);
    for replica in replicas.iter().enumerate().filter(|(at, _)| *at != leader) {
        check(replica.1, &pushed);
    }
    assert_ne!(new, leader);
    replicas[leader].run();
    check(&replicas[leader], &pushed);
    println!("slowest push: {:?}", slowest(&pushed));
}

#[test]
fn a_leader_that_stops_in_order_costs_nobody_anything() {
    let etcd = Etcd::start();
    let mut replicas = three(&etcd, &[]);
    let leader = leader_of(&replicas);
    let others: Vec<_> = (0..3).filter(|at| *at != leader).map(|at| &replicas[at]).collect();
    let pushers = Pushers::start(8, &others);
    pushers.more(200);
    replicas[leader].stop();
    pushers.more(200);
    let pushed = pushers.stop();
    assert_none_refused(&pushed);
    assert!(slowest(&pushed) < Duration::from_secs(2), "{pushed:?}");
    check(&replicas[(leader + 1) % 3], &pushed);
}

#[test]
fn a_leader_that_was_stopped_for_longer_than_its_lease_is_fenced() {
    let etcd = Etcd::start();
    let replicas = three(&etcd, &["--cluster.lease-ttl=2s"]);
    let leader = leader_of(&replicas);
    let all: Vec<_> = replicas.iter().collect();
    let pushers = Pushers::start(6, &all);
    pushers.more(200);
    replicas[leader].signal("STOP");
    let others: Vec<_> = (0..3).filter(|at| *at != leader).collect();
    eventually("another leader", || others.iter().find(|at| replicas[**at].leads()));
    replicas[leader].signal("CONT");
    pushers.more(500);
    let pushed = pushers.stop();
    assert_none_refused(&pushed);
    for replica in &replicas {
        check(replica, &pushed);
    }
    assert!(!replicas[leader].leads());
}

#[test]
fn the_death_of_the_etcd_leader_holds_pushes_and_loses_none() {
    let mut etcd = Etcd::start();
    let replicas = three(&etcd, &[]);
    let leader = leader_of(&replicas);
    let all: Vec<_> = replicas.iter().collect();
    let pushers = Pushers::start(8, &all);
    pushers.more(200);
    let member = etcd.leader();
    etcd.kill(member);
    pushers.more(200);
    etcd.restart(member);
    pushers.more(200);
    let pushed = pushers.stop();
    assert_none_refused(&pushed);
    for replica in &replicas {
        check(replica, &pushed);
    }
    println!("slowest push: {:?}, same leader: {}", slowest(&pushed), replicas[leader].leads());
}

#[test]
fn members_of_etcd_are_replaced_one_by_one() {
    let mut etcd = Etcd::start();
    let replicas = three(&etcd, &[]);
    let all: Vec<_> = replicas.iter().collect();
    let pushers = Pushers::start(4, &all);
    for at in 0..3 {
        pushers.more(50);
        etcd.replace(at);
    }
    pushers.more(50);
    let pushed = pushers.stop();
    assert_none_refused(&pushed);
    for replica in &replicas {
        check(replica, &pushed);
    }
}
