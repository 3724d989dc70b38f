//! Requests that change groups, where replicas share them: the leader carries them out, whichever replica
//! they come to.
//!
//! Promises
//! - A request is handed on once at most, and carried out once at most, whichever replica ends meanwhile:
//!   its batch names it, so that whoever has handed it on finds out (`carry_out`). It is for one term of one
//!   leader: one that comes late is not carried out any more.
//! - Who sent it, and what that one may do, is decided where it came in, and proven to the leader.

pub(super) mod carry_out;
pub(super) mod presence;
mod proof;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

pub use presence::watch_leader;
pub(super) use proof::{Handed, is_handed_on};

use proof::Seen;

/// How replicas reach each other.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// The secrets that replicas have in common: the first signs, all are taken.
    pub secrets: Vec<String>,
    /// PEM files: whom to trust, and who this replica is to the others.
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Without a word of the leader for so long, nothing is served.
    pub stale_limit: Duration,
}

/// Hands requests on.
pub(super) struct Replicas {
    options: Options,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Makes a new connection each time.
    presence: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    seen: Seen,
}

/// Why replicas cannot reach each other.
#[derive(Debug, Error)]
pub enum ReplicasError {
    #[error("cannot use {path} ({setting}): {reason}", path = path.display())]
    File { setting: &'static str, path: PathBuf, reason: String },
    #[error("cannot use the certificates of the system; cluster.ca names others")]
    Roots(#[source] std::io::Error),
    #[error("cannot set up TLS between replicas")]
    Tls(#[source] rustls::Error),
}

/// A request waits so long for a replica that leads.
pub(super) const LEADER_WAIT: Duration = Duration::from_secs(10);
/// For a connection to another replica.
const CONNECT: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(60);

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the secrets.
        f.debug_struct("Options").field("ca", &self.ca).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Replicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replicas").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Replicas {
    /// Reads the files that the options name.
    pub(super) fn new(options: Options) -> Result<Self, ReplicasError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT));
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(&options)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
        let client = builder.build(connector.clone());
        let presence =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { options, client, presence, seen: Seen::default() })
    }

    /// The secret by which this replica proves that it is one.
    fn first_secret(&self) -> &str {
        self.options.secrets.first().map_or("", String::as_str)
    }

    /// Without a word of the leader for so long, nothing is served.
    pub(super) fn stale_limit(&self) -> Duration {
        self.options.stale_limit
    }
}

/// Checks the files that the options name.
pub fn check(options: &Options) -> Result<(), ReplicasError> {
    tls(options).map(drop)
}

fn tls(options: &Options) -> Result<ClientConfig, ReplicasError> {
    let failed = |setting, path: &PathBuf, reason: String| ReplicasError::File {
        setting,
        path: path.clone(),
        reason,
    };
    let certificates = |setting, path: &PathBuf| {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        let read: Vec<_> = read.map_err(|error| failed(setting, path, error.to_string()))?;
        if read.is_empty() {
            Err(failed(setting, path, "it has no certificate".into()))
        } else {
            Ok(read)
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ReplicasError::Tls)?;
    let config = if let Some(path) = &options.ca {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("cluster.ca", path)? {
            let added = roots.add(certificate);
            added.map_err(|error| failed("cluster.ca", path, error.to_string()))?;
        }
        config.with_root_certificates(roots)
    } else {
        config.with_native_roots().map_err(ReplicasError::Roots)?
    };
    match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates("cluster.cert", cert)?;
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| failed("cluster.key", key, error.to_string()))?;
            config.with_client_auth_cert(chain, private).map_err(ReplicasError::Tls)
        }
        _ => Ok(config.with_no_client_auth()),
    }
}
