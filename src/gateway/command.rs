//! The commands of the lane.

use std::sync::Arc;

use hashbrown::HashMap;
use tokio::sync::oneshot;

use super::error::{Error, Fault, Refusal};
use super::history::RemovedGroup;
use super::prepare::Prepared;
use crate::exposition::text::LabelBlock;
use crate::model::{GroupingKey, Meter, RequestId, Ttl, TtlPolicy};
use crate::store::Proposal;
use crate::time::{UnixMillis, UnixNanos};

/// PUT replaces the whole group, POST only the families that it brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushMode {
    Replace,
    Update,
}

/// A push, prepared as far as possible without knowing what is stored.
#[derive(Debug)]
pub struct Push {
    pub key: GroupingKey,
    pub mode: PushMode,
    /// The labels of the group's own lines.
    pub block: LabelBlock,
    /// The TTL that the push asks for, within the bounds.
    pub asked: Option<Ttl>,
    /// The rule for the group, by this policy; another may be in force by now.
    pub policy: Arc<TtlPolicy>,
    pub rule: Option<usize>,
    /// Refused already for what it says by itself: still recorded as failed.
    pub families: Result<Prepared, Refusal>,
    /// Whether families that contradict what is stored are left out, rather than the push refused.
    pub lenient: bool,
    pub origin: Origin,
    /// Whether it was in conflict with what was there, and waits for what has expired of that to be
    /// removed.
    pub waited: bool,
    /// The request that it came with, where another replica may ask for it.
    pub request: Option<RequestId>,
    /// Has counted what the push takes, until it is answered.
    pub meter: Option<Box<dyn Meter>>,
}

/// Where a group that is put into the gateway comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A client has pushed it.
    Pushed,
    /// Another gateway has held it, with these times.
    Imported(Box<Times>),
    /// It was removed, and is restored with the times that it had.
    Restored(Box<Times>, Arc<RemovedGroup>),
}

/// When a group was pushed that is not pushed now.
#[derive(Clone, Debug, Default)]
pub struct Times {
    pub created: UnixNanos,
    pub pushed: Option<UnixNanos>,
    pub failed: Option<UnixNanos>,
    /// When each family was pushed, by its name.
    pub stored: HashMap<String, UnixNanos>,
}

impl Origin {
    /// The times to store in place of the present one.
    pub fn times(&self) -> Option<&Times> {
        match self {
            Self::Pushed => None,
            Self::Imported(times) | Self::Restored(times, _) => Some(times),
        }
    }

    /// The removal that it undoes.
    pub fn restored(&self) -> Option<&Arc<RemovedGroup>> {
        match self {
            Self::Pushed | Self::Imported(_) => None,
            Self::Restored(_, removed) => Some(removed),
        }
    }
}

/// A command, with the way to answer it.
#[derive(Debug)]
pub enum Command {
    Push(Box<Push>, Reply<Result<UnixMillis, Error>>),
    /// With the request that it came with, as for a push.
    Delete(GroupingKey, Option<RequestId>, Reply<Result<(), Fault>>),
    /// Delete all groups.
    Wipe(Reply<Result<(), Fault>>),
    /// Change groups, those of them that are there. Answers with those that were changed.
    Change(Vec<GroupingKey>, Operation, Reply<Result<Vec<GroupingKey>, Fault>>),
    /// Decide by this policy from now on, also on the groups that are there: from which on, as they are
    /// many. With the name of the proposal that it comes from, if it comes from another replica.
    SetPolicy(Arc<TtlPolicy>, usize, Proposal, Reply<Result<(), Fault>>),
    /// Remove groups that have expired, a bounded number of them.
    Reap(Reply<Result<(), Fault>>),
    /// Commit a batch that changes nothing, so that other replicas see that this one leads.
    Beat(Reply<Result<(), Fault>>),
}

/// Whose commands wait for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldUp<'a> {
    Nobody,
    Group(&'a GroupingKey),
    Everybody,
}

/// An operation on groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Unless it was pushed at this wall time or later.
    Delete { pushed_before: Option<UnixNanos> },
    /// Have the TTL count from now.
    Touch,
    /// Set the TTL, whatever pushes and settings say; `None` takes that back.
    Override(Option<Ttl>),
}

/// Where an answer goes. Nobody need be waiting: a client that hangs up does not undo its push.
pub type Reply<T> = oneshot::Sender<T>;

/// A push of more series is large: it takes the lane some time.
pub const LARGE_SERIES: usize = 10_000;

impl Command {
    /// Whether it does nothing but to remove groups, one by one.
    pub fn only_deletes(&self) -> bool {
        let deletes = |operation: &Operation| matches!(operation, Operation::Delete { .. });
        match self {
            Self::Delete(..) | Self::Reap(_) => true,
            Self::Change(_, operation, _) => deletes(operation),
            Self::Push(..) | Self::Wipe(_) | Self::SetPolicy(..) | Self::Beat(_) => false,
        }
    }

    /// Whether it brings nothing that is to be stored beside what is known of groups that are there.
    pub fn only_changes(&self) -> bool {
        matches!(self, Self::Delete(..) | Self::Wipe(_) | Self::Change(..) | Self::Reap(_))
    }

    /// The group that it is about; `None` where that may be any.
    pub(super) fn key(&self) -> Option<&GroupingKey> {
        match self {
            Self::Push(push, _) => Some(&push.key),
            Self::Delete(key, ..) => Some(key),
            Self::Wipe(_)
            | Self::Change(..)
            | Self::SetPolicy(..)
            | Self::Reap(_)
            | Self::Beat(_) => None,
        }
    }

    /// Which others wait for it while it waits.
    pub(super) fn holds_up(&self) -> HeldUp<'_> {
        match (self, self.key()) {
            // The policy is in force, and decides on what is pushed.
            (Self::SetPolicy(_, 1.., ..) | Self::Beat(_), _) => HeldUp::Nobody,
            (_, Some(key)) => HeldUp::Group(key),
            (_, None) => HeldUp::Everybody,
        }
    }

    /// The name of the command, for the log.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Push(..) => "judging a push to",
            Self::Delete(..) => "deleting",
            Self::Wipe(_) => "deleting all groups",
            Self::Change(..) => "changing groups",
            Self::SetPolicy(..) => "deciding the TTL of all groups",
            Self::Reap(_) => "removing groups that have expired",
            Self::Beat(_) => "telling other replicas that this one leads",
        }
    }

    /// Whether it takes the lane some time.
    pub(super) fn is_large(&self) -> bool {
        let Self::Push(push, _) = self else { return false };
        let Ok(prepared) = &push.families else { return false };
        let series = prepared.families.iter().map(|family| family.stored.series() as usize);
        series.sum::<usize>() > LARGE_SERIES
    }

    /// Answers that it was not carried out.
    pub(super) fn fail(self, fault: Fault) {
        // Whoever has hung up needs no answer.
        match self {
            Self::Push(_, reply) => drop(reply.send(Err(fault.into()))),
            Self::Change(_, _, reply) => drop(reply.send(Err(fault))),
            Self::Delete(_, _, reply)
            | Self::Wipe(reply)
            | Self::SetPolicy(_, _, _, reply)
            | Self::Reap(reply)
            | Self::Beat(reply) => drop(reply.send(Err(fault))),
        }
    }
}
