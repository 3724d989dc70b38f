//! From method and path to what is asked for. Follows `handler.splitLabels` and
//! `handler.decodeBase64` of the Go Pushgateway for the grouping key.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::Method;
use percent_encoding::percent_decode_str;
use thiserror::Error;

use super::rejection::Rejection;
use crate::gateway::PushMode;
use crate::model::name::{is_label_name, is_reserved_label_name};
use crate::model::{GroupingKey, GroupingKeyError, Label};

/// What a request asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Route {
    Push(GroupingKey, PushMode),
    Delete(GroupingKey),
    Scrape,
    Healthy,
    Ready,
    /// Which methods there are for a path.
    Options {
        allow: &'static str,
    },
}

/// Why a push path is no grouping key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum RouteError {
    #[error("the path is not valid UTF-8 once it is percent-decoded: {0:?}")]
    NotUtf8(String),
    #[error("odd number of components in label string {0:?}")]
    OddComponents(String),
    #[error("improper label name {0:?}")]
    LabelName(String),
    #[error("invalid base64 encoding for label {name}={value:?}: {reason}")]
    LabelBase64 { name: String, value: String, reason: String },
    #[error("invalid base64 encoding in job name {job:?}: {reason}")]
    JobBase64 { job: String, reason: String },
    #[error(transparent)]
    Key(#[from] GroupingKeyError),
}

const PUSH_PREFIX: &str = "/metrics/job";
const BASE64_SUFFIX: &str = "@base64";

const PUSH_METHODS: &str = "DELETE, OPTIONS, POST, PUT";
const READ_METHODS: &str = "GET, HEAD, OPTIONS";

/// Accepts padding and does without, as Go's `RawURLEncoding` does here once padding is cut.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Finds what `method` on the still encoded `path` asks for.
pub(super) fn route(method: &Method, path: &str) -> Result<Route, Rejection> {
    // Routing is on the decoded path: an encoded slash separates as any other.
    let path =
        percent_decode_str(path).decode_utf8().map_err(|_| RouteError::NotUtf8(path.to_owned()))?;
    if let Some(rest) = push_path(&path) {
        return match *method {
            Method::PUT => Ok(Route::Push(grouping_key(rest)?, PushMode::Replace)),
            Method::POST => Ok(Route::Push(grouping_key(rest)?, PushMode::Update)),
            Method::DELETE => Ok(Route::Delete(grouping_key(rest)?)),
            Method::OPTIONS => Ok(Route::Options { allow: PUSH_METHODS }),
            _ => Err(Rejection::MethodNotAllowed { allow: PUSH_METHODS }),
        };
    }
    let route = match &*path {
        "/metrics" => Route::Scrape,
        "/-/healthy" => Route::Healthy,
        "/-/ready" => Route::Ready,
        _ => return Err(Rejection::NotFound),
    };
    match *method {
        Method::GET | Method::HEAD => Ok(route),
        Method::OPTIONS => Ok(Route::Options { allow: READ_METHODS }),
        _ => Err(Rejection::MethodNotAllowed { allow: READ_METHODS }),
    }
}

/// What follows `/metrics/job`, if that is followed by a job: `/JOB…` or `@base64/JOB…`.
fn push_path(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(PUSH_PREFIX)?;
    let job = rest.strip_prefix(BASE64_SUFFIX).unwrap_or(rest).strip_prefix('/')?;
    (!job.is_empty() && !job.starts_with('/')).then_some(rest)
}

fn grouping_key(rest: &str) -> Result<GroupingKey, RouteError> {
    let (job_is_base64, rest) = match rest.strip_prefix(BASE64_SUFFIX) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let (job, labels) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let job = if job_is_base64 {
        decode_base64(job)
            .map_err(|reason| RouteError::JobBase64 { job: job.to_owned(), reason })?
    } else {
        job.to_owned()
    };
    let mut labels = split_labels(labels)?;
    // Last, so that it counts over a `job` among the labels.
    labels.push(Label::new("job", job));
    Ok(GroupingKey::new(labels)?)
}

fn split_labels(text: &str) -> Result<Vec<Label>, RouteError> {
    if text.len() <= 1 {
        return Ok(Vec::new());
    }
    let components: Vec<&str> = text.strip_prefix('/').unwrap_or(text).split('/').collect();
    let (pairs, odd) = components.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(RouteError::OddComponents(text.to_owned()));
    }
    pairs.iter().map(|[name, value]| label(name, value)).collect()
}

fn label(name: &str, value: &str) -> Result<Label, RouteError> {
    let trimmed = name.strip_suffix(BASE64_SUFFIX).unwrap_or(name);
    if !is_label_name(trimmed) || is_reserved_label_name(trimmed) {
        return Err(RouteError::LabelName(trimmed.to_owned()));
    }
    if trimmed == name {
        return Ok(Label::new(name, value));
    }
    match decode_base64(value) {
        Ok(decoded) => Ok(Label::new(trimmed, decoded)),
        Err(reason) => Err(RouteError::LabelBase64 {
            name: trimmed.to_owned(),
            value: value.to_owned(),
            reason,
        }),
    }
}

