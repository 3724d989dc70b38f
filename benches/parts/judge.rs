//! The lane's judgement. The consistency check itself is private: what is measured is a push that it
//! accepts, with what that stages, and pushes that it refuses, with the mark that the group gets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion};
use tempfile::TempDir;
use tidegate::exposition::text::{LabelBlock, parse};
use tidegate::gateway::command::{Origin, Push};
use tidegate::gateway::judge::{self, Judge, Stage};
use tidegate::gateway::prepare::{SeriesHasher, prepare};
use tidegate::gateway::stamps::Stamps;
use tidegate::gateway::state::{State, StateOptions};
use tidegate::gateway::{Error, Fault, HistoryLimits, Limits, PushMode, Refusal};
use tidegate::model::{GroupingKey, Label, MetricFamily, NameRules, Policy, TtlPolicy, Unmetered};
use tidegate::store::{Commit, Writer};
use tidegate::time::{Moment, UnixMillis, UnixNanos};

use crate::pushed::RULES;
use crate::running::{self, Result, TTL};
use crate::samples::{key, samples};
use crate::scratch::scratch;

/// As many pushes as the lane has in a batch.
const BATCH: u64 = 1024;
/// Groups of ten families that are there.
const GROUPS: usize = 10_000;

/// A judge of groups that are in the store too.
struct Court {
    judge: Judge,
    writer: Writer,
    hasher: SeriesHasher,
    now: u64,
    _folder: TempDir,
}

type Verdict = std::result::Result<UnixMillis, Error>;

pub(crate) fn benches(criterion: &mut Criterion) -> Result<()> {
    let mut court = Court::new()?;
    let mut group = criterion.benchmark_group("judge");
    for sample in samples()? {
        let mut pushes = 0;
        group.bench_function(format!("accepts {}", sample.name), |bencher| {
            court.bench(bencher, Verdict::is_ok, |court| {
                pushes += 1;
                court.push(key(pushes * 7919 % GROUPS), sample.families.clone())
            });
        });
    }
    // Refused for its last family, once nine have been found to be consistent.
    let [ten, _] = samples()?;
    let kind = ten.body.replace("exit_code gauge", "exit_code counter");
    let kind = parse(kind.as_bytes(), NameRules::Legacy)?;
    group.bench_function("refuses a type", |bencher| {
        let expected =
            |verdict: &Verdict| is_refused(verdict, |r| matches!(r, Refusal::Type { .. }));
        court.bench(bencher, expected, |court| court.push(key(1), kind.clone()));
    });
    // A series that is host-5's, by the labels that the body adds to those of the key.
    let series = parse(
        b"# TYPE backup_exit_code gauge\nbackup_exit_code{instance=\"host-5\"} 1\n",
        NameRules::Legacy,
    )?;
    let outer = GroupingKey::new(vec![Label::new("job", "backup")])?;
    group.bench_function("refuses another's series", |bencher| {
        let expected =
            |verdict: &Verdict| is_refused(verdict, |r| matches!(r, Refusal::Duplicate { .. }));
        court.bench(bencher, expected, |court| court.push(outer.clone(), series.clone()));
    });
    group.finish();
    Ok(())
}

fn is_refused(verdict: &Verdict, expected: impl Fn(&Refusal) -> bool) -> bool {
    matches!(verdict, Err(Error::Refused(refusal)) if expected(refusal))
}

impl Court {
    fn new() -> Result<Self> {
        let folder = scratch("parts")?;
        let store = Arc::new(running::open(folder.path())?);
        let hasher = SeriesHasher::random();
        let options = StateOptions {
            hasher,
            policy: Policy { ttl: Arc::new(TtlPolicy::new(TTL)), floor: UnixMillis(0) },
            limits: Limits::UNLIMITED,
            history: HistoryLimits { groups: 1000, bytes: 64 << 20 },
            stamps: Stamps::default(),
            self_types: [].into(),
        };
        let at = Moment { now: UnixMillis(0), wall: UnixNanos(0) };
        let (State { judge, .. }, writer, _) = State::load(&store, options, at)?;
        let mut court = Self { judge, writer, hasher, now: 0, _folder: folder };
        let mut stage = Stage::default();
        for group in 0..GROUPS {
            let running::Push { key, families } = running::Push::new(group, 0);
            let push = court.push(key, families);
            court.judge(&mut stage, push)?;
        }
        court.judge.finish(&mut stage);
        court.writer.commit(&Commit::default())?;
        assert_eq!(court.judge.index.series_count(), 10 * GROUPS as u64);
        Ok(court)
    }

    /// A push, prepared, of the next millisecond.
    fn push(&mut self, key: GroupingKey, families: Vec<MetricFamily>) -> Push {
        self.now += 1;
        Push {
            mode: PushMode::Replace,
            block: LabelBlock::of_group(&key),
            asked: None,
            policy: Arc::clone(&self.judge.policy.ttl),
            rule: None,
            families: prepare(&key, self.hasher, RULES, families, &mut Unmetered)
                .expect("nothing is counted"),
            waited: false,
            request: None,
            meter: None,
            lenient: false,
            origin: Origin::Pushed,
            key,
        }
    }

    fn judge(&mut self, stage: &mut Stage, push: Push) -> Verdict {
        let wall = UnixNanos(i64::try_from(self.now).unwrap_or(i64::MAX).saturating_mul(1_000_000));
        let at = Moment { now: UnixMillis(self.now), wall };
        match self.judge.push(&mut self.writer, stage, Box::new(push), at) {
            judge::Verdict::Done(done) => done,
            judge::Verdict::Later(_) => Err(Fault::Busy.into()),
        }
    }

    /// Times what the lane does with a push, but for the store: of many a batch is applied, which cools
    /// the caches, between two times that are taken.
    fn bench(
        &mut self,
        bencher: &mut Bencher<'_>,
        is_expected: impl Fn(&Verdict) -> bool,
        mut push: impl FnMut(&mut Self) -> Push,
    ) {
        bencher.iter_custom(|iterations| {
            let mut elapsed = Duration::ZERO;
            for iteration in 1..=iterations {
                let (push, mut stage) = (push(self), Stage::default());
                let began = Instant::now();
                let verdict = self.judge(&mut stage, push);
                self.judge.finish(&mut stage);
                elapsed += began.elapsed();
                assert!(is_expected(&verdict), "{verdict:?}");
                assert!(!self.writer.is_empty() && !stage.changes.is_empty());
                if iteration % BATCH == 0 {
                    self.writer.commit(&Commit::default()).expect("there is room");
                }
            }
            elapsed
        });
    }
}
