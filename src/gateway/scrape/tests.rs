//! The stream of a scrape, next to an exposition that is rendered from scratch.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use flate2::read::GzDecoder;
use proptest::prelude::*;
use slab::Slab;

use super::*;
use crate::exposition::protobuf::encode;
use crate::exposition::text::parse;
use crate::gateway::index::FamilyId;
use crate::gateway::segment::Rendered;
use crate::gateway::view::{Change, GroupView, View};
use crate::model::GroupState;
use crate::model::{GroupingKey, Label, Metric, MetricType, MetricValue, NameRules};
use crate::time::{UnixMillis, UnixNanos};

const STAMPS: [&str; 3] =
    ["push_expiry_time_seconds", "push_failure_time_seconds", "push_time_seconds"];
/// Names before, between and after the stamps; the gateway has the second itself.
const NAMES: [&str; 6] = ["a", "own", "n", "push_sum", "x", "z"];
/// A metric that stays as it is, one that changes, and one that is NaN and so equal to nothing.
const OWN: [&str; 3] = ["b", "own", "zz"];

#[derive(Clone, Debug)]
enum Op {
    /// A group is pushed to: numbers of families, with the lengths of their lines.
    Push(GroupId, u64, Vec<(usize, usize)>),
    /// A group loses families.
    Leave(GroupId, BTreeSet<usize>),
    Header(usize),
    Remove(BTreeSet<GroupId>),
    Scrape(u64),
}

/// A view, with the numbers of its families as the index gives them, and what it should show.
struct Bench {
    view: View,
    ids: Slab<()>,
    families: BTreeMap<&'static str, Family>,
    groups: BTreeMap<GroupId, Group>,
    cache: Arc<ScrapeCache>,
    changes: usize,
}

struct Family {
    id: FamilyId,
    header: String,
}

#[derive(Default)]
struct Group {
    deadline: u64,
    stamps: [String; 3],
    lines: BTreeMap<&'static str, String>,
}

impl Bench {
    fn new() -> Self {
        let stamps = STAMPS.map(|name| (name, "stamp"));
        Self {
            view: View::new(stamps),
            ids: Slab::new(),
            families: BTreeMap::new(),
            groups: BTreeMap::new(),
            cache: Arc::default(),
            changes: 0,
        }
    }

    fn header(&mut self, name: &'static str) -> FamilyId {
        let ids = &mut self.ids;
        let family = self.families.entry(name).or_insert_with(|| {
            let id = FamilyId::try_from(ids.insert(())).unwrap();
            Family { id, header: String::new() }
        });
        self.changes += 1;
        let help = self.changes.to_string();
        family.header = format!("# HELP {name} {help}\n# TYPE {name} gauge\n");
        self.view.publish(Change::Header {
            family: family.id,
            name: name.into(),
            kind: MetricType::Gauge,
            native: false,
            help: Some(help.into()),
            help_giver: None,
        });
        family.id
    }

    fn push(&mut self, id: GroupId, deadline: u64, families: &[(usize, usize)]) {
        self.changes += 1;
        let version = self.changes;
        let mut changed = Vec::new();
        for (at, bytes) in families {
            let name = NAMES[*at];
            let known = self.families.get(name).map(|family| family.id);
            let family = known.unwrap_or_else(|| self.header(name));
            // None at all: a family without a series.
            let mut lines = String::new();
            if *bytes > 0 {
                lines =
                    format!("{name}{{group=\"{id}\",x=\"{}\"}} {version}\n", "x".repeat(*bytes));
            }
            changed.push((family, rendered(&lines)));
            self.groups.entry(id).or_default().lines.insert(name, lines);
        }
        let group = self.groups.entry(id).or_default();
        group.deadline = deadline;
        group.stamps = STAMPS.map(|name| format!("{name}{{group=\"{id}\"}} {version}\n"));
        let stamps = group.stamps.clone().map(Bytes::from);
        let deadline = UnixMillis(deadline);
        let state = GroupState { deadline, ..GroupState::new(UnixNanos(0), UnixMillis(0)) };
        let group = GroupView {
            number: u64::from(id),
            key: GroupingKey::new(vec![Label::new("job", id.to_string())]).unwrap(),
            state: Arc::new(state),
            deadline,
            families: 0,
            series: 0,
            bytes: 0,
        };
        self.view.publish(Change::Group { id, group, stamps, lines: changed });
    }

