//! A cluster without etcd, for tests: its keys are in a map, and whoever commits says so to the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::messages::{RequestOp, request_op};
use super::*;

/// The keys of a cluster.
pub(crate) struct Offline {
    runtime: Runtime,
    keys: Keys,
    /// With the revisions at which each has come to be and was put last.
    kept: BTreeMap<Bytes, (i64, i64, Bytes)>,
    revision: i64,
}

/// A change, as replicas are told of it.
#[derive(Clone, Debug)]
pub(crate) struct Told(feed::Revision);

impl Offline {
    pub(crate) fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        Self { runtime, keys: Keys::new("test"), kept: BTreeMap::new(), revision: 1 }
    }

    /// A replica that has all that there is. One that leads does so from now on.
    pub(crate) fn replica(&mut self, leads: bool) -> Arc<EtcdStore> {
        let options = Options {
            endpoints: vec!["http://127.0.0.1:1".into()],
            name: "test".into(),
            id: "r".into(),
            advertise_url: String::new(),
            lease_ttl: Duration::from_secs(5),
            ca: None,
            cert: None,
            key: None,
            user: None,
            settings: Vec::new(),
            schemas: (1, 1),
            has_to_know: false,
        };
        let client = self.runtime.block_on(async { Client::new(&options) }).unwrap();
        let Whole { revision, keys, chunks } = self.whole();
        let mut seat = Seat::default();
        seat.see(keys.into_iter()).unwrap();
        if leads {
            seat.leads = revision;
        }
        let tree = seat.record.tree;
        let chunks = chunks.into_iter().filter(|((of, _), _)| *of == tree);
        let chunks = chunks.map(|((_, key), frame)| (key, frame)).collect();
        let member = Member {
            id: "r".into(),
            instance: "i".into(),
            url: String::new(),
            version: String::new(),
            reads: (0, 0),
            settings: String::new(),
            wall_ms: 0,
            applied: 0,
            skew_ms: None,
        };
        Arc::new(EtcdStore {
            runtime: self.runtime.handle().clone(),
            client: Arc::new(client),
            keys: self.keys.clone(),
            packer: Packer::new().unwrap(),
            name: "test".into(),
            instance: "i".into(),
            settings: Vec::new(),
            me: Arc::new(move || member.clone()),
            mirror: RwLock::new(Mirror::new(tree, revision, chunks)),
            standing: watch::Sender::new(seat.standing()),
            seat: Mutex::new(seat),
            pending: Mutex::default(),
            lease: watch::channel(0).1,
            counts: Counts::default(),
            company: Company::Nobody,
            told: AtomicU64::new(0),
            applied: Arc::default(),
            stop: CancellationToken::new(),
        })
    }

    /// Another replica leads from now on.
    pub(crate) fn change_leader(&mut self, from: &EtcdStore, to: &EtcdStore) {
        self.revision += 1;
        from.seat().leads = 0;
        to.seat().leads = self.revision;
    }

    /// All keys, as a load finds them.
    fn whole(&self) -> Whole {
        let mut whole = Whole { revision: self.revision, ..Whole::default() };
        for (key, (created, put, value)) in &self.kept {
            match self.keys.parse(key) {
                Some(Key::Chunk(tree, chunk)) => {
                    whole.chunks.insert((tree, chunk), value.clone());
                }
                Some(key) => whole.keys.push((key, *created, *put, value.clone())),
                None => {}
            }
        }
        whole
    }

    /// Commits the batch that a leader has applied, as etcd would.
    pub(crate) fn commit(&mut self, leader: &EtcdStore) -> Told {
        let pending = leader.pending.lock().unwrap().take().expect("a batch was applied");
        self.revision += 1;
        let mut changes = Vec::new();
        self.carry_out(&pending.txn.success, &mut changes);
        leader.mirror.write().unwrap().committed(pending.record.tree, self.revision);
        let mut seat = leader.seat();
        seat.batch_revision = self.revision;
        seat.record = pending.record;
        if pending.policy.is_some() {
            seat.policy = pending.policy;
        }
        Told(feed::Revision { number: self.revision, came_ms: 0, changes })
    }

    /// Somebody writes to every chunk that this takes, by the number of its group and its own.
    pub(crate) fn write_to_chunks(
        &mut self,
        takes: impl Fn(u64, u32) -> bool,
        value: &Bytes,
    ) -> Told {
        let is_taken = |key: &Bytes| match self.keys.parse(key) {
            Some(Key::Chunk(_, key)) => takes(key.group, key.chunk),
            _ => false,
        };
        let taken: Vec<_> = self.kept.keys().filter(|key| is_taken(key)).cloned().collect();
        self.write(taken, value)
    }

    /// Somebody writes to the record of the latest batch. Returns what was there.
    pub(crate) fn write_to_record(&mut self, value: &Bytes) -> (Bytes, Told) {
        let key = self.keys.of(&Key::Batch);
        let before = self.kept[&key].2.clone();
        (before, self.write(vec![key], value))
    }

    fn write(&mut self, keys: Vec<Bytes>, value: &Bytes) -> Told {
        self.revision += 1;
        let puts: Vec<_> = keys.into_iter().map(|key| txn::put(key, value.clone(), 0)).collect();
        let mut changes = Vec::new();
        self.carry_out(&puts, &mut changes);
        Told(feed::Revision { number: self.revision, came_ms: 0, changes })
    }

    fn carry_out(&mut self, operations: &[RequestOp], changes: &mut Vec<feed::Changed>) {
        for operation in operations {
            match operation.request.as_ref().unwrap() {
                request_op::Request::Put(put) => {
                    let revision = self.revision;
                    let kept = self.kept.entry(put.key.clone());
                    let kept = kept.or_insert((revision, revision, Bytes::new()));
                    (kept.1, kept.2) = (revision, put.value.clone());
                    let (created, value) = (kept.0, Some(put.value.clone()));
                    let key = self.keys.parse(&put.key).unwrap();
                    changes.push(feed::Changed { key, created, value });
                }
                request_op::Request::DeleteRange(range) => {
                    let end = range.range_end.clone();
                    let mut found: Vec<_> = if end.is_empty() {
                        vec![range.key.clone()]
                    } else {
                        self.kept.range(range.key.clone()..end).map(|it| it.0.clone()).collect()
                    };
                    found.retain(|key| self.kept.remove(key).is_some());
                    for key in found {
                        let key = self.keys.parse(&key).unwrap();
                        changes.push(feed::Changed { key, created: 0, value: None });
                    }
                }
                request_op::Request::Txn(inner) => self.carry_out(&inner.success, changes),
                request_op::Request::Range(_) => panic!("a batch reads nothing"),
            }
        }
    }

    /// The feed of a replica that is told this; `None`: that it has missed some, and is to load all.
    pub(crate) fn feed(&self, told: Vec<Option<Told>>) -> Feed {
        let message = |told: Option<Told>| match told {
            Some(Told(revision)) => Message::Revisions(vec![revision]),
            None => Message::Whole(Box::new(self.whole())),
        };
        let kept = told.into_iter().map(message).collect();
        Feed::new(mpsc::channel(1).1, kept)
    }
}
