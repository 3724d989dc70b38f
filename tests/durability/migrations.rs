//! A store of every past version opens, upgrades, and reads back.
//!
//! `fixtures/store/vNNNN.dump` has all that a store of that version holds, as text rather than as a
//! folder of sled's, so that it outlives a change of sled's own format; `vNNNN.expected.txt` is the
//! exposition of it. Released fixtures are never edited.
//!
//! A new version: list its migration, raise `SCHEMA_VERSION`, and run this test. It leaves the two
//! files of the new version in `target/tmp`, as [`write`] fills a store today; read them, and add
//! them to the fixtures. Where the test says that the fixture of the present version differs, the
//! layout has changed without a migration: a store that is out there would not be understood.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::exposition::text::parse;
use tidegate::gateway::{Gateway, LaneHandle, Options, PushMode, RemovedGroup, ScrapeOptions};
use tidegate::model::{
    BucketSpan, Exemplar, GroupingKey, Histogram, Label, Metric, MetricFamily, MetricType,
    MetricValue, NameRules, NativeBuckets, RemovalReason, Timestamp, Ttl, TtlPolicy, Unmetered,
};
use tidegate::store::{self, OpenError, SCHEMA_VERSION, Store};
use tidegate::telemetry::metrics::SelfMetrics;
use tidegate::time::{ManualClock, UnixNanos};
use tokio::runtime::{Builder, Runtime};

const HEADER: &str = "\
# All that a store holds. A line `tree NAME` begins a tree; below it a line for each entry, in the
# order of the keys: key and value in hex, with a space between them.
";

/// Wall time when the fixtures were written.
const WRITTEN: UnixNanos = UnixNanos(1_700_000_000_123_456_789);
/// Somebody sets the host clock back while they are.
const STEP_MILLIS: i64 = -90_000;

// === dumps ===

/// All that a closed store holds, but for what sled and the version file say of themselves.
fn dump(folder: &Path) -> String {
    let db = sled::open(folder).expect("the store is closed");
    let mut text = HEADER.to_owned();
    for tree in ["meta", "groups"] {
        writeln!(text, "tree {tree}").expect("a string grows as needed");
        for entry in &db.open_tree(tree).expect("the tree can be opened") {
            let (key, value) = entry.expect("the entry can be read");
            writeln!(text, "{} {}", hex(&key), hex(&value)).expect("a string grows as needed");
        }
    }
    close(db, folder);
    text
}

/// A store that holds what was dumped.
fn load(dump: &str, version: u32) -> TempDir {
    let folder = tempfile::tempdir().expect("there is room for a temporary folder");
    let db = sled::open(folder.path()).expect("nothing is there yet");
    let mut tree = None;
    for line in dump.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(' ').expect("a line has two parts") {
            ("tree", name) => tree = Some(db.open_tree(name).expect("the tree can be opened")),
            (key, value) => {
                let tree = tree.as_ref().expect("entries are below their tree");
                tree.insert(bytes(key), bytes(value)).expect("the entry can be written");
            }
        }
    }
    // As long as anything of sled's is there, it keeps its lock.
    drop(tree);
    close(db, folder.path());
    fs::write(folder.path().join("schema_version"), format!("{version}\n"))
        .expect("the folder is ours");
    folder
}

/// sled lets go of its lock on a thread of its own, some time after it was dropped.
fn close(db: sled::Db, folder: &Path) {
    db.flush().expect("there is room");
    drop(db);
    wait_until_released(folder);
}

fn wait_until_released(folder: &Path) {
    let db = File::open(folder.join("db")).expect("there is a store");
    db.lock().expect("a file can be locked");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs =
        hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex is ASCII"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("it is hex")).collect()
}

// === gateways ===

struct Running {
    gateway: Gateway,
    lane: LaneHandle,
    clock: ManualClock,
    runtime: Runtime,
}

impl Running {
    fn start(folder: &Path, wall: UnixNanos) -> Self {
        let options = store::Options { path: folder.to_owned(), cache_bytes: 8 << 20 };
        let store = Store::open(&options).expect("it is a store that we know");
        let clock = ManualClock::at(wall);
        let options = Options::new(TtlPolicy::new(Ttl::After(days(7))));
        let metrics = Arc::new(SelfMetrics::new().expect("the names of the self metrics differ"));
        let (gateway, lane, _) = Gateway::start(store, options, Arc::new(clock.clone()), metrics)
            .expect("what is stored can be read");
        let runtime = Builder::new_current_thread().build().expect("a runtime needs nothing");
        Self { gateway, lane, clock, runtime }
    }

