//! JSON that is written while it is sent: a list of any length takes no more memory than what is listed.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde_json::{Map, Value};

use crate::http::bounds::Reservation;
use crate::http::reply::{self, ReplyBody, Response};
use crate::store::ReadError;

/// A part of an answer has about so many bytes.
const PART_BYTES: usize = 32 * 1024;

/// How much memory an answer takes while it is sent: the part that is on its way and the next, and as
/// much again for what the heap keeps of parts that were sent.
const SENDING_BYTES: usize = 256 * 1024;

/// The data of an answer.
pub(super) enum Data {
    Value(Value),
    List(List),
}

/// An object, of which one member is long.
pub(super) struct List {
    /// The other members.
    pub(super) fields: Map<String, Value>,
    /// The name of the one that is long.
    pub(super) name: &'static str,
    pub(super) items: Items,
    /// Has counted the memory of the items.
    pub(super) held: Reservation,
}

/// The contents of a long member.
pub(super) enum Items {
    /// It is an array of these.
    Array(Box<dyn Iterator<Item = Value> + Send + Sync>),
    /// It is an object whose text comes in parts: each call appends some of it, until one says that it
    /// was the last.
    Object(Box<MoreText>),
}

/// Appends some text. Returns whether there is more.
type MoreText = dyn FnMut(&mut Vec<u8>) -> bool + Send + Sync;

/// An answer that is being written.
struct JsonBody {
    items: Option<Items>,
    /// Whether an item was written, so that a comma is due.
    written: bool,
    /// Written and not yet sent.
    part: Vec<u8>,
    _held: Reservation,
}

impl From<Value> for Data {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl std::fmt::Debug for JsonBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonBody").finish_non_exhaustive()
    }
}

impl List {
    /// An array, of items that there are.
    pub(super) fn array(
        fields: Value,
        name: &'static str,
        items: impl Iterator<Item = Value> + Send + Sync + 'static,
        held: Reservation,
    ) -> Data {
        let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
        Data::List(Self { fields, name, items: Items::Array(Box::new(items)), held })
    }

    /// The answer: as a whole, where it is short.
    pub(super) fn into_response(self) -> Response {
        let Self { fields, name, items, held } = self;
        let mut part = br#"{"status":"success","data":{"#.to_vec();
        for (name, value) in &fields {
            push_json(&mut part, &Value::from(name.as_str()));
            part.push(b':');
            push_json(&mut part, value);
            part.push(b',');
        }
        push_json(&mut part, &Value::from(name));
        part.extend_from_slice(if matches!(items, Items::Array(_)) { b":[" } else { b":{" });
        let mut body = JsonBody { items: Some(items), written: false, part, _held: held };
        body.fill();
        let mut response = Response::new(match body.items {
            None => ReplyBody::whole(body.part),
            Some(_) => ReplyBody::in_parts(body, SENDING_BYTES),
        });
        reply::set_api_headers(response.headers_mut());
        response
    }
}

impl JsonBody {
    /// Writes until there is enough to send, or the end.
    fn fill(&mut self) {
        while self.part.len() < PART_BYTES {
            match &mut self.items {
                None => return,
                Some(Items::Array(items)) => match items.next() {
                    Some(item) => {
                        if std::mem::replace(&mut self.written, true) {
                            self.part.push(b',');
                        }
                        push_json(&mut self.part, &item);
                    }
                    None => self.end(b"]}}"),
                },
                Some(Items::Object(more)) => {
                    if !more(&mut self.part) {
                        self.end(b"}}}");
                    }
                }
            }
        }
    }

    fn end(&mut self, brackets: &[u8]) {
        self.part.extend_from_slice(brackets);
        self.items = None;
    }
}

fn push_json(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a vector takes all, and keys are text");
}

impl Body for JsonBody {
    type Data = Bytes;
    type Error = ReadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        self.fill();
        let part = std::mem::take(&mut self.part);
        Poll::Ready((!part.is_empty()).then(|| Ok(Frame::data(part.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.items.is_none() && self.part.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;
    use serde_json::json;

    use super::*;
    use crate::http::bounds::Budget;

    fn text(mut body: ReplyBody) -> (String, usize) {
        let (mut text, mut parts) = (String::new(), 0);
        let mut context = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) {
            let mut part = frame.into_data().unwrap();
            assert!(part.remaining() < 2 * PART_BYTES);
            text.push_str(std::str::from_utf8(&part.copy_to_bytes(part.remaining())).unwrap());
            parts += 1;
        }
        (text, parts)
    }

    #[test]
    fn a_long_list_is_written_in_parts_and_a_short_one_as_a_whole() {
        for count in [0_usize, 1, 3, 100_000] {
            let items = (0..count).map(|n| json!({ "n": n }));
            let held = Budget::new(0).reservation();
            let data = List::array(json!({ "total": count }), "list", items, held);
            let Data::List(list) = data else { panic!() };
            let (text, parts) = text(list.into_response().into_body());
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["data"]["list"].as_array().unwrap().len(), count);
            assert_eq!(value["data"]["total"], count);
            assert_eq!(parts > 1, count > 1000, "{count}: {parts}");
        }
    }
}
