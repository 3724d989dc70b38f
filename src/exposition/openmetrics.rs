//! Families into OpenMetrics text, as `MetricFamilyToOpenMetrics` of Prometheus's Go library writes
//! them: a counter is named without its `_total` in the header, and is "unknown" where its name has
//! none.

use crate::exposition::number::{push_float, push_integer};
use crate::exposition::text::{push_escaped, push_label, push_name};
use crate::model::name::is_metric_name;
use crate::model::{
    Escaping, Exemplar, Histogram, Label, MetricFamily, MetricType, MetricValue, Summary,
};

/// What an exposition ends with.
pub const EOF: &[u8] = b"# EOF\n";

const TOTAL: &str = "_total";

/// The HELP and TYPE lines.
pub fn header(name: &str, help: Option<&str>, kind: MetricType, escaping: Escaping) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + help.map_or(0, str::len));
    let name = escaping.apply(name);
    let short = if kind == MetricType::Counter { name.strip_suffix(TOTAL) } else { None };
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

/// Appends the lines of a family's metrics, whose labels are complete.
pub fn lines(out: &mut Vec<u8>, family: &MetricFamily, escaping: Escaping) {
    let name = escaping.apply(&family.name);
    for metric in &family.metrics {
        let mut sample = Sample { out, name: &name, labels: &metric.labels, escaping };
        match &metric.value {
            MetricValue::Counter { value, exemplar, .. } => {
                sample.line("", None, Number::Float(*value), exemplar.as_deref());
            }
            MetricValue::Gauge(value) | MetricValue::Untyped(value) => {
                sample.line("", None, Number::Float(*value), None);
            }
            MetricValue::Summary(summary) => sample.summary(summary),
            MetricValue::Histogram(histogram) => sample.histogram(family.kind, histogram),
        }
    }
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
        self.line(sum, None, Number::Float(histogram.sum.unwrap_or(0.0)), None);
        self.line(total, None, count, None);
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
        if let Some(exemplar) = exemplar {
            self.exemplar(exemplar);
        }
        self.out.push(b'\n');
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
    use super::*;
    use crate::model::{Bucket, Metric, Timestamp};

    fn render(family: &MetricFamily) -> String {
        let mut out =
            header(&family.name, family.help.as_deref(), family.kind, Escaping::default());
        lines(&mut out, family, Escaping::default());
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
}
