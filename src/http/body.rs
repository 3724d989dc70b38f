//! Reads request bodies within bounds, as sent and once decompressed.

use std::io::{self, Read};
use std::time::Duration;

use buf_list::BufList;
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::Body;
use hyper::header::CONTENT_ENCODING;

use super::Limits;
use super::bounds::Reservation;
use super::rejection::Rejection;
use crate::exposition::{Budget, ParseError, ParseLimits, PushFormat, likely_cause};
use crate::gateway::block_in_place_if;
use crate::model::{Limit, Meter, MetricFamily, NameRules, OverBudget};

/// The body of a request.
pub(super) type RequestBody<'a> = dyn Body<Data = Bytes, Error = BodyError> + Send + Unpin + 'a;
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Larger bodies are decompressed and parsed where it does not hold up other requests.
const INLINE_BYTES_MAX: usize = 128 * 1024;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Snappy,
    Zstd,
}

/// The first bytes of a snappy stream in the framing format.
const SNAPPY_STREAM: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// How much of what it has written a zstd decoder has to remember, as a power of two: what HTTP allows
/// a content coding (RFC 9659). The library's own bound is 128 MiB for each body.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Bounds of the body of a request.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) limits: Limits,
    /// Its share of the memory that all requests have between them.
    pub(super) held: Reservation,
}

impl Bounds {
    /// No more than so many bytes, compressed or not.
    pub(super) fn lower_to(&mut self, bytes: usize) {
        let Limits { body_bytes, decoded_bytes, .. } = &mut self.limits;
        *body_bytes = bytes.min(*body_bytes);
        *decoded_bytes = bytes.min(*decoded_bytes);
    }
}

/// Reads and decompresses a body.
pub(super) async fn read(
    headers: &HeaderMap,
    body: &mut RequestBody<'_>,
    Bounds { limits, held }: &mut Bounds,
) -> Result<Bytes, Rejection> {
    let encoding = Encoding::of(headers)?;
    let sent = receive(body, limits, held).await?;
    let decoded_max = limits.decoded_bytes;
    working_on(sent.num_bytes(), || decode(encoding, sent, decoded_max, held))
}

/// Reads a body as it was sent, whole: to be served, or handed on, more than once.
pub(super) async fn whole(
    body: &mut RequestBody<'_>,
    Bounds { limits, held }: &mut Bounds,
) -> Result<Bytes, Rejection> {
    let sent = receive(body, limits, held).await?;
    Ok(as_one(sent, held)?)
}

/// Reads a body and parses it as it is decompressed, so that the first that is too much ends it.
pub(super) async fn parse(
    headers: &HeaderMap,
    body: &mut RequestBody<'_>,
    format: PushFormat,
    names: NameRules,
    parse_limits: ParseLimits,
    Bounds { limits, held }: &mut Bounds,
) -> Result<Vec<MetricFamily>, Rejection> {
    let mut encoding = Encoding::of(headers)?;
    let mut sent = receive(body, limits, held).await?;
    let received = sent.num_bytes();
    let decoded_max = limits.decoded_bytes;
    // A compressed body may become a thousand times as much.
    let inline_max = match encoding {
        Encoding::Identity => INLINE_BYTES_MAX,
        _ => INLINE_BYTES_MAX / 32,
    };
    let is_large = sent.num_bytes() > inline_max;
    let place = if is_large { Some(held.place().await?) } else { None };
    let families = block_in_place_if(is_large, || {
        if encoding.is_block(&sent) {
            sent = decode(encoding, sent, decoded_max, held)?.into();
            encoding = Encoding::Identity;
        } else if encoding != Encoding::Identity {
            held.take(CHUNK_BYTES)?;
        }
        let mut parser = format.parser(names, Budget::new(parse_limits, held));
        let mut cause = None;
        let mut feed = |chunk: &[u8]| {
            let cause = *cause.get_or_insert_with(|| likely_cause(chunk));
            parser.feed(chunk).map_err(|error| parse_rejection(error, cause))
        };
        if encoding == Encoding::Identity {
            sent.iter().try_for_each(|part| feed(part))?;
        } else {
            decompress(encoding, &mut sent, decoded_max, feed)?;
        }
        let ended = parser.finish();
        ended.map_err(|error| parse_rejection(error, cause.flatten()))
    })?;
    drop(place);
    // The body as it was sent has been dropped.
    held.give_back(received);
    Ok(families)
}

/// Why a body is not parsed; of text also what it seems to be instead.
fn parse_rejection(error: ParseError, cause: Option<&'static str>) -> Rejection {
    let cause = cause.filter(|_| matches!(error, ParseError::Text { .. }));
    Rejection::Parse { error, cause }
}

