//! Families into text 0.0.4, byte for byte as Prometheus's Go encoder writes them. Names beyond the
//! legacy charset are quoted: what is kept is the form that loses nothing.

use memchr::{memchr2, memchr3};

use crate::exposition::number::{push_float, push_integer};
use crate::model::name::{is_label_name, is_metric_name};
use crate::model::{
    Bucket, GroupingKey, Histogram, Label, Metric, MetricFamily, MetricType, MetricValue, Summary,
};

/// The labels that every metric of a group carries, rendered once.
#[derive(Debug)]
pub struct LabelBlock {
    /// Name and rendered `name="value"`, in byte order of the names.
    labels: Vec<(String, Vec<u8>)>,
    /// All of them, with commas.
    joined: Vec<u8>,
}

/// The `# HELP` line, where there is a help text, and the `# TYPE` line.
pub fn header(name: &str, help: Option<&str>, kind: MetricType) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + help.map_or(0, str::len));
    if let Some(help) = help {
        out.extend_from_slice(b"# HELP ");
        push_name(&mut out, name);
        out.push(b' ');
        push_escaped(&mut out, help, false);
        out.push(b'\n');
    }
    out.extend_from_slice(b"# TYPE ");
    push_name(&mut out, name);
    out.push(b' ');
    out.extend_from_slice(kind.as_text().as_bytes());
    out.push(b'\n');
    out
}

/// Appends the lines of a family's metrics, whose labels are sorted by name. A label that both the
/// metric and the block have is the metric's.
pub fn lines(out: &mut Vec<u8>, family: &MetricFamily, block: &LabelBlock) {
    let quoted = !is_metric_name(&family.name);
    for metric in &family.metrics {
        let sample = Sample { out, name: &family.name, quoted, labels: &metric.labels, block };
        sample.metric(metric);
    }
}

/// At least so many bytes the lines of a family's metrics have: all but the numbers, and what has to
/// be escaped. The answer is known before anything is rendered.
pub fn least_bytes(family: &MetricFamily, block: &LabelBlock) -> u64 {
    let of_metric = |metric: &Metric| {
        let own = metric.labels.iter().map(|own| own.name.len() + own.value.len() + 4);
        let line = family.name.len() + block.joined.len() + own.sum::<usize>() + 3;
        let parts = match &metric.value {
            MetricValue::Counter { .. } | MetricValue::Gauge(_) | MetricValue::Untyped(_) => 0,
            MetricValue::Summary(summary) => summary.quantiles.len() + 1,
            MetricValue::Histogram(histogram) => histogram.buckets.len() + 2,
        };
        // Once more in protobuf, which says what text does not.
        let parts = parts + usize::from(parts > 0);
        (line as u64).saturating_mul(parts as u64 + 1)
    };
    family.metrics.iter().map(of_metric).fold(0, u64::saturating_add)
}

/// Appends the line of a gauge that has the block's labels only.
pub fn gauge_line(out: &mut Vec<u8>, name: &str, value: f64, block: &LabelBlock) {
    Sample { out, name, quoted: false, labels: &[], block }.line("", None, value, None);
}

impl LabelBlock {
    /// The labels of a group's metrics.
    pub fn of_group(key: &GroupingKey) -> Self {
        Self::new(key.metric_labels())
    }

    /// No labels: those of the self metrics.
    pub fn empty() -> Self {
        Self::new(std::iter::empty())
    }

    fn new<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let labels: Vec<_> = labels
            .map(|(name, value)| {
                let mut rendered = Vec::with_capacity(name.len() + value.len() + 3);
                push_label(&mut rendered, name, value);
                (name.to_owned(), rendered)
            })
            .collect();
        let joined = labels.iter().map(|label| label.1.as_slice()).collect::<Vec<_>>().join(&b',');
        Self { labels, joined }
    }
}

/// The parts that all samples of one metric share.
struct Sample<'a> {
    out: &'a mut Vec<u8>,
    name: &'a str,
    /// Whether the name has to stand in quotes, inside the braces.
    quoted: bool,
    labels: &'a [Label],
    block: &'a LabelBlock,
}

