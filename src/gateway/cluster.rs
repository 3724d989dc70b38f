//! The parts of the gateway that are there only where replicas share the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::Gateway;
use super::command::Command;
use super::error::Fault;
use super::history::RemovedGroup;
use super::replica::Replica;
use crate::model::{Metric, MetricFamily, MetricType, MetricValue, RequestId, TtlPolicy};
use crate::store::etcd::{EtcdStore, Standing};
use crate::store::{CommitError, Proposal, SharedSettings};

/// Who asks for another policy waits so long for the leader to put it into force, and asks again so often.
const PROPOSAL_WAIT: Duration = Duration::from_secs(10);
const PROPOSAL_RETRY: Duration = Duration::from_secs(1);
/// A replica that stops tries so long to have another lead in its place.
const HAND_OVER: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

impl Gateway {
    /// The store that replicas share; `None` on a single node.
    pub fn cluster(&self) -> Option<&Arc<EtcdStore>> {
        self.shared.store.shared()
    }

    /// The progress of this replica; `None` on a single node.
    pub fn replica(&self) -> Option<&Arc<Replica>> {
        self.shared.replica.as_ref()
    }

    /// The replicas, and who leads, as that changes; `None` on a single node.
    pub fn standing(&self) -> Option<watch::Receiver<Standing>> {
        self.cluster().map(|cluster| cluster.standing())
    }

    /// Gateway time minus wall time: of all replicas, where there are some.
    pub(super) fn offset_ms(&self) -> i64 {
        let latest = self.cluster().and_then(|cluster| cluster.latest());
        latest.map_or_else(|| self.shared.clock.offset_ms(), |latest| latest.offset_ms)
    }

    /// The same gateway, for a request that another replica may ask for, and that is for one term of this
    /// one alone.
    #[must_use]
    pub fn for_request(&self, request: Option<RequestId>, term: Option<i64>) -> Self {
        Self { shared: Arc::clone(&self.shared), request, term }
    }

    /// The removed groups that can be restored and were removed after this one, oldest first.
    pub fn removed_after(&self, sequence: u64) -> Vec<Arc<RemovedGroup>> {
        let view = self.view();
        view.removed().iter().filter(|removed| removed.sequence > sequence).cloned().collect()
    }

    /// Whether another TTL policy is in force than the settings of this process have.
    pub fn has_another_policy(&self) -> bool {
        let own = self.shared.own_policy.lock().unwrap_or_else(PoisonError::into_inner);
        self.cluster().is_some() && own.0 != *self.ttl_policy()
    }

    /// The names of the other settings of this process that count for all replicas, and differ from those
    /// in force.
    pub fn differing_settings(&self) -> Vec<String> {
        let in_force = self.cluster().and_then(|cluster| cluster.settings_in_force());
        let Some(in_force) = in_force else { return Vec::new() };
        let own = self.shared.own_policy.lock().unwrap_or_else(PoisonError::into_inner);
        let differ = own.1.iter().filter(|setting| !in_force.contains(setting));
        differ.map(|(name, _)| name.clone()).collect()
    }

    /// Nobody waits long for etcd from now on. If this replica leads, and there are others, one of them
    /// is to lead: the requests that are under way here are handed on to it.
    pub async fn stopping(&self) {
        let Some(cluster) = self.cluster() else { return };
        cluster.stopping();
        let others = cluster.standing().borrow().members.len() > 1;
        if others
            && let Ok(Err(status)) = tokio::time::timeout(HAND_OVER, cluster.step_down()).await
        {
            tracing::debug!(%status, "cannot give up the lead; another leads once the lease has ended");
        }
    }

    /// Commits a batch that changes nothing, if this replica leads.
    pub async fn beat(&self) -> Result<(), Fault> {
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(Command::Beat(reply))?;
        answer.await.map_err(|_| Fault::Stopping)?
    }

    /// Waits, but not for long, until all that was committed when this was called is visible here.
    /// Returns whether it is.
    pub async fn catch_up(&self, wait: Duration) -> bool {
        let Some((cluster, replica)) = self.cluster().zip(self.replica()) else { return true };
        let began = tokio::time::Instant::now();
        let Ok(Ok(present)) = tokio::time::timeout(wait, cluster.present()).await else {
            return false;
        };
        replica.visible(present, wait.saturating_sub(began.elapsed())).await
    }

