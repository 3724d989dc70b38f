//! Three replicas beside a bare client of the same etcd: pushes a second, a start, a follower's delay.
//!
//! ```sh
//! cargo bench --bench versus -- cluster   # two minutes
//! ```

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use support::cluster::{Etcd, Replica, leader_of};
use support::random::Random;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::Result;
use crate::client::Client;
use crate::figures::{number, quantile, seconds};

/// Turns of each side, one after the other.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 32;
/// Of a group of ten families, as it lies in etcd.
const VALUE_BYTES: usize = 330;
/// Groups of ten series, for a start.
const GROUPS: usize = 100_000;
const PACED: f64 = 2000.0;

/// The parts of etcd's API that a bare client needs; see `src/store/etcd/messages.rs`.
mod api {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Put {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) key: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Op {
        #[prost(message, optional, tag = "2")]
        pub(super) put: Option<Put>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Compare {
        /// 2: the revision at which the key was put last.
        #[prost(int32, tag = "2")]
        pub(super) target: i32,
        #[prost(bytes = "vec", tag = "3")]
        pub(super) key: Vec<u8>,
        #[prost(int64, tag = "6")]
        pub(super) revision: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Txn {
        #[prost(message, repeated, tag = "1")]
        pub(super) compare: Vec<Compare>,
        #[prost(message, repeated, tag = "2")]
        pub(super) success: Vec<Op>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Header {
        #[prost(int64, tag = "3")]
        pub(super) revision: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Answer {
        #[prost(message, optional, tag = "1")]
        pub(super) header: Option<Header>,
        #[prost(bool, tag = "2")]
        pub(super) succeeded: bool,
    }
}

/// A client of etcd that does nothing but transactions.
struct Bare {
    runtime: tokio::runtime::Runtime,
    channels: Vec<Channel>,
}

async fn txn(channel: &Channel, txn: api::Txn) -> Result<i64> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await?;
    let codec = ProstCodec::<api::Txn, api::Answer>::default();
    let path = PathAndQuery::from_static("/etcdserverpb.KV/Txn");
    let answer = grpc.unary(tonic::Request::new(txn), path, codec).await?.into_inner();
    if !answer.succeeded {
        return Err("a comparison failed".into());
    }
    Ok(answer.header.map_or(0, |header| header.revision))
}

fn put(key: &str, random: &mut Random) -> api::Op {
    let value = (0..VALUE_BYTES / 8).flat_map(|_| random.bits().to_le_bytes()).collect();
    api::Op { put: Some(api::Put { key: key.as_bytes().to_vec(), value }) }
}

impl Bare {
    fn new(etcd: &Etcd) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let entered = runtime.enter();
        let channel = |port: &u16| -> Result<Channel> {
            Ok(Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.connect_lazy())
        };
        let channels = etcd.clients().iter().map(channel).collect::<Result<_>>()?;
        drop(entered);
        Ok(Self { runtime, channels })
    }

    /// Batches of as many puts as there are connections, one after the other, as a leader commits.
    fn fenced(&self, round: usize) -> Result<f64> {
        let Some(channel) = self.channels.first() else { return Err("no member".into()) };
        let (mut random, mut record, mut puts) = (Random::new(round as u64), 0, 0);
        let key = format!("/bare/record/{round}");
        let began = Instant::now();
        while began.elapsed() < ROUND {
            let mut success: Vec<_> = (0..CONNECTIONS)
                .map(|_| put(&format!("/bare/fenced/{:08}", random.below(1000)), &mut random))
                .collect();
            success.dedup_by_key(|op| op.put.as_ref().map(|put| put.key.clone()));
            success.sort_by_key(|op| op.put.as_ref().map(|put| put.key.clone()));
            success.dedup_by_key(|op| op.put.as_ref().map(|put| put.key.clone()));
            puts += success.len();
            success.push(put(&key, &mut random));
            let compare =
                vec![api::Compare { target: 2, key: key.clone().into(), revision: record }];
            record = self.runtime.block_on(txn(channel, api::Txn { compare, success }))?;
        }
        Ok(puts as f64 / began.elapsed().as_secs_f64())
    }

    /// A comparison and a put for each group, as many at a time as there are connections.
    fn swapped(&self, round: usize) -> Result<f64> {
        let swaps = AtomicUsize::new(0);
        let began = Instant::now();
        self.runtime.block_on(async {
            let all = (0..CONNECTIONS).map(|at| {
                let (channel, swaps) = (self.channels.get(at % self.channels.len()), &swaps);
                async move {
                    let channel = channel.ok_or("no member")?;
                    let key = format!("/bare/swapped/{round}/{at:08}");
                    let (mut random, mut revision) = (Random::new(at as u64), 0);
                    while began.elapsed() < ROUND {
                        let success = vec![put(&key, &mut random)];
                        let compare =
                            vec![api::Compare { target: 2, key: key.clone().into(), revision }];
                        revision = txn(channel, api::Txn { compare, success }).await?;
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<_, Box<dyn std::error::Error>>(())
                }
            });
            futures_util::future::try_join_all(all).await
        })?;
        Ok(swaps.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
    }
}

/// Pushes of ten families over 32 connections, to all replicas.
fn pushed(replicas: &[Replica], round: usize) -> Result<f64> {
    let (pushes, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let began = Instant::now();
    thread::scope(|scope| {
        for at in 0..CONNECTIONS {
            let port = replicas.get(at % replicas.len()).map_or(0, |it| it.address().port());
            let (pushes, failed) = (&pushes, &failed);
            scope.spawn(move || {
                let Ok(mut client) = Client::connect(port) else {
                    return failed.store(true, Ordering::Relaxed);
                };
                let mut sent = 0;
                while began.elapsed() < ROUND {
                    sent += 1;
                    let group = (at * 31 + sent) % 1000;
                    if client.push(group, round * 1_000_000 + sent, "").is_err() {
                        return failed.store(true, Ordering::Relaxed);
                    }
                    pushes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    if failed.load(Ordering::Relaxed) {
        return Err("a push failed".into());
    }
    Ok(pushes.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}

#[expect(clippy::disallowed_methods, reason = "a pace is kept by waiting")]
fn wait_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}

/// How long after its acknowledgement by the leader a push is visible at a follower, at 2,000 pushes a
/// second.
fn delays(leader: &Replica, follower: &Replica) -> Result<Vec<f64>> {
    let stop = AtomicBool::new(false);
    let port = leader.address().port();
    thread::scope(|scope| {
        for at in 0..16_usize {
            let stop = &stop;
            scope.spawn(move || {
                let mut client = Client::connect(port).ok()?;
                let (began, mut sent) = (Instant::now(), 0_u32);
                while !stop.load(Ordering::Relaxed) {
                    let due = began + Duration::from_secs_f64(f64::from(sent) * 16.0 / PACED);
                    wait_until(due);
                    client.push(at * 50 + sent as usize % 50, sent as usize, "").ok()?;
                    sent += 1;
                }
                Some(())
            });
        }
        let measured = (|| {
            let mut writer = Client::connect(port)?;
            let mut reader = Client::connect(follower.address().port())?;
            let mut delays = Vec::new();
            let path = "/api/v2/groups?match[]=%7Bjob%3D%22delay%22%7D";
            for round in 0..300 {
                let body = format!("delay{{n=\"{round}\"}} 1\n");
                writer.request("PUT", "/metrics/job/delay", "", body, false)?;
                let acknowledged = Instant::now();
                let pushes = format!("\"pushes\":{},", round + 1);
                loop {
                    let answer = reader.request("GET", path, "", "", true)?;
                    if String::from_utf8_lossy(&answer.body).contains(&pushes) {
                        // With the time that the answer takes.
                        delays.push(acknowledged.elapsed().as_secs_f64());
                        break;
                    }
                }
            }
            Ok(delays)
        })();
        stop.store(true, Ordering::Relaxed);
        measured
    })
}

fn resident(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}

/// Measures, prints, and writes `cluster.md`.
pub(crate) fn run(out: &Path) -> Result<()> {
    let etcd = Etcd::start();
    let mut replicas: Vec<_> =
        ["a", "b", "c"].into_iter().map(|id| Replica::start(&etcd, id, &[])).collect();
    let bare = Bare::new(&etcd)?;
    let (mut ours, mut fenced, mut swapped) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.push(pushed(&replicas, round)?);
        fenced.push(bare.fenced(round)?);
        swapped.push(bare.swapped(round)?);
        println!("round {round}: {:?} {:?} {:?}", ours.last(), fenced.last(), swapped.last());
    }
    let median = |values: &mut [f64]| quantile(values, 0.5);
    let (ours, fenced, swapped) = (median(&mut ours), median(&mut fenced), median(&mut swapped));
    let leader = leader_of(&replicas);
    let follower = (leader + 1) % 3;
    let (Some(leads), Some(follows)) = (replicas.get(leader), replicas.get(follower)) else {
        return Err("three replicas".into());
    };
    let mut delays = delays(leads, follows)?;
    let (p50, p99) = (quantile(&mut delays, 0.5), quantile(&mut delays, 0.99));
    crate::client::load(leads.address().port(), 0..GROUPS, "")?;
    let follower = replicas.get_mut(follower).ok_or("a follower")?;
    follower.kill();
    let began = Instant::now();
    follower.run();
    let start = began.elapsed().as_secs_f64();
    let memory = resident(follower.process().id())?;

    let mut text = String::from("| | measured | ratio | goal |\n|---|---|---|---|\n");
    let mut row = |what: &str, measured: String, ratio: String, goal: &str| {
        println!("{what}: {measured}: {ratio} (goal: {goal})");
        writeln!(text, "| {what} | {measured} | {ratio} | {goal} |")
    };
    row(
        "pushes a second through three replicas, beside a compare-and-swap for each group",
        format!("{} and {}", number(ours), number(swapped)),
        number(ours / swapped),
        "3",
    )?;
    row(
        "the same, beside fenced batches of 32 by a bare client",
        format!("{} and {}", number(ours), number(fenced)),
        number(ours / fenced),
        "0.5",
    )?;
    row(
        "a follower behind the acknowledgement, at 2,000 pushes a second",
        format!("p50 {}, p99 {}", seconds(p50), seconds(p99)),
        String::new(),
        "2 ms, 50 ms",
    )?;
    row(
        "a follower with 1,000,000 series, from its start to ready",
        format!("{}, {} MB", seconds(start), number(memory / 1e6)),
        String::new(),
        "4 s, 400 MB",
    )?;
    let cores = thread::available_parallelism()?;
    writeln!(
        text,
        "\nTen families a push over {CONNECTIONS} connections to three replicas; three members of etcd 3.5 \
         that sync; all on {cores} cores. Medians of {ROUNDS} turns of {} s, one side after the \
         other, on the same etcd. `cargo bench --bench versus -- cluster`.",
        ROUND.as_secs(),
    )?;
    fs::create_dir_all(out)?;
    fs::write(out.join("cluster.md"), &text)?;
    println!("\n{text}\nwritten to {}", out.display());
    Ok(())
}
