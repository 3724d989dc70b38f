//! Who leads, and how a replica comes to.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::feed::Changed;
use super::join::Company;
use super::keys::Key;
use super::messages::{RangeRequest, TxnRequest};
use super::record::{self, BatchRecord, Member};
use super::{EtcdStore, Seat, txn};
use crate::model::TtlPolicy;
use crate::store::commit::{Proposal, SharedSettings};
use crate::time::UnixMillis;

/// The replica that leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    pub id: String,
    pub instance: String,
    pub url: String,
    pub version: String,
    /// Wall time in milliseconds, by its own clock.
    pub since_ms: i64,
    /// The revision at which its key has come to be: of each time that it leads another.
    #[serde(skip)]
    pub term: i64,
}

/// The replicas as this one sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is this one that leads.
    pub leads: bool,
    pub leader: Option<Leader>,
    /// By their names; this one among them.
    pub members: Vec<Member>,
}

impl Standing {
    /// The greatest difference between the wall clocks of two replicas, in milliseconds. Each tells its
    /// own every five seconds: what was told at one time differs by that, too.
    pub fn skew_ms(&self) -> u64 {
        let skews = self.members.iter().filter_map(|member| member.skew_ms);
        let (least, greatest) =
            skews.fold((0, 0), |(least, greatest), skew| (skew.min(least), skew.max(greatest)));
        greatest.abs_diff(least)
    }
}

impl Seat {
    /// Takes over keys as they are at a revision.
    pub(super) fn see(
        &mut self,
        keys: impl Iterator<Item = (Key, i64, i64, Bytes)>,
    ) -> Result<(), String> {
        (self.leader, self.policy, self.proposal) = (None, None, None);
        self.forget_batches();
        self.members.clear();
        for (key, created, put, value) in keys {
            if key == Key::Batch {
                self.see_batch(&value, put)?;
            } else {
                self.change(&Changed { key, created, value: Some(value) })?;
            }
        }
        Ok(())
    }

    /// There is no record of a batch, as in a cluster that begins.
    pub(super) fn forget_batches(&mut self) {
        self.record = BatchRecord::default();
        self.batch_revision = 0;
    }

    /// Takes over the record of a batch that another replica has put.
    pub(super) fn see_batch(&mut self, value: &Bytes, revision: i64) -> Result<(), String> {
        let record = BatchRecord::decode(value.clone());
        self.record = record.map_err(|error| format!("its record of batches: {error}"))?;
        self.batch_revision = revision;
        Ok(())
    }

    /// Takes over a change of who is there and who leads, or of the policy.
    pub(super) fn change(&mut self, changed: &Changed) -> Result<(), String> {
        let Changed { key, created, value } = changed;
        match (key, value) {
            (Key::Leader, Some(value)) => {
                let leader: Result<Leader, _> = serde_json::from_slice(value);
                let mut leader =
                    leader.map_err(|error| format!("its key of the leader: {error}"))?;
                leader.term = *created;
                self.leader = Some(leader);
            }
            (Key::Leader, None) => self.leader = None,
            (Key::Member(id), Some(value)) => {
                // Of a later build it may have another form.
                if let Ok(mut member) = serde_json::from_slice::<Member>(value) {
                    member.skew_ms = self.wall_ms.map(|wall| member.wall_ms - wall);
                    self.members.insert(id.clone(), member);
                }
            }
            (Key::Member(id), None) => drop(self.members.remove(id)),
            (Key::Policy, Some(value)) => {
                let policy = record::decode_policy(value.clone());
                let policy = policy.map_err(|error| format!("its TTL policy: {error}"))?;
                self.policy = Some(policy);
            }
            (Key::Policy, None) => self.policy = None,
            (Key::Proposal, value) => {
                let proposal = value.clone().map(record::decode_policy);
                self.proposal = proposal.and_then(Result::ok);
            }
            (Key::Format, Some(value)) => self.schema = record::schema_of(value, self.reads)?,
            // Somebody has deleted the cluster: the next replica that starts begins it anew.
            (Key::Format, None) => self.schema = 0,
            (Key::Batch | Key::Chunk(..), _) => {}
        }
        Ok(())
    }

    /// Whether there is no other replica than that of this name, which may be an earlier run of it.
    pub(super) fn is_alone(&self, own: &str) -> bool {
        self.leader.as_ref().is_none_or(|leader| leader.id == own)
            && self.members.keys().all(|id| id == own)
    }

    /// The schema that the cluster can have from the next batch on: one more, once all replicas know it.
    pub(super) fn next_schema(&self) -> Option<u32> {
        let next = self.schema.checked_add(1).filter(|_| self.schema != 0)?;
        let knows = |(first, last): (u32, u32)| (first..=last).contains(&next);
        let all_know = self.members.values().all(|member| knows(member.reads));
        (knows(self.reads) && all_know).then_some(next)
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            leads: self.leads != 0,
            leader: self.leader.clone(),
            members: self.members.values().cloned().collect(),
        }
    }
}

