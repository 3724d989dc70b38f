//! Native histograms: valid ones, and ones with a single fault.

use crate::judge::case::{Case, Push, Verdict};
use crate::judge::random::Random;
use support::protobuf::{
    self, Bucket, BucketSpan, Exemplar, Histogram, Metric, MetricFamily, MetricType, Timestamp,
};

/// The buckets of one sign.
#[derive(Clone, Debug, Default)]
struct Side {
    spans: Vec<BucketSpan>,
    /// Counts of integer histograms; those of float ones are half of them.
    counts: Vec<i64>,
}

/// A native histogram before it is encoded.
#[derive(Clone, Debug)]
pub(crate) struct Native {
    float: bool,
    kind: MetricType,
    schema: i32,
    zero_threshold: f64,
    zero_count: i64,
    positive: Side,
    negative: Side,
    sum: f64,
    count: i64,
    buckets: Vec<Bucket>,
    exemplars: Vec<Exemplar>,
    created: Option<Timestamp>,
}

fn span(offset: i32, length: u32) -> BucketSpan {
    BucketSpan { offset: Some(offset), length: Some(length) }
}

impl Side {
    fn any(random: &mut Random) -> Self {
        let mut side = Self::default();
        for at in 0..random.below(4) {
            let offset = if at == 0 { random.between(-30, 30) } else { random.between(0, 7) };
            let length = random.below(5);
            side.spans.push(span(
                i32::try_from(offset).expect("it is small"),
                u32::try_from(length).expect("it is small"),
            ));
            side.counts.extend((0..length).map(|_| random.between(0, 40)));
        }
        side
    }

    /// One that has buckets.
    fn some(random: &mut Random) -> Self {
        loop {
            let side = Self::any(random);
            if !side.counts.is_empty() {
                return side;
            }
        }
    }

    fn deltas(&self) -> Vec<i64> {
        let mut last = 0;
        let delta = |count: &i64| count.wrapping_sub(std::mem::replace(&mut last, *count));
        self.counts.iter().map(delta).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "the counts are small")]
    fn floats(&self) -> Vec<f64> {
        self.counts.iter().map(|count| *count as f64 / 2.0).collect()
    }
}

impl Native {
    /// A valid one.
    pub(crate) fn any(random: &mut Random) -> Self {
        let mut native = Self {
            float: random.chance(3),
            kind: if random.chance(5) { MetricType::GaugeHistogram } else { MetricType::Histogram },
            schema: i32::try_from(random.between(-4, 8)).expect("it is small"),
            zero_threshold: random.pick(&[0.0, 1e-128, 0.001, 5e-324]),
            zero_count: random.between(0, 5),
            positive: Side::any(random),
            negative: if random.chance(2) { Side::any(random) } else { Side::default() },
            sum: random.pick(&[0.0, 12.5, -3.0, 1e300]),
            count: 0,
            buckets: Vec::new(),
            exemplars: Vec::new(),
            created: None,
        };
        if native.positive.spans.is_empty() {
            // The mark of a native one where nothing was observed yet.
            native.positive.spans.push(span(0, 0));
        }
        if native.float {
            // Without a count above zero it would be one of integers.
            native.zero_count += 2;
        }
        native.count = native.observed();
        native
    }

    fn observed(&self) -> i64 {
        self.positive.counts.iter().chain(&self.negative.counts).sum::<i64>() + self.zero_count
    }

    #[expect(clippy::cast_precision_loss, reason = "the counts are small")]
    fn encoded(&self) -> Histogram {
        let mut histogram = Histogram {
            sample_sum: Some(self.sum),
            schema: Some(self.schema),
            zero_threshold: Some(self.zero_threshold),
            positive_span: self.positive.spans.clone(),
            negative_span: self.negative.spans.clone(),
            bucket: self.buckets.clone(),
            exemplars: self.exemplars.clone(),
            created_timestamp: self.created,
            ..Histogram::default()
        };
        if self.float {
            histogram.sample_count_float = Some(self.count as f64 / 2.0);
            histogram.zero_count_float = Some(self.zero_count as f64 / 2.0);
            histogram.positive_count = self.positive.floats();
            histogram.negative_count = self.negative.floats();
        } else {
            histogram.sample_count = Some(self.count.unsigned_abs());
            histogram.zero_count = Some(self.zero_count.unsigned_abs());
            histogram.positive_delta = self.positive.deltas();
            histogram.negative_delta = self.negative.deltas();
        }
        histogram
    }

