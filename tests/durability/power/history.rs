//! The groups that a gateway must hold after a power cut, and those that it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::Value;

use crate::power::disk::Moment;
use crate::power::load::{Effect, Families, Held, JOB, Sent};
use crate::power::trace::Request;
use support::serving::{Process, agent};

/// The groups that a gateway holds; `JOB/GROUP` names a group of ours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) groups: BTreeMap<String, Held>,
    /// The samples of all others, without those that the gateway has of itself.
    pub(crate) others: BTreeSet<String>,
}

/// All that happened to the groups of a scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    groups: BTreeMap<String, Vec<State>>,
    wipes: Vec<Request>,
    others: BTreeSet<String>,
}

/// A state of a group, from the request that made it.
#[derive(Clone, Debug)]
struct State {
    asked: Moment,
    answered: Moment,
    held: Option<Held>,
}

/// The clock's offset is kept to a millisecond, and a slew of the host clock shows.
const DEADLINE_OFF_MILLIS_MAX: u64 = 1500;

impl History {
    /// The history of groups that were there from the beginning, and of requests to them.
    pub(crate) fn new(before: &Found, sent: Vec<Sent>, requests: &BTreeMap<u64, Request>) -> Self {
        let mut history = Self { others: before.others.clone(), ..Self::default() };
        for (group, held) in &before.groups {
            let state = State { asked: 0, answered: 0, held: Some(held.clone()) };
            history.groups.insert(group.clone(), vec![state]);
        }
        let mut sent: Vec<(Request, Sent)> = sent
            .into_iter()
            .map(|sent| {
                let request = requests.get(&sent.number).expect("each request is in the trace");
                assert_eq!(request.status, sent.status.to_string(), "request {}", sent.number);
                (request.clone(), sent)
            })
            .collect();
        sent.sort_by_key(|(request, _)| request.asked);
        for (request, sent) in sent {
            let asked = request.asked;
            let answered = request.answered.expect("it has a status");
            let state = |held| State { asked, answered, held };
            match sent.effect {
                Effect::Push { group, held } => {
                    history.groups.entry(group).or_default().push(state(Some(held)));
                }
                Effect::Delete { group } => {
                    history.groups.entry(group).or_default().push(state(None));
                }
                Effect::Wipe => {
                    history.groups.values_mut().for_each(|states| states.push(state(None)));
                    history.wipes.push(request);
                }
            }
        }
        history
    }

