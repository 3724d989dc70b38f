//! A gateway in this process, without HTTP, and the groups that it is loaded with.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate::exposition::text::parse;
use tidegate::gateway::{Gateway, LaneHandle, Loaded, Options, PushMode, ScrapeOptions, Sync};
use tidegate::model::{GroupingKey, Label, MetricFamily, NameRules, Ttl, TtlPolicy, Unmetered};
use tidegate::store::{self, OpenError, Store};
use tidegate::telemetry::metrics::SelfMetrics;
use tidegate::time::Clock;
use tokio::task::JoinSet;

use crate::body::body;

/// That of the binary: a good part of a push is in it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Anything that goes wrong ends the run.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The TTL where a push sets none.
pub(crate) const TTL: Ttl = Ttl::After(Duration::from_hours(24));

/// A running gateway.
pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    /// The groups that were there when it started.
    #[allow(dead_code, reason = "one bench of two reads it")]
    pub(crate) loaded: Loaded,
    lane: LaneHandle,
    folder: PathBuf,
}

/// The families of a request: ten one-sample families of a group.
pub(crate) struct Push {
    pub(crate) key: GroupingKey,
    pub(crate) families: Vec<MetricFamily>,
}

impl Running {
    /// Restores what is stored.
    pub(crate) fn start(store: Store, clock: Arc<dyn Clock>, sync: Sync) -> Result<Self> {
        let folder = store.path().ok_or("it lies in a folder")?.to_owned();
        let options = Options { sync, ..Options::new(TtlPolicy::new(TTL)) };
        let metrics = Arc::new(SelfMetrics::new()?);
        let (gateway, lane, loaded) = Gateway::start(store, options, clock, metrics)?;
        Ok(Self { gateway, loaded, lane, folder })
    }

    /// Stops in order. The folder can be opened again then.
    pub(crate) async fn stop(self) -> Result<()> {
        let Self { gateway, mut lane, folder, .. } = self;
        lane.close().await?;
        gateway.close()?;
        // sled lets go of its lock on a thread of its own, some time after it was dropped.
        Ok(File::open(folder.join("db"))?.lock()?)
    }
}

/// Opens a store, with the cache that is the default of the settings.
pub(crate) fn open(folder: &Path) -> std::result::Result<Store, OpenError> {
    Store::open(&store::Options { path: folder.to_owned(), cache_bytes: 64 << 20 })
}

impl Push {
    /// A push to a group; each round brings other values.
    pub(crate) fn new(group: usize, round: usize) -> Self {
        let key =
            [Label::new("job", "backup"), Label::new("instance", format!("host-{group}"))].into();
        Self {
            key: GroupingKey::new(key).expect("it has a job"),
            families: parse(body(group, round).as_bytes(), NameRules::Legacy)
                .expect("what the benches push is well-formed"),
        }
    }
}

/// Pushes, so many at once, so that they share commits.
pub(crate) async fn push_all(
    gateway: &Gateway,
    ttl: Option<Ttl>,
    at_once: usize,
    pushes: impl Iterator<Item = Push>,
) -> Result<()> {
    let mut under_way = JoinSet::new();
    for Push { key, families } in pushes {
        if under_way.len() >= at_once
            && let Some(pushed) = under_way.join_next().await
        {
            pushed??;
        }
        let gateway = gateway.clone();
        under_way.spawn(async move {
            gateway.push(key, PushMode::Replace, ttl, families, Box::new(Unmetered)).await
        });
    }
    while let Some(pushed) = under_way.join_next().await {
        pushed??;
    }
    Ok(())
}

/// Scrapes without an encoding, and hands over each frame that would be sent. Returns the length
/// that was told before.
pub(crate) async fn scrape(
    gateway: &Gateway,
    options: ScrapeOptions,
    mut take: impl FnMut(&[u8]),
) -> Option<u64> {
    let mut exposition = gateway.scrape(options).await;
    let len = exposition.len();
    let mut frames: Vec<bytes::Bytes> = Vec::new();
    while exposition.next_frames(&mut frames) {
        frames.drain(..).for_each(|frame| take(&frame));
    }
    frames.drain(..).for_each(|frame| take(&frame));
    len
}

/// Groups and series that an exposition in text says are stored.
pub(crate) fn totals(exposition: &[u8]) -> Option<(usize, usize)> {
    let value = |name: &str| {
        let mut lines = exposition.split(|byte| *byte == b'\n');
        let value = lines.find_map(|line| line.strip_prefix(name.as_bytes()))?;
        std::str::from_utf8(value).ok()?.parse().ok()
    };
    Some((value("tidegate_groups ")?, value("tidegate_series ")?))
}