    fn metric(&self, labels: &[(&str, &str)]) -> Metric {
        let histogram = Some(self.encoded());
        Metric { label: protobuf::labels(labels), histogram, ..Metric::default() }
    }

    fn family(&self, name: &str) -> MetricFamily {
        protobuf::family(name, self.kind, vec![self.metric(&[("l", "v")])])
    }
}

/// Changes of a valid histogram, and the verdict that it has to get then. None where it does not
/// fit this histogram.
type Change = fn(&mut Native, &mut Random) -> Option<Verdict>;

const CHANGES: &[(&str, Change)] = &[
    ("nothing", |_, _| Some(Verdict::Accepted)),
    ("a sum that is NaN, and a count above the buckets", |native, random| {
        native.sum = f64::NAN;
        native.count += random.between(0, 9);
        Some(Verdict::Accepted)
    }),
    ("a sum that is NaN, and a count below the buckets", |native, _| {
        (native.sum, native.count) = (f64::NAN, native.count - 1);
        (!native.float && native.count >= 0).then_some(Verdict::Refused)
    }),
    ("an infinite sum", |native, random| {
        native.sum = random.pick(&[f64::INFINITY, f64::NEG_INFINITY]);
        Some(Verdict::Accepted)
    }),
    ("a count above the buckets", |native, random| {
        native.count += random.between(1, 3);
        // Of floats nobody adds up.
        Some(if native.float { Verdict::Accepted } else { Verdict::Refused })
    }),
    ("a count below the buckets", |native, _| {
        native.count -= 1;
        (!native.float && native.count >= 0).then_some(Verdict::Refused)
    }),
    ("a negative bucket", |native, random| {
        let side = some_side(native, random);
        let at = random.below(side.counts.len());
        side.counts[at] = -1 - random.between(0, 3);
        native.count = native.observed().max(2);
        Some(Verdict::Refused)
    }),
    ("spans wider than the buckets", |native, random| {
        let side = some_side(native, random);
        let at = random.below(side.spans.len());
        let more = u32::try_from(random.between(1, 3)).expect("it is small");
        side.spans[at].length = side.spans[at].length.map(|length| length + more);
        Some(Verdict::Refused)
    }),
    ("a span without any bucket", |native, random| {
        let side = some_side(native, random);
        side.spans.push(span(1, 2));
        Some(Verdict::Refused)
    }),
    ("spans narrower than the buckets", |native, random| {
        let side = some_side(native, random);
        let at = side.spans.iter().position(|span| span.length > Some(0))?;
        side.spans[at].length = side.spans[at].length.map(|length| length - 1);
        Some(Verdict::Refused)
    }),
    ("buckets without spans", |native, random| {
        some_side(native, random).spans.clear();
        Some(Verdict::Refused)
    }),
    ("a later span that goes back", |native, random| {
        let side = some_side(native, random);
        side.spans.push(span(i32::try_from(random.between(-9, -1)).expect("it is small"), 1));
        side.counts.push(3);
        native.count = native.observed();
        Some(Verdict::Refused)
    }),
    ("a later span that goes back and has no buckets", |native, random| {
        some_side(native, random).spans.push(span(-2, 0));
        Some(Verdict::Refused)
    }),
    ("spans of no length in between", |native, random| {
        let side = some_side(native, random);
        let at = random.below(side.spans.len() + 1);
        // The first may begin anywhere.
        side.spans.insert(at, span(2, 0));
        if at == 0 {
            side.spans[1].offset = Some(1);
        }
        Some(Verdict::Accepted)
    }),
    ("an unknown schema", |native, random| {
        native.schema = random.pick(&[9, 12, 53, 127, 128, -5, -10, -128, i32::MAX, i32::MIN]);
        Some(Verdict::Refused)
    }),
    ("the schema of custom buckets", |native, _| {
        native.schema = -53;
        Some(Verdict::Refused)
    }),
    ("counts that overflow", |native, random| {
        native.float = false;
        let side = some_side(native, random);
        *side = Side { spans: vec![span(0, 3)], counts: vec![i64::MAX, -2, i64::MAX] };
        native.count = 1;
        Some(Verdict::Refused)
    }),
    ("counts whose sum overflows", |native, random| {
        native.float = false;
        native.zero_count = 0;
        native.positive = Side::default();
        native.negative = Side::default();
        let side = some_side(native, random);
        *side = Side { spans: vec![span(0, 3)], counts: vec![i64::MAX, i64::MAX, 2] };
        // Which is what adding them up comes to in 64 bits.
        native.count = 0;
        Some(Verdict::Either)
    }),
    ("a zero threshold that is negative or no number", |native, random| {
        native.zero_threshold = random.pick(&[-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
        Some(Verdict::Either)
    }),
    ("lengths of spans that overflow", |native, random| {
        let side = some_side(native, random);
        side.spans = vec![span(0, u32::MAX), span(0, 1)];
        let counts = u32::try_from(side.counts.len()).expect("they are few");
        side.spans.push(span(0, counts));
        Some(Verdict::Refused)
    }),
    ("offsets of spans that overflow", |native, random| {
        let side = some_side(native, random);
        side.spans = vec![span(i32::MAX, 1), span(i32::MAX, 1)];
        side.counts = vec![1, 2];
        native.count = native.observed();
        Some(Verdict::Either)
    }),
    ("a first span far off", |native, random| {
        let side = some_side(native, random);
        side.spans = vec![span(random.pick(&[i32::MIN, -100_000, 100_000, i32::MAX]), 1)];
        side.counts = vec![1];
        native.count = native.observed();
        Some(Verdict::Either)
    }),
    ("nothing observed, of floats", |native, _| {
        native.float = true;
        native.zero_count = 0;
        native.positive = Side { spans: vec![span(0, 2)], counts: vec![0, 0] };
        native.negative = Side::default();
        native.count = 0;
        Some(Verdict::Either)
    }),
    ("nothing observed, of integers", |native, _| {
        native.float = false;
        native.zero_count = 0;
        native.positive = Side { spans: vec![span(0, 0)], counts: vec![] };
        native.negative = Side::default();
        native.count = 0;
        Some(Verdict::Accepted)
    }),
    ("classic buckets beside the native ones", |native, random| {
        native.float = false;
        native.count = native.observed();
        native.buckets = classic_buckets(native.count, random);
        Some(Verdict::Accepted)
    }),
    ("classic buckets beside the native ones, a bound twice", |native, random| {
        native.float = false;
        native.count = native.observed();
        native.buckets = classic_buckets(native.count, random);
        native.buckets.insert(1, native.buckets[0].clone());
        Some(Verdict::Refused)
    }),
    ("exemplars with times", |native, random| {
        native.exemplars = (0..=random.below(3)).map(|n| exemplar(n, true)).collect();
        Some(Verdict::Accepted)
    }),
    ("exemplars without times", |native, random| {
        native.exemplars = (0..=random.below(3)).map(|n| exemplar(n, false)).collect();
        Some(Verdict::Accepted)
    }),
    ("an exemplar with a label without a name", |native, _| {
        let label = protobuf::labels(&[("", "v")]);
        native.exemplars = vec![Exemplar { label, ..exemplar(1, true) }];
        Some(Verdict::Refused)
    }),
    ("an exemplar with labels that are too long", |native, random| {
        let label = protobuf::labels(&[("id", &"x".repeat(127 + random.below(2) * 500))]);
        native.exemplars = vec![Exemplar { label, ..exemplar(1, true) }];
        Some(Verdict::Either)
    }),
    ("an exemplar with a label twice", |native, _| {
        let label = protobuf::labels(&[("id", "a"), ("id", "b")]);
        native.exemplars = vec![Exemplar { label, ..exemplar(1, true) }];
        Some(Verdict::Either)
    }),
    ("a created time", |native, _| {
        native.created = Some(Timestamp { seconds: 1_700_000_000, nanos: 5 });
        Some(Verdict::Accepted)
    }),
];

/// A side with buckets, made so if need be.
fn some_side<'a>(native: &'a mut Native, random: &mut Random) -> &'a mut Side {
    let negative = random.chance(2);
    let side = if negative { &mut native.negative } else { &mut native.positive };
    if side.counts.is_empty() {
        *side = Side::some(random);
    }
    native.count = native.observed();
    if negative { &mut native.negative } else { &mut native.positive }
}

