//! The model: groups in a map, everything looked at for every question.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::model::MetricType;

use super::ops::{Family, Key, Push, PushTtl, Series};

/// How many policies there are.
pub(crate) const POLICIES: usize = 3;

/// The wall time, in milliseconds, of each group's deadline; `None` is never.
pub(crate) type Deadlines = BTreeMap<BTreeMap<String, String>, Option<i64>>;

/// An exposition: by name of the family. Without what the gateway says of itself.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Scrape {
    pub families: BTreeMap<String, Shown>,
    pub groups: usize,
    pub series: usize,
}

/// A family in an exposition. The order of its lines is free.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Shown {
    pub kind: String,
    pub help: Option<String>,
    /// Name, labels, and value.
    pub lines: Vec<(String, f64)>,
}

/// How a push ends: with the wall time, in milliseconds, of its group's deadline; `None` is never.
pub(crate) type Outcome = Result<Option<i64>, Refused>;

#[derive(Debug, PartialEq)]
pub(crate) struct Refused;

type Labels = BTreeMap<&'static str, String>;

pub(crate) struct Reference {
    groups: BTreeMap<Labels, Group>,
    /// Removed groups, oldest first.
    removed: Vec<(Labels, Group)>,
    policy: usize,
    now: u64,
    wall: i64,
    pushes: u64,
}

#[derive(Clone)]
struct Group {
    families: BTreeMap<&'static str, Stored>,
    /// Wall time of the last push that succeeded, and of the last that failed.
    pushed: i64,
    failed: i64,
    renewed: u64,
    asked: PushTtl,
    overridden: PushTtl,
    rhythm: Rhythm,
}

/// The time of the last push, and all intervals before it.
#[derive(Clone, Default)]
struct Rhythm {
    last: Option<u64>,
    intervals: Vec<u64>,
}

#[derive(Clone)]
struct Stored {
    family: Family,
    /// Which push it came with.
    push: u64,
}

/// Self metrics whose names are in the pools.
const OWN: &[(&str, MetricType)] = &[
    ("tidegate_groups", MetricType::Gauge),
    ("tidegate_commit_batch_pushes", MetricType::Histogram),
];
const STAMPS: [&str; 2] = ["push_time_seconds", "push_failure_time_seconds"];
const STAMP_HELPS: [&str; 2] = [
    "Last Unix time when changing this group in the Pushgateway succeeded.",
    "Last Unix time when changing this group in the Pushgateway failed.",
];

impl Reference {
    pub(crate) fn new(millis: i64) -> Self {
        let now = u64::try_from(millis).expect("the test does not begin before 1970");
        let (groups, removed) = (BTreeMap::new(), Vec::new());
        Self { groups, removed, policy: 0, now, wall: millis, pushes: 0 }
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        self.now += millis;
        self.wall += i64::try_from(millis).expect("the test ends soon");
        self.expire();
    }

    pub(crate) fn step_wall(&mut self, millis: i64) {
        self.wall += millis;
    }

    pub(crate) fn delete(&mut self, key: Key) {
        let key = of_key(key);
        self.removed.extend(self.groups.remove_entry(&key));
    }

    pub(crate) fn wipe(&mut self) {
        self.groups.clear();
        self.removed.clear();
    }

    pub(crate) fn set_ttl(&mut self, key: Key, ttl: PushTtl) {
        if let Some(group) = self.groups.get_mut(&of_key(key)) {
            group.overridden = ttl;
        }
        self.expire();
    }

    pub(crate) fn touch(&mut self, key: Key) {
        if let Some(group) = self.groups.get_mut(&of_key(key)) {
            group.renewed = self.now;
        }
        self.expire();
    }

    pub(crate) fn set_policy(&mut self, policy: usize) {
        self.policy = policy;
        self.expire();
    }

    pub(crate) fn go_down(&mut self, millis: u64, pause: bool) {
        if pause {
            self.wall += i64::try_from(millis).expect("the test ends soon");
        } else {
            self.advance(millis);
        }
    }

    pub(crate) fn restore(&mut self, key: Key) -> Option<Outcome> {
        let key = of_key(key);
        let at = self.removed.iter().rposition(|removed| removed.0 == key)?;
        if self.groups.contains_key(&key) {
            return Some(Err(Refused));
        }
        let mut group = self.removed.get(at)?.1.clone();
        // It would expire at once.
        if matches!(
            (group.overridden, group.asked),
            (PushTtl::Millis(0), _) | (PushTtl::Unset, PushTtl::Millis(0))
        ) {
            return Some(Err(Refused));
        }
        group.renewed = self.now;
        self.pushes += 1;
        for stored in group.families.values_mut() {
            stored.push = self.pushes;
        }
        let deadline = self.deadline(&key, &group);
        self.groups.insert(key.clone(), group);
        if !self.is_consistent() {
            self.groups.remove(&key);
            return Some(Err(Refused));
        }
        self.removed.remove(at);
        self.expire();
        Some(Ok(deadline.map(|deadline| self.to_wall(deadline))))
    }

