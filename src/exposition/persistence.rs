//! The persistence file of the Go Pushgateway: a gob of `map[string]MetricGroup`
//! (`storage.DiskMetricStore.persist`).

use crate::model::{
    GroupingKey, Label, MetricFamily, MetricValue, NameRules, PUSH_FAILURE_TIME_NAME,
    PUSH_TIME_NAME,
};
use crate::time::UnixNanos;

use super::gob::{self, Value};
use super::protobuf;

/// A group as another gateway holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignGroup {
    pub key: GroupingKey,
    /// Wall time of the first push, as far as it can be told.
    pub created: UnixNanos,
    /// Wall time of the last push that succeeded, and of the last that failed.
    pub pushed: Option<UnixNanos>,
    pub failed: Option<UnixNanos>,
    /// Without the two that say when the group was pushed, each with the time of its push. Their
    /// metrics have all their labels.
    pub families: Vec<(UnixNanos, MetricFamily)>,
}

/// Reads a whole file.
pub fn read(file: &[u8]) -> Result<Vec<ForeignGroup>, String> {
    let value = gob::decode(file).map_err(|error| {
        format!("it is no persistence file of a Go Pushgateway, or damaged: {error}")
    })?;
    let Value::Map(groups) = &value else {
        return Err("it is a gob, but no persistence file of a Go Pushgateway".to_owned());
    };
    groups.iter().map(|(_, stored)| group(stored)).collect()
}

fn group(stored: &Value<'_>) -> Result<ForeignGroup, String> {
    let labels = stored.field("Labels").map_or(&[][..], Value::entries);
    let labels = labels
        .iter()
        .map(|(name, value)| Ok(Label::new(text(name)?, text(value)?)))
        .collect::<Result<Vec<_>, String>>()?;
    let key = GroupingKey::new(labels).map_err(|error| format!("a group: {error}"))?;
    let mut families = Vec::new();
    for (_, stored) in stored.field("Metrics").map_or(&[][..], Value::entries) {
        let broken = |what: String| format!("group {key}: {what}");
        let at = stored.field("Timestamp").map_or(Ok(UnixNanos(0)), instant).map_err(broken)?;
        let bytes = stored.field("GobbableMetricFamily").and_then(Value::as_bytes);
        let bytes = bytes.ok_or_else(|| broken("a metric family is missing".to_owned()))?;
        let family = protobuf::decode_one(bytes, NameRules::Utf8).map_err(broken)?;
        families.push((at, family));
    }
    families.sort_by(|a, b| a.1.name.cmp(&b.1.name));
    Ok(ForeignGroup::new(key, families))
}

impl ForeignGroup {
    /// Takes the families that say when the group was pushed out of all of them.
    pub fn new(key: GroupingKey, families: Vec<(UnixNanos, MetricFamily)>) -> Self {
        let earliest = families.iter().map(|family| family.0).min();
        let mut group = Self {
            key,
            created: earliest.unwrap_or(UnixNanos(0)),
            pushed: None,
            failed: None,
            families: Vec::with_capacity(families.len()),
        };
        for (at, family) in families {
            let seconds = match family.metrics.first().map(|metric| &metric.value) {
                Some(MetricValue::Gauge(seconds)) if *seconds != 0.0 => Some(*seconds),
                _ => None,
            };
            let stamp = seconds.map(|seconds| from_seconds(seconds, at));
            // One that is zero is as old as the group.
            match family.name.as_str() {
                PUSH_TIME_NAME => group.pushed = stamp,
                PUSH_FAILURE_TIME_NAME => {
                    group.failed = stamp;
                    if stamp.is_none() {
                        group.created = at;
                    }
                }
                _ => group.families.push((at, family)),
            }
        }
        group
    }
}

/// The instant that is written as these seconds; `near` if that is it.
fn from_seconds(seconds: f64, near: UnixNanos) -> UnixNanos {
    if near.as_secs_f64() == seconds {
        return near;
    }
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let nanos = (seconds * 1e9) as i64;
    // The product is rounded: one of its neighbours may be what gives the same seconds.
    let candidates = [0, 128, -128, 256, -256].map(|by| UnixNanos(nanos.saturating_add(by)));
    let exact = candidates.into_iter().find(|at| at.as_secs_f64() == seconds);
    exact.unwrap_or(UnixNanos(nanos))
}

fn text(value: &Value<'_>) -> Result<String, String> {
    let bytes = value.as_bytes().ok_or("a label is no text")?;
    String::from_utf8(bytes.to_vec()).map_err(|_| "a label is no UTF-8".to_owned())
}

/// Go's `time.Time.MarshalBinary`: a version, seconds since the year 1, nanoseconds, and the zone.
fn instant(value: &Value<'_>) -> Result<UnixNanos, String> {
    const YEAR_1_TO_1970_SECONDS: i64 = 62_135_596_800;
    let bytes = value.as_bytes().unwrap_or_default();
    let parsed = (|| {
        let (version, rest) = bytes.split_first()?;
        let (seconds, rest) = rest.split_first_chunk::<8>()?;
        let (nanos, zone) = rest.split_first_chunk::<4>()?;
        let known = matches!((version, zone.len()), (1, 2) | (2, 3));
        known.then(|| (i64::from_be_bytes(*seconds), i32::from_be_bytes(*nanos)))
    })();
    let (seconds, nanos) = parsed.ok_or_else(|| format!("{bytes:02x?} is no instant"))?;
    let seconds = seconds.saturating_sub(YEAR_1_TO_1970_SECONDS);
    Ok(UnixNanos(seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanos))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Metric, MetricType};

    #[test]
    fn stamps_are_told_from_what_was_pushed() {
        let family = |name: &str, value| MetricFamily {
            name: name.into(),
            kind: MetricType::Gauge,
            metrics: vec![Metric::gauge(vec![], value)],
            ..MetricFamily::default()
        };
        let key = GroupingKey::new(vec![Label::new("job", "j")]).unwrap();
        let at = UnixNanos(1_583_781_848_025_744_841);
        let group = ForeignGroup::new(
            key,
            vec![
                (at, family("m", 1.0)),
                (at, family(PUSH_TIME_NAME, at.as_secs_f64())),
                (UnixNanos(5), family(PUSH_FAILURE_TIME_NAME, 0.0)),
            ],
        );
        assert_eq!((group.pushed, group.failed, group.created), (Some(at), None, UnixNanos(5)));
        assert_eq!(group.families.len(), 1);
    }

    #[test]
    fn seconds_come_back_as_they_were() {
        for nanos in [1_583_781_848_025_744_841, 1_700_000_000_123_456_789, 1] {
            let at = UnixNanos(nanos);
            let found = from_seconds(at.as_secs_f64(), UnixNanos(0));
            assert_eq!(found.as_secs_f64(), at.as_secs_f64(), "{nanos}");
        }
    }

    #[test]
    fn instants_have_a_zone_that_does_not_matter() {
        let utc = [1, 0, 0, 0, 14, 0xd5, 0xf8, 0x5e, 0x98, 1, 0x88, 0xd3, 0x89, 0xff, 0xff];
        let seconds = 0x0e_d5f8_5e98_i64 - 62_135_596_800;
        let expected = UnixNanos(seconds * 1_000_000_000 + 0x0188_d389);
        assert_eq!(instant(&Value::Bytes(&utc)), Ok(expected));
        let mut zone = utc;
        zone[13..].copy_from_slice(&[0, 60]);
        assert_eq!(instant(&Value::Bytes(&zone)), Ok(expected));
        assert!(instant(&Value::Bytes(&utc[..14])).is_err());
    }
}
