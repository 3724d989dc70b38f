//! The queue to the lane.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use tokio_util::sync::CancellationToken;

use crate::gateway::command::{Command, HeldUp};
use crate::gateway::error::Fault;
use crate::model::GroupingKey;
use crate::store::CommitError;
use crate::time::{Clock, Moment};

/// Commands that wait for the lane, in the order in which they were accepted.
#[derive(Debug)]
pub(in crate::gateway) struct Queue {
    /// A std lock, held only to move commands in or out. The clock is read under it, so that the
    /// order of the queue is the order of acceptance: a push that was accepted before a deadline is
    /// applied before the reaper that comes after it.
    state: Mutex<State>,
    /// The lane waits here for commands.
    filled: Condvar,
    clock: Arc<dyn Clock>,
    /// When full, a push is answered "busy" at once rather than kept waiting behind a slow disk.
    capacity: usize,
    /// Cancelled once it is closed.
    closing: CancellationToken,
}

#[derive(Debug)]
struct State {
    commands: VecDeque<(Moment, Command)>,
    /// Commands that wait behind a large push, or have to be judged again later, in the order in which
    /// they were accepted: the lane takes at most one large push a batch, and others before it.
    slow: Slow,
    closed: bool,
    /// Why nothing can be committed at present.
    failing: Option<Arc<CommitError>>,
    /// The commands that can be committed all the same.
    takes: Takes,
    /// The time for which this replica leads, where replicas share the store.
    term: i64,
    /// Whether the committer has nothing to sync.
    committer_idle: bool,
}

/// The commands that are taken while others cannot be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Takes {
    Nothing,
    /// Those that do nothing but to remove groups one by one.
    Deletions,
    /// Those that change groups which are there, or remove them.
    Changes,
}

impl Takes {
    fn takes(self, command: &Command) -> bool {
        match self {
            Self::Nothing => false,
            Self::Deletions => command.only_deletes(),
            Self::Changes => command.only_changes(),
        }
    }
}

/// The next thing for the lane to do.
pub(in crate::gateway) enum Next {
    /// Judge the commands that were taken.
    Judge,
    /// Hand over what is staged: the committer waits for it.
    Commit,
    /// Nothing more will come.
    End,
    /// Begin anew: nothing can be committed.
    Fail(Arc<CommitError>),
}

/// Commands that others may go before, as long as they have nothing to do with them.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Slow {
    commands: VecDeque<(Moment, Command)>,
    /// How many of the commands are about each group.
    keys: HashMap<GroupingKey, usize>,
    /// How many of them hold up everybody.
    others: usize,
}

impl Slow {
    pub(in crate::gateway) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Whether a command has to wait for what is here.
    pub(in crate::gateway) fn is_before(&self, command: &Command) -> bool {
        if self.commands.is_empty() {
            return false;
        }
        command.key().is_none_or(|key| self.others > 0 || self.keys.contains_key(key))
    }

    pub(in crate::gateway) fn push(&mut self, accepted: Moment, command: Command) {
        self.count(&command);
        self.commands.push_back((accepted, command));
    }

    /// The commands, in order.
    pub(in crate::gateway) fn into_commands(self) -> Vec<(Moment, Command)> {
        self.commands.into()
    }

    fn put_back(&mut self, accepted: Moment, command: Command) {
        self.count(&command);
        self.commands.push_front((accepted, command));
    }

    fn count(&mut self, command: &Command) {
        match command.holds_up() {
            HeldUp::Nobody => {}
            HeldUp::Group(key) => *self.keys.entry(key.clone()).or_default() += 1,
            HeldUp::Everybody => self.others += 1,
        }
    }

