//! The differences that we want, each with its reason. This is the whole list: whatever else
//! differs is a fault.

use crate::differential::answers::{difference, head};
use crate::differential::encodings::gzip;
use crate::differential::http::{Answer, Request};
use crate::differential::pair::Pair;
use support::protobuf::{CONTENT_TYPE, body, families};

/// Why the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// The reference drops the connection of a push that is inconsistent: what should log it
    /// panics; and of one with empty braces in place of a name. Here it is a 400 with the message.
    Dropped,
    /// HEAD is answered wherever GET is, and listed among the methods that are allowed.
    Head,
    /// Debian's package of the reference has no files for its page. We have a page.
    Page,
    /// Requests that Go's server calls malformed are so here too, with other words.
    Malformed,
    /// There is no Go runtime here: no profiles, and no `go_` families that a push could clash
    /// with.
    GoRuntime,
    /// zstd bodies, gzip bodies by their other name, and snappy bodies that are one raw block, as a
    /// client for Rust sends them.
    MoreEncodings,
    /// A body in an encoding that nobody here knows is refused. The reference reads it as if it were
    /// in none.
    UnknownEncoding,
    /// The encoding of a body that nobody reads does no harm: deletes and probes have none.
    Unread,
    /// The decoder of a damaged body reports the damage in its own words.
    Decoders,
    /// The likely cause of a parse error stands behind the reference's words: that the last line has
    /// no end, or what the body seems to be instead.
    Causes,
    /// Blanks at the end of a line, line ends as on Windows and a byte order mark are taken.
    LineEnds,
    /// The text format is read and written as by later releases of the reference: histograms with
    /// counts that are no integers, gauge histograms, no negative counts, no name in quotes that
    /// would be none without.
    Later,
    /// No push, accepted or refused, breaks a scrape or the pushes after it. The reference stores
    /// what it refuses to show.
    Poison,
    /// Pushes that a scraper would refuse, drop or end for are refused: parts of a metric that
    /// contradict each other, what comes twice by value, counts that are none, names that are one once
    /// escaped. The reference stores it.
    Scrapers,
    /// The buckets of a histogram are shown rising. The reference shows them as they were pushed.
    Rising,
    /// Names in delimited protobuf are escaped as its header says. The reference leaves them as they
    /// are.
    Escaped,
    /// Protobuf bodies obey the same name rules as text bodies.
    ProtobufNames,
    /// A protobuf body that contradicts the definition is malformed.
    ProtobufStrict,
    /// `push_failure_time_seconds` is always the gateway's, as the reference's manual promises.
    FailureTime,
    /// The HELP of the most recent push counts, the gateway's own ones too. The reference shows
    /// any, or refuses the push.
    Help,
    /// A family without a metric is not shown, and so stands in no other's way.
    Unseen,
    /// Of several contradictions the first is named, not all.
    First,
    /// Sizes are limited.
    Limits,
    /// A path with a slash too much or in the wrong case is sent to the right one wherever there
    /// is one. The reference forgets what stands before `/status` below `/api/v1`, and gives up on
    /// some others.
    Redirects,
    /// A push whose path has slashes too many in front is served, and one whose path is not clean
    /// further on, or has no job, is refused. The reference redirects it, which clients do not follow,
    /// or follow with another method or to another group.
    Slashes,
    /// Whoever misses the way is told where pushes go, behind what the reference says.
    Hints,
    /// Probes need no user.
    Probes,
    /// A client that waits for the challenge needs a realm.
    Realm,
    /// A file for users and TLS that is invalid, or asks for less than before, does not count.
    Kept,
    /// A job that is no base64 is quoted as it was sent, not as far as it could be decoded.
    JobBase64,
    /// A failure at the start is in the exit code, and wrong usage has a code of its own.
    ExitCode,
    /// The program says what it is, and lists settings of its own.
    Itself,
}

