//! Listens, accepts within a bound, serves, and drains.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::process::{Resource, getrlimit};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::access::NobodyElse;
use super::access::cross_origin::Pages;
use super::bounds::{Budget, HEAD_BYTES_MAX, SendBy, Slots, WriteTimeout};
use super::endpoint::Site;
use super::heads::{Heads, Refused};
use super::leftover::{Leftovers, Watched};
use super::readiness::Readiness;
use super::refused_pushes::RefusedPushes;
use super::replicas::{Replicas, ReplicasError};
use super::router::Router;
use super::routes::ENDPOINTS;
use super::sending::Timed;
use super::service::Service;
use super::web_config::{WebConfig, WebConfigError};
use super::{Hooks, Options};
use crate::model::{Limit, NameRules};
use crate::telemetry::metrics::SelfMetrics;
use crate::time::UnixNanos;

/// Bound sockets, not yet served.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    options: Options,
    web_config: Option<Arc<WebConfig>>,
    metrics: Arc<SelfMetrics>,
    quit: Arc<Notify>,
    replicas: Option<Replicas>,
}

/// Why nothing can be listened on.
#[derive(Debug, Error)]
pub enum BindError {
    #[error("cannot listen on {address} (web.listen-address)")]
    Address { address: String, source: io::Error },
    #[error(
        "systemd has handed over no socket (web.systemd-socket); it does so for a unit with a .socket unit beside it"
    )]
    NoSystemdSocket,
    #[error("cannot use a socket that systemd has handed over (web.systemd-socket)")]
    SystemdSocket(#[source] io::Error),
    #[error(transparent)]
    WebConfig(#[from] WebConfigError),
    #[error(transparent)]
    NobodyElse(#[from] NobodyElse),
    #[error(transparent)]
    Replicas(#[from] ReplicasError),
}

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: u32 = 1024;
/// File descriptors that are not for connections: the store's, the sockets that listen, files that are
/// read again, requests to others.
const FILES_KEPT: u64 = 64;
/// After running out of file descriptors or memory: time for others to give some back.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

impl Server {
    /// Binds every address.
    pub async fn bind(options: Options, metrics: &Arc<SelfMetrics>) -> Result<Self, BindError> {
        let web_config = options.web_config.as_deref();
        let web_config = web_config.map(|path| WebConfig::load(path, Arc::clone(metrics)));
        let web_config = web_config.transpose()?;
        let users = web_config.as_ref().is_some_and(|web_config| web_config.current().has_users());
        options.access.check(users)?;
        let replicas = options.replicas.clone().map(Replicas::new).transpose()?;
        let mut listeners = Vec::new();
        if options.systemd_socket {
            listeners = from_systemd()?;
        } else {
            for address in &options.listen {
                let failed = |source| BindError::Address { address: address.clone(), source };
                listeners.push(listen(address).await.map_err(failed)?);
            }
        }
        let web_config = web_config.map(Arc::new);
        let metrics = Arc::clone(metrics);
        Ok(Self { listeners, options, web_config, metrics, quit: Arc::default(), replicas })
    }

    /// The addresses that were bound.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Whether connections have to speak TLS. Decided once: a later change of the file changes how,
    /// not whether.
    pub fn is_tls(&self) -> bool {
        self.web_config.as_ref().is_some_and(|web_config| web_config.current().tls().is_some())
    }

    /// Whether somebody has to be one of the users of `web.config.file`.
    pub fn has_users(&self) -> bool {
        self.web_config.as_ref().is_some_and(|web_config| web_config.current().has_users())
    }

    /// `web.config.file`, if there is one.
    pub fn web_config(&self) -> Option<Arc<WebConfig>> {
        self.web_config.clone()
    }

    /// Notified when a request asks the gateway to stop.
    pub fn quit(&self) -> Arc<Notify> {
        Arc::clone(&self.quit)
    }

    /// Serves until `stop` completes, then lets the requests under way finish for at most `grace`.
    /// Returns how many connections had to be cut off.
    pub async fn serve(
        self,
        readiness: Readiness,
        hooks: Hooks,
        names: NameRules,
        started: UnixNanos,
        stop: impl Future<Output = ()>,
        grace: Duration,
    ) -> usize {
        let is_tls = self.is_tls();
        let Self { listeners, options, web_config, metrics, quit, replicas } = self;
        let limits = options.limits;
        let slots = Slots::new(connections(limits.connections));
        let router = Router::new(ENDPOINTS, &options, names);
        let pages =
            Pages::new(&options.paths.external_url, &options.allowed_hosts, &options.cors_origins);
        let site = Site {
            budget: Budget::new(limits.bytes_in_flight),
            refused_pushes: RefusedPushes::default(),
            readiness,
            options,
            web_config,
            pages,
            hooks,
            quit,
            started,
            tls: is_tls,
            slots: slots.clone(),
            followers: Slots::new(limits.followers),
            metrics: Arc::clone(&metrics),
            replicas,
        };
        let served = Arc::new(Served { service: Service { site, router }, is_tls });
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut accepting = JoinSet::new();
        let (send, mut accepted) = tokio::sync::mpsc::channel(64);
        for listener in listeners {
            let (send, slots) = (send.clone(), slots.clone());
            let metrics = Arc::clone(&metrics);
            accepting.spawn(async move {
                loop {
                    let connection = accept(&listener, &slots, &metrics).await;
                    if send.send(connection).await.is_err() {
                        return;
                    }
                }
            });
        }
        tokio::pin!(stop);
        loop {
            let (stream, slot) = tokio::select! {
                Some(connection) = accepted.recv() => connection,
                Some(_) = connections.join_next() => continue,
                () = &mut stop => break,
            };
            // Watched before it is spawned: a stop in between must not miss it.
            let watcher = graceful.watcher();
            let served = Arc::clone(&served);
            connections.spawn(async move {
                served.connection(stream, watcher).await;
                drop(slot);
            });
        }
        // No new connections; those that are open finish the request that they are at.
        accepting.shutdown().await;
        drop(accepted);
        let drained = tokio::time::timeout(grace, graceful.shutdown()).await;
        while connections.try_join_next().is_some() {}
        let cut_off = if drained.is_ok() { 0 } else { connections.len() };
        connections.shutdown().await;
        cut_off
    }
}

/// The means by which connections are served.
struct Served {
    service: Service,
    is_tls: bool,
}

impl Served {
    /// Serves one connection to its end.
    async fn connection(self: Arc<Self>, stream: TcpStream, watcher: Watcher) {
        let limits = self.service.site.options.limits;
        // A connection whose other end has closed already is served to nobody.
        let Ok(from) = stream.peer_addr().map(|address| address.ip()) else { return };
        let stream = WriteTimeout::new(stream, limits.send_timeout);
        if !self.is_tls {
            return self.http1(stream, watcher, from).await;
        }
        match tokio::time::timeout(limits.header_timeout, self.handshake(stream)).await {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(stream, watcher, from).await;
            }
            Ok(Ok(stream)) => self.http1(stream, watcher, from).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => {
                self.service.site.metrics.limited(Limit::HeaderTimeout);
                tracing::debug!("TLS handshake timed out");
            }
        }
    }

    async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let settings = self.service.site.web_config.as_ref().map(|web_config| web_config.current());
        let config = settings.and_then(|settings| settings.tls().map(Arc::clone));
        let config = config.ok_or_else(|| io::Error::other("web.config.file is invalid"))?;
        TlsAcceptor::from(config).accept(stream).await
    }

    async fn http1<S>(self: Arc<Self>, stream: S, watcher: Watcher, from: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.service.site.options.limits;
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
        // More than a head, so that it is refused where there are words for it.
        builder.half_close(true).max_buf_size(HEAD_BYTES_MAX + 1024);
        let (stream, refused) = Heads::new(stream);
        let (mut link, reading) = Link::new(from);
        link.refused = Some(refused);
        let serve = service_fn(|request| self.serve(request, &link));
        let connection = builder.serve_connection(TokioIo::new(stream), serve);
        self.until_overdue(&link.send_by, reading, watcher.watch(connection)).await;
    }

    /// Serves a connection for as long as it takes what it is sent in time.
    async fn until_overdue(
        &self,
        send_by: &SendBy,
        reading: impl Future<Output = Infallible>,
        connection: impl Future<Output = hyper::Result<()>>,
    ) {
        let metrics = &self.service.site.metrics;
        tokio::select! {
            ended = connection => {
                let Err(error) = ended else { return };
                if error.is_timeout() {
                    metrics.limited(Limit::HeaderTimeout);
                } else if is_io_timeout(&error) {
                    metrics.limited(Limit::SendTimeout);
                }
                tracing::debug!(%error, "connection ended");
            }
            () = send_by.overdue() => {
                metrics.limited(Limit::SendTimeout);
                tracing::debug!("connection closed: it takes too long to take an answer");
            }
            never = reading => match never {},
        }
    }

    async fn http2<S>(self: Arc<Self>, stream: S, watcher: Watcher, from: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        /// Requests at a time on one connection, as Go's server has it.
        const STREAMS_MAX: u32 = 250;
        /// Of an answer that is waiting for its window, so much is taken from it beforehand.
        const STREAM_BYTES_MAX: usize = 32 * 1024;
        /// Of a body that nobody reads yet, so much may come.
        const WINDOW_BYTES: u32 = 128 * 1024;
        #[expect(clippy::cast_possible_truncation, reason = "it is small")]
        const LIST_BYTES_MAX: u32 = 2 * HEAD_BYTES_MAX as u32;
        let limits = self.service.site.options.limits;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
        builder.max_send_buf_size(STREAM_BYTES_MAX);
        builder.initial_stream_window_size(WINDOW_BYTES);
        builder.initial_connection_window_size(4 * WINDOW_BYTES);
        builder.keep_alive_interval(limits.header_timeout);
        // More than a head, so that it is refused where there are words for it.
        builder.max_header_list_size(LIST_BYTES_MAX);
        let served = Arc::clone(&self);
        let (link, reading) = Link::new(from);
        let serve = service_fn({
            let link = link.clone();
            move |request| {
                let (served, link) = (Arc::clone(&served), link.clone());
                async move { served.serve(request, &link).await }
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), serve);
        self.until_overdue(&link.send_by, reading, watcher.watch(connection)).await;
    }

    async fn serve(
        &self,
        request: Request<Incoming>,
        link: &Link,
    ) -> Result<Response<Timed>, Infallible> {
        let (head, body) = request.into_parts();
        let within = self.service.site.options.limits.send_timeout;
        if let Some(rejection) = link.refused.as_ref().and_then(Refused::next) {
            let response = self.service.refused(&head, rejection);
            return Ok(response.map(|body| Timed::new(body, &link.send_by, within)));
        }
        let mut body = Watched::new(&head, body);
        let response = self.service.serve(&head, &mut body, link.from).await;
        if let Some(left) = body.left() {
            link.leftovers.take(left);
        }
        let (response, held) = self.service.counted(&head, response);
        Ok(response.map(|body| Timed::new(body, &link.send_by, within).holding(held)))
    }
}

/// The state that the requests of a connection share.
#[derive(Clone, Debug)]
struct Link {
    from: IpAddr,
    send_by: SendBy,
    leftovers: Leftovers,
    /// Of HTTP/1: which request is refused before it is read.
    refused: Option<Refused>,
}

impl Link {
    /// That of a connection from an address, and what reads bodies that nobody wants.
    fn new(from: IpAddr) -> (Self, impl Future<Output = Infallible>) {
        let (leftovers, reading) = Leftovers::new();
        (Self { from, send_by: SendBy::new(), leftovers, refused: None }, reading)
    }
}

/// Whether a connection ended because the other end took nothing for too long.
fn is_io_timeout(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::TimedOut;
        }
        source = error.source();
    }
    false
}

