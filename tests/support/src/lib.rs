//! Support for tests and benchmarks: a gateway in this process whose clock they move, the real binary,
//! other real programs, a client, and the formats.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "whatever a test does not expect fails it"
)]

mod client;
pub mod cluster;
mod connection;
mod exposition;
pub mod families;
mod gateway;
pub mod hosts;
mod listener;
mod parts;
mod process;
pub mod programs;
pub mod protobuf;
pub mod proxy;
pub mod random;
pub mod serving;
mod wait;

pub use client::{Answer, Client};
pub use connection::{Connection, push_in_chunks};
pub use exposition::{Exposition, samples};
pub use gateway::Gateway;
pub use listener::Listener;
pub use parts::part;
pub use process::{Process, Tidegate, finished};
pub use wait::{PATIENCE, eventually};

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The real binary, which Cargo builds beside the tests.
pub fn tidegate() -> PathBuf {
    let test = std::env::current_exe().expect("a process has a file");
    let folder = test.ancestors().nth(2).expect("a test is in a folder of the target");
    folder.join("tidegate")
}

/// The root of the repository.
pub fn root() -> &'static Path {
    let support = Path::new(env!("CARGO_MANIFEST_DIR"));
    support.ancestors().nth(2).expect("it is in a folder of the repository")
}

pub const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// A millisecond short of `time`.
pub fn just_below(time: Duration) -> Duration {
    time.saturating_sub(MILLISECOND)
}

/// The step of deadlines.
pub const MILLISECOND: Duration = Duration::from_millis(1);

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut decoded).expect("a gzip stream");
    decoded
}

pub fn snappy_framed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.into_inner().unwrap()
}

pub fn snappy_raw(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}
