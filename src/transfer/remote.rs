//! All groups of a running gateway. Its API says which groups there are, its exposition what exactly
//! their metrics are: the API rounds nothing, but has no exemplars and no empty buckets.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::TransferError;
use crate::client::{Client, ClientError, Target};
use crate::exposition::persistence::ForeignGroup;
use crate::exposition::protobuf;
use crate::model::{GroupingKey, Label, Metric, MetricFamily, NameRules};
use crate::time::UnixNanos;

/// The groups that were read.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) groups: Vec<ForeignGroup>,
    /// Series that changed between the two answers, and are not there.
    pub(super) missed: usize,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Value>,
}

/// Series by the name of their family and their labels.
type Series = HashMap<(String, Vec<Label>), Metric>;

const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                        encoding=delimited;escaping=allow-utf-8";

/// Reads all groups.
pub(super) fn read(gateway: &Target) -> Result<Remote, TransferError> {
    let client = Client::new(gateway.clone())?;
    let failed = |path: &str, reason| ClientError { url: client.url(path), reason };
    let answer = client.get("/api/v1/metrics", "application/json")?;
    let answer: Answer = serde_json::from_reader(std::io::BufReader::new(answer))
        .map_err(|error| failed("/api/v1/metrics", error.to_string()))?;
    let mut exposition = Vec::new();
    client
        .get("/metrics", PROTOBUF)?
        .read_to_end(&mut exposition)
        .map_err(|error| failed("/metrics", error.to_string()))?;
    let families = protobuf::decode(&exposition, NameRules::Utf8)
        .map_err(|error| failed("/metrics", error.to_string()))?;
    let mut series = Series::new();
    for mut family in families {
        for mut metric in family.metrics.drain(..) {
            metric.labels.sort();
            series.insert((family.name.clone(), metric.labels.clone()), metric);
        }
    }
    let mut remote = Remote { groups: Vec::with_capacity(answer.data.len()), missed: 0 };
    for value in answer.data {
        let group = group(value, &mut series, &mut remote.missed)
            .map_err(|reason| failed("/api/v1/metrics", reason))?;
        remote.groups.push(group);
    }
    Ok(remote)
}

fn group(value: Value, series: &mut Series, missed: &mut usize) -> Result<ForeignGroup, String> {
    let Value::Object(mut group) = value else { return Err("a group is no object".to_owned()) };
    let key = group.remove("labels").map(labels).transpose()?.unwrap_or_default();
    let key = GroupingKey::new(key).map_err(|error| format!("a group: {error}"))?;
    group.remove("last_push_successful");
    let mut families = Vec::new();
    for (name, value) in group {
        let at = value.get("time_stamp").and_then(Value::as_str).unwrap_or("");
        let at: Timestamp = at.parse().map_err(|error| format!("group {key}, {name}: {error}"))?;
        let at = UnixNanos(i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX));
        let kind = value.get("type").and_then(Value::as_str).unwrap_or("");
        let kind = crate::model::MetricType::from_proto_name(kind)
            .ok_or_else(|| format!("group {key}, {name}: unknown type {kind:?}"))?;
        let help = value.get("help").and_then(Value::as_str).map(str::to_owned);
        let mut family = MetricFamily { name: name.clone(), help, kind, ..MetricFamily::default() };
        for metric in value.get("metrics").and_then(Value::as_array).into_iter().flatten() {
            let labels = metric.get("labels").cloned().map(labels).transpose()?;
            match series.remove(&(name.clone(), labels.unwrap_or_default())) {
                Some(metric) => family.metrics.push(metric),
                None => *missed += 1,
            }
        }
        families.push((at, family));
    }
    Ok(ForeignGroup::new(key, families))
}

/// Labels in the order of their names.
fn labels(value: Value) -> Result<Vec<Label>, String> {
    let labels: BTreeMap<String, String> =
        serde_json::from_value(value).map_err(|error| format!("labels: {error}"))?;
    Ok(labels.into_iter().map(|(name, value)| Label::new(name, value)).collect())
}
