//! The gateway under test, on a store in a folder of its own and with a clock that stands still.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::gateway::{Error, Gateway, LaneHandle, Options, PushMode, ScrapeOptions, Sync};
use tidegate::model::{
    GroupingKey, Histogram, Label, Metric, MetricFamily, MetricType, MetricValue, RuleTtl,
    Selector, Summary, Ttl, TtlPolicy, TtlRule,
};
use tidegate::store::{self, Store};
use tidegate::telemetry::metrics::SelfMetrics;
use tidegate::time::{Clock as _, ManualClock, UnixNanos};
use tokio::runtime::{Builder, Runtime};

use super::ops::{Family, Key, Push, PushTtl, Series};
use super::reference::{DEFAULT_TTL_MILLIS, Outcome, RULE_TTL_MILLIS, Refused, Scrape, Shown};

pub(crate) struct Real {
    folder: TempDir,
    clock: ManualClock,
    runtime: Runtime,
    /// Absent only while the gateway is being restarted.
    running: Option<(Gateway, LaneHandle)>,
}

const START: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

impl Real {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a temporary folder");
        let clock = ManualClock::at(START);
        let runtime = Builder::new_current_thread().build().expect("a runtime needs nothing");
        let running = Some(open(&folder, &clock));
        Self { folder, clock, runtime, running }
    }

    #[expect(clippy::unused_self, reason = "a real that has started has begun then")]
    pub(crate) fn start_millis(&self) -> i64 {
        START.as_millis()
    }

    fn gateway(&self) -> &Gateway {
        &self.running.as_ref().expect("it is running").0
    }

    pub(crate) fn push(&self, push: &Push) -> Outcome {
        let mode = if push.replace { PushMode::Replace } else { PushMode::Update };
        let ttl = match push.ttl {
            PushTtl::Unset => None,
            PushTtl::Never => Some(Ttl::Never),
            PushTtl::Millis(millis) => Some(Ttl::After(Duration::from_millis(millis))),
        };
        let families = push.families.iter().map(family).collect();
        let pushed = self.gateway().push(key(push.key), mode, ttl, families);
        match self.runtime.block_on(pushed) {
            Ok(expires) => Ok(expires.map(UnixNanos::as_millis)),
            Err(Error::Refused(_)) => Err(Refused),
            Err(Error::Fault(fault)) => panic!("{fault:?}"),
        }
    }

    pub(crate) fn delete(&self, key: Key) {
        self.runtime.block_on(self.gateway().delete(self::key(key))).expect("it is running");
    }

    pub(crate) fn advance(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    pub(crate) fn step_wall(&self, millis: i64) {
        self.clock.step_wall_ms(millis);
        // The reaper has the lane look at the clock at least once a minute.
        self.reap();
    }

    pub(crate) fn reap(&self) {
        self.runtime.block_on(self.gateway().reap()).expect("it is running");
    }

    fn stop(&mut self) {
        let (gateway, mut lane) = self.running.take().expect("it is running");
        self.runtime.block_on(lane.close()).expect("the store can be synced");
        drop(gateway);
        wait_until_released(&self.folder);
    }

    /// A new process has a clock of its own that starts at wall time.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let before = self.clock.now();
        self.clock = ManualClock::at(self.clock.wall());
        self.running = Some(open(&self.folder, &self.clock));
        assert_eq!(self.clock.now(), before, "gateway time goes on over a restart");
    }

    pub(crate) fn scrape(&self) -> Scrape {
        let mut exposition = self.runtime.block_on(self.gateway().scrape(ScrapeOptions::default()));
        let mut bytes = Vec::new();
        while let Some(run) = exposition.next_run() {
            bytes.extend(run.into_frames().flatten());
        }
        read(std::str::from_utf8(&bytes).expect("an exposition is UTF-8"))
    }
}

/// sled lets go of its lock on a thread of its own, some time after it was dropped; a process that
/// ends does so at once.
fn wait_until_released(folder: &TempDir) {
    let db = File::open(folder.path().join("db")).expect("there is a store");
    db.lock().expect("a file can be locked");
}

impl Drop for Real {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.stop();
        }
    }
}

