//! The path of a push: the grammar of a grouping key in a URL. Follows `handler.splitLabels` and
//! `handler.decodeBase64` of the Go Pushgateway.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;

use crate::model::name::{is_reserved_label_name, quoted, unescape};
use crate::model::{Escaping, GroupingKey, GroupingKeyError, Label, NameRules};

/// The path of every push begins with this.
pub const PREFIX: &str = "/metrics/job";
/// The end of the name of a label whose value is in base64.
pub const BASE64_SUFFIX: &str = "@base64";

/// The label of a push path that sets the TTL of the group.
const TTL_LABEL: &str = "__ttl__";

/// Base64 as the Go Pushgateway reads it. Accepts padding and does without, as Go's `RawURLEncoding`
/// does here once padding is cut.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true),
);

/// A group, as the path of a push names it.
#[derive(Clone, Debug, PartialEq)]
pub struct PushPath {
    pub key: GroupingKey,
    /// The value of the label `__ttl__`, which is not part of the key.
    pub ttl: Option<String>,
}

/// Why the path of a push names no group.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PushPathError {
    #[error("the path is not valid UTF-8 once it is percent-decoded: {0:?}")]
    NotUtf8(String),
    #[error(
        "odd number of components in label string {}: a label has a name and a value, and a value that \
         has a slash is written in base64, as in /LABEL@base64/VALUE",
        quoted(.0)
    )]
    OddComponents(String),
    #[error("job name is required: {hint}")]
    NoJob { hint: String },
    #[error("a part of the path {} is empty, or one or two dots: {hint}", quoted(path))]
    EmptyPart { path: String, hint: String },
    #[error("improper label name {}", quoted(.0))]
    LabelName(String),
    #[error("invalid base64 encoding for label {name}={}: {reason}", quoted(value))]
    LabelBase64 { name: String, value: String, reason: String },
    #[error("invalid base64 encoding in job name {}: {reason}", quoted(job))]
    JobBase64 { job: String, reason: String },
    #[error(transparent)]
    Key(#[from] GroupingKeyError),
}

impl PushPath {
    /// Parses what follows [`PREFIX`] in a decoded path, as [`below_job`] gives it.
    pub fn parse(rest: &str, names: NameRules) -> Result<Self, PushPathError> {
        let (job_is_base64, rest) = match rest.strip_prefix(BASE64_SUFFIX) {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let (job, labels) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let job = if job_is_base64 {
            decode_base64(job)
                .map_err(|reason| PushPathError::JobBase64 { job: job.to_owned(), reason })?
        } else {
            job.to_owned()
        };
        let (mut labels, ttl) = split_labels(labels, names)?;
        // Last, so that it counts over a `job` among the labels.
        labels.push(Label::new("job", job));
        Ok(Self { key: GroupingKey::new(labels)?, ttl })
    }
}

/// Whether a path is that of a push without a job, as that of an empty variable is.
pub fn is_empty_job(local: &str) -> bool {
    let rest = local.strip_prefix(PREFIX);
    rest.is_some_and(|rest| rest.strip_prefix(BASE64_SUFFIX).unwrap_or(rest) == "/")
}

/// The rest of a path behind `/metrics/job`, if there is a job: `/JOB…` or `@base64/JOB…`.
pub fn below_job(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(PREFIX)?;
    let job = rest.strip_prefix(BASE64_SUFFIX).unwrap_or(rest).strip_prefix('/')?;
    (!job.is_empty() && !job.starts_with('/')).then_some(rest)
}

/// The grouping key of the path of a push, without a prefix.
pub fn grouping_key_of(path: &str) -> Result<GroupingKey, String> {
    let rest = below_job(path).ok_or_else(|| format!("{path} is no path of a push"))?;
    PushPath::parse(rest, NameRules::Utf8).map(|path| path.key).map_err(|error| error.to_string())
}

/// The path of a push to a group, without a prefix: in base64 what a path may not carry as it is.
pub fn path_of(key: &GroupingKey) -> String {
    let mut path = String::from("/metrics");
    for (name, value) in key.labels_job_first() {
        let name = Escaping::Values.apply(name);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~:".contains(c);
        if value.chars().all(is_plain) && value.contains(|c| c != '.') {
            path.extend(["/", &name, "/", value]);
        } else {
            let encoded = BASE64.encode(value);
            let encoded = if encoded.is_empty() { "=" } else { &encoded };
            path.extend(["/", &name, "@base64/", encoded]);
        }
    }
    path
}

/// The labels, and the TTL that is among them.
fn split_labels(
    text: &str,
    names: NameRules,
) -> Result<(Vec<Label>, Option<String>), PushPathError> {
    let (mut labels, mut ttl) = (Vec::new(), None);
    if text.len() <= 1 {
        return Ok((labels, ttl));
    }
    let components: Vec<&str> = text.strip_prefix('/').unwrap_or(text).split('/').collect();
    let (pairs, odd) = components.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(PushPathError::OddComponents(text.to_owned()));
    }
    for [name, value] in pairs {
        if name.strip_suffix(BASE64_SUFFIX).unwrap_or(name) == TTL_LABEL {
            ttl = Some(label_value(name, value)?);
        } else {
            labels.push(label(name, value, names)?);
        }
    }
    Ok((labels, ttl))
}

