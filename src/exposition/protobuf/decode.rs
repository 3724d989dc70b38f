//! Delimited protobuf into families.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use prost::Message;

use super::messages as wire;
use crate::exposition::error::ParseError;
use crate::model::{
    Bucket, BucketSpan, Exemplar, Histogram, Label, Metric, MetricFamily, MetricType, MetricValue,
    NameRules, NativeBuckets, Quantile, Summary, Timestamp,
};

/// Decodes a whole body. A family whose name occurs again replaces the earlier one, as in the Go
/// Pushgateway. Names obey the rules of the text format, unlike there: a name that text cannot
/// carry would break every text scrape.
pub fn decode(body: &[u8], names: NameRules) -> Result<Vec<MetricFamily>, ParseError> {
    let mut families: Vec<MetricFamily> = Vec::new();
    let mut by_name = HashMap::new();
    let mut rest = body;
    let mut message = 0;
    while !rest.is_empty() {
        message += 1;
        let failed = |reason: String| ParseError::Protobuf { message, reason };
        let decoded = wire::MetricFamily::decode_length_delimited(&mut rest)
            .map_err(|error| failed(error.to_string()))?;
        let family = family(decoded, names).map_err(failed)?;
        match by_name.entry(family.name.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(families.len());
                families.push(family);
            }
            Entry::Occupied(entry) => {
                if let Some(earlier) = families.get_mut(*entry.get()) {
                    *earlier = family;
                }
            }
        }
    }
    Ok(families)
}

/// Decodes one family, without a length in front of it.
pub fn decode_one(message: &[u8], names: NameRules) -> Result<MetricFamily, String> {
    let decoded = wire::MetricFamily::decode(message).map_err(|error| error.to_string())?;
    family(decoded, names)
}

fn family(from: wire::MetricFamily, names: NameRules) -> Result<MetricFamily, String> {
    let name = from.name.unwrap_or_default();
    if !names.is_metric_name(&name) {
        return Err(format!("invalid metric name {name:?}"));
    }
    // proto2: an unset enum is its first value.
    let number = from.kind.unwrap_or(0);
    let kind = MetricType::from_number(number)
        .ok_or_else(|| format!("metric family {name:?} has unknown type {number}"))?;
    let metrics = from.metric.into_iter().map(|from| metric(kind, from)).collect();
    Ok(MetricFamily { name, help: from.help, kind, unit: from.unit, metrics })
}

/// A metric with its value of the family's type. Where it has none, with a value of another type:
/// the consistency check refuses that, as the Go Pushgateway's does.
pub(super) fn metric(kind: MetricType, from: wire::Metric) -> Metric {
    let value = match kind {
        MetricType::Counter => from.counter.map(|from| MetricValue::Counter {
            value: from.value.unwrap_or(0.0),
            exemplar: from.exemplar.map(|from| Box::new(exemplar(from))),
            created: from.created_timestamp.map(timestamp),
        }),
        MetricType::Gauge => from.gauge.map(|from| MetricValue::Gauge(from.value.unwrap_or(0.0))),
        MetricType::Untyped => {
            from.untyped.map(|from| MetricValue::Untyped(from.value.unwrap_or(0.0)))
        }
        MetricType::Summary => {
            from.summary.map(|from| MetricValue::Summary(Box::new(summary(from))))
        }
        MetricType::Histogram | MetricType::GaugeHistogram => {
            from.histogram.map(|from| MetricValue::Histogram(Box::new(histogram(from))))
        }
    };
    let other = if kind == MetricType::Untyped {
        MetricValue::Gauge(0.0)
    } else {
        MetricValue::Untyped(0.0)
    };
    Metric {
        labels: labels(from.label),
        value: value.unwrap_or(other),
        timestamp_ms: from.timestamp_ms,
    }
}

fn labels(from: Vec<wire::LabelPair>) -> Vec<Label> {
    let label = |pair: wire::LabelPair| Label {
        name: pair.name.unwrap_or_default(),
        value: pair.value.unwrap_or_default(),
    };
    from.into_iter().map(label).collect()
}

fn summary(from: wire::Summary) -> Summary {
    let quantile = |from: wire::Quantile| Quantile {
        quantile: from.quantile.unwrap_or(0.0),
        value: from.value.unwrap_or(0.0),
    };
    Summary {
        count: from.sample_count,
        sum: from.sample_sum,
        quantiles: from.quantile.into_iter().map(quantile).collect(),
        created: from.created_timestamp.map(timestamp),
    }
}

fn histogram(from: wire::Histogram) -> Histogram {
    let bucket = |from: wire::Bucket| Bucket {
        cumulative_count: from.cumulative_count,
        cumulative_count_float: from.cumulative_count_float,
        upper_bound: from.upper_bound.unwrap_or(0.0),
        exemplar: from.exemplar.map(exemplar),
    };
    Histogram {
        count: from.sample_count,
        count_float: from.sample_count_float,
        sum: from.sample_sum,
        buckets: from.bucket.into_iter().map(bucket).collect(),
        created: from.created_timestamp.map(timestamp),
        schema: from.schema,
        zero_threshold: from.zero_threshold,
        zero_count: from.zero_count,
        zero_count_float: from.zero_count_float,
        negative: NativeBuckets {
            spans: spans(from.negative_span),
            deltas: from.negative_delta,
            counts: from.negative_count,
        },
        positive: NativeBuckets {
            spans: spans(from.positive_span),
            deltas: from.positive_delta,
            counts: from.positive_count,
        },
        exemplars: from.exemplars.into_iter().map(exemplar).collect(),
    }
}

