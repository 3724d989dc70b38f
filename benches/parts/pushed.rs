//! The work on a push outside the lane: it is prepared before, its lines are published after.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use tidegate::exposition::text::{LabelBlock, gauge_line};
use tidegate::gateway::Limits;
use tidegate::gateway::prepare::{Rules, SeriesHasher, prepare};
use tidegate::gateway::segment::{GroupId, Rendered, Segments};
use tidegate::model::{NameRules, Unmetered};

use crate::running::Result;
use crate::samples::{key, samples};

/// The rules for a push by itself.
pub(crate) const RULES: Rules<'_> =
    Rules { limits: &Limits::UNLIMITED, names: NameRules::Legacy, lenient: false };

/// Groups that a family has lines of.
const GROUPS: usize = 10_000;

pub(crate) fn benches(criterion: &mut Criterion) -> Result<()> {
    preparation(criterion)?;
    segments(criterion);
    Ok(())
}

fn preparation(criterion: &mut Criterion) -> Result<()> {
    let (key, hasher) = (key(1), SeriesHasher::random());
    let mut group = criterion.benchmark_group("prepare");
    for sample in samples()? {
        let prepared = prepare(&key, hasher, RULES, sample.families.clone(), &mut Unmetered)??;
        assert!(prepared.left_out.is_none());
        let series: u32 = prepared.families.iter().map(|family| family.stored.series()).sum();
        assert_eq!(series as usize, sample.series);
        group.throughput(Throughput::Elements(u64::from(series)));
        group.bench_function(sample.name, |bencher| {
            bencher.iter_batched(
                || sample.families.clone(),
                |families| prepare(&key, hasher, RULES, families, &mut Unmetered),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
    Ok(())
}

/// One family's lines, of which each put replaces those of one group.
struct Lines {
    segments: Segments,
    /// The line of each group, as it is put in turns.
    rounds: [Vec<Rendered>; 2],
    puts: usize,
}

impl Lines {
    /// Filled with what the second round puts.
    fn new(values: [f64; 2]) -> Self {
        let rounds = values.map(|value| (0..GROUPS).map(|group| line(group, value)).collect());
        let mut lines = Self { segments: Segments::default(), rounds, puts: 0 };
        let [_, second] = &lines.rounds;
        for (group, line) in (0..).zip(second) {
            lines.segments.put(group, line);
        }
        lines
    }

    /// Puts another line of the next group; they come in no order.
    fn put(&mut self) {
        let group = self.puts * 7919 % GROUPS;
        let round = self.rounds.get(self.puts / GROUPS % 2);
        self.puts += 1;
        if let Some(line) = round.and_then(|lines| lines.get(group)) {
            let group = GroupId::try_from(group).expect("there are few groups");
            self.segments.put(group, line);
        }
    }

    /// A put for each group leaves the lines of that round, in the order of the groups.
    fn check(&mut self) {
        (0..GROUPS).for_each(|_| self.put());
        let shown: Vec<_> = self.segments.list().iter().map(|segment| segment.bytes()).collect();
        let [first, _] = &self.rounds;
        let expected: Vec<_> = first.iter().map(|line| line.text.as_ref()).collect();
        assert!(shown.concat() == expected.concat(), "each group has its new line");
    }
}

fn line(group: usize, value: f64) -> Rendered {
    let mut text = Vec::new();
    gauge_line(&mut text, "backup_size_bytes", value, &LabelBlock::of_group(&key(group)));
    Rendered { text: Bytes::from(text), protobuf: None }
}

fn segments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segment update");
    for (name, values) in [("same length", [1.5, 2.5]), ("other length", [1.5, 1234.5])] {
        let mut lines = Lines::new(values);
        lines.check();
        group.bench_function(name, |bencher| bencher.iter(|| lines.put()));
    }
    // A segment that a scrape holds is copied before it changes. Taking the list is in the time.
    let mut lines = Lines::new([1.5, 2.5]);
    lines.check();
    group.bench_function("under a scrape", |bencher| {
        bencher.iter(|| {
            let held = lines.segments.list().to_vec();
            lines.put();
            black_box(held)
        });
    });
    group.finish();
}
