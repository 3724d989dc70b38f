//! What the tests stand on: a gateway in this process whose clock they move, the real binary, other
//! real programs, and a client.

mod client;
mod connection;
mod exposition;
mod gateway;
mod listener;
mod parts;
mod process;
pub(crate) mod protobuf;
mod wait;

pub(crate) use client::{Answer, Client};
pub(crate) use connection::{Connection, push_in_chunks};
pub(crate) use exposition::{Exposition, samples};
pub(crate) use gateway::Gateway;
pub(crate) use listener::Listener;
pub(crate) use parts::part;
pub(crate) use process::{Process, Tidegate, finished};
pub(crate) use wait::{PATIENCE, eventually};

use std::io::{Read as _, Write as _};
use std::time::Duration;

pub(crate) const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// A millisecond short of `time`.
pub(crate) fn just_below(time: Duration) -> Duration {
    time.saturating_sub(MILLISECOND)
}

/// The step of deadlines.
pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut decoded).expect("a gzip stream");
    decoded
}

pub(crate) fn snappy_framed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.into_inner().unwrap()
}

pub(crate) fn snappy_raw(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}