/// The request as the reference understands it, if it is one that it does not, and has not answered as
/// we do: what it answers to that has to be our answer to the other.
pub(crate) fn reworded(
    request: &Request,
    reference: &Answer,
    ours: &Answer,
) -> Option<(Why, Request)> {
    let is_probe = ["/-/healthy", "/-/ready"].contains(&request.target.as_str());
    difference(reference, ours)?;
    if request.has("Content-Encoding") && (request.method == "DELETE" || is_probe) {
        return Some((Why::Unread, request.without("Content-Encoding")));
    }
    if !request.is_push() && request.method != "DELETE" {
        return None;
    }
    if request.value("Content-Encoding") == Some("x-gzip") {
        let known = request.without("Content-Encoding").header("Content-Encoding", "gzip");
        return Some((Why::MoreEncodings, known));
    }
    let is_served = !matches!(ours.status, Some(301 | 307 | 308));
    let host = if request.target.starts_with("http://") { "http://other" } else { "" };
    let path = request.target.strip_prefix(host).unwrap_or_default();
    if path.starts_with("//") && reference.status == Some(301) && is_served {
        let target = format!("{host}/{}", path.trim_start_matches('/'));
        return Some((Why::Slashes, request.with_target(target)));
    }
    let is_text = request.value("Content-Type") != Some(CONTENT_TYPE);
    if is_text && reference.status == Some(400) {
        let body = request.decoded()?;
        let plain = with_plain_ends(&body);
        let is_other = plain != body;
        return is_other.then(|| (Why::LineEnds, request.without("Content-Encoding").body(plain)));
    }
    None
}

/// A text body without a byte order mark and without blanks before the ends of its lines. Those of a
/// HELP text are its own.
fn with_plain_ends(body: &[u8]) -> Vec<u8> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut plain = Vec::new();
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else {
            plain.extend(line);
            continue;
        };
        let comment = text.trim_ascii_start().strip_prefix(b"#").map(<[u8]>::trim_ascii_start);
        let is_help = comment.is_some_and(|comment| comment.starts_with(b"HELP"));
        let is_end = |byte: &u8| *byte == b'\r' || !is_help && b" \t".contains(byte);
        let end = text.iter().rposition(|byte| !is_end(byte)).map_or(0, |last| last + 1);
        plain.extend(&text[..end]);
        plain.push(b'\n');
    }
    plain
}