impl Sample<'_> {
    fn metric(mut self, metric: &Metric) {
        match &metric.value {
            MetricValue::Counter { value, .. }
            | MetricValue::Gauge(value)
            | MetricValue::Untyped(value) => self.line("", None, *value, metric.timestamp_ms),
            MetricValue::Summary(summary) => self.summary(summary, metric.timestamp_ms),
            MetricValue::Histogram(histogram) => self.histogram(histogram, metric.timestamp_ms),
        }
    }

    fn summary(&mut self, summary: &Summary, timestamp_ms: Option<i64>) {
        for quantile in &summary.quantiles {
            let label = Some(("quantile", quantile.quantile));
            self.line("", label, quantile.value, timestamp_ms);
        }
        self.line("_sum", None, summary.sum.unwrap_or(0.0), timestamp_ms);
        self.line("_count", None, whole(summary.count), timestamp_ms);
    }

    fn histogram(&mut self, histogram: &Histogram, timestamp_ms: Option<i64>) {
        let count = histogram.sample_count();
        let mut seen_infinity = false;
        for bucket in &histogram.buckets {
            let label = Some(("le", bucket.upper_bound));
            self.line("_bucket", label, bucket.count(), timestamp_ms);
            seen_infinity |= bucket.upper_bound == f64::INFINITY;
        }
        if !seen_infinity {
            self.line("_bucket", Some(("le", f64::INFINITY)), count, timestamp_ms);
        }
        self.line("_sum", None, histogram.sum.unwrap_or(0.0), timestamp_ms);
        self.line("_count", None, count, timestamp_ms);
    }

    fn line(
        &mut self,
        suffix: &str,
        extra: Option<(&str, f64)>,
        value: f64,
        timestamp_ms: Option<i64>,
    ) {
        let mut separator = b'{';
        if self.quoted {
            self.out.extend_from_slice(b"{\"");
            push_escaped(self.out, self.name, true);
            self.out.extend_from_slice(suffix.as_bytes());
            self.out.push(b'"');
            separator = b',';
        } else {
            self.out.extend_from_slice(self.name.as_bytes());
            self.out.extend_from_slice(suffix.as_bytes());
        }
        self.push_labels(separator, extra);
        self.out.push(b' ');
        push_float(self.out, value);
        if let Some(timestamp) = timestamp_ms {
            self.out.push(b' ');
            if timestamp < 0 {
                self.out.push(b'-');
            }
            push_integer(self.out, timestamp.unsigned_abs());
        }
        self.out.push(b'\n');
    }

    /// `separator` is a comma where the name stands inside the braces.
    fn push_labels(&mut self, mut separator: u8, extra: Option<(&str, f64)>) {
        let out = &mut *self.out;
        if self.labels.is_empty() {
            if !self.block.joined.is_empty() {
                out.push(separator);
                out.extend_from_slice(&self.block.joined);
                separator = b',';
            }
        } else {
            let mut group = self.block.labels.iter().peekable();
            for label in self.labels {
                while let Some((_, rendered)) = group.next_if(|(name, _)| *name < label.name) {
                    out.push(separator);
                    out.extend_from_slice(rendered);
                    separator = b',';
                }
                // An `instance` of the metric where the grouping key has none.
                group.next_if(|(name, _)| *name == label.name);
                out.push(separator);
                push_label(out, &label.name, &label.value);
                separator = b',';
            }
            for (_, rendered) in group {
                out.push(separator);
                out.extend_from_slice(rendered);
            }
        }
        if let Some((name, value)) = extra {
            out.push(separator);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"=\"");
            push_float(out, value);
            out.push(b'"');
            separator = b',';
        }
        if separator == b',' {
            out.push(b'}');
        }
    }
}

impl Histogram {
    /// The number of observations, whichever of the two ways it was given in.
    fn sample_count(&self) -> f64 {
        self.count_float.filter(|count| *count > 0.0).unwrap_or_else(|| whole(self.count))
    }
}

impl Bucket {
    fn count(&self) -> f64 {
        let float = self.cumulative_count_float.filter(|count| *count > 0.0);
        float.unwrap_or_else(|| whole(self.cumulative_count))
    }
}

#[expect(clippy::cast_precision_loss, reason = "the Go encoder writes counts as float64 too")]
fn whole(count: Option<u64>) -> f64 {
    count.unwrap_or(0) as f64
}

/// A label, its name in quotes where it needs them: also for a colon, which the Go encoder writes as it
/// is, and no parser of labels takes.
pub fn push_label(out: &mut Vec<u8>, name: &str, value: &str) {
    push_quoted(out, name, !is_label_name(name));
    out.extend_from_slice(b"=\"");
    push_escaped(out, value, true);
    out.push(b'"');
}

/// The name of a metric, in quotes where it needs them.
pub fn push_name(out: &mut Vec<u8>, name: &str) {
    push_quoted(out, name, !is_metric_name(name));
}

fn push_quoted(out: &mut Vec<u8>, name: &str, quotes: bool) {
    if quotes {
        out.push(b'"');
        push_escaped(out, name, true);
        out.push(b'"');
    } else {
        out.extend_from_slice(name.as_bytes());
    }
}

