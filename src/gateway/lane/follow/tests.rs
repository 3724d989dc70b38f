//! A replica that follows has what the leader has, and what one has that loads everything anew.

use std::time::Duration;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::exposition::text::{LabelBlock, parse};
use crate::exposition::{ContentEncoding, ScrapeFormat};
use crate::gateway::command::{Operation, Origin, Push};
use crate::gateway::history::HistoryLimits;
use crate::gateway::judge::Verdict;
use crate::gateway::options::Limits;
use crate::gateway::prepare::{Rules, SeriesHasher, prepare};
use crate::gateway::stamps::Stamps;
use crate::gateway::state::{State, StateOptions};
use crate::gateway::view::View;
use crate::gateway::{Exposition, PushMode, ScrapeOptions};
use crate::model::{Label, NameRules, Policy, RuleTtl, Selector, Ttl, TtlRule, Unmetered};
use crate::store::etcd::EtcdStore;
use crate::store::etcd::offline::{Offline, Told};
use crate::store::{Commit, Proposal, Writer};

const GROUPS: usize = 5;

/// A command of the leader.
#[derive(Clone, Debug)]
enum Op {
    /// Families by number, each with so many series; a few of them, or so many that they lie in chunks.
    Push {
        group: usize,
        replace: bool,
        wide: bool,
        families: Vec<(usize, usize)>,
        ttl: Option<u64>,
    },
    Delete(usize),
    Change(usize, Operation),
    Wipe,
    Reap,
    Policy(u64, Option<u64>),
    /// Time passes.
    Wait(u64),
    /// The batch ends.
    Commit,
    /// The replica misses what comes until the next one, and loads all.
    Miss,
    /// The replica that has followed leads from now on.
    Swap,
}

/// The leader, or a replica that follows.
struct Replica {
    store: Arc<EtcdStore>,
    judge: Judge,
    view: View,
    writer: Writer,
}

struct Bench {
    etcd: Offline,
    leader: Replica,
    follower: Replica,
    stage: Stage,
    policy: Option<Arc<TtlPolicy>>,
    untold: Vec<Told>,
    missed: bool,
    now: u64,
}

fn options() -> StateOptions {
    StateOptions {
        hasher: SeriesHasher::random(),
        policy: Policy { ttl: Arc::new(policy(1000, None)), floor: UnixMillis(0) },
        limits: Limits::UNLIMITED,
        history: HistoryLimits { groups: 3, bytes: 1 << 20 },
        stamps: Stamps { expose_deadline: true },
        self_types: hashbrown::HashMap::new(),
    }
}

