//! Encrypted connections, as `web.config.file` asks for them. The client is Python's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::differential::explained::Why;
use crate::differential::pair::Pair;
use support::part;

/// The abilities of a client: TLS versions from and to, protocols, certificate, cipher.
type Client = (&'static str, &'static str, &'static str, &'static str, &'static str);

const CLIENTS: [Client; 11] = [
    ("TLSv1_2", "TLSv1_3", "-", "-", "-"),
    ("TLSv1_3", "TLSv1_3", "-", "-", "-"),
    ("TLSv1_2", "TLSv1_2", "-", "-", "-"),
    ("TLSv1_1", "TLSv1_1", "-", "-", "-"),
    ("TLSv1_2", "TLSv1_3", "http/1.1", "-", "-"),
    ("TLSv1_2", "TLSv1_3", "h2", "-", "-"),
    ("TLSv1_2", "TLSv1_3", "h2,http/1.1", "-", "-"),
    ("TLSv1_2", "TLSv1_3", "-", "client", "-"),
    ("TLSv1_2", "TLSv1_2", "-", "client", "-"),
    ("TLSv1_2", "TLSv1_3", "-", "stranger", "-"),
    ("TLSv1_2", "TLSv1_2", "-", "stranger", "-"),
];

const CIPHERS: [Client; 3] = [
    ("TLSv1_2", "TLSv1_2", "-", "-", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("TLSv1_2", "TLSv1_2", "-", "-", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("TLSv1_2", "TLSv1_2", "-", "-", "ECDHE-ECDSA-CHACHA20-POLY1305"),
];

fn here(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compatibility/differential"))
        .join(name)
}

fn connect(address: SocketAddr, client: &Client) -> String {
    let (lowest, highest, alpn, certificate, cipher) = client;
    let output = Command::new(part("python"))
        .arg(here("tls_client.py"))
        .args([&address.to_string(), *lowest, highest, alpn, certificate, cipher])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Serves both with these lines in the TLS section, and has all clients connect.
fn serve(lines: &[&str], clients: &[Client]) {
    let folder = tempfile::tempdir().unwrap();
    let mut pair = start(&folder, lines, "");
    for client in clients {
        let reference = connect(pair.reference().address(), client);
        let ours = connect(pair.ours().address(), client);
        if reference != ours {
            let what = format!("{client:?} at {lines:?}");
            pair.differ(&what, &format!("reference: {reference}\nours: {ours}"));
        }
    }
    pair.finish();
}

fn start(folder: &TempDir, lines: &[&str], rest: &str) -> Pair {
    // Paths are taken from the folder of the file.
    for name in ["server.pem", "server.key", "ca.pem"] {
        std::fs::copy(here("tls").join(name), folder.path().join(name)).unwrap();
    }
    let mut text =
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n".to_owned();
    for line in lines {
        text += &["  ", line, "\n"].concat();
    }
    let file = folder.path().join("web.yml");
    std::fs::write(&file, text + rest).unwrap();
    Pair::start(&[&format!("--web.config.file={}", file.display())])
}

/// The client tells one outcome from another.
#[test]
fn the_client_sees_what_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let pair = start(&folder, &[], "");
    for (client, outcome) in [
        (0, "TLSv1.3 None HTTP/1.1 200"),
        (2, "TLSv1.2 None HTTP/1.1 200"),
        (3, "refused"),
        (5, "TLSv1.3 h2 frame 4"),
    ] {
        assert_eq!(connect(pair.reference().address(), &CLIENTS[client]), outcome);
    }
}

#[test]
fn versions_and_protocols() {
    serve(&[], &CLIENTS);
    serve(&["min_version: TLS13"], &CLIENTS[..4]);
    serve(&["max_version: TLS12"], &CLIENTS[..4]);
    serve(&["min_version: TLS11", "max_version: TLS12"], &CLIENTS[..3]);
}

#[test]
fn certificates_of_clients() {
    for kind in ["NoClientCert", "RequestClientCert", "RequireAnyClientCert", "RequireClientCert"] {
        serve(&[&format!("client_auth_type: {kind}")], &CLIENTS);
    }
    for kind in ["VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] {
        serve(&[&format!("client_auth_type: {kind}"), "client_ca_file: ca.pem"], &CLIENTS);
    }
    let verified = ["client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.pem"];
    for names in ["client.test", "client@client.test", "elsewhere.test", "127.0.0.1"] {
        let allowed = format!("client_allowed_sans: [\"{names}\"]");
        serve(&[verified[0], verified[1], &allowed], &CLIENTS[7..9]);
    }
}

#[test]
fn ciphers() {
    serve(&[], &CIPHERS);
    serve(&["cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]"], &CIPHERS);
    serve(&["curve_preferences: [CurveP256]"], &CLIENTS[..3]);
    serve(&["prefer_server_cipher_suites: false"], &CLIENTS[..1]);
}

#[test]
fn http2_can_be_off() {
    let folder = tempfile::tempdir().unwrap();
    let mut pair = start(&folder, &[], "http_server_config:\n  http2: false\n");
    for client in &CLIENTS[..7] {
        let reference = connect(pair.reference().address(), client);
        let ours = connect(pair.ours().address(), client);
        if reference != ours {
            pair.differ(&format!("{client:?}"), &format!("reference: {reference}\nours: {ours}"));
        }
    }
    pair.finish();
}

/// A certificate is renewed without a restart.
#[test]
fn a_certificate_that_changes_counts_from_the_next_connection_on() {
    let folder = tempfile::tempdir().unwrap();
    let pair = start(&folder, &[], "");
    let both =
        || [pair.reference(), pair.ours()].map(|program| connect(program.address(), &CLIENTS[0]));
    let served = "TLSv1.3 None HTTP/1.1 200";
    assert_eq!(both(), [served, served]);
    // One that the client does not trust, with its key.
    for name in ["server.pem", "server.key"] {
        std::fs::copy(here("tls/stranger.pem"), folder.path().join(name)).unwrap();
    }
    assert_eq!(both(), ["refused", "refused"]);
    for name in ["server.pem", "server.key"] {
        std::fs::copy(here("tls").join(name), folder.path().join(name)).unwrap();
    }
    assert_eq!(both(), [served, served]);
    // One that cannot be read is no reason to serve without; here the last that could be counts.
    std::fs::write(folder.path().join("server.pem"), "no certificate").unwrap();
    assert_eq!(both(), ["refused", served], "{:?}", Why::Kept);
}
