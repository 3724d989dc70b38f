//! Families into OpenMetrics text, as `MetricFamilyToOpenMetrics` of Prometheus's Go library writes
//! them: a counter is named without its `_total` in the header, and is "unknown" where its name has
//! none.

use std::collections::HashSet;

use crate::exposition::number::{push_float, push_integer};
use crate::exposition::text::{push_escaped, push_label, push_name};
use crate::model::name::{is_metric_name, is_reserved_label_name};
use crate::model::{
    Escaping, Exemplar, Histogram, Label, MetricFamily, MetricType, MetricValue, Quantile, Summary,
};

/// The end of an exposition.
pub const EOF: &[u8] = b"# EOF\n";

const TOTAL: &str = "_total";

/// How a family is said in OpenMetrics, where others may be in its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stance {
    /// As what it is.
    #[default]
    Itself,
    /// Under its whole name, of an unknown type: a counter whose short name, or what goes with it, is
    /// another family's.
    Unknown,
    /// Not at all: its name is a part of another family.
    LeftOut,
}

/// The names that families have in one exposition. Those that come first keep theirs.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// How a family is said beside those before it. `name` is as it is exposed.
    pub fn take(&mut self, name: &str, kind: MetricType) -> Stance {
        let short = short_name(name, kind);
        let counter = short.is_some();
        if self.take_all(short.unwrap_or(name), parts(kind, counter)) {
            return Stance::Itself;
        }
        if counter && self.take_all(name, &[]) { Stance::Unknown } else { Stance::LeftOut }
    }

    fn take_all(&mut self, name: &str, parts: &[&str]) -> bool {
        let names = || [""].iter().chain(parts).map(|part| format!("{name}{part}"));
        if names().any(|name| self.taken.contains(&name)) {
            return false;
        }
        self.taken.extend(names());
        true
    }
}

/// The suffixes that a family of a type reserves (OpenMetrics, "Reserved Suffixes").
fn parts(kind: MetricType, counter: bool) -> &'static [&'static str] {
    match kind {
        MetricType::Counter if counter => &["_total", "_created"],
        MetricType::Summary => &["_count", "_sum", "_created"],
        MetricType::Histogram => &["_count", "_sum", "_bucket", "_created"],
        MetricType::GaugeHistogram => &["_gcount", "_gsum", "_bucket"],
        MetricType::Counter | MetricType::Gauge | MetricType::Untyped => &[],
    }
}

/// The name of a counter without what every counter has.
fn short_name(name: &str, kind: MetricType) -> Option<&str> {
    let short = if kind == MetricType::Counter { name.strip_suffix(TOTAL) } else { None };
    short.filter(|short| !short.is_empty())
}

/// The HELP and TYPE lines.
pub fn header(
    name: &str,
    help: Option<&str>,
    kind: MetricType,
    escaping: Escaping,
    stance: Stance,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + help.map_or(0, str::len));
    let name = escaping.apply(name);
    let short = short_name(&name, kind).filter(|_| stance == Stance::Itself);
    let kind = match kind {
        MetricType::Counter if short.is_some() => "counter",
        MetricType::Counter | MetricType::Untyped => "unknown",
        MetricType::Gauge => "gauge",
        MetricType::Summary => "summary",
        MetricType::Histogram => "histogram",
        MetricType::GaugeHistogram => "gaugehistogram",
    };
    let name = short.unwrap_or(&name);
    if let Some(help) = help {
        out.extend_from_slice(b"# HELP ");
        push_name(&mut out, name);
        out.push(b' ');
        push_escaped(&mut out, help, true);
        out.push(b'\n');
    }
    out.extend_from_slice(b"# TYPE ");
    push_name(&mut out, name);
    out.push(b' ');
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\n');
    out
}