/// The sockets of systemd's socket activation (`sd_listen_fds`).
fn from_systemd() -> Result<Vec<TcpListener>, BindError> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for at in 0..passed.len() {
        let socket = passed.take_tcp_listener(at).map_err(BindError::SystemdSocket)?;
        let Some(socket) = socket else { continue };
        let listener = socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket));
        listeners.push(listener.map_err(BindError::SystemdSocket)?);
    }
    if listeners.is_empty() { Err(BindError::NoSystemdSocket) } else { Ok(listeners) }
}

/// Waits for a connection, then for a free slot for it. Not the other way round: a listener to which
/// nobody connects would keep a slot from the others.
async fn accept(
    listener: &TcpListener,
    slots: &Slots,
    metrics: &SelfMetrics,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and whole: waiting to fill packets only delays them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                if slots.are_taken() {
                    metrics.limited(Limit::Connections);
                }
                return (stream, slots.take().await);
            }
            Err(error) if is_connection_error(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// As many connections at a time as are wanted, or as the host allows: the store could not open its
/// files if connections had taken all file descriptors.
fn connections(wanted: usize) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let possible = usize::try_from(files.saturating_sub(FILES_KEPT)).unwrap_or(usize::MAX).max(1);
    if wanted > possible {
        tracing::warn!(
            possible,
            "limits.connections is {wanted}, and the host allows the process {files} file \
             descriptors (ulimit -n)"
        );
    }
    wanted.min(possible)
}

/// Whether it concerns the one connection only.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn listen(address: &str) -> io::Result<TcpListener> {
    if let Some(port) = address.strip_prefix(':') {
        // Every address of the host: IPv6 sockets take IPv4 too, where the host has IPv6 at all.
        let any = format!("[::]:{port}");
        return match bind(&any).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                bind(&format!("0.0.0.0:{port}")).await
            }
            bound => bound,
        };
    }
    bind(address).await
}

async fn bind(address: &str) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let bound = socket.and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        });
        match bound {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}