    fn push(&self, labels: &[(&str, &str)], ttl: Option<Ttl>, families: Vec<MetricFamily>) -> bool {
        let key = key(labels);
        self.clock.advance(Duration::from_millis(1500));
        let pushed = self.gateway.push(key, PushMode::Replace, ttl, families, Box::new(Unmetered));
        self.runtime.block_on(pushed).is_ok()
    }

    fn delete(&self, labels: &[(&str, &str)]) {
        self.clock.advance(Duration::from_millis(1500));
        self.runtime.block_on(self.gateway.delete(key(labels))).expect("the store can be written");
    }

    /// The removed groups that can be restored.
    fn removed(&self) -> Vec<Arc<RemovedGroup>> {
        self.runtime.block_on(self.gateway.removed()).expect("the gateway runs")
    }

    /// The pushed families, without self metrics.
    fn exposition(&self) -> String {
        let mut exposition = self.runtime.block_on(self.gateway.scrape(ScrapeOptions::default()));
        let mut frames: Vec<bytes::Bytes> = Vec::new();
        while exposition.next_frames(&mut frames) {}
        let bytes = frames.concat();
        let text = String::from_utf8(bytes).expect("an exposition is UTF-8");
        let is_own = |line: &&str| {
            let name = line.strip_prefix("# HELP ").or(line.strip_prefix("# TYPE "));
            let own = ["tidegate_", "pushgateway_", "process_"];
            own.iter().any(|own| name.unwrap_or(line).starts_with(own))
        };
        text.split_inclusive('\n').filter(|line| !is_own(line)).collect()
    }

    fn stop(mut self, folder: &Path) {
        self.runtime.block_on(self.lane.close()).expect("the store can be synced");
        drop(self.gateway);
        wait_until_released(folder);
    }
}

fn key(labels: &[(&str, &str)]) -> GroupingKey {
    let labels = labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
    GroupingKey::new(labels).expect("each key has a job")
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 60 * 60)
}

/// Fills a store with something of everything.
fn write(folder: &Path) {
    let text = |body: &str| parse(body.as_bytes(), NameRules::Legacy).expect("it is text 0.0.4");
    let gateway = Running::start(folder, WRITTEN);
    let every_type = "# HELP c A counter.\n# TYPE c counter\nc{x=\"1\"} 1\nc{x=\"2\"} 1e300\n\
        # HELP g A \\\\ gauge\\nwith two lines.\n# TYPE g gauge\ng -0.5\n\
        # TYPE u untyped\nu{instance=\"own\",quote=\"\\\"\"} NaN\n\
        # TYPE s summary\ns{quantile=\"0.5\"} 1\ns{quantile=\"0.9\"} +Inf\ns_sum 3\ns_count 2\n\
        # TYPE h histogram\nh_bucket{le=\"0.1\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n\
        # TYPE f histogram\nf_bucket{le=\"1\"} 0.5\nf_count 1.5\nf_sum 2\n\
        # TYPE gh gaugehistogram\ngh_bucket{le=\"+Inf\"} 3\ngh_sum 4\ngh_count 3\n";
    assert!(gateway.push(&[("job", "types")], None, text(every_type)));
    assert!(gateway.push(&[("job", "native"), ("instance", "i")], None, vec![native()]));
    let another_help = "# HELP g Another.\n# TYPE g gauge\ng 1\n";
    assert!(gateway.push(&[("job", "never"), ("zone", "")], Some(Ttl::Never), text(another_help)));
    let hour = Ttl::After(Duration::from_secs(3600));
    assert!(gateway.push(&[("job", "hour"), ("path", "a/b ä")], Some(hour), text("u 1\n")));
    assert!(gateway.push(&[("job", "empty")], None, vec![]));
    gateway.clock.step_wall_ms(STEP_MILLIS);
    let many = lines(300, |n| format!("many_{n}{{n=\"{n}\"}} {n}\n"));
    assert!(gateway.push(&[("job", "chunked")], None, text(&many)));
    let wide = lines(400, |n| format!("wide{{n=\"{n}\"}} {n}\n"));
    assert!(gateway.push(&[("job", "wide")], None, text(&wide)));
    assert!(!gateway.push(&[("job", "types")], None, text("g 1 1000\n")));
    assert!(!gateway.push(&[("job", "refused")], None, text("# TYPE g counter\ng 1\n")));
    let gone = [("job", "gone"), ("zone", "x")];
    assert!(gateway.push(&gone, Some(hour), text("u{n=\"1\"} 1\nu{n=\"2\"} 2\n")));
    gateway.delete(&gone);
    gateway.stop(folder);
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().concat()
}

