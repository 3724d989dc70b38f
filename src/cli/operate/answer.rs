//! Answers of the API, as far as tables show them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Grouping labels. Shown with the job first, and with escapes for what would not be plain text.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Labels(BTreeMap<String, String>);

/// The listed ones of `total`.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    pub(super) total: usize,
    pub(super) groups: Vec<T>,
}

/// The TTL and the deadline of a group, and where they come from. Times are RFC 3339, or `never`.
#[derive(Debug, Deserialize)]
pub(super) struct TtlDecision {
    pub(super) ttl: String,
    pub(super) ttl_source: String,
    pub(super) rule: Option<Rule>,
    pub(super) expires: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Rule {
    pub(super) position: usize,
    #[serde(rename = "match")]
    pub(super) selector: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Group {
    pub(super) labels: Labels,
    pub(super) series: u64,
    pub(super) last_push: Option<String>,
    pub(super) last_failed_push: Option<String>,
    #[serde(flatten)]
    pub(super) fate: TtlDecision,
}

#[derive(Debug, Deserialize)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) replicas: Vec<Replica>,
    pub(super) revision: i64,
    pub(super) staleness_seconds: f64,
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Replica {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) version: String,
    pub(super) leads: bool,
    pub(super) same_settings: bool,
    pub(super) last_seen: String,
    pub(super) clock_skew_ms: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Removed {
    pub(super) id: u64,
    pub(super) labels: Labels,
    pub(super) why: String,
    pub(super) at: String,
    pub(super) series: u64,
    pub(super) last_push: Option<String>,
    #[serde(flatten)]
    pub(super) fate: TtlDecision,
}

#[derive(Debug, Deserialize)]
pub(super) struct Preview {
    pub(super) at: String,
    pub(super) gone: usize,
    pub(super) stay: usize,
    pub(super) groups: Vec<Expiring>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Expiring {
    pub(super) labels: Labels,
    pub(super) series: u64,
    pub(super) last_push: Option<String>,
    #[serde(flatten)]
    pub(super) fate: TtlDecision,
}

#[derive(Debug, Deserialize)]
pub(super) struct Comparison {
    pub(super) at: String,
    pub(super) today: Count,
    pub(super) proposed: Count,
    pub(super) changed: usize,
    pub(super) unchanged: usize,
    pub(super) changes: Vec<Change>,
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Count {
    pub(super) gone: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct Change {
    pub(super) labels: Labels,
    #[serde(rename = "change")]
    pub(super) effect: String,
    pub(super) today: TtlDecision,
    pub(super) proposed: TtlDecision,
}

/// The groups that were restored.
#[derive(Debug, Deserialize)]
pub(super) struct Restoration {
    pub(super) restored: Vec<Restored>,
    pub(super) refused: Vec<Refused>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Restored {
    pub(super) labels: Labels,
    pub(super) expires: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    pub(super) labels: Labels,
    pub(super) error: String,
}

/// Reads what the API answered.
pub(super) fn read<T: DeserializeOwned>(answer: &Value) -> serde_json::Result<T> {
    T::deserialize(answer)
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        let job = self.0.get_key_value("job");
        let others = self.0.iter().filter(|(name, _)| *name != "job");
        for (at, (name, value)) in job.into_iter().chain(others).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{}={value:?}", name.escape_debug())?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_begin_with_the_job_and_cannot_move_the_cursor() {
        let labels: Labels =
            read(&json!({ "instance": "a\u{1b}[2J\"b", "job": "backup" })).expect("labels");
        assert_eq!(labels.to_string(), r#"{job="backup", instance="a\u{1b}[2J\"b"}"#);
    }
}
