//! The store: commits, restoring, and the reaping of what has expired.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use tidegate::gateway::prepare::{SeriesHasher, prepare};
use tidegate::gateway::{ScrapeOptions, Sync};
use tidegate::model::{GroupState, GroupingKey, Ttl, Unmetered};
use tidegate::store::{
    Commit, EncodedFamily, FamiliesChange, OpenError, StagedGroups as _, Writer,
};
use tidegate::time::{ManualClock, SystemClock, UnixMillis, UnixNanos};
use tokio::runtime::Runtime;

use crate::pushed::RULES;
use crate::running::{self, Push, Result, Running, push_all, scrape};
use crate::scratch::scratch;

/// Groups of ten series.
const GROUPS: usize = 1000;
/// As many as are reaped at once.
const REAPED: usize = 250;
const AT_ONCE: usize = 256;

pub(crate) fn benches(criterion: &mut Criterion) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    commit(criterion)?;
    restore(criterion, &runtime)?;
    reap(criterion, &runtime)
}

/// Batches as the lane stages and applies and the committer syncs them, of one chunk each group.
fn commit(criterion: &mut Criterion) -> Result<()> {
    let folder = scratch("parts")?;
    let store = Arc::new(running::open(folder.path())?);
    let mut writer = Writer::load(&store, |_| Ok::<_, OpenError>(()))?;
    let state = GroupState::new(UnixNanos(0), UnixMillis(0));
    let stored = (0..GROUPS).map(stored).collect::<Result<Vec<_>>>()?;
    let mut group = criterion.benchmark_group("store");
    for pushes in [1, 100, GROUPS] {
        let mut apply = || {
            for ((key, families), number) in stored.iter().take(pushes).zip(1..) {
                let change = FamiliesChange::Replace(families.iter().collect());
                writer.put(number, key, &state, change).expect("nothing is read");
            }
            writer.commit(&Commit::default())
        };
        apply()?;
        store.sync()?;
        for ((_, families), number) in stored.iter().take(pushes).zip(1..) {
            assert_eq!(store.read(number)?.map(|group| group.families).as_ref(), Some(families));
        }
        group.throughput(Throughput::Elements(pushes as u64));
        group.bench_function(format!("apply, pushes: {pushes}"), |bencher| {
            bencher.iter(&mut apply);
        });
        store.sync()?;
        group.bench_function(format!("commit, pushes: {pushes}"), |bencher| {
            bencher.iter(|| apply().and_then(|()| store.sync()));
        });
    }
    group.finish();
    Ok(())
}

/// The families of a group as they are stored.
fn stored(group: usize) -> Result<(GroupingKey, Vec<EncodedFamily>)> {
    let Push { key, families } = Push::new(group, 0);
    let prepared = prepare(&key, SeriesHasher::random(), RULES, families, &mut Unmetered)??;
    Ok((key, prepared.families.into_iter().map(|family| family.stored).collect()))
}

/// Index and view from an open store. Opening and closing it is not in the time.
fn restore(criterion: &mut Criterion, runtime: &Runtime) -> Result<()> {
    let folder = scratch("parts")?;
    let start = || -> Result<(Running, Duration)> {
        let store = running::open(folder.path())?;
        let began = Instant::now();
        let running = Running::start(store, Arc::new(SystemClock::new()), Sync::Always)?;
        Ok((running, began.elapsed()))
    };
    let restart = || -> Result<Duration> {
        let (running, elapsed) = start()?;
        assert_eq!((running.loaded.groups, running.loaded.series), (GROUPS as u64, 10_000));
        runtime.block_on(running.stop())?;
        Ok(elapsed)
    };
    let (running, _) = start()?;
    runtime.block_on(push_all(&running.gateway, None, AT_ONCE, groups(0..GROUPS)))?;
    runtime.block_on(running.stop())?;
    timed(criterion, "restore", 10 * GROUPS, restart);
    Ok(())
}

/// A bench of so many series, of which each iteration times a part itself.
fn timed(
    criterion: &mut Criterion,
    name: &str,
    series: usize,
    mut iteration: impl FnMut() -> Result<Duration>,
) {
    let mut group = criterion.benchmark_group("gateway");
    // The part that is not timed takes many times as long as the timed one.
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(series as u64));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let run = (0..iterations).map(|_| iteration()).sum::<Result<Duration>>();
            run.expect("it ran when it was checked")
        });
    });
    group.finish();
}

fn groups(groups: std::ops::Range<usize>) -> impl Iterator<Item = Push> {
    groups.map(|group| Push::new(group, 0))
}

/// Groups that expire beside others that stay. Syncs are lazy: what the disk does is measured above.
fn reap(criterion: &mut Criterion, runtime: &Runtime) -> Result<()> {
    let folder = scratch("parts")?;
    let clock = ManualClock::at(UnixNanos(1_700_000_000_000_000_000));
    let store = running::open(folder.path())?;
    let lazy = Sync::Within(Duration::from_hours(1));
    let running = Running::start(store, Arc::new(clock.clone()), lazy)?;
    let gateway = &running.gateway;
    let forever = Some(Ttl::Never);
    runtime.block_on(push_all(gateway, forever, AT_ONCE, groups(0..GROUPS)))?;
    let expiring = || async {
        let second = Duration::from_secs(1);
        let expiring = groups(GROUPS..GROUPS + REAPED);
        push_all(gateway, Some(Ttl::After(second)), AT_ONCE, expiring).await?;
        clock.advance(second);
        let began = Instant::now();
        gateway.reap().await?;
        Ok(began.elapsed())
    };
    runtime.block_on(expiring())?;
    let stored = gateway.groups(&mut Unmetered, |_| true)?.len();
    assert_eq!(stored, GROUPS, "all that expired is removed, and nothing else");
    let mut text = Vec::new();
    runtime.block_on(scrape(gateway, ScrapeOptions::default(), |frame| text.extend(frame)));
    assert_eq!(running::totals(&text), Some((GROUPS, 10 * GROUPS)));
    timed(criterion, "reap", 10 * REAPED, || runtime.block_on(expiring()));
    runtime.block_on(running.stop())
}