    /// The moments at which something was answered.
    pub(crate) fn answers(&self) -> Vec<Moment> {
        let states = self.groups.values().flatten().map(|state| state.answered);
        states.filter(|answered| *answered > 0).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// When wipes were asked for and answered.
    pub(crate) fn wipes(&self) -> impl Iterator<Item = (Moment, Moment)> {
        self.wipes.iter().map(|wipe| (wipe.asked, wipe.answered.expect("it was answered")))
    }

    /// The problems with the groups found after a cut at a moment.
    pub(crate) fn problems(&self, cut: Moment, found: &Found) -> Vec<String> {
        let mut problems = Vec::new();
        let wipes = self.wipes().any(|(asked, answered)| asked < cut && cut <= answered);
        let mut wiped = BTreeSet::new();
        for (group, states) in &self.groups {
            let found = found.groups.get(group);
            // An answer was under way, and so may have arrived, as soon as it was begun.
            let acknowledged = states.iter().rev().find(|state| state.answered < cut);
            let acknowledged = acknowledged.and_then(|state| state.held.as_ref());
            let under_way = states.iter().find(|state| state.asked < cut && cut <= state.answered);
            if wipes && acknowledged.is_some() {
                wiped.insert(found.is_none());
            }
            let is = |held: Option<&Held>| match (found, held) {
                (None, None) => true,
                (Some(found), Some(held)) => found.is(held),
                _ => false,
            };
            if !(is(acknowledged) || under_way.is_some_and(|state| is(state.held.as_ref()))) {
                problems.push(format!(
                    "{group}: found {}, which is neither what was answered, {}, nor what was under \
                     way, {}",
                    summary(found),
                    summary(acknowledged),
                    under_way.map_or("nothing".into(), |state| summary(state.held.as_ref())),
                ));
            }
        }
        if wiped.len() > 1 {
            problems.push("a wipe was carried out in part".into());
        }
        for group in found.groups.keys().filter(|group| !self.groups.contains_key(*group)) {
            problems.push(format!("{group}: nobody has pushed it"));
        }
        // Only wipes change groups that nobody pushes to here.
        for lost in self.others.difference(&found.others).take(5) {
            problems.push(format!("lost: {lost}"));
        }
        for new in found.others.difference(&self.others).take(5) {
            problems.push(format!("nobody has pushed: {new}"));
        }
        problems
    }
}

impl Held {
    fn is(&self, expected: &Self) -> bool {
        let deadline = match (self.expires.as_deref(), expected.expires.as_deref()) {
            (_, None) => true,
            (Some(found), Some(expected)) => is_near(found, expected),
            (None, Some(_)) => false,
        };
        deadline && self.families == expected.families
    }
}

fn is_near(found: &str, expected: &str) -> bool {
    let parse = |text: &str| humantime::parse_rfc3339(text).ok();
    match (parse(found), parse(expected)) {
        (Some(found), Some(expected)) => {
            let off = found.max(expected).duration_since(found.min(expected)).unwrap_or_default();
            off.as_millis() <= u128::from(DEADLINE_OFF_MILLIS_MAX)
        }
        _ => found == expected,
    }
}

/// How many families have which value, and the deadline.
fn summary(held: Option<&Held>) -> String {
    let Some(Held { families, expires }) = held else { return "no group".into() };
    let mut values: BTreeMap<u64, usize> = BTreeMap::new();
    for value in families.values() {
        *values.entry(*value).or_default() += 1;
    }
    let expires = expires.as_deref().unwrap_or("whenever");
    format!("{} families with values {values:?}, expires {expires}", families.len())
}

// === what is found ===

impl Found {
    /// The groups that a gateway holds.
    pub(crate) fn of(process: &Process) -> Self {
        let mut found = Self::parse(&process.scrape());
        for (group, expires) in deadlines(process.address()) {
            // A group can be without families.
            let held = found
                .groups
                .entry(group)
                .or_insert_with(|| Held { families: Families::new(), expires: None });
            held.expires = Some(expires);
        }
        found
    }

    /// The groups and samples of an exposition.
    pub(crate) fn parse(exposition: &str) -> Self {
        let mut found = Self::default();
        for line in exposition.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, rest)) = line.split_once('{') else { continue };
            let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
            let label = |name: &str| {
                let value = labels.split(',').find_map(|label| label.strip_prefix(name))?;
                Some(value.trim_matches('"').to_owned())
            };
            let job = label("job=").unwrap_or_default();
            if !job.starts_with(JOB) {
                let own = ["tidegate_", "pushgateway_", "process_"];
                if !own.iter().any(|own| name.starts_with(own)) {
                    found.others.insert(line.to_owned());
                }
                continue;
            }
            let Some(family) = name.strip_prefix("f_") else { continue };
            let group = format!("{job}/{}", label("group=").unwrap_or_default());
            let held = Held { families: Families::new(), expires: None };
            let families = &mut found.groups.entry(group).or_insert(held).families;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let value = value.parse::<f64>().expect("it is a number") as u64;
            let family = family.parse().expect("families are numbered");
            assert_eq!(families.insert(family, value), None, "twice: {line:.100}");
        }
        found
    }
}

