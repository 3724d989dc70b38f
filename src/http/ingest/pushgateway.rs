//! PUT, POST and DELETE on a group, as the Go Pushgateway has them: the path names the group, the body
//! has its families in text or protobuf.

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use super::ttl::{asked_beside_the_body, asked_in_the_body, settle_ttl_gauge};
use super::{Part, Pushed, ingest};
use crate::exposition::push_path::PushPath;
use crate::exposition::{ParseError, ParseLimits, PushFormat};
use crate::gateway::{Error, Expires, Gateway, PushMode};
use crate::http::body;
use crate::http::endpoint::Request;
use crate::http::rejection::{Refused, Rejection};
use crate::http::reply::{self, Response};
use crate::model::{Clamped, GroupingKey};

const EXPIRES: HeaderName = HeaderName::from_static("tidegate-expires");
const CLAMPED: HeaderName = HeaderName::from_static("tidegate-ttl-clamped");

/// Stores the families of the body under the grouping key of the path.
///
/// Where consistency is not checked the answer is 202, whether or not the push is consistent.
pub(in crate::http) async fn push(mut request: Request<'_>) -> Result<Response, Refused> {
    let gateway = request.gateway()?;
    let path = group_of(&mut request)?;
    let key = path.key.clone();
    match store(&mut request, &gateway, path).await {
        Ok(response) => Ok(response),
        Err(rejection) => {
            // The gateway has judged the others, and noted it.
            if !matches!(rejection, Rejection::Gateway(_)) {
                gateway.note_refused(key.clone(), &rejection.to_string());
            }
            // Another replica is asked where it leads.
            if !rejection.is_not_leading() {
                request.site.refused_pushes.log(request.head, request.caller, &key, &rejection);
            }
            let header = expires(&gateway, &key).map(|value| Box::new((EXPIRES, value)));
            Err(Refused { rejection, header })
        }
    }
}

async fn store(
    request: &mut Request<'_>,
    gateway: &Gateway,
    PushPath { key, ttl }: PushPath,
) -> Result<Response, Rejection> {
    let beside = asked_beside_the_body(request.head, ttl)?;
    let headers = &request.head.headers;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = PushFormat::from_content_type(content_type);
    let limits = gateway.limits();
    let limits =
        ParseLimits { series: limits.series_per_push, labels_per_series: limits.labels_per_series };
    let (names, bounds) = (gateway.names(), &mut request.bounds);
    let parsed = body::parse(headers, request.body, format, names, limits, bounds).await;
    let mut families = parsed.map_err(|rejection| match rejection {
        Rejection::Parse { error: error @ ParseError::Text { .. }, cause: None } => {
            Rejection::Parse { error, cause: content_type.and_then(likely_sender) }
        }
        other => other,
    })?;
    settle_ttl_gauge(&mut families);
    let ttl = match beside {
        Some(ttl) => Some(ttl),
        None => asked_in_the_body(&families)?,
    };
    let mode =
        if request.head.method == Method::PUT { PushMode::Replace } else { PushMode::Update };
    let held = Box::new(request.bounds.held.hand_over());
    let part = Part { key: key.clone(), mode, ttl, families };
    let Pushed { clamped, result } = ingest(gateway, request.caller, part, held).await;
    let unchecked = !gateway.checks_consistency();
    let mut response = reply::empty(if unchecked { StatusCode::ACCEPTED } else { StatusCode::OK });
    if let Some(clamped) = clamped {
        response.headers_mut().insert(CLAMPED, clamped_value(clamped));
    }
    match result {
        Ok(at) => {
            response.headers_mut().insert(EXPIRES, expires_value(at));
            Ok(response)
        }
        Err(Rejection::Gateway(Error::Refused(reason)))
            if unchecked && reason.marks_the_group() =>
        {
            tracing::error!(group = %key, %reason, "a push was accepted and dropped");
            request.site.metrics.refused(reason.reason());
            response.headers_mut().extend(expires(gateway, &key).map(|value| (EXPIRES, value)));
            Ok(response)
        }
        Err(rejection) => Err(rejection),
    }
}

/// Deletes the group. One that is not there is deleted already.
pub(in crate::http) async fn delete(mut request: Request<'_>) -> Result<Response, Refused> {
    let PushPath { key, .. } = group_of(&mut request)?;
    let group = key.to_string();
    request.gateway()?.delete(key).await?;
    request.audit(&group);
    // Not 200: the Go client insists on it.
    Ok(reply::empty(StatusCode::ACCEPTED))
}

/// The group that the path names.
fn group_of(request: &mut Request<'_>) -> Result<PushPath, Rejection> {
    request.group.take().ok_or(Rejection::NotFound)
}

/// The likely sender of a body that cannot be parsed, by its type.
fn likely_sender(content_type: &str) -> Option<&'static str> {
    content_type.trim_start().starts_with("application/x-protobuf").then_some(
        "it says that it is remote write, which is not taken here: send text, or delimited \
         io.prometheus.client.MetricFamily messages",
    )
}

/// When a group expires, if it is there.
fn expires(gateway: &Gateway, key: &GroupingKey) -> Option<HeaderValue> {
    let group = gateway.group(key)?;
    Some(expires_value(gateway.to_wall(group.deadline)))
}

fn clamped_value(Clamped { asked, setting, to }: Clamped) -> HeaderValue {
    let text = format!("{to}; asked=\"{asked}\"; by={setting}");
    HeaderValue::from_str(&text).expect("durations are written in ASCII")
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
}
