//! PUT, POST and DELETE on a group.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Response, StatusCode};

use super::body::{self, Bounds};
use super::rejection::Rejection;
use super::route::PushPath;
use crate::exposition::{ParseError, ParseLimits, PushFormat};
use crate::gateway::{Error, Expires, Gateway, PushMode};
use crate::model::{Clamped, GroupingKey, MetricFamily, MetricType, MetricValue, Ttl};
use crate::telemetry::metrics::SelfMetrics;

const TTL: HeaderName = HeaderName::from_static("tidegate-ttl");
const EXPIRES: HeaderName = HeaderName::from_static("tidegate-expires");
const CLAMPED: HeaderName = HeaderName::from_static("tidegate-ttl-clamped");
const TTL_GAUGE: &str = "push_ttl_seconds";

/// Stores what the body says under the grouping key.
///
/// Where consistency is not checked the answer is 202, whatever became of what contradicts.
pub(super) async fn push<B>(
    gateway: &Gateway,
    metrics: &SelfMetrics,
    bounds: &mut Bounds,
    PushPath { key, ttl: path_ttl }: PushPath,
    mode: PushMode,
    head: &Parts,
    incoming: &mut B,
) -> Result<Response<Full<Bytes>>, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let headers = &head.headers;
    let asked = asked_beside_the_body(head, path_ttl)?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = PushFormat::from_content_type(content_type);
    let limits = gateway.limits();
    let limits =
        ParseLimits { series: limits.series_per_push, labels_per_series: limits.labels_per_series };
    let parsed = body::parse(headers, incoming, format, gateway.names(), limits, bounds).await;
    let mut families = parsed.map_err(|rejection| match rejection {
        Rejection::Parse { error: error @ ParseError::Text { .. }, cause: None } => {
            Rejection::Parse { error, cause: content_type.and_then(likely_sender) }
        }
        other => other,
    })?;
    settle_ttl_gauge(&mut families);
    let asked = match asked {
        Some(asked) => Some(asked),
        None => asked_in_the_body(&families)?,
    };
    let clamped = asked.map(|asked| gateway.ttl_policy().clamp(asked));
    let ttl = clamped.map(|clamped| clamped.unwrap_or_else(|clamped| clamped.to));
    let unchecked = !gateway.checks_consistency();
    let mut response = Response::new(Full::default());
    if unchecked {
        *response.status_mut() = StatusCode::ACCEPTED;
    }
    if let Some(Err(clamped)) = clamped {
        response.headers_mut().insert(CLAMPED, clamped_value(clamped));
    }
    let meter = Box::new(bounds.held.hand_over());
    match gateway.push(key.clone(), mode, ttl, families, meter).await {
        Ok(expires) => {
            response.headers_mut().insert(EXPIRES, expires_value(expires));
            Ok(response)
        }
        Err(Error::Refused(reason)) if unchecked && reason.marks_the_group() => {
            tracing::error!(group = %key, %reason, "a push was accepted and dropped");
            metrics.refused(reason.reason());
            add_expires(gateway, &key, response.headers_mut());
            Ok(response)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whose push a body that cannot be parsed seems to be, by its type.
fn likely_sender(content_type: &str) -> Option<&'static str> {
    content_type.trim_start().starts_with("application/x-protobuf").then_some(
        "it says that it is remote write, which is not taken here: send text, or delimited \
         io.prometheus.client.MetricFamily messages",
    )
}

/// Notes that a push was refused, and has the answer say when the group that it was for expires, if
/// there is one.
pub(super) fn refused(
    gateway: &Gateway,
    key: &GroupingKey,
    rejection: &Rejection,
    headers: &mut HeaderMap,
) {
    // The others were judged, which is an event already.
    if !matches!(rejection, Rejection::Gateway(_)) {
        gateway.note_refused(key.clone(), &rejection.to_string());
    }
    add_expires(gateway, key, headers);
}

fn add_expires(gateway: &Gateway, key: &GroupingKey, headers: &mut HeaderMap) {
    if let Some(group) = gateway.group(key) {
        headers.insert(EXPIRES, expires_value(gateway.to_wall(group.deadline)));
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

/// The TTL that a push asks for beside its body: in a header, else in the query, else in the path.
fn asked_beside_the_body(head: &Parts, path: Option<String>) -> Result<Option<Ttl>, Rejection> {
    let (place, text) = if let Some(value) = head.headers.get(TTL) {
        ("Tidegate-TTL", String::from_utf8_lossy(value.as_bytes()).into_owned())
    } else if let Some(value) = in_query(head.uri.query()) {
        ("?ttl", value)
    } else if let Some(value) = path {
        ("the path label __ttl__", value)
    } else {
        return Ok(None);
    };
    let malformed = |error| Rejection::Ttl(format!("{place}: {error}"));
    Ttl::parse(&text).map(Some).map_err(malformed)
}

fn in_query(query: Option<&str>) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query?.as_bytes());
    pairs.find(|(name, _)| name == "ttl").map(|(_, value)| value.into_owned())
}

/// Makes a gauge of the family that asks for a TTL, whether or not it counts. Without a TYPE line it is
/// meant all the same, and must not be in the way of those who have one: a family has one type over
/// all groups.
fn settle_ttl_gauge(families: &mut [MetricFamily]) {
    let family = families.iter_mut().find(|family| family.name == TTL_GAUGE);
    if let Some(family) = family.filter(|family| family.kind == MetricType::Untyped) {
        family.kind = MetricType::Gauge;
        for metric in &mut family.metrics {
            if let MetricValue::Untyped(value) = metric.value {
                metric.value = MetricValue::Gauge(value);
            }
        }
    }
}

/// The TTL that a push asks for by a gauge without labels.
fn asked_in_the_body(families: &[MetricFamily]) -> Result<Option<Ttl>, Rejection> {
    let family = families.iter().find(|family| family.name == TTL_GAUGE);
    let Some(family) = family else { return Ok(None) };
    let metric = family.metrics.iter().find(|metric| metric.labels.is_empty());
    let Some(metric) = metric else { return Ok(None) };
    let MetricValue::Gauge(seconds) = metric.value else {
        let text = format!("{TTL_GAUGE} says for how long the group lives: expected a gauge");
        return Err(Rejection::Ttl(text));
    };
    if seconds == f64::INFINITY {
        return Ok(Some(Ttl::Never));
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) => Ok(Some(Ttl::After(duration))),
        Err(error) => Err(Rejection::Ttl(format!(
            "{TTL_GAUGE} is {seconds} ({error}): expected a number of seconds, or +Inf for never"
        ))),
    }
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
    use crate::exposition::text::parse;
    use crate::model::NameRules;
    use crate::time::UnixNanos;

    #[test]
    fn expiry_is_written_as_rfc_3339() {
        assert_eq!(expires_value(None), "never");
        let at = Some(UnixNanos(1_583_781_848_025_000_000));
        assert_eq!(expires_value(at), "2020-03-09T19:24:08.025Z");
    }

    fn asked(uri: &str, header: Option<&str>, path: Option<&str>) -> Result<Option<Ttl>, String> {
        let mut request = hyper::Request::put(uri);
        if let Some(header) = header {
            request = request.header(TTL, header);
        }
        let head = request.body(()).unwrap().into_parts().0;
        asked_beside_the_body(&head, path.map(str::to_owned)).map_err(|error| error.to_string())
    }

    #[test]
    fn of_several_ttls_the_header_counts_then_the_query_then_the_path() {
        let hours = |hours| Ok(Some(Ttl::After(Duration::from_hours(hours))));
        assert_eq!(asked("/", None, None), Ok(None));
        assert_eq!(asked("/", None, Some("3h")), hours(3));
        assert_eq!(asked("/?a=b&ttl=2h", None, Some("3h")), hours(2));
        assert_eq!(asked("/?ttl=2h", Some("1h"), Some("3h")), hours(1));
        assert_eq!(asked("/", Some("never"), None), Ok(Some(Ttl::Never)));
    }

    #[test]
    fn a_ttl_that_cannot_be_read_is_refused_by_name() {
        for (uri, header, path, place) in [
            ("/", Some("soon"), None, "Tidegate-TTL"),
            ("/?ttl=soon", None, None, "?ttl"),
            ("/", None, Some("soon"), "__ttl__"),
        ] {
            let error = asked(uri, header, path).unwrap_err();
            assert!(error.contains(place) && error.contains("\"soon\""), "{error}");
        }
    }

    #[test]
    fn a_gauge_without_labels_sets_the_ttl() {
        let parsed = |body: &str| {
            let mut families = parse(body.as_bytes(), NameRules::Legacy).unwrap();
            settle_ttl_gauge(&mut families);
            families
        };
        let asked = |body: &str| asked_in_the_body(&parsed(body)).map_err(|e| e.to_string());
        let seconds = |seconds| Ok(Some(Ttl::After(Duration::from_secs_f64(seconds))));
        assert_eq!(asked("a 1\n"), Ok(None));
        assert_eq!(asked("# TYPE push_ttl_seconds gauge\npush_ttl_seconds 90.5\n"), seconds(90.5));
        assert_eq!(asked("push_ttl_seconds 0\n"), seconds(0.0));
        assert_eq!(asked("push_ttl_seconds{a=\"b\"} 90\n"), Ok(None));
        let typed = parsed("# TYPE push_ttl_seconds gauge\npush_ttl_seconds 60\n");
        assert_eq!(parsed("push_ttl_seconds 60\n"), typed);
        assert_eq!(asked("push_ttl_seconds +Inf\n"), Ok(Some(Ttl::Never)));
        for body in [
            "push_ttl_seconds -1",
            "push_ttl_seconds NaN",
            "# TYPE push_ttl_seconds counter\npush_ttl_seconds 1",
        ] {
            let error = asked(&format!("{body}\n")).unwrap_err();
            assert!(error.contains("push_ttl_seconds") && error.contains("expected"), "{error}");
        }
    }
}