/// Reads a body as it was sent.
async fn receive(
    body: &mut RequestBody<'_>,
    limits: &Limits,
    held: &mut Reservation,
) -> Result<BufList, Rejection> {
    let limit = limits.body_bytes;
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let seconds = limits.body_timeout.as_secs();
    let received = timed(limits.body_timeout, collect(body, limit, held)).await;
    received.ok_or(Rejection::BodyTimeout { seconds })?
}

/// Rejects a body labelled gzip without a gzip header where the body is otherwise ignored: the Go
/// Pushgateway decodes the body of every request. Only the header is read.
pub(super) async fn check_encoding(
    headers: &HeaderMap,
    body: &mut RequestBody<'_>,
    limits: &Limits,
) -> Result<(), Rejection> {
    /// Of a gzip header without what is optional.
    const HEADER_BYTES: usize = 10;
    if !Encoding::of(headers).is_ok_and(|encoding| encoding == Encoding::Gzip) {
        return Ok(());
    }
    let seconds = limits.body_timeout.as_secs();
    let begin = async {
        let mut begin = Vec::with_capacity(HEADER_BYTES);
        while begin.len() < HEADER_BYTES
            && let Some(frame) = body.frame().await
        {
            let frame = frame.map_err(|error| Rejection::BodyBroken(error.to_string()))?;
            let data = frame.into_data().unwrap_or_default();
            let wanted = HEADER_BYTES - begin.len();
            begin.extend_from_slice(data.get(..wanted).unwrap_or(&data));
        }
        Ok::<_, Rejection>(begin)
    };
    let begin = timed(limits.body_timeout, begin).await;
    let begin = begin.ok_or(Rejection::BodyTimeout { seconds })??;
    // Deflate is the one method that there is.
    if begin.len() == HEADER_BYTES && begin.starts_with(b"\x1f\x8b\x08") {
        return Ok(());
    }
    let reason = if begin.is_empty() { "EOF" } else { "invalid gzip header" };
    Err(Rejection::Encoding { encoding: "gzip", reason: reason.to_owned() })
}

/// Does work whose time grows with a body. A large one leaves the thread's other tasks to others.
pub(super) fn working_on<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    block_in_place_if(bytes > INLINE_BYTES_MAX, work)
}

fn too_large(limit: usize) -> Rejection {
    Rejection::BodyTooLarge { when: "as it is sent", setting: Limit::BodySize, limit }
}

fn too_large_once_decoded(limit: usize) -> Rejection {
    Rejection::BodyTooLarge { when: "once it is decompressed", setting: Limit::DecodedSize, limit }
}

async fn timed<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()
}

/// Of a body that comes in many frames: what is copied from them, which are parts of what the
/// connection reads into, and would keep all of it.
#[derive(Debug, Default)]
struct Parts {
    full: BufList,
    last: BytesMut,
}

/// The first of them, where it is not known how much is to come; else one has room for all. Room that
/// is not written to takes no memory.
const FIRST_PART_BYTES: usize = 8 * 1024;
/// The others: all of one size, so that nothing is moved as a body grows, and what a body leaves behind
/// fits the next.
const PART_BYTES: usize = 128 * 1024;

impl Parts {
    /// Copies a frame, behind which so much is known to come.
    fn push(&mut self, mut data: &[u8], left: u64) {
        while !data.is_empty() {
            let room = self.last.capacity() - self.last.len();
            if room == 0 {
                self.full.push_chunk(std::mem::take(&mut self.last).freeze());
                let bytes = match usize::try_from(left) {
                    Ok(left @ 1..) => left + data.len(),
                    _ if self.full.num_chunks() == 0 => FIRST_PART_BYTES,
                    _ => PART_BYTES,
                };
                self.last.reserve(bytes);
                continue;
            }
            let (copied, rest) = data.split_at(room.min(data.len()));
            self.last.extend_from_slice(copied);
            data = rest;
        }
    }

    fn finish(mut self) -> BufList {
        if !self.last.is_empty() {
            self.full.push_chunk(self.last.freeze());
        }
        self.full
    }
}

async fn collect(
    body: &mut RequestBody<'_>,
    limit: usize,
    held: &mut Reservation,
) -> Result<BufList, Rejection> {
    let mut first = Bytes::new();
    let mut parts = Parts::default();
    let mut len = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Rejection::BodyBroken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let is_first = len == 0;
        len = len.saturating_add(data.len());
        if len > limit {
            return Err(too_large(limit));
        }
        held.take(data.len())?;
        if is_first {
            // Most bodies are one frame: no copy.
            first = data;
            continue;
        }
        let left = body.size_hint().lower();
        if !first.is_empty() {
            let first = std::mem::take(&mut first);
            parts.push(&first, left.saturating_add(data.len() as u64));
        }
        parts.push(&data, left);
    }
    Ok(if first.is_empty() { parts.finish() } else { first.into() })
}

