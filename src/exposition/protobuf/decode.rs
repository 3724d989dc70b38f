//! Delimited protobuf into families.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::messages as wire;
use crate::exposition::budget::{Budget, ParseLimits};
use crate::exposition::error::ParseError;
use crate::model::validity::PARTS_MAX;
use crate::model::{
    Bucket, BucketSpan, Exemplar, Histogram, Label, Metric, MetricFamily, MetricType, MetricValue,
    NameRules, NativeBuckets, Quantile, Summary, Timestamp, Unmetered,
};

/// Decodes a whole body that comes from no client.
pub fn decode(body: &[u8], names: NameRules) -> Result<Vec<MetricFamily>, ParseError> {
    let mut meter = Unmetered;
    let budget = Budget::new(ParseLimits::UNLIMITED, &mut meter);
    let mut parser = ProtobufParser::new(names, budget);
    parser.feed(body)?;
    parser.finish()
}

/// Decodes one family, without a length in front of it, that comes from no client.
pub fn decode_one(message: &[u8], names: NameRules) -> Result<MetricFamily, String> {
    let mut meter = Unmetered;
    let mut budget = Budget::new(ParseLimits::UNLIMITED, &mut meter);
    family(message, names, &mut budget).map_err(|stop| match stop {
        Stop::Reason(reason) => reason,
        Stop::Bound(error) => error.to_string(),
    })
}

/// Decodes a body as it comes, within a budget, one metric at a time. A family whose name occurs again
/// replaces the earlier one, as in the Go Pushgateway. Names obey the rules of the text format, unlike
/// there: a name that text cannot carry would break every text scrape.
#[derive(Debug)]
pub struct ProtobufParser<'b> {
    budget: Budget<'b>,
    names: NameRules,
    families: Vec<MetricFamily>,
    /// Places in `families`.
    by_name: HashMap<String, usize>,
    /// Messages that are done.
    messages: usize,
    /// The begin of a message whose end is yet to come.
    begun: Vec<u8>,
    /// How much of that was there at most.
    begun_max: usize,
}

/// Why decoding ends.
enum Stop {
    /// An error in the message.
    Reason(String),
    /// There is too much.
    Bound(ParseError),
}

impl From<prost::DecodeError> for Stop {
    fn from(error: prost::DecodeError) -> Self {
        Self::Reason(error.to_string())
    }
}

impl From<ParseError> for Stop {
    fn from(error: ParseError) -> Self {
        Self::Bound(error)
    }
}

impl<'b> ProtobufParser<'b> {
    /// Of nothing yet.
    pub fn new(names: NameRules, budget: Budget<'b>) -> Self {
        Self {
            budget,
            names,
            families: Vec::new(),
            by_name: HashMap::new(),
            messages: 0,
            begun: Vec::new(),
            begun_max: 0,
        }
    }

    /// Decodes the messages that end here, and keeps the begin of the next.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), ParseError> {
        if self.begun.is_empty() {
            let rest = self.messages(chunk)?;
            return self.keep(rest);
        }
        self.keep(chunk)?;
        if !is_whole(&self.begun) {
            return Ok(());
        }
        let begun = std::mem::take(&mut self.begun);
        let rest = self.messages(&begun)?.len();
        self.begun = begun;
        self.begun.drain(..self.begun.len() - rest);
        Ok(())
    }

    /// All that was there.
    pub fn finish(self) -> Result<Vec<MetricFamily>, ParseError> {
        if self.begun.is_empty() {
            return Ok(self.families);
        }
        // It is known to fail, and says how.
        let failed = wire::MetricFamily::decode_length_delimited(&*self.begun);
        let reason = failed.err().map_or_else(|| "it is cut off".into(), |error| error.to_string());
        Err(ParseError::Protobuf { message: self.messages + 1, reason })
    }

    fn keep(&mut self, begun: &[u8]) -> Result<(), ParseError> {
        let len = self.begun.len() + begun.len();
        // A vector is there twice while it grows.
        self.budget.take(2 * len.saturating_sub(self.begun_max))?;
        self.begun_max = self.begun_max.max(len);
        self.begun.extend_from_slice(begun);
        Ok(())
    }

    /// Decodes the messages that are whole. Returns what is left.
    fn messages<'a>(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], ParseError> {
        while let Some((message, after)) = delimited(rest) {
            let number = self.messages + 1;
            let family = match family(message, self.names, &mut self.budget) {
                Ok(family) => family,
                Err(Stop::Reason(reason)) => {
                    return Err(ParseError::Protobuf { message: number, reason });
                }
                Err(Stop::Bound(error)) => return Err(error),
            };
            self.messages = number;
            rest = after;
            self.budget.take(2 * size_of::<MetricFamily>() + 2 * family.name.len() + 64)?;
            match self.by_name.entry(family.name.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(self.families.len());
                    self.families.push(family);
                }
                Entry::Occupied(entry) => {
                    if let Some(earlier) = self.families.get_mut(*entry.get()) {
                        *earlier = family;
                    }
                }
            }
        }
        Ok(rest)
    }
}