fn spans(from: Vec<wire::BucketSpan>) -> Vec<BucketSpan> {
    let span = |from: wire::BucketSpan| BucketSpan {
        offset: from.offset.unwrap_or(0),
        length: from.length.unwrap_or(0),
    };
    from.into_iter().map(span).collect()
}

fn exemplar(from: wire::Exemplar) -> Exemplar {
    Exemplar {
        labels: labels(from.label),
        value: from.value.unwrap_or(0.0),
        timestamp: from.timestamp.map(timestamp),
    }
}

fn timestamp(from: wire::Timestamp) -> Timestamp {
    Timestamp { seconds: from.seconds, nanos: from.nanos }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gauge(name: &str, value: f64) -> wire::MetricFamily {
        wire::MetricFamily {
            name: Some(name.into()),
            kind: Some(1),
            metric: vec![wire::Metric {
                gauge: Some(wire::Value { value: Some(value) }),
                ..wire::Metric::default()
            }],
            ..wire::MetricFamily::default()
        }
    }

    fn body(families: &[wire::MetricFamily]) -> Vec<u8> {
        families.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
    }

    #[test]
    fn a_later_family_of_a_name_replaces_the_earlier_in_its_place() {
        let families =
            decode(&body(&[gauge("a", 1.0), gauge("b", 2.0), gauge("a", 3.0)]), NameRules::Legacy)
                .unwrap();
        let values: Vec<_> = families
            .iter()
            .map(|family| (family.name.as_str(), &family.metrics[0].value))
            .collect();
        assert_eq!(values, [("a", &MetricValue::Gauge(3.0)), ("b", &MetricValue::Gauge(2.0))]);
    }

    #[test]
    fn a_native_histogram_keeps_all_its_parts() {
        let native = wire::Histogram {
            sample_count_float: Some(12.5),
            sample_sum: Some(-3.0),
            schema: Some(3),
            zero_threshold: Some(0.01),
            zero_count_float: Some(2.0),
            negative_span: vec![wire::BucketSpan { offset: Some(-2), length: Some(3) }],
            negative_delta: vec![1, -1, 0],
            negative_count: vec![0.5],
            positive_span: vec![wire::BucketSpan { offset: Some(5), length: Some(1) }],
            positive_delta: vec![7],
            positive_count: vec![10.0],
            created_timestamp: Some(wire::Timestamp { seconds: 5, nanos: 6 }),
            exemplars: vec![wire::Exemplar {
                label: vec![wire::LabelPair { name: Some("id".into()), value: Some("x".into()) }],
                value: Some(4.0),
                timestamp: Some(wire::Timestamp { seconds: 7, nanos: 8 }),
            }],
            ..wire::Histogram::default()
        };
        let family = wire::MetricFamily {
            name: Some("h".into()),
            kind: Some(4),
            unit: Some("seconds".into()),
            metric: vec![wire::Metric { histogram: Some(native), ..wire::Metric::default() }],
            ..wire::MetricFamily::default()
        };
        let families = decode(&body(&[family]), NameRules::Legacy).unwrap();
        assert_eq!(families[0].unit.as_deref(), Some("seconds"));
        let MetricValue::Histogram(histogram) = &families[0].metrics[0].value else { panic!() };
        assert_eq!(histogram.negative.deltas, [1, -1, 0]);
        assert_eq!(histogram.negative.counts, [0.5]);
        assert_eq!(histogram.negative.spans, [BucketSpan { offset: -2, length: 3 }]);
        assert_eq!(histogram.positive.counts, [10.0]);
        assert_eq!(histogram.count, None);
        assert_eq!(histogram.exemplars[0].timestamp, Some(Timestamp { seconds: 7, nanos: 8 }));
        assert_eq!(histogram.created, Some(Timestamp { seconds: 5, nanos: 6 }));
    }

    #[test]
    fn a_value_of_another_type_stays_recognisable() {
        // proto2: a family without a type is a counter.
        let families = [wire::MetricFamily { kind: None, ..gauge("a", 1.0) }];
        let families = decode(&body(&families), NameRules::Legacy).unwrap();
        assert_eq!(families[0].kind, MetricType::Counter);
        assert!(!families[0].metrics[0].value.is_of(MetricType::Counter));
    }

    #[test]
    fn what_cannot_be_a_family_is_refused_with_its_place() {
        let unknown = wire::MetricFamily { kind: Some(17), ..gauge("a", 1.0) };
        for (families, reason) in [
            (vec![gauge("ok", 1.0), gauge("", 1.0)], "message 2: invalid metric name \"\""),
            (vec![gauge("dotted.name", 1.0)], "message 1: invalid metric name"),
            (vec![unknown], "unknown type 17"),
        ] {
            let error = decode(&body(&families), NameRules::Legacy).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let cut = body(&[gauge("a", 1.0)]);
        assert!(decode(&cut[..cut.len() - 1], NameRules::Legacy).is_err());
        assert_eq!(decode(b"", NameRules::Legacy), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&body, NameRules::Legacy);
        }
    }
}
