//! The delimited protobuf format: a stream of `io.prometheus.client.MetricFamily`, each behind its
//! length as a varint.

mod decode;
mod messages;

pub use decode::decode;
