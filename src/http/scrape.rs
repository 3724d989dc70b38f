//! GET on the exposition: streams runs, compressed where the client wants that.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use hyper::{HeaderMap, Response};

use crate::exposition::TEXT_CONTENT_TYPE;
use crate::exposition::gzip::{self, Member};
use crate::gateway::{Exposition, Gateway, beside_other_tasks};

/// The body of a scrape. Holds what is still to be sent by reference; renders nothing.
#[derive(Debug)]
pub(super) struct ScrapeBody {
    gateway: Gateway,
    exposition: Exposition,
    began: Instant,
    /// Cut from the exposition, not yet sent.
    frames: VecDeque<Bytes>,
    gzip: Option<GzipState>,
    left: Option<u64>,
    ended: bool,
}

#[derive(Debug)]
struct GzipState {
    member: Member,
    len: u64,
    scrape: u64,
}

/// Answers a scrape.
pub(super) async fn scrape(gateway: &Gateway, headers: &HeaderMap) -> Response<ScrapeBody> {
    let began = Instant::now();
    let exposition = gateway.scrape().await;
    let body = ScrapeBody::new(gateway.clone(), exposition, began, accepts_gzip(headers));
    let compressed = body.gzip.is_some();
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_CONTENT_TYPE));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

impl ScrapeBody {
    fn new(gateway: Gateway, exposition: Exposition, began: Instant, compress: bool) -> Self {
        let mut frames = VecDeque::new();
        let gzip = compress.then(|| {
            frames.push_back(Bytes::from_static(&gzip::HEADER));
            GzipState { member: Member::default(), len: 0, scrape: gateway.gzip_cache().begin() }
        });
        let left = if compress { None } else { exposition.len() };
        Self { gateway, exposition, began, frames, gzip, left, ended: false }
    }

    /// Cuts more frames, if there are any.
    fn refill(&mut self) {
        match (self.exposition.next_run(), &mut self.gzip) {
            (Some(run), None) => self.frames.extend(run.into_frames()),
            (Some(run), Some(gzip)) => {
                let cache = self.gateway.gzip_cache();
                let deflated = cache.get(&run, gzip.scrape).unwrap_or_else(|| {
                    // Half a millisecond each: not where it holds up pushes.
                    beside_other_tasks(true, || cache.deflate(&run, gzip.scrape))
                });
                gzip.len += run.len() as u64;
                self.frames.push_back(gzip.member.join(&deflated));
            }
            (None, gzip) => {
                self.ended = true;
                if let Some(gzip) = gzip.take() {
                    self.gateway.gzip_cache().end(gzip.scrape);
                    self.frames.push_back(gzip.member.finish(gzip.len));
                }
                self.gateway.scraped(self.began);
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

/// Whether the client prefers gzip to identity (RFC 9110, 12.5.3). A tie goes to identity, and `*`
/// by itself means that too, as in the Go client library.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity) = (0.0, None);
    for value in headers.get_all(ACCEPT_ENCODING) {
        for clause in value.to_str().unwrap_or("").split(',') {
            let mut parts = clause.split(';').map(str::trim);
            let name = parts.next().unwrap_or("");
            let quality = parts.find_map(|part| part.strip_prefix("q=")).unwrap_or("1");
            let quality = quality.parse::<f32>().unwrap_or(0.0);
            if name.eq_ignore_ascii_case("gzip") {
                gzip = quality;
            } else if name.eq_ignore_ascii_case("identity") {
                identity = Some(quality);
            }
        }
    }
    gzip > identity.unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_used_where_it_is_preferred() {
        for (value, expected) in [
            ("gzip", true),
            ("gzip, deflate, br", true),
            ("identity", false),
            ("", false),
            ("*", false),
            ("gzip;q=0", false),
            ("gzip;q=0.5, identity", false),
            ("gzip, identity", false),
            ("gzip;q=0.8, identity;q=0.2", true),
            ("deflate, GZIP ; q=0.1", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