impl EtcdStore {
    /// The replicas, and who leads, as that changes.
    pub fn standing(&self) -> tokio::sync::watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Differs at each start.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Tells whoever follows it who leads now: once all before that is visible.
    pub fn announce(&self) {
        self.tell(&self.seat());
    }

    /// Tells of a seat that may have changed.
    pub(super) fn tell(&self, seat: &Seat) {
        let standing = seat.standing();
        self.standing.send_if_modified(|told| {
            let is_new = *told != standing;
            *told = standing;
            is_new
        });
    }

    /// Whether this replica leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.seat().leads != 0
    }

    /// Whether no other replica ran when this one has started: nobody has kept the time since the last
    /// batch.
    pub fn was_alone(&self) -> bool {
        self.company == Company::Nobody
    }

    /// Gateway time as the leader has it, if one was heard when this replica has started.
    pub fn heard_time(&self) -> Option<UnixMillis> {
        match self.company {
            Company::Leader(now, at) => Some(now.saturating_add(at.elapsed())),
            Company::Nobody | Company::Unknown => None,
        }
    }

    /// The time for which this replica leads, which no other has; 0: it does not.
    pub fn term(&self) -> i64 {
        self.seat().leads
    }

    /// Whether nobody leads, and this replica may come to.
    pub fn is_vacant(&self) -> bool {
        self.seat().leader.is_none() && *self.lease.borrow() != 0 && !self.stop.is_cancelled()
    }

    /// Comes to lead, if nobody does: the feed tells whether that was so. Blocks.
    pub fn campaign(&self) -> Result<(), Status> {
        let lease = *self.lease.borrow();
        let Member { id, url, version, wall_ms, .. } = (self.me)();
        let instance = self.instance.clone();
        let leader = Leader { id, instance, url, version, since_ms: wall_ms, term: 0 };
        let key = self.keys.of(&Key::Leader);
        let value = Bytes::from(serde_json::to_vec(&leader).unwrap_or_default());
        let campaign = TxnRequest {
            compare: vec![txn::created_at(key.clone(), 0)],
            success: vec![txn::put(key, value, lease)],
            failure: Vec::new(),
        };
        self.runtime.block_on(self.client.repeatable_txn(&campaign)).map(drop)
    }

    /// Gives the lead back, but stays.
    pub async fn step_down(&self) -> Result<(), Status> {
        let leads = self.seat().leads;
        if leads == 0 {
            return Ok(());
        }
        let key = self.keys.of(&Key::Leader);
        let resign = TxnRequest {
            compare: vec![txn::created_at(key.clone(), leads)],
            success: vec![txn::delete(key)],
            failure: Vec::new(),
        };
        self.client.repeatable_txn(&resign).await.map(drop)
    }

    /// Ends the lead of another, of whom it is known that it has ended: only the leader that was seen,
    /// and whatever was concluded, its batches stay whole.
    pub async fn depose(&self, seen: &Leader) -> Result<bool, Status> {
        let key = self.keys.of(&Key::Leader);
        let depose = TxnRequest {
            compare: vec![txn::created_at(key.clone(), seen.term)],
            success: vec![txn::delete(key)],
            failure: Vec::new(),
        };
        self.client.repeatable_txn(&depose).await.map(|answer| answer.succeeded)
    }

    /// The revision at which the latest batch was committed, by whichever replica: as of now, or later.
    pub async fn present(&self) -> Result<i64, Status> {
        let key = self.keys.of(&Key::Batch);
        // Not the record, which names requests.
        let request = RangeRequest { key, keys_only: true, ..RangeRequest::default() };
        let found = self.client.range(&request).await?;
        Ok(found.kvs.first().map_or(0, |kv| kv.mod_revision))
    }

    /// The revision of the latest batch that is in memory.
    pub fn batch_revision(&self) -> i64 {
        self.seat().batch_revision
    }

    /// Proposes a policy to whoever leads. It is in force once the policy in force has this name.
    pub async fn propose(&self, policy: &TtlPolicy, proposal: &Proposal) -> Result<(), Status> {
        let value = record::encode_policy(policy, proposal);
        let success = vec![txn::put(self.keys.of(&Key::Proposal), value, 0)];
        let put = TxnRequest { success, ..TxnRequest::default() };
        self.client.repeatable_txn(&put).await.map(drop)
    }

    /// The policy in force, and all else that was proposed with it.
    pub fn policy(&self) -> Option<(TtlPolicy, Proposal)> {
        self.seat().policy.clone()
    }

    /// The settings in force beside the TTL policy, which count for all replicas.
    pub fn settings_in_force(&self) -> Option<SharedSettings> {
        self.seat().policy.as_ref().map(|(_, proposal)| proposal.settings.clone())
    }

    /// The settings of this replica that count for all, as the first of a cluster proposes them.
    pub fn own_settings(&self) -> SharedSettings {
        self.settings.clone()
    }

    /// Looks how large the database of etcd is.
    pub async fn look_at_size(&self) -> Result<(), Status> {
        let status = self.client.status().await?;
        let bytes = u64::try_from(status.db_size).unwrap_or(0);
        self.counts.etcd_bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}