fn policy(default_ms: u64, rule_ms: Option<u64>) -> TtlPolicy {
    let mut policy = TtlPolicy::new(Ttl::After(Duration::from_millis(default_ms)));
    policy.min = Duration::ZERO;
    policy.rules = rule_ms
        .map(|ms| TtlRule {
            selector: Selector::parse(r#"{job="j1"}"#).unwrap(),
            ttl: RuleTtl::Fixed(Ttl::After(Duration::from_millis(ms))),
        })
        .into_iter()
        .collect();
    policy
}

impl Replica {
    fn new(etcd: &mut Offline, leads: bool, at: Moment) -> Self {
        let store = etcd.replica(leads);
        let mut options = options();
        if let Some((policy, _)) = store.policy() {
            options.policy.ttl = Arc::new(policy);
        }
        let shared = Arc::new(Store::Etcd(Arc::clone(&store)));
        let (State { judge, view }, writer, _) = State::load(&shared, options, at).unwrap();
        Self { store, judge, view, writer }
    }

    fn follow(&mut self, mut feed: Feed) {
        let stop = CancellationToken::new();
        loop {
            let followed = self.writer.follow(&mut feed, &stop, Duration::ZERO).unwrap();
            if followed.is_empty() {
                return;
            }
            let taken = take(&mut self.judge, followed);
            assert_eq!(taken.damaged, [], "all groups can be read");
            for change in taken.changes {
                self.view.publish(change);
            }
        }
    }

    /// All that it shows, in an order that all have alike.
    fn shown(&self, now: u64) -> Vec<String> {
        let now = UnixMillis(now);
        let options = ScrapeOptions {
            format: ScrapeFormat::negotiate("", false),
            encoding: ContentEncoding::Identity,
        };
        let snapshot = self.view.snapshot(now);
        let mut exposition = Exposition::new(snapshot, Vec::new(), options, false, Arc::default());
        let mut frames = Vec::new();
        while exposition.next_frames(&mut frames) {}
        let text = String::from_utf8(frames.concat()).unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let removed = self.view.removed().iter();
        lines.extend(removed.map(|it| format!("{} {} {:?}", it.key, it.sequence, it.reason)));
        let groups = self.view.groups(now);
        lines.extend(groups.map(|it| {
            format!("{} {} {} {} {:?}", it.key, it.number, it.series, it.bytes, it.state)
        }));
        lines.sort_unstable();
        lines
    }
}

impl Bench {
    fn new() -> Self {
        let mut etcd = Offline::new();
        let leader = Replica::new(&mut etcd, true, Moment::default());
        let follower = Replica::new(&mut etcd, false, Moment::default());
        let first = Some(Arc::new(policy(1000, None)));
        Self {
            etcd,
            leader,
            follower,
            stage: Stage::default(),
            policy: first,
            untold: Vec::new(),
            missed: false,
            now: 1000,
        }
    }

    fn at(&self) -> Moment {
        let now = UnixMillis(self.now);
        Moment { now, wall: now.to_wall(0) }
    }

    fn push(&mut self, push: Push) {
        let at = self.at();
        let Replica { judge, writer, .. } = &mut self.leader;
        let mut push = Box::new(push);
        while let Verdict::Later(again) = judge.push(writer, &mut self.stage, push, at) {
            push = again;
        }
    }

    fn run(&mut self, op: &Op) {
        let at = self.at();
        let Replica { judge, writer, .. } = &mut self.leader;
        match op {
            Op::Push { group, replace, wide, families, ttl } => {
                let key = key(*group);
                let text = body(*group, *wide, families, self.now);
                let families = parse(text.as_bytes(), NameRules::Legacy).unwrap();
                let limits = judge.limits;
                let rules = Rules { limits: &limits, names: NameRules::Legacy, lenient: false };
                let hasher = judge.index.hasher();
                let families = prepare(&key, hasher, rules, families, &mut Unmetered).unwrap();
                let push = Push {
                    mode: if *replace { PushMode::Replace } else { PushMode::Update },
                    block: LabelBlock::of_group(&key),
                    asked: ttl.map(|ms| Ttl::After(Duration::from_millis(ms))),
                    policy: Arc::clone(&judge.policy.ttl),
                    rule: judge.policy.ttl.rule_of(&key),
                    families,
                    lenient: false,
                    origin: Origin::Pushed,
                    waited: false,
                    request: None,
                    meter: None,
                    key,
                };
                self.push(push);
            }
            Op::Delete(group) => judge.delete(writer, &mut self.stage, &key(*group), at),
            Op::Change(group, operation) => {
                judge.change(writer, &mut self.stage, vec![key(*group)], *operation, at).unwrap();
            }
            Op::Wipe => {
                judge.wipe(writer, &mut self.stage);
            }
            Op::Reap => judge.reap(writer, &mut self.stage, at),
            Op::Policy(default_ms, rule_ms) => {
                let policy = Arc::new(policy(*default_ms, *rule_ms));
                let mut from = Some(0);
                while let Some(next) = from {
                    from = judge.set_policy(writer, &mut self.stage, &policy, next, at);
                }
                self.policy = Some(policy);
            }
            Op::Wait(millis) => self.now += millis,
            Op::Commit => self.commit(),
            Op::Miss => self.missed = true,
            Op::Swap => self.swap(),
        }
    }

    fn commit(&mut self) {
        let at = self.at();
        let Replica { store, judge, view, writer } = &mut self.leader;
        judge.finish(&mut self.stage);
        let policy = self.policy.take().map(|policy| ((*policy).clone(), Proposal::default()));
        let commit = Commit { at, next: judge.index.next(), policy, ..Commit::default() };
        writer.commit(&commit).unwrap();
        self.untold.push(self.etcd.commit(store));
        for change in mem::take(&mut self.stage).changes {
            view.publish(change);
        }
        self.now += 1;
    }

    fn swap(&mut self) {
        self.commit();
        self.check();
        self.etcd.change_leader(&self.leader.store, &self.follower.store);
        mem::swap(&mut self.leader, &mut self.follower);
        let (number, sequence) = self.leader.store.latest().unwrap().next;
        self.leader.judge.index.seen_stored(number - 1, sequence - 1);
    }

    /// Has the follower catch up, and compares it with the leader and with one that loads everything.
    fn check(&mut self) {
        let untold = mem::take(&mut self.untold);
        let untold = if mem::take(&mut self.missed) {
            vec![None]
        } else {
            untold.into_iter().map(Some).collect()
        };
        self.follower.follow(self.etcd.feed(untold));
        let at = self.at();
        let fresh = Replica::new(&mut self.etcd, false, at);
        let (leader, follower) = (self.leader.shown(self.now), self.follower.shown(self.now));
        assert_same(&leader, &follower, "the leader, and the follower");
        assert_same(&fresh.shown(self.now), &follower, "one that has loaded all, and the follower");
    }
}

#[track_caller]
fn assert_same(one: &[String], other: &[String], who: &str) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    let (one, other) = (only(one, other), only(other, one));
    assert!(one.is_empty() && other.is_empty(), "{who}: {one:#?}\n{other:#?}");
}

