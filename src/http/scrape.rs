//! GET on the exposition: streams runs, in the format and the encoding that the scraper wants.

use std::convert::Infallible;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use buf_list::BufList;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, VARY,
};

use super::endpoint::{Request, Site};
use super::rejection::{Refused, Rejection};
use super::reply::{ReplyBody, Response};
use crate::exposition::{ContentEncoding, ScrapeFormat};
use crate::gateway::{Exposition, Gateway, Place, ScrapeOptions};
use crate::telemetry::metrics::SelfMetrics;

/// So much is handed to the connection at a time, in so many parts: as few system calls as the
/// kernel allows for, as each wakes up whoever reads.
const FRAME_BYTES: usize = 512 * 1024;
/// Of what is made for the one scrape, less: it is held until the other end reads it.
const MADE_FRAME_BYTES: usize = 128 * 1024;
const FRAME_PARTS: usize = 60;
/// After this time a frame goes out as it is: what is at hand does not wait for what has yet to be
/// compressed.
const FRAME_TIME: Duration = Duration::from_millis(1);

/// The body of a scrape. Holds what is still to be sent by reference; renders nothing that has not
/// changed.
struct ScrapeBody {
    gateway: Gateway,
    metrics: Arc<SelfMetrics>,
    /// For a place to fill the next frame, where that may take converting or compressing: a thread and
    /// its buffers each.
    waits: Option<WaitForPlace>,
    exposition: Exposition,
    began: Instant,
    /// The next frame.
    frame: BufList,
    /// Of what is sent as it is kept.
    left: Option<u64>,
    ended: bool,
}

type WaitForPlace = Pin<Box<dyn Future<Output = Place> + Send + Sync>>;

impl std::fmt::Debug for ScrapeBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScrapeBody").field("exposition", &self.exposition).finish_non_exhaustive()
    }
}

/// A scrape waits so long for all that was committed when it came.
const CATCH_UP: Duration = Duration::from_millis(250);
/// How old what is served may be, in seconds: nothing of a batch is missing that is older.
const STALENESS: HeaderName = HeaderName::from_static("tidegate-staleness");

/// Answers a scrape.
pub(super) async fn scrape(request: Request<'_>) -> Result<Response, Refused> {
    let gateway = request.gateway()?;
    let began = Instant::now();
    let staleness = fresh(request.site, &gateway).await?;
    let options = options(&request);
    let exposition = gateway.scrape(options).await;
    let mut response = answer(&request, gateway, exposition, options, began);
    response.headers_mut().extend(staleness.map(|value| (STALENESS, value)));
    Ok(response)
}

/// The self metrics alone.
pub(super) fn own(request: &Request<'_>) -> Result<Response, Refused> {
    let gateway = request.gateway()?;
    let options = options(request);
    let exposition = gateway.own_exposition(options);
    Ok(answer(request, gateway, exposition, options, Instant::now()))
}

/// Waits, but not for long, for what other replicas have committed. Returns how old what is here is, where
/// there are others.
async fn fresh(site: &Site, gateway: &Gateway) -> Result<Option<HeaderValue>, Rejection> {
    let Some((replicas, replica)) = site.replicas.as_ref().zip(gateway.replica()) else {
        return Ok(None);
    };
    if gateway.catch_up(CATCH_UP).await {
        return Ok(Some(HeaderValue::from_static("0")));
    }
    let staleness = replica.staleness();
    if staleness > replicas.stale_limit() {
        return Err(Rejection::Stale { seconds: staleness.as_secs() });
    }
    Ok(HeaderValue::try_from(format!("{:.3}", staleness.as_secs_f64())).ok())
}

fn options(request: &Request<'_>) -> ScrapeOptions {
    let headers = &request.head.headers;
    // The first value alone, as in Go.
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let encodings = headers.get_all(ACCEPT_ENCODING).iter();
    ScrapeOptions {
        format: ScrapeFormat::negotiate(accept, request.site.options.openmetrics),
        encoding: ContentEncoding::negotiate(encodings.filter_map(|value| value.to_str().ok())),
    }
}

fn answer(
    request: &Request<'_>,
    gateway: Gateway,
    exposition: Exposition,
    options: ScrapeOptions,
    began: Instant,
) -> Response {
    let metrics = Arc::clone(&request.site.metrics);
    let body = ScrapeBody::new(gateway, metrics, exposition, began, options.encoding);
    let bytes = body.bytes();
    let mut response = Response::new(ReplyBody::streamed(body, bytes));
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
        metrics: Arc<SelfMetrics>,
        exposition: Exposition,
        began: Instant,
        encoding: ContentEncoding,
    ) -> Self {
        let left = exposition.len().filter(|_| encoding == ContentEncoding::Identity);
        let frame = BufList::new();
        Self { gateway, metrics, waits: None, exposition, began, frame, left, ended: false }
    }

    /// How much memory it takes beside what is stored: what is sent as it is kept takes none.
    fn bytes(&self) -> usize {
        if self.left.is_some() { 0 } else { MADE_FRAME_BYTES }
    }

    /// Fills the frame.
    fn fill(&mut self) {
        let began = Instant::now();
        let most = if self.left.is_some() { FRAME_BYTES } else { MADE_FRAME_BYTES };
        let has_room = |frame: &BufList| {
            has_room(frame.num_chunks(), frame.num_bytes(), most, began.elapsed())
        };
        while !self.ended && has_room(&self.frame) {
            self.ended = !self.exposition.next_frames(&mut self.frame);
            if self.ended {
                self.metrics.scraped(self.began.elapsed());
            }
        }
    }
}

/// Whether a frame takes more. An empty one always does, however late it is: it would end the body.
fn has_room(parts: usize, bytes: usize, most: usize, took: Duration) -> bool {
    parts == 0 || parts < FRAME_PARTS && bytes < most && took < FRAME_TIME
}

impl Body for ScrapeBody {
    type Data = BufList;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<BufList>, Infallible>>> {
        // Bytes that are sent as they are kept need none.
        let place = if self.ended || self.left.is_some() {
            None
        } else {
            let gateway = self.gateway.clone();
            let waits = self.waits.get_or_insert_with(|| Box::pin(gateway.scrape_place()));
            let place = ready!(waits.as_mut().poll(context));
            self.waits = None;
            Some(place)
        };
        self.fill();
        drop(place);
        let frame = mem::take(&mut self.frame);
        let bytes = frame.num_bytes();
        self.left = self.left.map(|left| left.saturating_sub(bytes as u64));
        Poll::Ready((bytes > 0).then(|| Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.frame.num_chunks() == 0
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_bounded_and_never_empty() {
        assert!(has_room(1, FRAME_BYTES - 1, FRAME_BYTES, Duration::ZERO));
        assert!(
            has_room(0, 0, FRAME_BYTES, FRAME_TIME * 9),
            "a thread may have been kept from running"
        );
        assert!(!has_room(1, FRAME_BYTES, FRAME_BYTES, Duration::ZERO));
        assert!(!has_room(FRAME_PARTS, 1, FRAME_BYTES, Duration::ZERO));
        assert!(!has_room(1, 1, FRAME_BYTES, FRAME_TIME));
    }
}
