//! The use cases: push, delete, restore, scrape, reap.
//!
//! Promises
//! - A push or delete is answered, and visible, once it is durable; pushes are applied whole, one
//!   after another (`tests/durability/crash`, `tests/blackbox/model`).
//! - A snapshot never has a group whose deadline has come, whether or not the reaper ran.
//! - What a push costs grows with the push, a scrape never renders or compresses what has not
//!   changed (`benches/`).
//!
//! Deliberately absent
//! - No HTTP, no settings file, no sled. A verdict of the judge is a function of state, command and
//!   time; its tests keep the groups in a map.

mod backup;
mod cluster;
pub mod command;
mod content;
mod deadlines;
pub mod error;
pub mod events;
pub mod history;
pub mod index;
pub mod judge;
mod lane;
mod looking;
pub mod options;
pub mod prepare;
pub mod preview;
pub mod replica;
pub mod scrape;
pub mod segment;
mod shelves;
pub mod stamps;
pub mod state;
pub mod status;
pub mod view;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

pub use command::{Operation, PushMode};
pub use content::{FamilyContent, GroupContent};
pub use error::{Error, Fault, Opposite, Refusal};
pub use events::{Event, EventKind, EventLog, shortened};
pub use history::{HistoryLimits, RemovedGroup};
pub use lane::{LaneError, LaneHandle, REAPER_SLEEP_MAX};
pub use looking::Holders;
pub use options::{Downtime, Limits, Options, Sync};
pub use scrape::{Exposition, ScrapeCache, ScrapeOptions};
pub use state::Loaded;
#[cfg(any(test, fuzzing))]
pub(crate) use state::try_load;
pub use status::GroupStatus;
pub use view::GroupView;

use command::{Command, Origin, Push, Times};
use lane::{Committer, Following, Lane, SharedClock};
use lane::{Pulse, Queue, Watched};
use prepare::{Rules, SeriesHasher, is_legacy_family, is_legacy_key};
use replica::Replica;
use stamps::Stamps;
use state::{State, StateOptions};
use view::{Snapshot, Totals, View};

use crate::exposition::persistence::ForeignGroup;
use crate::exposition::text::LabelBlock;
use crate::model::duration::Exact;
use crate::model::{
    GroupingKey, Meter, MetricFamily, NameRules, Policy, RequestId, Ttl, TtlPolicy, Unmetered,
};
use crate::store::etcd::Feed;
use crate::store::{
    CloseError, CommitError, ImportState, OpenError, Proposal, ReadError, SharedSettings, Store,
    Writer,
};
use crate::telemetry::metrics::{Readings, SelfMetrics};
use crate::telemetry::recent::Slice;
use crate::telemetry::remembered::Remembered;
use crate::time::{Clock, Moment, UnixMillis, UnixNanos};

/// A handle to the gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    /// The request for which it is used, where another replica may ask for it.
    request: Option<RequestId>,
    /// The term of this replica that the request is for; `None`: any.
    term: Option<i64>,
}

#[derive(Debug)]
struct Shared {
    /// To the lane. Bounded.
    queue: Arc<Queue>,
    /// The published state. A std lock: scrapes hold it to copy a list of segments, the lane to put a
    /// batch's lines into theirs; nobody renders, compresses, or waits for the disk under it.
    view: Arc<RwLock<View>>,
    store: Arc<Store>,
    store_bytes: Remembered<u64>,
    clock: Arc<dyn Clock>,
    metrics: Arc<SelfMetrics>,
    pulses: [Arc<Pulse>; 2],
    /// Why the lane is stuck, where it is. Held to read or to replace it.
    stuck: Mutex<Option<Fault>>,
    /// Why the settings that were read last are not in force. Held to read or to replace it.
    settings_problems: Mutex<Option<Arc<str>>>,
    /// As the disk says.
    repairs: Remembered<Arc<[(PathBuf, String)]>>,
    hasher: SeriesHasher,
    options: Options,
    /// The policy with which pushes are prepared. Held to replace or clone it. The lane has its own.
    policy: Arc<RwLock<Policy>>,
    events: Arc<EventLog>,
    next_deadline: watch::Receiver<UnixMillis>,
    scrapes: Arc<ScrapeCache>,
    /// Whether what is stored may have names beyond the legacy charset.
    quoted_names: AtomicBool,
    /// For work that looks through many groups.
    places: Semaphore,
    /// For scrapes that may have to convert or to compress.
    scrape_places: Arc<Semaphore>,
    /// The families that the gateway itself exposes.
    own_families: HashSet<String>,
    /// Where replicas share the store.
    replica: Option<Arc<Replica>>,
    /// The policy of the settings of this process. Held to replace or compare it.
    own_policy: Mutex<(TtlPolicy, SharedSettings)>,
}