fn classic_buckets(count: i64, random: &mut Random) -> Vec<Bucket> {
    let count = count.unsigned_abs();
    let bucket = |bound: f64, count| Bucket {
        cumulative_count: Some(count),
        upper_bound: Some(bound),
        ..Bucket::default()
    };
    let mut buckets = vec![bucket(0.5, count / 3), bucket(2.0, count / 2)];
    if random.chance(2) {
        buckets.push(bucket(f64::INFINITY, count));
    }
    buckets
}

/// An exemplar of a while ago; each in its own second.
pub(crate) fn exemplar(n: usize, with_time: bool) -> Exemplar {
    let seconds = 1_700_000_000 + i64::try_from(n).expect("it is small");
    Exemplar {
        label: protobuf::labels(&[("trace_id", &format!("t{n}"))]),
        value: Some(0.5),
        timestamp: with_time.then_some(Timestamp { seconds, nanos: 250_000_000 }),
    }
}

/// How many kinds of cases there are here.
pub(crate) const KINDS: usize = CHANGES.len() + TOGETHER;
const TOGETHER: usize = 3;

/// A case of a kind.
pub(crate) fn case(kind: usize, name: &str, random: &mut Random) -> Case {
    let Some((what, change)) = CHANGES.get(kind) else {
        return together(kind - CHANGES.len(), name, random);
    };
    loop {
        let mut native = Native::any(random);
        let Some(verdict) = change(&mut native, random) else { continue };
        let of = if native.float { "floats" } else { "integers" };
        let what = format!("native histogram of {of}: {what}");
        return Case::protobuf(what, name, &[native.family(name)], verdict);
    }
}

