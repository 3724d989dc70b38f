//! Listens, accepts within a bound, serves, and drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::service::{Readiness, Service};
use super::{Limits, Options};

/// Bound sockets, not yet served.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    limits: Limits,
}

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address} (web.listen-address)")]
pub struct BindError {
    address: String,
    source: io::Error,
}

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: u32 = 1024;
/// After running out of file descriptors or memory: time for others to give some back.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

impl Server {
    /// Binds every address.
    pub async fn bind(options: &Options) -> Result<Self, BindError> {
        let mut listeners = Vec::new();
        for address in &options.listen {
            let failed = |source| BindError { address: address.clone(), source };
            listeners.push(listen(address).await.map_err(failed)?);
        }
        Ok(Self { listeners, limits: options.limits })
    }

    /// The addresses that were bound.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until `stop` completes, then lets the requests under way finish for at most `grace`.
    /// Returns how many connections had to be cut off.
    pub async fn serve(
        self,
        readiness: Readiness,
        stop: impl Future<Output = ()>,
        grace: Duration,
    ) -> usize {
        let service = Service { readiness, limits: self.limits };
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.limits.header_timeout);
        builder.half_close(true);
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut accepting = JoinSet::new();
        let (send, mut accepted) = tokio::sync::mpsc::channel(64);
        for listener in self.listeners {
            let (send, slots) = (send.clone(), Arc::clone(&slots));
            accepting.spawn(async move {
                loop {
                    let connection = accept(&listener, &slots).await;
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
            let service = service.clone();
            let serve = service_fn(move |request| service.clone().serve(request));
            let connection = builder.serve_connection(TokioIo::new(stream), serve);
            // Watched before it is spawned: a stop in between must not miss it.
            let watched = graceful.watch(connection);
            connections.spawn(async move {
                if let Err(error) = watched.await {
                    tracing::debug!(%error, "connection ended");
                }
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

/// Waits for a free slot, then for a connection.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and whole: waiting to fill packets only delays them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                return (stream, slot);
            }
            Err(error) if is_connection_error(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
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
