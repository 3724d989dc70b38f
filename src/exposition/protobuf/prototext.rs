//! Families in protobuf's own text form, for people: one field a line, or one family a line.
//!
//! Go writes this form with spaces that differ from build to build on purpose; so nobody may depend
//! on more than the fields and their order.

use prost::Message;

use super::messages as wire;
use crate::exposition::number::push_float;
use crate::model::{Escaping, MetricType};

/// How fields are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Lines,
    Compact,
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    layout: Layout,
    depth: usize,
}

/// Appends the fields of a family but its metrics.
pub fn header(
    out: &mut Vec<u8>,
    layout: Layout,
    name: &str,
    help: Option<&str>,
    kind: MetricType,
    escaping: Escaping,
) {
    let mut writer = Writer { out, layout, depth: 0 };
    writer.string("name", Some(&escaping.apply(name)));
    writer.string("help", help);
    writer.raw("type", kind.as_proto_name().as_bytes());
}

/// Appends metrics that were encoded as fields of a family.
pub fn metrics(out: &mut Vec<u8>, layout: Layout, metrics: &[u8]) {
    let Ok(family) = wire::MetricFamily::decode(metrics) else { return };
    let mut writer = Writer { out, layout, depth: 0 };
    for metric in &family.metric {
        writer.message("metric", |writer| writer.metric(metric));
    }
}

/// The end of a family.
pub fn end() -> &'static [u8] {
    b"\n"
}

