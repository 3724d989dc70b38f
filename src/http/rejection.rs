//! The single table from a failure to what the client is told.

use hyper::header::{
    ACCEPT_ENCODING, ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, StatusCode};
use thiserror::Error;

use super::bounds::HEAD_BYTES_MAX;
use super::reply::{self, Response};
use crate::exposition::ParseError;
use crate::exposition::push_path::PushPathError;
use crate::gateway::{Error, Fault, Refusal};
use crate::model::{Limit, OverBudget};
use crate::store::CommitError;
use crate::telemetry::labels::Reason;

/// Why a request is not served.
#[derive(Debug, Error)]
pub(super) enum Rejection {
    #[error("404 page not found")]
    NotFound,
    /// A path with a percent sign that encodes nothing. As Go's server says it.
    #[error("{text}")]
    BadTarget { text: &'static str },
    /// The same, for whoever may want to push.
    #[error("404 page not found: {hint}")]
    NoPush { hint: String },
    #[error("Method Not Allowed{}{hint}", if hint.is_empty() { "" } else { ": " })]
    MethodNotAllowed { allow: String, hint: String },
    #[error(transparent)]
    Path(#[from] PushPathError),
    #[error("{0}")]
    Ttl(String),
    #[error("the body is larger than {limit} bytes, {when} ({setting})")]
    BodyTooLarge { when: &'static str, setting: Limit, limit: usize },
    #[error(transparent)]
    OverBudget(OverBudget),
    #[error("{limit} clients follow events already (limits.followers); try again later")]
    Followers { limit: usize },
    #[error("the body did not arrive within {seconds} s (limits.body-timeout)")]
    BodyTimeout { seconds: u64 },
    #[error("the body broke off: {0}")]
    BodyBroken(String),
    #[error("cannot decompress the body as {encoding}: {reason}")]
    Encoding { encoding: &'static str, reason: String },
    #[error("Content-Encoding: {name:?} is not known here; expected gzip, snappy or zstd, or none")]
    UnknownEncoding { name: String },
    /// With what the body seems to be, where that can be told.
    #[error("{error}{}", cause.map(|cause| format!(" ({cause})")).unwrap_or_default())]
    Parse { error: ParseError, cause: Option<&'static str> },
    #[error(transparent)]
    Gateway(#[from] Error),
    #[error("Unauthorized")]
    Unauthorized,
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// More than the rate limit of `web.config.file` allows.
    #[error("Too Many Requests")]
    TooMany,
    #[error("too many passwords are to be checked; try again later")]
    Crowded,
    /// Not what HTTP demands of a head. As Go's server says it.
    #[error("400 Bad Request: {0}")]
    Head(&'static str),
    #[error("Unsupported transfer encoding: expected chunked, or a Content-Length")]
    TransferEncoding,
    #[error(
        "the head of the request has more than {} bytes, or too many lines of one name",
        HEAD_BYTES_MAX
    )]
    HeadTooLarge,
    #[error("the target of the request is longer than 65,534 bytes")]
    TargetTooLong,
    #[error("505 HTTP Version Not Supported: expected HTTP/1.1 or HTTP/1.0")]
    Version,
    #[error("the header Expect may only be 100-continue")]
    Expectation,
    #[error("the gateway is starting: it is loading the store")]
    Starting,
    #[error("no replica leads at present; try again later")]
    NoLeader,
    #[error(
        "it may have been stored; repeating it is safe: the replica that leads has not answered"
    )]
    Unclear,
    /// To another replica, which then looks for the one that leads.
    #[error("this replica does not lead")]
    NotLeading,
    /// To another replica, which then looks whether it was carried out.
    #[error("the request was handed on before")]
    HandedTwice,
    #[error("the replica that leads, {leader}, refuses this one: is cluster.secret the same?")]
    Stranger { leader: String },
    #[error("what this replica has is {seconds} s old (cluster.stale-limit)")]
    Stale { seconds: u64 },
    #[error("Tidegate-Min-Revision: expected the Tidegate-Revision of an answer, a number")]
    MinRevision,
    #[error("this replica has come to revision {revision} only (Tidegate-Min-Revision)")]
    Behind { revision: i64 },
}

/// A request that is not served, with a header for the answer.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) rejection: Rejection,
    pub(super) header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl<E: Into<Rejection>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self { rejection: error.into(), header: None }
    }
}

impl From<OverBudget> for Rejection {
    fn from(error: OverBudget) -> Self {
        Self::OverBudget(error)
    }
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        Self::Gateway(fault.into())
    }
}