/// The explanation of a difference wherever it turns up: the reference's answer, put as ours has to be.
/// None if nothing does.
pub(crate) fn expected(
    request: &Request,
    reference: &Answer,
    ours: &Answer,
) -> Option<(Why, Answer)> {
    let text = reference.text();
    if let Some(refused) = unknown_encoding(request, reference, ours) {
        return Some((Why::UnknownEncoding, refused));
    }
    if reference.status.is_none() {
        let refused = ours.status == Some(400)
            && ours.text().starts_with(INCONSISTENT)
            && ours.text().ends_with('\n');
        // A line that begins with empty braces makes its parser panic, too.
        let refused = refused || ours.text().ends_with(": invalid metric name\n");
        return (request.is_push() && refused).then(|| (Why::Dropped, plain_text(ours)));
    }
    if text.starts_with(INCONSISTENT) && ours.text().starts_with(INCONSISTENT) {
        let several = text.contains("error(s) occurred");
        return several.then(|| (Why::First, ours.clone()));
    }
    // It takes names in quotes for names that would be none without, and finds fault with what
    // follows.
    let line = |answer: &Answer| {
        let text = answer.text();
        text.split_once(": ").map(|(place, _)| place.to_owned())
    };
    let names = [": invalid metric name \"", ": invalid label name \""];
    let is_name = names.iter().any(|words| ours.text().contains(words));
    if is_name && reference.status == Some(400) && line(reference) == line(ours) {
        return Some((Why::Later, ours.clone()));
    }
    if reference.status == Some(401) && ours.status == Some(401) {
        let mut expected = reference.clone();
        expected.set("www-authenticate", "Basic realm=\"tidegate\"".to_owned());
        return Some((Why::Realm, expected));
    }
    let risen = risen(reference).map(|shown| (Why::Rising, shown));
    if let Some(shown) = risen.or_else(|| Some((Why::Escaped, escaped(reference)?))) {
        return Some(shown);
    }
    if reference.status == Some(400) && ours.status == Some(400) && says_why(&text, &ours.text()) {
        return Some((Why::Causes, Answer { body: ours.body.clone(), ..reference.clone() }));
    }
    let is_probe = ["/-/healthy", "/-/ready"].contains(&request.target.as_str());
    if reference.status == Some(401) && ours.status == Some(200) && is_probe {
        return Some((Why::Probes, ours.clone()));
    }
    let changes = matches!(request.method.as_str(), "PUT" | "POST" | "DELETE");
    if changes
        && (reference.status == ours.status
            || ours.status == Some(400) && matches!(reference.status, Some(307 | 404)))
        && (ours.text().contains("pushes go to") || ours.text().contains("/LABEL@base64/VALUE"))
        && (ours.text().starts_with(text.trim_end()) || ours.status == Some(400))
    {
        return Some((
            Why::Hints,
            Answer { body: ours.body.clone(), ..plain_status(reference, ours) },
        ));
    }
    if changes && reference.status == Some(301) && ours.status != Some(301) {
        let moved = Answer { status: Some(308), ..reference.clone() };
        return match ours.status {
            Some(400) if ours.text().starts_with("a part of the path") => {
                Some((Why::Slashes, plain_text(ours)))
            }
            Some(400) if ours.text().contains("pushes go to") => {
                Some((Why::Slashes, plain_text(ours)))
            }
            // Both are wrong, the path and the body.
            Some(400) if ours.text().starts_with("cannot decompress the body as ") => {
                Some((Why::Slashes, plain_text(ours)))
            }
            _ => Some((Why::Slashes, moved)),
        };
    }
    // In the middle of a path with labels the reference does not look for the right case.
    if reference.status == Some(404)
        && ours.status == Some(307)
        && request.target.to_ascii_lowercase().contains("/job@base64/")
    {
        return Some((Why::Redirects, ours.clone()));
    }
    if text == "400 Bad Request" && ours.status == Some(400) {
        return Some((Why::Malformed, ours.clone()));
    }
    if reference.status == Some(500) && text.contains("pushgateway/template.html: no such file") {
        let is_page = ours.status == Some(200)
            && ours.header("content-type") == Some("text/html; charset=utf-8");
        return is_page.then(|| (Why::Page, ours.clone()));
    }
    if let Some((_, theirs)) = text.strip_prefix(JOB_BASE64).and_then(|text| text.rsplit_once(": "))
        && let Some((_, words)) =
            ours.text().strip_prefix(JOB_BASE64).and_then(|text| text.rsplit_once(": "))
        && theirs == words
    {
        return Some((Why::JobBase64, Answer { body: ours.body.clone(), ..reference.clone() }));
    }
    if reference.status == Some(400)
        && ours.status == Some(400)
        && (ours.text().starts_with("cannot decompress the body as ")
            && request.has("Content-Encoding")
            || ours.text().starts_with("protobuf parsing error in message ")
                && request.has("Content-Type"))
    {
        return Some((Why::Decoders, plain_text(ours)));
    }
    None
}

/// The answer to a push in an encoding that is unknown here.
fn unknown_encoding(request: &Request, reference: &Answer, ours: &Answer) -> Option<Answer> {
    let encoding = request.value("Content-Encoding")?.trim().to_ascii_lowercase();
    let is_known =
        ["gzip", "x-gzip", "snappy", "zstd", "identity", ""].contains(&encoding.as_str());
    let is_read = matches!(reference.status, None | Some(200 | 202 | 400));
    if !request.is_push() || is_known || !is_read || ours.status != Some(415) {
        return None;
    }
    let body = format!(
        "Content-Encoding: {encoding:?} is not known here; expected gzip, snappy or zstd, or none\n"
    );
    let refused = Answer { status: Some(415), body: body.into(), ..Answer::default() };
    Some(plain_text(&refused))
}

const INCONSISTENT: &str = "pushed metrics are invalid or inconsistent with existing metrics: ";
/// The `Accept` of a scraper that wants delimited protobuf.
const DELIMITED: &str = "application/vnd.google.protobuf;\
    proto=io.prometheus.client.MetricFamily;encoding=delimited";
const JOB_BASE64: &str = "invalid base64 encoding in job name ";

/// The reference's answer, or if ours has another status that with the headers that errors have.
fn plain_status(reference: &Answer, ours: &Answer) -> Answer {
    if reference.status == ours.status { reference.clone() } else { plain_text(ours) }
}