/// The deadline of each group of ours.
fn deadlines(address: SocketAddr) -> Vec<(String, String)> {
    let uri = format!("http://{address}/api/v2/groups?limit=10000");
    let mut response = agent().get(uri).call().expect("it is ready");
    let text = response.body_mut().read_to_string().expect("JSON is UTF-8");
    let answer: Value = serde_json::from_str(&text).expect("it is JSON");
    let groups = answer["data"]["groups"].as_array().unwrap_or_else(|| panic!("{text:.300}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    groups
        .iter()
        .map(|group| {
            let labels = &group["labels"];
            (
                format!("{}/{}", text(&labels["job"]), text(&labels["group"])),
                text(&group["expires"]),
            )
        })
        .filter(|(group, _)| group.starts_with(JOB))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: &str = "2026-01-02T04:00:00.000Z";
    const LATER: &str = "2026-01-02T05:00:00.000Z";

    fn held(values: &[(usize, u64)], expires: &str) -> Held {
        Held { families: values.iter().copied().collect(), expires: Some(expires.into()) }
    }

    fn push(group: &str, held: Held) -> Effect {
        Effect::Push { group: group.into(), held }
    }

    /// A push to two groups, another to one of them, and a wipe, each answered ten lines after it
    /// was asked.
    fn history() -> History {
        let effects = [
            push("a", held(&[(0, 1), (1, 1)], HOUR)),
            push("b", held(&[(0, 2)], "never")),
            push("a", held(&[(0, 3), (1, 3)], HOUR)),
            Effect::Wipe,
        ];
        let sent = (1..).zip(effects).map(|(number, effect)| Sent { number, status: 200, effect });
        let request = |number: u64| {
            let asked = usize::try_from(number).unwrap() * 100;
            (number, Request { asked, answered: Some(asked + 10), status: "200".into() })
        };
        History::new(&Found::default(), sent.collect(), &(1..=4).map(request).collect())
    }

    #[test]
    fn an_answered_push_must_be_there_and_one_under_way_may() {
        let (one, three) = (held(&[(0, 1), (1, 1)], HOUR), held(&[(0, 3), (1, 3)], HOUR));
        let two = || ("b", held(&[(0, 2)], "never"));
        let half = held(&[(0, 3), (1, 1)], HOUR);
        let late = held(&[(0, 3), (1, 3)], LATER);
        for (cut, found, problems) in [
            (100, vec![], 0),
            (100, vec![("a", one.clone())], 1),
            (110, vec![], 0),
            (110, vec![("a", one.clone())], 0),
            (111, vec![("a", one.clone())], 0),
            (111, vec![], 1),
            (211, vec![("a", one.clone()), two()], 0),
            (211, vec![("a", one.clone())], 1),
            (211, vec![("a", three.clone()), two()], 1),
            (305, vec![("a", one.clone()), two()], 0),
            (305, vec![("a", three.clone()), two()], 0),
            (305, vec![("a", half), two()], 1),
            (311, vec![("a", one.clone()), two()], 1),
            (311, vec![("a", late), two()], 1),
            (405, vec![("a", three.clone()), two()], 0),
            (405, vec![], 0),
            (405, vec![two()], 1),
            (411, vec![], 0),
            (411, vec![two()], 1),
            (411, vec![("c", one.clone())], 1),
        ] {
            let groups = found.into_iter().map(|(group, held)| (group.to_owned(), held)).collect();
            let found = Found { groups, ..Found::default() };
            let said = history().problems(cut, &found);
            assert_eq!(said.len(), problems, "cut at {cut}, {found:?}: {said:#?}");
        }
    }

    #[test]
    fn groups_of_ours_are_told_from_others() {
        let found = Found::parse(
            "# TYPE f_1 untyped\nf_1{group=\"g\",instance=\"\",job=\"power-x\",pad=\"y\"} 7\n\
             push_time_seconds{group=\"g\",instance=\"\",job=\"power-x\"} 1.5e+09\n\
             u{instance=\"\",job=\"other\"} 1\ntidegate_groups{state=\"x\"} 2\n",
        );
        assert_eq!(found.groups["power-x/g"].families, Families::from([(1, 7)]));
        assert_eq!(found.others, ["u{instance=\"\",job=\"other\"} 1".to_owned()].into());
    }
}
