//! One size: load, check, measure, restart, check, wipe, check.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tidegate::gateway::{Gateway, PushMode, ScrapeOptions, Sync};
use tidegate::model::Unmetered;
use tidegate::time::SystemClock;
use tokio::runtime::Runtime;

use crate::figures::quantile;
use crate::running::{self, Push, Result, Running, push_all, scrape};

pub(crate) const SERIES_PER_GROUP: usize = 10;

/// The measured time, in seconds.
pub(crate) const COSTS: [&str; 6] = [
    "a push",
    "a byte of a scrape",
    "opening, a series",
    "restoring, a series",
    "a wipe",
    "the push after it",
];
pub(crate) type Costs = [f64; COSTS.len()];

/// Pushes under way while the gateway is loaded: many, so that it is quick.
const LOADING: usize = 512;
/// Pushes under way while they are measured. Fewer than the smallest size has groups: else there
/// two of one group would often share a commit, and be cheaper for it.
const PUSHING: usize = 64;
const PUSHES: usize = 2000;
/// Medians are of so many measurements.
const ROUNDS: usize = 15;
/// Restarts and wipes are of everything, and take longer.
const RESTARTS: usize = 3;

/// Measures a gateway with so many groups.
pub(crate) fn measure(runtime: &Runtime, folder: &Path, groups: usize) -> Result<Costs> {
    let series = (groups * SERIES_PER_GROUP) as f64;
    let (running, _) = start(folder)?;
    runtime.block_on(load(&running.gateway, groups))?;
    runtime.block_on(check(&running.gateway, groups))?;
    let push = runtime.block_on(push_seconds(&running.gateway, groups))?;
    let byte = runtime.block_on(byte_seconds(&running.gateway))?;
    let (running, opening, restoring) = restart(runtime, folder, running)?;
    runtime.block_on(check(&running.gateway, groups))?;
    let (wipe, after) = runtime.block_on(wipe_seconds(&running.gateway, groups))?;
    runtime.block_on(running.stop())?;
    Ok([push, byte, opening / series, restoring / series, wipe, after])
}

/// Starts a gateway, and says how long the store took to open.
fn start(folder: &Path) -> Result<(Running, f64)> {
    let began = Instant::now();
    let store = running::open(folder)?;
    let opening = began.elapsed().as_secs_f64();
    Ok((Running::start(store, Arc::new(SystemClock::new()), Sync::Always)?, opening))
}

async fn load(gateway: &Gateway, groups: usize) -> Result<()> {
    push_all(gateway, None, LOADING, (0..groups).map(|group| Push::new(group, 0))).await
}

/// Everything that was pushed is there, and the scrape is as long as was told.
async fn check(gateway: &Gateway, groups: usize) -> Result<()> {
    /// Each series, and the group's two times.
    const LINES_PER_GROUP: usize = SERIES_PER_GROUP + 2;
    let mut text = Vec::new();
    let told = scrape(gateway, ScrapeOptions::default(), |frame| text.extend(frame)).await;
    assert_eq!(told, Some(text.len() as u64), "the length that is told is that of the scrape");
    assert_eq!(running::totals(&text), Some((groups, groups * SERIES_PER_GROUP)));
    let lines = memchr::memmem::find_iter(&text, r#"job="backup""#).count();
    assert_eq!(lines, groups * LINES_PER_GROUP, "each series has its line");
    Ok(())
}

/// A push with other values to a group that is there. All over the groups, and none of them twice
/// in a hundred pushes.
async fn push_seconds(gateway: &Gateway, groups: usize) -> Result<f64> {
    let mut rounds = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let group = |n| (round * PUSHES + n) * 7919 % groups;
        let pushes: Vec<_> = (0..PUSHES).map(|n| Push::new(group(n), round * PUSHES + n)).collect();
        let began = Instant::now();
        push_all(gateway, None, PUSHING, pushes.into_iter()).await?;
        rounds.push(began.elapsed().as_secs_f64() / PUSHES as f64);
    }
    Ok(quantile(&mut rounds, 0.5))
}

/// Each byte is copied once, as into a socket: what is sent lies ready, and is shared otherwise.
async fn byte_seconds(gateway: &Gateway) -> Result<f64> {
    let mut socket = Vec::new();
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let told = scrape(gateway, ScrapeOptions::default(), |frame| {
            socket.clear();
            socket.extend_from_slice(frame);
            black_box(&socket);
        });
        let bytes = told.await.ok_or("the length of a scrape is told")?;
        rounds.push(began.elapsed().as_secs_f64() / bytes as f64);
    }
    Ok(quantile(&mut rounds, 0.5))
}

/// Restarts, and says how long opening the store and restoring from it took.
fn restart(runtime: &Runtime, folder: &Path, mut running: Running) -> Result<(Running, f64, f64)> {
    let (mut opening, mut restoring) = (Vec::new(), Vec::new());
    for _ in 0..RESTARTS {
        runtime.block_on(running.stop())?;
        let began = Instant::now();
        let (restarted, opened) = start(folder)?;
        opening.push(opened);
        restoring.push(began.elapsed().as_secs_f64() - opened);
        running = restarted;
    }
    Ok((running, quantile(&mut opening, 0.5), quantile(&mut restoring, 0.5)))
}

/// A wipe, and the push right after it, which waits for what the wipe leaves to be done.
async fn wipe_seconds(gateway: &Gateway, groups: usize) -> Result<(f64, f64)> {
    let (mut wipes, mut pushes) = (Vec::new(), Vec::new());
    for wipe in 0..RESTARTS {
        if wipe > 0 {
            load(gateway, groups).await?;
        }
        let Push { key, families } = Push::new(0, wipe);
        let began = Instant::now();
        gateway.wipe().await?;
        let wiped = began.elapsed().as_secs_f64();
        gateway.push(key, PushMode::Replace, None, families, Box::new(Unmetered)).await?;
        wipes.push(wiped);
        pushes.push(began.elapsed().as_secs_f64() - wiped);
        check(gateway, 1).await?;
    }
    Ok((quantile(&mut wipes, 0.5), quantile(&mut pushes, 0.5)))
}
