//! etcd: groups that several replicas share.
//!
//! One replica leads: it holds a key under a lease, and commits each batch as one transaction that fails
//! once that key is another's. All replicas, the leader too, follow every change by one watch, and have
//! all chunks in memory. `keys` says what lies where.
//!
//! Promises
//! - When `EtcdStore::sync` has returned `Ok`, a quorum of etcd has the batch on disk.
//! - A batch is committed once or never, and never after another replica has come to lead.
//! - What is read here is in etcd, or in the batch that is being committed.

mod client;
mod commit;
mod feed;
mod follow;
mod frame;
mod join;
mod keys;
mod lease;
mod messages;
mod mirror;
#[cfg(test)]
pub(crate) mod offline;
mod record;
mod seat;
mod txn;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use xxhash_rust::xxh3::xxh3_64;

use super::batch::Batch;
use super::chunk::{Chunk, ChunkKey};
use super::commit::{Commit, Proposal, SharedSettings};
use super::error::{CommitError, OpenError, ReadError};
use super::group::{Assembled, StoredGroup, assemble};
use crate::model::TtlPolicy;
use crate::time::{Clock, Moment, UnixNanos};

use client::Client;
use commit::{Pending, Verdict};
use feed::{Message, Whole};
use frame::Packer;
use join::Company;
use keys::{Key, Keys};
use messages::{RangeRequest, TxnRequest};
use mirror::Mirror;
use record::BatchRecord;

pub use client::ClientError;
pub use feed::Watching;
pub use follow::{BatchSeen, Followed, Noticed};
pub use lease::Keeping;
pub use record::Member;
pub use seat::{Leader, Standing};

/// Which etcd, and who this replica is.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// URLs of the members of etcd.
    pub endpoints: Vec<String>,
    /// The name of the cluster: replicas of one name share their groups.
    pub name: String,
    /// The name of this replica.
    pub id: String,
    /// Where the others reach it.
    pub advertise_url: String,
    pub lease_ttl: Duration,
    /// PEM files for TLS towards etcd.
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Name and password.
    pub user: Option<(String, String)>,
    /// The settings that count for all replicas, beside the TTL policy.
    pub settings: SharedSettings,
    /// The first and the last schema version that this build reads and writes.
    pub schemas: (u32, u32),
    /// Whether a start has to know for sure that no other replica runs.
    pub has_to_know: bool,
}

/// The groups of a cluster.
pub struct EtcdStore {
    runtime: Handle,
    client: Arc<Client>,
    keys: Keys,
    packer: Packer,
    name: String,
    /// Differs at each start.
    instance: String,
    /// Those of this replica that count for all, if it is the first of the cluster.
    settings: SharedSettings,
    me: Arc<dyn Fn() -> Member + Send + Sync>,
    /// Held to read some chunks, or to change those of a batch.
    mirror: RwLock<Mirror>,
    seat: Mutex<Seat>,
    /// The batch that was applied, and is to be committed.
    pending: Mutex<Option<Pending>>,
    lease: watch::Receiver<i64>,
    standing: watch::Sender<Standing>,
    counts: Counts,
    company: Company,
    /// The last removal that the webhook was told of.
    told: AtomicU64,
    /// The revision up to which this replica has followed.
    applied: Arc<AtomicI64>,
    /// Cancelled once the gateway stops.
    stop: CancellationToken,
}

