//! Groups as push requests behind one another, as `export` writes them: a backup that any gateway takes.

use jiff::Timestamp;

use crate::exposition::persistence::ForeignGroup;
use crate::exposition::protobuf;
use crate::exposition::push_path::grouping_key_of;
use crate::model::NameRules;
use crate::time::UnixNanos;

/// The begin of a file of requests.
pub(super) const BEGINNING: &[u8] = b"PUT /";

/// When the group was last pushed: other gateways pass over it.
pub(super) const PUSHED: &str = "Tidegate-Pushed";

/// Reads all of them.
pub(super) fn read(mut bytes: &[u8]) -> Result<Vec<ForeignGroup>, String> {
    let mut groups = Vec::new();
    while !bytes.is_empty() {
        let number = groups.len() + 1;
        let (group, rest) = one(bytes).map_err(|reason| format!("request {number}: {reason}"))?;
        groups.push(group);
        bytes = rest;
    }
    Ok(groups)
}

fn one(bytes: &[u8]) -> Result<(ForeignGroup, &[u8]), String> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(bytes).map_err(|error| error.to_string())? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Err("the file ends in the middle of it".into()),
    };
    let header = |wanted: &str| {
        let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(wanted));
        header.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let length = header("Content-Length").and_then(|text| text.parse::<usize>().ok());
    let length = length.ok_or("it does not say how long it is")?;
    let end = head.checked_add(length).filter(|end| *end <= bytes.len());
    let body =
        end.and_then(|end| bytes.get(head..end)).ok_or("the file ends in the middle of it")?;
    let key = grouping_key_of(request.path.unwrap_or_default())?;
    let pushed = match header(PUSHED).map(|text| (text, text.parse::<Timestamp>())) {
        None => None,
        Some((_, Ok(at))) => Some(UnixNanos(i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX))),
        Some((text, Err(error))) => return Err(format!("{PUSHED}: {text}: {error}")),
    };
    let families = protobuf::decode(body, NameRules::Utf8).map_err(|error| error.to_string())?;
    let at = pushed.unwrap_or_default();
    let families = families.into_iter().map(|family| (at, family)).collect();
    let group = ForeignGroup { key, created: at, pushed, failed: None, families };
    Ok((group, bytes.get(head + length..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_backup_is_named_by_its_place() {
        let good = "PUT /metrics/job/a HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(read(good.as_bytes()).unwrap().len(), 1);
        for (text, part) in [
            ("PUT /metrics/job/a HTTP/1.1\r\n", "request 2: the file ends in the middle"),
            ("PUT /metrics/job/a HTTP/1.1\r\n\r\n", "request 2: it does not say how long"),
            (
                "PUT /metrics/job/a HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
                "request 2: the file ends",
            ),
            ("PUT /elsewhere HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "request 2: "),
            ("PUT /metrics/job/a HTTP/1.1\r\nContent-Length: 2\r\n\r\n\u{7f}x", "request 2: "),
            (
                "PUT /metrics/job/a HTTP/1.1\r\nTidegate-Pushed: soon\r\nContent-Length: 0\r\n\r\n",
                "request 2: Tidegate-Pushed: soon",
            ),
        ] {
            let error = read(format!("{good}{text}").as_bytes()).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
