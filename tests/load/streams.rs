//! Requests over HTTP/2, many on one connection, whose answers are taken slowly or not at all.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use hyper::Request;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use support::PATIENCE;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A request of an attack.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

/// The client's use of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Takes {
    /// It is read to its end.
    All,
    /// Nothing of it is.
    Nothing,
}

fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compatibility/differential/tls").join(name)
}

/// Writes a `web.config.file` with TLS into a folder, and returns where it is.
pub(crate) fn web_config(folder: &Path) -> PathBuf {
    let file = folder.join("web.yml");
    let (cert, key) = (certificate("server.pem"), certificate("server.key"));
    let (cert, key) = (cert.display(), key.display());
    let text = format!("tls_server_config:\n  cert_file: {cert}\n  key_file: {key}\n");
    std::fs::write(&file, text).unwrap();
    file
}

/// A connection; its requests share it.
async fn connect(address: SocketAddr) -> Result<SendRequest<Bytes>, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate("ca.pem"))?)?;
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()?
    .with_root_certificates(roots)
    .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost")?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (requests, connection) = h2::client::handshake(stream).await?;
    // Ends with its requests.
    #[expect(clippy::disallowed_methods, reason = "the test's own client")]
    tokio::spawn(connection);
    Ok(requests)
}

/// Sends a request; its status, once the answer was taken.
async fn send(
    requests: SendRequest<Bytes>,
    asked: &Asked,
    takes: Takes,
    stop: &AtomicBool,
) -> Result<u16, Failure> {
    let mut request = Request::builder()
        .method(asked.method.as_str())
        .uri(format!("https://localhost{}", asked.path));
    for (name, value) in &asked.headers {
        request = request.header(*name, value);
    }
    let mut requests = requests.ready().await?;
    let (answer, mut body) = requests.send_request(request.body(())?, asked.body.is_empty())?;
    if !asked.body.is_empty() {
        // The rest of it is sent as the other end opens its window.
        body.send_data(asked.body.clone(), true)?;
    }
    let answer = answer.await?;
    let status = answer.status().as_u16();
    let mut taken = answer.into_body();
    match takes {
        Takes::All => {
            while let Some(data) = taken.data().await {
                taken.flow_control().release_capacity(data?.len())?;
            }
        }
        Takes::Nothing => {
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(crate::attack::PACE).await;
            }
        }
    }
    Ok(status)
}

/// Sends requests in turn over some connections with so many streams each, until it is to stop.
pub(crate) async fn attack(
    address: SocketAddr,
    connections: usize,
    streams: usize,
    takes: Takes,
    asked: Arc<Vec<Asked>>,
    stop: Arc<AtomicBool>,
) {
    let mut attackers = JoinSet::new();
    for connection in 0..connections {
        let (asked, stop) = (Arc::clone(&asked), Arc::clone(&stop));
        attackers.spawn(async move {
            let mut next = connection;
            while !stop.load(Ordering::Relaxed) {
                // Whatever ends a connection, an attacker comes again.
                let Ok(requests) = connect(address).await else { continue };
                let mut under_way = JoinSet::new();
                for _ in 0..streams {
                    let (requests, stop) = (requests.clone(), Arc::clone(&stop));
                    let asked = Arc::clone(&asked);
                    next += 1;
                    let mut at = next;
                    under_way.spawn(async move {
                        while !stop.load(Ordering::Relaxed) {
                            at += 1;
                            let asked = &asked[at % asked.len()];
                            if send(requests.clone(), asked, takes, &stop).await.is_err() {
                                return;
                            }
                        }
                    });
                }
                while under_way.join_next().await.is_some() {}
            }
        });
    }
    while attackers.join_next().await.is_some() {}
}

/// An ordinary client on a connection of its own: pushes again and again, and returns what was not
/// answered by 200.
pub(crate) async fn honest(address: SocketAddr, stop: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let mut wrong = Vec::new();
    let mut pushes = 0;
    let requests = match connect(address).await {
        Ok(requests) => requests,
        Err(error) => return (0, vec![error.to_string()]),
    };
    while !stop.load(Ordering::Relaxed) {
        pushes += 1;
        let asked = Asked {
            method: "PUT".to_owned(),
            path: "/metrics/job/honest".to_owned(),
            headers: Vec::new(),
            body: format!("honest {pushes}\n").into(),
        };
        let push = send(requests.clone(), &asked, Takes::All, &stop);
        match tokio::time::timeout(PATIENCE, push).await {
            Ok(Ok(200)) => {}
            Ok(Ok(status)) => wrong.push(status.to_string()),
            Ok(Err(error)) => {
                wrong.push(error.to_string());
                break;
            }
            Err(_) => {
                wrong.push("no answer".to_owned());
                break;
            }
        }
        tokio::time::sleep(crate::attack::PACE).await;
    }
    (pushes, wrong)
}
