//! Conversion of kept text into the other formats.

use bytes::Bytes;

use crate::exposition::openmetrics::Stance;
use crate::exposition::protobuf::{encode, prototext};
use crate::exposition::text::{self, LabelBlock, line};
use crate::exposition::{Format, ScrapeFormat, openmetrics};
use crate::gateway::segment::Segment;
use crate::model::{Escaping, MetricFamily, MetricType};

/// The name and the stance of a family.
#[derive(Clone, Copy, Debug)]
pub(super) struct FamilyName<'a> {
    pub(super) name: &'a str,
    pub(super) help: Option<&'a str>,
    pub(super) kind: MetricType,
    pub(super) native: bool,
    /// How it is said in OpenMetrics.
    pub(super) stance: Stance,
}

impl FamilyName<'_> {
    /// The bytes before the metrics; in protobuf without the length of the whole.
    pub(super) fn header(self, to: ScrapeFormat) -> Bytes {
        let Self { name, help, kind, native, stance } = self;
        let mut out = Vec::new();
        match to.format {
            Format::Text => return text::header(&to.escaping.apply(name), help, kind).into(),
            Format::OpenMetrics(_) => {
                return openmetrics::header(name, help, kind, to.escaping, stance).into();
            }
            Format::Protobuf => {
                // Of classic ones Prometheus 2.42 takes all samples for one.
                let kind = match kind {
                    MetricType::GaugeHistogram if !native => MetricType::Histogram,
                    kind => kind,
                };
                return encode::header(name, help, kind, to.escaping).into();
            }
            Format::ProtobufText => {
                prototext::header(
                    &mut out,
                    prototext::Layout::Lines,
                    name,
                    help,
                    kind,
                    to.escaping,
                );
            }
            Format::ProtobufCompact => {
                let layout = prototext::Layout::Compact;
                prototext::header(&mut out, layout, name, help, kind, to.escaping);
            }
        }
        out.into()
    }

    /// The bytes after the metrics.
    pub(super) fn end(to: ScrapeFormat) -> &'static [u8] {
        match to.format {
            Format::ProtobufText | Format::ProtobufCompact => prototext::end(),
            Format::Text | Format::Protobuf | Format::OpenMetrics(_) => b"",
        }
    }

    /// The metrics of a segment.
    pub(super) fn segment(self, to: ScrapeFormat, segment: &Segment) -> Bytes {
        let mut out = Vec::with_capacity(segment.bytes().len());
        match to.format {
            Format::Text => {
                line::push_escaped_names(&mut out, segment.bytes(), self.name, to.escaping);
            }
            Format::Protobuf => self.push_protobuf(&mut out, segment, to.escaping),
            Format::ProtobufText | Format::ProtobufCompact | Format::OpenMetrics(_) => {
                let mut metrics = Vec::with_capacity(segment.bytes().len());
                self.push_protobuf(&mut metrics, segment, Escaping::AllowUtf8);
                self.push_from_protobuf(&mut out, to, &metrics);
            }
        }
        out.into()
    }

    fn push_protobuf(self, out: &mut Vec<u8>, segment: &Segment, escaping: Escaping) {
        if segment.is_whole_in_text() {
            encode::metrics_from_text(out, segment.bytes(), self.kind, escaping);
            return;
        }
        for (lines, protobuf) in segment.entries() {
            match protobuf {
                None => encode::metrics_from_text(out, lines, self.kind, escaping),
                // Nearly always there is nothing to escape.
                Some(protobuf) if !line::may_have_quoted_names(lines) => {
                    out.extend_from_slice(protobuf);
                }
                Some(protobuf) => encode::push_escaped_metrics(out, protobuf, escaping),
            }
        }
    }

    /// Metrics with their names as they were pushed, to one of the formats for people.
    fn push_from_protobuf(self, out: &mut Vec<u8>, to: ScrapeFormat, metrics: &[u8]) {
        let mut escaped = Vec::new();
        match to.format {
            Format::OpenMetrics(_) => {
                if let Ok(family) = encode::family(self.name, None, self.kind, metrics) {
                    openmetrics::lines(out, &family, to.escaping, self.stance);
                }
            }
            Format::ProtobufText | Format::ProtobufCompact => {
                encode::push_escaped_metrics(&mut escaped, metrics, to.escaping);
                let layout = if to.format == Format::ProtobufText {
                    prototext::Layout::Lines
                } else {
                    prototext::Layout::Compact
                };
                prototext::metrics(out, layout, &escaped);
            }
            Format::Text | Format::Protobuf => out.extend_from_slice(metrics),
        }
    }
}

/// The metrics of a family of the gateway itself.
pub(super) fn own_metrics(to: ScrapeFormat, family: &MetricFamily) -> Bytes {
    let mut out = Vec::new();
    if to.format == Format::Text {
        text::lines(&mut out, family, &LabelBlock::empty());
        return out.into();
    }
    let mut metrics = Vec::new();
    for metric in &family.metrics {
        let labels = metric.labels.iter().map(|l| (l.name.as_str(), l.value.as_str()));
        encode::metric(&mut metrics, metric, labels);
    }
    own_name(family).push_from_protobuf(&mut out, to, &metrics);
    out.into()
}

pub(super) fn own_name(family: &MetricFamily) -> FamilyName<'_> {
    let help = family.help.as_deref();
    FamilyName {
        name: &family.name,
        help,
        kind: family.kind,
        native: false,
        stance: Stance::Itself,
    }
}
