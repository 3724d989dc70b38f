//! `/api/v1`: what is stored and how the gateway is set up, in the JSON of the Go Pushgateway.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_TYPE, HeaderValue,
};
use hyper::{HeaderMap, StatusCode};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::bounds::Reservation;
use super::endpoint::{Request, Site};
use super::native_buckets::{NativeBucket, native_buckets};
use super::rejection::Refused;
use super::reply::{self, ReplyBody, Response};
use crate::exposition::number::push_float;
use crate::gateway::{FamilyContent, Gateway, GroupContent, block_in_place_if};
use crate::model::labels::merged;
use crate::model::{
    GroupingKey, Histogram, Meter as _, Metric, MetricType, MetricValue, PUSH_FAILURE_TIME_HELP,
    PUSH_FAILURE_TIME_NAME, PUSH_TIME_HELP, PUSH_TIME_NAME, Summary,
};
use crate::store::ReadError;
use crate::telemetry::build::BUILD;
use crate::time::UnixNanos;

/// A chunk of the answer has about so many bytes.
const CHUNK_BYTES: usize = 32 * 1024;
/// How much memory an answer takes while it is sent: the chunk that is on its way and the next, and as
/// much again for what the heap keeps of chunks that were sent.
const SENDING_BYTES: usize = 256 * 1024;

/// All groups, read and written one after another.
#[derive(Debug)]
struct GroupsBody {
    gateway: Gateway,
    groups: vec::IntoIter<u64>,
    /// Where those that follow these begin; `None` if there are none.
    next: Option<usize>,
    /// The rest of the latest of them.
    group: Option<FamiliesText>,
    zone: TimeZone,
    begun: bool,
    /// Whether a group was written, so that a comma is due.
    written: bool,
    ended: bool,
    /// Has counted what a group takes.
    _held: Reservation,
}

/// The families of a group as members of an object, written some at a time: a group may have any
/// number of series.
#[derive(Debug)]
pub(super) struct FamiliesText {
    key: GroupingKey,
    zone: TimeZone,
    families: vec::IntoIter<FamilyContent>,
    /// The rest of the latest of them.
    metrics: Option<(MetricType, vec::IntoIter<Metric>)>,
    /// Whether a family, or a metric of the latest, was written, so that a comma is due.
    family_written: bool,
    metric_written: bool,
}

/// How much memory it takes to read a group of so many stored bytes.
pub(super) fn bytes_read(stored: u64) -> usize {
    /// A group is read, assembled, and decoded: a label of two short words takes ten times
    /// its bytes.
    const FACTOR: u64 = 12;
    usize::try_from(stored.saturating_mul(FACTOR)).unwrap_or(usize::MAX)
}

impl FamiliesText {
    pub(super) fn new(stored: GroupContent, zone: TimeZone) -> Self {
        let GroupContent { key, families, .. } = stored;
        Self {
            key,
            zone,
            families: families.into_iter(),
            metrics: None,
            family_written: false,
            metric_written: false,
        }
    }

    /// Writes a metric, or what comes between two. Returns whether there is more.
    pub(super) fn push_some(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some((kind, metrics)) = &mut self.metrics {
            if let Some(stored) = metrics.next() {
                if std::mem::replace(&mut self.metric_written, true) {
                    out.push(b',');
                }
                push_json(out, &metric(&self.key, *kind, &stored));
            } else {
                out.extend_from_slice(b"]}");
                self.metrics = None;
            }
            return true;
        }
        let Some(family) = self.families.next() else { return false };
        if std::mem::replace(&mut self.family_written, true) {
            out.push(b',');
        }
        let FamilyContent { name, help, kind, stored, metrics } = family;
        let mut object = Map::new();
        object.insert("time_stamp".into(), timestamp(stored, &self.zone).into());
        object.insert("type".into(), kind.as_proto_name().into());
        if let Some(help) = help.filter(|help| !help.is_empty()) {
            object.insert("help".into(), help.into());
        }
        push_json(out, &Value::from(name));
        out.push(b':');
        push_json(out, &object.into());
        // The metrics are one more member.
        out.pop();
        out.extend_from_slice(b",\"metrics\":[");
        self.metrics = Some((kind, metrics.into_iter()));
        self.metric_written = false;
        true
    }
}

fn push_json(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a vector takes all, and keys are text");
}