    /// Moves commands on, in their order, up to a large push that has to wait for the next batch.
    fn take(&mut self, max: usize, mut has_large: bool, to: &mut Vec<(Moment, Command)>) {
        for _ in 0..max {
            let is_large = self.commands.front().is_some_and(|(_, command)| command.is_large());
            if is_large && has_large {
                return;
            }
            has_large |= is_large;
            let Some((accepted, command)) = self.commands.pop_front() else { return };
            match command.holds_up() {
                HeldUp::Nobody => {}
                HeldUp::Group(key) => {
                    if let Some(count) = self.keys.get_mut(key) {
                        *count -= 1;
                        if *count == 0 {
                            self.keys.remove(key);
                        }
                    }
                }
                HeldUp::Everybody => self.others -= 1,
            }
            to.push((accepted, command));
        }
    }
}

impl State {
    fn len(&self) -> usize {
        self.commands.len() + self.slow.commands.len()
    }

    fn take_all(&mut self) -> VecDeque<(Moment, Command)> {
        let mut commands = std::mem::take(&mut self.commands);
        commands.append(&mut std::mem::take(&mut self.slow).commands);
        commands
    }
}

/// Answers commands that will not be carried out.
fn fail(commands: VecDeque<(Moment, Command)>, error: &Arc<CommitError>) {
    for (_, command) in commands {
        command.fail(Fault::Commit(Arc::clone(error)));
    }
}