/// This answer with the headers that errors have.
fn plain_text(answer: &Answer) -> Answer {
    let mut expected =
        Answer { status: answer.status, body: answer.body.clone(), ..Answer::default() };
    expected.set("content-type", "text/plain; charset=utf-8".to_owned());
    expected.set("x-content-type-options", "nosniff".to_owned());
    expected
}

/// Whether an error is the reference's with what may be behind it.
fn says_why(reference: &str, ours: &str) -> bool {
    const SEEMS: [&str; 3] =
        ["it begins as ", "it is UTF-16: ", "it says that it is remote write, "];
    let Some(why) = ours.strip_prefix(reference.trim_end()) else { return false };
    if !reference.contains(" parsing error in ") {
        return false;
    }
    let has_no_end = why == ": the last line does not end in a newline\n";
    let seems = why.strip_prefix(" (").and_then(|why| why.strip_suffix(")\n"));
    has_no_end && reference.ends_with(": unexpected end of input stream\n")
        || seems.is_some_and(|seems| SEEMS.iter().any(|begin| seems.starts_with(begin)))
}

/// A scrape with the buckets of each histogram rising, if they do not.
fn risen(shown: &Answer) -> Option<Answer> {
    let kind = shown.header("content-type")?;
    if shown.status != Some(200) || shown.header("content-encoding").is_some() {
        return None;
    }
    let risen = if kind.starts_with("text/plain; version=0.0.4") {
        risen_text(&String::from_utf8(shown.body.clone()).ok()?).into_bytes()
    } else if kind.contains("encoding=delimited") {
        let pushed = families(&shown.body);
        let mut risen = pushed.clone();
        let metrics = risen.iter_mut().flat_map(|family| &mut family.metric);
        for histogram in metrics.filter_map(|metric| metric.histogram.as_mut()) {
            histogram.bucket.sort_by(|a, b| a.upper_bound().total_cmp(&b.upper_bound()));
        }
        if risen == pushed { shown.body.clone() } else { body(&risen) }
    } else {
        return None;
    };
    (risen != shown.body).then(|| Answer { body: risen, ..shown.clone() })
}

fn risen_text(text: &str) -> String {
    let mut lines: Vec<_> = text.split_inclusive('\n').collect();
    let bound = |line: &str| {
        let (name, labels) = line.split_once("_bucket{")?;
        let (before, bound) = match labels.strip_prefix("le=\"") {
            Some(bound) => ("", bound),
            None => labels.split_once(",le=\"")?,
        };
        let (bound, labels) = bound.split_once('"')?;
        let (labels, _) = labels.rsplit_once(' ')?;
        Some(([name, before, labels].concat(), bound.parse::<f64>().ok()?))
    };
    let is_one = |a: &&str, b: &&str| match (bound(a), bound(b)) {
        (Some((one, _)), Some((other, _))) => one == other,
        _ => false,
    };
    for series in lines.chunk_by_mut(is_one) {
        series.sort_by(|a, b| bound(a).partial_cmp(&bound(b)).expect("no bound is NaN"));
    }
    lines.concat()
}

/// A scrape as delimited protobuf with its names escaped as its header says, if they are not.
fn escaped(shown: &Answer) -> Option<Answer> {
    let kind = shown.header("content-type").filter(|kind| kind.contains("encoding=delimited"))?;
    let (_, scheme) = kind.split_once("escaping=")?;
    if shown.status != Some(200) || shown.header("content-encoding").is_some() {
        return None;
    }
    let raw = families(&shown.body);
    let mut escaped = raw.clone();
    for family in &mut escaped {
        family.name = family.name.take().map(|name| escaped_name(&name, scheme, true));
        for label in family.metric.iter_mut().flat_map(|metric| &mut metric.label) {
            label.name = label.name.take().map(|name| escaped_name(&name, scheme, false));
        }
    }
    (escaped != raw).then(|| Answer { body: body(&escaped), ..shown.clone() })
}

