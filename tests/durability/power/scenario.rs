//! A scenario: a gateway on a folder, what is asked of it, and what its trace says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::power::disk::{self, Disk, Image, Moment, Operation};
use crate::power::history::{Found, History};
use crate::power::load::{self, Effect, Families, Load, Sent};
use crate::power::trace::{self, Reader, Step};
use support::part;
use support::random::Random;
use support::serving::{Process, agent, command};

/// Where the store is on the disk. Nothing of that path is there in the beginning.
pub(crate) const STORE: &str = "var/lib/store";
const DB: &str = "var/lib/store/db";
/// The unit that sled frees and uses again.
const SEGMENT_BYTES: usize = 512 * 1024;

/// The requests to a gateway.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Load(Load),
    Wipe,
    /// It stops in order, and starts again.
    Restart,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) flags: Vec<String>,
    /// The store before.
    pub(crate) disk: Image,
    pub(crate) found: Found,
    pub(crate) phases: Vec<Phase>,
}

/// A scenario that was gone through.
pub(crate) struct Recording {
    pub(crate) scenario: Scenario,
    pub(crate) history: History,
    pub(crate) steps: Vec<Step>,
    end: Moment,
}

impl Scenario {
    /// Goes through the scenario with a real gateway under strace.
    pub(crate) fn record(self, seed: u64) -> Recording {
        let folder = temporary();
        let root = folder.path().join("disk");
        fs::create_dir(&root).expect("the folder is ours");
        disk::write(&self.disk, &root);
        let root_text = root.to_str().expect("temporary folders have plain names").to_owned();
        let mut reader = Reader::new(&root_text);
        let mut sent: Vec<Sent> = Vec::new();
        let mut next = 1;
        let mut groups: BTreeMap<String, Families> = self
            .found
            .groups
            .iter()
            .map(|(group, held)| (group.clone(), held.families.clone()))
            .collect();
        for run in self.phases.split(|phase| matches!(phase, Phase::Restart)) {
            let trace = folder.path().join("trace");
            let process = self.start_traced(&root, &trace);
            for phase in run {
                match phase {
                    Phase::Load(load) => {
                        sent.extend(load.run(process.address(), next, seed, &groups));
                        next += load.count();
                    }
                    Phase::Wipe => {
                        sent.push(load::wipe(process.address(), next));
                        next += 1;
                    }
                    Phase::Restart => {}
                }
                for sent in &sent {
                    match &sent.effect {
                        Effect::Push { group, held } => {
                            groups.insert(group.clone(), held.families.clone());
                        }
                        Effect::Delete { group } => drop(groups.remove(group)),
                        Effect::Wipe => groups.clear(),
                    }
                }
            }
            stop(&process);
            reader.read(&fs::read_to_string(&trace).expect("strace writes text"));
        }
        let traced = reader.finish();
        let history = History::new(&self.found, sent, &traced.requests);
        Recording { scenario: self, history, steps: traced.steps, end: traced.end }
    }

    fn command(&self, root: &Path) -> Command {
        let mut command = command(env!("CARGO_BIN_EXE_tidegate"), &root.join(STORE));
        command.args(["--web.enable-lifecycle", "--web.enable-admin-api"]).args(&self.flags);
        command
    }

    fn start_traced(&self, root: &Path, trace: &Path) -> Process {
        let mut traced = Command::new(part("strace"));
        let gateway = self.command(root);
        traced.args(trace::arguments()).arg("-o").arg(trace);
        traced.arg(gateway.get_program()).args(gateway.get_args());
        Process::spawn(&mut traced)
    }

    /// The groups that a gateway finds on a disk, or why it does not start.
    pub(crate) fn find(&self, root: &Path) -> Result<Found, String> {
        let process = Process::attempt(&mut self.command(root))?;
        let (found, says_lost) = (Found::of(&process), process.says_damaged());
        process.kill();
        // The mark is never ahead of what is synced.
        if says_lost { Err("it says that the store has lost something".into()) } else { Ok(found) }
    }
}

/// Stops a gateway in order, so that strace ends by itself and has written everything.
fn stop(process: &Process) {
    let quit = agent().put(format!("http://{}/-/quit", process.address())).send_empty();
    assert_eq!(quit.expect("the gateway is there").status(), 200);
    process.wait();
}

pub(crate) fn temporary() -> TempDir {
    tempfile::Builder::new()
        .prefix("tidegate-power-")
        .tempdir()
        .expect("there is room for a temporary folder")
}

