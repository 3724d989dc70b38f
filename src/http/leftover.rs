//! The rest of the body of a request that was answered without it.
//!
//! An answer does not wait for a body that nobody wants, and the body is read all the same, within
//! bounds: a connection that is closed behind an answer, with something unread, may lose it. Where the
//! client waits to be asked for the body (`Expect: 100-continue`) it is not asked.

use std::convert::Infallible;
use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::EXPECT;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Version};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// So much is read of it, as by Go's server.
const BYTES_MAX: usize = 256 * 1024;
/// For so long.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Bodies that wait to be read on one connection. Of those beyond it nothing is read.
const WAITING_MAX: usize = 64;

/// A body that knows how far it was read.
#[derive(Debug)]
pub(super) struct Watched<B> {
    body: B,
    /// Whether the client waits to be asked for it.
    awaited: bool,
    ended: bool,
}

impl<B: Body> Watched<B> {
    /// The body of a request with this head.
    pub(super) fn new(head: &Parts, body: B) -> Self {
        let awaited = head.version == Version::HTTP_11 && expects_continue(&head.headers);
        let ended = body.is_end_stream();
        Self { body, awaited, ended }
    }

    /// The body, if there may be something left of it that is sent without being asked for.
    pub(super) fn left(self) -> Option<B> {
        (!self.ended && !self.awaited).then_some(self.body)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        // This is what asks for it.
        this.awaited = false;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        this.ended = !matches!(frame, Some(Ok(_))) || this.body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether a client says that it sends the body only once it is asked to.
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get_all(EXPECT)
        .iter()
        .any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Takes what is left of the bodies of a connection.
#[derive(Clone, Debug)]
pub(super) struct Leftovers {
    bodies: mpsc::Sender<Incoming>,
}

impl Leftovers {
    /// Takes them, and what reads them for as long as it is polled.
    pub(super) fn new() -> (Self, impl Future<Output = Infallible>) {
        let (bodies, mut left) = mpsc::channel(WAITING_MAX);
        let read = async move {
            let mut reading = JoinSet::new();
            loop {
                tokio::select! {
                    Some(body) = left.recv() => {
                        reading.spawn(discard(body));
                    }
                    Some(_) = reading.join_next() => {}
                    else => std::future::pending::<()>().await,
                }
            }
        };
        (Self { bodies }, read)
    }

    /// Has it read. Where too many wait already, it is not.
    pub(super) fn take(&self, body: Incoming) {
        let _ = self.bodies.try_send(body);
    }
}

/// Reads what is left of a body, within bounds.
async fn discard<B>(mut body: B)
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let read = async {
        let mut bytes = 0;
        while bytes <= BYTES_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            bytes += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // Whatever comes of it, the answer was given.
    let _ = tokio::time::timeout(TIME_MAX, read).await;
}
