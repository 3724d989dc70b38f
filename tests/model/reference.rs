//! The model: groups in a map, everything looked at for every question.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::model::MetricType;

use super::ops::{Family, Key, Push, PushTtl, Series};

/// The TTL of groups of the job `b`, by a rule, and of all others.
pub(crate) const RULE_TTL_MILLIS: u64 = 12_000;
pub(crate) const DEFAULT_TTL_MILLIS: u64 = 30_000;

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
    ttl: Option<u64>,
}

#[derive(Clone)]
struct Stored {
    family: Family,
    /// Which push it came with.
    push: u64,
}

/// What the gateway exposes of itself that the pools of names touch.
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
        Self { groups: BTreeMap::new(), now, wall: millis, pushes: 0 }
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
        self.groups.remove(&of_key(key));
    }

    pub(crate) fn push(&mut self, push: &Push) -> Outcome {
        let key = of_key(push.key);
        let before = self.groups.get(&key).cloned();
        let policy_ttl = if key.get("job").is_some_and(|job| job == "b") {
            RULE_TTL_MILLIS
        } else {
            DEFAULT_TTL_MILLIS
        };
        let fresh = Group {
            families: BTreeMap::new(),
            pushed: 0,
            failed: 0,
            renewed: self.now,
            ttl: Some(policy_ttl),
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
        group.ttl = match push.ttl {
            PushTtl::Unset => Some(policy_ttl),
            PushTtl::Never => None,
            PushTtl::Millis(millis) => Some(millis),
        };

        let ttl = group.ttl;
        self.groups.insert(key.clone(), group);
        if push.families.iter().all(is_well_formed) && self.is_consistent() {
            self.expire();
            let millis = |ttl| i64::try_from(ttl).expect("the pool has small TTLs");
            return Ok(ttl.map(|ttl| self.wall + millis(ttl)));
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
        let now = self.now;
        self.groups.retain(|_, group| group.ttl.is_none_or(|ttl| group.renewed + ttl > now));
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

fn of_key(key: Key) -> Labels {
    key.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// What needs no look at anything else: neither timestamps nor reserved names.
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
