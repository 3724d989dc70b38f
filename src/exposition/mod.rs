//! The formats in which metrics travel: text 0.0.4 and delimited protobuf in; text, protobuf in its
//! three forms, and OpenMetrics out.
//!
//! Promises
//! - Parsing takes the whole body or none of it, and never panics (property tests in the parsers).
//! - Rendering gives the same bytes for the same input.
//!
//! Deliberately absent
//! - No sockets, no store, no clock. The effect of a push is none of this module's business.

pub mod budget;
pub mod error;
pub mod gob;
pub mod gzip;
pub mod negotiate;
pub mod number;
pub mod openmetrics;
pub mod persistence;
pub mod protobuf;
pub mod push_path;
pub mod text;
pub mod zstd;

pub use budget::{Budget, ParseLimits};
pub use error::ParseError;
pub use negotiate::{ContentEncoding, Format, ScrapeFormat};

use crate::model::{MetricFamily, NameRules};

/// The body formats of a push. `Content-Type` alone decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushFormat {
    Text,
    Protobuf,
}

impl PushFormat {
    /// The format of a push with this `Content-Type`: protobuf if it says so in full, else text
    /// (Go Pushgateway, `handler.Push`).
    pub fn from_content_type(content_type: Option<&str>) -> Self {
        let mut parts = content_type.unwrap_or("").split(';').map(str::trim);
        let protobuf = parts
            .next()
            .is_some_and(|media| media.eq_ignore_ascii_case("application/vnd.google.protobuf"));
        let (mut encoding, mut proto) = (false, false);
        for parameter in parts {
            if parameter.is_empty() {
                continue;
            }
            // A text that Go cannot read as a media type is none.
            let Some((name, value)) = parameter.split_once('=') else { return Self::Text };
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            encoding |= name.eq_ignore_ascii_case("encoding") && value == "delimited";
            proto |=
                name.eq_ignore_ascii_case("proto") && value == "io.prometheus.client.MetricFamily";
        }
        if protobuf && encoding && proto { Self::Protobuf } else { Self::Text }
    }

    /// A parser of a body of this format, within a budget.
    pub fn parser(self, names: NameRules, budget: Budget<'_>) -> PushParser<'_> {
        match self {
            Self::Text => PushParser::Text(text::TextParser::new(names, budget)),
            Self::Protobuf => PushParser::Protobuf(protobuf::ProtobufParser::new(names, budget)),
        }
    }

    /// Parses a whole body that comes from no client into families with names that differ, in the
    /// order of the body.
    pub fn parse(self, body: &[u8], names: NameRules) -> Result<Vec<MetricFamily>, ParseError> {
        match self {
            Self::Text => text::parse(body, names),
            Self::Protobuf => protobuf::decode(body, names),
        }
    }
}

/// Why a body may be none of these formats, by how it begins: what it seems to be, and what to do.
pub fn likely_cause(body: &[u8]) -> Option<&'static str> {
    const BEGINS: [(&[u8], &str); 5] = [
        (b"\x1f\x8b", "it begins as gzip does: send it with Content-Encoding: gzip"),
        (b"\x28\xb5\x2f\xfd", "it begins as zstd does: send it with Content-Encoding: zstd"),
        (
            b"\xff\x06\x00\x00sNaPpY",
            "it begins as snappy does: send it with Content-Encoding: snappy",
        ),
        (b"\xff\xfe", "it is UTF-16: send it as UTF-8"),
        (b"\xfe\xff", "it is UTF-16: send it as UTF-8"),
    ];
    let begins = BEGINS.iter().find(|(begin, _)| body.starts_with(begin));
    let wide = || body.get(..4).is_some_and(|first| matches!(first, [_, 0, _, 0] | [0, _, 0, _]));
    match begins {
        Some((_, cause)) => Some(cause),
        None => wide().then_some("it is UTF-16: send it as UTF-8"),
    }
}

/// Parses the body of a push as it comes.
#[derive(Debug)]
pub enum PushParser<'b> {
    Text(text::TextParser<'b>),
    Protobuf(protobuf::ProtobufParser<'b>),
}

impl PushParser<'_> {
    /// Parses what is whole of what there is by now.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), ParseError> {
        match self {
            Self::Text(parser) => parser.feed(chunk),
            Self::Protobuf(parser) => parser.feed(chunk),
        }
    }

    /// Families with names that differ, in the order of the body.
    pub fn finish(self) -> Result<Vec<MetricFamily>, ParseError> {
        match self {
            Self::Text(parser) => parser.finish(),
            Self::Protobuf(parser) => parser.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_full_protobuf_content_type_is_protobuf() {
        let full = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
        let other_order = "Application/VND.google.protobuf;ENCODING=delimited;x=y;proto=\"io.prometheus.client.MetricFamily\"";
        for content_type in [full, other_order] {
            assert_eq!(PushFormat::from_content_type(Some(content_type)), PushFormat::Protobuf);
        }
        for content_type in [
            "",
            "text/plain",
            "application/vnd.google.protobuf",
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(PushFormat::from_content_type(Some(content_type)), PushFormat::Text);
        }
        assert_eq!(PushFormat::from_content_type(None), PushFormat::Text);
    }
}
