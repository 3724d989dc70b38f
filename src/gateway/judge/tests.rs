//! The judge, with the groups in a map.

use std::time::Duration;

use super::*;
use crate::exposition::text::parse;
use crate::gateway::history::HistoryLimits;
use crate::gateway::prepare::{Rules, SeriesHasher, prepare};
use crate::model::{Label, NameRules, RuleTtl, Selector, Ttl, TtlRule, Unmetered};
use crate::store::map::MapGroups;
use crate::time::UnixNanos;

use PushMode::{Replace, Update};

const TTL_MILLIS: u64 = 1000;
/// No history: a group that is removed is purged.
const HISTORY: HistoryLimits = HistoryLimits { groups: 0, bytes: 0 };

struct Bench {
    judge: Judge,
    groups: MapGroups,
    hasher: SeriesHasher,
    now: u64,
    /// Whether pushes leave out what contradicts.
    lenient: bool,
}

fn rules(judge: &Judge, lenient: bool) -> Rules<'_> {
    Rules { limits: &judge.limits, names: NameRules::Legacy, lenient }
}

impl Bench {
    fn new() -> Self {
        let hasher = SeriesHasher::random();
        let own = [("own_gauge", MetricType::Gauge), ("own_histogram", MetricType::Histogram)];
        let judge = Judge {
            index: Index::new(hasher),
            policy: Policy {
                ttl: Arc::new(TtlPolicy::new(Ttl::After(Duration::from_millis(TTL_MILLIS)))),
                floor: UnixMillis(0),
            },
            history: History::new(HISTORY),
            stamps: Stamps::default(),
            limits: Limits::UNLIMITED,
            self_types: own.map(|(name, kind)| (name.to_owned(), kind)).into(),
        };
        Self { judge, groups: MapGroups::default(), hasher, now: 0, lenient: false }
    }

    /// With these groups stored.
    fn with(stored: &[(&str, &str)]) -> Self {
        let mut bench = Self::new();
        for (key, body) in stored {
            bench.push(Replace, key, body).unwrap_or_else(|refusal| panic!("{key}: {refusal}"));
        }
        bench
    }

    fn at(&self) -> Moment {
        let wall = UnixNanos(i64::try_from(self.now).unwrap() * 1_000_000);
        Moment { now: UnixMillis(self.now), wall }
    }

    /// Stages a push, a millisecond after the one before.
    fn stage(
        &mut self,
        stage: &mut Stage,
        mode: PushMode,
        key: &str,
        body: &str,
    ) -> Result<UnixMillis, Refusal> {
        self.now += 1;
        let key = self::key(key);
        let families = parse(body.as_bytes(), NameRules::Legacy).unwrap();
        let push = Push {
            mode,
            block: LabelBlock::of_group(&key),
            asked: None,
            policy: Arc::clone(&self.judge.policy.ttl),
            rule: None,
            families: prepare(
                &key,
                self.hasher,
                rules(&self.judge, self.lenient),
                families,
                &mut Unmetered,
            )
            .unwrap(),
            waited: false,
            request: None,
            meter: None,
            lenient: self.lenient,
            origin: Origin::Pushed,
            key,
        };
        let at = self.at();
        let mut push = Box::new(push);
        loop {
            match self.judge.push(&mut self.groups, stage, push, at) {
                Verdict::Done(done) => {
                    return done.map_err(|error| match error {
                        Error::Refused(refusal) => refusal,
                        Error::Fault(fault) => panic!("{fault:?}"),
                    });
                }
                Verdict::Later(again) => push = again,
            }
        }
    }

    fn finish(&mut self, mut stage: Stage) -> Stage {
        self.judge.finish(&mut stage);
        stage
    }

    /// A push in a batch of its own, and what that changed.
    fn pushed(&mut self, mode: PushMode, key: &str, body: &str) -> (Result<(), Refusal>, Stage) {
        let mut stage = Stage::default();
        let result = self.stage(&mut stage, mode, key, body).map(drop);
        (result, self.finish(stage))
    }

    fn push(&mut self, mode: PushMode, key: &str, body: &str) -> Result<(), Refusal> {
        self.pushed(mode, key, body).0
    }

    fn group(&self, key: &str) -> Option<&Group> {
        self.judge.index.find(&self::key(key)).and_then(|id| self.judge.index.group(id))
    }

