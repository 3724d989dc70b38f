//! Clients that push versions, and what they know of the state of their groups.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Random;
use support::serving::agent;

/// The families of a group with their values; `None`: there is no such group.
type State = Option<BTreeMap<String, u64>>;
/// By `job` and `group`.
pub(crate) type States = BTreeMap<(String, String), BTreeMap<String, u64>>;

/// The record of one client. Only it pushes to its groups, one push at a time.
pub(crate) struct Journal {
    job: String,
    random: Random,
    /// Never the same twice.
    version: u64,
    groups: Vec<Group>,
    answered: u64,
}

struct Group {
    name: &'static str,
    /// As it is if the push under way is lost.
    acknowledged: State,
    /// As it is if the push under way was carried out.
    under_way: Option<State>,
}

/// The groups of each client, and how many families at most a push to them brings.
const GROUPS: [(&str, u64); 3] = [("small", 4), ("inline", 150), ("chunked", 2500)];

impl Journal {
    pub(crate) fn new(worker: u64, seed: u64) -> Self {
        let group = |(name, _)| Group { name, acknowledged: None, under_way: None };
        Self {
            job: format!("worker-{worker}"),
            random: Random(seed.wrapping_add(worker + 1)),
            version: 0,
            groups: GROUPS.map(group).into(),
            answered: 0,
        }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    /// Compares the groups with what was found after a restart, and takes that as acknowledged.
    pub(crate) fn check_and_settle(&mut self, found: &States, round: u64) {
        for group in &mut self.groups {
            let found = found.get(&(self.job.clone(), group.name.to_owned())).cloned();
            let under_way = group.under_way.take();
            let whole = found == group.acknowledged || Some(&found) == under_way.as_ref();
            assert!(
                whole,
                "round {round}, {} {}: found {}, which is neither the state that was answered, {}, \
                 nor that of the push under way, {}",
                self.job,
                group.name,
                summary(&found),
                summary(&group.acknowledged),
                under_way.as_ref().map_or("none".into(), summary),
            );
            group.acknowledged = found;
        }
    }
}

/// How many families have which version.
fn summary(state: &State) -> String {
    let Some(families) = state else { return "no group".into() };
    let mut versions: BTreeMap<u64, usize> = BTreeMap::new();
    for version in families.values() {
        *versions.entry(*version).or_default() += 1;
    }
    format!("{} families, versions {versions:?}", families.len())
}

/// Pushes and deletes until the gateway has ended.
pub(crate) fn work(journal: &mut Journal, address: SocketAddr) {
    let agent = agent();
    let Journal { job, random, version, groups, answered } = journal;
    loop {
        let at = usize::try_from(random.below(3)).expect("it is below 3");
        let (Some(group), Some((_, most))) = (groups.get_mut(at), GROUPS.get(at)) else { return };
        *version += 1;
        let uri = format!("http://{address}/metrics/job/{job}/group/{}", group.name);
        let count = 1 + random.below(*most);
        let from = random.below(*most);
        // The families of a POST lie anywhere among those that are there.
        let name = |n| format!("family_{}", (from + n) % most);
        let pushed: BTreeMap<String, u64> = (0..count).map(|n| (name(n), *version)).collect();
        let lines = pushed.iter().map(|(name, value)| format!("{name} {value}\n"));
        let body = lines.collect::<Vec<_>>().concat();
        let (response, expected) = match random.below(10) {
            0 => {
                group.under_way = Some(None);
                (agent.delete(uri).call(), 202)
            }
            1..5 => {
                group.under_way = Some(Some(pushed));
                (agent.put(uri).send(body), 200)
            }
            _ => {
                let mut state = group.acknowledged.clone().unwrap_or_default();
                state.extend(pushed);
                group.under_way = Some(Some(state));
                (agent.post(uri).send(body), 200)
            }
        };
        let Ok(response) = response else { return };
        assert_eq!(response.status(), expected, "{job}: {response:?}");
        group.acknowledged = group.under_way.take().expect("it was set above");
        *answered += 1;
    }
}

/// The groups in an exposition.
pub(crate) fn states(exposition: &str) -> States {
    let mut states = States::new();
    for line in exposition.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = line.split_once('{') else { continue };
        let (labels, value) = rest.split_once("} ").expect("a line has a value");
        let label = |name: &str| {
            let found = labels.split(',').find_map(|label| label.strip_prefix(name));
            found.map(|value| value.trim_matches('"').to_owned())
        };
        let (Some(job), Some(group)) = (label("job="), label("group=")) else { continue };
        let families = states.entry((job, group)).or_default();
        if !name.starts_with("push_") {
            let version = value.parse().expect("a version is a whole number");
            assert_eq!(families.insert(name.to_owned(), version), None, "twice: {line}");
        }
    }
    states
}
