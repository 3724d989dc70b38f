//! A batch is committed as one transaction that only the leader can make, and a transaction without an
//! answer is made again until there is a verdict.
//!
//! It asks that the key of the leader is still the one that this replica has put, and that the record of
//! the batches is still the one that it has put last. So a batch is committed once at most, however often
//! it is sent, and never once another leads.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tonic::{Code, Status};

use super::keys::Key;
use super::messages::{RequestOp, TxnRequest, TxnResponse};
use super::record::BatchRecord;
use super::{EtcdStore, Seat, client, txn};
use crate::model::TtlPolicy;
use crate::store::batch::Batch;
use crate::store::chunk::{ChunkKey, HEAD};
use crate::store::commit::Proposal;
use crate::store::error::CommitError;

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) record: BatchRecord,
    pub(super) txn: TxnRequest,
    /// The policy that it puts into force, and all else that was proposed with it.
    pub(super) policy: Option<(TtlPolicy, Proposal)>,
    /// The schema that the cluster has with it, where that is another.
    pub(super) schema: Option<u32>,
}

/// The verdict on a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Committed, at this revision; `false`: this replica leads no longer.
    Committed(i64, bool),
    /// It never will be: another leads, or nobody.
    Fenced,
    /// This replica leads no longer, and nobody remembers how its last batch ended.
    Unclear,
}

/// Between two attempts that had no answer.
const RETRY: Duration = Duration::from_millis(20);
/// Once the gateway stops, a batch without a verdict is given up after so long.
const STOPPING: Duration = Duration::from_secs(10);

impl EtcdStore {
    /// The operations of a batch, without its record.
    pub(super) fn operations(&self, tree: u64, batch: &Batch) -> Vec<RequestOp> {
        let is_purged = |group: u64| {
            let head = ChunkKey { group, chunk: HEAD };
            batch.writes.get(&head).is_some_and(|write| write.frame.is_none())
        };
        let mut operations = Vec::with_capacity(batch.writes.len() + 1);
        let mirror = self.mirror.read().unwrap_or_else(PoisonError::into_inner);
        // Chunks that go, with none that stays between them: one operation, however many they are.
        let mut goes: Option<(ChunkKey, ChunkKey)> = None;
        let range = |(first, last): (ChunkKey, ChunkKey)| {
            let [first, last] = [first, last].map(|key| self.keys.of(&Key::Chunk(tree, key)));
            if first == last {
                return txn::delete(first);
            }
            let mut end = last.to_vec();
            end.push(0);
            txn::delete_range((first, end.into()))
        };
        let mut writes: Vec<_> = batch.writes.iter().collect();
        writes.sort_unstable_by_key(|(key, _)| **key);
        for (key, write) in writes {
            if write.frame.is_some() || key.chunk == HEAD {
                operations.extend(goes.take().map(range));
            }
            match &write.frame {
                Some(frame) => {
                    let key = self.keys.of(&Key::Chunk(tree, *key));
                    operations.push(txn::put(key, frame.clone(), 0));
                }
                None if key.chunk == HEAD => {
                    let range = self.keys.groups(tree, key.group, key.group + 1);
                    operations.push(txn::delete_range(range));
                }
                // Goes with its head.
                None if is_purged(key.group) => {}
                None => {
                    let joins = |last: &ChunkKey| !mirror.has_between(*last, *key);
                    match &mut goes {
                        Some((_, last)) if joins(last) => *last = *key,
                        _ => operations.extend(goes.replace((*key, *key)).map(range)),
                    }
                }
            }
        }
        operations.extend(goes.map(range));
        operations
    }

    /// The transaction that makes these changes while the seat is as it is.
    pub(super) fn fenced(&self, seat: &Seat, operations: Vec<RequestOp>) -> TxnRequest {
        let (leader, batch) = (self.keys.of(&Key::Leader), self.keys.of(&Key::Batch));
        TxnRequest {
            compare: vec![
                txn::created_at(leader.clone(), seat.leads),
                txn::put_at(batch.clone(), seat.batch_revision),
            ],
            success: txn::nested(operations),
            failure: vec![txn::get(leader), txn::get(batch)],
        }
    }