impl Encoding {
    /// Whether this is one snappy block, which is known when it is whole, and expands by a known factor
    /// at most.
    fn is_block(self, sent: &BufList) -> bool {
        self == Self::Snappy && !sent.chunk().starts_with(SNAPPY_STREAM)
    }

    /// One name, in any case. Unlike the Go Pushgateway, which parses what is in an encoding that it
    /// does not know as if it were in none.
    fn of(headers: &HeaderMap) -> Result<Self, Rejection> {
        let name = headers.get(CONTENT_ENCODING).map_or(&b""[..], |value| value.as_bytes());
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Ok(Self::Identity),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip),
            b"snappy" => Ok(Self::Snappy),
            b"zstd" => Ok(Self::Zstd),
            other => {
                let name = String::from_utf8_lossy(other).chars().take(64).collect();
                Err(Rejection::UnknownEncoding { name })
            }
        }
    }
}

/// So much is decompressed at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// A copy in a snappy block, of three bytes at least, stands for 64 bytes at most.
const SNAPPY_FACTOR_MAX: usize = 22;

/// All parts of a body, as one.
fn as_one(mut sent: BufList, held: &mut Reservation) -> Result<Bytes, OverBudget> {
    if sent.num_chunks() > 1 {
        held.take(sent.num_bytes())?;
    }
    Ok(sent.copy_to_bytes(sent.num_bytes()))
}

/// All of a body, as one, decompressed.
fn decode(
    encoding: Encoding,
    mut sent: BufList,
    limit: usize,
    held: &mut Reservation,
) -> Result<Bytes, Rejection> {
    match encoding {
        Encoding::Identity => Ok(as_one(sent, held)?),
        Encoding::Snappy if encoding.is_block(&sent) => {
            let bytes = &*as_one(sent, held)?;
            let failed = |reason: String| Rejection::Encoding { encoding: "snappy", reason };
            // No stream at all.
            if bytes.is_empty() {
                return Ok(Bytes::new());
            }
            let len =
                snap::raw::decompress_len(bytes).map_err(|error| failed(error.to_string()))?;
            if len > limit {
                return Err(too_large_once_decoded(limit));
            }
            if len > bytes.len().saturating_mul(SNAPPY_FACTOR_MAX) {
                let sent = bytes.len();
                return Err(failed(format!(
                    "{sent} bytes cannot be {len} bytes once decompressed"
                )));
            }
            held.take(len)?;
            let decoded = snap::raw::Decoder::new().decompress_vec(bytes);
            decoded.map(Bytes::from).map_err(|error| failed(error.to_string()))
        }
        _ => {
            let mut whole = Vec::new();
            decompress(encoding, &mut sent, limit, |chunk| {
                // A vector is there twice while it grows.
                held.take(2 * chunk.len())?;
                whole.extend_from_slice(chunk);
                Ok(())
            })?;
            Ok(whole.into())
        }
    }
}

/// Decompresses a stream, and hands it on part by part; no more than the limit.
fn decompress(
    encoding: Encoding,
    sent: &mut BufList,
    limit: usize,
    each: impl FnMut(&[u8]) -> Result<(), Rejection>,
) -> Result<(), Rejection> {
    let bytes = sent.reader();
    match encoding {
        Encoding::Gzip => parts("gzip", flate2::bufread::MultiGzDecoder::new(bytes), limit, each),
        Encoding::Zstd => {
            let decoder =
                zstd::stream::read::Decoder::with_buffer(bytes).and_then(|mut decoder| {
                    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                    Ok(decoder)
                });
            let failed = |error: io::Error| Rejection::Encoding {
                encoding: "zstd",
                reason: error.to_string(),
            };
            parts("zstd", decoder.map_err(failed)?, limit, each)
        }
        Encoding::Snappy => parts("snappy", snap::read::FrameDecoder::new(bytes), limit, each),
        Encoding::Identity => parts("identity", bytes, limit, each),
    }
}

