//! Requests without sockets: the service as [`crate::fuzzing`] asks it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request};
use tokio::sync::{Notify, mpsc};

use super::access::cross_origin::Pages;
use super::bounds::{Budget, Slots};
use super::endpoint::Site;
use super::readiness::Readiness;
use super::refused_pushes::RefusedPushes;
use super::router::{Route, Router};
use super::routes::ENDPOINTS;
use super::service::Service;
use super::{Access, Hooks, Limits, Options, ParseTtl, Paths, access};
use crate::gateway::Gateway;
use crate::model::{Escaping, GroupingKey, NameRules};
use crate::telemetry::metrics::SelfMetrics;

/// A service that no connection leads to.
#[derive(Debug)]
pub(crate) struct InMemory {
    service: Service,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Of an answer that does not end by itself, as events do not.
const FRAMES_MAX: usize = 1000;

impl InMemory {
    pub(crate) fn new(
        gateway: Gateway,
        options: Options,
        metrics: Arc<SelfMetrics>,
        parse_ttl: ParseTtl,
    ) -> Self {
        let readiness = Readiness::default();
        let names = gateway.names();
        readiness.ready(gateway);
        let hooks = Hooks {
            // Nobody listens: the settings are never read again.
            reload: mpsc::channel(1).0,
            parse_ttl,
            access: Access::default(),
            settings: Arc::new(|| serde_json::Value::Null),
        };
        let router = Router::new(ENDPOINTS, &options, names);
        let budget = Budget::new(options.limits.bytes_in_flight);
        let (quit, started) = (Arc::new(Notify::new()), crate::time::UnixNanos(0));
        let tls = false;
        let slots = Slots::new(1);
        let (web_config, pages) = (None, Pages::new("", &[], &[]));
        let site = Site {
            refused_pushes: RefusedPushes::default(),
            readiness,
            options,
            web_config,
            pages,
            hooks,
            quit,
            started,
            tls,
            budget,
            slots,
            followers: Slots::new(1),
            metrics,
            replicas: None,
        };
        Self { service: Service { site, router } }
    }

    /// Serves a request; `None` if hyper would not let it through.
    pub(crate) async fn serve(
        &self,
        method: &[u8],
        target: &[u8],
        headers: &[(&[u8], &[u8])],
        body: &[u8],
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        // A request without one is answered before it is looked at.
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"host")) {
            request = request.header("Host", "gateway");
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).ok()?;
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (head, mut body) = request.into_parts();
        let mut response = self.service.serve(&head, &mut body, from).await;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        for _ in 0..FRAMES_MAX {
            // A body that has nothing to send at once waits for others.
            let next = tokio::time::timeout(Duration::ZERO, response.frame()).await;
            let Ok(Some(frame)) = next else { break };
            let frame = frame.expect("what is stored can be read");
            body.extend(frame.data_ref().into_iter().flatten().flatten());
        }
        Some(Answer { status, body })
    }
}

/// Settings with limits that a few kilobytes come up against.
pub(crate) fn options(prefix: &str) -> Options {
    let timeout = Duration::from_secs(5);
    Options {
        listen: Vec::new(),
        systemd_socket: false,
        web_config: None,
        paths: Paths {
            prefix: prefix.to_owned(),
            telemetry: "/metrics".to_owned(),
            external_url: String::new(),
        },
        lifecycle: false,
        admin: false,
        openmetrics: false,
        access: access::Options::default(),
        cors_origins: Vec::new(),
        allowed_hosts: Vec::new(),
        flags: Vec::new(),
        limits: Limits {
            body_bytes: 16 << 10,
            decoded_bytes: 256 << 10,
            connections: 1,
            header_timeout: timeout,
            body_timeout: timeout,
            bytes_in_flight: 512 << 10,
            followers: 4,
            send_timeout: timeout,
        },
        replicas: None,
    }
}

fn router(prefix: &str, names: NameRules) -> Router {
    Router::new(ENDPOINTS, &options(prefix), names)
}

/// The key of a push to this path.
pub(crate) fn grouping_key(prefix: &str, path: &str, names: NameRules) -> Option<GroupingKey> {
    match router(prefix, names).route(&Method::PUT, path, None).ok()? {
        Route::Endpoint(_, path) => path.map(|path| path.key),
        _ => None,
    }
}

/// Where requests for this path are sent, by method.
pub(crate) fn redirected(prefix: &str, path: &str, names: NameRules) -> Vec<Option<String>> {
    let router = router(prefix, names);
    let methods = [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS];
    let location = |method| match router.route(&method, path, None) {
        Ok(Route::Redirect { location, .. }) => Some(location),
        _ => None,
    };
    methods.into_iter().map(location).collect()
}

/// A path for a push to this key.
pub(crate) fn path_of(prefix: &str, key: &GroupingKey, names: NameRules) -> String {
    let mut path = format!("{prefix}/metrics/job@base64/");
    path.push_str(&URL_SAFE_NO_PAD.encode(key.get("job").unwrap_or_default()));
    for (name, value) in key.labels().filter(|label| label.0 != "job") {
        // A name that looks as if it was escaped has to be.
        let escaped = match names {
            NameRules::Legacy => name.into(),
            NameRules::Utf8 => Escaping::Values.apply(name),
        };
        let value = URL_SAFE_NO_PAD.encode(value);
        let value = if value.is_empty() { "=" } else { &value };
        path.extend(["/", &escaped, "@base64/", value]);
    }
    path
}

/// Bounds of a request that nobody else is beside.
#[cfg(test)]
pub(super) fn bounds() -> super::body::Bounds {
    super::body::Bounds { limits: options("").limits, held: Budget::new(1 << 30).reservation() }
}
