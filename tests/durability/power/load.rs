//! Clients that push, delete and wipe, and what each of their requests makes of a group.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;

use crate::power::trace::NUMBER;
use support::random::Random;
use support::serving::agent;

/// The value of each family of a group, by the family's number.
pub(crate) type Families = BTreeMap<usize, u64>;

/// A group as it is once a request was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) families: Families,
    /// As `/api/v2` writes it; `None` where nobody has said it.
    pub(crate) expires: Option<String>,
}

/// A request that was answered as expected.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// No two requests of a scenario have the same. Pushes have it as their value.
    pub(crate) number: u64,
    pub(crate) status: u16,
    pub(crate) effect: Effect,
}

#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Push { group: String, held: Held },
    Delete { group: String },
    Wipe,
}

/// A kind of group: how many families it has at most, and how long the label of each is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    pub(crate) families: usize,
    pub(crate) label: usize,
}

/// A page of sled's at most.
pub(crate) const SMALL: Size = Size { name: "small", families: 4, label: 1 };
/// More than 12 KiB: a few pieces.
pub(crate) const MEDIUM: Size = Size { name: "medium", families: 120, label: 100 };
/// More than 128 KiB: a few chunks.
pub(crate) const LARGE: Size = Size { name: "large", families: 600, label: 240 };

/// The load of a number of clients at the same time, each with groups of its own.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Loads of the same name push to the same groups.
    pub(crate) name: &'static str,
    pub(crate) clients: usize,
    pub(crate) requests: usize,
    /// A size that is there more often is pushed more often.
    pub(crate) sizes: Vec<Size>,
}

/// TTLs that no test lives to see the end of, and the lack of one.
const TTLS: [Option<&str>; 3] = [None, Some("2h"), Some("30d")];

/// The prefix of the jobs of all groups of ours.
pub(crate) const JOB: &str = "power-";

/// `JOB/GROUP`, by which groups are known here.
fn group(job: &str, name: &str) -> String {
    format!("{JOB}{job}/{name}")
}

pub(crate) fn path(group: &str) -> String {
    let (job, name) = group.split_once('/').expect("a group is JOB/GROUP");
    format!("/metrics/job/{job}/group/{name}")
}

/// A body with families of these numbers.
pub(crate) fn body(families: impl Iterator<Item = usize>, label: usize, value: u64) -> String {
    let pad = "x".repeat(label);
    let lines = families.map(|number| format!("f_{number}{{pad=\"{pad}\"}} {value}\n"));
    lines.collect::<Vec<_>>().concat()
}

impl Load {
    /// Sends everything to a gateway with these groups, and gives back what was answered. Numbers
    /// begin at `first`.
    pub(crate) fn run(
        &self,
        address: SocketAddr,
        first: u64,
        seed: u64,
        groups: &BTreeMap<String, Families>,
    ) -> Vec<Sent> {
        let clients = 0..self.clients;
        thread::scope(|scope| {
            let clients: Vec<_> = clients
                .map(|client| {
                    let first = first + (client * self.requests) as u64;
                    let groups = groups.clone();
                    scope.spawn(move || self.client(client, address, first, seed, groups))
                })
                .collect();
            let sent = clients.into_iter().map(|client| client.join().expect("no client panics"));
            sent.flatten().collect()
        })
    }

    pub(crate) fn count(&self) -> u64 {
        (self.clients * self.requests) as u64
    }

    fn client(
        &self,
        client: usize,
        address: SocketAddr,
        first: u64,
        seed: u64,
        mut groups: BTreeMap<String, Families>,
    ) -> Vec<Sent> {
        let agent = agent();
        let mut random = Random::new(seed.wrapping_add(first));
        let mut sent = Vec::new();
        for number in (first..).take(self.requests) {
            let size = *random.pick(&self.sizes);
            // Two groups of each size, so that one stays as it is while the other is changed.
            let name = format!("{}-{}", size.name, random.below(2));
            let group = group(&format!("{}-{client}", self.name), &name);
            let uri = format!("http://{address}{}", path(&group));
            if groups.contains_key(&group) && random.chance(10) {
                let response = agent.delete(uri).header(NUMBER, number.to_string()).call();
                assert_eq!(response.expect("the gateway is there").status(), 202);
                groups.remove(&group);
                sent.push(Sent { number, status: 202, effect: Effect::Delete { group } });
                continue;
            }
            let count = size.families - random.below(size.families / 4);
            let first = random.below(size.families);
            let pushed: Vec<usize> = (0..count).map(|n| (first + n) % size.families).collect();
            let text = body(pushed.iter().copied(), size.label, number);
            let replaces = random.chance(70);
            let request = if replaces { agent.put(uri) } else { agent.post(uri) };
            let mut request = request.header(NUMBER, number.to_string());
            if let Some(ttl) = random.pick(&TTLS) {
                request = request.header("Tidegate-TTL", *ttl);
            }
            let response = request.send(text).expect("the gateway is there");
            assert_eq!(response.status(), 200);
            let expires =
                response.headers().get("tidegate-expires").expect("a push has a deadline");
            let expires = Some(expires.to_str().expect("it is ASCII").to_owned());
            let families = groups.entry(group.clone()).or_default();
            if replaces {
                families.clear();
            }
            families.extend(pushed.into_iter().map(|family| (family, number)));
            let held = Held { families: families.clone(), expires };
            sent.push(Sent { number, status: 200, effect: Effect::Push { group, held } });
        }
        sent
    }
}

/// Deletes all groups.
pub(crate) fn wipe(address: SocketAddr, number: u64) -> Sent {
    let uri = format!("http://{address}/api/v1/admin/wipe");
    let request = agent().put(uri).header(NUMBER, number.to_string());
    assert_eq!(request.send_empty().expect("the gateway is there").status(), 202);
    Sent { number, status: 202, effect: Effect::Wipe }
}
