//! The TTL that a push asks for: in a header, in the query, in the path, or by a gauge among its
//! families.

use std::time::Duration;

use hyper::header::HeaderName;
use hyper::http::request::Parts;

use crate::http::rejection::Rejection;
use crate::model::{MetricFamily, MetricType, MetricValue, Ttl};

const TTL: HeaderName = HeaderName::from_static("tidegate-ttl");
const TTL_GAUGE: &str = "push_ttl_seconds";

/// The TTL that a push asks for beside its body: in a header, else in the query, else in the path.
pub(super) fn asked_beside_the_body(
    head: &Parts,
    path: Option<String>,
) -> Result<Option<Ttl>, Rejection> {
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

/// Makes a gauge of the family that asks for a TTL, where it has no TYPE line, whether or not it counts:
/// a family has one type over all groups, so it would conflict with those that have the line.
pub(super) fn settle_ttl_gauge(families: &mut [MetricFamily]) {
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
pub(super) fn asked_in_the_body(families: &[MetricFamily]) -> Result<Option<Ttl>, Rejection> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::text::parse;
    use crate::model::NameRules;

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