impl Recording {
    /// The disk with its caches, as it is at a moment.
    pub(crate) fn disk_at(&self, cut: Moment) -> Disk<'_> {
        let mut disk = Disk::new(&self.scenario.disk);
        for step in self.steps.iter().filter(|step| step.ended < cut) {
            disk.apply(step.began, step.ended, &step.operation);
        }
        // A request that has begun may have been carried out, in part; but no sync has ended.
        for step in self.steps.iter().filter(|step| step.began < cut && cut <= step.ended) {
            if !matches!(step.operation, Operation::Sync { .. }) {
                disk.apply(step.began, Moment::MAX, &step.operation);
            }
        }
        disk
    }

    /// A moment at which to cut: after an answer, an operation, or near one that is special.
    pub(crate) fn moment(&self, random: &mut Random) -> Moment {
        let answers = self.history.answers();
        let special = self.special();
        let cut = match random.below(10) {
            0..4 if !answers.is_empty() => *random.pick(&answers),
            4..7 if !special.is_empty() => {
                let near = special[random.below(special.len())] + random.below(7);
                self.steps[near.min(self.steps.len() - 1)].ended
            }
            _ => random.pick(&self.steps).ended,
        };
        (cut + 1).min(self.end)
    }

    /// The steps that change more than the content of a file at its end, by their number: what
    /// happens to folders, to lengths, to segments that are used again, and around wipes.
    fn special(&self) -> Vec<usize> {
        let mut special: Vec<usize> = self.reused_segments();
        special.extend((0..self.steps.len()).filter(|at| match &self.steps[*at].operation {
            Operation::Open { .. } | Operation::Write { .. } | Operation::Sync { .. } => {
                let (began, ended) = (self.steps[*at].began, self.steps[*at].ended);
                let mut wipes = self.history.wipes();
                // A few lines of the trace before and after.
                wipes.any(|(asked, answered)| asked < ended + 20 && began < answered + 60)
            }
            _ => true,
        }));
        special
    }

    /// The steps that begin a segment anew which had been written and synced before.
    pub(crate) fn reused_segments(&self) -> Vec<usize> {
        // By the offset of the segment: whether a sync came after it was last begun.
        let mut begun: BTreeMap<usize, bool> = BTreeMap::new();
        let mut reused = Vec::new();
        for (number, step) in self.steps.iter().enumerate() {
            match &step.operation {
                Operation::Write { path, at, .. } if path == DB && at % SEGMENT_BYTES == 0 => {
                    let was_synced = begun.insert(*at, false) == Some(true);
                    reused.extend(was_synced.then_some(number));
                }
                Operation::Sync { path } if path == DB => {
                    for synced in begun.values_mut() {
                        *synced = true;
                    }
                }
                _ => {}
            }
        }
        reused
    }

    /// Cuts the power once, and says what the gateway then gets wrong. If there is anything, the disk
    /// and a word on it can be kept.
    pub(crate) fn cut(&self, seed: u64, keeps: bool) -> Result<(), String> {
        let mut random = Random::new(seed);
        let cut = self.moment(&mut random);
        let folder = temporary();
        let root = folder.path().join("disk");
        fs::create_dir(&root).expect("the folder is ours");
        let image = self.disk_at(cut).cut(&mut random);
        disk::write(&image, &root);
        let mut problems = self.look(cut, &root);
        // The writes of a recovery must do for the next one.
        if problems.is_empty() && random.chance(10) {
            problems = self.look(cut, &root);
        }
        if problems.is_empty() {
            return Ok(());
        }
        let last = self.steps.iter().rev().find(|step| step.ended < cut);
        let last = last.map_or("nothing".into(), |step| format!("{:.200?}", step.operation));
        let mut message = format!(
            "{}, cut {seed} at line {cut} of {} of the trace, after {last}:\n{}\n",
            self.scenario.name,
            self.end,
            problems.join("\n")
        );
        if keeps {
            // As it was before the gateway has seen it.
            fs::remove_dir_all(&root).expect("the folder is ours");
            fs::create_dir(&root).expect("the folder is ours");
            disk::write(&image, &root);
            let kept = folder.keep();
            message = format!("{message}The disk is in {}.\n", kept.display());
            fs::write(kept.join("problems"), &message).expect("there is room for a few lines");
        }
        Err(message)
    }

    fn look(&self, cut: Moment, root: &Path) -> Vec<String> {
        match self.scenario.find(root) {
            Ok(found) => self.history.problems(cut, &found),
            Err(log) => vec![format!("it does not start:\n{log}")],
        }
    }
}