fn parts(
    encoding: &'static str,
    mut decoder: impl Read,
    limit: usize,
    mut each: impl FnMut(&[u8]) -> Result<(), Rejection>,
) -> Result<(), Rejection> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut len = 0_usize;
    loop {
        let read = match decoder.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Rejection::Encoding { encoding, reason: error.to_string() });
            }
        };
        len = len.saturating_add(read);
        if len > limit {
            return Err(too_large_once_decoded(limit));
        }
        each(chunk.get(..read).unwrap_or_default())?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::http::bounds::Budget;

    const TEXT: &[u8] = b"metric 1\nmetric_two 2\n";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn snappy_framed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.into_inner().unwrap()
    }

    fn decode(encoding: Encoding, bytes: &[u8], limit: usize) -> Result<Bytes, Rejection> {
        let mut held = Budget::new(1 << 30).reservation();
        super::decode(encoding, Bytes::copy_from_slice(bytes).into(), limit, &mut held)
    }

    #[test]
    fn what_is_decoded_counts_for_all_requests() {
        let budget = Budget::new(10_000);
        let bomb = Bytes::from(gzip(&vec![b'\n'; 1_000_000]));
        let mut held = budget.reservation();
        let result = super::decode(Encoding::Gzip, bomb.into(), 10_000_000, &mut held);
        let alone = OverBudget::Alone { limit: 10_000 };
        assert!(matches!(result, Err(Rejection::OverBudget(error)) if error == alone));
        drop(held);
        let mut held = budget.reservation();
        assert_eq!(
            super::decode(Encoding::Gzip, Bytes::from(gzip(TEXT)).into(), 100, &mut held).unwrap(),
            TEXT
        );
    }

    #[test]
    fn every_encoding_is_undone() {
        let raw = snap::raw::Encoder::new().compress_vec(TEXT).unwrap();
        for (encoding, bytes) in [
            (Encoding::Gzip, gzip(TEXT)),
            (Encoding::Gzip, [gzip(&TEXT[..5]), gzip(&TEXT[5..])].concat()),
            (Encoding::Snappy, snappy_framed(TEXT)),
            (Encoding::Snappy, raw),
            (Encoding::Zstd, zstd::encode_all(TEXT, 1).unwrap()),
        ] {
            assert_eq!(decode(encoding, &bytes, TEXT.len()).unwrap(), TEXT, "{encoding:?}");
            let small = decode(encoding, &bytes, TEXT.len() - 1);
            assert!(matches!(small, Err(Rejection::BodyTooLarge { .. })), "{encoding:?}");
        }
    }

    #[test]
    fn what_is_not_in_the_encoding_is_refused() {
        for encoding in [Encoding::Gzip, Encoding::Snappy, Encoding::Zstd] {
            for bytes in [TEXT, b"\x1f\x8b", b"\xff\x06\x00\x00sNaPpY\x00"] {
                let result = decode(encoding, bytes, 1000);
                assert!(result.is_err(), "{encoding:?} {bytes:?} {result:?}");
            }
        }
        let mut cut = gzip(TEXT);
        cut.truncate(cut.len() - 9);
        assert!(decode(Encoding::Gzip, &cut, 1000).is_err());
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![b'\n'; 50_000_000]);
        let result = decode(Encoding::Gzip, &bomb, 1_000_000);
        assert!(matches!(result, Err(Rejection::BodyTooLarge { .. })));
        // A raw block says its length in front: it is not believed.
        let claims_4_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        let result = decode(Encoding::Snappy, &claims_4_gib, 1_000_000);
        assert!(matches!(result, Err(Rejection::BodyTooLarge { .. })));
        let claims_255_mib = [0x80, 0x80, 0xc0, 0x7f, 0];
        let result = decode(Encoding::Snappy, &claims_255_mib, 1 << 30);
        assert!(
            matches!(result, Err(Rejection::Encoding { .. })),
            "it takes no memory: {result:?}"
        );
        let zeros = snap::raw::Encoder::new().compress_vec(&vec![0; 1 << 20]).unwrap();
        assert_eq!(decode(Encoding::Snappy, &zeros, 1 << 20).unwrap().len(), 1 << 20);
    }

    #[test]
    fn a_zstd_decoder_has_to_remember_no_more_than_http_allows() {
        let encoded = |window_log| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(window_log).unwrap();
            // In parts: a frame whose length is known has no larger window than that.
            for line in TEXT.split_inclusive(|byte| *byte == b'\n') {
                encoder.write_all(line).unwrap();
            }
            encoder.finish().unwrap()
        };
        assert_eq!(decode(Encoding::Zstd, &encoded(23), 1000).unwrap(), TEXT);
        let result = decode(Encoding::Zstd, &encoded(24), 1000);
        assert!(matches!(result, Err(Rejection::Encoding { .. })), "{result:?}");
    }

    #[test]
    fn names_of_encodings_are_read_in_any_case() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, value.parse().unwrap());
            Encoding::of(&headers).map_err(|error| error.to_string())
        };
        for name in ["GZip", "x-gzip", " gzip "] {
            assert_eq!(of(name), Ok(Encoding::Gzip), "{name}");
        }
        assert_eq!(of("identity"), Ok(Encoding::Identity));
        for name in ["gzip, gzip", "deflate", "br"] {
            let error = of(name).unwrap_err();
            assert!(error.contains(name) && error.contains("zstd"), "{error}");
        }
    }
}
