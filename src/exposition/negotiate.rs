//! Which format and which encoding a scraper gets, by what it says that it accepts.
//!
//! Follows `expfmt.Negotiate` and `httputil.NegotiateContentEncoding`, which the Go Pushgateway
//! answers by.

use std::fmt;

use crate::model::Escaping;

/// A format of the exposition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    #[default]
    Text,
    /// Messages, each behind its length.
    Protobuf,
    /// Messages as text, a field a line.
    ProtobufText,
    /// Messages as text, a family a line.
    ProtobufCompact,
    OpenMetrics(OpenMetricsVersion),
}

/// A version of OpenMetrics. Only the name that is sent differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenMetricsVersion {
    V0_0_1,
    V1_0_0,
}

/// A format, and what becomes of names beyond the legacy charset in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScrapeFormat {
    pub format: Format,
    pub escaping: Escaping,
}

/// How a response is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ContentEncoding {
    #[default]
    Identity,
    Gzip,
    Zstd,
}

/// A clause of an `Accept` header.
#[derive(Debug, PartialEq)]
struct Clause<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f64,
    parameters: Vec<(&'a str, &'a str)>,
}

impl ScrapeFormat {
    /// The format for an `Accept` header. OpenMetrics only where it is offered.
    pub fn negotiate(accept: &str, openmetrics: bool) -> Self {
        let mut clauses: Vec<_> = accept.split(',').filter_map(Clause::parse).collect();
        sort(&mut clauses);
        // Of every clause that is looked at, whether it is the one that is chosen or not.
        let mut escaping = Escaping::default();
        for clause in &clauses {
            if let Some(scheme) = clause.parameter("escaping").and_then(Escaping::from_name) {
                escaping = scheme;
            }
            if let Some(format) = clause.format(openmetrics) {
                return Self { format, escaping };
            }
        }
        Self { format: Format::Text, escaping }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> String {
        format!("{}; escaping={}", self.format, self.escaping.as_str())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PROTOBUF: &str =
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=";
        match self {
            Self::Text => f.write_str("text/plain; version=0.0.4; charset=utf-8"),
            Self::Protobuf => write!(f, "{PROTOBUF}delimited"),
            Self::ProtobufText => write!(f, "{PROTOBUF}text"),
            Self::ProtobufCompact => write!(f, "{PROTOBUF}compact-text"),
            Self::OpenMetrics(version) => {
                let version = match version {
                    OpenMetricsVersion::V0_0_1 => "0.0.1",
                    OpenMetricsVersion::V1_0_0 => "1.0.0",
                };
                write!(f, "application/openmetrics-text; version={version}; charset=utf-8")
            }
        }
    }
}

impl<'a> Clause<'a> {
    /// As `goautoneg.ParseAccept` reads it.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';');
        let (kind, subtype) = match parts.next()?.trim().split_once('/') {
            Some((kind, subtype)) if !subtype.contains('/') => (kind.trim(), subtype.trim()),
            None if text.trim().starts_with('*') => ("*", "*"),
            _ => return None,
        };
        let mut clause = Self { kind, subtype, quality: 1.0, parameters: Vec::new() };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let (name, value) = (name.trim(), value.trim());
            if name == "q" {
                clause.quality = value.parse().unwrap_or(0.0);
            } else {
                clause.parameters.push((name, value));
            }
        }
        Some(clause)
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().rev().find(|parameter| parameter.0 == name).map(|found| found.1)
    }

    fn format(&self, openmetrics: bool) -> Option<Format> {
        let version = self.parameter("version").unwrap_or("");
        match (self.kind, self.subtype) {
            ("application", "vnd.google.protobuf")
                if self.parameter("proto") == Some("io.prometheus.client.MetricFamily") =>
            {
                match self.parameter("encoding")? {
                    "delimited" => Some(Format::Protobuf),
                    "text" => Some(Format::ProtobufText),
                    "compact-text" => Some(Format::ProtobufCompact),
                    _ => None,
                }
            }
            ("text", "plain") if matches!(version, "" | "0.0.4") => Some(Format::Text),
            ("application", "openmetrics-text") if openmetrics => match version {
                "1.0.0" => Some(Format::OpenMetrics(OpenMetricsVersion::V1_0_0)),
                "" | "0.0.1" => Some(Format::OpenMetrics(OpenMetricsVersion::V0_0_1)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it comes before another: where it is preferred, or where the other is a wildcard.
    fn precedes(&self, other: &Self) -> bool {
        self.quality > other.quality
            || (self.kind != "*" && other.kind == "*")
            || (self.subtype != "*" && other.subtype == "*")
    }
}

/// An insertion sort, as Go's is for so few: the order is not a consistent one, so that the steps
/// decide.
fn sort(clauses: &mut [Clause<'_>]) {
    for end in 1..clauses.len() {
        for at in (1..=end).rev() {
            let (Some(left), Some(right)) = (clauses.get(at - 1), clauses.get(at)) else { break };
            if !right.precedes(left) {
                break;
            }
            clauses.swap(at - 1, at);
        }
    }
}

impl ContentEncoding {
    /// The encoding for the values of `Accept-Encoding`. A tie goes to identity, then to gzip; where
    /// nothing is acceptable, it is identity all the same.
    pub fn negotiate<'a>(accepted: impl Iterator<Item = &'a str>) -> Self {
        let clauses: Vec<_> = accepted.flat_map(encodings).collect();
        let (mut best, mut best_quality) = (Self::Identity, 0.0);
        for offer in [Self::Identity, Self::Gzip, Self::Zstd] {
            for (name, quality) in &clauses {
                if *quality > best_quality && (*name == "*" || *name == offer.as_str()) {
                    (best, best_quality) = (offer, *quality);
                }
            }
        }
        best
    }

    /// Its name in `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Names and qualities in a value of `Accept-Encoding`, up to what is malformed
/// (`header.ParseAccept`).
fn encodings(value: &str) -> Vec<(&str, f64)> {
    let is_name = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"[]?={}".contains(&byte);
    let mut found = Vec::new();
    let mut rest = value.trim_start_matches([' ', '\t']);
    loop {
        let end = rest.bytes().position(|byte| !is_name(byte)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() {
            return found;
        }
        rest = after.trim_start_matches([' ', '\t']);
        let mut quality = 1.0;
        if let Some(parameter) = rest.strip_prefix(';') {
            let parameter = parameter.trim_start_matches([' ', '\t']);
            let Some((number, after)) = parameter.strip_prefix("q=").and_then(self::quality) else {
                return found;
            };
            (quality, rest) = (number, after.trim_start_matches([' ', '\t']));
        }
        found.push((name, quality));
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start_matches([' ', '\t']),
            None => return found,
        }
    }
}

/// A number from 0 to 1, and a bit, and what follows it.
fn quality(text: &str) -> Option<(f64, &str)> {
    let whole = match text.bytes().next()? {
        b'0' => 0.0,
        b'1' => 1.0,
        _ => return None,
    };
    let rest = text.get(1..)?;
    let Some(fraction) = rest.strip_prefix('.') else { return Some((whole, rest)) };
    let end = fraction.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(fraction.len());
    let (digits, rest) = fraction.split_at(end);
    Some((whole + format!("0.{digits}0").parse::<f64>().unwrap_or(0.0), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_negotiated_as_in_prometheus() {
        const PROTOBUF: &str =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily";
        let text = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
        let delimited = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=";
        for (accept, expected) in [
            (String::new(), text.to_owned()),
            ("*/*".into(), text.into()),
            ("*".into(), text.into()),
            ("text/plain;version=1.0.0".into(), text.into()),
            ("application/openmetrics-text;version=1.0.0".into(), text.into()),
            (format!("{PROTOBUF};encoding=delimited"), format!("{delimited}underscores")),
            (format!("{PROTOBUF};encoding=delimited;q=0.1,text/plain"), text.into()),
            (format!("text/plain;q=0.5,{PROTOBUF};encoding=delimited;escaping=values"),
                format!("{delimited}values")),
            (format!("{PROTOBUF};encoding=other"), text.into()),
            (
                format!("{PROTOBUF};encoding=compact-text"),
                delimited.replace("delimited", "compact-text") + "underscores",
            ),
            ("*/*;q=0.9,text/plain;escaping=dots;q=0.1".into(), text.replace("underscores", "dots")),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5".into(),
                text.replace("underscores", "allow-utf-8"),
            ),
            ("text/plain;escaping=unknown".into(), text.into()),
        ] {
            let format = ScrapeFormat::negotiate(&accept, false);
            assert_eq!(format.content_type(), expected, "{accept}");
        }
    }

    #[test]
    fn openmetrics_is_given_where_it_is_offered() {
        for (version, expected) in
            [("version=1.0.0", "1.0.0"), ("version=0.0.1", "0.0.1"), ("", "0.0.1")]
        {
            let accept = format!("application/openmetrics-text;{version},text/plain;q=0.5");
            let found = ScrapeFormat::negotiate(&accept, true).content_type();
            assert_eq!(
                found,
                format!(
                    "application/openmetrics-text; version={expected}; charset=utf-8; escaping=underscores"
                )
            );
        }
        let unknown = ScrapeFormat::negotiate("application/openmetrics-text;version=2.0.0", true);
        assert_eq!(unknown.format, Format::Text);
    }

    #[test]
    fn encodings_are_negotiated_by_preference() {
        use ContentEncoding::{Gzip, Identity, Zstd};
        for (value, expected) in [
            ("gzip", Gzip),
            ("gzip, deflate, br", Gzip),
            ("identity", Identity),
            ("", Identity),
            ("*", Identity),
            ("gzip;q=0", Identity),
            ("gzip;q=0.5, identity", Identity),
            ("gzip, identity", Identity),
            ("gzip;q=0.8, identity;q=0.2", Gzip),
            ("deflate, gzip ; q=0.1", Gzip),
            // As in Go, names are taken to the letter.
            ("GZIP", Identity),
            (", gzip", Identity),
            ("nonsense;q=;,gzip", Identity),
            ("zstd", Zstd),
            ("zstd, gzip", Gzip),
            ("zstd;q=1, gzip;q=0.9", Zstd),
        ] {
            assert_eq!(ContentEncoding::negotiate([value].into_iter()), expected, "{value}");
        }
        assert_eq!(ContentEncoding::negotiate(std::iter::empty()), Identity);
    }
}
