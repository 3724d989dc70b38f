//! Families into `io.prometheus.client` messages, piece by piece: a family's message is its header
//! and then its metrics one after another, so that what has not changed need not be encoded again.

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::messages as wire;
use crate::exposition::number::parse_float;
use crate::exposition::text::line::{escaped_name, push_unescaped, rendered};
use crate::model::{
    Bucket, BucketSpan, Escaping, Exemplar, Histogram, Label, Metric, MetricFamily, MetricType,
    MetricValue, NativeBuckets, Summary, Timestamp,
};

/// The field of a family that each metric is.
const METRIC: u32 = 4;

/// The prefix of a delimited message of this length.
pub fn length_prefix(len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(10);
    encode_varint(len as u64, &mut out);
    out
}

/// The fields of a family but its metrics.
pub fn header(name: &str, help: Option<&str>, kind: MetricType, escaping: Escaping) -> Vec<u8> {
    wire::MetricFamily {
        name: Some(escaping.apply(name).into_owned()),
        help: help.map(str::to_owned),
        kind: Some(kind as i32),
        ..wire::MetricFamily::default()
    }
    .encode_to_vec()
}

/// Whether the text form of a metric says all that there is to say of it, so that
/// [`metrics_from_text`] gives what [`metric`] does.
pub fn is_whole_in_text(metric: &Metric) -> bool {
    match &metric.value {
        MetricValue::Counter { value, exemplar, created } => {
            exemplar.is_none() && created.is_none() && !is_negative_zero(*value)
        }
        MetricValue::Gauge(value) | MetricValue::Untyped(value) => !is_negative_zero(*value),
        MetricValue::Summary(_) | MetricValue::Histogram(_) => false,
    }
}

/// Text has no sign for zero.
fn is_negative_zero(value: f64) -> bool {
    value == 0.0 && value.is_sign_negative()
}

/// Appends a metric as a field of its family. `labels` are all that it has.
pub fn metric<'a>(
    out: &mut Vec<u8>,
    metric: &Metric,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
) {
    let pair = |(name, value): (&str, &str)| wire::LabelPair {
        name: Some(name.to_owned()),
        value: Some(value.to_owned()),
    };
    let mut message = wire::Metric {
        label: labels.map(pair).collect(),
        timestamp_ms: metric.timestamp_ms,
        ..wire::Metric::default()
    };
    match &metric.value {
        MetricValue::Counter { value, exemplar, created } => {
            message.counter = Some(wire::Counter {
                value: Some(*value),
                exemplar: exemplar.as_deref().map(to_exemplar),
                created_timestamp: created.map(to_timestamp),
            });
        }
        MetricValue::Gauge(value) => message.gauge = Some(wire::Value { value: Some(*value) }),
        MetricValue::Untyped(value) => message.untyped = Some(wire::Value { value: Some(*value) }),
        MetricValue::Summary(summary) => message.summary = Some(to_summary(summary)),
        MetricValue::Histogram(histogram) => message.histogram = Some(to_histogram(histogram)),
    }
    prost::encoding::message::encode(METRIC, &message, out);
}

/// Appends the metrics of a family from their rendered lines: one line each, of a counter, a gauge
/// or an untyped metric.
pub fn metrics_from_text(out: &mut Vec<u8>, text: &[u8], kind: MetricType, escaping: Escaping) {
    // The fields of `Metric` that are such a value.
    let value_field = match kind {
        MetricType::Counter => 3,
        MetricType::Untyped => 5,
        _ => 2,
    };
    let (mut message, mut scratch) = (Vec::with_capacity(256), Vec::with_capacity(64));
    for line in rendered(text) {
        message.clear();
        for label in line.labels() {
            let escaped;
            let name = if is_legacy(label.name) {
                label.name
            } else {
                escaped = escaped_name(label.name, escaping);
                &escaped
            };
            let value = if label.value.contains(&b'\\') {
                scratch.clear();
                push_unescaped(&mut scratch, label.value);
                &scratch
            } else {
                label.value
            };
            let len = bytes_field_len(name.len()) + bytes_field_len(value.len());
            encode_key(1, WireType::LengthDelimited, &mut message);
            encode_varint(len as u64, &mut message);
            push_bytes_field(&mut message, 1, name);
            push_bytes_field(&mut message, 2, value);
        }
        let value = parse_float(line.value).unwrap_or(f64::NAN);
        encode_key(value_field, WireType::LengthDelimited, &mut message);
        encode_varint(9, &mut message);
        encode_key(1, WireType::SixtyFourBit, &mut message);
        message.extend_from_slice(&value.to_le_bytes());
        push_bytes_field(out, METRIC, &message);
    }
}

