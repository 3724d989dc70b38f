//! Two answers: what of them has to be the same.

use crate::differential::http::Answer;
use crate::differential::json;
use support::families;

/// The headers that clients act upon.
const HEADERS: [&str; 15] = [
    "content-type",
    "content-encoding",
    "location",
    "allow",
    "x-content-type-options",
    "www-authenticate",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "cache-control",
    "content-security-policy",
    "x-frame-options",
    "x-xss-protection",
    "strict-transport-security",
];

/// The difference, if there is one.
pub(crate) fn difference(reference: &Answer, ours: &Answer) -> Option<String> {
    let mut differences = Vec::new();
    if head(reference) != head(ours) {
        differences.push(format!("reference: {}\nours:      {}", head(reference), head(ours)));
    }
    if differences.is_empty() || reference.status == ours.status {
        differences.extend(lines_difference(&body(reference), &body(ours)));
    } else {
        differences.push(format!(
            "reference: {:?}\nours:      {:?}",
            shortened(&reference.text()),
            shortened(&ours.text())
        ));
    }
    (!differences.is_empty()).then(|| differences.join("\n"))
}

/// Status and headers in one line.
pub(crate) fn head(answer: &Answer) -> String {
    let status = answer.status.map_or("no answer".to_owned(), |status| status.to_string());
    let headers = HEADERS.iter().filter_map(|name| Some((name, answer.header(name)?)));
    let headers = headers.map(|(name, value)| format!(" | {name}: {value}"));
    status + &headers.collect::<String>()
}

/// The body in lines, by what it is.
fn body(answer: &Answer) -> Vec<String> {
    let kind = answer.header("content-type").unwrap_or_default();
    let bytes = answer.decoded();
    // A character for each byte that is none: the reference sends a HELP as it was pushed.
    let text: String = bytes
        .utf8_chunks()
        .flat_map(|chunk| {
            let invalid = chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER);
            chunk.valid().chars().chain(invalid)
        })
        .collect();
    if answer.status != Some(200) {
        // Go's protobuf varies its spaces from build to build.
        return text.replace('\u{a0}', " ").split('\n').map(str::to_owned).collect();
    }
    if kind.starts_with("text/plain; version=0.0.4") {
        families::text(&text)
    } else if kind.contains("encoding=delimited") {
        families::delimited(&bytes)
    } else if kind.starts_with("application/vnd.google.protobuf") {
        families::prototext(&text)
    } else if kind == "application/json" && text.contains("\"data\":[") {
        json::groups(&text)
    } else if kind == "application/json" && text.contains("\"build_information\"") {
        json::status_frame(&text)
    } else {
        text.split('\n').map(str::to_owned).collect()
    }
}

/// The lines that only one of the two has.
fn lines_difference(reference: &[String], ours: &[String]) -> Option<String> {
    const LINES_MAX: usize = 6;
    if reference == ours {
        return None;
    }
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).take(LINES_MAX).cloned().collect()
    };
    let (theirs, own) = (only(reference, ours), only(ours, reference));
    if theirs.len() == own.len() && !own.is_empty() {
        let pairs = theirs.iter().zip(&own).map(|(theirs, own)| {
            let start = first_difference(theirs, own);
            format!("reference: {}\nours:      {}", around(theirs, start), around(own, start))
        });
        return Some(pairs.collect::<Vec<_>>().join("\n"));
    }
    if theirs.is_empty() && own.is_empty() {
        return Some(format!("the order differs:\n    {reference:.600?}\n    {ours:.600?}"));
    }
    let list = |lines: &[String]| -> String {
        lines.iter().flat_map(|line| ["\n    ".to_owned(), shortened(line)]).collect()
    };
    Some(format!("only the reference has:{}\nonly we have:{}", list(&theirs), list(&own)))
}

/// Where two lines begin to differ.
fn first_difference(one: &str, other: &str) -> usize {
    let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other);
    one.floor_char_boundary(same.count())
}

/// The part of a line that is around a place.
fn around(line: &str, place: usize) -> String {
    const BEFORE: usize = 60;
    const BEHIND: usize = 200;
    let start = line.floor_char_boundary(place.saturating_sub(BEFORE));
    let end = line.ceil_char_boundary((place + BEHIND).min(line.len()));
    let dots = |cut: bool| if cut { "…" } else { "" };
    format!("{}{}{}", dots(start > 0), &line[start..end], dots(end < line.len()))
}

pub(crate) fn shortened(text: &str) -> String {
    around(text, 0)
}