    /// The names of the families that are stored of a group.
    fn stored(&self, key: &str) -> Vec<String> {
        let number = self.group(key).unwrap().number;
        self.groups.groups[&number].families.keys().cloned().collect()
    }

    /// How many groups are stored.
    fn stored_count(&self) -> usize {
        self.groups.groups.len()
    }
}

/// `"job=j,zone=z"`.
fn key(text: &str) -> GroupingKey {
    let labels = text.split(',').map(|label| {
        let (name, value) = label.split_once('=').unwrap();
        Label::new(name, value)
    });
    GroupingKey::new(labels.collect()).unwrap()
}

/// A body of families `name_0` to `name_{count - 1}` of some 100 bytes each.
fn many(name: &str, count: usize) -> String {
    let line = |n| format!("{name}_{n}{{padding=\"{}\"}} 1\n", "x".repeat(60));
    (0..count).map(line).collect()
}

const GAUGE: &str = "# TYPE m gauge\nm 1\n";
const COUNTER: &str = "# TYPE m counter\nm 1\n";
const SUMMARY: &str = "# TYPE m summary\nm_sum 1\nm_count 1\n";
/// Text has it as a histogram.
const GAUGE_HISTOGRAM: &str = "# TYPE m gaugehistogram\nm_sum 1\nm_count 1\n";
const HISTOGRAM: &str = "# TYPE m histogram\nm_bucket{le=\"+Inf\"} 1\nm_sum 1\nm_count 1\n";