/// Who leads, as far as a replica knows.
#[derive(Debug, Default)]
struct Seat {
    /// The revision at which this replica came to lead; 0: it does not.
    leads: i64,
    /// Where the record of the latest batch was put.
    batch_revision: i64,
    /// All up to this revision was in memory when this replica came to lead.
    from: i64,
    /// The number of the last batch that was tried. None is used twice: of a batch that was given up it
    /// may turn out that it was committed.
    tried: u64,
    record: BatchRecord,
    /// The schema of all chunks and records; 0: of none yet.
    schema: u32,
    /// The first and the last that this build knows.
    reads: (u32, u32),
    /// Of the leader key, if there is one.
    leader: Option<Leader>,
    members: BTreeMap<String, Member>,
    /// Wall time when members are read; `None` where what is read is not of now.
    wall_ms: Option<i64>,
    policy: Option<(TtlPolicy, Proposal)>,
    /// Revisions at which this replica has committed, which the feed has not told of yet.
    own: Vec<i64>,
    /// Trees that are not used any more, and may have chunks.
    left_over: Vec<u64>,
    /// The policy that a replica wants to be in force, and its name.
    proposal: Option<(TtlPolicy, Proposal)>,
}

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Counts {
    pub commit_retries: AtomicU64,
    pub fenced_batches: AtomicU64,
    pub terms: AtomicU64,
    pub reloads: Arc<AtomicU64>,
    /// Groups that cannot be read, each time that one was found.
    pub set_aside: AtomicU64,
    /// Not counted, but measured: bytes of the database of etcd.
    pub etcd_bytes: AtomicU64,
    /// Attempts of the committer to have etcd do something.
    attempts: AtomicU64,
}

/// A store that is connected, and what has to run beside it.
#[derive(Debug)]
pub struct Connected {
    pub store: EtcdStore,
    pub feed: Feed,
    pub watching: Watching,
    pub keeping: Keeping,
}

/// The changes that a replica follows.
#[derive(Debug)]
pub struct Feed {
    messages: mpsc::Receiver<Message>,
    /// Messages that come before those.
    kept: VecDeque<Message>,
    /// Whether changes are missing from it: then all is loaded again before any is taken.
    is_broken: bool,
    /// Why the next change cannot be taken, once those before it have been.
    failed: Option<String>,
}

impl Feed {
    fn new(messages: mpsc::Receiver<Message>, kept: VecDeque<Message>) -> Self {
        Self { messages, kept, is_broken: false, failed: None }
    }
}

/// A command of more bytes, as etcd gets them, is refused: with what is in a batch already it has to be
/// below the 1.5 MiB that etcd takes in one request.
pub(super) const COMMAND_BYTES_MAX: usize = 1 << 20;
/// A batch is closed once it has so many bytes, or writes so many chunks.
pub(super) const BATCH_BYTES: usize = 384 << 10;
pub(super) const BATCH_WRITES: usize = 1000;
/// A command of more chunks is refused.
pub(super) const COMMAND_WRITES_MAX: usize = txn::OPERATIONS_MAX - BATCH_WRITES - 32;
/// No chunk takes more in a request beside itself: its key, with a name of the cluster of
/// [`NAME_LENGTH_MAX`].
pub(super) const WRITE_BYTES: usize = 160;
/// The longest name of a cluster.
pub const NAME_LENGTH_MAX: usize = 64;
/// So many messages wait for a replica that applies them.
const FEED_MAX: usize = 256;
/// Groups whose chunks are deleted in one transaction, once all groups were.
const RECLAIMED_GROUPS: u64 = 2000;

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        f.debug_struct("Options")
            .field("endpoints", &self.endpoints)
            .field("name", &self.name)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore").field("name", &self.name).finish_non_exhaustive()
    }
}