    /// The figures of this replica as one of several; none on a single node.
    #[expect(clippy::cast_precision_loss, reason = "figures of Prometheus are floats")]
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub(super) fn cluster_families(&self) -> Vec<MetricFamily> {
        let Some((cluster, replica)) = self.cluster().zip(self.replica()) else {
            return Vec::new();
        };
        let standing = cluster.standing().borrow().clone();
        let counts = cluster.counts();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        let own = standing.members.iter().find(|member| member.instance == cluster.instance());
        let differ = standing
            .members
            .iter()
            .filter(|member| own.is_some_and(|own| own.settings != member.settings))
            .count();
        let skew = standing.skew_ms() as f64 / 1000.0;
        let value = f64::from;
        [
            (
                "tidegate_cluster_leader",
                "Whether this replica leads.",
                MetricType::Gauge,
                value(u8::from(standing.leads)),
            ),
            (
                "tidegate_cluster_has_leader",
                "Whether any replica leads, as far as this one knows.",
                MetricType::Gauge,
                value(u8::from(standing.leader.is_some())),
            ),
            (
                "tidegate_cluster_members",
                "Replicas that are there.",
                MetricType::Gauge,
                standing.members.len() as f64,
            ),
            (
                "tidegate_cluster_settings_differ",
                "Replicas with other settings than this one that count for all groups.",
                MetricType::Gauge,
                differ as f64,
            ),
            (
                "tidegate_cluster_policy_differs",
                "Whether another TTL policy, or other shared settings, are in force than those of this replica.",
                MetricType::Gauge,
                value(u8::from(
                    self.has_another_policy() || !self.differing_settings().is_empty(),
                )),
            ),
            (
                "tidegate_cluster_applied_revision",
                "Revision of etcd at which the latest batch was put that this replica has.",
                MetricType::Gauge,
                replica.revision() as f64,
            ),
            (
                "tidegate_cluster_staleness_seconds",
                "Time since the latest batch that this replica has; the leader writes one each second.",
                MetricType::Gauge,
                replica.staleness().as_secs_f64(),
            ),
            (
                "tidegate_cluster_clock_skew_seconds",
                "Greatest difference between the wall clocks of replicas, within the five seconds in \
                 which each tells its own.",
                MetricType::Gauge,
                skew,
            ),
            (
                "tidegate_cluster_terms_total",
                "Times that this replica has come to lead.",
                MetricType::Counter,
                count(&counts.terms),
            ),
            (
                "tidegate_cluster_commit_retries_total",
                "Transactions that were sent again, as etcd had not said whether they were committed.",
                MetricType::Counter,
                count(&counts.commit_retries),
            ),
            (
                "tidegate_cluster_fenced_batches_total",
                "Batches that were not committed, as another replica had come to lead.",
                MetricType::Counter,
                count(&counts.fenced_batches),
            ),
            (
                "tidegate_cluster_feed_reloads_total",
                "Times that all groups were loaded again, as changes in between were missing.",
                MetricType::Counter,
                count(&counts.reloads),
            ),
            (
                "tidegate_cluster_groups_set_aside_total",
                "Groups in etcd that could not be read, and are not shown.",
                MetricType::Counter,
                count(&counts.set_aside),
            ),
            (
                "tidegate_cluster_etcd_db_bytes",
                "Size of the database of etcd, with all that others keep in it, of the member that \
                 this replica asks; looked at each 30 seconds.",
                MetricType::Gauge,
                count(&counts.etcd_bytes),
            ),
            (
                "tidegate_cluster_handed_on_total",
                "Requests that this replica has handed on to the one that leads.",
                MetricType::Counter,
                replica.handed_on() as f64,
            ),
        ]
        .into_iter()
        .map(|(name, help, kind, value)| MetricFamily {
            name: name.to_owned(),
            help: Some(help.to_owned()),
            kind,
            unit: None,
            metrics: vec![plain(kind, value)],
        })
        .collect()
    }

    /// Has the leader, whoever it is, put a policy into force, and waits for that.
    pub(super) async fn propose(
        &self,
        cluster: &EtcdStore,
        policy: TtlPolicy,
        settings: SharedSettings,
    ) -> Result<(), Fault> {
        let own = (policy.clone(), settings.clone());
        *self.shared.own_policy.lock().unwrap_or_else(PoisonError::into_inner) = own;
        let is_in_force = || *self.ttl_policy() == policy && self.differing_settings().is_empty();
        if is_in_force() {
            return Ok(());
        }
        let mut name = [0; 16];
        // Without random bytes nobody else's proposal is likely to have the name, either.
        let _ = getrandom::fill(&mut name);
        let proposal = Proposal { name: Bytes::copy_from_slice(&name), settings };
        let asked = async {
            loop {
                if let Err(status) = cluster.propose(&policy, &proposal).await {
                    tracing::debug!(%status, "cannot propose a policy; trying again");
                }
                let again = tokio::time::Instant::now() + PROPOSAL_RETRY;
                while tokio::time::Instant::now() < again {
                    if is_in_force() {
                        return;
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
        };
        let late = || Fault::Commit(Arc::new(CommitError::NotLeading));
        tokio::time::timeout(PROPOSAL_WAIT, asked).await.map_err(|_| late())
    }
}

fn plain(kind: MetricType, value: f64) -> Metric {
    let value = match kind {
        MetricType::Counter => MetricValue::Counter { value, exemplar: None, created: None },
        _ => MetricValue::Gauge(value),
    };
    Metric { labels: Vec::new(), value, timestamp_ms: None }
}
