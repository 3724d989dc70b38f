//! HTTP in and out. The only module that knows hyper.
//!
//! Promises
//! - Every request gets an answer: what cannot be served gets a status that fits and a text that
//!   says why (`rejection` is the one table).
//! - No request takes more memory than the limits allow, compressed or not.
//!
//! Deliberately absent
//! - No judgement about metrics: that is the gateway's.

mod body;
mod push;
mod rejection;
mod route;
mod scrape;
mod server;
mod service;

pub use server::{BindError, Server};
pub use service::Readiness;

use std::time::Duration;

/// Settings of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `host:port` or `:port`, which is every address of the host.
    pub listen: Vec<String>,
    pub limits: Limits,
}

/// Bounds of what a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a body as it is sent.
    pub body_bytes: usize,
    /// Of a body once it is decompressed.
    pub decoded_bytes: usize,
    pub connections: usize,
    /// Until the head of a request is there, idle connections included.
    pub header_timeout: Duration,
    /// Until the body is there.
    pub body_timeout: Duration,
}