impl EtcdStore {
    /// Connects, waits for etcd where it does not answer, and loads all groups. `ttl` is the policy of a
    /// cluster that begins; `instance` differs at each start; `wall` is the wall clock.
    pub async fn connect(
        options: &Options,
        ttl: &TtlPolicy,
        instance: String,
        wall: Arc<dyn Fn() -> UnixNanos + Send + Sync>,
    ) -> Result<Connected, OpenError> {
        let refused = |what: String| OpenError::Cluster { name: options.name.clone(), what };
        let client = Client::new(options).map_err(|error| refused(chain(&error)))?;
        let client = Arc::new(client);
        let keys = Keys::new(&options.name);
        let packer = Packer::new().map_err(|error| refused(error.to_string()))?;
        let whole = loaded(&client, &keys, options, ttl).await.map_err(&refused)?;
        let applied = Arc::new(AtomicI64::new(whole.revision));
        let me: Arc<dyn Fn() -> Member + Send + Sync> = {
            let (options, instance) = (options.clone(), instance.clone());
            let settings = hash_of(&options.settings);
            let applied = Arc::clone(&applied);
            Arc::new(move || Member {
                id: options.id.clone(),
                instance: instance.clone(),
                url: options.advertise_url.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                reads: options.schemas,
                settings: settings.clone(),
                wall_ms: wall().as_millis(),
                applied: applied.load(Ordering::Relaxed),
                skew_ms: None,
            })
        };
        let (lease_sender, lease) = watch::channel(0);
        let (send, messages) = mpsc::channel(FEED_MAX);
        let next = whole.revision + 1;
        let counts = Counts::default();
        let watching = Watching {
            client: Arc::clone(&client),
            keys: keys.clone(),
            next,
            send,
            reloads: Arc::clone(&counts.reloads),
            me: Arc::clone(&me),
        };
        let keeping = Keeping {
            client: Arc::clone(&client),
            keys: keys.clone(),
            ttl: options.lease_ttl,
            member: Arc::clone(&me),
            lease: lease_sender,
        };
        let mut seat = Seat { reads: options.schemas, ..Seat::default() };
        seat.see(whole.keys.iter().cloned()).map_err(&refused)?;
        if let Some(other) = seat.members.get(&options.id) {
            tracing::warn!(
                id = options.id,
                url = other.url,
                "a replica of this name is there already; if it is not the last run of this one, give \
                 each its own cluster.id"
            );
        }
        let company = Company::find(&client, &keys, options, &seat).await;
        let company = company.unwrap_or_else(|status| {
            tracing::debug!(%status, "cannot look who else is there");
            Company::Unknown
        });
        let tree = seat.record.tree;
        let chunks = whole.chunks.into_iter().filter(|((of, _), _)| *of == tree);
        let chunks = chunks.map(|((_, key), frame)| (key, frame)).collect();
        let standing = watch::Sender::new(seat.standing());
        let store = Self {
            runtime: Handle::current(),
            client,
            keys,
            packer,
            name: options.name.clone(),
            instance,
            settings: options.settings.clone(),
            me,
            mirror: RwLock::new(Mirror::new(tree, whole.revision, chunks)),
            seat: Mutex::new(seat),
            pending: Mutex::default(),
            lease,
            standing,
            counts,
            company,
            told: AtomicU64::new(0),
            applied: Arc::clone(&applied),
            stop: CancellationToken::new(),
        };
        Ok(Connected { store, feed: Feed::new(messages, VecDeque::new()), watching, keeping })
    }

    /// The name of the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The latest batch that is in memory; `None` if there was none.
    pub fn latest(&self) -> Option<BatchSeen> {
        let seat = self.seat();
        (seat.batch_revision != 0).then(|| follow::batch_seen(&seat.record, seat.batch_revision))
    }

    /// Now, with the wall time of the leader where there was one: all replicas come to the same deadlines
    /// for people.
    pub fn moment(&self, clock: &dyn Clock) -> Moment {
        let seat = self.seat();
        let now = clock.now();
        match seat.batch_revision {
            0 => clock.moment(),
            _ => Moment { now, wall: now.to_wall(seat.record.offset_ms) },
        }
    }

    /// The last removal that the webhook was told of, whichever replica has told it; 0: of none.
    pub fn told(&self) -> u64 {
        self.seat().record.told
    }

    /// Notes up to which removal the webhook was told. The next batch has it.
    pub fn note_told(&self, sequence: u64) {
        self.told.fetch_max(sequence, Ordering::Relaxed);
    }

    /// How often the committer has tried to have etcd do something: one that is stuck tries no more.
    pub fn attempts(&self) -> u64 {
        self.counts.attempts.load(Ordering::Relaxed)
    }

