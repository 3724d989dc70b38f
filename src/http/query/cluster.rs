//! The replicas of a cluster, as API and pages show them.

use serde_json::{Value, json};

use super::json::time;
use crate::gateway::Gateway;
use crate::store::etcd::{Leader, Member, Standing};
use crate::time::UnixNanos;

/// Wall clocks of hosts that differ by more may have groups expire early or late for people.
const SKEW_MAX_MS: u64 = 2000;

/// A replica, and how it stands to the others.
#[derive(Clone, Debug)]
pub(in crate::http) struct Replica {
    pub(in crate::http) member: Member,
    pub(in crate::http) leads: bool,
    /// Whether it is the one that is asked.
    pub(in crate::http) is_this: bool,
    /// Whether it has the settings of the one that is asked.
    pub(in crate::http) same_settings: bool,
}

/// A cluster, as one of its replicas sees it.
#[derive(Clone, Debug)]
pub(in crate::http) struct Cluster {
    pub(in crate::http) name: String,
    pub(in crate::http) leader: Option<Leader>,
    pub(in crate::http) replicas: Vec<Replica>,
    pub(in crate::http) revision: i64,
    pub(in crate::http) staleness: std::time::Duration,
    /// Reasons for an operator to look, for people.
    pub(in crate::http) warnings: Vec<String>,
}

impl Cluster {
    /// `None` on a single node.
    pub(in crate::http) fn of(gateway: &Gateway) -> Option<Self> {
        let (cluster, replica) = gateway.cluster().zip(gateway.replica())?;
        let standing: Standing = cluster.standing().borrow().clone();
        let skew_ms = standing.skew_ms();
        let Standing { leader, members, .. } = standing;
        let own = members.iter().find(|member| member.instance == cluster.instance());
        let own_settings = own.map(|own| own.settings.clone());
        let replicas: Vec<_> = members
            .into_iter()
            .map(|member| Replica {
                leads: leader.as_ref().is_some_and(|it| it.instance == member.instance),
                is_this: member.instance == cluster.instance(),
                same_settings: own_settings.as_ref().is_none_or(|own| *own == member.settings),
                member,
            })
            .collect();
        let staleness = replica.staleness();
        let mut warnings = Vec::new();
        if leader.is_none() {
            warnings.push("no replica leads: pushes wait".to_owned());
        }
        if staleness.as_secs() >= 3 {
            let seconds = staleness.as_secs();
            warnings.push(format!("nothing was heard of the leader for {seconds} s"));
        }
        let others = replicas.iter().filter(|replica| !replica.same_settings);
        let others: Vec<_> = others.map(|replica| replica.member.id.as_str()).collect();
        if !others.is_empty() {
            let others = others.join(", ");
            warnings.push(format!(
                "{others}: other limits, history or names in its settings than this replica"
            ));
        }
        if gateway.has_another_policy() {
            let what = "another TTL policy is in force than the settings of this replica have: a reload \
                        has these count for all";
            warnings.push(what.to_owned());
        }
        let differing = gateway.differing_settings();
        if !differing.is_empty() {
            warnings.push(format!(
                "others are in force than the settings of this replica have: {}; a reload has these \
                 count for all, for each replica from its next start on",
                differing.join(", ")
            ));
        }
        if skew_ms > SKEW_MAX_MS {
            warnings.push(format!("the clocks of the hosts differ by {skew_ms} ms"));
        }
        let revision = replica.revision();
        let name = cluster.name().to_owned();
        Some(Self { name, leader, replicas, revision, staleness, warnings })
    }

    pub(in crate::http) fn to_json(&self) -> Value {
        let millis = |ms: i64| time(Some(UnixNanos(ms.saturating_mul(1_000_000))));
        let leader = self.leader.as_ref().map(|leader| {
            json!({ "id": leader.id, "url": leader.url, "since": millis(leader.since_ms) })
        });
        let replicas = self.replicas.iter().map(|replica| {
            let Member { id, url, version, applied, wall_ms, skew_ms, .. } = &replica.member;
            json!({
                "id": id,
                "url": url,
                "version": version,
                "leads": replica.leads,
                "this": replica.is_this,
                "same_settings": replica.same_settings,
                "applied_revision": applied,
                "last_seen": millis(wall_ms.saturating_sub(skew_ms.unwrap_or(0))),
                "clock_skew_ms": skew_ms,
            })
        });
        json!({
            "name": self.name,
            "leader": leader,
            "replicas": replicas.collect::<Vec<_>>(),
            "revision": self.revision,
            "staleness_seconds": self.staleness.as_secs_f64(),
            "warnings": self.warnings,
        })
    }
}
