//! Several gateways share their groups in a real etcd: any of them takes any push and answers any scrape,
//! and nothing that was acknowledged is lost, whoever ends.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "whatever a test does not expect fails it"
)]

mod basics;
mod chaos;
mod clocks;
mod example;
mod faults;
mod network;
mod operations;
mod partitions;
mod scraped;
mod secure;
