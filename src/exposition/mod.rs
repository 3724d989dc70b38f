//! The formats in which metrics travel: text 0.0.4 and delimited protobuf in; text, protobuf in its
//! three forms, and OpenMetrics out.
//!
//! Promises
//! - Parsing takes the whole body or none of it, and never panics (property tests in the parsers).
//! - Rendering gives the same bytes for the same input.
//!
//! Deliberately absent
//! - No sockets, no store, no clock. What a push changes is none of this module's business.

pub mod error;
pub mod gob;
pub mod gzip;
pub mod negotiate;
pub mod number;
pub mod openmetrics;
pub mod persistence;
pub mod protobuf;
pub mod text;
pub mod zstd;

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
            // What Go cannot read as a media type is none.
            let Some((name, value)) = parameter.split_once('=') else { return Self::Text };
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            encoding |= name.eq_ignore_ascii_case("encoding") && value == "delimited";
            proto |=
                name.eq_ignore_ascii_case("proto") && value == "io.prometheus.client.MetricFamily";
        }
        if protobuf && encoding && proto { Self::Protobuf } else { Self::Text }
    }

    /// Parses a push body into families with names that differ, in the order of the body.
    pub fn parse(self, body: &[u8], names: NameRules) -> Result<Vec<MetricFamily>, ParseError> {
        match self {
            Self::Text => text::parse(body, names),
            Self::Protobuf => protobuf::decode(body, names),
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