/// Pushes to gateways that hold some groups: accepted, or refused for this reason.
#[test]
fn a_push_is_refused_where_the_whole_would_be_inconsistent_and_only_there() {
    type Case = (&'static [(&'static str, &'static str)], PushMode, &'static str, &'static str);
    let cases: &[(Case, Option<&str>)] = &[
        // One name, one type.
        ((&[("job=a", GAUGE)], Replace, "job=b", COUNTER), Some("type")),
        ((&[("job=a", GAUGE)], Update, "job=b", COUNTER), Some("type")),
        ((&[("job=a", GAUGE)], Replace, "job=b", GAUGE), None),
        ((&[("job=a", GAUGE)], Replace, "job=a", COUNTER), None),
        ((&[("job=a", GAUGE)], Update, "job=a", COUNTER), None),
        ((&[("job=a", GAUGE), ("job=b", GAUGE)], Replace, "job=a", COUNTER), Some("type")),
        ((&[], Replace, "job=a", "# TYPE own_gauge counter\nown_gauge 1\n"), Some("type")),
        ((&[], Replace, "job=a", "# TYPE own_gauge gauge\nown_gauge 1\n"), None),
        // No family is named like a part of another: in one push.
        ((&[], Replace, "job=a", "m_count 1\n# TYPE m summary\nm_sum 1\n"), Some("suffix")),
        ((&[], Replace, "job=a", "m_bucket 1\n# TYPE m histogram\nm_sum 1\n"), Some("suffix")),
        ((&[], Replace, "job=a", "m_bucket 1\n# TYPE m summary\nm_sum 1\n"), None),
        ((&[], Replace, "job=a", "m_count 1\n# TYPE m gauge\nm 1\n"), None),
        // Against other groups, in both orders.
        ((&[("job=a", SUMMARY)], Replace, "job=b", "m_count 1\n"), Some("suffix")),
        ((&[("job=a", SUMMARY)], Replace, "job=b", "m_sum 1\n"), Some("suffix")),
        ((&[("job=a", SUMMARY)], Replace, "job=b", "m_bucket 1\n"), None),
        ((&[("job=a", HISTOGRAM)], Update, "job=b", "m_bucket 1\n"), Some("suffix")),
        ((&[("job=a", GAUGE)], Replace, "job=b", "m_count 1\n"), None),
        ((&[("job=a", GAUGE_HISTOGRAM)], Replace, "job=b", "m_count 1\n"), Some("suffix")),
        ((&[("job=a", "m_bucket 1\n")], Replace, "job=b", GAUGE_HISTOGRAM), Some("suffix")),
        ((&[("job=a", "m_count 1\n")], Replace, "job=b", SUMMARY), Some("suffix")),
        ((&[("job=a", "m_bucket 1\n")], Replace, "job=b", SUMMARY), None),
        ((&[("job=a", "m_bucket 1\n")], Replace, "job=b", HISTOGRAM), Some("suffix")),
        // Against the rest of the same group, which a PUT replaces and a POST keeps.
        ((&[("job=a", SUMMARY)], Replace, "job=a", "m_count 1\n"), None),
        ((&[("job=a", SUMMARY)], Update, "job=a", "m_count 1\n"), Some("suffix")),
        ((&[("job=a", "m_count 1\n")], Replace, "job=a", SUMMARY), None),
        ((&[("job=a", "m_count 1\n")], Update, "job=a", SUMMARY), Some("suffix")),
        ((&[("job=a", SUMMARY)], Update, "job=a", "# TYPE m gauge\nm 1\nm_count 1\n"), None),
        (
            (&[("job=a", SUMMARY), ("job=b", SUMMARY)], Replace, "job=a", "m_count 1\n"),
            Some("suffix"),
        ),
        // Against the gateway's own metrics.
        ((&[], Replace, "job=a", "own_histogram_bucket 1\n"), Some("suffix")),
        ((&[], Replace, "job=a", "own_gauge_bucket 1\n"), None),
        ((&[], Replace, "job=a", "# TYPE own summary\nown_sum 1\n"), None),
        // No series is there twice: in one push.
        ((&[], Replace, "job=a", "m 1\nm 2\n"), Some("duplicate")),
        // A label without a value is none.
        ((&[], Replace, "job=a", "m{x=\"\"} 1\nm 2\n"), Some("duplicate")),
        ((&[], Replace, "job=a", "m{x=\"\"} 1\n"), None),
        ((&[("job=j,x=", "n 1\n")], Replace, "job=j", "m 1\n"), Some("duplicate")),
        ((&[("job=j", "n 1\n")], Replace, "job=j,x=,y=", "m 1\n"), Some("duplicate")),
        ((&[("job=j,x=", "m 1\n")], Replace, "job=j,x=", "m{y=\"\"} 1\n"), None),
        ((&[("job=j,a=1", "m 1\n")], Replace, "job=j", "m{a=\"1\",b=\"\"} 1\n"), Some("duplicate")),
        // In two groups, of which one brings as labels what the other has in its key.
        ((&[("job=j", "m{zone=\"z\"} 1\n")], Replace, "job=j,zone=z", "m 1\n"), Some("duplicate")),
        ((&[("job=j,zone=z", "m 1\n")], Replace, "job=j", "m{zone=\"z\"} 1\n"), Some("duplicate")),
        ((&[("job=j,zone=z", "m 1\n")], Replace, "job=j", "m{zone=\"y\"} 1\n"), None),
        ((&[("job=j,zone=z", "m 1\n")], Replace, "job=j", "m 1\n"), None),
        ((&[("job=j,zone=z", "n 1\n")], Replace, "job=j", "m{zone=\"z\"} 1\n"), None),
        (
            (&[("job=j", "m{instance=\"i\"} 1\n")], Replace, "job=j,instance=i", "m 1\n"),
            Some("duplicate"),
        ),
        (
            (&[("job=j,instance=i", "m 1\n")], Update, "job=j", "m{instance=\"i\"} 1\n"),
            Some("duplicate"),
        ),
        // Both bring some of the other's key.
        (
            (&[("job=j,a=1", "m{b=\"2\"} 1\n")], Replace, "job=j,b=2", "m{a=\"1\"} 1\n"),
            Some("duplicate"),
        ),
        ((&[("job=j,a=1", "m{b=\"2\"} 1\n")], Replace, "job=j,b=2", "m{a=\"2\"} 1\n"), None),
        ((&[("job=j,a=1", "m{b=\"2\"} 1\nm 1\n")], Replace, "job=j,b=2", "m 1\n"), None),
        // A push does not collide with what it replaces.
        ((&[("job=j", "m{zone=\"z\"} 1\n")], Update, "job=j", "m{zone=\"z\"} 2\n"), None),
        // Keys that differ by instance="" have the same stamps.
        ((&[("job=j", "")], Replace, "job=j,instance=", ""), Some("duplicate")),
        ((&[("job=j,instance=", "")], Update, "job=j", ""), Some("duplicate")),
        ((&[("job=j,instance=i", "")], Replace, "job=j", ""), None),
        // Labels.
        ((&[], Replace, "job=j", "m{__x=\"1\"} 1\n"), Some("label")),
        ((&[], Replace, "job=j", "m 1 1000\n"), Some("timestamp")),
        // Its own stamps are ignored.
        ((&[], Replace, "job=j", "# TYPE push_time_seconds counter\npush_time_seconds 1\n"), None),
        ((&[], Replace, "job=j", "# TYPE push_time summary\npush_time_sum 1\n"), None),
    ];
    for ((stored, mode, key, body), expected) in cases {
        let result = Bench::with(stored).push(*mode, key, body);
        let reason = result.as_ref().err().map(|refusal| refusal.reason().as_str());
        assert_eq!(reason, *expected, "{stored:?}, {mode:?} {key} {body:?}: {result:?}");
    }
}

#[test]
fn pushes_of_one_batch_are_judged_one_after_another() {
    let mut bench = Bench::new();
    let mut stage = Stage::default();
    bench.stage(&mut stage, Replace, "job=a", GAUGE).unwrap();
    let refusal = bench.stage(&mut stage, Replace, "job=b", COUNTER).unwrap_err();
    assert_eq!(refusal.reason().as_str(), "type");
    bench.stage(&mut stage, Replace, "job=j", "m{zone=\"z\"} 1\n").unwrap_err();
    let at = bench.at();
    bench.judge.delete(&mut bench.groups, &mut stage, &key("job=a"), at);
    bench.stage(&mut stage, Replace, "job=b", COUNTER).unwrap();
    bench.stage(&mut stage, Replace, "job=j", "n{zone=\"z\"} 1\n").unwrap();
    // The series that is in the way is in the batch, not yet in the store.
    let refusal = bench.stage(&mut stage, Replace, "job=j,zone=z", "n 1\n").unwrap_err();
    assert_eq!(refusal.reason().as_str(), "duplicate");
    bench.finish(stage);
    assert!(bench.group("job=a").is_none());
    assert_eq!(bench.stored("job=b"), ["m"]);
}

#[test]
fn limits_are_of_what_would_be_there_after_the_push() {
    let limits = Limits {
        series_per_push: 3,
        series_per_group: 4,
        series: 6,
        groups: 3,
        ..Limits::UNLIMITED
    };
    let body = |name: &str, count: usize| {
        let lines = (0..count).map(|n| format!("{name}{{n=\"{n}\"}} 1\n"));
        lines.collect::<Vec<_>>().concat()
    };
    let stored: &[(&str, String)] = &[("job=a", body("m", 3)), ("job=b", body("m", 1))];
    for (mode, key, body, setting) in [
        (Replace, "job=c", body("n", 4), Some("limits.series-per-push")),
        (Update, "job=a", body("n", 2), Some("limits.series-per-group")),
        (Update, "job=a", body("n", 1), None),
        (Update, "job=a", body("m", 3), None),
        (Replace, "job=a", body("n", 3), None),
        (Replace, "job=c", body("n", 3), Some("limits.series ")),
        (Replace, "job=c", body("n", 2), None),
    ] {
        let stored: Vec<_> = stored.iter().map(|(key, body)| (*key, body.as_str())).collect();
        let mut bench = Bench::with(&stored);
        bench.judge.limits = limits;
        let refusal = bench.push(mode, key, &body).err();
        let named = |setting| refusal.as_ref().is_some_and(|r| r.to_string().contains(setting));
        assert_eq!(refusal.is_some(), setting.is_some(), "{mode:?} {key} {body:?}: {refusal:?}");
        assert!(setting.is_none_or(named), "{refusal:?}");
        let failed = bench.group(key).and_then(|group| group.state.failed);
        assert_eq!(failed, None, "too much is no failure of the group");
    }
}

#[test]
fn groups_are_limited_in_number_for_refused_pushes_too() {
    let mut bench = Bench::with(&[("job=a", GAUGE)]);
    bench.judge.limits = Limits { groups: 1, ..Limits::UNLIMITED };
    assert_eq!(bench.push(Replace, "job=b", "").unwrap_err().reason().as_str(), "limit");
    assert_eq!(
        bench.push(Replace, "job=b", "m 1 1000\n").unwrap_err().reason().as_str(),
        "timestamp"
    );
    assert!(bench.group("job=b").is_none());
    bench.push(Replace, "job=a", GAUGE).unwrap();
    bench.now += TTL_MILLIS;
    bench.push(Replace, "job=b", GAUGE).expect("the other has expired");
}

#[test]
fn a_refused_push_changes_the_time_of_the_failure_and_nothing_else() {
    let mut bench = Bench::with(&[("job=a", "a 1\nb 2\n"), ("job=b", GAUGE)]);
    let before = Arc::clone(&bench.group("job=a").unwrap().state);
    let (result, stage) = bench.pushed(Replace, "job=a", "c 1 1000\n");
    assert_eq!(result.unwrap_err().reason().as_str(), "timestamp");
    let failed = Some(bench.at().wall);
    let state = &bench.group("job=a").unwrap().state;
    let failure = state.failure.clone();
    assert!(failure.as_deref().is_some_and(|why| why.contains("timestamps")), "{failure:?}");
    assert_eq!(**state, GroupState { failed, failure, ..(*before).clone() });
    assert_eq!(bench.stored("job=a"), ["a", "b"]);
    let [Change::Group { lines, group: GroupView { series: 2, .. }, .. }] =
        stage.changes.as_slice()
    else {
        panic!("{:?}", stage.changes)
    };
    assert!(lines.is_empty());

    // A group that was not there is there then, without families.
    bench.push(Update, "job=c", COUNTER).unwrap_err();
    let state = Arc::clone(&bench.group("job=c").unwrap().state);
    assert_eq!((state.pushed, state.failed, state.pushes), (None, Some(bench.at().wall), 0));
    assert!(bench.stored("job=c").is_empty());
    // Unless its stamps would be another group's.
    bench.push(Update, "job=c,instance=", COUNTER).unwrap_err();
    assert!(bench.group("job=c,instance=").is_none());
    // A push that succeeds keeps the time of the failure.
    bench.push(Replace, "job=c", "n 1\n").unwrap();
    assert_eq!(bench.group("job=c").unwrap().state.failed, state.failed);
}

#[test]
fn only_a_push_that_succeeds_renews_the_deadline() {
    let mut bench = Bench::with(&[("job=a", GAUGE)]);
    let deadline = bench.group("job=a").unwrap().deadline;
    bench.now += 10;
    bench.push(Update, "job=a", "m 1 1000\n").unwrap_err();
    assert_eq!(bench.group("job=a").unwrap().deadline, deadline);
    bench.push(Update, "job=a", "").unwrap();
    assert_eq!(bench.group("job=a").unwrap().deadline.0, bench.now + TTL_MILLIS);
}

#[test]
fn what_has_expired_is_in_no_way_and_goes() {
    for (stored, key, body) in [
        (("job=a", GAUGE), "job=b", COUNTER),
        (("job=a", SUMMARY), "job=b", "m_count 1\n"),
        (("job=j", "m{zone=\"z\"} 1\n"), "job=j,zone=z", "m 1\n"),
        (("job=j", ""), "job=j,instance=", ""),
    ] {
        let mut bench = Bench::with(&[stored]);
        bench.now += TTL_MILLIS / 2;
        bench.push(Replace, "job=live", "live 1\n").unwrap();
        bench.now += TTL_MILLIS / 2 - 3;
        assert!(bench.push(Replace, key, body).is_err(), "{stored:?} lives for one more instant");
        let (result, stage) = bench.pushed(Replace, key, body);
        result.unwrap_or_else(|refusal| panic!("{stored:?} has expired: {refusal}"));
        let expired: Vec<_> = stage.removed.iter().map(|expired| expired.key.clone()).collect();
        assert_eq!(expired, [self::key(stored.0)]);
        assert!(bench.group(stored.0).is_none() && bench.group("job=live").is_some());
    }
}

/// All expired groups were removed inside one command.
#[test]
fn no_command_removes_more_than_some_of_what_has_expired() {
    let mut bench = Bench::new();
    for n in 0..600 {
        bench.push(Replace, &format!("job={n}"), COUNTER).unwrap();
    }
    bench.now += TTL_MILLIS;
    // In conflict with all of them.
    let key = key("job=other");
    let families = parse(GAUGE.as_bytes(), NameRules::Legacy).unwrap();
    let rules = rules(&bench.judge, false);
    let prepared = prepare(&key, bench.hasher, rules, families, &mut Unmetered).unwrap();
    let mut push = Box::new(Push {
        mode: Replace,
        block: LabelBlock::of_group(&key),
        asked: None,
        policy: Arc::clone(&bench.judge.policy.ttl),
        rule: None,
        families: prepared,
        lenient: false,
        origin: Origin::Pushed,
        waited: false,
        request: None,
        meter: None,
        key,
    });
    let at = bench.at();
    for left in [350, 100] {
        let mut stage = Stage::default();
        let Verdict::Later(again) = bench.judge.push(&mut bench.groups, &mut stage, push, at)
        else {
            panic!("some are left");
        };
        assert_eq!((stage.removed.len(), bench.judge.index.group_count()), (250, left));
        bench.finish(stage);
        push = again;
    }
    let mut stage = Stage::default();
    let verdict = bench.judge.push(&mut bench.groups, &mut stage, push, at);
    assert!(matches!(verdict, Verdict::Done(Ok(_))), "{verdict:?}");
    assert_eq!((stage.removed.len(), bench.judge.index.group_count()), (100, 1));
    bench.finish(stage);
    // Nor does a change of the settings.
    for n in 0..300 {
        bench.push(Replace, &format!("job={n}"), GAUGE).unwrap();
    }
    bench.now += TTL_MILLIS;
    let at = bench.at();
    let policy = Arc::new(TtlPolicy::new(Ttl::Never));
    // An expired group stays expired, and is not left for the next start to decide anew.
    for (again, removed, left) in [(Some(0), 250, 51), (None, 51, 0)] {
        let mut stage = Stage::default();
        assert_eq!(bench.judge.set_policy(&mut bench.groups, &mut stage, &policy, 0, at), again);
        assert_eq!((stage.removed.len(), bench.judge.index.group_count()), (removed, left));
        bench.finish(stage);
    }
    assert_eq!(bench.stored_count(), 0, "nothing of them is stored");
}

#[test]
fn a_policy_asks_a_bounded_number_of_rules_in_one_go() {
    let mut bench = Bench::new();
    for n in 0..120 {
        bench.push(Replace, &format!("job={n}"), GAUGE).unwrap();
    }
    let at = bench.at();
    let rule = |n: usize| TtlRule {
        selector: Selector::parse(&format!("{{job=~\"{n}|x\"}}")).unwrap(),
        ttl: RuleTtl::Fixed(Ttl::Never),
    };
    // All but the last twenty groups have one.
    let rules: Vec<_> = (0..100).map(rule).chain((100..999).map(|_| rule(0))).collect();
    let ttl = TtlPolicy { rules, ..TtlPolicy::new(Ttl::After(Duration::from_hours(9))) };
    let policy = Arc::new(ttl);
    let (mut from, mut turns) = (Some(0), 0);
    while let Some(next) = from {
        let mut stage = Stage::default();
        from = bench.judge.set_policy(&mut bench.groups, &mut stage, &policy, next, at);
        assert!(stage.changes.len() <= RULES_ASKED_MAX / 1000);
        bench.finish(stage);
        turns += 1;
    }
    assert_eq!(turns, 3);
    for n in 0..120 {
        let group = bench.group(&format!("job={n}")).unwrap();
        assert_eq!(group.state.ttl == Ttl::Never, n < 100, "{n}");
    }
}

#[test]
fn a_push_to_a_group_that_has_expired_begins_a_new_one() {
    let mut bench = Bench::with(&[("job=a", "a 1\n")]);
    bench.push(Update, "job=a", "b 1 1000\n").unwrap_err();
    let old = bench.group("job=a").unwrap().number;
    bench.now += TTL_MILLIS;
    let (result, stage) = bench.pushed(Update, "job=a", "b 1\n");
    result.unwrap();
    assert_eq!(stage.removed.len(), 1);
    assert_eq!(bench.stored("job=a"), ["b"]);
    let group = bench.group("job=a").unwrap();
    assert_eq!((group.state.failed, group.state.pushes), (None, 1));
    assert_ne!(group.number, old);
    assert_eq!(bench.stored_count(), 1, "of the old one nothing is stored");
}

/// Others are neither read nor written.
#[test]
fn a_command_stages_one_change_of_each_group_that_it_is_about() {
    let mut bench = Bench::with(&[("job=a", &many("m", 1000)), ("job=b", "n 1\n")]);
    for (mode, body, families) in [
        (Update, "m_500 2\n".to_owned(), 1000),
        (Update, many("more", 100), 1100),
        (Update, String::new(), 1100),
        (Update, "m_500 2 1000\n".to_owned(), 1100),
        (Replace, many("m", 3), 3),
    ] {
        let before = bench.groups.changes;
        let _ = bench.push(mode, "job=a", &body);
        assert_eq!(bench.groups.changes, before + 1, "{body:.20?}");
        assert_eq!(bench.stored("job=a").len(), families);
        assert_eq!(bench.group("job=a").unwrap().members.len(), families);
    }
    let (mut stage, at) = (Stage::default(), bench.at());
    bench.judge.delete(&mut bench.groups, &mut stage, &key("job=a"), at);
    assert_eq!(bench.stored_count(), 1);
}

#[test]
fn a_series_is_found_in_another_group() {
    let body = format!("{}m_77777{{zone=\"z\"}} 1\n", many("m", 500));
    let mut bench = Bench::with(&[("job=j", &body)]);
    let refusal = bench.push(Replace, "job=j,zone=z", "m_77777 1\n").unwrap_err();
    assert_eq!(refusal.reason().as_str(), "duplicate");
    bench.push(Update, "job=j", "m_77777{zone=\"y\"} 1\n").unwrap();
    bench.push(Replace, "job=j,zone=z", "m_77777 1\n").unwrap();
}

#[test]
fn a_mass_expiry_is_spread_over_several_reaps() {
    let mut bench = Bench::new();
    let mut stage = Stage::default();
    let groups = 2 * REMOVED_GROUPS_MAX + 5;
    for n in 0..groups {
        bench.stage(&mut stage, Replace, &format!("job={n}"), "m 1\n").unwrap();
    }
    bench.finish(stage);
    bench.now += TTL_MILLIS;
    let mut left = groups;
    for most in [REMOVED_GROUPS_MAX, REMOVED_GROUPS_MAX, 5, 0] {
        let mut stage = Stage::default();
        let at = bench.at();
        bench.judge.reap(&mut bench.groups, &mut stage, at);
        assert_eq!(stage.removed.len(), most);
        bench.finish(stage);
        left -= most;
        assert_eq!(bench.stored_count(), left);
    }
    assert!(bench.judge.index.family_of("m").is_none());
    assert_eq!(bench.judge.index.series_count(), 0);
}

#[test]
fn few_large_groups_are_removed_at_a_time() {
    assert_eq!(removed_at_once([1; 1000].into_iter()), REMOVED_GROUPS_MAX);
    assert_eq!(removed_at_once([u32::MAX; 3].into_iter()), 1);
    assert_eq!(removed_at_once([40_000; 9].into_iter()), 3);
    assert_eq!(removed_at_once([].into_iter()), 0);
}

#[test]
fn a_group_that_cannot_be_read_fails_the_push_and_changes_nothing() {
    let mut bench = Bench::with(&[("job=a", &many("m", 500))]);
    let group = bench.group("job=a").unwrap();
    let before = Arc::clone(&group.state);
    bench.groups.broken.push(group.number);
    let stored = bench.groups.groups.clone();
    let key = key("job=a");
    let families = parse(b"m_0 2\n", NameRules::Legacy).unwrap();
    let push = Push {
        mode: Update,
        block: LabelBlock::of_group(&key),
        asked: None,
        policy: Arc::clone(&bench.judge.policy.ttl),
        rule: None,
        families: prepare(&key, bench.hasher, rules(&bench.judge, false), families, &mut Unmetered)
            .unwrap(),
        waited: false,
        request: None,
        meter: None,
        lenient: false,
        origin: Origin::Pushed,
        key,
    };
    let mut stage = Stage::default();
    let at = bench.at();
    let verdict = bench.judge.push(&mut bench.groups, &mut stage, Box::new(push), at);
    let failed = |error: &Error| matches!(error, Error::Fault(Fault::Read(_)));
    assert!(matches!(&verdict, Verdict::Done(Err(error)) if failed(error)), "{verdict:?}");
    assert!(stage.changes.is_empty() && bench.groups.groups == stored);
    assert_eq!(bench.group("job=a").unwrap().state, before);
}
