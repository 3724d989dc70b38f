//! The gateway under test, on a store in a folder of its own and with a clock that stands still.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::gateway::preview::TtlDecision;
use tidegate::gateway::{
    Downtime, Error, Expires, Gateway, LaneHandle, Operation, Options, PushMode, ScrapeOptions,
    Sync,
};
use tidegate::model::{
    AutoTtl, GroupingKey, Histogram, Label, Metric, MetricFamily, MetricType, MetricValue, Policy,
    RuleTtl, Selector, Summary, Ttl, TtlPolicy, TtlRule, Unmetered,
};
use tidegate::store::{self, Store};
use tidegate::telemetry::metrics::SelfMetrics;
use tidegate::time::{Clock as _, ManualClock, UnixNanos};
use tokio::runtime::{Builder, Runtime};

use super::ops::{Family, Key, Push, PushTtl, Series};
use super::reference::{Deadlines, Outcome, Refused, Scrape, Shown};

pub(crate) struct Real {
    folder: TempDir,
    clock: ManualClock,
    runtime: Runtime,
    pause: bool,
    policy: usize,
    /// Absent only while the gateway is being restarted.
    running: Option<(Gateway, LaneHandle)>,
}

const START: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

impl Real {
    pub(crate) fn start(pause: bool) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a temporary folder");
        let clock = ManualClock::at(START);
        let runtime = Builder::new_current_thread().build().expect("a runtime needs nothing");
        let running = Some(open(&folder, &clock, pause, 0));
        Self { folder, clock, runtime, pause, policy: 0, running }
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
        let families = push.families.iter().map(family).collect();
        let pushed =
            self.gateway().push(key(push.key), mode, ttl(push.ttl), families, Box::new(Unmetered));
        outcome(self.runtime.block_on(pushed))
    }

    pub(crate) fn wipe(&self) {
        self.runtime.block_on(self.gateway().wipe()).expect("it is running");
    }

    pub(crate) fn set_ttl(&self, key: Key, ttl: PushTtl) {
        self.change(key, Operation::Override(self::ttl(ttl)));
    }

    pub(crate) fn touch(&self, key: Key) {
        self.change(key, Operation::Touch);
    }

    fn change(&self, key: Key, operation: Operation) {
        let changed = self.gateway().change(vec![self::key(key)], operation);
        self.runtime.block_on(changed).expect("it is running");
    }

    pub(crate) fn set_policy(&mut self, policy: usize) {
        self.policy = policy;
        let set = self.gateway().set_policy(self::policy(policy), Vec::new());
        self.runtime.block_on(set).expect("it is running");
    }

    /// Restores the latest removed group under a key; `None` if there is none.
    pub(crate) fn restore(&self, key: Key) -> Option<Outcome> {
        let key = self::key(key);
        let removed = self.runtime.block_on(self.gateway().removed()).expect("it is running");
        let latest = removed.into_iter().find(|removed| removed.key == key)?;
        Some(outcome(self.runtime.block_on(self.gateway().restore_removed(latest))))
    }

    /// When each group expires.
    pub(crate) fn deadlines(&self) -> Deadlines {
        self.foretold(|_| true, &self.gateway().policy())
    }

    /// Which groups are said to stay for so long.
    pub(crate) fn preview(&self, millis: u64) -> Deadlines {
        let at = self.gateway().now().saturating_add(Duration::from_millis(millis));
        self.foretold(|fate| !fate.has_expired(at), &self.gateway().policy())
    }

    /// When each group would expire under another policy, without those that would expire at once.
    pub(crate) fn preview_policy(&self, policy: usize) -> Deadlines {
        let now = self.gateway().now();
        let proposed = Policy { ttl: Arc::new(self::policy(policy)), ..self.gateway().policy() };
        self.foretold(|fate| !fate.has_expired(now), &proposed)
    }

    fn foretold(&self, stays: impl Fn(&TtlDecision) -> bool, policy: &Policy) -> Deadlines {
        let groups = self.gateway().groups(&mut Unmetered, |_| true).expect("nothing is counted");
        let fates = groups.iter().map(|group| (group, TtlDecision::of(group, policy)));
        fates
            .filter(|(_, fate)| stays(fate))
            .map(|(group, fate)| {
                let labels = group.key.labels().map(|(name, value)| (name.into(), value.into()));
                (labels.collect(), self.gateway().to_wall(fate.deadline).map(UnixNanos::as_millis))
            })
            .collect()
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

    pub(crate) fn restart(&mut self) {
        self.go_down(0);
    }

    /// A new process has a clock of its own that starts at wall time.
    pub(crate) fn go_down(&mut self, millis: u64) {
        self.stop();
        let down = Duration::from_millis(millis);
        let before = self.clock.now();
        self.clock.advance(down);
        self.clock = ManualClock::at(self.clock.wall());
        self.running = Some(open(&self.folder, &self.clock, self.pause, self.policy));
        let expected = if self.pause { before } else { before.saturating_add(down) };
        assert_eq!(self.clock.now(), expected, "gateway time goes on over a restart");
    }

    pub(crate) fn scrape(&self) -> Scrape {
        let mut exposition = self.runtime.block_on(self.gateway().scrape(ScrapeOptions::default()));
        let mut frames: Vec<bytes::Bytes> = Vec::new();
        while exposition.next_frames(&mut frames) {}
        let bytes = frames.concat();
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

fn ttl(ttl: PushTtl) -> Option<Ttl> {
    match ttl {
        PushTtl::Unset => None,
        PushTtl::Never => Some(Ttl::Never),
        PushTtl::Millis(millis) => Some(Ttl::After(Duration::from_millis(millis))),
    }
}

fn outcome(result: Result<Expires, Error>) -> Outcome {
    match result {
        Ok(expires) => Ok(expires.map(UnixNanos::as_millis)),
        Err(Error::Refused(_)) => Err(Refused),
        Err(Error::Fault(fault)) => panic!("{fault:?}"),
    }
}

/// The policies that [`super::reference::Reference`] knows by the same numbers.
fn policy(number: usize) -> TtlPolicy {
    let after = |seconds| Ttl::After(Duration::from_secs(seconds));
    let rule = |selector, ttl| {
        let selector = Selector::parse(selector).expect("it is a selector");
        TtlRule { selector, ttl }
    };
    let (rules, default) = match number {
        0 => (vec![rule(r#"{job="b"}"#, RuleTtl::Fixed(after(12)))], after(30)),
        1 => {
            let (min, max) = (Duration::from_secs(5), Duration::from_secs(20));
            let auto = RuleTtl::Auto(AutoTtl { missed: 2, min, max });
            (vec![rule(r#"{zone="z"}"#, auto)], after(20))
        }
        _ => {
            let never = RuleTtl::Fixed(Ttl::Never);
            let all = rule(r#"{job=~".+"}"#, RuleTtl::Fixed(after(8)));
            (vec![rule(r#"{job="b",zone=""}"#, never), all], Ttl::Never)
        }
    };
    TtlPolicy { rules, ..TtlPolicy::new(default) }
}

fn open(
    folder: &TempDir,
    clock: &ManualClock,
    pause: bool,
    policy: usize,
) -> (Gateway, LaneHandle) {
    let store = store::Options { path: folder.path().to_owned(), cache_bytes: 8 << 20 };
    let store = Store::open(&store).expect("nobody else uses the folder");
    let options = Options {
        // Power cuts are not tested here.
        sync: Sync::Within(Duration::from_secs(3600)),
        downtime: if pause { Downtime::Pause } else { Downtime::Count },
        ..Options::new(self::policy(policy))
    };
    let metrics = Arc::new(SelfMetrics::new().expect("the names of the self metrics differ"));
    let clock = Arc::new(clock.clone());
    let (gateway, lane, _) =
        Gateway::start(store, options, clock, metrics).expect("the stored groups can be read");
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