    fn leave(&mut self, id: GroupId, families: &BTreeSet<usize>) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        for name in families.iter().map(|at| NAMES[*at]) {
            if group.lines.remove(name).is_some() {
                let family = self.families[name].id;
                self.view.publish(Change::MemberRemoved { id, family });
            }
        }
        self.forget_families();
    }

    fn remove(&mut self, ids: &BTreeSet<GroupId>) {
        let mut groups = Vec::new();
        for id in ids {
            let Some(group) = self.groups.remove(id) else { continue };
            groups.push((*id, group.lines.keys().map(|name| self.families[name].id).collect()));
        }
        self.view.publish(Change::GroupsRemoved { groups });
        self.forget_families();
    }

    /// The numbers of families that no group has are used again.
    fn forget_families(&mut self) {
        let Self { families, groups, ids, .. } = self;
        families.retain(|name, family| {
            let has = groups.values().any(|group| group.lines.contains_key(name));
            if !has {
                ids.remove(family.id as usize);
            }
            has
        });
    }

    fn exposition(&self, now: u64, options: ScrapeOptions) -> Exposition {
        let snapshot = self.view.snapshot(UnixMillis(now));
        Exposition::new(snapshot, self.own(), options, false, Arc::clone(&self.cache))
    }

    fn own_value(&self, name: &str) -> String {
        match name {
            "b" => "7".to_owned(),
            "own" => self.changes.to_string(),
            _ => "NaN".to_owned(),
        }
    }

    fn own(&self) -> Vec<MetricFamily> {
        let family = |name: &str| {
            let value = MetricValue::Gauge(self.own_value(name).parse().unwrap());
            MetricFamily {
                name: name.to_owned(),
                help: Some("own".into()),
                kind: MetricType::Gauge,
                metrics: vec![Metric { labels: vec![], value, timestamp_ms: None }],
                ..MetricFamily::default()
            }
        };
        OWN.map(family).into()
    }

    /// The exposition, from scratch.
    fn expected(&self, now: u64) -> String {
        let alive = || self.groups.values().filter(|group| group.deadline > now);
        let mut shown: BTreeMap<&str, (String, String)> = BTreeMap::new();
        for (name, family) in &self.families {
            let lines: String =
                alive().filter_map(|group| group.lines.get(name).cloned()).collect();
            shown.insert(name, (family.header.clone(), lines));
        }
        for (at, name) in STAMPS.into_iter().enumerate() {
            let lines = alive().map(|group| group.stamps[at].clone()).collect();
            let header = format!("# HELP {name} stamp\n# TYPE {name} gauge\n");
            shown.insert(name, (header, lines));
        }
        shown.retain(|_, (_, lines)| !lines.is_empty());
        for name in OWN {
            let (header, lines) = shown.entry(name).or_default();
            *header = format!("# HELP {name} own\n# TYPE {name} gauge\n");
            lines.insert_str(0, &format!("{name} {}\n", self.own_value(name)));
        }
        shown.into_values().map(|(header, lines)| header + &lines).collect()
    }

    fn check(&self, now: u64) {
        let expected = self.expected(now);
        let mut exposition = self.exposition(now, ScrapeOptions::default());
        let len = exposition.len();
        let expired = self.groups.values().any(|group| group.deadline <= now);
        assert!(len.is_some() || expired, "nothing has expired, so the length can be told");
        let mut text = Vec::new();
        while let Some(run) = exposition.next_run() {
            let run_len = run.len();
            let frames: Vec<_> = run.into_frames().collect();
            assert_eq!(frames.iter().map(Bytes::len).sum::<usize>(), run_len);
            text.extend(frames.concat());
        }
        assert_same(&text, &expected);
        assert!(len.is_none_or(|len| len == text.len() as u64), "{len:?}, not {}", text.len());
        assert_same(&self.gunzipped(now).0, &expected);
        assert_same(&self.sent(now, ContentEncoding::Identity), &expected);
        assert_same(&read_gzip(&self.sent(now, ContentEncoding::Gzip)), &expected);
        let zstd = self.sent(now, ContentEncoding::Zstd);
        assert_same(&::zstd::decode_all(&zstd[..]).unwrap(), &expected);
        assert!(self.protobuf(now) == encoded(&expected), "the messages say the same");
    }

    fn protobuf(&self, now: u64) -> Vec<u8> {
        let format = ScrapeFormat { format: Format::Protobuf, escaping: Escaping::AllowUtf8 };
        let mut exposition = self.exposition(now, ScrapeOptions { format, ..Default::default() });
        let mut bytes = Vec::new();
        while exposition.next_frames(&mut Flat(&mut bytes)) {}
        bytes
    }

    /// The exposition compressed, and decompressed. Says which of its runs were in the cache.
    fn gunzipped(&self, now: u64) -> (Vec<u8>, Vec<bool>) {
        let options = ScrapeOptions { encoding: ContentEncoding::Gzip, ..ScrapeOptions::default() };
        let mut exposition = self.exposition(now, options);
        let mut bytes = gzip::HEADER.to_vec();
        let (mut member, mut hits) = (Member::default(), Vec::new());
        while let Some(run) = exposition.next_run() {
            let before = self.cache.compressed_runs();
            let compressed = exposition.compressed(&run, ContentEncoding::Gzip);
            let Compressed::Gzip(deflated) = compressed else { panic!() };
            // A run that will not come again is not kept, and is no hit either.
            let kept = run.generations().is_some();
            hits.push(kept && self.cache.compressed_runs() == before);
            bytes.extend(member.join(&deflated));
        }
        exposition.finish();
        bytes.extend(member.finish());
        (read_gzip(&bytes), hits)
    }

    /// The exposition in an encoding, as it is sent.
    fn sent(&self, now: u64, encoding: ContentEncoding) -> Vec<u8> {
        let options = ScrapeOptions { encoding, ..ScrapeOptions::default() };
        let mut exposition = self.exposition(now, options);
        let mut bytes = Vec::new();
        while exposition.next_frames(&mut Flat(&mut bytes)) {}
        bytes
    }
}