fn key(group: usize) -> GroupingKey {
    GroupingKey::new(vec![Label::new("job", format!("j{group}"))]).unwrap()
}

/// Help texts differ by group, and two names have another type in one of them.
fn body(group: usize, wide: bool, families: &[(usize, usize)], now: u64) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for (family, series) in families {
        let name = format!("f{family}");
        let kind = if *family == 0 && group == 3 { "counter" } else { "gauge" };
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", group % 2);
        for at in 0..*series {
            let padding = if wide { "x".repeat(400) } else { String::new() };
            let _ = writeln!(text, "{name}{{n=\"{at}\",x=\"{padding}\"}} {now}");
        }
    }
    text
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let group = 0..GROUPS;
    let family = |max: usize| (0..max, 0..4_usize);
    let ttl = prop::option::weighted(0.2, 1..3000_u64);
    let distinct = |families: Vec<(usize, usize)>| {
        let mut seen = std::collections::BTreeMap::new();
        seen.extend(families);
        seen.into_iter().collect::<Vec<_>>()
    };
    let push = (group.clone(), any::<bool>(), prop::collection::vec(family(6), 0..4), ttl);
    let push = push.prop_map(move |(group, replace, families, ttl)| Op::Push {
        group,
        replace,
        wide: false,
        families: distinct(families),
        ttl,
    });
    let wide = (0..2_usize, any::<bool>(), prop::collection::vec(family(60), 1..60));
    let wide = wide.prop_map(move |(group, replace, families)| Op::Push {
        group,
        replace,
        wide: true,
        families: distinct(families),
        ttl: None,
    });
    let few = (0..2_usize, prop::collection::vec(family(60), 1..3));
    let few = few.prop_map(move |(group, families)| Op::Push {
        group,
        replace: false,
        wide: true,
        families: distinct(families),
        ttl: None,
    });
    let change = prop_oneof![
        Just(Operation::Touch),
        Just(Operation::Delete { pushed_before: None }),
        prop::option::of(1..5000_u64).prop_map(|ms| {
            Operation::Override(ms.map(|ms| Ttl::After(Duration::from_millis(ms))))
        }),
    ];
    let op = prop_oneof![
        6 => push,
        2 => wide,
        4 => few,
        1 => group.clone().prop_map(Op::Delete),
        1 => (group, change).prop_map(|(group, operation)| Op::Change(group, operation)),
        1 => Just(Op::Wipe),
        2 => Just(Op::Reap),
        1 => (500..3000_u64, prop::option::of(100..3000_u64)).prop_map(|(a, b)| Op::Policy(a, b)),
        3 => (1..900_u64).prop_map(Op::Wait),
        8 => Just(Op::Commit),
        1 => Just(Op::Miss),
        1 => Just(Op::Swap),
    ];
    prop::collection::vec(op, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { ..ProptestConfig::default() })]

    #[test]
    fn a_follower_has_what_the_leader_has(ops in ops()) {
        let mut bench = Bench::new();
        bench.commit();
        for (op, at) in ops.iter().zip(0_usize..) {
            bench.run(op);
            if at.is_multiple_of(7) {
                bench.commit();
                bench.check();
            }
        }
        bench.commit();
        bench.check();
    }
}

#[test]
fn a_part_of_a_wide_group_is_followed_without_the_rest() {
    let mut bench = Bench::new();
    let all: Vec<_> = (0..60).map(|family| (family, 3)).collect();
    let push = |replace, families| Op::Push { group: 1, replace, wide: true, families, ttl: None };
    bench.run(&push(true, all));
    bench.commit();
    bench.check();
    bench.run(&push(false, vec![(7, 2), (99, 1)]));
    bench.commit();
    let told = bench.untold.pop().map(Some);
    let mut feed = bench.etcd.feed(told.into_iter().collect());
    let stop = CancellationToken::new();
    let writer = &mut bench.follower.writer;
    let followed = writer.follow(&mut feed, &stop, Duration::ZERO).unwrap();
    let families = followed.iter().find_map(|followed| match followed {
        Followed::Part(part) => Some(part.families.len()),
        _ => None,
    });
    assert!(families.is_some_and(|families| families < 12), "{families:?}");
}

/// A leader and a replica that has followed it, with a push to each of two groups.
fn two_groups() -> Bench {
    let mut bench = Bench::new();
    for group in [0, 1] {
        let families = vec![(group, 1)];
        bench.run(&Op::Push { group, replace: true, wide: false, families, ttl: None });
    }
    bench.commit();
    bench.check();
    bench
}

