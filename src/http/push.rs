//! PUT, POST and DELETE on a group.

use std::fmt::Display;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};

use super::Limits;
use super::body::{self, working_on};
use super::rejection::Rejection;
use crate::exposition::PushFormat;
use crate::gateway::{Error, Expires, Gateway, PushMode};
use crate::model::{GroupingKey, Ttl};

const TTL: HeaderName = HeaderName::from_static("tidegate-ttl");
const EXPIRES: HeaderName = HeaderName::from_static("tidegate-expires");

/// Stores what the body says under the grouping key.
///
/// Where consistency is not checked the answer is 202, whatever became of what contradicts.
pub(super) async fn push<B>(
    gateway: &Gateway,
    limits: &Limits,
    key: GroupingKey,
    mode: PushMode,
    headers: &HeaderMap,
    incoming: &mut B,
) -> Result<Response<Full<Bytes>>, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let ttl = ttl(headers)?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = PushFormat::from_content_type(content_type);
    let body = body::read(headers, incoming, limits).await?;
    let families = working_on(body.len(), || format.parse(&body, gateway.names()))?;
    drop(body);
    let unchecked = !gateway.checks_consistency();
    let mut response = Response::new(Full::default());
    if unchecked {
        *response.status_mut() = StatusCode::ACCEPTED;
    }
    match gateway.push(key.clone(), mode, ttl, families).await {
        Ok(expires) => {
            response.headers_mut().insert(EXPIRES, expires_value(expires));
            Ok(response)
        }
        Err(Error::Refused(reason)) if unchecked && reason.marks_the_group() => {
            tracing::error!(group = %key, %reason, "a push was accepted and dropped");
            gateway.refused(reason.reason());
            Ok(response)
        }
        Err(error) => Err(error.into()),
    }
}

/// Deletes the group. One that is not there is deleted already.
pub(super) async fn delete(
    gateway: &Gateway,
    key: GroupingKey,
) -> Result<Response<Full<Bytes>>, Rejection> {
    gateway.delete(key).await?;
    let mut response = Response::new(Full::default());
    // Not 200: the Go client insists on it.
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// The TTL that the push asks for.
fn ttl(headers: &HeaderMap) -> Result<Option<Ttl>, Rejection> {
    let Some(value) = headers.get(TTL) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    Ttl::parse(&text).map(Some).map_err(|error| Rejection::Ttl(format!("Tidegate-TTL: {error}")))
}

fn expires_value(expires: Expires) -> HeaderValue {
    let text = match expires {
        None => "never".to_owned(),
        Some(at) => humantime::format_rfc3339_millis(at.to_system_time()).to_string(),
    };
    HeaderValue::from_str(&text).expect("an instant is written in ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixNanos;

    #[test]
    fn expiry_is_written_as_rfc_3339() {
        assert_eq!(expires_value(None), "never");
        let at = Some(UnixNanos(1_583_781_848_025_000_000));
        assert_eq!(expires_value(at), "2020-03-09T19:24:08.025Z");
    }

    #[test]
    fn a_ttl_that_cannot_be_read_is_refused_by_name() {
        let mut headers = HeaderMap::new();
        assert!(matches!(ttl(&headers), Ok(None)));
        headers.insert(TTL, HeaderValue::from_static("never"));
        assert!(matches!(ttl(&headers), Ok(Some(Ttl::Never))));
        headers.insert(TTL, HeaderValue::from_static("soon"));
        let error = ttl(&headers).unwrap_err().to_string();
        assert!(error.contains("Tidegate-TTL") && error.contains("\"soon\""), "{error}");
    }
}
