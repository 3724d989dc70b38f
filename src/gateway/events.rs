//! The latest events, for those who follow them: in order, each with a
//! number by which a follower that was cut off goes on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::Expires;
use super::history::RemovedGroup;
use crate::model::GroupingKey;
use crate::time::UnixNanos;

/// So many are kept for followers that are behind, of so many bytes in all.
const EVENTS_MAX: usize = 8192;
const BYTES_MAX: usize = 8 << 20;
/// Of a reason why a push was refused, so many characters are told.
const REASON_CHARS_MAX: usize = 500;

/// Something that happened to a group.
#[derive(Debug)]
pub struct Event {
    /// Above those of all earlier events, also of those before a restart.
    pub id: u64,
    /// Wall time.
    pub at: UnixNanos,
    pub key: GroupingKey,
    pub what: EventKind,
    /// The text that followers are sent, once one has asked.
    text: OnceLock<Bytes>,
}

/// The kind of an event, with its details.
#[derive(Clone, Debug)]
pub enum EventKind {
    Pushed { expires: Expires },
    Refused { reason: Arc<str> },
    Removed(Arc<RemovedGroup>),
}

/// The latest events.
#[derive(Debug)]
pub struct EventLog {
    /// Held to add events, or to copy what they are found by.
    events: Mutex<Kept>,
    /// The number of the latest.
    latest: watch::Sender<u64>,
    /// Whether there will be no more.
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Kept {
    list: VecDeque<Arc<Event>>,
    /// About how many they have.
    bytes: usize,
}

/// The events that a follower gets.
#[derive(Debug)]
pub struct Followed {
    pub events: Vec<Arc<Event>>,
    /// From where to go on.
    pub last: u64,
    /// Whether there were others in between that are not kept any more.
    pub missed: bool,
}

impl Event {
    /// The text that followers are sent: made for the first of them, and the same for all.
    pub fn text(&self, make: impl FnOnce() -> Bytes) -> &Bytes {
        self.text.get_or_init(make)
    }

    /// About how much memory it takes, with its text.
    fn bytes(&self) -> usize {
        let reason = if let EventKind::Refused { reason } = &self.what { reason.len() } else { 0 };
        512 + 3 * self.key.as_bytes().len() + 2 * reason
    }
}

impl EventKind {
    /// A push was refused. Of a long reason the begin is told.
    pub fn refused(reason: &str) -> Self {
        Self::Refused { reason: shortened(reason, REASON_CHARS_MAX).into() }
    }

    /// As the API names it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pushed { .. } => "pushed",
            Self::Refused { .. } => "refused",
            Self::Removed(group) => group.reason.as_str(),
        }
    }
}

impl EventLog {
    /// Of nothing. Numbers begin with the time, so that they go on rising after a restart.
    pub fn new(started: UnixNanos) -> Self {
        Self::after_id(u64::try_from(started.as_millis()).unwrap_or(0).saturating_mul(1000))
    }

    /// Of nothing, as of a revision that replicas share.
    pub fn at_revision(revision: i64) -> Self {
        Self::after_id(first_id(revision))
    }

    fn after_id(first: u64) -> Self {
        Self {
            events: Mutex::default(),
            latest: watch::Sender::new(first),
            closed: AtomicBool::new(false),
        }
    }

    /// Adds events: when, to which group, what.
    pub fn add(&self, added: impl IntoIterator<Item = (UnixNanos, GroupingKey, EventKind)>) {
        self.add_above(0, added);
    }

    /// Adds events of a revision that replicas share: their numbers are about the same on each.
    pub fn add_at(
        &self,
        revision: i64,
        added: impl IntoIterator<Item = (UnixNanos, GroupingKey, EventKind)>,
    ) {
        self.add_above(first_id(revision), added);
    }

    fn add_above(
        &self,
        least: u64,
        added: impl IntoIterator<Item = (UnixNanos, GroupingKey, EventKind)>,
    ) {
        let mut events = self.lock();
        let before = *self.latest.borrow();
        let mut id = before.max(least);
        for (at, key, what) in added {
            id += 1;
            let event = Event { id, at, key, what, text: OnceLock::new() };
            events.bytes += event.bytes();
            events.list.push_back(Arc::new(event));
            while events.list.len() > EVENTS_MAX || events.bytes > BYTES_MAX {
                let Some(oldest) = events.list.pop_front() else { break };
                events.bytes -= oldest.bytes();
            }
        }
        if events.list.back().is_some_and(|latest| latest.id > before) {
            self.latest.send_replace(id);
        }
    }