    pub(crate) fn push(&mut self, push: &Push) -> Outcome {
        let key = of_key(push.key);
        let before = self.groups.get(&key).cloned();
        let fresh = Group {
            families: BTreeMap::new(),
            pushed: 0,
            failed: 0,
            renewed: self.now,
            asked: PushTtl::Unset,
            overridden: PushTtl::Unset,
            rhythm: Rhythm::default(),
        };

        let mut group = before.clone().unwrap_or(fresh.clone());
        if push.replace {
            group.families.clear();
        }
        self.pushes += 1;
        for family in &push.families {
            if !STAMPS.contains(&family.name) {
                let stored = Stored { family: family.clone(), push: self.pushes };
                group.families.insert(family.name, stored);
            }
        }
        group.pushed = self.wall;
        group.renewed = self.now;
        group.asked = push.ttl;
        let last = group.rhythm.last.replace(self.now);
        group.rhythm.intervals.extend(last.map(|last| self.now - last));

        let deadline = self.deadline(&key, &group);
        self.groups.insert(key.clone(), group);
        if push.families.iter().all(is_well_formed) && self.is_consistent() {
            self.expire();
            return Ok(deadline.map(|deadline| self.to_wall(deadline)));
        }

        // Refused: nothing is left of the push but the time of the failure.
        self.groups.remove(&key);
        let failed = Group { failed: self.wall, ..before.unwrap_or(fresh) };
        self.groups.insert(key.clone(), failed);
        if !self.is_consistent() {
            self.groups.remove(&key);
        }
        Err(Refused)
    }

    fn expire(&mut self) {
        let groups = std::mem::take(&mut self.groups);
        for (key, group) in groups {
            if self.deadline(&key, &group).is_some_and(|deadline| deadline <= self.now) {
                self.removed.push((key, group));
            } else {
                self.groups.insert(key, group);
            }
        }
    }

    fn deadline(&self, key: &Labels, group: &Group) -> Option<u64> {
        let after = |ttl| Some(group.renewed + ttl);
        match (group.overridden, group.asked) {
            (PushTtl::Never, _) | (PushTtl::Unset, PushTtl::Never) => None,
            (PushTtl::Millis(ttl), _) | (PushTtl::Unset, PushTtl::Millis(ttl)) => after(ttl),
            (PushTtl::Unset, PushTtl::Unset) => {
                let has = |name: &str, value: &str| key.get(name).is_some_and(|v| v == value);
                match self.policy {
                    // Nobody has pushed it: the default.
                    policy if group.pushed == 0 => after(*[30_000, 20_000].get(policy)?),
                    0 if has("job", "b") => after(12_000),
                    0 => after(30_000),
                    1 if has("zone", "z") => after(group.rhythm.auto_ttl().unwrap_or(20_000)),
                    1 => after(20_000),
                    _ if has("job", "b") && !has("zone", "z") => None,
                    _ => after(8_000),
                }
            }
        }
    }

    fn to_wall(&self, time: u64) -> i64 {
        let millis = |time| i64::try_from(time).expect("the test ends soon");
        millis(time) - millis(self.now) + self.wall
    }

    pub(crate) fn deadlines(&self) -> Deadlines {
        let groups = self.groups.iter().map(|(key, group)| {
            let labels = key.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            let deadline = self.deadline(key, group);
            (labels.collect(), deadline.map(|deadline| self.to_wall(deadline)))
        });
        groups.collect()
    }

    /// Whether all that is there can be shown together.
    fn is_consistent(&self) -> bool {
        let mut kinds: BTreeMap<&str, MetricType> = OWN.iter().copied().collect();
        let mut seen = BTreeSet::new();
        for (key, group) in &self.groups {
            if !seen.insert((STAMPS[0], full_labels(key, &[], 0))) {
                return false;
            }
            for Stored { family, .. } in group.families.values() {
                for series in &family.series {
                    let labels = full_labels(key, series.labels, family.padding);
                    let kind = *kinds.entry(family.name).or_insert(family.kind);
                    if kind != family.kind || !seen.insert((family.name, labels)) {
                        return false;
                    }
                }
            }
        }
        kinds.iter().all(|(name, kind)| {
            let parts: &[&str] = match kind {
                MetricType::Summary => &["_count", "_sum"],
                MetricType::Histogram => &["_count", "_sum", "_bucket"],
                _ => &[],
            };
            parts.iter().all(|part| !kinds.contains_key(format!("{name}{part}").as_str()))
        })
    }

