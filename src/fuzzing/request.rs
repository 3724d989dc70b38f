//! Whole requests to a gateway with small limits: whatever they are, the next scrape is whole, and
//! what is shown is shown again once the gateway has restarted.
//!
//! An input is readable, where its bodies are: requests, between lines of `====`, each a line of
//! method and target, headers, an empty line, and the body. `WAIT 60` lets a minute pass, `IMPORT`
//! imports its body as a persistence file. A first line `utf8` asks the gateway that takes all that
//! can be taken.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::rendered;
use crate::config::Config;
use crate::exposition::{persistence, protobuf, text};
use crate::gateway::{Gateway, HistoryLimits, LaneHandle, Limits, Options as GatewayOptions, Sync};
use crate::http::Options;
use crate::http::in_memory::{self, Answer, InMemory};
use crate::model::{MetricFamily, NameRules, Ttl, TtlPolicy};
use crate::store::{self, Store};
use crate::telemetry::metrics::SelfMetrics;
use crate::time::{ManualClock, UnixNanos};

/// A gateway that serves many inputs: to start one takes longer than to ask it.
struct Real {
    runtime: Runtime,
    folder: TempDir,
    clock: ManualClock,
    utf8: bool,
    /// Self metrics.
    own: HashSet<String>,
    /// Absent only while it is being restarted.
    running: Option<Running>,
    /// How many inputs it has served.
    used: u32,
}

struct Running {
    gateway: Gateway,
    lane: LaneHandle,
    http: InMemory,
}

const START: UnixNanos = UnixNanos(1_700_000_000_000_000_000);
/// One in so many inputs is looked at in every format, and one in so many over a restart. The first
/// always is, so that what is found is found again.
const FORMATS_EVERY: u32 = 8;
const RESTART_EVERY: u32 = 64;

/// Each name as it is, in text.
const TEXT: &[u8] = b"text/plain;version=0.0.4;escaping=allow-utf-8";
const PROTOBUF: &[u8] =
    b"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
const OTHERS: [&[u8]; 4] = [
    b"application/openmetrics-text;version=1.0.0",
    b"text/plain;version=0.0.4;escaping=values",
    b"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
    b"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=compact-text",
];

thread_local! {
    static REAL: RefCell<[Option<Real>; 2]> = const { RefCell::new([None, None]) };
}

/// Requests, one after another.
pub fn request(data: &[u8]) {
    let (utf8, requests) = match data.strip_prefix(b"utf8\n") {
        Some(rest) => (true, rest),
        None => (false, data),
    };
    let of = |reals: &mut [Option<Real>; 2], real| {
        let [legacy, all] = reals;
        std::mem::replace(if utf8 { all } else { legacy }, real)
    };
    let real = REAL.with_borrow_mut(|reals| of(reals, None));
    let mut real = real.unwrap_or_else(|| Real::start(utf8));
    real.serve(requests);
    // One that has failed is not used again.
    REAL.with_borrow_mut(|reals| of(reals, Some(real)));
}