/// Families that only protobuf can express.
fn native() -> MetricFamily {
    let created = Some(Timestamp { seconds: 1_600_000_000, nanos: 5 });
    let exemplar = Exemplar { labels: vec![Label::new("t", "x")], value: 0.5, timestamp: created };
    let buckets = NativeBuckets {
        spans: vec![BucketSpan { offset: -2, length: 2 }],
        deltas: vec![1, 1],
        counts: vec![],
    };
    let histogram = Histogram {
        count: Some(4),
        sum: Some(1.25),
        created,
        schema: Some(3),
        zero_threshold: Some(1e-128),
        zero_count: Some(1),
        positive: buckets,
        exemplars: vec![exemplar],
        ..Histogram::default()
    };
    let value = MetricValue::Histogram(Box::new(histogram));
    MetricFamily {
        name: "native".into(),
        help: Some(String::new()),
        kind: MetricType::Histogram,
        unit: Some("seconds".into()),
        metrics: vec![Metric { labels: vec![Label::new("x", "y")], value, timestamp_ms: None }],
    }
}

// === the tests ===

fn fixture(version: u32, kind: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store");
    folder.join(format!("v{version:04}.{kind}"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}: each version has its fixture, see the head of this test",
            path.display()
        )
    })
}

/// The wall time at which fixtures are read: some minutes after they were written.
fn reading() -> UnixNanos {
    UnixNanos(WRITTEN.0 + (STEP_MILLIS + 300_000) * 1_000_000)
}

/// The values of the label `job` that an exposition has.
fn jobs(exposition: &str) -> String {
    let jobs: BTreeSet<&str> = exposition
        .lines()
        .filter_map(|line| line.split_once("job=\"")?.1.split_once('"'))
        .map(|(job, _)| job)
        .collect();
    jobs.into_iter().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_store_of_each_version_is_read_as_it_was_written() {
    for version in 1..=SCHEMA_VERSION {
        let expected = fixture(version, "expected.txt");
        let folder = load(&read(&fixture(version, "dump")), version);
        let gateway = Running::start(folder.path(), reading());
        let exposition = gateway.exposition();
        assert!(exposition == read(&expected), "{}, but read:\n{exposition}", expected.display());
        let removed = gateway.removed();
        assert_eq!(removed.len(), usize::from(version >= 3), "version {version}");
        for gone in removed {
            assert_eq!((gone.reason, gone.key.get("job")), (RemovalReason::Deleted, Some("gone")));
            gateway
                .runtime
                .block_on(gateway.gateway.restore_removed(gone))
                .expect("it is not there");
            let back = "u{instance=\"\",job=\"gone\",n=\"2\",zone=\"x\"} 2\n";
            assert!(gateway.exposition().contains(back), "{}", gateway.exposition());
            gateway.delete(&[("job", "gone"), ("zone", "x")]);
        }
        for (days, left) in [
            (0, "chunked empty hour native never refused types wide"),
            (1, "chunked empty native never refused types wide"),
            (7, "never"),
        ] {
            gateway.clock.advance(self::days(days));
            assert_eq!(jobs(&gateway.exposition()), left, "version {version}, {days} days on");
        }
        gateway.stop(folder.path());
    }
}

#[test]
fn a_store_written_now_is_laid_out_as_the_fixture_of_the_present_version() {
    let folder = tempfile::tempdir().expect("there is room for a temporary folder");
    write(folder.path());
    let dumped = dump(folder.path());
    let gateway = Running::start(folder.path(), reading());
    let exposition = gateway.exposition();
    gateway.stop(folder.path());
    let written = [("dump", dumped), ("expected.txt", exposition)].map(|(kind, text)| {
        let path = fixture(SCHEMA_VERSION, kind);
        let name = path.file_name().expect("a fixture has a name");
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&copy, &text).expect("cargo makes the folder");
        (path, copy, text)
    });
    for (path, copy, text) in written {
        assert!(read(&path) == text, "{} differs from {}", path.display(), copy.display());
    }
}

#[test]
fn a_store_of_an_unknown_version_is_refused_and_left_alone() {
    let folder = load(&read(&fixture(SCHEMA_VERSION, "dump")), SCHEMA_VERSION + 1);
    let files = || -> BTreeMap<_, _> {
        let entries = fs::read_dir(folder.path()).expect("the folder is ours");
        let paths = entries.map(|entry| entry.expect("the folder is ours").path());
        paths
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(path).ok()))
            .collect()
    };
    let before = files();
    let options = store::Options { path: folder.path().to_owned(), cache_bytes: 8 << 20 };
    let error = Store::open(&options).expect_err("its version is unknown");
    let stored = SCHEMA_VERSION + 1;
    assert!(matches!(error, OpenError::Newer { stored: s, .. } if s == stored), "{error}");
    assert!(files() == before, "the files have changed");
}
