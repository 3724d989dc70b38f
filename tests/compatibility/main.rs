//! This gateway beside the Go Pushgateway, and with what its users have: client libraries, Prometheus.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "whatever a test does not expect fails it"
)]

mod clients;
mod differential;
mod judge;
