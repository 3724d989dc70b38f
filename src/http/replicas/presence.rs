//! Notices that the process of the leader has ended, so that nobody has to wait for its lease.
//!
//! A replica that follows keeps a connection to the leader, which says who it is. Once that connection
//! breaks, and a new one is refused, or answered by another process, the leader has ended, and its key is
//! deleted. Whatever is concluded, its batches stay whole: they are fenced. But a healthy leader should not
//! be deposed: never for a timeout, never without a connection that was once answered, and not again and
//! again.

use std::collections::VecDeque;
use std::error::Error as _;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Method;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Options, Replicas, proof};
use crate::gateway::Gateway;
use crate::http::access::{Access, Caller};
use crate::model::RequestId;
use crate::store::etcd::Leader;

/// The path at which a replica says that it is there.
pub(in crate::http) const PATH: &str = "/-/replica";
pub(in crate::http) const INSTANCE: HeaderName = HeaderName::from_static("tidegate-instance");
/// As often as this it says so.
pub(in crate::http) const SAID_EACH: Duration = Duration::from_secs(15);
/// From one attempt to reach the leader to the next.
const RETRY: Duration = Duration::from_secs(1);
/// A replica that has deposed so many leaders within a minute waits for leases from then on, for so long.
const DEPOSED_MAX: usize = 2;
const DEPOSED_WITHIN: Duration = Duration::from_mins(1);
const DEPOSED_PAUSE: Duration = Duration::from_mins(10);
const CONNECT: Duration = Duration::from_secs(2);

/// The way in which a connection to the leader has ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Its process has ended.
    Process,
    Unknown,
}

/// The answer to an attempt to reach the leader.
enum Reached {
    /// By the leader itself.
    Leader(Incoming),
    /// By another process at its address, or by the host: nobody listens there.
    Ended,
    Unknown,
}

/// Watches over whoever leads, until it is stopped.
pub async fn watch_leader(gateway: Gateway, options: Options, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = watch(gateway, options) => stop.cancelled().await,
    }
}

async fn watch(gateway: Gateway, options: Options) {
    let (Ok(replicas), Some(mut standing)) = (Replicas::new(options), gateway.standing()) else {
        return;
    };
    let mut deposed: VecDeque<Instant> = VecDeque::new();
    loop {
        let followed = standing.wait_for(|it| it.leader.is_some() && !it.leads).await;
        let Ok(Some(leader)) = followed.map(|it| it.leader.clone()) else { return };
        let replaced = standing.wait_for(|it| it.leader.as_ref() != Some(&leader));
        let end = tokio::select! {
            replaced = replaced => if replaced.is_ok() { continue } else { return },
            end = replicas.watch(&gateway, &leader) => end,
        };
        if end == End::Process {
            deposed.retain(|at| at.elapsed() < DEPOSED_PAUSE);
            let lately = deposed.iter().filter(|at| at.elapsed() < DEPOSED_WITHIN).count();
            if lately < DEPOSED_MAX && deposed.len() < 2 * DEPOSED_MAX {
                deposed.push_back(Instant::now());
                tracing::warn!(leader = leader.id, "the process of the leader has ended");
                depose(&gateway, &leader).await;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn depose(gateway: &Gateway, leader: &Leader) {
    let Some(cluster) = gateway.cluster() else { return };
    if let Err(status) = cluster.depose(leader).await {
        tracing::debug!(%status, "cannot depose it; its lease ends by itself");
    }
}

impl Replicas {
    /// Keeps a connection to the leader. Completes when it has ended, or could not be made.
    async fn watch(&self, gateway: &Gateway, leader: &Leader) -> End {
        let Reached::Leader(mut body) = self.reach(gateway, leader).await else {
            return End::Unknown;
        };
        while let Some(Ok(_)) = body.frame().await {}
        match self.reach(gateway, leader).await {
            Reached::Ended => End::Process,
            Reached::Leader(_) | Reached::Unknown => End::Unknown,
        }
    }

    async fn reach(&self, gateway: &Gateway, leader: &Leader) -> Reached {
        let url = format!("{}{PATH}", leader.url.trim_end_matches('/'));
        let Ok(request) = hyper::Request::get(url).body(Full::new(Bytes::new())) else {
            return Reached::Unknown;
        };
        let (mut head, body) = request.into_parts();
        let mut id = [0; 16];
        if getrandom::fill(&mut id).is_err() {
            return Reached::Unknown;
        }
        let headers = self.signed(&head, RequestId(id), gateway);
        head.headers.extend(headers);
        let request = hyper::Request::from_parts(head, body);
        match tokio::time::timeout(CONNECT, self.presence.request(request)).await {
            Ok(Ok(answer)) => match answer.headers().get(INSTANCE) {
                Some(instance) if instance.as_bytes() == leader.instance.as_bytes() => {
                    Reached::Leader(answer.into_body())
                }
                Some(_) => Reached::Ended,
                None => Reached::Unknown,
            },
            Ok(Err(error)) if error.is_connect() && is_refused(&error) => Reached::Ended,
            Ok(Err(_)) | Err(_) => Reached::Unknown,
        }
    }

    /// The headers of a request that this replica makes for itself.
    fn signed(
        &self,
        head: &Parts,
        id: RequestId,
        gateway: &Gateway,
    ) -> Vec<(HeaderName, HeaderValue)> {
        debug_assert_eq!(head.method, Method::GET);
        let access = Access::default().current();
        let caller = Caller::handed_on(
            access,
            None,
            std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            Some(Vec::new()),
            None,
        );
        proof::headers(self.first_secret(), head, &caller, id, 0, b"", gateway.now())
    }
}

/// Whether a host has said that nobody listens.
fn is_refused(error: &hyper_util::client::legacy::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}
