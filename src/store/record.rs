//! The records on disk: prost messages of their own, apart from the wire's, so that a change of a wire
//! format can never be a silent change of what is stored. A change here needs a migration.
//!
//! Fields that are set aside for what is to come: of [`GroupRecord`] 22 aggregation, 23 expectation
//! asked, 24 run, 25 overdue state, 26 override, 27 way in; of [`FamilyRecord`] 9 merged, 10 page, 11
//! flags; of [`MetricRecord`] 7 `seen_ms`, 8 `sample_ms`; of [`TombstoneRecord`] 10 by, 11 from.

use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::model::{
    Bucket, BucketSpan, Exemplar, Histogram, Label, Metric, MetricType, MetricValue, NativeBuckets,
    Quantile, Summary, Timestamp,
};

/// The head of a group.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupRecord {
    /// The grouping key, in its encoded form.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    /// Wall time of the first push, in nanoseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub(crate) created_ns: i64,
    /// Wall time of the last successful push.
    #[prost(int64, optional, tag = "3")]
    pub(crate) pushed_ns: Option<i64>,
    /// Wall time of the last refused push.
    #[prost(int64, optional, tag = "4")]
    pub(crate) failed_ns: Option<i64>,
    /// Gateway time, in milliseconds, from which the TTL counts.
    #[prost(uint64, tag = "5")]
    pub(crate) renewed_ms: u64,
    /// Absent: never.
    #[prost(uint64, optional, tag = "6")]
    pub(crate) ttl_ms: Option<u64>,
    /// 0 the push, 1 a rule, 2 the default, 3 an override.
    #[prost(uint32, tag = "7")]
    pub(crate) ttl_source: u32,
    /// Successful pushes so far.
    #[prost(uint64, tag = "8")]
    pub(crate) pushes: u64,
    #[prost(uint32, tag = "9")]
    pub(crate) chunk_count: u32,
    /// Sum of the checksums of the chunks.
    #[prost(uint64, tag = "10")]
    pub(crate) chunk_sum: u64,
    /// The TTL that the last push asked for, where that is not the TTL that the group has.
    #[prost(message, optional, tag = "11")]
    pub(crate) asked: Option<TtlRecord>,
    /// Gateway time of the last successful push, in milliseconds; absent where the TTL counts from
    /// there.
    #[prost(uint64, optional, tag = "12")]
    pub(crate) last_push_ms: Option<u64>,
    /// The smoothed interval between pushes, and how many it was smoothed from.
    #[prost(uint64, tag = "13")]
    pub(crate) interval_ms: u64,
    #[prost(uint32, tag = "14")]
    pub(crate) intervals: u32,
    /// The rest of the rhythm, as `model::Rhythm` has it.
    #[prost(uint32, tag = "17")]
    pub(crate) run: u32,
    #[prost(uint64, tag = "18")]
    pub(crate) run_ms: u64,
    #[prost(uint64, tag = "19")]
    pub(crate) calm_ms: u64,
    #[prost(uint64, tag = "20")]
    pub(crate) gap_ms: u64,
    /// The latest intervals, as `model::LatestIntervals` has them.
    #[prost(fixed64, tag = "21")]
    pub(crate) latest_intervals: u64,
    /// Why the last refused push was refused.
    #[prost(string, optional, tag = "16")]
    pub(crate) failure: Option<String>,
    /// The families, where they do not lie in chunks.
    #[prost(message, repeated, tag = "15")]
    pub(crate) families: Vec<FamilyRecord>,
}

/// A TTL in milliseconds. Absent: never.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct TtlRecord {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) ms: Option<u64>,
}

/// Says of the group beside it that it was removed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TombstoneRecord {
    /// Orders removals, and pushes.
    #[prost(uint64, tag = "1")]
    pub(crate) sequence: u64,
    /// Wall time, in nanoseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub(crate) at_ns: i64,
    /// Gateway time at which it would have expired, or did.
    #[prost(uint64, tag = "4")]
    pub(crate) deadline_ms: u64,
    /// The rule that its TTL came from.
    #[prost(uint32, optional, tag = "5")]
    pub(crate) rule: Option<u32>,
    #[prost(string, optional, tag = "6")]
    pub(crate) selector: Option<String>,
    #[prost(uint32, tag = "7")]
    pub(crate) series: u32,
    #[prost(uint32, tag = "8")]
    pub(crate) families: u32,
    /// 0 it expired, 1 somebody deleted it.
    #[prost(uint32, tag = "9")]
    pub(crate) reason: u32,
}

