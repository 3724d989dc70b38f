//! Operations on a gateway, from pools so small that things collide.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::select;
use tidegate::model::MetricType;

use super::reference::POLICIES;

/// A name and its value.
pub(crate) type Pair = (&'static str, &'static str);
/// The labels of a grouping key.
pub(crate) type Key = &'static [Pair];

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Push(Push),
    Delete(Key),
    Wipe,
    /// An operator sets a TTL, or takes that back.
    Override(Key, PushTtl),
    Touch(Key),
    /// The settings are reloaded: one of a few policies.
    Policy(usize),
    /// A removed group is restored, if it can be.
    Restore(Key),
    /// Milliseconds pass.
    Advance(u64),
    /// Somebody sets the host clock, by so many milliseconds.
    StepWall(i64),
    Reap,
    Restart,
    /// Milliseconds pass while the gateway is down.
    Down(u64),
}

#[derive(Clone)]
pub(crate) struct Push {
    pub key: Key,
    /// PUT rather than POST.
    pub replace: bool,
    pub ttl: PushTtl,
    pub families: Vec<Family>,
}

/// The TTL that a push or an operator asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PushTtl {
    Unset,
    Never,
    Millis(u64),
}

#[derive(Clone)]
pub(crate) struct Family {
    pub name: &'static str,
    pub kind: MetricType,
    pub help: Option<&'static str>,
    pub series: Vec<Series>,
    /// Bytes that are added to each series, so that some groups are too large for one chunk.
    pub padding: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub labels: &'static [Pair],
    pub value: u32,
    pub timestamp: bool,
}

// On one line: a failure prints every operation.
impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = if self.replace { "PUT" } else { "POST" };
        write!(f, "{method} {:?}, TTL {:?}, {:?}", self.key, self.ttl, self.families)
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, help, series, padding } = self;
        write!(f, "{name} ({kind:?}, help {help:?}, padding {padding})")?;
        for Series { labels, value, timestamp } in series {
            let timestamp = if *timestamp { " 1" } else { "" };
            write!(f, " {labels:?} {value}{timestamp}")?;
        }
        Ok(())
    }
}

/// Two of them differ by `instance=""` only; labels that some lack come from others' bodies.
const KEYS: &[Key] = &[
    &[("job", "a")],
    &[("job", "a"), ("instance", "")],
    &[("job", "a"), ("instance", "i")],
    &[("job", "a"), ("zone", "z")],
    &[("job", "b")],
    &[("job", "b"), ("zone", "z"), ("instance", "i")],
];

const LABELS: &[&[Pair]] = &[
    &[],
    &[],
    &[],
    &[("zone", "z")],
    &[("instance", "i")],
    &[("instance", "w")],
    &[("zone", "z"), ("instance", "i")],
    &[("job", "other")],
    &[("x", "z")],
    &[("x", "1")],
    &[("__x", "1")],
];

/// Names that clash with each other's suffixes, with self metrics, and with the stamps of a group.
const NAMES: &[&str] = &[
    "m",
    "m_count",
    "m_sum",
    "m_bucket",
    "n",
    "tidegate_groups",
    "tidegate_commit_batch_pushes_sum",
    "push_time_seconds",
    "push_failure_time_seconds",
];

/// Names of families that seldom clash.
const PLAIN_NAMES: &[&str] = &["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"];

const KINDS: &[MetricType] = &[
    MetricType::Gauge,
    MetricType::Gauge,
    MetricType::Untyped,
    MetricType::Counter,
    MetricType::Summary,
    MetricType::Histogram,
];

fn series() -> impl Strategy<Value = Series> {
    let timestamp = prop_oneof![40 => Just(false), 1 => Just(true)];
    (select(LABELS), 0..3_u32, timestamp).prop_map(|(labels, value, timestamp)| Series {
        labels,
        value,
        timestamp,
    })
}

fn clashing() -> impl Strategy<Value = Family> {
    let help = select(vec![None, Some("one"), Some("two")]);
    let series = prop::collection::vec(series(), 0..3);
    (select(NAMES), select(KINDS), help, series).prop_map(|(name, kind, help, series)| Family {
        name,
        kind,
        help,
        series,
        padding: 0,
    })
}

fn plain() -> impl Strategy<Value = Family> {
    let padding = select(vec![0, 50, 1500, 3000, 9000]);
    let help = select(vec![None, Some("one"), Some("two")]);
    (select(PLAIN_NAMES), help, 0..3_u32, padding).prop_map(|(name, help, value, padding)| {
        let series = vec![Series { labels: &[], value, timestamp: false }];
        Family { name, kind: MetricType::Gauge, help, series, padding }
    })
}

fn ttl() -> impl Strategy<Value = PushTtl> {
    prop_oneof![
        4 => Just(PushTtl::Unset),
        1 => Just(PushTtl::Never),
        1 => Just(PushTtl::Millis(0)),
        2 => (1..20_000_u64).prop_map(PushTtl::Millis),
    ]
}

fn push() -> impl Strategy<Value = Push> {
    let families = prop_oneof![
        2 => prop::collection::vec(clashing(), 0..4),
        1 => prop::collection::vec(plain(), 0..8),
        1 => prop::collection::vec(prop_oneof![clashing(), plain()], 0..6),
    ];
    (select(KEYS), any::<bool>(), ttl(), families).prop_map(|(key, replace, ttl, mut families)| {
        // The parsers hand over each name once.
        families.sort_by_key(|family| family.name);
        families.dedup_by_key(|family| family.name);
        Push { key, replace, ttl, families }
    })
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    // Above what counts as a step rather than as a clock that is being slewed.
    let step = prop_oneof![2_000..100_000_i64, -100_000..-2_000_i64];
    let op = prop_oneof![
        1 => Just(Op::Wipe),
        24 => push().prop_map(Op::Push),
        3 => select(KEYS).prop_map(Op::Delete),
        8 => (1..15_000_u64).prop_map(Op::Advance),
        1 => step.prop_map(Op::StepWall),
        3 => Just(Op::Reap),
        2 => Just(Op::Restart),
        1 => (1..15_000_u64).prop_map(Op::Down),
        1 => (select(KEYS), ttl()).prop_map(|(key, ttl)| Op::Override(key, ttl)),
        1 => select(KEYS).prop_map(Op::Touch),
        1 => (0..POLICIES).prop_map(Op::Policy),
        3 => select(KEYS).prop_map(Op::Restore),
    ];
    prop::collection::vec(op, 1..60)
}
