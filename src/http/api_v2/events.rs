//! What happens, as server-sent events (HTML Living Standard, 9.2).

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Response};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::query::{Query, Selection, bad};
use super::{ApiError, Context, render};
use crate::gateway::{Event, Gateway};
use crate::http::body::Bounds;
use crate::http::bounds::Reservation;
use crate::http::rejection::Rejection;
use crate::http::service::ResponseBody;

/// A line now and then, so that who has gone is noticed and proxies do not give up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// So many events are looked at in one go.
const EVENTS_AT_ONCE: usize = 256;
/// So much of them is written: it is there until the client takes it. One event is longer at most.
const PART_BYTES: usize = 16 * 1024;
/// What can happen, by [`Happened::as_str`].
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
    #[expect(dead_code, reason = "it counts by being there")]
    place: (OwnedSemaphorePermit, Reservation),
}

type Next = Pin<Box<dyn Future<Output = (Follower, Option<Bytes>)> + Send + Sync>>;

/// The events, for as long as the client listens and the gateway runs.
pub(in crate::http) struct EventsBody {
    next: Option<Next>,
}

impl std::fmt::Debug for EventsBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventsBody").finish_non_exhaustive()
    }
}

pub(super) fn follow(
    context: &Context<'_>,
    query: &Query<'_>,
    headers: &HeaderMap,
    bounds: &mut Bounds,
) -> Result<EventsBody, ApiError> {
    query.only_selection_and(&["event", "last_event_id"])?;
    let Some(place) = context.followers.try_take() else {
        let (_, limit) = context.followers.fill();
        return Err(ApiError::Rejected(Box::new(Rejection::Followers { limit })));
    };
    let selection = query.selection(bounds)?;
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
    let follower = Follower { gateway, latest, seen, selection, kinds, begun: false, place };
    Ok(EventsBody { next: Some(Box::pin(follower.next())) })
}

pub(super) fn response(body: EventsBody) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Events(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Follower {
    /// Waits for something to send; nothing at the end.
    async fn next(mut self) -> (Self, Option<Bytes>) {
        if !self.begun {
            self.begun = true;
            // At once, so that who connects sees that it has.
            return (self, Some(Bytes::from_static(b": tidegate\n\n")));
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
                return (self, Some(text.freeze()));
            }
            if self.seen < latest {
                continue;
            }
            if self.gateway.events().is_closed() {
                return (self, None);
            }
            let changed = self.latest.changed();
            match tokio::time::timeout(KEEP_ALIVE, changed).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return (self, None),
                Err(_) => return (self, Some(Bytes::from_static(b":\n\n"))),
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

impl hyper::body::Body for EventsBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let (follower, text) = std::task::ready!(next.as_mut().poll(context));
        self.next = text.is_some().then(|| Box::pin(follower.next()) as Next);
        Poll::Ready(text.map(|text| Ok(Frame::data(text))))
    }
}
