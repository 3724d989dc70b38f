//! The records of a cluster beside the chunks of its groups.

use bytes::Bytes;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::model::{AutoTtl, RuleTtl, Selector, Ttl, TtlPolicy, TtlRule};
use crate::store::commit::Proposal;

/// The latest batch: who wrote it, and all that a leader has to know beside the groups. Each batch puts
/// it anew, also one that changes no group.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BatchRecord {
    /// The revision at which the leader that wrote it came to lead.
    #[prost(int64, tag = "1")]
    pub(super) leader: i64,
    /// Counts the batches of all leaders.
    #[prost(uint64, tag = "2")]
    pub(super) number: u64,
    /// The leaders before, latest last.
    #[prost(message, repeated, tag = "3")]
    pub(super) past: Vec<PastLeader>,
    /// The tree that has the groups.
    #[prost(uint64, tag = "4")]
    pub(super) tree: u64,
    /// Gateway time, and wall time.
    #[prost(uint64, tag = "5")]
    pub(super) now_ms: u64,
    #[prost(sint64, tag = "6")]
    pub(super) wall_ns: i64,
    /// Gateway time minus wall time, as of the last step of the leader's clock.
    #[prost(sint64, tag = "7")]
    pub(super) offset_ms: i64,
    /// Those that the next group and the next push get.
    #[prost(uint64, tag = "8")]
    pub(super) next_number: u64,
    #[prost(uint64, tag = "9")]
    pub(super) next_sequence: u64,
    /// The requests whose changes it has, as replicas name them.
    #[prost(bytes = "bytes", repeated, tag = "10")]
    pub(super) requests: Vec<Bytes>,
    /// The last removal that the webhook was told of.
    #[prost(uint64, tag = "11")]
    pub(super) told: u64,
}

/// A leader that has ended.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct PastLeader {
    #[prost(int64, tag = "1")]
    pub(super) leader: i64,
    /// The number of its last batch.
    #[prost(uint64, tag = "2")]
    pub(super) last: u64,
}

/// The format of a cluster whose chunks and records are of a schema.
pub(super) fn format_of(schema: u32) -> String {
    format!("1 schema={schema}")
}

/// The schema of a format, if it is between these.
pub(super) fn schema_of(format: &[u8], (first, last): (u32, u32)) -> Result<u32, String> {
    let text = String::from_utf8_lossy(format);
    let schema = text.strip_prefix("1 schema=").and_then(|schema| schema.parse().ok());
    schema.filter(|schema| (first..=last).contains(schema)).ok_or_else(|| {
        let known = if first == last {
            format!("{:?}", format_of(last))
        } else {
            format!("{:?} to {:?}", format_of(first), format_of(last))
        };
        format!("it has the format {text:?}, and this build of tidegate knows {known}; nothing was changed")
    })
}

/// So many leaders are remembered.
const PAST_LEADERS: usize = 16;

impl BatchRecord {
    /// The record of the batch that follows this one, by a leader.
    pub(super) fn next(&self, leader: i64) -> Self {
        let mut past = self.past.clone();
        if self.leader != leader && self.leader != 0 {
            past.push(PastLeader { leader: self.leader, last: self.number });
            past.drain(..past.len().saturating_sub(PAST_LEADERS));
        }
        Self { leader, number: self.number + 1, past, requests: Vec::new(), ..self.clone() }
    }

    /// Whether a batch of a leader that has ended was committed; `None` if that is not known any more.
    pub(super) fn had(&self, leader: i64, number: u64) -> Option<bool> {
        if self.leader == leader {
            return Some(self.number >= number);
        }
        let past = self.past.iter().find(|past| past.leader == leader);
        past.map(|past| past.last >= number)
    }
}