/// Written down from the definition and apart from the gateway's own.
fn escaped_name(name: &str, scheme: &str, of_metric: bool) -> String {
    let is_legal = |(at, c): (usize, char)| {
        c.is_ascii_alphabetic() || c == '_' || c == ':' && of_metric || c.is_ascii_digit() && at > 0
    };
    if scheme == "allow-utf-8" || name.char_indices().all(is_legal) {
        return name.to_owned();
    }
    let begin = if scheme == "values" { "U__" } else { "" };
    let character = |(at, c): (usize, char)| match (scheme, c) {
        ("dots", '.') => "_dot_".to_owned(),
        ("dots" | "values", '_') => "__".to_owned(),
        _ if is_legal((at, c)) => c.to_string(),
        ("dots", _) => "__".to_owned(),
        ("values", _) => format!("_{:x}_", u32::from(c)),
        _ => "_".to_owned(),
    };
    begin.to_owned() + &name.char_indices().map(character).collect::<String>()
}

/// Adds HEAD to the methods that the reference allows, where GET is one of them.
pub(crate) fn with_head(reference: &mut Answer) -> bool {
    let Some(allow) = reference.header("allow") else { return false };
    if !allow.contains("GET") {
        return false;
    }
    let allow = allow.replace("GET", "GET, HEAD");
    reference.set("allow", allow);
    true
}

/// Each difference that is explained wherever it turns up turns up somewhere.
#[test]
fn what_is_explained_everywhere_still_occurs() {
    let mut pair = Pair::start(&[]);
    pair.same(&Request::put("/metrics/job/a", "m 1 1000\n"));
    pair.same(&Request::get("/status"));
    pair.same(&Request::get("/metrics/job/%zz"));
    pair.same(&Request::put("/metrics", ""));
    pair.same(&Request::put("/metrics/job/a", "x").header("Content-Encoding", "snappy"));
    pair.same(&Request::put("/metrics/job@base64/eHg*", ""));
    pair.same(&Request::put("//metrics/job/a", "m 1\n"));
    pair.same(&Request::put("/metrics/job//a", "m 1\n"));
    pair.same(&Request::delete("/metrics/job/a").header("Content-Encoding", "gzip"));
    pair.same(&Request::put("/metrics/job/a", "m 1").header("Content-Encoding", "br"));
    pair.same(&Request::put("/metrics/job/a", "m 1"));
    pair.same(&Request::put("/metrics/job/a", "m 1 \n"));
    pair.same(&Request::put("/metrics/job/a", gzip(b"m 1\n")).header("Content-Encoding", "x-gzip"));
    let falling = "# TYPE h histogram\nh_bucket{le=\"2\"} 1\nh_bucket{le=\"1\"} 1\n";
    pair.same(&Request::put("/metrics/job/a", falling));
    pair.same(&Request::get("/metrics"));
    pair.same(&Request::get("/metrics").header("Accept", DELIMITED));
    pair.same_state();
    for why in [
        Why::Dropped,
        Why::Page,
        Why::Malformed,
        Why::Head,
        Why::Decoders,
        Why::JobBase64,
        Why::Slashes,
        Why::Hints,
        Why::Unread,
        Why::UnknownEncoding,
        Why::Causes,
        Why::LineEnds,
        Why::MoreEncodings,
        Why::Rising,
    ] {
        assert!(pair.met(why), "{why:?} does not occur: take it off the list");
    }
    pair.finish();
    let mut pair = Pair::start(&["--push.enable-utf8-names"]);
    pair.same(&Request::put("/metrics/job/a", "{\"a.b\"} 1\n"));
    pair.same(&Request::get("/metrics").header("Accept", DELIMITED));
    assert!(pair.met(Why::Escaped), "Escaped does not occur: take it off the list");
    pair.finish();
}

/// The comparison notices what it is there for.
#[test]
fn a_difference_without_a_reason_is_noticed() {
    let request = Request::get("/metrics");
    let mut reference = Answer { status: Some(200), body: b"a 1\n".to_vec(), ..Answer::default() };
    reference.set("content-type", "text/plain; version=0.0.4".to_owned());
    assert_eq!(difference(&reference, &reference), None);
    let mut other = reference.clone();
    other.set("content-type", "text/plain".to_owned());
    let changed = [
        Answer { status: Some(202), ..reference.clone() },
        Answer { body: b"a 2\n".to_vec(), ..reference.clone() },
        other,
        Answer::default(),
    ];
    for ours in changed {
        assert!(expected(&request, &reference, &ours).is_none());
        assert!(difference(&reference, &ours).is_some(), "{}", head(&ours));
    }
    let dropped = Answer::default();
    assert!(expected(&request, &dropped, &reference).is_none());
}
