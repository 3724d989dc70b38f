//! Reads request bodies within bounds, as sent and once decompressed.

use std::fmt::Display;
use std::io::{self, Read};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::Body;
use hyper::header::CONTENT_ENCODING;

use super::Limits;
use super::bounds::Reservation;
use super::rejection::Rejection;
use crate::gateway::beside_other_tasks;

/// Larger bodies are decompressed and parsed where it does not hold up other requests.
const INLINE_BYTES_MAX: usize = 128 * 1024;

/// What the name of an encoding stands for.
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

/// What the body of a request may take.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) limits: Limits,
    /// What it has taken of what all requests have between them.
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
pub(super) async fn read<B>(
    headers: &HeaderMap,
    body: &mut B,
    Bounds { limits, held }: &mut Bounds,
) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let encoding = Encoding::of(headers);
    let limit = limits.body_bytes;
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let seconds = limits.body_timeout.as_secs();
    let bytes = timed(limits.body_timeout, collect(body, limit, held))
        .await
        .ok_or(Rejection::BodyTimeout { seconds })??;
    if encoding == Encoding::Identity {
        return Ok(bytes);
    }
    let decoded_max = limits.decoded_bytes;
    working_on(bytes.len(), || decode(encoding, &bytes, decoded_max, held))
}

/// Refuses what says that it is gzip and does not begin so, of a body that is of no use otherwise: the
/// Go Pushgateway begins to decode whatever it is asked.
pub(super) async fn check_encoding<B>(
    headers: &HeaderMap,
    body: &mut B,
    Bounds { limits, held }: &mut Bounds,
) -> Result<(), Rejection>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    if Encoding::of(headers) != Encoding::Gzip {
        return Ok(());
    }
    let seconds = limits.body_timeout.as_secs();
    let bytes = timed(limits.body_timeout, collect(body, limits.body_bytes, held))
        .await
        .ok_or(Rejection::BodyTimeout { seconds })??;
    let decoder = flate2::read::GzDecoder::new(&bytes[..]);
    if decoder.header().is_some() {
        return Ok(());
    }
    let reason = if bytes.is_empty() { "EOF" } else { "invalid gzip header" };
    Err(Rejection::Encoding { encoding: "gzip", reason: reason.to_owned() })
}

/// Does work whose time grows with a body. A large one leaves the thread's other tasks to others.
pub(super) fn working_on<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    beside_other_tasks(bytes > INLINE_BYTES_MAX, work)
}

fn too_large(limit: usize) -> Rejection {
    Rejection::BodyTooLarge { when: "as it is sent", setting: "limits.body-size", limit }
}

fn too_large_once_decoded(limit: usize) -> Rejection {
    Rejection::BodyTooLarge {
        when: "once it is decompressed",
        setting: "limits.decoded-size",
        limit,
    }
}

async fn timed<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()
}

async fn collect<B>(body: &mut B, limit: usize, held: &mut Reservation) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Rejection::BodyBroken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        held.grow(data.len())?;
        if first.is_empty() && whole.is_empty() {
            // Most bodies are one frame: no copy.
            first = data;
            continue;
        }
        if whole.is_empty() {
            // At once what it says it is: a buffer that grows is there twice while it does. What is
            // not written to takes no memory.
            let left = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
            whole.reserve((first.len() + data.len()).saturating_add(left).min(limit));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

impl Encoding {
    /// As the Go Pushgateway: one name, in any case; an unknown one is ignored.
    fn of(headers: &HeaderMap) -> Self {
        let name = headers.get(CONTENT_ENCODING).map_or(&b""[..], |value| value.as_bytes());
        match name.to_ascii_lowercase().as_slice() {
            b"gzip" => Self::Gzip,
            b"snappy" => Self::Snappy,
            b"zstd" => Self::Zstd,
            _ => Self::Identity,
        }
    }
}

fn decode(
    encoding: Encoding,
    bytes: &[u8],
    limit: usize,
    held: &mut Reservation,
) -> Result<Bytes, Rejection> {
    let failed = |name, error: &dyn ToString| Rejection::Encoding {
        encoding: name,
        reason: error.to_string(),
    };
    match encoding {
        Encoding::Identity => Ok(Bytes::copy_from_slice(bytes)),
        Encoding::Gzip => {
            let decoder = flate2::read::MultiGzDecoder::new(bytes);
            bounded(decoder, bytes.len(), limit, held)?.map_err(|error| failed("gzip", &error))
        }
        // No stream at all.
        Encoding::Snappy if bytes.is_empty() => Ok(Bytes::new()),
        Encoding::Snappy if bytes.starts_with(SNAPPY_STREAM) => {
            let decoder = snap::read::FrameDecoder::new(bytes);
            bounded(decoder, bytes.len(), limit, held)?.map_err(|error| failed("snappy", &error))
        }
        Encoding::Snappy => {
            let len = snap::raw::decompress_len(bytes).map_err(|error| failed("snappy", &error))?;
            if len > limit {
                return Err(too_large_once_decoded(limit));
            }
            held.grow(len)?;
            let decoded = snap::raw::Decoder::new().decompress_vec(bytes);
            decoded.map(Bytes::from).map_err(|error| failed("snappy", &error))
        }
        Encoding::Zstd => {
            let decoder =
                zstd::stream::read::Decoder::with_buffer(bytes).and_then(|mut decoder| {
                    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                    Ok(decoder)
                });
            let decoder = decoder.map_err(|error| failed("zstd", &error))?;
            bounded(decoder, bytes.len(), limit, held)?.map_err(|error| failed("zstd", &error))
        }
    }
}

/// Reads to the end, or to the limit and no further, and takes little more memory than that.
fn bounded(
    mut decoder: impl Read,
    encoded: usize,
    limit: usize,
    held: &mut Reservation,
) -> Result<io::Result<Bytes>, Rejection> {
    /// What text such as this is compressed by, mostly.
    const RATIO: usize = 16;
    // One more, to tell a full body from one that goes on.
    let most = limit.saturating_add(1);
    let mut text = vec![0; encoded.saturating_mul(RATIO).clamp(4096, most.max(4096))];
    held.grow(text.len())?;
    let mut len = 0;
    loop {
        match decoder.read(text.get_mut(len..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
        if len > limit {
            return Err(too_large_once_decoded(limit));
        }
        if len == text.len() {
            let more = len.min(most - len);
            held.grow(more)?;
            text.resize(len + more, 0);
        }
    }
    text.truncate(len);
    Ok(Ok(text.into()))
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
        super::decode(encoding, bytes, limit, &mut held)
    }

    #[test]
    fn what_is_decoded_counts_for_all_requests() {
        let budget = Budget::new(10_000);
        let bomb = gzip(&vec![b'\n'; 1_000_000]);
        let mut held = budget.reservation();
        let result = super::decode(Encoding::Gzip, &bomb, 10_000_000, &mut held);
        assert!(matches!(result, Err(Rejection::Overload { limit: 10_000 })));
        drop(held);
        let mut held = budget.reservation();
        assert_eq!(super::decode(Encoding::Gzip, &gzip(TEXT), 100, &mut held).unwrap(), TEXT);
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
            Encoding::of(&headers)
        };
        assert_eq!(of("GZip"), Encoding::Gzip);
        assert_eq!(of("gzip, gzip"), Encoding::Identity);
        assert_eq!(of("deflate"), Encoding::Identity);
    }
}
