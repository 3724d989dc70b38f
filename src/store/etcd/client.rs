//! Calls to the members of an etcd cluster: over one channel a member, with a limit in time, and from
//! one member to the next where one does not answer.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Options;
use super::messages::{
    AuthenticateRequest, AuthenticateResponse, LeaseGrantRequest, LeaseRequest, LeaseResponse,
    RangeRequest, RangeResponse, StatusRequest, StatusResponse, TxnRequest, TxnResponse,
    WatchCreate, WatchRequest, WatchResponse,
};

/// The members, and who we are to them.
pub(super) struct Client {
    members: Vec<Member>,
    /// The member that is asked first: the last that has answered.
    preferred: AtomicUsize,
    user: Option<(String, String)>,
    /// Held to read or replace it.
    token: Mutex<Option<MetadataValue<Ascii>>>,
}

struct Member {
    url: String,
    channel: Channel,
}

/// Why the client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot use the endpoint {endpoint} (cluster.endpoints)")]
    Endpoint { endpoint: String, source: tonic::transport::Error },
    #[error("cannot read {path} ({setting})", path = path.display())]
    File { setting: &'static str, path: std::path::PathBuf, source: std::io::Error },
}

/// For one attempt at one member. Beyond it another is asked.
pub(super) const ATTEMPT: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_millis(500);
/// A member that answers nothing for so long is not there any more.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// A page of chunks or a fragment of a watch may be larger than gRPC's usual 4 MiB.
const DECODED_MAX: usize = 64 << 20;
const WINDOW: u32 = 4 << 20;

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.iter().map(|member| &member.url)).finish()
    }
}

impl Client {
    /// Connects to nobody yet.
    pub(super) fn new(options: &Options) -> Result<Self, ClientError> {
        let read = |setting, path: &Option<std::path::PathBuf>| match path {
            None => Ok(None),
            Some(path) => std::fs::read(path).map(Some).map_err(|source| ClientError::File {
                setting,
                path: path.clone(),
                source,
            }),
        };
        let ca = read("cluster.etcd.ca", &options.ca)?;
        let cert = read("cluster.etcd.cert", &options.cert)?;
        let key = read("cluster.etcd.key", &options.key)?;
        let mut tls = ClientTlsConfig::new();
        tls = match ca {
            Some(ca) => tls.ca_certificate(Certificate::from_pem(ca)),
            None => tls.with_native_roots(),
        };
        if let (Some(cert), Some(key)) = (cert, key) {
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        let member = |endpoint: &String| {
            let failed = |source| ClientError::Endpoint { endpoint: endpoint.clone(), source };
            let mut channel = Endpoint::from_shared(endpoint.clone())
                .map_err(failed)?
                .connect_timeout(CONNECT)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(KEEP_ALIVE)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(4 * WINDOW)
                .tcp_nodelay(true);
            if endpoint.starts_with("https://") {
                channel = channel.tls_config(tls.clone()).map_err(failed)?;
            }
            Ok(Member { url: endpoint.clone(), channel: channel.connect_lazy() })
        };
        Ok(Self {
            members: options.endpoints.iter().map(member).collect::<Result<_, _>>()?,
            preferred: AtomicUsize::new(0),
            user: options.user.clone(),
            token: Mutex::default(),
        })
    }

    /// The keys of a range. Any member may answer, with what the cluster has agreed on by now.
    pub(super) async fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Status> {
        self.ask("/etcdserverpb.KV/Range", request).await
    }

    /// A transaction that does no harm if it is carried out twice.
    pub(super) async fn repeatable_txn(&self, request: &TxnRequest) -> Result<TxnResponse, Status> {
        self.ask("/etcdserverpb.KV/Txn", request).await
    }

    /// One attempt at a transaction. Without an answer it may be carried out later.
    pub(super) async fn txn_once(&self, request: &TxnRequest) -> Result<TxnResponse, Status> {
        self.attempt("/etcdserverpb.KV/Txn", request).await
    }

    pub(super) async fn grant(&self, ttl: Duration) -> Result<LeaseResponse, Status> {
        let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        self.ask("/etcdserverpb.Lease/LeaseGrant", &LeaseGrantRequest { ttl }).await
    }

    pub(super) async fn revoke(&self, id: i64) -> Result<(), Status> {
        let revoked: Result<super::messages::Done, _> =
            self.ask("/etcdserverpb.Lease/LeaseRevoke", &LeaseRequest { id }).await;
        revoked.map(drop)
    }

    /// Renews a lease once. The answer has a TTL of 0 where it has ended.
    pub(super) async fn renew(&self, id: i64) -> Result<LeaseResponse, Status> {
        let mut last = Status::unavailable("no member of etcd was asked");
        for _ in 0..self.members.len() {
            let at = self.preferred.load(Ordering::Relaxed);
            let request = stream::iter([LeaseRequest { id }]);
            let renewed = async {
                let path = "/etcdserverpb.Lease/LeaseKeepAlive";
                let mut answers: Streaming<LeaseResponse> = self.stream(at, path, request).await?;
                let answer = answers.message().await?;
                answer.ok_or_else(|| Status::unavailable("etcd did not renew the lease"))
            };
            match in_time(renewed).await {
                Ok(renewed) => return Ok(renewed),
                Err(status) => last = self.failed(at, status),
            }
        }
        Err(last)
    }

    /// Follows a range from a revision on. `preferred` may answer late: it is given some time for the
    /// first message by the caller.
    pub(super) async fn watch(
        &self,
        create: WatchCreate,
    ) -> Result<Streaming<WatchResponse>, Status> {
        let at = self.preferred.load(Ordering::Relaxed);
        // The side of the requests stays open: etcd ends a watch whose client has closed it.
        let first = stream::iter([WatchRequest { create: Some(create) }]);
        let requests = futures_util::StreamExt::chain(first, stream::pending());
        let opened = in_time(self.stream(at, "/etcdserverpb.Watch/Watch", requests)).await;
        match opened {
            Ok(answers) => Ok(answers),
            Err(status) => Err(self.failed(at, status)),
        }
    }

    /// Version of etcd and bytes of its database, of the member that is asked first.
    pub(super) async fn status(&self) -> Result<StatusResponse, Status> {
        self.ask("/etcdserverpb.Maintenance/Status", &StatusRequest {}).await
    }

    /// Goes on to the next member.
    pub(super) fn give_up_member(&self) {
        self.next_after(self.preferred.load(Ordering::Relaxed));
    }

    /// Asks one member after another until one has answered.
    async fn ask<Q, A>(&self, path: &'static str, request: &Q) -> Result<A, Status>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut last = Status::unavailable("no member of etcd was asked");
        // Once more than there are members, for a token that is too old.
        for _ in 0..=self.members.len() {
            match self.attempt(path, request).await {
                Ok(answer) => return Ok(answer),
                Err(status) if is_final(&status) => return Err(status),
                Err(status) => last = status,
            }
        }
        Err(last)
    }

    async fn attempt<Q, A>(&self, path: &'static str, request: &Q) -> Result<A, Status>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let at = self.preferred.load(Ordering::Relaxed);
        let answered = in_time(async {
            let request = self.with_token(Request::new(request.clone()), at).await?;
            self.unary(at, path, request).await
        });
        match answered.await {
            Ok(answer) => Ok(answer),
            Err(status) => Err(self.failed(at, status)),
        }
    }

    /// Notes a failure of a member: the next is asked from now on, or a new token is needed.
    fn failed(&self, at: usize, status: Status) -> Status {
        if needs_token(&status) {
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        } else if !is_final(&status) {
            self.next_after(at);
        }
        status
    }

    fn next_after(&self, at: usize) {
        let next = (at + 1) % self.members.len().max(1);
        // Whoever asks beside us may have gone on already.
        let _ = self.preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn grpc(&self, at: usize) -> Result<Grpc<Channel>, Status> {
        let member = self.members.get(at).or(self.members.first());
        let channel = member.map(|member| member.channel.clone());
        let channel = channel.ok_or_else(|| Status::unavailable("etcd has no member"))?;
        Ok(Grpc::new(channel).max_decoding_message_size(DECODED_MAX))
    }

    async fn unary<Q, A>(
        &self,
        at: usize,
        path: &'static str,
        request: Request<Q>,
    ) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc(at)?;
        ready(&mut grpc).await?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = grpc.unary(request, PathAndQuery::from_static(path), codec).await?;
        Ok(answer.into_inner())
    }

    async fn stream<Q, A>(
        &self,
        at: usize,
        path: &'static str,
        requests: impl futures_util::Stream<Item = Q> + Send + 'static,
    ) -> Result<Streaming<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let request = self.with_token(Request::new(requests), at).await?;
        let mut grpc = self.grpc(at)?;
        ready(&mut grpc).await?;
        let codec = ProstCodec::<Q, A>::default();
        let answers = grpc.streaming(request, PathAndQuery::from_static(path), codec).await?;
        Ok(answers.into_inner())
    }

