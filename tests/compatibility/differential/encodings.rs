//! Bodies in a content encoding, and ways of sending a body.

use std::io::Write as _;

use crate::differential::explained::Why;
use crate::differential::http::Request;
use crate::differential::pair::Pair;

const TEXT: &str = "# TYPE m gauge\nm{a=\"b\"} 1\nm{a=\"c\"} 2\n";

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.into_inner().unwrap()
}

fn changed(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 0x55;
    bytes
}

fn without_end(mut bytes: Vec<u8>, count: usize) -> Vec<u8> {
    bytes.truncate(bytes.len() - count);
    bytes
}

#[test]
fn the_content_encoding_says_how_a_body_is_read() {
    let (zipped, snapped) = (gzip(TEXT.as_bytes()), snappy(TEXT.as_bytes()));
    let long = format!("{TEXT}n{{l=\"{}\"}} 1\n", "0123456789".repeat(2000));
    let mut pair = Pair::with_wipe();
    let raw = TEXT.as_bytes().to_vec();
    for (name, encoding, body) in [
        ("good", "gzip", zipped.clone()),
        ("upper case", "GZIP", zipped.clone()),
        ("mixed case", "GzIp", zipped.clone()),
        ("empty content", "gzip", gzip(b"")),
        ("two members", "gzip", [gzip(b"m 1\n"), gzip(b"n 2\n")].concat()),
        ("long", "gzip", gzip(long.as_bytes())),
        ("empty", "gzip", Vec::new()),
        ("raw", "gzip", raw.clone()),
        ("one byte", "gzip", vec![0x1f]),
        ("only the magic", "gzip", vec![0x1f, 0x8b]),
        ("bad magic", "gzip", changed(zipped.clone(), 0)),
        ("bad method", "gzip", changed(zipped.clone(), 2)),
        ("ten bytes that are no header", "gzip", vec![b'x'; 10]),
        ("only the header", "gzip", zipped[..10].to_vec()),
        ("corrupt", "gzip", changed(zipped.clone(), 12)),
        ("bad checksum", "gzip", changed(zipped.clone(), zipped.len() - 8)),
        ("bad length", "gzip", changed(zipped.clone(), zipped.len() - 1)),
        ("cut in the trailer", "gzip", without_end(zipped.clone(), 3)),
        ("cut in the content", "gzip", without_end(zipped.clone(), 12)),
        ("junk behind it", "gzip", [zipped.clone(), b"junk".to_vec()].concat()),
        ("zeros behind it", "gzip", [zipped.clone(), vec![0; 20]].concat()),
        ("bad text", "gzip", gzip(b"what is this\n")),
        ("cut text", "gzip", gzip(b"m 1")),
        ("twice", "gzip", gzip(&zipped)),
        ("good", "snappy", snapped.clone()),
        ("upper case", "SNAPPY", snapped.clone()),
        ("long", "snappy", snappy(long.as_bytes())),
        ("empty content", "snappy", snappy(b"")),
        ("empty", "snappy", Vec::new()),
        ("raw", "snappy", raw.clone()),
        ("two streams", "snappy", [snappy(b"m 1\n"), snappy(b"n 2\n")].concat()),
        ("corrupt", "snappy", changed(snapped.clone(), 16)),
        ("bad checksum", "snappy", changed(snapped.clone(), 15)),
        ("cut", "snappy", without_end(snapped.clone(), 5)),
        ("cut in the identifier", "snappy", snapped[..7].to_vec()),
        ("only the identifier", "snappy", snapped[..10].to_vec()),
        ("bad identifier", "snappy", changed(snapped.clone(), 5)),
        ("bad text", "snappy", snappy(b"what is this\n")),
        ("none", "", raw.clone()),
        ("identity", "identity", raw.clone()),
        ("unknown", "deflate", raw.clone()),
        ("unknown, compressed", "br", zipped.clone()),
        ("a list", "gzip, gzip", raw.clone()),
        ("a list, compressed", "gzip, identity", zipped.clone()),
        ("with a blank", " gzip ", zipped.clone()),
        ("x-gzip", "x-gzip", zipped.clone()),
    ] {
        for method in ["PUT", "POST", "DELETE"] {
            pair.case(format!("{encoding}, {name}"));
            let request = Request::new(method, "/metrics/job/x").body(body.clone());
            pair.same(&if encoding.is_empty() {
                request
            } else {
                request.header("Content-Encoding", encoding)
            });
        }
        pair.same_state();
        pair.wipe();
    }
    pair.finish();
}

/// The body is decoded before anything else is looked at, on every route but the API's.
#[test]
fn a_body_that_cannot_be_decoded_is_refused_whatever_it_is_for() {
    let mut pair = Pair::start(&["--web.enable-admin-api"]);
    for (method, path) in [
        ("PUT", "/metrics/job/x/a"),
        ("PUT", "/nowhere"),
        ("POST", "/metrics"),
        ("GET", "/metrics"),
        ("GET", "/-/ready"),
        ("PUT", "/-/quit"),
        ("OPTIONS", "/metrics"),
        ("PUT", "//metrics/job/x"),
        ("PUT", "/Metrics/job/x"),
        ("GET", "/api/v1/metrics"),
        ("OPTIONS", "/api/v1/metrics"),
        ("PUT", "/api/v1/admin/wipe"),
    ] {
        for (encoding, body) in [("gzip", "x"), ("gzip", ""), ("snappy", "x")] {
            let request = Request::new(method, path).header("Content-Encoding", encoding);
            pair.same(&request.body(body));
        }
    }
    pair.finish();
}

#[test]
fn more_encodings_than_the_reference_has() {
    let mut pair = Pair::with_wipe();
    let zstd = zstd::encode_all(TEXT.as_bytes(), 1).unwrap();
    let raw_block = snap::raw::Encoder::new().compress_vec(TEXT.as_bytes()).unwrap();
    for (encoding, body) in [("zstd", zstd), ("snappy", raw_block)] {
        let push = Request::put("/metrics/job/x", body).header("Content-Encoding", encoding);
        pair.differs(Why::MoreEncodings, &push, 200);
        let scrape = pair.only_ours(&Request::get("/metrics")).text();
        pair.check(scrape.contains("m{a=\"b\",instance=\"\",job=\"x\"} 1\n"), encoding);
    }
    // The reference takes the body as it is.
    let raw = Request::put("/metrics/job/x", TEXT).header("Content-Encoding", "zstd");
    pair.differs(Why::MoreEncodings, &raw, 400);
    pair.finish();
}

#[test]
fn bodies_in_chunks_and_after_a_question() {
    let mut pair = Pair::start(&[]);
    let chunks = "4\r\nm 1\n\r\n8;x=y\r\nn{a=\"b\"}\r\n3\r\n 2\n\r\n0\r\n\r\n";
    pair.same(&Request::put("/metrics/job/x", chunks).header("Transfer-Encoding", "chunked"));
    pair.same(&Request::put("/metrics/job/y", TEXT).header("Expect", "100-continue"));
    pair.same(&Request::new("DELETE", "/metrics/job/z").body("what is this"));
    pair.same(&Request::get("/-/ready").body("what is this"));
    let bad = Request::put("/metrics/job/x", "zz\r\nm 1\n\r\n0\r\n\r\n");
    pair.differs(Why::Decoders, &bad.header("Transfer-Encoding", "chunked"), 400);
    pair.same_state();
    pair.finish();
}