/// How much is stored, as of one write. It lies in the store as a chunk of the group 0, which there is
/// not, and in the mark.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct TotalsRecord {
    /// The number of the write; from 1.
    #[prost(uint64, tag = "1")]
    pub(crate) write: u64,
    /// Groups that are shown, and those that were removed and can be restored.
    #[prost(uint64, tag = "2")]
    pub(crate) groups: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) removed: u64,
    /// Wall time, in nanoseconds since the Unix epoch.
    #[prost(sint64, tag = "4")]
    pub(crate) at_ns: i64,
    /// Sum of the checksums of all heads and tombstones, which vouch for everything else.
    #[prost(fixed64, tag = "5")]
    pub(crate) sum: u64,
    /// The write with which everything was written anew, as when all groups were deleted: what is of
    /// an earlier one is no longer stored.
    #[prost(uint64, tag = "6")]
    pub(crate) begun: u64,
    /// Whether the sum, and the numbers of the groups ([`NumbersRecord`]), are kept: not before the
    /// first write of a build that does.
    #[prost(bool, tag = "7")]
    pub(crate) is_listed: bool,
    /// Gateway time, in milliseconds, and by how much it is ahead of wall time.
    #[prost(uint64, tag = "8")]
    pub(crate) now_ms: u64,
    #[prost(sint64, tag = "9")]
    pub(crate) offset_ms: i64,
}

/// Which of a range of numbers are those of groups that are stored. A chunk of the group 0.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NumbersRecord {
    /// A bit for each, the lowest of a byte first; what follows the last byte is zero.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) bits: Bytes,
    /// So many bytes in front of them are zero.
    #[prost(uint32, tag = "2")]
    pub(crate) skipped: u32,
}

/// The runs of a store, by which writes that were never committed are known. A chunk of the group 0.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RunsRecord {
    /// The last write of each run that has ended, rising.
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) last: Vec<u64>,
}

/// The families of one chunk.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChunkRecord {
    #[prost(message, repeated, tag = "15")]
    pub(crate) families: Vec<FamilyRecord>,
}