    /// The counts since the start.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unpacked(&self, key: ChunkKey, frame: &Bytes) -> Result<Chunk, String> {
        let payload = self.packer.unpack(key, frame)?;
        Ok(Chunk { key, payload })
    }

    fn damaged(&self, what: String) -> OpenError {
        OpenError::Cluster { name: self.name.clone(), what }
    }

    /// Every group that can be read, ordered by number.
    pub(super) fn assembled(&self) -> impl Iterator<Item = Result<Assembled, OpenError>> + '_ {
        let mirror = self.mirror.read().unwrap_or_else(PoisonError::into_inner);
        let mut chunks: Vec<(ChunkKey, Bytes)> =
            mirror.all().iter().map(|(key, frame)| (*key, frame.clone())).collect();
        drop(mirror);
        chunks.reverse();
        std::iter::from_fn(move || {
            loop {
                let (first, _) = chunks.last()?;
                let number = first.group;
                let mut of_group = Vec::new();
                while let Some((key, frame)) = chunks.pop_if(|(key, _)| key.group == number) {
                    of_group.push(self.unpacked(key, &frame));
                }
                let chunks = of_group.into_iter().collect::<Result<Vec<_>, _>>();
                match chunks.and_then(|chunks| assemble(number, chunks)) {
                    Ok(group) => return Some(Ok(group)),
                    Err(what) => self.set_aside(number, &what),
                }
            }
        })
    }

    /// Says that a group cannot be shown. The others are.
    pub fn set_aside(&self, number: u64, what: &str) {
        self.counts.set_aside.fetch_add(1, Ordering::Relaxed);
        let tree = self.seat().record.tree;
        let (first, _) = self.keys.groups(tree, number, number + 1);
        tracing::error!(
            group = number,
            what,
            keys = %String::from_utf8_lossy(&first),
            "a group in etcd cannot be read and is not shown; the others are. Its next push stores it \
             anew; what is left of it are the keys that begin so"
        );
    }

    /// Reads a group; `None` if nothing of it is stored.
    pub(super) fn read(&self, number: u64) -> Result<Option<StoredGroup>, ReadError> {
        self.assembled_group(number).map(|group| group.map(|assembled| assembled.group))
    }

    fn assembled_group(&self, number: u64) -> Result<Option<Assembled>, ReadError> {
        let mirror = self.mirror.read().unwrap_or_else(PoisonError::into_inner);
        let frames = mirror.group(number);
        drop(mirror);
        if frames.is_empty() {
            return Ok(None);
        }
        let chunks = frames.iter().map(|(key, frame)| self.unpacked(*key, frame));
        let group = chunks.collect::<Result<Vec<_>, _>>().and_then(|it| assemble(number, it));
        group.map(Some).map_err(|what| ReadError::Damaged { number, what })
    }

    /// Reads a chunk; `None` if it is not stored.
    pub(super) fn chunk(&self, key: ChunkKey) -> Result<Option<Bytes>, ReadError> {
        let mirror = self.mirror.read().unwrap_or_else(PoisonError::into_inner);
        let frame = mirror.get(key).cloned();
        drop(mirror);
        let unpacked = frame.map(|frame| self.packer.unpack(key, &frame)).transpose();
        unpacked.map_err(|what| ReadError::Damaged { number: key.group, what })
    }

    /// The frame of a chunk.
    pub(super) fn pack(&self, key: ChunkKey, payload: &[u8]) -> Bytes {
        self.packer.pack(key, payload)
    }

    /// Has a batch be the one that the next `EtcdStore::sync` commits.
    pub(super) fn apply(&self, batch: &Batch, commit: &Commit) -> Result<(), CommitError> {
        let mut seat = self.seat();
        if seat.leads == 0 {
            return Err(CommitError::NotLeading);
        }
        let mut record = seat.record.next(seat.leads);
        record.number = record.number.max(seat.tried + 1);
        seat.tried = record.number;
        record.tree += u64::from(batch.wipes);
        record.now_ms = commit.at.now.0;
        record.wall_ns = commit.at.wall.0;
        record.offset_ms = commit.offset_ms;
        (record.next_number, record.next_sequence) = commit.next;
        record.requests.clone_from(&commit.requests);
        record.told = record.told.max(self.told.load(Ordering::Relaxed));
        let mut operations = self.operations(record.tree, batch);
        if let Some((policy, proposal)) = &commit.policy {
            let value = record::encode_policy(policy, proposal);
            operations.push(txn::put(self.keys.of(&Key::Policy), value, 0));
        }
        let schema = seat.next_schema();
        if let Some(schema) = schema {
            let value = record::format_of(schema).into();
            operations.push(txn::put(self.keys.of(&Key::Format), value, 0));
        }
        let value = record.encode_to_vec().into();
        operations.push(txn::put(self.keys.of(&Key::Batch), value, 0));
        let txn = self.fenced(&seat, operations);
        drop(seat);
        self.mirror.write().unwrap_or_else(PoisonError::into_inner).begin(batch);
        let pending = Pending { record, txn, policy: commit.policy.clone(), schema };
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(pending);
        Ok(())
    }

    /// Commits the batch that was applied, however often that has to be tried. Blocks.
    pub(super) fn sync(&self) -> Result<(), CommitError> {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(pending) = pending else { return Ok(()) };
        match self.runtime.block_on(self.decide(&pending))? {
            Verdict::Committed(revision, leads) => {
                let tree = pending.record.tree;
                let mut mirror = self.mirror.write().unwrap_or_else(PoisonError::into_inner);
                let revision_here = if leads { revision } else { mirror.revision };
                mirror.committed(tree, revision_here);
                drop(mirror);
                let mut seat = self.seat();
                if leads {
                    if tree != seat.record.tree {
                        let before = seat.record.tree;
                        seat.left_over.push(before);
                    }
                    seat.batch_revision = revision;
                    seat.own.push(revision);
                    seat.record = pending.record;
                    if pending.policy.is_some() {
                        seat.policy = pending.policy;
                    }
                    if let Some(schema) = pending.schema {
                        tracing::info!(
                            schema,
                            "all replicas know this schema: the cluster has it from now on, and builds \
                             that do not know it cannot join it any more"
                        );
                        seat.schema = schema;
                    }
                    self.applied.store(revision, Ordering::Relaxed);
                } else {
                    // The next one finds that out.
                    seat.leads = 0;
                }
                self.tell(&seat);
                Ok(())
            }
            Verdict::Fenced => {
                self.counts.fenced_batches.fetch_add(1, Ordering::Relaxed);
                self.lead_no_more();
                Err(CommitError::NotLeading)
            }
            Verdict::Unclear => {
                self.lead_no_more();
                Err(CommitError::Unclear)
            }
        }
    }

    /// This replica does not lead, as far as it knows.
    fn lead_no_more(&self) {
        let mut seat = self.seat();
        seat.leads = 0;
        self.tell(&seat);
    }

    /// Deletes the chunks of trees that are not used any more. Blocks.
    pub(super) fn reclaim(&self) {
        let left_over = std::mem::take(&mut self.seat().left_over);
        for tree in left_over {
            if let Err(status) = self.runtime.block_on(self.delete_tree(tree)) {
                tracing::debug!(%status, "cannot delete the chunks of deleted groups yet");
                self.seat().left_over.push(tree);
            }
        }
    }

    async fn delete_tree(&self, tree: u64) -> Result<(), Status> {
        let (mut from, range_end) = self.keys.tree(tree);
        loop {
            let request = RangeRequest {
                key: from.clone(),
                range_end: range_end.clone(),
                limit: i64::try_from(RECLAIMED_GROUPS).unwrap_or(i64::MAX),
                revision: 0,
                keys_only: true,
            };
            self.counts.attempts.fetch_add(1, Ordering::Relaxed);
            let page = self.client.range(&request).await?;
            let Some(last) = page.kvs.last() else { return Ok(()) };
            let mut end = last.key.to_vec();
            end.push(0);
            let end = Bytes::from(end);
            let success = vec![txn::delete_range((from.clone(), end.clone()))];
            self.client.repeatable_txn(&TxnRequest { success, ..TxnRequest::default() }).await?;
            from = end;
        }
    }

    /// Forgets the batch that was not committed.
    pub fn forget_pending(&self) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.mirror.write().unwrap_or_else(PoisonError::into_inner).forget();
    }

    /// Forgets the batch that was not committed. An error, where this replica leads and etcd takes no
    /// writes: it can be tried again. Blocks.
    pub(super) fn reopen(&self) -> Result<(), OpenError> {
        self.forget_pending();
        if self.seat().leads == 0 {
            return Ok(());
        }
        let member = (self.me)();
        let key = self.keys.of(&Key::Member(member.id.clone()));
        let value = Bytes::from(serde_json::to_vec(&member).unwrap_or_default());
        let success = vec![txn::put(key, value, *self.lease.borrow())];
        let probe = TxnRequest { success, ..TxnRequest::default() };
        let probed = self.runtime.block_on(self.client.repeatable_txn(&probe));
        probed.map(drop).map_err(|status| OpenError::NotTaken(status.message().to_owned()))
    }

    /// The next batch, and all that are under way, need not wait for etcd any more.
    pub fn stopping(&self) {
        self.stop.cancel();
    }

    /// Gives back the lease, and with it the lead. Blocks.
    pub(super) fn close(&self) {
        self.stop.cancel();
        let lease = *self.lease.borrow();
        if lease == 0 {
            return;
        }
        if let Err(status) = self.runtime.block_on(self.client.revoke(lease)) {
            tracing::debug!(%status, "cannot give back the lease; it ends by itself");
        }
    }
}