/// Appends the lines of a family's metrics, whose labels are complete. Without those that OpenMetrics
/// has no form for, as its readers give up at such a line.
pub fn lines(out: &mut Vec<u8>, family: &MetricFamily, escaping: Escaping, stance: Stance) {
    let name = escaping.apply(&family.name);
    let counter = stance == Stance::Itself && short_name(&name, family.kind).is_some();
    for metric in &family.metrics {
        // A name that begins so is the scraper's own, in OpenMetrics without exception.
        let is_reserved = |own: &Label| is_reserved_label_name(&escaping.apply_to_label(&own.name));
        if metric.labels.iter().any(is_reserved) {
            continue;
        }
        let mut sample = Sample { out, name: &name, labels: &metric.labels, escaping };
        match &metric.value {
            MetricValue::Counter { value, exemplar, .. } => {
                // The others are of an unknown type: they may have any value, and no exemplar.
                if !counter || *value >= 0.0 {
                    let exemplar = exemplar.as_deref().filter(|_| counter);
                    sample.line("", None, Number::Float(*value), exemplar);
                }
            }
            MetricValue::Gauge(value) | MetricValue::Untyped(value) => {
                sample.line("", None, Number::Float(*value), None);
            }
            MetricValue::Summary(summary) if is_sayable_summary(summary) => sample.summary(summary),
            MetricValue::Histogram(histogram) if is_sayable_histogram(histogram) => {
                sample.histogram(family.kind, histogram);
            }
            MetricValue::Summary(_) | MetricValue::Histogram(_) => {}
        }
    }
}

/// Quantiles are from 0 to 1 and have no negative values, nor has the sum.
fn is_sayable_summary(summary: &Summary) -> bool {
    let is_quantile =
        |q: &Quantile| (0.0..=1.0).contains(&q.quantile) && (q.value.is_nan() || q.value >= 0.0);
    summary.sum.unwrap_or(0.0) >= 0.0 && summary.quantiles.iter().all(is_quantile)
}

/// Counts are whole, those of buckets rise, and the last of them is the count.
fn is_sayable_histogram(histogram: &Histogram) -> bool {
    let is_whole = |count: f64| count.is_finite() && count.fract() == 0.0;
    let count = Number::count(histogram.count_float, histogram.count);
    let buckets = histogram.buckets.iter();
    let counts: Vec<_> = buckets
        .map(|bucket| Number::count(bucket.cumulative_count_float, bucket.cumulative_count))
        .chain([count])
        .map(Number::as_f64)
        .collect();
    let last_is_infinite =
        histogram.buckets.last().is_some_and(|bucket| bucket.upper_bound == f64::INFINITY);
    let in_last = counts.iter().rev().nth(1).filter(|_| last_is_infinite);
    counts.iter().copied().all(is_whole)
        && counts.is_sorted()
        && in_last.is_none_or(|count| Some(count) == counts.last())
}

struct Sample<'a> {
    out: &'a mut Vec<u8>,
    name: &'a str,
    labels: &'a [Label],
    escaping: Escaping,
}

#[derive(Clone, Copy)]
enum Number {
    Float(f64),
    Whole(u64),
}

impl Number {
    /// A count that was given in either of two ways.
    fn count(float: Option<f64>, whole: Option<u64>) -> Self {
        match float.filter(|count| *count > 0.0) {
            Some(count) => Self::Float(count),
            None => Self::Whole(whole.unwrap_or(0)),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "it is only compared")]
    fn as_f64(self) -> f64 {
        match self {
            Self::Float(value) => value,
            Self::Whole(value) => value as f64,
        }
    }

    fn push(self, out: &mut Vec<u8>) {
        match self {
            Self::Whole(value) => push_integer(out, value),
            Self::Float(value) => {
                let start = out.len();
                push_float(out, value);
                let text = out.get(start..).unwrap_or_default();
                if value.is_finite() && !text.iter().any(|byte| matches!(byte, b'.' | b'e')) {
                    out.extend_from_slice(b".0");
                }
            }
        }
    }
}