fn open(folder: &TempDir, clock: &ManualClock) -> (Gateway, LaneHandle) {
    let store = store::Options { path: folder.path().to_owned(), cache_bytes: 8 << 20 };
    let store = Store::open(&store).expect("nobody else uses the folder");
    let selector = Selector::parse(r#"{job="b"}"#).expect("it is a selector");
    let ttl = |millis| Ttl::After(Duration::from_millis(millis));
    let policy = TtlPolicy {
        rules: vec![TtlRule { selector, ttl: RuleTtl::Fixed(ttl(RULE_TTL_MILLIS)) }],
        ..TtlPolicy::new(ttl(DEFAULT_TTL_MILLIS))
    };
    let options = Options {
        // What a power cut would leave is not looked at here.
        sync: Sync::Within(Duration::from_secs(3600)),
        ..Options::new(policy)
    };
    let metrics = Arc::new(SelfMetrics::new().expect("the names of the self metrics differ"));
    let clock = Arc::new(clock.clone());
    let (gateway, lane, _) =
        Gateway::start(store, options, clock, metrics).expect("what was stored can be read");
    (gateway, lane)
}

fn key(labels: Key) -> GroupingKey {
    let labels = labels.iter().map(|(name, value)| Label::new(*name, *value));
    GroupingKey::new(labels.collect()).expect("each key has a job")
}

fn family(family: &Family) -> MetricFamily {
    MetricFamily {
        name: family.name.to_owned(),
        help: family.help.map(str::to_owned),
        kind: family.kind,
        unit: None,
        metrics: family.series.iter().map(|series| metric(family, series)).collect(),
    }
}

fn metric(family: &Family, series: &Series) -> Metric {
    let (value, count) = (f64::from(series.value), Some(u64::from(series.value)));
    let value = match family.kind {
        MetricType::Counter => MetricValue::Counter { value, exemplar: None, created: None },
        MetricType::Gauge => MetricValue::Gauge(value),
        MetricType::Summary => MetricValue::Summary(Box::new(Summary {
            count,
            sum: Some(value),
            ..Summary::default()
        })),
        MetricType::Histogram | MetricType::GaugeHistogram => {
            MetricValue::Histogram(Box::new(Histogram {
                count,
                sum: Some(value),
                ..Histogram::default()
            }))
        }
        MetricType::Untyped => MetricValue::Untyped(value),
    };
    let mut labels: Vec<_> =
        series.labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
    if family.padding > 0 {
        labels.push(Label::new("padding", "x".repeat(family.padding)));
    }
    Metric { labels, value, timestamp_ms: series.timestamp.then_some(1) }
}

/// An exposition, without what the gateway says of itself.
fn read(text: &str) -> Scrape {
    let mut families: BTreeMap<String, Shown> = BTreeMap::new();
    let (mut groups, mut series) = (None, None);
    let mut current = String::new();
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').expect("a help line has a name and a text");
            help = Some((name.to_owned(), text.to_owned()));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type line has a name and a type");
            let help = help.take().map(|(of, text)| {
                assert_eq!(of, name, "a help line comes before the type line of its family");
                text
            });
            assert!(*name > *current, "{name} comes after {current}");
            name.clone_into(&mut current);
            // The help of a self metric is not compared.
            let help = help.filter(|_| !name.starts_with("tidegate_"));
            let shown = Shown { kind: kind.to_owned(), help, lines: Vec::new() };
            families.insert(name.to_owned(), shown);
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a line has a value");
            match name {
                "tidegate_groups" => groups = value.parse().ok(),
                "tidegate_series" => series = value.parse().ok(),
                _ if !name.contains("job=") => {}
                _ => {
                    let value = value.parse().expect("a value is a number");
                    let shown = families.get_mut(&current).expect("lines follow their header");
                    assert!(name.starts_with(&current), "{name} is of {current}");
                    shown.lines.push((name.to_owned(), value));
                }
            }
        }
    }
    families.retain(|_, shown| !shown.lines.is_empty());
    for shown in families.values_mut() {
        shown.lines.sort_by(|a, b| a.0.cmp(&b.0));
    }
    Scrape {
        families,
        groups: groups.expect("the gateway counts its groups"),
        series: series.expect("the gateway counts its series"),
    }
}