impl Rejection {
    /// The only place where a failure becomes a status code.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::NoPush { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadTarget { .. }
            | Self::Head(_)
            | Self::Path(_)
            | Self::Ttl(_)
            | Self::BodyBroken(_)
            | Self::MinRevision
            | Self::Encoding { .. }
            | Self::Parse {
                error: ParseError::Text { .. } | ParseError::Protobuf { .. }, ..
            }
            | Self::Parse { error: ParseError::TooLong { .. }, .. } => StatusCode::BAD_REQUEST,
            Self::NotLeading => StatusCode::MISDIRECTED_REQUEST,
            Self::HandedTwice => StatusCode::CONFLICT,
            Self::Unclear => StatusCode::GATEWAY_TIMEOUT,
            Self::Stranger { .. } => StatusCode::BAD_GATEWAY,
            Self::UnknownEncoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::BodyTooLarge { .. } | Self::Parse { error: ParseError::Limit { .. }, .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::OverBudget(error)
            | Self::Parse { error: ParseError::OverBudget(error), .. }
            | Self::Gateway(Error::Fault(Fault::OverBudget(error))) => match error {
                OverBudget::Alone { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                OverBudget::Together { .. } => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::TransferEncoding => StatusCode::NOT_IMPLEMENTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Starting
            | Self::Crowded
            | Self::Followers { .. }
            | Self::NoLeader
            | Self::Behind { .. }
            | Self::Stale { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Gateway(Error::Refused(refusal)) => match refusal {
                Refusal::Timestamps
                | Refusal::NotA { .. }
                | Refusal::LabelTwice { .. }
                | Refusal::LabelName { .. }
                | Refusal::LabelReserved { .. }
                | Refusal::EscapedLabelTwice { .. }
                | Refusal::Invalid { .. }
                | Refusal::Escaped { .. }
                | Refusal::Sibling { .. }
                | Refusal::BoundLabel { .. }
                | Refusal::Type { .. }
                | Refusal::Native { .. }
                | Refusal::Duplicate { .. }
                | Refusal::Suffix { .. }
                | Refusal::Held { .. }
                | Refusal::TooLong { .. }
                | Refusal::LongKey { .. } => StatusCode::BAD_REQUEST,
                Refusal::Exists | Refusal::AtOnce => StatusCode::CONFLICT,
                Refusal::Limit { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                Refusal::Full { .. } => StatusCode::TOO_MANY_REQUESTS,
            },
            Self::Gateway(Error::Fault(fault)) => match fault {
                Fault::Commit(error) if error.is_full() => StatusCode::INSUFFICIENT_STORAGE,
                Fault::Commit(error) if error.is_unclear() => StatusCode::GATEWAY_TIMEOUT,
                Fault::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                Fault::Busy
                | Fault::Crowded
                | Fault::Stopping
                | Fault::Commit(_)
                | Fault::OverBudget(_)
                | Fault::Stuck { .. } => StatusCode::SERVICE_UNAVAILABLE,
                Fault::Read(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    /// Whether another replica leads, and may carry it out.
    pub(super) fn is_not_leading(&self) -> bool {
        matches!(self, Self::Gateway(Error::Fault(Fault::Commit(error))) if error.is_not_leading())
    }

    /// Whether this replica has led, and may have carried it out all the same.
    pub(super) fn is_unclear(&self) -> bool {
        matches!(self, Self::Gateway(Error::Fault(Fault::Commit(error))) if error.is_unclear())
    }

    /// For `tidegate_pushes_refused_total`.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::NotFound
            | Self::NoPush { .. }
            | Self::BadTarget { .. }
            | Self::MethodNotAllowed { .. }
            | Self::Path(_) => Reason::Path,
            Self::Ttl(_) => Reason::Ttl,
            Self::BodyTooLarge { .. }
            | Self::OverBudget(OverBudget::Alone { .. })
            | Self::Parse {
                error:
                    ParseError::Limit { .. }
                    | ParseError::TooLong { .. }
                    | ParseError::OverBudget(OverBudget::Alone { .. }),
                ..
            }
            | Self::Gateway(Error::Fault(Fault::OverBudget(OverBudget::Alone { .. }))) => {
                Reason::Limit
            }
            Self::Unauthorized | Self::Forbidden(_) | Self::TooMany | Self::Crowded => {
                Reason::Access
            }
            Self::Head(_)
            | Self::TransferEncoding
            | Self::Expectation
            | Self::HeadTooLarge
            | Self::TargetTooLong
            | Self::Version => Reason::Head,
            Self::OverBudget(OverBudget::Together { .. })
            | Self::Parse { error: ParseError::OverBudget(OverBudget::Together { .. }), .. }
            | Self::Gateway(Error::Fault(Fault::OverBudget(OverBudget::Together { .. }))) => {
                Reason::Overload
            }
            Self::BodyTimeout { .. }
            | Self::BodyBroken(_)
            | Self::Encoding { .. }
            | Self::UnknownEncoding { .. } => Reason::Encoding,
            Self::Parse {
                error: ParseError::Text { .. } | ParseError::Protobuf { .. }, ..
            } => Reason::Parse,
            Self::Gateway(Error::Refused(refusal)) => refusal.reason(),
            Self::Gateway(Error::Fault(Fault::Busy)) => Reason::Busy,
            Self::Gateway(Error::Fault(Fault::Commit(error))) if error.is_full() => Reason::Full,
            Self::Gateway(Error::Fault(Fault::TooLarge(_))) => Reason::Limit,
            Self::Gateway(Error::Fault(_))
            | Self::Starting
            | Self::Followers { .. }
            | Self::NoLeader
            | Self::Unclear
            | Self::NotLeading
            | Self::HandedTwice
            | Self::Stranger { .. }
            | Self::MinRevision
            | Self::Behind { .. }
            | Self::Stale { .. } => Reason::Fault,
        }
    }

    /// The setting whose limit was reached, for `tidegate_limit_reached_total`.
    pub(super) fn limit(&self) -> Option<Limit> {
        match self {
            Self::BodyTimeout { .. } => Some(Limit::BodyTimeout),
            Self::OverBudget(_)
            | Self::Parse { error: ParseError::OverBudget(_), .. }
            | Self::Gateway(Error::Fault(Fault::OverBudget(_))) => Some(Limit::BytesInFlight),
            Self::Gateway(Error::Fault(Fault::Busy)) => Some(Limit::Queue),
            Self::Followers { .. } => Some(Limit::Followers),
            Self::BodyTooLarge { setting, .. }
            | Self::Parse {
                error: ParseError::Limit { setting, .. } | ParseError::TooLong { setting, .. },
                ..
            }
            | Self::Gateway(Error::Refused(
                Refusal::TooLong { setting, .. }
                | Refusal::Limit { setting, .. }
                | Refusal::Full { setting, .. },
            )) => Some(*setting),
            _ => None,
        }
    }

    /// The message for the client. Of a fault, the part that concerns the client: the log has the rest.
    pub(super) fn public_text(&self) -> String {
        match self {
            // The prefix of the Go Pushgateway, which people and scripts look for.
            Self::Gateway(Error::Refused(refusal)) if refusal.marks_the_group() => {
                format!(
                    "pushed metrics are invalid or inconsistent with existing metrics: {refusal}"
                )
            }
            Self::Gateway(Error::Fault(Fault::Commit(error)))
                if error.is_full() && !matches!(**error, CommitError::EtcdFull) =>
            {
                "not stored: no space left on the disk of the store".into()
            }
            Self::Gateway(Error::Fault(Fault::Commit(error))) if error.is_unclear() => {
                format!("it may have been stored; repeating it is safe: {error}")
            }
            Self::Gateway(Error::Fault(Fault::Commit(error))) => format!("not stored: {error}"),
            Self::Gateway(Error::Fault(Fault::Read(_))) => {
                "cannot read what is stored; the log of the gateway says why".into()
            }
            other => other.to_string(),
        }
    }

    /// The same as JSON, for the API.
    pub(super) fn into_json_response(self) -> Response {
        let mut response = reply::failure(self.status(), &self.public_text());
        self.add_headers(response.headers_mut());
        response
    }

    pub(super) fn into_response(self) -> Response {
        if let Self::BadTarget { text } = self {
            return reply::text(StatusCode::BAD_REQUEST, text);
        }
        let mut response = reply::error_text(self.status(), &self.public_text());
        self.add_headers(response.headers_mut());
        response
    }

    fn add_headers(self, headers: &mut HeaderMap) {
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        match self {
            // Has a browser ask for a password, which a token may be.
            Self::Unauthorized => {
                let challenge = HeaderValue::from_static("Basic realm=\"tidegate\"");
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            Self::MethodNotAllowed { allow, .. } => {
                let allow = HeaderValue::try_from(allow).expect("methods are names");
                headers.insert(ALLOW, allow);
            }
            Self::HandedTwice => {
                let name = HeaderName::from_static("tidegate-request");
                headers.insert(name, HeaderValue::from_static("seen"));
            }
            Self::UnknownEncoding { .. } => {
                let known = HeaderValue::from_static("gzip, snappy, zstd");
                headers.insert(ACCEPT_ENCODING, known);
            }
            _ => {}
        }
    }

    /// After how many seconds the same request may succeed, where that is worth a try.
    fn retry_after(&self) -> Option<&'static str> {
        match self {
            Self::Starting
            | Self::Crowded
            | Self::Followers { .. }
            | Self::NoLeader
            | Self::Behind { .. }
            | Self::Stale { .. }
            | Self::OverBudget(OverBudget::Together { .. })
            | Self::Parse { error: ParseError::OverBudget(OverBudget::Together { .. }), .. }
            | Self::Gateway(Error::Fault(
                Fault::Busy | Fault::Crowded | Fault::OverBudget(OverBudget::Together { .. }),
            )) => Some("1"),
            Self::Gateway(Error::Fault(Fault::Commit(error))) if error.is_not_leading() => {
                Some("1")
            }
            Self::Gateway(Error::Fault(Fault::Commit(_))) => Some("10"),
            // Until something has expired or was deleted.
            Self::Gateway(Error::Refused(Refusal::Full { .. })) => Some("60"),
            _ => None,
        }
    }
}
