//! Events of the gateway as server-sent events (HTML Living Standard, 9.2).

use std::mem;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::HeaderMap;
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::gateway::{Event, Gateway};
use crate::http::body::Bounds;
use crate::http::bounds::Reservation;
use crate::http::query::{Context, Query, QueryError, Selection, bad, json as render};
use crate::http::rejection::Rejection;
use crate::http::reply::{ReplyBody, Response};
use crate::store::ReadError;

/// A line now and then, so that a client that has left is noticed and proxies do not give up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// So many events are looked at in one go.
const EVENTS_AT_ONCE: usize = 256;
/// A replica that is behind the one that a client followed before is so for less than this.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// So much of them is written: it is there until the client takes it. One event is longer at most.
const PART_BYTES: usize = 16 * 1024;
/// How much memory an answer takes: the part that is on its way, and the next.
const SENDING_BYTES: usize = 2 * PART_BYTES;
/// The kinds of events, by [`EventKind::as_str`].
pub(in crate::http) const KINDS: [&str; 4] = ["pushed", "refused", "expired", "deleted"];

/// Follows the events.
struct Follower {
    gateway: Gateway,
    latest: watch::Receiver<u64>,
    /// The last event that was sent, or passed over.
    seen: u64,
    selection: Selection,
    kinds: Vec<&'static str>,
    begun: bool,
    /// Whether another replica may have told of the last event that was sent, and this one not yet.
    may_be_behind: bool,
    #[expect(dead_code, reason = "it counts by being there")]
    place: (OwnedSemaphorePermit, Reservation),
}

/// The events, for as long as the client listens and the gateway runs.
pub(super) fn follow(
    context: &Context<'_>,
    query: &Query<'_>,
    headers: &HeaderMap,
    bounds: &mut Bounds,
) -> Result<Response, QueryError> {
    query.only_selection_and(&["event", "last_event_id"])?;
    let Some(place) = context.site.followers.try_take() else {
        let (_, limit) = context.site.followers.fill();
        return Err(QueryError::Rejected(Box::new(Rejection::Followers { limit })));
    };
    let selection = query.selection(bounds)?.by_labels()?;
    let mut kinds = Vec::new();
    for (_, kind) in query.pairs().filter(|(name, _)| *name == "event") {
        let known = KINDS.into_iter().find(|known| *known == kind);
        let expected = || bad(format!("event={kind}: expected {}", KINDS.join(", ")));
        let known = known.ok_or_else(expected)?;
        if !kinds.contains(&known) {
            kinds.push(known);
        }
    }
    let gateway = context.gateway.clone();
    let latest = gateway.events().latest();
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let last = header.or_else(|| query.get("last_event_id"));
    let seen = match last.map(|id| (id, id.trim().parse())) {
        None => *latest.borrow(),
        Some((_, Ok(id))) => id,
        Some((id, Err(_))) => {
            return Err(bad(format!("Last-Event-ID: {id}: expected the id of an event")));
        }
    };
    let place = (place, bounds.held.hand_over());
    let may_be_behind = gateway.replica().is_some();
    let follower =
        Follower { gateway, latest, seen, selection, kinds, begun: false, may_be_behind, place };
    let events = stream::unfold(follower, |mut follower| async {
        let text = follower.next().await?;
        Some((Ok::<_, ReadError>(Frame::data(text)), follower))
    });
    let body = ReplyBody::in_parts(StreamBody::new(events), SENDING_BYTES).endless();
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Follower {
    /// Waits for something to send; nothing at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.begun {
            self.begun = true;
            // At once, so that who connects sees that it has.
            return Some(Bytes::from_static(b": tidegate\n\n"));
        }
        if mem::take(&mut self.may_be_behind) {
            let has_told = self.latest.wait_for(|latest| *latest >= self.seen);
            let _ = tokio::time::timeout(BEHIND_MAX, has_told).await;
        }
        loop {
            let latest = *self.latest.borrow_and_update();
            let followed = self.gateway.events().after(self.seen, EVENTS_AT_ONCE);
            let mut text = BytesMut::new();
            if followed.missed {
                text.extend_from_slice(b"event: missed\ndata: {}\n\n");
            }
            self.seen = followed.last;
            for event in &followed.events {
                if text.len() >= PART_BYTES {
                    break;
                }
                self.write(&mut text, event);
                self.seen = event.id;
            }
            if !text.is_empty() {
                return Some(text.freeze());
            }
            if self.seen < latest {
                continue;
            }
            if self.gateway.events().is_closed() {
                return None;
            }
            let changed = self.latest.changed();
            match tokio::time::timeout(KEEP_ALIVE, changed).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }

    fn write(&self, out: &mut BytesMut, event: &Event) {
        let kind = event.what.as_str();
        if (self.kinds.is_empty() || self.kinds.contains(&kind))
            && self.selection.matches(&event.key)
        {
            out.extend_from_slice(event.text(|| {
                let data = render::event(&self.gateway, event);
                format!("id: {}\nevent: {kind}\ndata: {data}\n\n", event.id).into()
            }));
        }
    }
}