fn decode_base64(text: &str) -> Result<String, String> {
    let text: String = text.trim_end_matches('=').replace(['\r', '\n'], "");
    let bytes = BASE64.decode(&text).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, _) => {
            format!("illegal base64 data at input byte {at}")
        }
        _ => format!("illegal base64 data at input byte {}", text.len()),
    })?;
    String::from_utf8(bytes).map_err(|_| "the decoded value is not valid UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(path: &str) -> String {
        match route(&Method::PUT, path) {
            Ok(Route::Push(key, PushMode::Replace)) => key.to_string(),
            other => panic!("{path}: {other:?}"),
        }
    }

    fn error(path: &str) -> String {
        route(&Method::POST, path).expect_err(path).to_string()
    }

    #[test]
    fn push_paths_name_a_group() {
        for (path, expected) in [
            ("/metrics/job/x", r#"{job="x"}"#),
            ("/metrics/job/x/", r#"{job="x"}"#),
            ("/metrics/job/x/instance/i/zone/z", r#"{instance="i",job="x",zone="z"}"#),
            ("/metrics/job/x/zone/z/instance/i", r#"{instance="i",job="x",zone="z"}"#),
            ("/metrics/job/x/instance/", r#"{instance="",job="x"}"#),
            ("/metrics/job/x/a/1/a/2", r#"{a="2",job="x"}"#),
            ("/metrics/job/x/job/y", r#"{job="x"}"#),
            ("/metrics/job/a%20b/k/%C3%BC", r#"{job="a b",k="ü"}"#),
            ("/metrics/job/a+b", r#"{job="a+b"}"#),
            ("/metrics/job/x/a%2Fb", r#"{a="b",job="x"}"#),
            ("/metrics/job@base64/dGVzdC9qb2I", r#"{job="test/job"}"#),
            ("/metrics/job@base64/dGVzdC9qb2I=", r#"{job="test/job"}"#),
            ("/metrics/job/x/path@base64/L3Zhci90bXA", r#"{job="x",path="/var/tmp"}"#),
            ("/metrics/job/x/path@base64/L3Zhci90bXA==", r#"{job="x",path="/var/tmp"}"#),
            ("/metrics/job/x/empty@base64/=", r#"{empty="",job="x"}"#),
            ("/metrics/job/job@base64/instance@base64/YQ", r#"{instance="a",job="job@base64"}"#),
        ] {
            assert_eq!(key(path), expected, "{path}");
        }
    }

    #[test]
    fn paths_that_name_no_group_say_why() {
        for (path, reason) in [
            ("/metrics/job/x/a", "odd number of components in label string \"/a\""),
            ("/metrics/job/x/a/b/c", "odd number of components"),
            ("/metrics/job/x/a-b/1", "improper label name \"a-b\""),
            ("/metrics/job/x/__a/1", "improper label name \"__a\""),
            ("/metrics/job/x//1", "improper label name \"\""),
            ("/metrics/job/x/__a@base64/MQ", "improper label name \"__a\""),
            (
                "/metrics/job/x/a@base64/foo.bar",
                "invalid base64 encoding for label a=\"foo.bar\": illegal base64 data at input byte 3",
            ),
            ("/metrics/job@base64/foo.bar", "invalid base64 encoding in job name \"foo.bar\""),
            ("/metrics/job@base64/=", "job name is required"),
            ("/metrics/job/%FF", "not valid UTF-8"),
            ("/metrics/job/x/a/%FF", "not valid UTF-8"),
            ("/metrics/job/x/a@base64/_w", "not valid UTF-8"),
        ] {
            let error = error(path);
            assert!(error.contains(reason), "{path}: {error}");
        }
    }

    #[test]
    fn methods_and_paths_lead_to_their_routes() {
        assert_eq!(route(&Method::GET, "/metrics").unwrap(), Route::Scrape);
        assert_eq!(route(&Method::HEAD, "/-/ready").unwrap(), Route::Ready);
        assert!(matches!(route(&Method::DELETE, "/metrics/job/x"), Ok(Route::Delete(_))));
        assert!(matches!(
            route(&Method::POST, "/metrics/job/x"),
            Ok(Route::Push(_, PushMode::Update))
        ));
        for path in ["/", "/metrics/", "/metrics/job", "/metrics/job/", "/metrics/jobs/x", "/x"] {
            assert!(matches!(route(&Method::PUT, path), Err(Rejection::NotFound)), "{path}");
        }
        for (method, path, allowed) in [
            (Method::GET, "/metrics/job/x", "DELETE, OPTIONS, POST, PUT"),
            (Method::PUT, "/metrics", "GET, HEAD, OPTIONS"),
            (Method::PATCH, "/-/healthy", "GET, HEAD, OPTIONS"),
        ] {
            match route(&method, path) {
                Err(Rejection::MethodNotAllowed { allow }) => assert_eq!(allow, allowed),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn base64_values_of_every_length_are_understood(value in ".{0,40}", padded: bool) {
            let encoded = if padded {
                base64::engine::general_purpose::URL_SAFE.encode(&value)
            } else {
                base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&value)
            };
            let encoded = if encoded.is_empty() { "=".to_owned() } else { encoded };
            let path = format!("/metrics/job/x/v@base64/{encoded}");
            let Ok(Route::Push(key, _)) = route(&Method::PUT, &path) else { panic!("{path}") };
            prop_assert_eq!(key.get("v"), Some(value.as_str()));
        }

        #[test]
        fn no_path_makes_the_router_panic(path in ".{0,60}") {
            let _ = route(&Method::PUT, &format!("/metrics/job/{path}"));
            let _ = route(&Method::GET, &path);
        }
    }
}