fn read_gzip(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut text).unwrap();
    text
}

/// Takes frames as bytes.
struct Flat<'a>(&'a mut Vec<u8>);

impl Extend<Bytes> for Flat<'_> {
    fn extend<T: IntoIterator<Item = Bytes>>(&mut self, frames: T) {
        self.0.extend(frames.into_iter().flatten());
    }
}

fn rendered(lines: &str) -> Rendered {
    Rendered { text: Bytes::copy_from_slice(lines.as_bytes()), protobuf: None }
}

/// An exposition in text as messages, from scratch.
fn encoded(text: &str) -> Vec<u8> {
    let families = parse(text.as_bytes(), NameRules::Legacy).unwrap();
    let mut out = Vec::new();
    for family in families {
        let help = family.help.as_deref();
        let mut message = encode::header(&family.name, help, family.kind, Escaping::AllowUtf8);
        for metric in &family.metrics {
            let labels = metric.labels.iter().map(|l| (l.name.as_str(), l.value.as_str()));
            encode::metric(&mut message, metric, labels);
        }
        out.extend(length_prefix(message.len()));
        out.extend(message);
    }
    out
}

/// Says where two texts differ, rather than all of both.
fn assert_same(got: &[u8], expected: &str) {
    let got = std::str::from_utf8(got).unwrap();
    let differ = got.lines().zip(expected.lines()).position(|(got, expected)| got != expected);
    let at = differ.unwrap_or(got.lines().count().min(expected.lines().count()));
    let line = |text: &str| text.lines().nth(at).map(|line| line.chars().take(60).collect());
    let (line_got, line_expected): (Option<String>, Option<String>) = (line(got), line(expected));
    assert!(got == expected, "line {at}: {line_got:?}, expected {line_expected:?}");
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // Few groups, so that families come and go; and some more, so that they span segments.
    let group = prop_oneof![3 => 0..3_u32, 1 => 0..24_u32];
    let deadline = prop_oneof![1 => 0..100_u64, 2 => Just(u64::MAX)];
    let bytes = prop_oneof![1 => Just(0), 6 => 1..60_usize, 2 => 3000..9000_usize, 1 => 20_000..70_000_usize];
    let families = prop::collection::btree_map(0..NAMES.len(), bytes, 0..5);
    let push = (group.clone(), deadline, families).prop_map(|(group, deadline, families)| {
        Op::Push(group, deadline, families.into_iter().collect())
    });
    let leave = (group.clone(), prop::collection::btree_set(0..NAMES.len(), 1..4));
    let op = prop_oneof![
        10 => push,
        2 => leave.prop_map(|(group, families)| Op::Leave(group, families)),
        1 => (0..NAMES.len()).prop_map(Op::Header),
        4 => prop::collection::btree_set(group, 1..12).prop_map(Op::Remove),
        6 => prop_oneof![Just(0), 0..100_u64].prop_map(Op::Scrape),
    ];
    prop::collection::vec(op, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn a_scrape_is_what_rendering_from_scratch_gives(ops in ops()) {
        let mut bench = Bench::new();
        for op in ops.into_iter().chain([Op::Scrape(0), Op::Scrape(50)]) {
            match op {
                Op::Push(group, deadline, families) => bench.push(group, deadline, &families),
                Op::Leave(group, families) => bench.leave(group, &families),
                Op::Header(at) if bench.families.contains_key(NAMES[at]) => {
                    bench.header(NAMES[at]);
                }
                Op::Header(_) => {}
                Op::Remove(groups) => bench.remove(&groups),
                Op::Scrape(now) => bench.check(now),
            }
        }
    }
}

#[test]
fn what_has_not_changed_is_compressed_once() {
    let mut bench = Bench::new();
    for group in 0..2000 {
        bench.push(group, u64::MAX, &[(0, 300), (5, 300)]);
    }
    let (_, first) = bench.gunzipped(0);
    assert!(first.iter().all(|hit| !hit) && first.len() > 15, "{first:?}");
    let misses = |bench: &Bench| bench.gunzipped(0).1.iter().filter(|hit| !**hit).count();
    // Self metrics are kept once they are seen to stay: until then they may change with every scrape.
    // Two of them lie side by side.
    for _ in 0..4 {
        assert_eq!(misses(&bench), OWN.len() - 1);
    }
    assert_eq!(misses(&bench), 0);
    // Neighbours of what has changed may be compressed with it: a segment and a stamp's each, and
    // one of the self metrics.
    bench.push(1000, u64::MAX, &[(0, 300)]);
    let changed = misses(&bench);
    assert!((3..8).contains(&changed), "{changed} of {}", first.len());
    for _ in 0..4 {
        assert_eq!(misses(&bench), 1);
    }
    assert_eq!(misses(&bench), 0);
}

#[test]
fn the_cache_forgets_what_two_scrapes_have_not_used() {
    let mut bench = Bench::new();
    bench.push(1, u64::MAX, &[(0, 300)]);
    for _ in 0..5 {
        bench.push(1, u64::MAX, &[(0, 300)]);
        bench.gunzipped(0);
        bench.gunzipped(0);
    }
    let runs = bench.cache.compressed_runs();
    assert!(runs <= 2 * 4, "{runs} runs are kept for an exposition of few");
}