/// Whether a label name is one that nobody escapes.
fn is_legacy(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && !name.first().is_some_and(u8::is_ascii_digit)
}

fn bytes_field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

fn push_bytes_field(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends metrics that were encoded as fields of a family, with the names of their labels escaped.
pub fn push_escaped_metrics(out: &mut Vec<u8>, metrics: &[u8], escaping: Escaping) {
    let Ok(mut family) = wire::MetricFamily::decode(metrics) else { return };
    let escape = |pair: &mut wire::LabelPair| {
        pair.name = pair.name.take().map(|name| escaping.apply_to_label(&name).into_owned());
    };
    for metric in &mut family.metric {
        metric.label.iter_mut().for_each(escape);
        let of_counter = metric.counter.iter_mut().filter_map(|counter| counter.exemplar.as_mut());
        let histogram = metric.histogram.iter_mut();
        let of_histogram = histogram.flat_map(|histogram| {
            let of_buckets = histogram.bucket.iter_mut().filter_map(|it| it.exemplar.as_mut());
            of_buckets.chain(&mut histogram.exemplars)
        });
        for exemplar in of_counter.chain(of_histogram) {
            exemplar.label.iter_mut().for_each(escape);
        }
    }
    family.encode(out).expect("a vector grows as needed");
}

/// A family whose metrics were encoded as its fields.
pub fn family(
    name: &str,
    help: Option<&str>,
    kind: MetricType,
    metrics: &[u8],
) -> Result<MetricFamily, prost::DecodeError> {
    let family = wire::MetricFamily::decode(metrics)?;
    let metrics = family.metric.into_iter().map(|from| super::decode::metric(kind, from));
    Ok(MetricFamily {
        name: name.to_owned(),
        help: help.map(str::to_owned),
        kind,
        unit: None,
        metrics: metrics.collect(),
    })
}

fn to_labels(labels: &[Label]) -> Vec<wire::LabelPair> {
    let pair = |label: &Label| wire::LabelPair {
        name: Some(label.name.clone()),
        value: Some(label.value.clone()),
    };
    labels.iter().map(pair).collect()
}

fn to_timestamp(from: Timestamp) -> wire::Timestamp {
    wire::Timestamp { seconds: from.seconds, nanos: from.nanos }
}

fn to_exemplar(from: &Exemplar) -> wire::Exemplar {
    wire::Exemplar {
        label: to_labels(&from.labels),
        value: Some(from.value),
        timestamp: from.timestamp.map(to_timestamp),
    }
}

fn to_summary(from: &Summary) -> wire::Summary {
    let quantiles = from.quantiles.iter().map(|quantile| wire::Quantile {
        quantile: Some(quantile.quantile),
        value: Some(quantile.value),
    });
    wire::Summary {
        sample_count: from.count,
        sample_sum: from.sum,
        quantile: quantiles.collect(),
        created_timestamp: from.created.map(to_timestamp),
    }
}

fn to_bucket(from: &Bucket) -> wire::Bucket {
    wire::Bucket {
        cumulative_count: from.cumulative_count,
        cumulative_count_float: from.cumulative_count_float,
        upper_bound: Some(from.upper_bound),
        exemplar: from.exemplar.as_ref().map(to_exemplar),
    }
}

fn to_spans(from: &NativeBuckets) -> Vec<wire::BucketSpan> {
    let span = |from: &BucketSpan| wire::BucketSpan {
        offset: Some(from.offset),
        length: Some(from.length),
    };
    from.spans.iter().map(span).collect()
}

fn to_histogram(from: &Histogram) -> wire::Histogram {
    wire::Histogram {
        sample_count: from.count,
        sample_count_float: from.count_float,
        sample_sum: from.sum,
        bucket: from.buckets.iter().map(to_bucket).collect(),
        created_timestamp: from.created.map(to_timestamp),
        schema: from.schema,
        zero_threshold: from.zero_threshold,
        zero_count: from.zero_count,
        zero_count_float: from.zero_count_float,
        negative_span: to_spans(&from.negative),
        negative_delta: from.negative.deltas.clone(),
        negative_count: from.negative.counts.clone(),
        positive_span: to_spans(&from.positive),
        positive_delta: from.positive.deltas.clone(),
        positive_count: from.positive.counts.clone(),
        exemplars: from.exemplars.iter().map(to_exemplar).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exposition::protobuf::decode;
    use crate::exposition::text::{LabelBlock, lines};
    use crate::model::NameRules;

    fn whole(name: &str, kind: MetricType, metrics: &[u8]) -> Vec<u8> {
        let header = header(name, Some("h"), kind, Escaping::AllowUtf8);
        [length_prefix(header.len() + metrics.len()), header, metrics.to_vec()].concat()
    }

    #[test]
    fn a_native_histogram_with_exemplars_comes_back_whole() {
        let exemplar = Exemplar {
            labels: vec![Label::new("id", "x")],
            value: 4.0,
            timestamp: Some(Timestamp { seconds: 7, nanos: 8 }),
        };
        let buckets = NativeBuckets {
            spans: vec![BucketSpan { offset: -2, length: 3 }],
            deltas: vec![1, -1, 0],
            counts: vec![0.5],
        };
        let histogram = Histogram {
            count: Some(3),
            count_float: Some(2.5),
            sum: Some(-1.0),
            buckets: vec![Bucket {
                cumulative_count: Some(1),
                cumulative_count_float: Some(0.5),
                upper_bound: f64::INFINITY,
                exemplar: Some(exemplar.clone()),
            }],
            created: Some(Timestamp { seconds: 1, nanos: 2 }),
            schema: Some(-2),
            zero_threshold: Some(0.1),
            zero_count: Some(0),
            zero_count_float: Some(0.25),
            negative: buckets.clone(),
            positive: buckets,
            exemplars: vec![exemplar],
        };
        let value = MetricValue::Histogram(Box::new(histogram));
        let labels = vec![Label::new("a", "b")];
        let pushed = Metric { labels, value, timestamp_ms: None };
        assert!(!is_whole_in_text(&pushed));
        let mut out = Vec::new();
        metric(&mut out, &pushed, [("a", "b")].into_iter());
        let families = decode(&whole("h", MetricType::Histogram, &out), NameRules::Legacy).unwrap();
        assert_eq!(families[0].metrics, [pushed]);
        assert_eq!(families[0].help.as_deref(), Some("h"));
    }

    #[test]
    fn label_names_are_escaped_in_either_form() {
        let own = [("1x", "y"), ("a.b", "c\\\n")];
        let labels = own.map(|(name, value)| Label::new(name, value)).to_vec();
        let mut exact = Vec::new();
        metric(&mut exact, &Metric::gauge(labels, 1.0), own.into_iter());
        let mut escaped = Vec::new();
        push_escaped_metrics(&mut escaped, &exact, Escaping::Values);
        let mut from_text = Vec::new();
        let text = b"{\"m.n\",\"1x\"=\"y\",\"a.b\"=\"c\\\\\\n\"} 1\n";
        metrics_from_text(&mut from_text, text, MetricType::Gauge, Escaping::Values);
        assert_eq!(escaped, from_text);
        let families = decode(&whole("m", MetricType::Gauge, &escaped), NameRules::Legacy).unwrap();
        let labels = [Label::new("U___31_x", "y"), Label::new("U__a_2e_b", "c\\\n")];
        assert_eq!(families[0].metrics[0].labels, labels);
    }

    fn metrics() -> impl Strategy<Value = (MetricType, Vec<Metric>)> {
        let label = (".{1,6}", ".{0,8}").prop_map(|(name, value)| Label::new(name, value));
        let labels = prop::collection::vec(label, 0..4).prop_map(|mut labels| {
            labels.sort();
            labels.dedup_by(|a, b| a.name == b.name);
            labels
        });
        let metrics = prop::collection::vec((labels, any::<f64>()), 1..4);
        (0..3_u8, metrics).prop_map(|(kind, metrics)| {
            let kind =
                [MetricType::Counter, MetricType::Gauge, MetricType::Untyped][usize::from(kind)];
            let metric = |(labels, value)| {
                let value = match kind {
                    MetricType::Counter => {
                        MetricValue::Counter { value, exemplar: None, created: None }
                    }
                    MetricType::Gauge => MetricValue::Gauge(value),
                    _ => MetricValue::Untyped(value),
                };
                Metric { labels, value, timestamp_ms: None }
            };
            (kind, metrics.into_iter().map(metric).collect())
        })
    }

    proptest! {
        #[test]
        fn text_that_says_all_gives_the_same_bytes((kind, metrics) in metrics()) {
            let metrics: Vec<_> = metrics.into_iter().filter(is_whole_in_text).collect();
            let mut exact = Vec::new();
            for one in &metrics {
                let labels = one.labels.iter().map(|l| (l.name.as_str(), l.value.as_str()));
                metric(&mut exact, one, labels);
            }
            let family =
                MetricFamily { name: "m.x".into(), kind, metrics, ..MetricFamily::default() };
            let (mut text, mut from_text) = (Vec::new(), Vec::new());
            lines(&mut text, &family, &LabelBlock::empty());
            metrics_from_text(&mut from_text, &text, kind, Escaping::AllowUtf8);
            prop_assert_eq!(exact, from_text);
        }
    }
}
