//! The protobuf format: `io.prometheus.client.MetricFamily` messages, delimited by their lengths.

mod decode;
pub mod encode;
mod messages;
pub mod prototext;

pub use decode::{ProtobufParser, decode, decode_one};