impl Writer<'_> {
    fn name(&mut self, name: &str) {
        if self.layout == Layout::Lines {
            self.out.resize(self.out.len() + 2 * self.depth, b' ');
        }
        self.out.extend_from_slice(name.as_bytes());
    }

    fn end(&mut self) {
        self.out.push(if self.layout == Layout::Lines { b'\n' } else { b' ' });
    }

    fn raw(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value);
        self.end();
    }

    fn string(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        let mut quoted = Vec::with_capacity(value.len() + 2);
        quoted.push(b'"');
        for byte in value.bytes() {
            match byte {
                b'"' | b'\\' => quoted.extend_from_slice(&[b'\\', byte]),
                b'\n' => quoted.extend_from_slice(b"\\n"),
                b'\r' => quoted.extend_from_slice(b"\\r"),
                b'\t' => quoted.extend_from_slice(b"\\t"),
                0..0x20 | 0x7f => quoted.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
                other => quoted.push(other),
            }
        }
        quoted.push(b'"');
        self.raw(name, &quoted);
    }

    fn integer<T: ToString>(&mut self, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.raw(name, value.to_string().as_bytes());
        }
    }

    fn double(&mut self, name: &str, value: Option<f64>) {
        let Some(value) = value else { return };
        let mut text = Vec::with_capacity(24);
        match value {
            f64::INFINITY => text.extend_from_slice(b"inf"),
            f64::NEG_INFINITY => text.extend_from_slice(b"-inf"),
            value if value.is_nan() => text.extend_from_slice(b"nan"),
            value => push_float(&mut text, value),
        }
        self.raw(name, &text);
    }

    fn message(&mut self, name: &str, fields: impl FnOnce(&mut Self)) {
        self.name(name);
        self.out.extend_from_slice(b": {");
        self.out.extend_from_slice(if self.layout == Layout::Lines { b"\n" } else { b" " });
        self.depth += 1;
        fields(self);
        self.depth -= 1;
        self.name("}");
        self.end();
    }

    fn metric(&mut self, metric: &wire::Metric) {
        self.labels(&metric.label);
        for (name, value) in [("gauge", &metric.gauge), ("untyped", &metric.untyped)] {
            if let Some(value) = value {
                self.message(name, |writer| writer.double("value", value.value));
            }
        }
        if let Some(counter) = &metric.counter {
            self.message("counter", |writer| {
                writer.double("value", counter.value);
                writer.exemplar("exemplar", counter.exemplar.as_ref());
                writer.timestamp("created_timestamp", counter.created_timestamp);
            });
        }
        if let Some(summary) = &metric.summary {
            self.message("summary", |writer| writer.summary(summary));
        }
        if let Some(histogram) = &metric.histogram {
            self.message("histogram", |writer| writer.histogram(histogram));
        }
        self.integer("timestamp_ms", metric.timestamp_ms);
    }

    fn labels(&mut self, labels: &[wire::LabelPair]) {
        for label in labels {
            self.message("label", |writer| {
                writer.string("name", label.name.as_deref());
                writer.string("value", label.value.as_deref());
            });
        }
    }

    fn exemplar(&mut self, name: &str, exemplar: Option<&wire::Exemplar>) {
        let Some(exemplar) = exemplar else { return };
        self.message(name, |writer| {
            writer.labels(&exemplar.label);
            writer.double("value", exemplar.value);
            writer.timestamp("timestamp", exemplar.timestamp);
        });
    }

    fn timestamp(&mut self, name: &str, timestamp: Option<wire::Timestamp>) {
        let Some(timestamp) = timestamp else { return };
        self.message(name, |writer| {
            writer.integer("seconds", Some(timestamp.seconds));
            writer.integer("nanos", Some(timestamp.nanos));
        });
    }

    fn summary(&mut self, summary: &wire::Summary) {
        self.integer("sample_count", summary.sample_count);
        self.double("sample_sum", summary.sample_sum);
        for quantile in &summary.quantile {
            self.message("quantile", |writer| {
                writer.double("quantile", quantile.quantile);
                writer.double("value", quantile.value);
            });
        }
        self.timestamp("created_timestamp", summary.created_timestamp);
    }

    fn histogram(&mut self, histogram: &wire::Histogram) {
        self.integer("sample_count", histogram.sample_count);
        self.double("sample_count_float", histogram.sample_count_float);
        self.double("sample_sum", histogram.sample_sum);
        for bucket in &histogram.bucket {
            self.message("bucket", |writer| {
                writer.integer("cumulative_count", bucket.cumulative_count);
                writer.double("cumulative_count_float", bucket.cumulative_count_float);
                writer.double("upper_bound", bucket.upper_bound);
                writer.exemplar("exemplar", bucket.exemplar.as_ref());
            });
        }
        self.timestamp("created_timestamp", histogram.created_timestamp);
        self.integer("schema", histogram.schema);
        self.double("zero_threshold", histogram.zero_threshold);
        self.integer("zero_count", histogram.zero_count);
        self.double("zero_count_float", histogram.zero_count_float);
        let (spans, deltas) = (&histogram.negative_span, &histogram.negative_delta);
        self.native("negative", spans, deltas, &histogram.negative_count);
        let (spans, deltas) = (&histogram.positive_span, &histogram.positive_delta);
        self.native("positive", spans, deltas, &histogram.positive_count);
        for exemplar in &histogram.exemplars {
            self.exemplar("exemplars", Some(exemplar));
        }
    }

    fn native(&mut self, sign: &str, spans: &[wire::BucketSpan], deltas: &[i64], counts: &[f64]) {
        for span in spans {
            self.message(&format!("{sign}_span"), |writer| {
                writer.integer("offset", span.offset);
                writer.integer("length", span.length);
            });
        }
        for delta in deltas {
            self.integer(&format!("{sign}_delta"), Some(*delta));
        }
        for count in counts {
            self.double(&format!("{sign}_count"), Some(*count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_with_the_names_of_their_fields() {
        let metric = wire::Metric {
            label: vec![wire::LabelPair { name: Some("a".into()), value: Some("\"\n".into()) }],
            gauge: Some(wire::Value { value: Some(f64::NEG_INFINITY) }),
            ..wire::Metric::default()
        };
        let family = wire::MetricFamily { metric: vec![metric], ..wire::MetricFamily::default() };
        let text = |layout| {
            let mut out = Vec::new();
            header(&mut out, layout, "m", Some("h"), MetricType::Gauge, Escaping::default());
            metrics(&mut out, layout, &family.encode_to_vec());
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(Layout::Lines),
            "name: \"m\"\nhelp: \"h\"\ntype: GAUGE\nmetric: {\n  label: {\n    name: \"a\"\n    \
             value: \"\\\"\\n\"\n  }\n  gauge: {\n    value: -inf\n  }\n}\n"
        );
        assert_eq!(
            text(Layout::Compact),
            "name: \"m\" help: \"h\" type: GAUGE metric: { label: { name: \"a\" value: \"\\\"\\n\" \
             } gauge: { value: -inf } } "
        );
    }
}