    /// Sends followers home.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.latest.send_modify(|_| {});
    }

    /// Whether followers are to go.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The number of the latest event, as it changes.
    pub fn latest(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    /// The events after this one, at most so many. After one that there was never, as where the host
    /// clock was set back over a restart: those that are to come.
    pub fn after(&self, id: u64, max: usize) -> Followed {
        let events = self.lock();
        let latest = *self.latest.borrow();
        if id > latest {
            return Followed { events: Vec::new(), last: latest, missed: true };
        }
        let events = &events.list;
        let oldest = events.front().map_or(latest + 1, |event| event.id);
        let start = events.partition_point(|event| event.id <= id);
        let found: Vec<_> = events.iter().skip(start).take(max).cloned().collect();
        let last = found.last().map_or(latest, |event| event.id);
        Followed { events: found, last, missed: id + 1 < oldest }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number behind which those of the events of a revision come.
fn first_id(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0) << 16
}

/// The begin of a text that is too long.
pub fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}\u{2026}", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Label;

    fn pushed(job: &str) -> (UnixNanos, GroupingKey, EventKind) {
        let key = GroupingKey::new(vec![Label::new("job", job)]).unwrap();
        (UnixNanos(0), key, EventKind::Pushed { expires: None })
    }

    #[test]
    fn a_follower_goes_on_where_it_was() {
        let log = EventLog::new(UnixNanos(5_000_000));
        let begin = *log.latest().borrow();
        log.add([pushed("a"), pushed("b"), pushed("c")]);
        let Followed { events, last, missed } = log.after(begin, 2);
        assert_eq!(last, begin + 2);
        let jobs: Vec<_> = events.iter().map(|event| event.key.get("job").unwrap()).collect();
        assert_eq!((jobs, missed), (vec!["a", "b"], false));
        let rest = log.after(events[1].id, 10);
        assert_eq!((rest.events.len(), rest.missed), (1, false));
        assert!(log.after(rest.events[0].id, 10).events.is_empty());
    }

    #[test]
    fn a_follower_that_is_too_far_behind_is_told_so() {
        let log = EventLog::new(UnixNanos(0));
        log.add((0..=EVENTS_MAX).map(|_| pushed("a")));
        let followed = log.after(0, usize::MAX);
        assert_eq!((followed.events.len(), followed.missed), (EVENTS_MAX, true));
    }

    /// The log took half a gigabyte for pushes that were refused.
    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let log = EventLog::new(UnixNanos(0));
        let key = GroupingKey::new(vec![Label::new("job", "x".repeat(60_000))]).unwrap();
        let refused = || EventKind::refused(&"y".repeat(100_000));
        log.add((0..EVENTS_MAX).map(|_| (UnixNanos(0), key.clone(), refused())));
        let Followed { events, missed, .. } = log.after(0, usize::MAX);
        assert!(missed && events.len() < 60, "{}", events.len());
        let bytes = events.iter().map(|event| event.bytes()).sum::<usize>();
        assert!(bytes <= BYTES_MAX, "{bytes}");
        assert!(matches!(&events[0].what, EventKind::Refused { reason } if reason.len() < 600));
    }

    /// It was told without end that it had missed some.
    #[test]
    fn numbers_rise_over_a_restart() {
        let log = EventLog::new(UnixNanos(1_000_000_000));
        log.add([pushed("a")]);
        let before = *log.latest().borrow();
        let after = EventLog::new(UnixNanos(1_001_000_000));
        assert!(*after.latest().borrow() > before);
        assert!(after.after(before, 10).missed, "what was in between is not known");
    }

    #[test]
    fn a_follower_of_what_never_happened_goes_on_with_what_is_to_come() {
        let log = EventLog::new(UnixNanos(5_000_000));
        log.add([pushed("a")]);
        let latest = *log.latest().borrow();
        for id in [latest + 1, u64::MAX] {
            let Followed { events, last, missed } = log.after(id, 10);
            assert_eq!((events.len(), last, missed), (0, latest, true), "{id}");
        }
    }
}
