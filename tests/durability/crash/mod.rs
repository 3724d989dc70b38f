//! The real binary keeps every acknowledged push when it is killed.
//!
//! A client writes a push down only once it was answered; whatever is written down must be there
//! after a restart, and a push without an answer may be there or not, but whole. A killed process
//! leaves the kernel's caches as they are, so nothing is said about syncs here: that is `trace`.

mod load;
mod outage;
mod trace;

use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::Duration;

use load::{Journal, states, work};
use support::serving::Process;

/// As many as `TIDEGATE_CRASH_ROUNDS` says, or these.
const ROUNDS: u64 = 24;
const ROUNDS_VARIABLE: &str = "TIDEGATE_CRASH_ROUNDS";
const WORKERS: u64 = 4;
/// Enough for some hundred pushes.
const RUN_MILLIS_MAX: u64 = 150;

/// Set to the seed that a failure names, this repeats its pushes and moments.
const SEED_VARIABLE: &str = "TIDEGATE_CRASH_SEED";

/// The generator `SplitMix64`.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

#[expect(clippy::disallowed_methods, reason = "it is no setting of the gateway")]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("it is a number"))
}

fn seed() -> u64 {
    variable(SEED_VARIABLE).unwrap_or_else(|| RandomState::new().hash_one(()))
}

#[test]
fn what_was_answered_survives_a_kill_and_no_push_is_applied_in_part() {
    let seed = seed();
    println!("{SEED_VARIABLE}={seed}");
    let mut random = Random(seed);
    let folder = tempfile::tempdir().expect("there is room for a temporary folder");
    let mut journals: Vec<_> = (0..WORKERS).map(|worker| Journal::new(worker, seed)).collect();
    let mut answered = 0;
    let rounds = variable(ROUNDS_VARIABLE).unwrap_or(ROUNDS);
    for round in 0..rounds {
        let gateway = Process::start(folder.path(), &[]);
        assert!(!gateway.says_damaged(), "nothing that was synced is lost by a kill");
        let states = states(&gateway.scrape());
        for journal in &mut journals {
            journal.check_and_settle(&states, round);
        }
        let run = Duration::from_millis(random.below(RUN_MILLIS_MAX));
        thread::scope(|scope| {
            for journal in &mut journals {
                let address = gateway.address();
                scope.spawn(move || work(journal, address));
            }
            #[expect(clippy::disallowed_methods, reason = "the moment of the kill is the subject")]
            thread::sleep(run);
            gateway.kill();
        });
        answered = journals.iter().map(Journal::answered).sum();
    }
    let gateway = Process::start(folder.path(), &[]);
    let states = states(&gateway.scrape());
    for journal in &mut journals {
        journal.check_and_settle(&states, rounds);
    }
    gateway.kill();
    println!("{rounds} kills, {answered} pushes and deletes were answered, lost: 0");
    assert!(answered > rounds * WORKERS, "too few pushes to show anything: {answered}");
}
