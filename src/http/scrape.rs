//! GET on the exposition: streams runs, in the format and the encoding that the scraper wants.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use hyper::{HeaderMap, Response};

use crate::exposition::gzip::{self, Member};
use crate::exposition::{ContentEncoding, ScrapeFormat};
use crate::gateway::{Compressed, Exposition, Gateway, ScrapeOptions};

/// The body of a scrape. Holds what is still to be sent by reference; renders nothing that has not
/// changed.
#[derive(Debug)]
pub(super) struct ScrapeBody {
    gateway: Gateway,
    exposition: Exposition,
    began: Instant,
    /// Cut from the exposition, not yet sent.
    frames: VecDeque<Bytes>,
    encoder: Encoder,
    left: Option<u64>,
    ended: bool,
}

#[derive(Debug)]
enum Encoder {
    Identity,
    /// With the length so far.
    Gzip(Member, u64),
    Zstd,
}

/// Answers a scrape.
pub(super) async fn scrape(
    gateway: &Gateway,
    headers: &HeaderMap,
    openmetrics: bool,
) -> Response<ScrapeBody> {
    let began = Instant::now();
    // The first value alone, as in Go.
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let encodings = headers.get_all(ACCEPT_ENCODING).iter();
    let options = ScrapeOptions {
        format: ScrapeFormat::negotiate(accept, openmetrics),
        encoding: ContentEncoding::negotiate(encodings.filter_map(|value| value.to_str().ok())),
    };
    let exposition = gateway.scrape(options).await;
    let mut response =
        Response::new(ScrapeBody::new(gateway.clone(), exposition, began, options.encoding));
    let headers = response.headers_mut();
    let content_type = HeaderValue::try_from(options.format.content_type());
    headers.insert(CONTENT_TYPE, content_type.expect("the names of formats are ASCII"));
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if options.encoding != ContentEncoding::Identity {
        let name = HeaderValue::from_static(options.encoding.as_str());
        headers.insert(CONTENT_ENCODING, name);
    }
    response
}

impl ScrapeBody {
    fn new(
        gateway: Gateway,
        exposition: Exposition,
        began: Instant,
        encoding: ContentEncoding,
    ) -> Self {
        let mut frames = VecDeque::new();
        let (encoder, left) = match encoding {
            ContentEncoding::Identity => (Encoder::Identity, exposition.len()),
            ContentEncoding::Gzip => {
                frames.push_back(Bytes::from_static(&gzip::HEADER));
                (Encoder::Gzip(Member::default(), 0), None)
            }
            ContentEncoding::Zstd => (Encoder::Zstd, None),
        };
        Self { gateway, exposition, began, frames, encoder, left, ended: false }
    }

    /// Cuts more frames, if there are any.
    fn refill(&mut self) {
        let Some(run) = self.exposition.next_run() else {
            if let Encoder::Gzip(member, len) = &self.encoder {
                self.frames.push_back(member.clone().finish(*len));
            }
            self.ended = true;
            self.exposition.finish();
            self.gateway.scraped(self.began);
            return;
        };
        match &mut self.encoder {
            Encoder::Identity => self.frames.extend(run.into_frames()),
            Encoder::Gzip(member, len) => {
                *len += run.len() as u64;
                if let Compressed::Gzip(part) = self.exposition.gzip(&run) {
                    self.frames.push_back(member.join(&part));
                }
            }
            Encoder::Zstd => {
                if let Compressed::Zstd(frame) = self.exposition.zstd(&run) {
                    self.frames.push_back(frame);
                }
            }
        }
    }
}

impl Body for ScrapeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while self.frames.is_empty() && !self.ended {
            self.refill();
        }
        let Some(bytes) = self.frames.pop_front() else { return Poll::Ready(None) };
        self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