/// Valid ones beside each other in one family.
fn together(kind: usize, name: &str, random: &mut Random) -> Case {
    let mut natives = [Native::any(random), Native::any(random)];
    for native in &mut natives {
        native.kind = MetricType::Histogram;
    }
    let [one, other] = natives;
    let classic = || {
        let bucket = classic_buckets(7, &mut Random::new(3));
        let histogram = Histogram {
            sample_count: Some(7),
            sample_sum: Some(2.0),
            bucket,
            ..Histogram::default()
        };
        Metric {
            label: protobuf::labels(&[("l", "m")]),
            histogram: Some(histogram),
            ..Metric::default()
        }
    };
    match kind {
        0 => {
            let metrics = vec![one.metric(&[("l", "v")]), other.metric(&[("l", "w")])];
            let family = protobuf::family(name, MetricType::Histogram, metrics);
            Case::protobuf("two native histograms in a family", name, &[family], Verdict::Accepted)
        }
        1 => {
            let mut metrics = vec![one.metric(&[("l", random.pick(&["a", "z"]))]), classic()];
            if random.chance(2) {
                metrics.reverse();
            }
            let family = protobuf::family(name, MetricType::Histogram, metrics);
            let what = "a native and a classic histogram in a family";
            Case::protobuf(what, name, &[family], Verdict::Either)
        }
        _ => {
            let native = protobuf::family(name, MetricType::Histogram, vec![one.metric(&[])]);
            let classic = protobuf::family(name, MetricType::Histogram, vec![classic()]);
            let (a, b) = (format!("{name}_a"), format!("{name}_b"));
            let groups = if random.chance(2) { [&a, &b] } else { [&b, &a] };
            Case::new(
                "a native and a classic histogram in two groups",
                vec![
                    Push::protobuf(groups[0], &[native], Verdict::Accepted),
                    Push::protobuf(groups[1], &[classic], Verdict::Either),
                ],
            )
        }
    }
}
