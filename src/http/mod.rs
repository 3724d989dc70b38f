//! HTTP in and out. The only module that knows hyper.
//!
//! Promises
//! - Every request gets an answer: what cannot be served gets a status that fits and a text that
//!   says why (`rejection` is the one table).
//! - No request takes more memory than the limits allow, compressed or not.
//!
//! Deliberately absent
//! - No judgement about metrics: that is the gateway's.

pub mod access;
mod api_v1;
mod api_v2;
mod body;
mod bounds;
mod endpoint;
mod heads;
mod histogram_bounds;
#[cfg(any(test, fuzzing))]
pub(crate) mod in_memory;
mod ingest;
mod leftover;
mod native_buckets;
mod operations;
pub mod query;
mod readiness;
mod refused_pushes;
mod rejection;
pub mod replicas;
mod reply;
mod router;
mod routes;
mod scrape;
mod sending;
mod server;
mod service;
mod web;
mod web_config;

pub use access::{Access, NobodyElse};
pub use query::{sort_names, state_names};
pub use readiness::Readiness;
pub use routes::endpoints;
pub use server::{BindError, Server};
pub use web_config::{WebConfig, WebConfigError};

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::model::TtlPolicy;

/// Calls from the server to those who know the settings.
#[derive(Clone)]
pub struct Hooks {
    /// Has the settings read again.
    pub reload: mpsc::Sender<ReloadReply>,
    /// The policy, and warnings, of a proposed TOML text.
    pub parse_ttl: ParseTtl,
    /// Who may do what, which may be replaced.
    pub access: Access,
    /// All settings in force but the lists of tables, by name.
    pub settings: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
}

/// Reads a TOML text with a `[ttl]` table: its policy and warnings, or all that is wrong with it.
pub type ParseTtl = Arc<dyn Fn(&str) -> Result<(TtlPolicy, Vec<String>), String> + Send + Sync>;

/// Where it is said what came of reading the settings again: for people, in both cases.
pub type ReloadReply = oneshot::Sender<Result<String, String>>;

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

/// Settings of the server.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Options {
    /// `host:port` or `:port`, which is every address of the host.
    pub listen: Vec<String>,
    /// Whether systemd hands over the sockets instead.
    pub systemd_socket: bool,
    /// The YAML file for TLS, users, headers and the rate limit.
    pub web_config: Option<PathBuf>,
    pub paths: Paths,
    /// Whether a request may stop the gateway.
    pub lifecycle: bool,
    /// Whether a request may delete everything.
    pub admin: bool,
    /// Whether scrapers may have OpenMetrics.
    pub openmetrics: bool,
    /// Who may do what at the start.
    pub access: access::Options,
    /// The pages of other hosts that may use the second version of the API, and push.
    pub cors_origins: Vec<String>,
    /// Hosts that are this gateway, beside the host's name and that of the external URL.
    pub allowed_hosts: Vec<String>,
    /// The settings as the API of the Go Pushgateway shows them.
    pub flags: Vec<(String, String)>,
    pub limits: Limits,
    /// Where replicas share the groups.
    pub replicas: Option<replicas::Options>,
}

/// Checks the settings of access against the files that they name.
pub fn check(options: &Options) -> Result<(), BindError> {
    if let Some(replicas) = &options.replicas {
        replicas::check(replicas)?;
    }
    let users = options.web_config.as_deref().map(web_config::check).transpose()?;
    Ok(options.access.check(users.unwrap_or(false))?)
}

/// Where things are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The prefix of all paths: nothing, or with one slash in front and none behind.
    pub prefix: String,
    /// Of the exposition, below the prefix.
    pub telemetry: String,
    /// Where others find the gateway; empty if that is not said.
    pub external_url: String,
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
    /// Of the bodies of all requests under way.
    pub bytes_in_flight: usize,
    /// Clients that follow events.
    pub followers: usize,
    /// Until an answer was taken, or the next of a stream of events; and until some of it was.
    pub send_timeout: Duration,
}
