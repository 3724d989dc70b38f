//! Random pushes in sequences: every answer is compared, and the state behind each sequence.
//!
//! `TIDEGATE_SEED` repeats what a failure names, or looks for new ones; `TIDEGATE_CASES` says how many
//! requests to send at least.

use crate::differential::answers::shortened;
use crate::differential::generate::Sequence;
use crate::differential::http::Request;
use crate::differential::pair::Pair;

/// The same in each run: a difference that somebody's change has not made is no concern of theirs.
/// Whoever looks for new ones gives others.
const SEED: u64 = 1;
/// Takes some twenty seconds.
const REQUESTS_MIN: usize = 10_000;
/// A difference often comes again; these are enough to see why.
const DIFFERENCES_MAX: usize = 12;

#[expect(clippy::disallowed_methods, reason = "it is no setting of the gateway")]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("it is a number"))
}

#[test]
fn random_pushes() {
    let first = variable("TIDEGATE_SEED").unwrap_or(SEED);
    let least = variable("TIDEGATE_CASES")
        .map_or(REQUESTS_MIN, |cases| usize::try_from(cases).expect("it is small"));
    println!("TIDEGATE_SEED={first}");
    let mut pair = Pair::start(&[]);
    let mut pushes = [0; 2];
    let mut differences = Vec::new();
    let (mut requests, mut seed) = (0, first);
    while requests < least && differences.len() < DIFFERENCES_MAX {
        let mut sequence = Sequence::new(seed);
        let mut sent = Vec::new();
        for request in sequence.requests() {
            pair.case(format!("TIDEGATE_SEED={seed} TIDEGATE_CASES=1"));
            let ours = pair.same(&request);
            let taken = matches!(ours.status, Some(200 | 202));
            pushes[usize::from(taken)] += 1;
            sent.push(format!("    {:?} {}", ours.status, shortened(&request.to_string())));
        }
        pair.same_state();
        let scrape = pair.only_reference(&Request::get("/metrics"));
        let broken = scrape.status != Some(200);
        pair.check(!broken, "the reference still shows what it has");
        for delete in sequence.cleanup() {
            pair.same(&delete);
        }
        pair.same_state();
        let found = pair.take_differences();
        if !found.is_empty() {
            differences.push(format!("{}\nafter\n{}", found.join("\n\n"), sent.join("\n")));
        }
        requests += sent.len();
        seed = seed.wrapping_add(1);
    }
    println!("{requests} requests in {} sequences: {pushes:?} refused and taken", seed - first);
    assert!(differences.is_empty(), "{}", differences.join("\n\n==========\n\n"));
    if variable("TIDEGATE_CASES").is_none() {
        let [refused, taken] = pushes;
        assert!(refused > requests / 10 && taken > requests / 4, "too few of a kind: {pushes:?}");
    }
}