    pub(crate) fn scrape(&self) -> Scrape {
        let mut scrape = Scrape { groups: self.groups.len(), ..Scrape::default() };
        // The push of the help text that is shown so far.
        let mut latest: BTreeMap<&str, u64> = BTreeMap::new();
        for (key, group) in &self.groups {
            for ((name, help), time) in
                STAMPS.into_iter().zip(STAMP_HELPS).zip([group.pushed, group.failed])
            {
                let shown = scrape.families.entry(name.to_owned()).or_default();
                shown.kind = "gauge".into();
                shown.help = Some(help.to_owned());
                let name = format!("{name}{}", text(&full_labels(key, &[], 0), None));
                #[expect(clippy::cast_precision_loss, reason = "milliseconds in nanoseconds")]
                shown.lines.push((name, (time * 1_000_000) as f64 / 1e9));
            }
            for Stored { family, push } in group.families.values() {
                scrape.series += family.series.len();
                let shown = scrape.families.entry(family.name.to_owned()).or_default();
                let latest = latest.entry(family.name).or_default();
                if *push > *latest {
                    *latest = *push;
                    shown.help = family.help.map(str::to_owned);
                }
                for series in &family.series {
                    family.kind.as_text().clone_into(&mut shown.kind);
                    let labels = full_labels(key, series.labels, family.padding);
                    shown.lines.extend(lines(family, &labels, series.value));
                }
            }
        }
        scrape.families.retain(|_, shown| !shown.lines.is_empty());
        for (name, _) in OWN {
            // The gateway's own header counts, and is not compared.
            if let Some(shown) = scrape.families.get_mut(*name) {
                shown.help = None;
            }
        }
        for shown in scrape.families.values_mut() {
            shown.lines.sort_by(|a, b| a.0.cmp(&b.0));
        }
        scrape
    }
}

impl Rhythm {
    /// Two missed pushes, within 5 and 20 seconds, once pushes were seen for 5 seconds. A gap that is
    /// much quicker than the rhythm belongs to one run, unless it goes on for as long as an interval;
    /// a much slower one is late, unless it is so twice; of the rest each has a quarter.
    fn auto_ttl(&self) -> Option<u64> {
        let [first, further @ ..] = self.intervals.as_slice() else { return None };
        let (mut interval, mut calm, mut gap) = (*first, *first, 0);
        let mut run: Vec<u64> = Vec::new();
        for (at, found) in further.iter().enumerate() {
            if found * 4 < interval {
                run.push(*found);
                let run_ms: u64 = run.iter().sum();
                if run_ms < interval {
                    continue;
                }
                (interval, calm) = (run_ms / run.len() as u64, run_ms);
            } else if *found > 4 * interval {
                if *found > 2 * gap || gap > 2 * found {
                    (gap, calm) = (*found, 0);
                    run.clear();
                    continue;
                }
                (interval, calm) = (*found, found + gap);
            } else {
                calm += found;
                interval = match at {
                    0 => interval.midpoint(*found),
                    _ => (3 * interval + (*found).clamp(interval / 2, 2 * interval)).div_ceil(4),
                };
            }
            run.clear();
            if calm >= gap {
                gap = 0;
            }
        }
        let seen = calm.max(gap) + run.iter().sum::<u64>();
        let known = !further.is_empty() && seen >= 5_000;
        known.then(|| (2 * interval.max(gap)).clamp(5_000, 20_000))
    }
}

fn of_key(key: Key) -> Labels {
    key.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// The rules for a push by itself: neither timestamps nor reserved names.
fn is_well_formed(family: &Family) -> bool {
    let bad_label = |series: &Series| series.labels.iter().any(|label| label.0.starts_with("__"));
    // Of a stamp that was pushed, nothing but a timestamp is looked at.
    let labels_count = !STAMPS.contains(&family.name);
    !family.series.iter().any(|series| series.timestamp || labels_count && bad_label(series))
}

fn full_labels(key: &Labels, own: &[(&'static str, &str)], padding: usize) -> Labels {
    let mut labels: Labels = own.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    labels.extend(key.clone());
    labels.entry("instance").or_default();
    if padding > 0 {
        labels.insert("padding", "x".repeat(padding));
    }
    labels
}

fn text(labels: &Labels, last: Option<&str>) -> String {
    let pairs = labels.iter().map(|(name, value)| format!("{name}={value:?}"));
    let pairs: Vec<_> = pairs.chain(last.map(str::to_owned)).collect();
    format!("{{{}}}", pairs.join(","))
}

fn lines(family: &Family, labels: &Labels, value: u32) -> Vec<(String, f64)> {
    let line = |part: &str, last| {
        (format!("{}{part}{}", family.name, text(labels, last)), f64::from(value))
    };
    match family.kind {
        MetricType::Summary => vec![line("_sum", None), line("_count", None)],
        MetricType::Histogram => {
            vec![line("_bucket", Some("le=\"+Inf\"")), line("_sum", None), line("_count", None)]
        }
        _ => vec![line("", None)],
    }
}