/// A replica, as the others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The name of the settings (`cluster.id`).
    pub id: String,
    /// Differs at each start.
    pub instance: String,
    /// Where the others reach it.
    pub url: String,
    pub version: String,
    /// The first and the last schema version that it reads and writes.
    pub reads: (u32, u32),
    /// Of the settings that count for all groups.
    pub settings: String,
    /// Wall time of this record, in milliseconds.
    pub wall_ms: i64,
    /// The revision up to which it has followed.
    pub applied: i64,
    /// How far its wall clock was ahead of that of the replica that reads this, when it did.
    #[serde(skip)]
    pub skew_ms: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PolicyRecord {
    #[prost(message, repeated, tag = "1")]
    rules: Vec<RuleRecord>,
    /// TTLs in milliseconds; none is never.
    #[prost(uint64, optional, tag = "2")]
    default_ms: Option<u64>,
    #[prost(uint64, tag = "3")]
    min_ms: u64,
    #[prost(uint64, optional, tag = "4")]
    max_ms: Option<u64>,
    /// Differs for each proposal, so that whoever made it sees that it was taken up.
    #[prost(bytes = "bytes", tag = "5")]
    proposal: Bytes,
    /// The other settings that count for all replicas.
    #[prost(message, repeated, tag = "6")]
    settings: Vec<SettingRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SettingRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "2")]
    values: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuleRecord {
    #[prost(string, tag = "1")]
    selector: String,
    #[prost(uint64, optional, tag = "2")]
    ttl_ms: Option<u64>,
    /// Above 0: the TTL is so many missed pushes, within bounds.
    #[prost(uint32, tag = "3")]
    missed: u32,
    #[prost(uint64, tag = "4")]
    min_ms: u64,
    #[prost(uint64, tag = "5")]
    max_ms: u64,
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn ttl_ms(ttl: Ttl) -> Option<u64> {
    match ttl {
        Ttl::After(duration) => Some(millis(duration)),
        Ttl::Never => None,
    }
}

fn ttl_of(ms: Option<u64>) -> Ttl {
    ms.map_or(Ttl::Never, |ms| Ttl::After(std::time::Duration::from_millis(ms)))
}

/// A policy as it lies in etcd.
pub(super) fn encode_policy(policy: &TtlPolicy, proposal: &Proposal) -> Bytes {
    let rule = |rule: &TtlRule| {
        let selector = rule.selector.to_string();
        match rule.ttl {
            RuleTtl::Fixed(ttl) => {
                RuleRecord { selector, ttl_ms: ttl_ms(ttl), ..RuleRecord::default() }
            }
            RuleTtl::Auto(AutoTtl { missed, min, max }) => RuleRecord {
                selector,
                ttl_ms: None,
                missed,
                min_ms: millis(min),
                max_ms: millis(max),
            },
        }
    };
    let setting = |(name, values): &(String, Vec<String>)| SettingRecord {
        name: name.clone(),
        values: values.clone(),
    };
    let record = PolicyRecord {
        rules: policy.rules.iter().map(rule).collect(),
        default_ms: ttl_ms(policy.default),
        min_ms: millis(policy.min),
        max_ms: ttl_ms(policy.max),
        proposal: proposal.name.clone(),
        settings: proposal.settings.iter().map(setting).collect(),
    };
    record.encode_to_vec().into()
}

/// The policy in a value of etcd, and the proposal that it came from.
pub(super) fn decode_policy(value: Bytes) -> Result<(TtlPolicy, Proposal), String> {
    let record = PolicyRecord::decode(value).map_err(|error| error.to_string())?;
    let rule = |rule: &RuleRecord| {
        let selector = Selector::parse(&rule.selector);
        let selector = selector.map_err(|error| format!("{}: {error}", rule.selector))?;
        let duration = std::time::Duration::from_millis;
        let ttl = match rule.missed {
            0 => RuleTtl::Fixed(ttl_of(rule.ttl_ms)),
            missed => {
                let (min, max) = (duration(rule.min_ms), duration(rule.max_ms));
                RuleTtl::Auto(AutoTtl { missed, min, max })
            }
        };
        Ok::<_, String>(TtlRule { selector, ttl })
    };
    let policy = TtlPolicy {
        rules: record.rules.iter().map(rule).collect::<Result<_, _>>()?,
        default: ttl_of(record.default_ms),
        min: std::time::Duration::from_millis(record.min_ms),
        max: ttl_of(record.max_ms),
    };
    let settings = record.settings.into_iter().map(|setting| (setting.name, setting.values));
    Ok((policy, Proposal { name: record.proposal, settings: settings.collect() }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        let rule =
            |selector: &str, ttl| TtlRule { selector: Selector::parse(selector).unwrap(), ttl };
        let auto =
            AutoTtl { missed: 3, min: Duration::from_secs(60), max: Duration::from_secs(86_400) };
        let policy = TtlPolicy {
            rules: vec![
                rule(r#"{job="a",zone=~"x|\"y"}"#, RuleTtl::Fixed(Ttl::Never)),
                rule(r#"{b="1"}"#, RuleTtl::Fixed(Ttl::After(Duration::from_millis(1500)))),
                rule(r#"{job!=""}"#, RuleTtl::Auto(auto)),
            ],
            default: Ttl::After(Duration::from_secs(7)),
            min: Duration::from_secs(1),
            max: Ttl::Never,
        };
        let settings = vec![("limits.groups".to_owned(), vec!["5".to_owned()])];
        let proposal = Proposal { name: Bytes::from_static(b"id"), settings };
        let read = decode_policy(encode_policy(&policy, &proposal)).unwrap();
        assert_eq!(read, (policy, proposal));
    }

    #[test]
    fn a_schema_is_known_or_named() {
        assert_eq!(schema_of(b"1 schema=5", (4, 5)), Ok(5));
        for other in ["1 schema=6", "1 schema=3", "2 schema=5", "", "1 schema=x"] {
            let error = schema_of(other.as_bytes(), (4, 5)).unwrap_err();
            assert!(error.contains(&format!("{other:?}")) && error.contains("schema=4"), "{error}");
        }
    }

    #[test]
    fn a_record_knows_how_leaders_before_ended() {
        let mut record = BatchRecord::default().next(10).next(10);
        assert_eq!((record.had(10, 2), record.had(10, 3)), (Some(true), Some(false)));
        assert_eq!(record.had(7, 1), None);
        record = record.next(20);
        assert_eq!((record.had(10, 2), record.had(10, 3)), (Some(true), Some(false)));
        for leader in 0..20 {
            record = record.next(100 + leader);
        }
        assert_eq!((record.had(10, 2), record.past.len()), (None, PAST_LEADERS));
    }
}
