//! Stores after a power cut.
//!
//! The real binary runs under strace while clients push to it. The trace has each of its file
//! operations, and the moments of its answers. Cut anywhere, a model of a disk ([`disk`]) gives what
//! could be left: all that was synced, and of the rest whatever chance wants. A gateway starts on
//! that, and must hold every push that was answered, whole and with its deadline, and nothing of
//! what was answered as deleted; a request that was under way may be carried out or not.
//!
//! How the clients' requests interleave is not for a seed to say, so that it repeats what they are
//! and how the cuts go, but not a whole run: of a cut that fails the disk is kept.

mod disk;
mod history;
mod load;
mod scenario;
mod scenarios;
mod trace;

use std::hash::{BuildHasher as _, RandomState};

use scenario::Recording;
use support::random::Random;

/// Set to a number, so many cuts are made in all. Some thousands are the long mode.
const CUTS_VARIABLE: &str = "TIDEGATE_POWER_CUTS";
const CUTS: u64 = 300;

/// Set to the seed that a failure names, this repeats its requests and how its cuts are drawn.
const SEED_VARIABLE: &str = "TIDEGATE_SEED";

#[expect(clippy::disallowed_methods, reason = "these are no settings of the gateway")]
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn seed() -> u64 {
    variable(SEED_VARIABLE).unwrap_or_else(|| RandomState::new().hash_one(()))
}

/// A share of all cuts.
fn cuts(percent: u64) -> u64 {
    (variable(CUTS_VARIABLE).unwrap_or(CUTS) * percent).div_ceil(100)
}

/// More problems than this are not worth the room: the first ones tell.
const REPORTED_MAX: usize = 3;

/// Makes cuts, and gives back what was lost at each that lost anything.
fn cut(recording: &Recording, cuts: u64, seed: u64, keeps: bool) -> Vec<String> {
    let mut seeds = Random::new(seed);
    let mut lost = Vec::new();
    for _ in 0..cuts {
        let keeps = keeps && lost.len() < REPORTED_MAX;
        lost.extend(recording.cut(seeds.bits(), keeps).err());
    }
    lost
}

/// Makes cuts of which none may lose anything.
#[track_caller]
#[expect(clippy::print_stdout, reason = "the figures are for who reads the test's output")]
fn survives(recording: &Recording, percent: u64, seed: u64) {
    let name = recording.scenario.name;
    let (cuts, answers) = (cuts(percent), recording.history.answers().len());
    let lost = cut(recording, cuts, seed, true);
    println!(
        "{SEED_VARIABLE}={seed} {name}: {} file operations, {answers} answers, {cuts} cuts, lost: {}",
        recording.steps.len(),
        lost.len()
    );
    assert!(
        lost.is_empty(),
        "{SEED_VARIABLE}={seed}: {} of {cuts} cuts lost something\n{}",
        lost.len(),
        lost.iter().take(REPORTED_MAX).map(String::as_str).collect::<Vec<_>>().join("\n")
    );
}
