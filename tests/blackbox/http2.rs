//! HTTP/2 over TLS: clients that open no window, and what else has to be as on HTTP/1.1.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use support::{PATIENCE, Tidegate};

const PARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compatibility/differential/tls");

/// Serves TLS with a user.
fn serve(folder: &std::path::Path, flags: &[&str]) -> (Tidegate, SocketAddr) {
    let web = folder.join("web.yml");
    let text = format!(
        "tls_server_config:\n  cert_file: {PARTS}/server.pem\n  key_file: {PARTS}/server.key\n\
         basic_auth_users:\n  \
         bob: $2b$04$kvO0RmOwhZH.otVNe83sO.sA0bb9E5W7Wae2JbdffycYhqDR4E8L2\n"
    );
    std::fs::write(&web, text).unwrap();
    let web = format!("--web.config.file={}", web.display());
    let gateway = Tidegate::serve(&folder.join("store"), &[&[&*web], flags].concat());
    let address = gateway.address();
    (gateway, address)
}

/// A connection whose streams have this window, and what completes when it ends.
async fn connect(address: SocketAddr, window: u32) -> (SendRequest<Bytes>, JoinSet<()>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(format!("{PARTS}/ca.pem")).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (send, connection) = builder.initial_window_size(window).handshake(stream).await.unwrap();
    let mut ended = JoinSet::new();
    ended.spawn(async { drop(connection.await) });
    (send.ready().await.unwrap(), ended)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn get(path: &str) -> hyper::Request<()> {
    hyper::Request::get(format!("https://127.0.0.1{path}"))
        .header("authorization", "Basic Ym9iOm9wZW4gc2VzYW1l")
        .body(())
        .unwrap()
}

/// Whatever it asks for: a page, a list, an error, events.
#[test]
fn who_opens_no_window_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, address) = serve(folder.path(), &["--limits.send-timeout=1s"]);
    runtime().block_on(async {
        for path in
            ["/metrics", "/", "/nowhere", "/api/v2/groups", "/api/v1/metrics", "/api/v2/events"]
        {
            for window in [0, 1] {
                let (mut send, mut ended) = connect(address, window).await;
                let mut answers = Vec::new();
                for _ in 0..20 {
                    send = send.ready().await.unwrap();
                    answers.push(send.send_request(get(path), true).unwrap().0);
                }
                let first = answers.remove(0).await.unwrap();
                assert!(matches!(first.status().as_u16(), 200 | 404), "{path}");
                let closed = tokio::time::timeout(PATIENCE, ended.join_next()).await;
                assert!(closed.is_ok(), "{path}: {window}");
                drop((first, answers));
            }
        }
        // A client that has read all data so far stays connected, whatever is to come.
        let (mut send, mut ended) = connect(address, 65_535).await;
        let events = send.send_request(get("/api/v2/events"), true).unwrap().0.await.unwrap();
        let mut events = events.into_body();
        assert!(events.data().await.unwrap().unwrap().starts_with(b": tidegate"));
        let longer = std::time::Duration::from_millis(1500);
        assert!(tokio::time::timeout(longer, ended.join_next()).await.is_err(), "it was cut off");
    });
    gateway.stop();
}

#[test]
fn requests_are_answered_as_on_other_connections() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, address) = serve(folder.path(), &[]);
    let plain = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let mut request = hyper::Request::builder().method(method);
        request = request.uri(format!("https://127.0.0.1:9091{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    };
    let bob = ("authorization", "Basic Ym9iOm9wZW4gc2VzYW1l");
    let long = "x".repeat(60_000);
    runtime().block_on(async {
        let (mut send, _ended) = connect(address, 65_535).await;
        for (request, status) in [
            (plain("GET", "/-/healthy", &[]), 200),
            (plain("GET", "/-/ready", &[]), 200),
            (plain("DELETE", "/metrics/job/x", &[]), 401),
            (plain("DELETE", "/metrics/job/x", &[bob]), 202),
            (plain("DELETE", "//metrics/job/x", &[bob]), 202),
            (plain("DELETE", "/metrics/job/x", &[bob, ("origin", "https://127.0.0.1:9091")]), 202),
            (plain("DELETE", "/metrics/job/x", &[bob, ("origin", "https://evil.example")]), 403),
            (plain("GET", "/-/ready", &[("x", &long)]), 200),
            (plain("GET", "/-/ready", &[("x", &long), ("y", &long)]), 431),
        ] {
            send = send.ready().await.unwrap();
            let what = format!("{} {}", request.method(), request.uri());
            let answer = send.send_request(request, true).unwrap().0.await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{what}");
            if status == 401 {
                assert_eq!(answer.headers()["www-authenticate"], "Basic realm=\"tidegate\"");
            }
            if status > 400 {
                let text = answer.into_body().data().await.unwrap().unwrap();
                assert!(!text.is_empty(), "{what}");
            }
        }
        // Without its body, which never comes.
        send = send.ready().await.unwrap();
        let request = plain("PUT", "/metrics/job/x", &[]);
        let (answer, _body) = send.send_request(request, false).unwrap();
        assert_eq!(answer.await.unwrap().status().as_u16(), 401);
    });
    gateway.stop();
}