    /// Has a request say who we are, and that an answer by a member without a leader is none.
    async fn with_token<Q>(
        &self,
        mut request: Request<Q>,
        at: usize,
    ) -> Result<Request<Q>, Status> {
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let Some((name, password)) = &self.user else { return Ok(request) };
        let token = || self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let known = token().clone();
        let known = if let Some(known) = known {
            known
        } else {
            let credentials =
                AuthenticateRequest { name: name.clone(), password: password.clone() };
            let path = "/etcdserverpb.Auth/Authenticate";
            let answer: AuthenticateResponse =
                self.unary(at, path, Request::new(credentials)).await?;
            let new = MetadataValue::try_from(answer.token)
                .map_err(|_| Status::internal("etcd gave a token that is none"))?;
            token().insert(new).clone()
        };
        request.metadata_mut().insert("token", known);
        Ok(request)
    }
}

/// Whether a member does not know who asks: the token is too old, or from before users were changed.
fn needs_token(status: &Status) -> bool {
    let message = status.message();
    status.code() == Code::Unauthenticated
        || status.code() == Code::InvalidArgument
            && (message.contains("revision of auth store is old")
                || message.contains("user name is empty"))
}

/// Whether another member, or another attempt, would say the same.
pub(super) fn is_final(status: &Status) -> bool {
    if needs_token(status) {
        return false;
    }
    match status.code() {
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::NotFound
        | Code::Unimplemented
        | Code::ResourceExhausted => !status.message().contains("too many requests"),
        _ => false,
    }
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), Status> {
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))
}

async fn in_time<T>(work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = || Status::deadline_exceeded(format!("etcd did not answer within {ATTEMPT:?}"));
    tokio::time::timeout(ATTEMPT, work).await.unwrap_or_else(|_| Err(late()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_from_before_is_asked_for_again() {
        for message in
            ["etcdserver: revision of auth store is old", "etcdserver: user name is empty"]
        {
            let status = Status::invalid_argument(message);
            assert!(needs_token(&status) && !is_final(&status), "{message}");
        }
        let status = Status::invalid_argument("etcdserver: request is too large");
        assert!(!needs_token(&status) && is_final(&status));
    }
}