/// One family of a group.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FamilyRecord {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// As [`MetricType`] is numbered.
    #[prost(int32, tag = "2")]
    pub(crate) kind: i32,
    #[prost(string, optional, tag = "3")]
    pub(crate) help: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub(crate) unit: Option<String>,
    /// Wall time of the push that stored the family, in nanoseconds since the Unix epoch.
    #[prost(int64, tag = "5")]
    pub(crate) stored_ns: i64,
    /// Orders the pushes of all groups: of two help texts for one name, the later counts.
    #[prost(uint64, tag = "6")]
    pub(crate) sequence: u64,
    #[prost(uint32, tag = "7")]
    pub(crate) series: u32,
    /// The metrics, encoded. The labels are the metrics' own, without those of the grouping key.
    #[prost(bytes = "bytes", tag = "8")]
    pub(crate) metrics: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct MetricsRecord {
    #[prost(message, repeated, tag = "1")]
    metrics: Vec<MetricRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct MetricRecord {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelRecord>,
    /// Of a counter, a gauge or an untyped metric.
    #[prost(double, optional, tag = "2")]
    value: Option<f64>,
    /// Of a counter.
    #[prost(message, optional, tag = "3")]
    exemplar: Option<ExemplarRecord>,
    #[prost(message, optional, tag = "4")]
    created: Option<TimestampRecord>,
    #[prost(message, optional, boxed, tag = "5")]
    summary: Option<Box<SummaryRecord>>,
    #[prost(message, optional, boxed, tag = "6")]
    histogram: Option<Box<HistogramRecord>>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct TimestampRecord {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ExemplarRecord {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelRecord>,
    /// Optional, as are the other numbers: a negative zero is not left out then.
    #[prost(double, optional, tag = "2")]
    value: Option<f64>,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<TimestampRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct QuantileRecord {
    #[prost(double, optional, tag = "1")]
    quantile: Option<f64>,
    #[prost(double, optional, tag = "2")]
    value: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryRecord {
    #[prost(uint64, optional, tag = "1")]
    count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    quantiles: Vec<QuantileRecord>,
    #[prost(message, optional, tag = "4")]
    created: Option<TimestampRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct BucketRecord {
    #[prost(uint64, optional, tag = "1")]
    cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    cumulative_count_float: Option<f64>,
    #[prost(double, optional, tag = "3")]
    upper_bound: Option<f64>,
    #[prost(message, optional, tag = "4")]
    exemplar: Option<ExemplarRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct NativeBucketsRecord {
    /// Offsets and lengths of the spans, in turn.
    #[prost(sint64, repeated, tag = "1")]
    spans: Vec<i64>,
    #[prost(sint64, repeated, tag = "2")]
    deltas: Vec<i64>,
    #[prost(double, repeated, tag = "3")]
    counts: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct HistogramRecord {
    #[prost(uint64, optional, tag = "1")]
    count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    count_float: Option<f64>,
    #[prost(double, optional, tag = "3")]
    sum: Option<f64>,
    #[prost(message, repeated, tag = "4")]
    buckets: Vec<BucketRecord>,
    #[prost(message, optional, tag = "5")]
    created: Option<TimestampRecord>,
    #[prost(sint32, optional, tag = "6")]
    schema: Option<i32>,
    #[prost(double, optional, tag = "7")]
    zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "8")]
    zero_count: Option<u64>,
    #[prost(double, optional, tag = "9")]
    zero_count_float: Option<f64>,
    #[prost(message, optional, tag = "10")]
    negative: Option<NativeBucketsRecord>,
    #[prost(message, optional, tag = "11")]
    positive: Option<NativeBucketsRecord>,
    #[prost(message, repeated, tag = "12")]
    exemplars: Vec<ExemplarRecord>,
}

impl FamilyRecord {
    /// The family's type.
    pub(crate) fn metric_type(&self) -> Option<MetricType> {
        MetricType::from_number(self.kind)
    }

    /// The family's metrics.
    pub(crate) fn decode_metrics(&self) -> Result<Vec<Metric>, prost::DecodeError> {
        let kind = self.metric_type().unwrap_or_default();
        let record = MetricsRecord::decode(self.metrics.clone())?;
        Ok(record.metrics.into_iter().map(|metric| from_record(kind, metric)).collect())
    }
}

/// Appends the stored form of a family's metrics. Their timestamps are not stored: no push that has
/// one is.
pub fn encode_metrics(metrics: Vec<Metric>, out: &mut Vec<u8>) {
    for metric in metrics {
        match metric.value {
            MetricValue::Counter { value, exemplar: None, created: None }
            | MetricValue::Gauge(value)
            | MetricValue::Untyped(value) => push_simple(out, &metric.labels, value),
            _ => prost::encoding::message::encode(METRIC, &to_record(metric), out),
        }
    }
}

/// The field of [`MetricsRecord`] that each metric is.
const METRIC: u32 = 1;

/// Appends a metric that has labels and a number, as prost would: most have no more, and what is made
/// for prost first takes longer than what is left to do.
fn push_simple(out: &mut Vec<u8>, labels: &[Label], value: f64) {
    const VALUE_BYTES: usize = 1 + size_of::<f64>();
    // A text that is empty is left out.
    let text_len = |text: &str| match text.len() {
        0 => 0,
        len => 1 + encoded_len_varint(len as u64) + len,
    };
    let label_len = |label: &Label| text_len(&label.name) + text_len(&label.value);
    let labels_len = |label: &Label| {
        let len = label_len(label);
        1 + encoded_len_varint(len as u64) + len
    };
    let push_text = |out: &mut Vec<u8>, tag: u32, text: &str| {
        if !text.is_empty() {
            encode_key(tag, WireType::LengthDelimited, out);
            encode_varint(text.len() as u64, out);
            out.extend_from_slice(text.as_bytes());
        }
    };
    let len = labels.iter().map(labels_len).sum::<usize>() + VALUE_BYTES;
    encode_key(METRIC, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
    for label in labels {
        encode_key(1, WireType::LengthDelimited, out);
        encode_varint(label_len(label) as u64, out);
        push_text(out, 1, &label.name);
        push_text(out, 2, &label.value);
    }
    encode_key(2, WireType::SixtyFourBit, out);
    out.extend_from_slice(&value.to_le_bytes());
}

// === model to record ===

fn to_record(metric: Metric) -> MetricRecord {
    let mut record = MetricRecord { labels: to_labels(metric.labels), ..MetricRecord::default() };
    match metric.value {
        MetricValue::Counter { value, exemplar, created } => {
            record.value = Some(value);
            record.exemplar = exemplar.map(|exemplar| to_exemplar(*exemplar));
            record.created = created.map(to_timestamp);
        }
        MetricValue::Gauge(value) | MetricValue::Untyped(value) => record.value = Some(value),
        MetricValue::Summary(summary) => record.summary = Some(Box::new(to_summary(*summary))),
        MetricValue::Histogram(histogram) => {
            record.histogram = Some(Box::new(to_histogram(*histogram)));
        }
    }
    record
}

fn to_labels(labels: Vec<Label>) -> Vec<LabelRecord> {
    let record = |label: Label| LabelRecord { name: label.name, value: label.value };
    labels.into_iter().map(record).collect()
}

fn to_timestamp(timestamp: Timestamp) -> TimestampRecord {
    TimestampRecord { seconds: timestamp.seconds, nanos: timestamp.nanos }
}

fn to_exemplar(exemplar: Exemplar) -> ExemplarRecord {
    ExemplarRecord {
        labels: to_labels(exemplar.labels),
        value: Some(exemplar.value),
        timestamp: exemplar.timestamp.map(to_timestamp),
    }
}

fn to_summary(summary: Summary) -> SummaryRecord {
    let quantile = |quantile: Quantile| QuantileRecord {
        quantile: Some(quantile.quantile),
        value: Some(quantile.value),
    };
    SummaryRecord {
        count: summary.count,
        sum: summary.sum,
        quantiles: summary.quantiles.into_iter().map(quantile).collect(),
        created: summary.created.map(to_timestamp),
    }
}

fn to_native(native: NativeBuckets) -> Option<NativeBucketsRecord> {
    (native != NativeBuckets::default()).then(|| NativeBucketsRecord {
        spans: native
            .spans
            .iter()
            .flat_map(|span| [i64::from(span.offset), i64::from(span.length)])
            .collect(),
        deltas: native.deltas,
        counts: native.counts,
    })
}

fn to_histogram(histogram: Histogram) -> HistogramRecord {
    let bucket = |bucket: Bucket| BucketRecord {
        cumulative_count: bucket.cumulative_count,
        cumulative_count_float: bucket.cumulative_count_float,
        upper_bound: Some(bucket.upper_bound),
        exemplar: bucket.exemplar.map(to_exemplar),
    };
    HistogramRecord {
        count: histogram.count,
        count_float: histogram.count_float,
        sum: histogram.sum,
        buckets: histogram.buckets.into_iter().map(bucket).collect(),
        created: histogram.created.map(to_timestamp),
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: histogram.zero_count,
        zero_count_float: histogram.zero_count_float,
        negative: to_native(histogram.negative),
        positive: to_native(histogram.positive),
        exemplars: histogram.exemplars.into_iter().map(to_exemplar).collect(),
    }
}

// === record to model ===

fn from_record(kind: MetricType, record: MetricRecord) -> Metric {
    let number = record.value.unwrap_or(0.0);
    let value = match kind {
        MetricType::Counter => MetricValue::Counter {
            value: number,
            exemplar: record.exemplar.map(|exemplar| Box::new(from_exemplar(exemplar))),
            created: record.created.map(from_timestamp),
        },
        MetricType::Gauge => MetricValue::Gauge(number),
        MetricType::Untyped => MetricValue::Untyped(number),
        MetricType::Summary => {
            MetricValue::Summary(Box::new(from_summary(*record.summary.unwrap_or_default())))
        }
        MetricType::Histogram | MetricType::GaugeHistogram => {
            let histogram = *record.histogram.unwrap_or_default();
            MetricValue::Histogram(Box::new(from_histogram(histogram)))
        }
    };
    Metric { labels: from_labels(record.labels), value, timestamp_ms: None }
}

fn from_labels(records: Vec<LabelRecord>) -> Vec<Label> {
    records.into_iter().map(|record| Label { name: record.name, value: record.value }).collect()
}

fn from_timestamp(record: TimestampRecord) -> Timestamp {
    Timestamp { seconds: record.seconds, nanos: record.nanos }
}

fn from_exemplar(record: ExemplarRecord) -> Exemplar {
    Exemplar {
        labels: from_labels(record.labels),
        value: record.value.unwrap_or(0.0),
        timestamp: record.timestamp.map(from_timestamp),
    }
}

fn from_summary(record: SummaryRecord) -> Summary {
    let quantile = |record: QuantileRecord| Quantile {
        quantile: record.quantile.unwrap_or(0.0),
        value: record.value.unwrap_or(0.0),
    };
    Summary {
        count: record.count,
        sum: record.sum,
        quantiles: record.quantiles.into_iter().map(quantile).collect(),
        created: record.created.map(from_timestamp),
    }
}

fn from_native(record: Option<NativeBucketsRecord>) -> NativeBuckets {
    let record = record.unwrap_or_default();
    let (pairs, _) = record.spans.as_chunks::<2>();
    let span = |[offset, length]: &[i64; 2]| BucketSpan {
        offset: i32::try_from(*offset).unwrap_or(0),
        length: u32::try_from(*length).unwrap_or(0),
    };
    NativeBuckets {
        spans: pairs.iter().map(span).collect(),
        deltas: record.deltas,
        counts: record.counts,
    }
}

fn from_histogram(record: HistogramRecord) -> Histogram {
    let bucket = |record: BucketRecord| Bucket {
        cumulative_count: record.cumulative_count,
        cumulative_count_float: record.cumulative_count_float,
        upper_bound: record.upper_bound.unwrap_or(0.0),
        exemplar: record.exemplar.map(from_exemplar),
    };
    Histogram {
        count: record.count,
        count_float: record.count_float,
        sum: record.sum,
        buckets: record.buckets.into_iter().map(bucket).collect(),
        created: record.created.map(from_timestamp),
        schema: record.schema,
        zero_threshold: record.zero_threshold,
        zero_count: record.zero_count,
        zero_count_float: record.zero_count_float,
        negative: from_native(record.negative),
        positive: from_native(record.positive),
        exemplars: record.exemplars.into_iter().map(from_exemplar).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(kind: MetricType, metrics: Vec<Metric>) -> Vec<Metric> {
        let mut encoded = Vec::new();
        encode_metrics(metrics, &mut encoded);
        let record =
            FamilyRecord { kind: kind as i32, metrics: encoded.into(), ..FamilyRecord::default() };
        record.decode_metrics().unwrap()
    }

    fn exemplar() -> Exemplar {
        Exemplar {
            labels: vec![Label::new("trace", "x")],
            value: 0.5,
            timestamp: Some(Timestamp { seconds: -1, nanos: 2 }),
        }
    }

    proptest! {
        /// The encoding by hand is that of prost.
        #[test]
        fn simple_metrics_are_encoded_as_prost_would(
            labels in prop::collection::vec((".{0,5}", ".{0,200}"), 0..4),
            value: f64,
        ) {
            let labels = labels.iter().map(|(name, value)| Label::new(name, value)).collect();
            let metric = Metric { labels, value: MetricValue::Gauge(value), timestamp_ms: None };
            let mut by_hand = Vec::new();
            encode_metrics(vec![metric.clone()], &mut by_hand);
            let by_prost = MetricsRecord { metrics: vec![to_record(metric)] }.encode_to_vec();
            prop_assert_eq!(by_hand, by_prost);
        }
    }

    #[test]
    fn nothing_that_a_metric_says_is_lost_on_disk() {
        let created = Some(Timestamp { seconds: 3, nanos: 4 });
        let native = NativeBuckets {
            spans: vec![
                BucketSpan { offset: i32::MIN, length: u32::MAX },
                BucketSpan { offset: 1, length: 2 },
            ],
            deltas: vec![1, -5, i64::MIN],
            counts: vec![0.25],
        };
        let histogram = Histogram {
            count: Some(0),
            count_float: Some(1.5),
            sum: Some(f64::INFINITY),
            buckets: vec![Bucket {
                cumulative_count: Some(1),
                cumulative_count_float: Some(0.0),
                upper_bound: f64::INFINITY,
                exemplar: Some(exemplar()),
            }],
            created,
            schema: Some(-4),
            zero_threshold: Some(0.0),
            zero_count: Some(0),
            zero_count_float: Some(2.5),
            negative: native.clone(),
            positive: native,
            exemplars: vec![exemplar()],
        };
        let summary = Summary {
            count: Some(u64::MAX),
            sum: None,
            quantiles: vec![Quantile { quantile: 0.5, value: -1.0 }],
            created,
        };
        let counter =
            MetricValue::Counter { value: 7.0, exemplar: Some(Box::new(exemplar())), created };
        for (kind, value) in [
            (MetricType::Counter, counter),
            (MetricType::Gauge, MetricValue::Gauge(-0.5)),
            (MetricType::Untyped, MetricValue::Untyped(1e300)),
            (MetricType::Summary, MetricValue::Summary(Box::new(summary))),
            (MetricType::Histogram, MetricValue::Histogram(Box::new(histogram.clone()))),
            (MetricType::GaugeHistogram, MetricValue::Histogram(Box::new(histogram))),
            (MetricType::Histogram, MetricValue::Histogram(Box::default())),
        ] {
            let labels = vec![Label::new("a", "1"), Label::new("b", "")];
            let metric = Metric { labels, value, timestamp_ms: None };
            assert_eq!(stored(kind, vec![metric.clone()]), [metric]);
        }
    }
}