/// A place among those that work at a time. Given back when it is dropped; there is none only while
/// the gateway is taken down.
pub type Place = Option<OwnedSemaphorePermit>;

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Lane(#[from] LaneError),
    #[error("cannot keep how far deadlines have moved (ttl.downtime)")]
    Commit(#[from] CommitError),
}

/// Why the store was not closed in order. The next start recovers it.
#[derive(Debug, thiserror::Error)]
pub enum StoreCloseError {
    #[error("something still uses the store")]
    InUse,
    #[error(transparent)]
    Close(#[from] CloseError),
}

/// When a group expires, for people: `None` is never.
pub type Expires = Option<UnixNanos>;

impl Gateway {
    /// Loads the groups of the store and starts the lane. Blocks.
    pub fn start(
        store: Store,
        options: Options,
        clock: Arc<dyn Clock>,
        metrics: Arc<SelfMetrics>,
    ) -> Result<(Self, LaneHandle, Loaded), StartError> {
        Self::start_with(store, None, options, clock, metrics)
    }

    /// The same, with what other replicas commit to the store. Blocks.
    pub fn start_with(
        store: Store,
        feed: Option<Feed>,
        mut options: Options,
        clock: Arc<dyn Clock>,
        metrics: Arc<SelfMetrics>,
    ) -> Result<(Self, LaneHandle, Loaded), StartError> {
        let alone = store.shared().is_none_or(|shared| shared.was_alone());
        let heard = begin_time(&store, &*clock, alone, options.downtime)?;
        let own_settings = store.shared().map(|shared| shared.own_settings()).unwrap_or_default();
        let own_policy = Mutex::new((options.ttl.clone(), own_settings));
        if let Some((policy, _)) = store.shared().and_then(|shared| shared.policy()) {
            if policy != options.ttl {
                tracing::warn!(
                    "the cluster has another TTL policy than the settings of this replica, and it \
                     stays in force: a reload has these settings count for all replicas"
                );
            }
            options.ttl = policy;
        }
        if !alone {
            options.startup_grace = Duration::ZERO;
        }
        let replica = store.shared().map(|shared| Arc::new(Replica::new(shared.batch_revision())));
        let hasher = SeriesHasher::random();
        let now = clock.now();
        let floor = match options.startup_grace {
            Duration::ZERO => UnixMillis(0),
            grace => now.saturating_add(grace),
        };
        let led = store.shared().filter(|_| !alone);
        let at = led.map_or_else(|| clock.moment(), |shared| shared.moment(&*clock));
        let policy = Policy { ttl: Arc::new(options.ttl.clone()), floor };
        let state_options = StateOptions {
            hasher,
            policy: policy.clone(),
            limits: options.limits,
            history: options.history,
            stamps: Stamps { expose_deadline: options.expose_deadline },
            self_types: metrics.types().collect(),
        };
        let own_families = state_options.self_types.keys().cloned().collect();
        let store = Arc::new(store);
        let (State { judge, mut view }, writer, loaded) = load(&store, state_options, at)?;
        let quoted_names = options.names == NameRules::Utf8 || loaded.quoted_names;
        let (sender, next_deadline) = watch::channel(view.next_deadline());
        let events = match store.shared() {
            None => EventLog::new(clock.wall()),
            Some(shared) => EventLog::at_revision(shared.batch_revision()),
        };
        let events = Arc::new(events);
        let pulses = [Arc::new(Pulse::default()), Arc::new(Pulse::default())];
        let [lane_pulse, committer_pulse] = pulses.clone();
        let processors = available_parallelism().map_or(1, usize::from);
        let shared = Shared {
            queue: Arc::new(Queue::new(options.limits.queue, Arc::clone(&clock))),
            view: Arc::new(RwLock::new(view)),
            store,
            clock,
            store_bytes: Remembered::default(),
            metrics,
            pulses,
            stuck: Mutex::default(),
            settings_problems: Mutex::default(),
            repairs: Remembered::default(),
            hasher,
            options,
            policy: Arc::new(RwLock::new(policy)),
            events,
            next_deadline,
            scrapes: Arc::default(),
            quoted_names: AtomicBool::new(quoted_names),
            // One processor at least is left for pushes and probes, where there are several.
            places: Semaphore::new((processors / 2).max(1)),
            scrape_places: Arc::new(Semaphore::new(processors)),
            own_families,
            replica,
            own_policy,
        };
        let following = feed.zip(shared.replica.clone()).map(|(feed, replica)| Following {
            feed,
            replica,
            clock: SharedClock::new(heard),
        });
        let lane = LaneHandle::spawn(Lane {
            judge,
            writer,
            queue: Arc::clone(&shared.queue),
            clock: Arc::clone(&shared.clock),
            clock_offset_ms: shared.store.clock_offset_ms()?.unwrap_or(0),
            pulse: lane_pulse,
            committer: Committer {
                store: Arc::clone(&shared.store),
                view: Arc::clone(&shared.view),
                metrics: Arc::clone(&shared.metrics),
                events: Arc::clone(&shared.events),
                next_deadline: sender,
                sync: shared.options.sync,
                pulse: committer_pulse,
                policy: Arc::clone(&shared.policy),
                replica: shared.replica.clone(),
            },
            following,
        })?;
        Ok((Self { shared: Arc::new(shared), request: None, term: None }, lane, loaded))
    }

    /// Pushes families with names that differ to a group. Returns when the group will expire.
    /// `meter` counts what the push takes, and is kept for as long as it does. Dropping the future
    /// does not undo a push under way.
    pub async fn push(
        &self,
        key: GroupingKey,
        mode: PushMode,
        ttl: Option<Ttl>,
        families: Vec<MetricFamily>,
        meter: Box<dyn Meter>,
    ) -> Result<Expires, Error> {
        let lenient = !self.shared.options.consistency_check;
        self.submit(key, mode, ttl, families, lenient, Origin::Pushed, meter).await
    }

    /// Stores a group that another gateway has held, with its times, in place of what is there. It
    /// lives for a whole TTL from now on. `lenient`: leaves out what contradicts.
    pub async fn import(&self, group: ForeignGroup, lenient: bool) -> Result<(), Error> {
        let ForeignGroup { key, created, pushed, failed, families } = group;
        let stored = families.iter().map(|(at, family)| (family.name.clone(), *at)).collect();
        let origin = Origin::Imported(Box::new(Times { created, pushed, failed, stored }));
        let families = families.into_iter().map(|(_, family)| family).collect();
        let mode = PushMode::Replace;
        self.submit(key, mode, None, families, lenient, origin, Box::new(Unmetered)).await.map(drop)
    }

    #[expect(clippy::too_many_arguments, reason = "all that a push is")]
    async fn submit(
        &self,
        key: GroupingKey,
        mode: PushMode,
        ttl: Option<Ttl>,
        families: Vec<MetricFamily>,
        lenient: bool,
        origin: Origin,
        mut meter: Box<dyn Meter>,
    ) -> Result<Expires, Error> {
        let shared = &*self.shared;
        // The names in a push were checked when it was parsed. Groups from elsewhere may have
        // names that have to be quoted, or escaped, from now on.
        let is_legacy = || is_legacy_key(&key) && families.iter().all(is_legacy_family);
        if origin.times().is_some() && !is_legacy() {
            shared.quoted_names.store(true, Ordering::Relaxed);
        }
        let series: usize = families.iter().map(|family| family.metrics.len()).sum();
        let options = &shared.options;
        let rules = Rules { limits: &options.limits, names: options.names, lenient };
        let families = block_in_place_if(series > SERIES_INLINE_MAX, || {
            prepare::prepare(&key, shared.hasher, rules, families, &mut *meter)
        })?;
        let policy = self.ttl_policy();
        let push = Push {
            mode,
            block: LabelBlock::of_group(&key),
            asked: ttl,
            rule: policy.rule_of(&key),
            policy,
            families,
            lenient,
            origin,
            key,
            waited: false,
            request: self.request,
            meter: Some(meter),
        };
        let (reply, answer) = oneshot::channel();
        shared.queue.push_in(self.term, Command::Push(Box::new(push), reply))?;
        let deadline = answer.await.map_err(|_| Fault::Stopping)??;
        Ok(self.to_wall(deadline))
    }

    /// Deletes a group, if it is there.
    pub async fn delete(&self, key: GroupingKey) -> Result<(), Fault> {
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push_in(self.term, Command::Delete(key, self.request, reply))?;
        answer.await.map_err(|_| Fault::Stopping)?
    }

    /// Deletes all groups, at once.
    pub async fn wipe(&self) -> Result<(), Fault> {
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push_in(self.term, Command::Wipe(reply))?;
        answer.await.map_err(|_| Fault::Stopping)?
    }

    /// Changes those of these groups that are there. Returns which they were.
    pub async fn change(
        &self,
        keys: Vec<GroupingKey>,
        operation: Operation,
    ) -> Result<Vec<GroupingKey>, Fault> {
        let Totals { groups, series, .. } = self.view().totals(self.shared.clock.now());
        let stay = usize::try_from(groups).unwrap_or(usize::MAX).saturating_sub(keys.len());
        let deletes = matches!(operation, Operation::Delete { .. });
        // All at once where that is quick, else some at a time, so that pushes get in between.
        let shared = self.shared.replica.is_some();
        let is_bulk = deletes && !shared && judge::is_bulk(keys.len(), stay, series);
        let mut changed = Vec::with_capacity(keys.len());
        let mut keys = keys.as_slice();
        while !keys.is_empty() {
            let at_once = match (is_bulk, deletes) {
                (true, _) => keys.len(),
                (false, true) => self.removed_at_once(keys),
                (false, false) if shared => SHARED_CHANGED_MAX,
                (false, false) => CHANGED_MAX,
            };
            let (some, others) = keys.split_at(at_once.min(keys.len()));
            let (reply, answer) = oneshot::channel();
            self.shared
                .queue
                .push_in(self.term, Command::Change(some.to_vec(), operation, reply))?;
            changed.extend(answer.await.map_err(|_| Fault::Stopping)??);
            keys = others;
        }
        Ok(changed)
    }

    /// How many of these groups, of which there is one, are removed in one command.
    fn removed_at_once(&self, keys: &[GroupingKey]) -> usize {
        let (now, view) = (self.shared.clock.now(), self.view());
        judge::removed_at_once(
            keys.iter().map(|key| view.group(key, now).map_or(0, |group| group.series)),
        )
    }

    /// Restores a removed group, for its TTL from now on.
    pub async fn restore_removed(&self, removed: Arc<RemovedGroup>) -> Result<Expires, Error> {
        let read = block_in_place_if(true, || self.read_group(removed.number));
        let Some(stored) = read.map_err(Fault::from)? else { return Err(Refusal::Exists.into()) };
        let GroupContent { key, created, pushed, failed, families } = stored;
        let own = removed.state.overridden.or(removed.state.asked);
        if own == Some(Ttl::After(Duration::ZERO)) {
            return Err(Refusal::AtOnce.into());
        }
        let stored = families.iter().map(|family| (family.name.clone(), family.stored)).collect();
        let families = families.into_iter().map(FamilyContent::into_family).collect();
        let times = Box::new(Times { created, pushed, failed, stored });
        let origin = Origin::Restored(times, removed);
        let meter = Box::new(Unmetered);
        self.submit(key, PushMode::Replace, None, families, false, origin, meter).await
    }

    /// Has groups live by another policy from now on, also those that are there, but for those whose
    /// TTL a push or an operator has set.
    /// Where replicas share their groups, `settings` count for them, too, for each from its next start on.
    pub async fn set_policy(
        &self,
        policy: TtlPolicy,
        settings: SharedSettings,
    ) -> Result<(), Fault> {
        if let Some(shared) = self.shared.store.shared() {
            return self.propose(shared, policy, settings).await;
        }
        let (reply, answer) = oneshot::channel();
        let command = Command::SetPolicy(Arc::new(policy), 0, Proposal::default(), reply);
        self.shared.queue.push(command)?;
        answer.await.map_err(|_| Fault::Stopping)?
    }

    /// The TTL policy in force.
    pub fn ttl_policy(&self) -> Arc<TtlPolicy> {
        Arc::clone(&self.policy().ttl)
    }

    /// The policy in force, with the time before which no group expires.
    pub fn policy(&self) -> Policy {
        self.shared.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The group of a key, unless it has expired.
    pub fn group(&self, key: &GroupingKey) -> Option<GroupView> {
        self.view().group(key, self.shared.clock.now()).cloned()
    }

    /// Removes what has expired. Does not wait long for other replicas.
    async fn reap_soon(&self) -> Result<(), Fault> {
        if self.shared.replica.is_none() {
            return self.reap().await;
        }
        let late = || Fault::Commit(Arc::new(CommitError::NotLeading));
        tokio::time::timeout(REAP_WAIT, self.reap()).await.unwrap_or_else(|_| Err(late()))
    }

    /// The removed groups that can be restored, latest first. Waits for expired groups to be removed.
    pub async fn removed(&self) -> Result<Vec<Arc<RemovedGroup>>, Fault> {
        while self.view().overdue(self.shared.clock.now()).next().is_some() {
            match self.reap_soon().await {
                Ok(()) => {}
                // The published groups can still be read.
                Err(Fault::Commit(_)) => break,
                Err(fault) => return Err(fault),
            }
        }
        Ok(self.view().removed().iter().rev().cloned().collect())
    }

    /// The latest events.
    pub fn events(&self) -> &EventLog {
        &self.shared.events
    }

    /// A push was refused before it came here.
    pub fn note_refused(&self, key: GroupingKey, reason: &str) {
        let what = EventKind::refused(reason);
        self.shared.events.add([(self.shared.clock.wall(), key, what)]);
    }

    /// Wall time.
    pub fn wall(&self) -> UnixNanos {
        self.shared.clock.wall()
    }

    /// Gateway time.
    pub fn now(&self) -> UnixMillis {
        self.shared.clock.now()
    }

    /// Wall time in gateway time, with the clock's present offset.
    pub fn to_gateway_time(&self, wall: UnixNanos) -> UnixMillis {
        let millis = wall.as_millis().saturating_add(self.offset_ms());
        UnixMillis(u64::try_from(millis).unwrap_or(0))
    }

    /// Why nothing can be stored at present; `None` if all is well.
    pub fn trouble(&self) -> Option<Fault> {
        let stuck = || self.shared.stuck.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let failing = self.shared.queue.failing().filter(|error| !error.is_not_leading());
        failing.map(Fault::Commit).or_else(stuck)
    }

    /// Fails once the files of the store are no longer those that are written to. Looks at the disk.
    pub fn is_in_place(&self) -> Result<(), CommitError> {
        self.shared.store.is_in_place()
    }

    /// Notes that the lane is stuck, and with which work; `None`: it is not.
    pub fn note_stuck(&self, busy: Option<(Duration, String)>) {
        let stuck =
            busy.map(|(time, doing)| Fault::Stuck { seconds: time.as_secs(), doing: doing.into() });
        *self.shared.stuck.lock().unwrap_or_else(PoisonError::into_inner) = stuck;
    }

    /// Watches over the lane.
    pub fn watch(&self) -> Watch {
        let store = Arc::clone(&self.shared.store);
        Watch { store, pulses: self.shared.pulses.clone(), watched: Default::default() }
    }

    /// The metrics about the gateway.
    pub fn metrics(&self) -> &SelfMetrics {
        &self.shared.metrics
    }

    /// The settings were read again, or could not be.
    pub fn reloaded(&self, problems: Option<&str>) {
        self.shared.metrics.reloaded(problems.is_none(), self.shared.clock.wall());
        *self.shared.settings_problems.lock().unwrap_or_else(PoisonError::into_inner) =
            problems.map(Into::into);
    }

    /// Why the settings that were read last are not in force, if that is so.
    pub fn settings_problems(&self) -> Option<Arc<str>> {
        self.shared.settings_problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The findings of each time that the store was built anew as it was damaged, with the folder of its
    /// old files, for as long as these are kept.
    pub fn repairs(&self) -> Arc<[(PathBuf, String)]> {
        self.shared.repairs.get(|| self.shared.store.reports().into())
    }

    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.shared.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes groups that have expired, a bounded number of them. Not needed for them not to be
    /// shown.
    pub async fn reap(&self) -> Result<(), Fault> {
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(Command::Reap(reply))?;
        answer.await.map_err(|_| Fault::Stopping)?
    }

    /// The exposition as of now.
    ///
    /// Waits only in one case: where groups disagree on a help text, and the one whose text counts
    /// has expired, it is reaped first.
    pub async fn scrape(&self, options: ScrapeOptions) -> Exposition {
        let shared = &*self.shared;
        let now = shared.clock.now();
        let (snapshot, totals) = loop {
            let (snapshot, totals) = {
                let view = shared.view.read().unwrap_or_else(PoisonError::into_inner);
                (view.snapshot(now), view.totals(now))
            };
            // If it cannot be reaped, a text that was right is better than no scrape.
            if !snapshot.has_expired_help() || self.reap_soon().await.is_err() {
                break (snapshot, totals);
            }
        };
        let mut own = shared.metrics.families(&self.readings_of(totals));
        if shared.replica.is_some() {
            // Whoever asks through a balancer would get those of one replica, and then of another.
            own.retain(|family| SAME_ON_ALL.contains(&family.name.as_str()));
        }
        let cache = Arc::clone(&shared.scrapes);
        let quoted_names = shared.quoted_names.load(Ordering::Relaxed)
            || shared.replica.as_ref().is_some_and(|replica| replica.has_quoted_names());
        Exposition::new(snapshot, own, options, quoted_names, cache)
    }

    /// The self metrics alone.
    pub fn own_exposition(&self, options: ScrapeOptions) -> Exposition {
        let mut own = self.shared.metrics.families(&self.readings());
        own.extend(self.cluster_families());
        own.sort_by(|a, b| a.name.cmp(&b.name));
        Exposition::new(Snapshot::empty(), own, options, false, Arc::default())
    }

    /// A place to fill a frame of a scrape that may have to be converted or compressed.
    pub async fn scrape_place(self) -> Place {
        Arc::clone(&self.shared.scrape_places).acquire_owned().await.ok()
    }

    /// The readings of the gateway now.
    pub fn readings(&self) -> Readings {
        let totals = self.view().totals(self.shared.clock.now());
        self.readings_of(totals)
    }

    fn readings_of(&self, totals: Totals) -> Readings {
        let shared = &*self.shared;
        let next_deadline = *shared.next_deadline.borrow();
        Readings {
            groups: totals.groups,
            series: totals.series,
            store_bytes: shared.store_bytes.get(|| shared.store.disk_bytes()),
            next_deadline: self.to_wall(next_deadline).map(UnixNanos::as_secs_f64),
            by_ttl_source: totals.by_ttl_source,
            queue_length: shared.queue.len(),
            writable: shared.queue.failing().is_none_or(|error| error.is_not_leading()),
            now: shared.clock.now(),
        }
    }

    /// Takes a sample of the self metrics, for [`Gateway::recent`].
    pub fn sample(&self) {
        self.shared.metrics.sample(self.shared.clock.now());
    }

    /// Samples of the last hour, oldest first.
    pub fn recent(&self) -> Vec<Slice> {
        self.shared.metrics.recent()
    }

    /// The kernel's figures for this process.
    pub fn process_families(&self) -> Vec<MetricFamily> {
        self.shared.metrics.process_families()
    }

    /// Bounds of what pushes may bring.
    pub fn limits(&self) -> Limits {
        self.shared.options.limits
    }

    /// How many removed groups are kept.
    pub fn history_limits(&self) -> HistoryLimits {
        self.shared.options.history
    }

    /// How many groups can be restored, and their bytes.
    pub fn history_size(&self) -> (usize, u64) {
        let view = self.view();
        let removed = view.removed();
        (removed.len(), removed.iter().map(|group| group.bytes).sum())
    }

    /// Which names pushes may bring.
    pub fn names(&self) -> NameRules {
        self.shared.options.names
    }

    /// Whether pushes that contradict stored groups are refused.
    pub fn checks_consistency(&self) -> bool {
        self.shared.options.consistency_check
    }

    /// How far the import of another gateway's groups is that this store was begun with.
    pub fn import_state(&self) -> Result<ImportState, OpenError> {
        self.shared.store.import_state()
    }

    /// Notes how far the import is, durably. Blocks.
    pub fn note_import(&self, state: ImportState) -> Result<(), Fault> {
        let store = &self.shared.store;
        store.keep_import_state(state).map_err(Fault::from)
    }

    /// Stored bytes of the largest group that is there now.
    pub fn largest_group(&self) -> u64 {
        let now = self.shared.clock.now();
        self.view().groups(now).map(|group| group.bytes).max().unwrap_or(0)
    }

    /// Reads a group of [`Gateway::stored_groups`]; `None` if it was removed. Blocks on the store.
    pub fn read_group(&self, number: u64) -> Result<Option<GroupContent>, ReadError> {
        self.shared.store.read(number)?.map(TryInto::try_into).transpose()
    }

    /// The earliest deadline, as it changes. [`UnixMillis::MAX`] while there is none.
    pub fn next_deadline(&self) -> watch::Receiver<UnixMillis> {
        self.shared.next_deadline.clone()
    }

    /// Closes the store, if this is the last handle and the lane has ended. Blocks.
    pub fn close(self) -> Result<(), StoreCloseError> {
        let shared = Arc::into_inner(self.shared).ok_or(StoreCloseError::InUse)?;
        let store = Arc::into_inner(shared.store).ok_or(StoreCloseError::InUse)?;
        Ok(store.close()?)
    }

    /// A deadline for people.
    pub fn to_wall(&self, deadline: UnixMillis) -> Expires {
        (deadline != UnixMillis::MAX).then(|| deadline.to_wall(self.offset_ms()))
    }
}

/// Notices when the lane is stuck, by looking at equal intervals.
#[derive(Debug)]
pub struct Watch {
    store: Arc<Store>,
    pulses: [Arc<Pulse>; 2],
    watched: [Watched; 2],
}

/// Work that is under way for longer than one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stuck {
    /// For how many looks it has been.
    pub looks: u32,
    /// The work under way.
    pub doing: String,
}

impl Watch {
    /// Takes a look. Returns what has been under way for longest.
    pub fn look(&mut self) -> Stuck {
        // Without a quorum of etcd one commit takes as long as it takes, with one attempt after another.
        let attempts = self.store.shared().map_or(0, |shared| shared.attempts());
        let pairs = self.watched.iter_mut().zip(&self.pulses);
        let looks = pairs.map(|(watched, pulse)| {
            (watched.look(pulse.count().wrapping_add(2 * attempts)), pulse)
        });
        match looks.max_by_key(|(looks, _)| *looks) {
            Some((looks, pulse)) if looks > 0 => Stuck { looks, doing: pulse.doing() },
            _ => Stuck::default(),
        }
    }
}

/// Sets gateway time at a start. Returns whether it is that of a leader.
/// Loads all groups of a store, and builds that anew if it is damaged.
fn load(
    store: &Arc<Store>,
    options: StateOptions,
    at: Moment,
) -> Result<(State, Writer, Loaded), OpenError> {
    match State::load(store, options.clone(), at) {
        Err(error @ OpenError::Damaged { .. }) => {
            tracing::error!(%error, "the store does not have what it says");
            store.recover()?;
            State::load(store, options, at)
        }
        loaded => loaded,
    }
}

fn begin_time(
    store: &Store,
    clock: &dyn Clock,
    alone: bool,
    downtime: Downtime,
) -> Result<bool, StartError> {
    if let Some(offset) = store.clock_offset_ms()? {
        clock.restore_offset_ms(offset);
    }
    // While another replica runs, time goes on by its clock, whatever that of this host says.
    let heard = store.shared().and_then(|shared| shared.heard_time());
    if let Some(now) = heard {
        let now = i64::try_from(now.0).unwrap_or(i64::MAX);
        clock.restore_offset_ms(now.saturating_sub(clock.wall().as_millis()));
    }
    if let Some(alive) = store.alive_ms()?.map(UnixMillis).filter(|_| alone) {
        resume_clock(alive, store, clock, downtime)?;
    }
    Ok(heard.is_some())
}

/// Decides from when gateway time goes on at a start, and keeps it. It was `alive` when the gateway was
/// last known to run.
fn resume_clock(
    alive: UnixMillis,
    store: &Store,
    clock: &dyn Clock,
    downtime: Downtime,
) -> Result<(), StartError> {
    let now = clock.now();
    let down = now.saturating_since(alive);
    let for_people = |time: Duration| Exact(Duration::from_secs(time.as_secs()));
    if now < alive {
        // Such as in 1970, before NTP has set the clock: nothing is to live longer for it.
        let behind = for_people(alive.saturating_since(now)).to_string();
        tracing::warn!(behind, "the host clock is behind the last run; deadlines go on from there");
    } else if down > DOWN_MAX {
        let ahead = for_people(down).to_string();
        tracing::warn!(
            ahead,
            "the host clock is far ahead of the last run; deadlines go on from there"
        );
    } else if downtime == Downtime::Pause && !down.is_zero() {
        let down = for_people(down).to_string();
        tracing::info!(down, "deadlines moved by the time that the gateway was down");
    } else {
        return Ok(());
    }
    let signed = |time: UnixMillis| i64::try_from(time.0).unwrap_or(i64::MAX);
    let offset = clock.offset_ms().saturating_add(signed(alive)).saturating_sub(signed(now));
    clock.restore_offset_ms(offset);
    if store.read_only().is_none() {
        store.keep_clock_offset_ms(offset)?;
    }
    Ok(())
}

/// A gateway that was down for longer is taken for one whose host clock is wrong: rather than that all
/// groups expire at once, they live on from when it stopped.
const DOWN_MAX: Duration = Duration::from_hours(366 * 24);

/// Self metrics that all replicas have alike.
const SAME_ON_ALL: [&str; 3] =
    ["tidegate_groups", "tidegate_next_deadline_timestamp_seconds", "tidegate_series"];

/// So many groups are changed in one go.
const CHANGED_MAX: usize = 250;
/// And where replicas share the store: the heads of more could be larger than a batch may be.
const SHARED_CHANGED_MAX: usize = 64;

/// A push with more series is prepared where it does not hold up other requests: at a microsecond or
/// two each, this many take some milliseconds.
const SERIES_INLINE_MAX: usize = 2000;

/// So much long work at a time leaves its thread's tasks to others. Each takes one more thread, with
/// its stack and its part of the heap: with as many as there are streams, these would take more memory
/// than what the streams ask for.
static LONG_WORK: Semaphore = Semaphore::const_new(4);

/// Does work; where it is long and the runtime has other threads, leaves them this one's tasks.
pub(crate) fn block_in_place_if<T>(long: bool, work: impl FnOnce() -> T) -> T {
    let threads = |handle: &Handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread;
    if long
        && Handle::try_current().is_ok_and(|handle| threads(&handle))
        && let Ok(_permit) = LONG_WORK.try_acquire()
    {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// Who reads waits so long for what has expired to be removed from a store that replicas share.
const REAP_WAIT: Duration = Duration::from_millis(250);

/// How long the reaper waits after a failed attempt.
pub const REAP_RETRY: Duration = Duration::from_secs(1);