    /// Makes a transaction until there is a verdict.
    pub(super) async fn decide(&self, pending: &Pending) -> Result<Verdict, CommitError> {
        let mut gives_up = None;
        let mut attempts = 0_u64;
        loop {
            self.counts.attempts.fetch_add(1, Ordering::Relaxed);
            let status = match self.client.txn_once(&pending.txn).await {
                Ok(answer) => return Ok(verdict(&pending.record, &answer)),
                Err(status) => status,
            };
            attempts += 1;
            self.counts.commit_retries.fetch_add(1, Ordering::Relaxed);
            if is_full(&status) {
                // Whether it was carried out first, the record says: no put is any more.
                if let Some(verdict) = self.look(&pending.record).await {
                    return verdict.ok_or(CommitError::EtcdFull);
                }
            } else if client::is_final(&status) {
                let error = || CommitError::Etcd(status.message().to_owned());
                if attempts == 1 {
                    return Err(error());
                }
                // An attempt before it, without an answer, may have been carried out.
                if let Some(verdict) = self.look(&pending.record).await {
                    return verdict.ok_or_else(error);
                }
            } else if attempts.is_power_of_two() {
                tracing::warn!(
                    status = status.message(),
                    attempts,
                    "etcd did not say whether a batch was committed; asking again"
                );
            }
            if self.stop.is_cancelled() {
                let gives_up =
                    gives_up.get_or_insert_with(|| tokio::time::Instant::now() + STOPPING);
                if *gives_up <= tokio::time::Instant::now() {
                    return Ok(Verdict::Unclear);
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Commits deletions beside the batches: etcd takes them also where it has no room for a record. That
    /// they are made twice does no harm while nobody else has written. Blocks.
    pub(in crate::store) fn commit_deletions(&self, batch: &Batch) -> Result<(), CommitError> {
        let seat = self.seat();
        if seat.leads == 0 {
            return Err(CommitError::NotLeading);
        }
        let tree = seat.record.tree;
        let txn = self.fenced(&seat, self.operations(tree, batch));
        drop(seat);
        let revision = self.runtime.block_on(async {
            loop {
                self.counts.attempts.fetch_add(1, Ordering::Relaxed);
                match self.client.txn_once(&txn).await {
                    Ok(answer) if answer.succeeded => {
                        return Ok(answer.header.map_or(0, |header| header.revision));
                    }
                    Ok(_) => return Err(CommitError::NotLeading),
                    Err(status) if client::is_final(&status) => {
                        return Err(CommitError::Etcd(status.message().to_owned()));
                    }
                    Err(_) if self.stop.is_cancelled() => return Err(CommitError::Unclear),
                    Err(_) => tokio::time::sleep(RETRY).await,
                }
            }
        })?;
        let mut mirror = self.mirror.write().unwrap_or_else(PoisonError::into_inner);
        mirror.begin(batch);
        mirror.committed(tree, revision);
        drop(mirror);
        self.seat().own.push(revision);
        Ok(())
    }

    /// Looks whether a batch was committed, without trying it again. The outer `None`: nobody answers;
    /// the inner one: it was not, and this replica still leads.
    async fn look(&self, record: &BatchRecord) -> Option<Option<Verdict>> {
        let (leader, batch) = (self.keys.of(&Key::Leader), self.keys.of(&Key::Batch));
        let success = vec![txn::get(leader), txn::get(batch)];
        let reading = TxnRequest { success, ..TxnRequest::default() };
        let answer = self.client.repeatable_txn(&reading).await.ok()?;
        let leads = txn::read(&answer, 0).is_some_and(|kv| kv.create_revision == record.leader);
        let stored = stored_record(&answer);
        let was_committed = stored.is_some_and(|(stored, _)| {
            stored.leader == record.leader && stored.number >= record.number
        });
        if leads && !was_committed {
            return Some(None);
        }
        Some(Some(verdict(record, &answer)))
    }
}

/// The verdict of an answer on a batch.
fn verdict(record: &BatchRecord, answer: &TxnResponse) -> Verdict {
    if answer.succeeded && !answer.responses.iter().any(is_read) {
        return Verdict::Committed(answer.header.map_or(0, |header| header.revision), true);
    }
    let leads = txn::read(answer, 0).is_some_and(|kv| kv.create_revision == record.leader);
    let Some((stored, revision)) = stored_record(answer) else { return Verdict::Fenced };
    if leads && stored.leader == record.leader && stored.number == record.number {
        return Verdict::Committed(revision, true);
    }
    match stored.had(record.leader, record.number) {
        Some(true) => Verdict::Committed(revision, false),
        Some(false) => Verdict::Fenced,
        None => Verdict::Unclear,
    }
}

fn is_read(op: &super::messages::ResponseOp) -> bool {
    matches!(op.response, Some(super::messages::response_op::Response::Range(_)))
}

/// The record that the second read of an answer has found, and when it was put.
fn stored_record(answer: &TxnResponse) -> Option<(BatchRecord, i64)> {
    let kv = txn::read(answer, 1)?;
    let record = BatchRecord::decode(Bytes::clone(&kv.value)).ok()?;
    Some((record, kv.mod_revision))
}

fn is_full(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted && status.message().contains("space exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::etcd::messages::{Header, KeyValue, RangeResponse, ResponseOp, response_op};

    const MINE: i64 = 10;

    fn read(kv: Option<KeyValue>) -> ResponseOp {
        let kvs = kv.into_iter().collect();
        let range = RangeResponse { kvs, ..RangeResponse::default() };
        ResponseOp { response: Some(response_op::Response::Range(range)) }
    }

    /// A refusal: who leads, and the record that is there.
    fn refused(leader: Option<i64>, record: &BatchRecord) -> TxnResponse {
        let leader =
            leader.map(|create_revision| KeyValue { create_revision, ..KeyValue::default() });
        let value = record.encode_to_vec().into();
        let record = KeyValue { mod_revision: 77, value, ..KeyValue::default() };
        TxnResponse {
            header: Some(Header { revision: 99 }),
            succeeded: false,
            responses: vec![read(leader), read(Some(record))],
        }
    }

    #[test]
    fn each_answer_has_one_verdict() {
        let before = BatchRecord::default().next(MINE);
        let mine = before.next(MINE);
        let done = TxnResponse {
            header: Some(Header { revision: 99 }),
            succeeded: true,
            responses: Vec::new(),
        };
        assert_eq!(verdict(&mine, &done), Verdict::Committed(99, true));
        // An earlier attempt was carried out.
        let found = refused(Some(MINE), &mine);
        assert_eq!(verdict(&mine, &found), Verdict::Committed(77, true));
        // Another leads: by its record, and by those before.
        let other = mine.next(20);
        assert_eq!(verdict(&mine, &refused(Some(20), &other)), Verdict::Committed(77, false));
        let other = before.next(20);
        assert_eq!(verdict(&mine, &refused(Some(20), &other)), Verdict::Fenced);
        // One that has not written yet, and nobody: nothing of this one comes any more.
        for leader in [Some(20), None] {
            assert_eq!(verdict(&mine, &refused(leader, &before)), Verdict::Fenced);
            assert_eq!(verdict(&mine, &refused(leader, &mine)), Verdict::Committed(77, false));
        }
        // Somebody else has written as this leader.
        assert_eq!(verdict(&mine, &refused(Some(MINE), &before)), Verdict::Fenced);
        let mut later = other;
        for leader in 30..60 {
            later = later.next(leader);
        }
        assert_eq!(verdict(&mine, &refused(Some(59), &later)), Verdict::Unclear);
    }

    #[test]
    fn no_two_batches_of_a_leader_have_one_number() {
        let mut offline = crate::store::etcd::offline::Offline::new();
        let store = offline.replica(true);
        let number = || {
            store.apply(&Batch::default(), &crate::store::Commit::default()).unwrap();
            store.pending.lock().unwrap().as_ref().map(|pending| pending.record.number)
        };
        // The first was given up, and may have been carried out all the same.
        let (first, second) = (number(), number());
        assert!(second > first, "{first:?} {second:?}");
    }

    #[test]
    fn chunks_that_go_together_are_one_operation() {
        let mut offline = crate::store::etcd::offline::Offline::new();
        let store = offline.replica(true);
        let write = |frame: Option<&'static str>| crate::store::batch::Write {
            frame: frame.map(|frame| Bytes::from_static(frame.as_bytes())),
            ..crate::store::batch::Write::default()
        };
        let batch = |writes: Vec<(u32, Option<&'static str>)>| {
            let key = |chunk| ChunkKey { group: 7, chunk };
            let writes = writes.into_iter().map(|(chunk, frame)| (key(chunk), write(frame)));
            Batch { writes: writes.collect(), ..Batch::default() }
        };
        let all: Vec<_> = (0..3000).map(|chunk| (2 * chunk, Some("x"))).collect();
        store.apply(&batch(all), &crate::store::Commit::default()).unwrap();
        offline.commit(&store);
        let mut fewer = vec![(0, Some("y")), (2, Some("y"))];
        // One in the middle stays.
        fewer.extend((2..3000).filter(|at| *at != 1000).map(|chunk| (2 * chunk, None)));
        let fewer = batch(fewer);
        assert_eq!(store.operations(0, &fewer).len(), 4);
        store.apply(&fewer, &crate::store::Commit::default()).unwrap();
        offline.commit(&store);
        let left = offline.replica(false);
        let mirror = left.mirror.read().unwrap();
        let left: Vec<_> = mirror.all().keys().map(|key| key.chunk).collect();
        assert_eq!(left, [0, 2, 2000]);
    }
}