/// The headers of every answer of the API.
pub(super) fn headers(headers: &mut HeaderMap) {
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE, OPTIONS"),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        (CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn json_headers(to: &mut HeaderMap) {
    headers(to);
    to.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

/// Which headers a page of another site may send: OPTIONS on any path of this API.
pub(super) fn options() -> Response {
    let mut response = reply::empty(StatusCode::OK);
    headers(response.headers_mut());
    response
}

/// `PUT /api/v1/admin/wipe`.
pub(super) async fn wipe(request: Request<'_>) -> Result<Response, Refused> {
    request.gateway()?.wipe().await?;
    request.audit("all groups");
    Ok(reply::empty(StatusCode::ACCEPTED))
}

/// `GET /api/v1/status`.
pub(super) fn status(request: &Request<'_>) -> Response {
    let Site { options, started, .. } = request.site;
    let flags = options.flags.iter();
    let flags: Map<_, _> =
        flags.map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    let answer = json!({
        "status": "success",
        "data": {
            "build_information": {
                "branch": BUILD.branch,
                "buildDate": BUILD.date,
                "buildUser": BUILD.user,
                "goVersion": BUILD.compiler,
                "revision": BUILD.revision,
                "version": BUILD.version,
            },
            "flags": flags,
            "start_time": timestamp(*started, &TimeZone::system()),
        },
    });
    let mut response = reply::with(StatusCode::OK, answer.to_string());
    json_headers(response.headers_mut());
    response
}

/// `GET /api/v1/metrics`.
pub(super) fn metrics(request: Request<'_>) -> Result<Response, Refused> {
    let gateway = request.gateway()?;
    let mut held = request.bounds.held;
    held.take(bytes_read(gateway.largest_group()))?;
    let body = GroupsBody {
        gateway,
        groups: Vec::new().into_iter(),
        next: Some(0),
        group: None,
        zone: TimeZone::system(),
        begun: false,
        written: false,
        ended: false,
        _held: held,
    };
    let mut response = Response::new(ReplyBody::in_parts(body, SENDING_BYTES));
    json_headers(response.headers_mut());
    Ok(response)
}

impl GroupsBody {
    fn next_group(&mut self) -> Option<u64> {
        loop {
            if let Some(id) = self.groups.next() {
                return Some(id);
            }
            let (next, groups) = self.gateway.stored_groups(self.next.take()?)?;
            (self.next, self.groups) = (Some(next), groups.into_iter());
        }
    }

    /// The next chunk; `None` at the end.
    fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
        if !self.begun {
            self.begun = true;
            out.extend_from_slice(br#"{"status":"success","data":["#);
        }
        while out.len() < CHUNK_BYTES {
            if let Some(group) = &mut self.group {
                if !group.push_some(&mut out) {
                    out.push(b'}');
                    self.group = None;
                }
                continue;
            }
            let Some(id) = self.next_group() else {
                self.ended = true;
                out.extend_from_slice(b"]}");
                break;
            };
            // It may have been removed since.
            let Some(stored) = self.gateway.read_group(id)? else { continue };
            if self.written {
                out.push(b',');
            }
            self.written = true;
            self.group = Some(begin_group(&mut out, stored, &self.zone));
        }
        Ok(Some(out.into()))
    }
}

impl Body for GroupsBody {
    type Data = Bytes;
    type Error = ReadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        let chunk = block_in_place_if(true, || self.chunk());
        if let Err(error) = &chunk {
            tracing::error!(%error, "cannot read a group for the API; the answer is cut off");
        }
        Poll::Ready(chunk.transpose().map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// An instant as Go writes it: RFC 3339 in the zone of the host, no more digits than it has.
fn timestamp(at: UnixNanos, zone: &TimeZone) -> String {
    let Ok(at) = Timestamp::from_nanosecond(i128::from(at.0)) else { return String::new() };
    let offset = zone.to_offset(at);
    if offset.is_zero() { at.to_string() } else { at.display_with_offset(offset).to_string() }
}

/// A number as Go's `fmt` writes it.
fn number(value: f64) -> String {
    if value == 0.0 && value.is_sign_negative() {
        return "-0".to_owned();
    }
    let mut text = Vec::with_capacity(24);
    push_float(&mut text, value);
    String::from_utf8(text).unwrap_or_default()
}

fn labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let labels: Map<_, _> = labels.map(|(name, value)| (name.to_owned(), value.into())).collect();
    labels.into()
}

/// Writes the begin of a group. Returns what is left of it, which ends in a brace.
fn begin_group(out: &mut Vec<u8>, stored: GroupContent, zone: &TimeZone) -> FamiliesText {
    let GroupContent { key, created, pushed, failed, .. } = &stored;
    let mut group = Map::new();
    group.insert("labels".into(), labels(key.labels()));
    let successful = failed.is_none_or(|failed| pushed.is_some_and(|pushed| failed <= pushed));
    group.insert("last_push_successful".into(), successful.into());
    push_json(out, &group.into());
    // The families are further members.
    out.pop();
    out.push(b',');
    let stamp = |(name, help, at): (&str, &str, Option<UnixNanos>)| FamilyContent {
        name: name.into(),
        help: Some(help.into()),
        kind: MetricType::Gauge,
        stored: at.unwrap_or(*created),
        metrics: vec![Metric::gauge(vec![], at.map_or(0.0, UnixNanos::as_secs_f64))],
    };
    let stamps = [
        (PUSH_TIME_NAME, PUSH_TIME_HELP, *pushed),
        (PUSH_FAILURE_TIME_NAME, PUSH_FAILURE_TIME_HELP, *failed),
    ];
    let mut families: Vec<_> = stamps.map(stamp).into();
    families.extend(stored.families);
    FamiliesText::new(GroupContent { families, ..stored }, zone.clone())
}

fn metric(key: &GroupingKey, kind: MetricType, metric: &Metric) -> Value {
    let mut object = match &metric.value {
        MetricValue::Counter { value, .. }
        | MetricValue::Gauge(value)
        | MetricValue::Untyped(value) => {
            Map::from_iter([("value".to_owned(), number(*value).into())])
        }
        MetricValue::Summary(summary) => self::summary(summary),
        // A gauge histogram as the Go Pushgateway shows it.
        MetricValue::Histogram(_) if kind == MetricType::GaugeHistogram => {
            Map::from_iter([("value".to_owned(), "0".into())])
        }
        MetricValue::Histogram(histogram) => self::histogram(histogram),
    };
    object.insert("labels".into(), labels(merged(key.metric_labels(), &metric.labels)));
    object.into()
}

fn summary(summary: &Summary) -> Map<String, Value> {
    let quantiles = summary
        .quantiles
        .iter()
        .map(|quantile| (number(quantile.quantile), number(quantile.value).into()));
    Map::from_iter([
        ("count".to_owned(), summary.count.unwrap_or(0).to_string().into()),
        ("sum".to_owned(), number(summary.sum.unwrap_or(0.0)).into()),
        ("quantiles".to_owned(), quantiles.collect::<Map<_, _>>().into()),
    ])
}

fn histogram(histogram: &Histogram) -> Map<String, Value> {
    let count = |float: Option<f64>, whole: Option<u64>| match float.filter(|count| *count > 0.0) {
        Some(count) => number(count),
        None => whole.unwrap_or(0).to_string(),
    };
    let buckets: Value = if let Some(buckets) = native_buckets(histogram) {
        let bucket = |bucket: NativeBucket| {
            let NativeBucket { boundaries, lower, upper, count } = bucket;
            json!([boundaries, number(lower), number(upper), number(count)])
        };
        buckets.into_iter().map(bucket).collect()
    } else {
        let buckets = histogram.buckets.iter().map(|bucket| {
            let population = count(bucket.cumulative_count_float, bucket.cumulative_count);
            (number(bucket.upper_bound), population.into())
        });
        buckets.collect::<Map<_, _>>().into()
    };
    Map::from_iter([
        ("count".to_owned(), count(histogram.count_float, histogram.count).into()),
        ("sum".to_owned(), number(histogram.sum.unwrap_or(0.0)).into()),
        ("buckets".to_owned(), buckets),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bucket, Label, Quantile};

    #[test]
    fn instants_are_written_in_the_zone_of_the_host() {
        let at = UnixNanos(1_583_781_848_025_744_841);
        let zone = TimeZone::fixed(jiff::tz::offset(5));
        assert_eq!(timestamp(at, &zone), "2020-03-10T00:24:08.025744841+05:00");
        assert_eq!(timestamp(UnixNanos(1_500_000_000), &TimeZone::UTC), "1970-01-01T00:00:01.5Z");
    }

    #[test]
    fn numbers_are_strings_and_labels_are_complete() {
        let key = GroupingKey::new(vec![Label::new("job", "j")]).unwrap();
        let quantile = Quantile { quantile: 0.5, value: 1e6 };
        let summary = Summary { count: Some(3), quantiles: vec![quantile], ..Summary::default() };
        let bucket = |bound, count| Bucket {
            cumulative_count: Some(count),
            upper_bound: bound,
            ..Bucket::default()
        };
        let histogram = Histogram {
            count: Some(7),
            buckets: vec![bucket(0.1, 3), bucket(f64::INFINITY, 7)],
            ..Histogram::default()
        };
        for (kind, value, expected) in [
            (MetricType::Gauge, MetricValue::Gauge(-0.0), json!({"value": "-0"})),
            (
                MetricType::Summary,
                MetricValue::Summary(Box::new(summary)),
                json!({"count": "3", "sum": "0", "quantiles": {"0.5": "1e+06"}}),
            ),
            (
                MetricType::Histogram,
                MetricValue::Histogram(Box::new(histogram.clone())),
                json!({"count": "7", "sum": "0", "buckets": {"0.1": "3", "+Inf": "7"}}),
            ),
            (
                MetricType::GaugeHistogram,
                MetricValue::Histogram(Box::new(histogram)),
                json!({"value": "0"}),
            ),
        ] {
            let pushed = Metric { labels: vec![Label::new("a", "b")], value, timestamp_ms: None };
            let mut found = metric(&key, kind, &pushed);
            let labels = found.as_object_mut().unwrap().remove("labels").unwrap();
            assert_eq!(labels, json!({"a": "b", "instance": "", "job": "j"}));
            assert_eq!(found, expected);
        }
    }
}
