//! Metric families in full: everything that `io.prometheus.client.MetricFamily` can say.
//!
//! `Option` keeps apart what a client set to zero from what it did not set: Prometheus tells a
//! native histogram from a classic one by that.

use super::labels::Label;

/// All metrics of one name in one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricFamily {
    pub name: String,
    pub help: Option<String>,
    pub kind: MetricType,
    pub unit: Option<String>,
    pub metrics: Vec<Metric>,
}

/// The type of a family; the numbers are those of `io.prometheus.client.MetricType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetricType {
    Counter = 0,
    Gauge = 1,
    Summary = 2,
    #[default]
    Untyped = 3,
    Histogram = 4,
    GaugeHistogram = 5,
}

/// One label set of a family with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The labels as pushed. Sorted by name once a push is prepared.
    pub labels: Vec<Label>,
    pub value: MetricValue,
    /// Milliseconds since the Unix epoch. A push that has one is refused.
    pub timestamp_ms: Option<i64>,
}

/// The value of a metric; its variant is that of the family's type.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricValue {
    Counter {
        value: f64,
        exemplar: Option<Box<Exemplar>>,
        created: Option<Timestamp>,
    },
    Gauge(f64),
    Untyped(f64),
    Summary(Box<Summary>),
    /// Of a histogram or a gauge histogram.
    Histogram(Box<Histogram>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub count: Option<u64>,
    pub sum: Option<f64>,
    pub quantiles: Vec<Quantile>,
    pub created: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Quantile {
    pub quantile: f64,
    pub value: f64,
}

/// A classic histogram, a native one, or both at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    pub count: Option<u64>,
    /// Overrides `count` where it is above zero.
    pub count_float: Option<f64>,
    pub sum: Option<f64>,
    pub buckets: Vec<Bucket>,
    pub created: Option<Timestamp>,
    pub schema: Option<i32>,
    pub zero_threshold: Option<f64>,
    pub zero_count: Option<u64>,
    pub zero_count_float: Option<f64>,
    pub negative: NativeBuckets,
    pub positive: NativeBuckets,
    /// Exemplars of the native histogram.
    pub exemplars: Vec<Exemplar>,
}

/// A bucket of a classic histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bucket {
    pub cumulative_count: Option<u64>,
    /// Overrides `cumulative_count` where it is above zero.
    pub cumulative_count_float: Option<f64>,
    pub upper_bound: f64,
    pub exemplar: Option<Exemplar>,
}

/// The buckets of one sign of a native histogram: deltas where the counts are whole, else counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeBuckets {
    pub spans: Vec<BucketSpan>,
    pub deltas: Vec<i64>,
    pub counts: Vec<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketSpan {
    pub offset: i32,
    pub length: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplar {
    pub labels: Vec<Label>,
    pub value: f64,
    pub timestamp: Option<Timestamp>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp {
    pub seconds: i64,
    pub nanos: i32,
}

impl MetricType {
    /// The type that `io.prometheus.client.MetricType` numbers so.
    pub fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Counter,
            1 => Self::Gauge,
            2 => Self::Summary,
            3 => Self::Untyped,
            4 => Self::Histogram,
            5 => Self::GaugeHistogram,
            _ => return None,
        })
    }

    /// The type that Prometheus's protobuf definition names so.
    pub fn from_proto_name(name: &str) -> Option<Self> {
        (0..=5).filter_map(Self::from_number).find(|kind| kind.as_proto_name() == name)
    }

    /// The name in a `# TYPE` line. The text format 0.0.4 has no gauge histograms.
    pub fn as_text(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
            Self::Histogram | Self::GaugeHistogram => "histogram",
        }
    }

    /// The name in Prometheus's protobuf definition, as its error messages have it.
    pub fn as_proto_name(self) -> &'static str {
        match self {
            Self::Counter => "COUNTER",
            Self::Gauge => "GAUGE",
            Self::Summary => "SUMMARY",
            Self::Untyped => "UNTYPED",
            Self::Histogram => "HISTOGRAM",
            Self::GaugeHistogram => "GAUGE_HISTOGRAM",
        }
    }

    /// The label that the exposition of a family of this type adds, so that its series may not have
    /// it already.
    pub fn bound_label(self) -> Option<&'static str> {
        match self {
            Self::Summary => Some("quantile"),
            Self::Histogram | Self::GaugeHistogram => Some("le"),
            Self::Counter | Self::Gauge | Self::Untyped => None,
        }
    }

    /// The suffixes that the exposition of a family of this type adds to its name, so that no other
    /// family may have such a name (`checkSuffixCollisions` of `client_golang`, which overlooks gauge
    /// histograms: text has them as histograms).
    pub fn claimed_suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Summary => &["_count", "_sum"],
            Self::Histogram | Self::GaugeHistogram => &["_count", "_sum", "_bucket"],
            Self::Counter | Self::Gauge | Self::Untyped => &[],
        }
    }
}

impl MetricValue {
    /// Whether a metric of this value belongs into a family of type `kind`.
    pub fn is_of(&self, kind: MetricType) -> bool {
        match self {
            Self::Counter { .. } => kind == MetricType::Counter,
            Self::Gauge(_) => kind == MetricType::Gauge,
            Self::Untyped(_) => kind == MetricType::Untyped,
            Self::Summary(_) => kind == MetricType::Summary,
            Self::Histogram(_) => {
                matches!(kind, MetricType::Histogram | MetricType::GaugeHistogram)
            }
        }
    }
}

impl Histogram {
    /// Whether Prometheus takes it for a native histogram.
    pub fn is_native(&self) -> bool {
        self.zero_threshold.is_some_and(|threshold| threshold > 0.0)
            || self.zero_count.is_some_and(|count| count > 0)
            || self.zero_count_float.is_some_and(|count| count > 0.0)
            || !self.positive.spans.is_empty()
            || !self.negative.spans.is_empty()
    }

    /// Whether its counts are floats.
    pub fn is_float(&self) -> bool {
        let is_above_zero = |count: Option<f64>| count.is_some_and(|count| count > 0.0);
        is_above_zero(self.count_float) || is_above_zero(self.zero_count_float)
    }
}

impl MetricFamily {
    /// Whether its metrics are native histograms; `None` if some are and some are not.
    pub fn is_native(&self) -> Option<bool> {
        let is_native = |metric: &Metric| match &metric.value {
            MetricValue::Histogram(histogram) => histogram.is_native(),
            _ => false,
        };
        let first = self.metrics.first().is_some_and(is_native);
        self.metrics.iter().all(|metric| is_native(metric) == first).then_some(first)
    }
}

impl Metric {
    /// A gauge without a timestamp.
    pub fn gauge(labels: Vec<Label>, value: f64) -> Self {
        Self { labels, value: MetricValue::Gauge(value), timestamp_ms: None }
    }
}