/// The keys of the groups that a replica shows.
fn shown_keys(replica: &Replica, now: u64) -> Vec<String> {
    replica.view.groups(UnixMillis(now)).map(|group| group.key.to_string()).collect()
}

/// Somebody writes junk to a chunk of the first group: it is set aside by a replica that follows, and by one
/// that loads everything; the other group is shown.
#[track_caller]
fn set_aside(mut bench: Bench, chunk: impl Fn(u32) -> bool) {
    let first = bench.leader.judge.index.find(&key(0)).unwrap();
    let first = bench.leader.judge.index.group(first).unwrap().number;
    let junk = bytes::Bytes::from("junk");
    let told = bench.etcd.write_to_chunks(|number, at| number == first && chunk(at), &junk);
    let mut feed = bench.etcd.feed(vec![Some(told)]);
    let stop = CancellationToken::new();
    let follower = &mut bench.follower;
    let followed = follower.writer.follow(&mut feed, &stop, Duration::ZERO).unwrap();
    let taken = take(&mut follower.judge, followed);
    assert_eq!(taken.damaged.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [first]);
    for change in taken.changes {
        follower.view.publish(change);
    }
    assert_eq!(shown_keys(&bench.follower, bench.now), [key(1).to_string()]);
    let loaded = Replica::new(&mut bench.etcd, false, Moment::default());
    assert_eq!(shown_keys(&loaded, bench.now), [key(1).to_string()]);
}

#[test]
fn a_group_that_cannot_be_read_is_set_aside_and_the_others_are_shown() {
    set_aside(two_groups(), |chunk| chunk == 0);
}

#[test]
fn a_wide_group_of_which_one_chunk_cannot_be_read_is_set_aside_as_a_whole() {
    let mut bench = two_groups();
    let families = (0..60).map(|family| (family, 3)).collect();
    bench.run(&Op::Push { group: 0, replace: true, wide: true, families, ttl: None });
    bench.commit();
    bench.check();
    // So that it is followed by its chunks that have changed.
    set_aside(bench, |chunk| chunk == 3);
}

#[test]
fn a_record_that_cannot_be_read_changes_nothing_until_all_is_loaded_again() {
    let mut bench = two_groups();
    let before = bench.follower.shown(bench.now);
    let (record, told) = bench.etcd.write_to_record(&bytes::Bytes::from("junk"));
    let mut feed = bench.etcd.feed(vec![Some(told)]);
    let stop = CancellationToken::new();
    let follow =
        |replica: &mut Replica, feed: &mut Feed| replica.writer.follow(feed, &stop, Duration::ZERO);
    follow(&mut bench.follower, &mut feed).unwrap_err();
    assert!(feed.is_broken());
    // Nobody can load it at present: etcd is not there.
    assert_eq!(follow(&mut bench.follower, &mut feed).unwrap(), []);
    assert!(feed.is_broken());
    assert_eq!(bench.follower.shown(bench.now), before);
    bench.etcd.write_to_record(&record);
    let mut feed = bench.etcd.feed(vec![None]);
    let followed = follow(&mut bench.follower, &mut feed).unwrap();
    assert_eq!(take(&mut bench.follower.judge, followed).damaged, []);
    assert_eq!(bench.follower.shown(bench.now), before);
}

#[test]
fn a_clock_that_was_ahead_at_the_start_is_set_back_once() {
    use crate::time::ManualClock;

    const HOUR: u64 = 3_600_000;
    let batch = |now: u64| BatchSeen {
        at: Moment { now: UnixMillis(now), wall: UnixNanos(0) },
        offset_ms: 0,
        next: (0, 0),
        requests: Vec::new(),
        revision: 1,
        skipped: false,
    };
    let manual = || ManualClock::at(UnixNanos(i64::try_from(2 * HOUR).unwrap() * 1_000_000));
    let (clock, mut shared) = (manual(), SharedClock::new(false));
    shared.saw(&batch(HOUR), &clock);
    assert_eq!(clock.now(), UnixMillis(HOUR));
    // From then on time never goes back.
    shared.saw(&batch(HOUR / 2), &clock);
    assert_eq!(clock.now(), UnixMillis(HOUR));
    let (clock, mut shared) = (manual(), SharedClock::new(true));
    shared.saw(&batch(HOUR), &clock);
    assert_eq!(clock.now(), UnixMillis(2 * HOUR));
    // Forward at once.
    shared.saw(&batch(3 * HOUR), &clock);
    assert_eq!(clock.now(), UnixMillis(3 * HOUR));
}
