//! Measures: wrk for rates, own connections for latencies.

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Result;
use crate::body::body;
use crate::client::Client;
use crate::figures::quantile;
use crate::servers::part;

/// How hard and how long wrk asks.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) seconds: u64,
}

/// A wrk script that pushes to random groups. Bodies are made once, a thousand of them, so that it is
/// the servers that work and not the load generator.
pub(crate) fn push_script(folder: &Path, groups: usize) -> Result<std::path::PathBuf> {
    let mut script = String::from("local bodies = {\n");
    for round in 0..1000 {
        writeln!(script, "{:?},", body(round * 31, round))?;
    }
    write!(
        script,
        "}}\nlocal seeds = 0\n\
         function setup(thread) seeds = seeds + 1; thread:set('seed', seeds) end\n\
         function init(args) math.randomseed(seed * 7919) end\n\
         function request()\n\
           local group = math.random(0, {groups} - 1)\n\
           return wrk.format('PUT', '/metrics/job/backup/instance/host-' .. group, nil,\n\
             bodies[math.random(1, 1000)])\n\
         end\n"
    )?;
    let path = folder.join(format!("push-{groups}.lua"));
    fs::write(&path, script)?;
    Ok(path)
}

/// Answered requests a second, after a short warm-up.
pub(crate) fn rate(
    port: u16,
    path: &str,
    load: Load,
    script: Option<&Path>,
    headers: &[&str],
) -> Result<f64> {
    wrk(port, path, Load { seconds: 1, ..load }, script, headers)?;
    wrk(port, path, load, script, headers)
}

/// Answered requests a second of several servers, the median of rounds in turn: so that a machine that
/// is busy for a while is so for all of them.
pub(crate) fn rates<const N: usize>(
    ports: [u16; N],
    path: &str,
    load: Load,
    script: Option<&Path>,
    headers: &[&str],
) -> Result<[f64; N]> {
    const ROUNDS: u64 = 5;
    let load = Load { seconds: load.seconds.div_ceil(ROUNDS), ..load };
    let mut rates = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (port, rates) in ports.iter().zip(&mut rates) {
            rates.push(rate(*port, path, load, script, headers)?);
        }
    }
    Ok(rates.map(|mut rates| quantile(&mut rates, 0.5)))
}

fn wrk(port: u16, path: &str, load: Load, script: Option<&Path>, headers: &[&str]) -> Result<f64> {
    let mut command = Command::new(part("wrk")?);
    command.args(["-t2", "--timeout", "60s"]);
    command.arg(format!("-c{}", load.connections)).arg(format!("-d{}s", load.seconds));
    for header in headers {
        command.args(["-H", header]);
    }
    if let Some(script) = script {
        command.arg("-s").arg(script);
    }
    let output = command.arg(format!("http://127.0.0.1:{port}{path}")).output()?;
    let text = String::from_utf8(output.stdout)?;
    if text.contains("Non-2xx") {
        return Err(format!("requests were refused:\n{text}").into());
    }
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    Ok(line.ok_or("wrk printed no rate")?.trim().parse()?)
}

/// Seconds that each of some pushes to random groups takes, at a steady pace, while `meanwhile`
/// runs.
pub(crate) fn paced_pushes<T: Send>(
    port: u16,
    groups: Range<usize>,
    per_second: usize,
    meanwhile: impl FnOnce() -> Result<T>,
) -> Result<(T, Vec<f64>)> {
    const CONNECTIONS: usize = 8;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pushers: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let (stop, groups) = (&stop, groups.clone());
                scope.spawn(move || {
                    let run = || pusher(port, groups, per_second / CONNECTIONS, connection, stop);
                    run().map_err(|error| error.to_string())
                })
            })
            .collect();
        let result = meanwhile();
        stop.store(true, Ordering::Relaxed);
        let mut latencies = Vec::new();
        for pusher in pushers {
            latencies.extend(pusher.join().map_err(|_| "a pusher panicked")??);
        }
        Ok((result?, latencies))
    })
}

fn pusher(
    port: u16,
    groups: Range<usize>,
    per_second: usize,
    connection: usize,
    stop: &AtomicBool,
) -> Result<Vec<f64>> {
    let mut client = Client::connect(port)?;
    let interval = Duration::from_secs(1) / u32::try_from(per_second)?;
    let began = Instant::now();
    let mut latencies = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let round = latencies.len();
        let due = interval * u32::try_from(round)?;
        if let Some(left) = due.checked_sub(began.elapsed()) {
            #[expect(clippy::disallowed_methods, reason = "the pace is the subject")]
            std::thread::sleep(left);
        }
        let group = groups.start + (round * 7919 + connection * 104_729) % groups.len();
        latencies.push(client.push(group, round, "")?.total.as_secs_f64());
    }
    Ok(latencies)
}
