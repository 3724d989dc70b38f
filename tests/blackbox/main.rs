//! The gateway as a client, an operator and a Prometheus see it: HTTP, settings, exit codes.
//!
//! Nothing here waits for a TTL: tests move the clock of a gateway in this process, or look at the
//! real binary where the clock does not matter. Waits are on a state, with a deadline.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "whatever a test does not expect fails it"
)]

mod access;
mod bodies;
mod clients;
mod commands;
mod delete;
mod docs;
mod early;
mod exact;
mod expiry;
mod finding;
mod formats;
mod guarded;
mod history;
mod http2;
mod kept;
mod limits;
mod model;
mod pages;
mod paths;
mod probes;
mod prometheus;
mod push;
mod reach;
mod refusals;
mod restart;
mod scrape;
mod settings;
mod shutdown;
mod supervisor;
mod told;
mod ttl;
mod watch;
mod webhook;