/// The message that a text begins with, behind its length, and what follows it.
fn delimited(mut bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
    bytes.split_at_checked(len)
}

/// Whether the message that a text begins with is there to its end.
fn is_whole(bytes: &[u8]) -> bool {
    delimited(bytes).is_some()
}

/// The fields of a message: their numbers, and what those that have a length have.
fn fields(mut message: &[u8]) -> impl Iterator<Item = Result<(u32, &[u8]), prost::DecodeError>> {
    let mut next = move || {
        if message.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = decode_key(&mut message)?;
        if wire_type == WireType::LengthDelimited {
            let len = usize::try_from(decode_varint(&mut message)?).unwrap_or(usize::MAX);
            let Some((value, rest)) = message.split_at_checked(len) else {
                // As prost says it.
                let failed = wire::Timestamp::decode_length_delimited(&b"\x01"[..]);
                return Err(failed.expect_err("a message of one byte that is not there"));
            };
            message = rest;
            return Ok(Some((number, value)));
        }
        skip_field(wire_type, number, &mut message, DecodeContext::default())?;
        Ok(Some((number, &[][..])))
    };
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let field = next().transpose();
        failed = matches!(field, Some(Err(_)));
        field
    })
}

/// How many parts a metric has, at whatever depth; labels of the metric itself apart.
fn parts_of(metric: &[u8]) -> Result<(usize, usize), prost::DecodeError> {
    /// Which fields of a message are messages that have parts, and what those are.
    #[derive(Clone, Copy)]
    enum Of {
        Metric,
        Counter,
        Summary,
        Histogram,
        Bucket,
        Exemplar,
    }
    fn count(of: Of, message: &[u8], parts: &mut usize) -> Result<(), prost::DecodeError> {
        for field in fields(message) {
            let (number, value) = field?;
            let inner = match (of, number) {
                (Of::Metric, 3) => Of::Counter,
                (Of::Metric, 4) => Of::Summary,
                (Of::Metric, 7) => Of::Histogram,
                (Of::Counter, 2) | (Of::Bucket, 3) | (Of::Histogram, 16) => Of::Exemplar,
                (Of::Histogram, 3) => Of::Bucket,
                _ => {
                    // Numbers may be packed, a byte each.
                    let packed = matches!((of, number), (Of::Histogram, 10 | 11 | 13 | 14));
                    *parts += if packed { value.len().max(1) } else { 1 };
                    continue;
                }
            };
            *parts += 1;
            count(inner, value, parts)?;
        }
        Ok(())
    }
    let mut labels = 0;
    for field in fields(metric) {
        labels += usize::from(field?.0 == 1);
    }
    let mut parts = 0;
    count(Of::Metric, metric, &mut parts)?;
    Ok((labels, parts.saturating_sub(labels)))
}

fn family(message: &[u8], names: NameRules, budget: &mut Budget<'_>) -> Result<MetricFamily, Stop> {
    let head = wire::FamilyHead::decode(message)?;
    let name = head.name.unwrap_or_default();
    if !names.is_metric_name(&name) {
        return Err(Stop::Reason(format!("invalid metric name {name:?}")));
    }
    // proto2: an unset enum is its first value.
    let number = head.kind.unwrap_or(0);
    let kind = MetricType::from_number(number)
        .ok_or_else(|| Stop::Reason(format!("metric family {name:?} has unknown type {number}")))?;
    budget.take(2 * (name.len() + head.help.as_ref().map_or(0, String::len)))?;
    let mut metrics = Vec::new();
    for field in fields(message) {
        let (METRIC, encoded) = field? else { continue };
        // Looked at before it is decoded: a part of two bytes takes a hundred.
        let (labels, parts) = parts_of(encoded)?;
        budget.series()?;
        budget.labels(labels)?;
        if parts > PARTS_OF_METRIC_MAX {
            return Err(Stop::Reason(format!(
                "a metric of {name:?} has {parts} parts; expected at most {PARTS_OF_METRIC_MAX}"
            )));
        }
        budget.parts_of_metric(labels, parts, encoded.len())?;
        metrics.push(metric(kind, wire::Metric::decode(encoded)?));
    }
    Ok(MetricFamily { name, help: head.help, kind, unit: head.unit, metrics })
}

/// The field of a family that each metric is.
const METRIC: u32 = 4;
/// Fields of a metric at whatever depth: some for each bucket or exemplar that there may be.
const PARTS_OF_METRIC_MAX: usize = 16 * PARTS_MAX;

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