impl Sample<'_> {
    fn summary(&mut self, summary: &Summary) {
        for quantile in &summary.quantiles {
            let label = Some(("quantile", quantile.quantile));
            self.line("", label, Number::Float(quantile.value), None);
        }
        self.line("_sum", None, Number::Float(summary.sum.unwrap_or(0.0)), None);
        self.line("_count", None, Number::Whole(summary.count.unwrap_or(0)), None);
    }

    fn histogram(&mut self, kind: MetricType, histogram: &Histogram) {
        let count = Number::count(histogram.count_float, histogram.count);
        let mut seen_infinity = false;
        for bucket in &histogram.buckets {
            let value = Number::count(bucket.cumulative_count_float, bucket.cumulative_count);
            let label = Some(("le", bucket.upper_bound));
            self.line("_bucket", label, value, bucket.exemplar.as_ref());
            seen_infinity |= bucket.upper_bound == f64::INFINITY;
        }
        if !seen_infinity {
            self.line("_bucket", Some(("le", f64::INFINITY)), count, None);
        }
        let (sum, total) = match kind {
            MetricType::GaugeHistogram => ("_gsum", "_gcount"),
            _ => ("_sum", "_count"),
        };
        // Neither where what was observed may be negative.
        let is_negative = histogram.buckets.first().is_some_and(|bucket| bucket.upper_bound < 0.0);
        let has_sum = !is_negative && histogram.sum.unwrap_or(0.0) >= 0.0;
        if has_sum {
            self.line(sum, None, Number::Float(histogram.sum.unwrap_or(0.0)), None);
            self.line(total, None, count, None);
        }
    }

    fn line(
        &mut self,
        suffix: &str,
        extra: Option<(&str, f64)>,
        value: Number,
        exemplar: Option<&Exemplar>,
    ) {
        let mut separator = b'{';
        if is_metric_name(self.name) {
            self.out.extend_from_slice(self.name.as_bytes());
            self.out.extend_from_slice(suffix.as_bytes());
        } else {
            self.out.push(separator);
            push_name(self.out, &format!("{}{suffix}", self.name));
            separator = b',';
        }
        for label in self.labels {
            self.out.push(separator);
            separator = b',';
            push_label(self.out, &self.escaping.apply_to_label(&label.name), &label.value);
        }
        if let Some((name, bound)) = extra {
            self.out.push(separator);
            separator = b',';
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"=\"");
            Number::Float(bound).push(self.out);
            self.out.push(b'"');
        }
        if separator == b',' {
            self.out.push(b'}');
        }
        self.out.push(b' ');
        value.push(self.out);
        if let Some(exemplar) = exemplar.filter(|exemplar| self.is_shown(exemplar)) {
            self.exemplar(exemplar);
        }
        self.out.push(b'\n');
    }

    /// Whether an exemplar can be shown: escaped, a name may become one that is reserved, at which a
    /// parser of OpenMetrics stops.
    fn is_shown(&self, exemplar: &Exemplar) -> bool {
        let mut names =
            exemplar.labels.iter().map(|label| self.escaping.apply_to_label(&label.name));
        !names.any(|name| name.starts_with("__"))
    }

    fn exemplar(&mut self, exemplar: &Exemplar) {
        self.out.extend_from_slice(b" # {");
        for (at, label) in exemplar.labels.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            push_label(self.out, &self.escaping.apply_to_label(&label.name), &label.value);
        }
        self.out.extend_from_slice(b"} ");
        Number::Float(exemplar.value).push(self.out);
        if let Some(time) = exemplar.timestamp {
            self.out.push(b' ');
            #[expect(clippy::cast_precision_loss, reason = "as the Go encoder writes instants")]
            let seconds = time.seconds as f64 + f64::from(time.nanos) / 1e9;
            Number::Float(seconds).push(self.out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Stance::{Itself, LeftOut, Unknown};
    use super::*;
    use crate::model::{Bucket, Metric, Timestamp};

    fn render(family: &MetricFamily) -> String {
        let mut out =
            header(&family.name, family.help.as_deref(), family.kind, Escaping::default(), Itself);
        lines(&mut out, family, Escaping::default(), Itself);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn counters_are_named_without_their_suffix_and_have_exemplars() {
        let exemplar = Exemplar {
            labels: vec![Label::new("id", "x")],
            value: 2.0,
            timestamp: Some(Timestamp { seconds: 5, nanos: 500_000_000 }),
        };
        let counter = |name: &str| MetricFamily {
            name: name.into(),
            help: Some("a \"b\"".into()),
            kind: MetricType::Counter,
            unit: None,
            metrics: vec![Metric {
                labels: vec![Label::new("l", "v")],
                value: MetricValue::Counter {
                    value: 3.0,
                    exemplar: Some(Box::new(exemplar.clone())),
                    created: None,
                },
                timestamp_ms: None,
            }],
        };
        assert_eq!(
            render(&counter("foo_total")),
            "# HELP foo a \\\"b\\\"\n# TYPE foo counter\n\
             foo_total{l=\"v\"} 3.0 # {id=\"x\"} 2.0 5.5\n"
        );
        assert!(render(&counter("foo")).contains("# TYPE foo unknown\nfoo{l=\"v\"} 3.0"));
    }

    #[test]
    fn bounds_are_floats_and_counts_are_whole() {
        let histogram = Histogram {
            count: Some(2),
            sum: Some(1e6),
            buckets: vec![Bucket {
                cumulative_count: Some(1),
                upper_bound: 1.0,
                ..Bucket::default()
            }],
            ..Histogram::default()
        };
        let family = |kind| MetricFamily {
            name: "h".into(),
            kind,
            metrics: vec![Metric {
                labels: vec![],
                value: MetricValue::Histogram(Box::new(histogram.clone())),
                timestamp_ms: None,
            }],
            ..MetricFamily::default()
        };
        assert_eq!(
            render(&family(MetricType::Histogram)),
            "# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1e+06\nh_count 2\n"
        );
        assert!(
            render(&family(MetricType::GaugeHistogram)).ends_with("h_gsum 1e+06\nh_gcount 2\n")
        );
    }

    #[test]
    fn a_family_whose_name_is_taken_gives_way() {
        let mut names = Names::default();
        let mut take = |name, kind| names.take(name, kind);
        assert_eq!(take("foo", MetricType::Gauge), Itself);
        assert_eq!(take("foo_total", MetricType::Counter), Unknown);
        assert_eq!(take("bar_total", MetricType::Counter), Itself);
        assert_eq!(take("bar", MetricType::Gauge), LeftOut);
        assert_eq!(take("bar_created", MetricType::Gauge), LeftOut);
        assert_eq!(take("h", MetricType::Histogram), Itself);
        assert_eq!(take("h_created", MetricType::Gauge), LeftOut);
        assert_eq!(take("h_total", MetricType::Counter), Unknown);
        assert_eq!(take("_total", MetricType::Counter), Itself);
    }

    #[test]
    fn what_has_no_form_in_openmetrics_is_left_out() {
        let text = |kind, value| {
            let metrics = vec![Metric { labels: vec![], value, timestamp_ms: None }];
            render(&MetricFamily {
                name: "m_total".into(),
                kind,
                metrics,
                ..MetricFamily::default()
            })
        };
        let counter = |value| {
            let value = MetricValue::Counter { value, exemplar: None, created: None };
            text(MetricType::Counter, value)
        };
        assert!(counter(1.0).contains("m_total 1.0\n"));
        assert!(!counter(-1.0).contains("m_total ") && !counter(f64::NAN).contains("m_total "));
        let histogram = |change: fn(&mut Histogram)| {
            let bucket = |upper_bound, count| Bucket {
                cumulative_count: Some(count),
                upper_bound,
                ..Bucket::default()
            };
            let buckets = vec![bucket(1.0, 1), bucket(f64::INFINITY, 2)];
            let mut histogram =
                Histogram { count: Some(2), sum: Some(1.0), buckets, ..Histogram::default() };
            change(&mut histogram);
            text(MetricType::Histogram, MetricValue::Histogram(Box::new(histogram)))
        };
        assert!(histogram(|_| {}).contains("_count 2\n"));
        let negative = histogram(|h| h.sum = Some(-1.0));
        assert!(negative.contains("_bucket") && !negative.contains("_sum"), "{negative}");
        let unsayable: [fn(&mut Histogram); 4] = [
            |h| h.count = Some(3),
            |h| h.count_float = Some(2.5),
            |h| h.buckets[0].cumulative_count = Some(3),
            |h| h.buckets[0].cumulative_count_float = Some(0.5),
        ];
        for change in unsayable {
            let text = histogram(change);
            assert!(!text.contains("_bucket") && !text.contains("_count"), "{text}");
        }
        let summary = |quantile, value| {
            let quantiles = vec![Quantile { quantile, value }];
            let summary = Summary { quantiles, ..Summary::default() };
            text(MetricType::Summary, MetricValue::Summary(Box::new(summary)))
        };
        assert!(summary(0.5, f64::NAN).contains("quantile"));
        assert!(
            !summary(2.0, 1.0).contains("quantile") && !summary(0.5, -1.0).contains("quantile")
        );
    }
}