/// Loads all keys, and begins the cluster where there is none. Waits for etcd as long as it does not
/// answer.
async fn loaded(
    client: &Client,
    keys: &Keys,
    options: &Options,
    ttl: &TtlPolicy,
) -> Result<Whole, String> {
    const PATIENCE: Duration = Duration::from_secs(5);
    const RETRY: Duration = Duration::from_millis(200);
    let format = record::format_of(options.schemas.1);
    let (began, mut said) = (Instant::now(), false);
    loop {
        let key = keys.of(&Key::Format);
        let own = Proposal { name: Bytes::new(), settings: options.settings.clone() };
        let policy = record::encode_policy(ttl, &own);
        let begin = TxnRequest {
            compare: vec![txn::created_at(key.clone(), 0)],
            // With the policy: those that start beside it are to go by it.
            success: vec![
                txn::put(key, format.clone().into(), 0),
                txn::put(keys.of(&Key::Policy), policy, 0),
            ],
            failure: Vec::new(),
        };
        let result = async {
            // First without a put, which an etcd that is full refuses.
            let request = RangeRequest { key: keys.of(&Key::Format), ..RangeRequest::default() };
            let there = client.range(&request).await?.kvs.into_iter().next();
            if there.is_none() {
                client.repeatable_txn(&begin).await?;
            }
            feed::load(client, keys).await
        };
        let status = match result.await {
            Ok(whole) => return Ok(whole),
            Err(status) => status,
        };
        if client::is_final(&status) {
            return Err(format!("etcd refuses: {}", status.message()));
        }
        if !said && began.elapsed() >= PATIENCE {
            said = true;
            tracing::warn!(
                endpoints = options.endpoints.join(", "),
                status = status.message(),
                "etcd does not answer (cluster.endpoints); waiting for it"
            );
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A hash that two replicas have alike where they have the same settings.
fn hash_of(settings: &SharedSettings) -> String {
    let texts = settings.iter().map(|(name, values)| format!("{name}={}\n", values.join(",")));
    format!("{:016x}", xxh3_64(texts.collect::<String>().as_bytes()))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