fn label(name: &str, value: &str, names: NameRules) -> Result<Label, PushPathError> {
    let trimmed = name.strip_suffix(BASE64_SUFFIX).unwrap_or(name);
    let unescaped = match names {
        NameRules::Legacy => Cow::Borrowed(trimmed),
        NameRules::Utf8 => unescape(trimmed),
    };
    // Both before and after: the Go Pushgateway looks before only, and can no longer be scraped once
    // it has taken a name that is reserved after.
    let reserved = is_reserved_label_name(trimmed) || is_reserved_label_name(&unescaped);
    if reserved || !names.is_label_name(&unescaped) {
        return Err(PushPathError::LabelName(trimmed.to_owned()));
    }
    Ok(Label::new(unescaped, label_value(name, value)?))
}

/// The value of a label, which is in base64 where its name says so.
fn label_value(name: &str, value: &str) -> Result<String, PushPathError> {
    let Some(name) = name.strip_suffix(BASE64_SUFFIX) else { return Ok(value.to_owned()) };
    decode_base64(value).map_err(|reason| PushPathError::LabelBase64 {
        name: name.to_owned(),
        value: value.to_owned(),
        reason,
    })
}

fn decode_base64(text: &str) -> Result<String, String> {
    let trimmed = text.trim_end_matches('=');
    let is_newline = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let digits: Vec<u8> = trimmed.bytes().filter(|byte| !is_newline(byte)).collect();
    let bytes = BASE64.decode(&digits).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) => at,
            // Go names the first digit of the group that is not whole.
            _ => digits.len() - digits.len() % 4,
        };
        let places = trimmed.bytes().enumerate().filter(|(_, byte)| !is_newline(byte));
        let at = places.map(|(place, _)| place).nth(at).unwrap_or(trimmed.len());
        format!("illegal base64 data at input byte {at}")
    })?;
    String::from_utf8(bytes).map_err(|_| "the decoded value is not valid UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_group_leads_back_to_it() {
        for (labels, path) in [
            (
                &[("job", "a/b"), ("empty", ""), ("dotted.name", "x")][..],
                "/metrics/job@base64/YS9i/U__dotted_2e_name/x/empty@base64/=",
            ),
            (&[("job", "db-1.example:9100")], "/metrics/job/db-1.example:9100"),
            (&[("job", ".."), ("of", "ü %2F")], "/metrics/job@base64/Li4/of@base64/w7wgJTJG"),
        ] {
            let labels = labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
            let key = GroupingKey::new(labels).unwrap();
            assert_eq!(path_of(&key), path);
            assert_eq!(grouping_key_of(path).unwrap(), key);
        }
    }
}