impl Real {
    fn start(utf8: bool) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let clock = ManualClock::at(START);
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime needs nothing");
        let running = Some(Running::start(&folder, &clock, utf8));
        let own = SelfMetrics::new().expect("their names differ");
        let own = own.types().map(|(name, _)| name).collect();
        Self { runtime, folder, clock, utf8, own, running, used: 0 }
    }

    fn serve(&mut self, requests: &[u8]) {
        self.runtime.block_on(self.running().gateway.wipe()).expect("the store can be written");
        for request in split(requests, b"\n====\n") {
            let (head, body) = halves(request, b"\n\n");
            if let Some(seconds) = head.strip_prefix(b"WAIT ") {
                let seconds = std::str::from_utf8(seconds).ok().and_then(|text| text.parse().ok());
                self.clock.advance(Duration::from_secs(seconds.unwrap_or(1_u32).into()));
            } else if head == b"IMPORT" {
                self.import(body);
            } else {
                self.ask(head, body);
            }
        }
        let shown = self.scrape();
        if self.used.is_multiple_of(FORMATS_EVERY) {
            self.scrape_otherwise();
        }
        if self.used.is_multiple_of(RESTART_EVERY) {
            self.restart();
            assert_eq!(lines(&self.scrape()), lines(&shown), "over a restart");
        }
        self.used += 1;
    }

    fn import(&self, file: &[u8]) {
        let Ok(groups) = persistence::read(file) else { return };
        for group in groups {
            // Pushes that cannot be stored are left out.
            let _ = self.runtime.block_on(self.running().gateway.import(group, true));
        }
    }

    fn ask(&self, head: &[u8], body: &[u8]) {
        let mut lines = split(head, b"\n");
        let (method, target) = halves(lines.next().unwrap_or_default(), b" ");
        let headers: Vec<_> = lines.map(|line| halves(line, b": ")).collect();
        let served = self.running().http.serve(method, target, &headers, body);
        let Some(Answer { status, body }) = self.runtime.block_on(served) else { return };
        assert!(status != 500, "{}", String::from_utf8_lossy(&body));
    }

    fn get(&self, accept: &[u8]) -> Vec<u8> {
        let headers: [(&[u8], &[u8]); 1] = [(b"accept", accept)];
        let served = self.running().http.serve(b"GET", b"/metrics", &headers, b"");
        let answer = self.runtime.block_on(served).expect("it is a request");
        assert_eq!(answer.status, 200);
        answer.body
    }

    /// The pushed families in a scrape: families that differ, of series that differ.
    fn scrape(&self) -> Vec<MetricFamily> {
        let body = self.get(TEXT);
        let mut families = text::parse(&body, NameRules::Utf8)
            .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&body)));
        for family in &families {
            let mut seen = HashSet::new();
            for metric in &family.metrics {
                let mut labels = metric.labels.clone();
                labels.sort();
                assert!(seen.insert(labels), "{} has a series twice: {metric:?}", family.name);
            }
        }
        families.retain(|family| !self.own.contains(&family.name));
        families
    }

    fn scrape_otherwise(&self) {
        protobuf::decode(&self.get(PROTOBUF), NameRules::Utf8).expect("a scraper can read it");
        for accept in OTHERS {
            self.get(accept);
        }
    }

    fn restart(&mut self) {
        let Running { gateway, mut lane, http } = self.running.take().expect("it is running");
        self.runtime.block_on(lane.close()).expect("the store can be synced");
        drop(http);
        gateway.close().expect("nobody else has the store");
        // sled lets go of its file some time later, on a thread of its own.
        let file = File::open(self.folder.path().join("db")).expect("there is a store");
        file.lock().expect("a file can be locked");
        drop(file);
        self.running = Some(Running::start(&self.folder, &self.clock, self.utf8));
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it is running")
    }
}

impl Running {
    fn start(folder: &TempDir, clock: &ManualClock, utf8: bool) -> Self {
        let path = folder.path().to_owned();
        let store = Store::open(&store::Options { path, cache_bytes: 1 << 20 });
        let options = GatewayOptions {
            history: HistoryLimits { groups: 4, bytes: 64 << 10 },
            // Power cuts are not tested here.
            sync: Sync::Within(Duration::from_hours(1)),
            limits: LIMITS,
            names: if utf8 { NameRules::Utf8 } else { NameRules::Legacy },
            consistency_check: !utf8,
            expose_deadline: utf8,
            ..GatewayOptions::new(TtlPolicy::new(Ttl::After(Duration::from_mins(1))))
        };
        let metrics = Arc::new(SelfMetrics::new().expect("their names differ"));
        let clock = Arc::new(clock.clone());
        let store = store.expect("nobody else uses the folder");
        let (gateway, lane, _) = Gateway::start(store, options, clock, Arc::clone(&metrics))
            .expect("what was stored can be read");
        let options = Options { admin: utf8, openmetrics: utf8, ..in_memory::options("") };
        let parse_ttl = |text: &str| {
            let config = Config::from_toml(text).map_err(|problems| problems.to_string())?;
            Ok((config.gateway.ttl, config.warnings))
        };
        let http = InMemory::new(gateway.clone(), options, metrics, Arc::new(parse_ttl));
        Self { gateway, lane, http }
    }
}

const LIMITS: Limits = Limits {
    group_bytes: 1 << 20,
    rendered_bytes: 1 << 24,
    series_per_push: 40,
    series_per_group: 60,
    series: 100,
    groups: 6,
    labels_per_series: 6,
    label_name_bytes: 32,
    label_value_bytes: 64,
    metric_name_bytes: 48,
    queue: 16,
};

/// The parts between separators.
fn split<'a>(text: &'a [u8], separator: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let ends = memmem::find_iter(text, separator).map(|at| (at, at + separator.len()));
    let ends: Vec<_> = ends.chain([(text.len(), text.len())]).collect();
    let mut start = 0;
    ends.into_iter().filter_map(move |(end, next)| {
        let part = text.get(start..end);
        start = next;
        part
    })
}

/// The parts before and behind the first separator.
fn halves<'a>(text: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    match memmem::find(text, separator) {
        Some(at) => text.split_at_checked(at).map_or((text, &[]), |(before, rest)| {
            (before, rest.get(separator.len()..).unwrap_or_default())
        }),
        None => (text, &[]),
    }
}

/// The lines of an exposition, in whichever order.
fn lines(families: &[MetricFamily]) -> Vec<String> {
    let text = rendered(families);
    let mut lines: Vec<_> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
