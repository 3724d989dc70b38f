//! The differences that we want, each with its reason. This is the whole list: whatever else
//! differs is a fault.

use crate::answers::{difference, head};
use crate::http::{Answer, Request};
use crate::pair::Pair;

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
    /// What Go's server calls a malformed request is one here too, with other words.
    Malformed,
    /// There is no Go runtime here: no profiles, and no `go_` families that a push could clash
    /// with.
    GoRuntime,
    /// zstd bodies, and snappy bodies that are one raw block, as a client for Rust sends them.
    MoreEncodings,
    /// What is wrong with a damaged body, its decoder says in its own words.
    Decoders,
    /// The text format is read and written as by later releases of the reference: histograms with
    /// counts that are no integers, gauge histograms, no negative counts, no name in quotes that
    /// would be none without.
    Later,
    /// No push, accepted or refused, breaks a scrape or the pushes after it. The reference stores
    /// what it refuses to show.
    Poison,
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
    /// A file for users and TLS that is of no use, or asks for less than before, does not count.
    Kept,
    /// A job that is no base64 is quoted as it was sent, not as far as it could be decoded.
    JobBase64,
    /// What goes wrong at the start is in the exit code, and wrong usage has a code of its own.
    ExitCode,
    /// The program says what it is, and lists settings of its own.
    Itself,
}

/// What explains a difference wherever it turns up: the reference's answer, put as ours has to be.
/// None if nothing does.
pub(crate) fn expected(
    request: &Request,
    reference: &Answer,
    ours: &Answer,
) -> Option<(Why, Answer)> {
    let text = reference.text();
    if reference.status.is_none() {
        let refused = ours.status == Some(400)
            && ours.text().starts_with(INCONSISTENT)
            && ours.text().ends_with('\n');
        // A line that begins with empty braces makes its parser panic, too.
        let refused = refused || ours.text().ends_with(": invalid metric name\n");
        let pushes = matches!(request.method.as_str(), "PUT" | "POST");
        return (pushes && refused).then(|| (Why::Dropped, plain_text(ours)));
    }
    if text.starts_with(INCONSISTENT) && ours.text().starts_with(INCONSISTENT) {
        let several = text.contains("error(s) occurred");
        return several.then(|| (Why::First, ours.clone()));
    }
    // It takes names in quotes for names of metrics that would be none without, and finds fault with
    // what follows.
    let line = |answer: &Answer| {
        let text = answer.text();
        text.split_once(": ").map(|(place, _)| place.to_owned())
    };
    if ours.text().contains(": invalid metric name \"")
        && reference.status == Some(400)
        && line(reference) == line(ours)
    {
        return Some((Why::Later, ours.clone()));
    }
    if reference.status == Some(401) && ours.status == Some(401) {
        let mut expected = reference.clone();
        expected.set("www-authenticate", "Basic realm=\"tidegate\"".to_owned());
        return Some((Why::Realm, expected));
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
            Some(200 | 202) => Some((Why::Slashes, ours.clone())),
            Some(400) if ours.text().starts_with("a part of the path") => {
                Some((Why::Slashes, plain_text(ours)))
            }
            Some(400) if ours.text().contains("pushes go to") => {
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

const INCONSISTENT: &str = "pushed metrics are invalid or inconsistent with existing metrics: ";
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
    for why in [
        Why::Dropped,
        Why::Page,
        Why::Malformed,
        Why::Head,
        Why::Decoders,
        Why::JobBase64,
        Why::Slashes,
        Why::Hints,
    ] {
        assert!(pair.met(why), "{why:?} does not occur: take it off the list");
    }
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