impl Queue {
    pub(in crate::gateway) fn new(capacity: usize, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            commands: VecDeque::new(),
            slow: Slow::default(),
            closed: false,
            failing: None,
            takes: Takes::Nothing,
            term: 0,
            committer_idle: true,
        };
        let closing = CancellationToken::new();
        Self { state: Mutex::new(state), filled: Condvar::new(), clock, capacity, closing }
    }

    /// Accepts a command.
    pub(in crate::gateway) fn push(&self, command: Command) -> Result<(), Fault> {
        self.push_in(None, command)
    }

    /// Accepts a command that is for one term alone: it may come late, when another replica has led in
    /// between and carried it out, or told whoever sent it that it was not.
    pub(in crate::gateway) fn push_in(
        &self,
        term: Option<i64>,
        command: Command,
    ) -> Result<(), Fault> {
        let mut state = self.lock();
        if state.closed {
            return Err(Fault::Stopping);
        }
        if let Some(error) = &state.failing
            && !state.takes.takes(&command)
        {
            return Err(Fault::Commit(Arc::clone(error)));
        }
        if term.is_some_and(|term| term != state.term) {
            return Err(Fault::Commit(Arc::new(CommitError::NotLeading)));
        }
        // Reaping makes room; it is never refused for the lack of it.
        if state.len() >= self.capacity && !matches!(command, Command::Reap(_)) {
            return Err(Fault::Busy);
        }
        let mut accepted = self.clock.moment();
        let was_empty = state.len() == 0;
        if matches!(command, Command::Reap(_)) {
            // A command that was accepted before a deadline is applied before it.
            if let Some((oldest, _)) = state.slow.commands.front() {
                accepted.now = accepted.now.min(oldest.now);
            }
            state.commands.push_back((accepted, command));
        } else if command.is_large() || state.slow.is_before(&command) {
            state.slow.push(accepted, command);
        } else {
            state.commands.push_back((accepted, command));
        }
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Has commands wait that were taken, in front of all that is slow: they are to be judged again.
    /// Commands on the same groups that have come meanwhile wait behind them. Where nothing can be
    /// committed, they are answered so, as all others were.
    pub(in crate::gateway) fn put_back(&self, mut later: Slow) {
        if later.commands.is_empty() {
            return;
        }
        let mut state = self.lock();
        if let Some(error) = state.failing.clone() {
            drop(state);
            fail(later.commands, &error);
            return;
        }
        let mut stays = VecDeque::new();
        for (accepted, command) in std::mem::take(&mut state.commands) {
            if later.is_before(&command) {
                later.push(accepted, command);
            } else {
                stays.push_back((accepted, command));
            }
        }
        state.commands = stays;
        for (accepted, command) in later.commands.into_iter().rev() {
            state.slow.put_back(accepted, command);
        }
    }

    /// How many commands wait.
    pub(in crate::gateway) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Accepts no more commands; what waits is still carried out.
    pub(in crate::gateway) fn close(&self) {
        self.lock().closed = true;
        self.closing.cancel();
        self.filled.notify_one();
    }

    /// Cancelled once the queue is closed.
    pub(in crate::gateway) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Accepts no commands for now, and answers those that wait: nothing can be committed. Where etcd has no
    /// room for anything else, deletions wait: they can be.
    pub(in crate::gateway) fn fail(&self, error: &Arc<CommitError>) {
        let mut state = self.lock();
        state.failing.get_or_insert_with(|| Arc::clone(error));
        state.takes = match **error {
            CommitError::EtcdFull => Takes::Deletions,
            _ => Takes::Nothing,
        };
        let takes = state.takes;
        let (stay, commands) = state.take_all().into_iter().partition(|(_, it)| takes.takes(it));
        state.commands = stay;
        drop(state);
        self.filled.notify_one();
        fail(commands, error);
    }

    /// Accepts no commands for as long as another replica leads, and answers those that wait.
    pub(in crate::gateway) fn follow(&self) {
        let error = Arc::new(CommitError::NotLeading);
        let mut state = self.lock();
        state.failing = Some(Arc::clone(&error));
        state.takes = Takes::Nothing;
        let commands = state.take_all();
        drop(state);
        fail(commands, &error);
    }

    /// Why nothing can be committed at present; `None` if it can.
    pub(in crate::gateway) fn failing(&self) -> Option<Arc<CommitError>> {
        self.lock().failing.clone()
    }

    /// Accepts commands again, for a term; 0 where no replicas share the store.
    pub(in crate::gateway) fn resume(&self, term: i64) {
        let mut state = self.lock();
        state.failing = None;
        state.takes = Takes::Nothing;
        state.term = term;
        state.committer_idle = true;
    }

    /// Accepts commands that change groups which are there, while others are refused.
    pub(in crate::gateway) fn take_changes(&self) {
        self.lock().takes = Takes::Changes;
    }

    /// The next command that is taken while others are refused, if one comes within this time and the
    /// queue is not closed.
    pub(in crate::gateway) fn next_taken(&self, wait: Duration) -> Option<(Moment, Command)> {
        let waited = self.filled.wait_timeout_while(self.lock(), wait, |state| {
            !state.closed && state.commands.is_empty()
        });
        waited.unwrap_or_else(PoisonError::into_inner).0.commands.pop_front()
    }

    /// Waits for the queue to be closed, but no longer than this. Returns whether it is.
    pub(in crate::gateway) fn closed_within(&self, wait: Duration) -> bool {
        let waited = self.filled.wait_timeout_while(self.lock(), wait, |state| !state.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Drops what waits: nobody is left to carry it out.
    pub(in crate::gateway) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.commands.clear();
        state.slow = Slow::default();
    }

    /// Waits for what the lane is to do next, when it has staged this many commands. Moves further
    /// commands to `to`, up to `max` in all, and at most one large push a batch, which comes last.
    ///
    /// Commands that come while the committer syncs are judged at once, but go to the store as one batch
    /// when that is done: a batch costs the disk the same whatever its size.
    pub(in crate::gateway) fn next(
        &self,
        staged: usize,
        has_large: bool,
        max: usize,
        to: &mut Vec<(Moment, Command)>,
    ) -> Next {
        let mut state = self.lock();
        loop {
            if let Some(error) = &state.failing {
                return Next::Fail(Arc::clone(error));
            }
            if staged > 0 && state.committer_idle {
                state.committer_idle = false;
                return Next::Commit;
            }
            let count = state.commands.len().min(max.saturating_sub(staged));
            to.extend(state.commands.drain(..count));
            let room = max.saturating_sub(staged + count);
            state.slow.take(room, has_large, to);
            if !to.is_empty() {
                return Next::Judge;
            }
            // The last batch is that after the one that is being committed.
            if state.closed && state.len() == 0 && state.committer_idle {
                return Next::End;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The committer has synced what it was given.
    pub(in crate::gateway) fn committer_is_idle(&self) {
        self.lock().committer_idle = true;
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::gateway::command::{LARGE_SERIES, Origin};
    use crate::gateway::prepare::{Rules, SeriesHasher, prepare};
    use crate::gateway::{Limits, PushMode};
    use crate::model::{Label, NameRules, Ttl, TtlPolicy, Unmetered};
    use crate::store::Proposal;
    use crate::time::{ManualClock, UnixMillis, UnixNanos};

    fn key(job: &str) -> GroupingKey {
        GroupingKey::new(vec![Label::new("job", job)]).unwrap()
    }

    fn push(job: &str, series: usize) -> Command {
        let key = key(job);
        let lines: Vec<_> = (0..series).map(|n| format!("m{{n=\"{n}\"}} 1\n")).collect();
        let body = lines.concat();
        let families = crate::exposition::text::parse(body.as_bytes(), NameRules::Legacy).unwrap();
        let rules = Rules { limits: &Limits::UNLIMITED, names: NameRules::Legacy, lenient: false };
        let prepared = prepare(&key, SeriesHasher::random(), rules, families, &mut Unmetered);
        let push = crate::gateway::command::Push {
            mode: PushMode::Replace,
            block: crate::exposition::text::LabelBlock::of_group(&key),
            asked: None,
            policy: Arc::new(TtlPolicy::new(Ttl::Never)),
            rule: None,
            families: prepared.unwrap(),
            lenient: false,
            origin: Origin::Pushed,
            waited: false,
            request: None,
            meter: None,
            key,
        };
        Command::Push(Box::new(push), oneshot::channel().0)
    }

    fn queue(commands: Vec<Command>) -> Queue {
        let queue = Queue::new(100, Arc::new(ManualClock::at(UnixNanos(0))));
        for command in commands {
            queue.push(command).unwrap();
        }
        queue
    }

    /// The commands that the lane gets as the next batch.
    fn batch(queue: &Queue) -> Vec<String> {
        let mut commands = Vec::new();
        if queue.len() > 0 {
            queue.next(0, false, 100, &mut commands);
        }
        let name = |command: &Command| match command.key() {
            Some(key) => key.get("job").unwrap().to_owned(),
            None => "all".to_owned(),
        };
        commands.iter().map(|(_, command)| name(command)).collect()
    }

    #[test]
    fn a_batch_has_one_large_push_and_others_go_before_it() {
        let large = |job| push(job, LARGE_SERIES + 1);
        let queue = queue(vec![large("a"), push("b", 1), large("c"), push("d", 1)]);
        assert_eq!(batch(&queue), ["b", "d", "a"]);
        queue.push(push("e", 1)).unwrap();
        assert_eq!(batch(&queue), ["e", "c"]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn nothing_goes_before_what_it_has_to_do_with() {
        let large = |job| push(job, LARGE_SERIES + 1);
        let commands = vec![
            large("a"),
            push("b", 1),
            push("a", 1),
            Command::Wipe(oneshot::channel().0),
            push("b", 1),
        ];
        let queue = queue(commands);
        assert_eq!(batch(&queue), ["b", "a", "a", "all", "b"]);
    }

    #[test]
    fn a_policy_that_is_in_force_holds_up_no_push() {
        for (from, expected) in [(0, ["all", "a"]), (500, ["a", "all"])] {
            let queue = queue(Vec::new());
            let policy = Arc::new(TtlPolicy::new(Ttl::Never));
            let mut later = Slow::default();
            let command =
                Command::SetPolicy(policy, from, Proposal::default(), oneshot::channel().0);
            later.push(Moment { now: UnixMillis(0), wall: UnixNanos(0) }, command);
            queue.put_back(later);
            queue.push(push("a", 1)).unwrap();
            assert_eq!(batch(&queue), expected, "{from}");
        }
    }

    #[test]
    fn what_was_put_back_comes_before_what_came_since() {
        let queue = queue(vec![push("a", 1)]);
        let mut taken = Vec::new();
        queue.next(0, false, 100, &mut taken);
        // While it is judged, and after.
        queue.push(push("a", 2)).unwrap();
        queue.push(push("b", 1)).unwrap();
        let mut later = Slow::default();
        for (accepted, command) in taken {
            later.push(accepted, command);
        }
        queue.put_back(later);
        queue.push(push("a", 3)).unwrap();
        let mut commands = Vec::new();
        queue.next(0, false, 100, &mut commands);
        let series = |command: &Command| match command {
            Command::Push(push, _) => {
                let families = &push.families.as_ref().unwrap().families;
                (push.key.get("job").unwrap().to_owned(), families[0].stored.series())
            }
            other => panic!("{other:?}"),
        };
        let got: Vec<_> = commands.iter().map(|(_, command)| series(command)).collect();
        let expected = [("b", 1), ("a", 1), ("a", 2), ("a", 3)];
        assert_eq!(got, expected.map(|(job, series)| (job.to_owned(), series)));
    }

    #[test]
    fn nothing_is_kept_for_a_later_leader() {
        let queue = queue(vec![push("a", 1)]);
        let mut taken = Vec::new();
        queue.next(0, false, 100, &mut taken);
        // A batch that is not committed, while the commands of the next are judged.
        queue.fail(&Arc::new(CommitError::NotLeading));
        let mut later = Slow::default();
        for (accepted, command) in taken {
            later.push(accepted, command);
        }
        queue.put_back(later);
        assert_eq!(queue.len(), 0);
        queue.resume(0);
        queue.push(push("a", 2)).unwrap();
        queue.follow();
        queue.resume(0);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn the_last_batch_waits_for_the_one_before_it() {
        let queue = queue(Vec::new());
        assert!(matches!(queue.next(1, false, 1, &mut Vec::new()), Next::Commit), "it is busy now");
        queue.close();
        let next = std::thread::scope(|scope| {
            let next = scope.spawn(|| queue.next(0, false, 1, &mut Vec::new()));
            assert!(!next.is_finished());
            queue.committer_is_idle();
            next.join().unwrap()
        });
        assert!(matches!(next, Next::End));
    }

    #[test]
    fn a_command_of_another_term_is_not_taken() {
        let queue = queue(Vec::new());
        queue.follow();
        queue.resume(7);
        let delete = || Command::Delete(key("a"), None, oneshot::channel().0);
        let not_leading = |pushed: Result<(), Fault>| matches!(pushed, Err(Fault::Commit(_)));
        assert!(not_leading(queue.push_in(Some(6), delete())));
        assert!(queue.push_in(Some(7), delete()).is_ok() && queue.push(delete()).is_ok());
        // It leads again, after another has.
        queue.follow();
        queue.resume(9);
        assert!(not_leading(queue.push_in(Some(7), delete())));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn deletions_wait_where_etcd_has_no_room_for_anything_else() {
        let delete = || Command::Delete(key("a"), None, oneshot::channel().0);
        let queue = queue(vec![push("a", 1), delete()]);
        queue.fail(&Arc::new(CommitError::EtcdFull));
        assert_eq!(queue.len(), 1);
        assert!(queue.push(push("b", 1)).is_err() && queue.push(delete()).is_ok());
        let next = || queue.next_taken(Duration::ZERO).map(|(_, command)| command.only_deletes());
        assert_eq!((next(), next(), next()), (Some(true), Some(true), None));
        // Not where nothing at all can be committed.
        queue.resume(0);
        queue.push(delete()).unwrap();
        queue.fail(&Arc::new(CommitError::StorageFull));
        assert!(queue.len() == 0 && queue.push(delete()).is_err());
    }
}