/// Escapes backslashes and newlines, in label values quotes too.
pub fn push_escaped(out: &mut Vec<u8>, text: &str, quotes: bool) {
    let mut rest = text.as_bytes();
    loop {
        let next =
            if quotes { memchr3(b'\\', b'\n', b'"', rest) } else { memchr2(b'\\', b'\n', rest) };
        let Some((before, [escaped, after @ ..])) = next.and_then(|at| rest.split_at_checked(at))
        else {
            out.extend_from_slice(rest);
            return;
        };
        out.extend_from_slice(before);
        out.push(b'\\');
        out.push(if *escaped == b'\n' { b'n' } else { *escaped });
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::text::parse;
    use crate::model::{NameRules, Quantile};
    use proptest::prelude::*;

    fn render(family: &MetricFamily, block: &LabelBlock) -> String {
        let mut out = header(&family.name, family.help.as_deref(), family.kind);
        lines(&mut out, family, block);
        String::from_utf8(out).unwrap()
    }

    fn key(labels: &[(&str, &str)]) -> GroupingKey {
        let labels = labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
        GroupingKey::new(labels).unwrap()
    }

    #[test]
    fn labels_of_group_and_metric_are_merged_in_order_and_escaped() {
        let family = MetricFamily {
            name: "m".into(),
            help: Some("two\nlines \\ \"quoted\"".into()),
            kind: MetricType::Gauge,
            unit: None,
            metrics: vec![
                Metric::gauge(vec![], 1.0),
                Metric::gauge(vec![Label::new("a", "x\"\\\n"), Label::new("k", "ü")], 2.5),
            ],
        };
        let block = LabelBlock::of_group(&key(&[("job", "j"), ("zone", "z")]));
        assert_eq!(
            render(&family, &block),
            "# HELP m two\\nlines \\\\ \"quoted\"\n# TYPE m gauge\n\
             m{instance=\"\",job=\"j\",zone=\"z\"} 1\n\
             m{a=\"x\\\"\\\\\\n\",instance=\"\",job=\"j\",k=\"ü\",zone=\"z\"} 2.5\n"
        );
        assert!(render(&family, &LabelBlock::empty()).contains("\nm 1\n"));
    }

    /// Found by fuzzing: such a push was one that no scraper could read, nor any other with it.
    #[test]
    fn a_label_with_a_colon_is_quoted() {
        let family = MetricFamily {
            name: "m:n".into(),
            kind: MetricType::Gauge,
            metrics: vec![Metric::gauge(vec![Label::new("a:b", "c")], 1.0)],
            ..MetricFamily::default()
        };
        let text = render(&family, &LabelBlock::empty());
        assert_eq!(text, "# TYPE m:n gauge\nm:n{\"a:b\"=\"c\"} 1\n");
        assert_eq!(parse(text.as_bytes(), NameRules::Utf8), Ok(vec![family]));
    }

    #[test]
    fn histograms_get_an_infinite_bucket_and_summaries_their_sums() {
        let histogram = Histogram {
            count: Some(3),
            sum: Some(1.5),
            buckets: vec![Bucket {
                cumulative_count: Some(2),
                upper_bound: 0.5,
                ..Bucket::default()
            }],
            ..Histogram::default()
        };
        let summary = Summary {
            quantiles: vec![Quantile { quantile: 0.9, value: f64::NAN }],
            ..Summary::default()
        };
        let family = |kind, value| MetricFamily {
            name: "m".into(),
            kind,
            metrics: vec![Metric { labels: vec![], value, timestamp_ms: None }],
            ..MetricFamily::default()
        };
        let family_of = |kind| family(kind, MetricValue::Histogram(Box::new(histogram.clone())));
        assert_eq!(
            render(&family_of(MetricType::GaugeHistogram), &LabelBlock::empty()),
            "# TYPE m histogram\nm_bucket{le=\"0.5\"} 2\nm_bucket{le=\"+Inf\"} 3\nm_sum 1.5\nm_count 3\n"
        );
        let summary = family(MetricType::Summary, MetricValue::Summary(Box::new(summary)));
        assert_eq!(
            render(&summary, &LabelBlock::empty()),
            "# TYPE m summary\nm{quantile=\"0.9\"} NaN\nm_sum 0\nm_count 0\n"
        );
    }

    fn families() -> impl Strategy<Value = MetricFamily> {
        let label = ("[a-d]{1,2}", ".{0,6}").prop_map(|(name, value)| Label::new(name, value));
        let labels = prop::collection::vec(label, 0..4).prop_map(|mut labels| {
            labels.sort();
            labels.dedup_by(|a, b| a.name == b.name);
            labels
        });
        let value = any::<f64>().prop_filter("NaN equals nothing", |value| !value.is_nan());
        let metric = (labels, value).prop_map(|(labels, value)| Metric::gauge(labels, value));
        // A line that ends in a carriage return ends before it.
        let help = "[^ \t\r\n].{0,12}[^\r\n]";
        ("[a-z:_]{1,8}", prop::option::of(help), prop::collection::vec(metric, 1..4)).prop_map(
            |(name, help, metrics)| MetricFamily {
                name,
                help,
                kind: MetricType::Gauge,
                unit: None,
                metrics,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_rendered_parses_to_the_same(family in families()) {
            let body = render(&family, &LabelBlock::empty());
            prop_assert_eq!(parse(body.as_bytes(), NameRules::Legacy).unwrap(), vec![family]);
        }
    }
}
