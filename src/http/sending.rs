//! Answers on their way: each has a time by which it has to be sent, on every protocol.
//!
//! Each part of an answer holds its own time limit, until the connection has let go of it: HTTP/2 keeps
//! parts for which its client has no window long after the body has ended.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use buf_list::BufList;
use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};

use super::bounds::{Reservation, SendBy, Sending};
use super::reply::ReplyBody;
use crate::store::ReadError;

/// The body of an answer, with its time limit.
#[derive(Debug)]
pub(super) struct Timed {
    body: ReplyBody,
    limit: Limit,
    /// Has counted what it takes.
    held: Option<Arc<Reservation>>,
}

#[derive(Debug)]
enum Limit {
    /// There is nothing to send.
    None,
    /// For all of it.
    Whole(Arc<Sending>),
    /// For each part, from when there is one: events end with the gateway.
    Part(SendBy, Duration),
}

/// A part of a body.
#[derive(Debug)]
pub(super) struct Parcel {
    bytes: BufList,
    _sending: Arc<Sending>,
    _held: Option<Arc<Reservation>>,
}

impl Timed {
    /// A body that is about to be sent, on the connection whose answers are watched by `send_by`.
    pub(super) fn new(body: ReplyBody, send_by: &SendBy, within: Duration) -> Self {
        let limit = match &body {
            body if body.is_endless() => Limit::Part(send_by.clone(), within),
            body if body.is_end_stream() => Limit::None,
            _ => Limit::Whole(Arc::new(send_by.sending(within))),
        };
        Self { body, limit, held: None }
    }

    /// Keeps what has counted its memory until it is sent.
    pub(super) fn holding(self, held: Reservation) -> Self {
        Self { held: Some(Arc::new(held)), ..self }
    }
}

impl Body for Timed {
    type Data = Parcel;
    type Error = ReadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Parcel>, ReadError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        let sending = match (&this.limit, &frame) {
            (Limit::Whole(sending), Some(_)) => Arc::clone(sending),
            (Limit::Part(send_by, within), Some(_)) => Arc::new(send_by.sending(*within)),
            _ => return Poll::Ready(None),
        };
        let held = this.held.clone();
        let parcel = |bytes| Parcel { bytes, _sending: sending, _held: held };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(parcel))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Buf for Parcel {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    fn advance(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
    }

    fn copy_to_bytes(&mut self, bytes: usize) -> Bytes {
        self.bytes.copy_to_bytes(bytes)
    }
}
