//! Where the pages may be served, and to whom.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::script::run;
use support::{Tidegate, finished};

/// bob, whose password is "open sesame", at the lowest cost.
const USERS: &str = "basic_auth_users:\n  \
    bob: $2b$04$kvO0RmOwhZH.otVNe83sO.sA0bb9E5W7Wae2JbdffycYhqDR4E8L2\n";
const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

/// Serves with a file for the web, and runs the script with where it is.
#[track_caller]
fn tour(web_config: &str, args: &[&str], told: impl FnOnce(SocketAddr) -> Value) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("web.yml");
    std::fs::write(&file, web_config).unwrap();
    for name in ["server.pem", "server.key"] {
        let tls =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compatibility/differential/tls");
        std::fs::copy(tls.join(name), folder.path().join(name)).unwrap();
    }
    let web_config = format!("--web.config.file={}", file.display());
    let args = [&[&*web_config], args].concat();
    let gateway = Tidegate::serve(&folder.path().join("store"), &args);
    run("places", &told(gateway.address()));
    gateway.stop();
}

#[test]
fn at_the_root() {
    tour("", &[], |address| json!({ "url": format!("http://{address}"), "curl": true }));
}

#[test]
fn below_a_prefix() {
    let prefix = "--web.route-prefix=/push/gate";
    tour(
        "",
        &[prefix],
        |address| json!({ "url": format!("http://{address}/push/gate"), "curl": true }),
    );
}

#[test]
fn below_the_path_of_an_external_url() {
    let external = "--web.external-url=https://gate.example.org/push/";
    tour("", &[external], |address| {
        let line = "https://gate.example.org/push/metrics/job/some_job";
        json!({ "url": format!("http://{address}/push"), "line": line })
    });
}

#[test]
fn behind_a_proxy_that_takes_a_path_off() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/deep/gate", proxy.local_addr().unwrap());
    let external = format!("--web.external-url={url}/");
    tour("", &[&external, "--web.route-prefix=/"], |address| {
        std::thread::spawn(move || {
            for stream in proxy.incoming().map_while(Result::ok) {
                std::thread::spawn(move || forward(stream, address));
            }
        });
        json!({ "url": url, "curl": true })
    });
}

/// Forwards one request, whose path has another begin, and closes. An error is that somebody hung
/// up.
fn forward(mut client: TcpStream, to: SocketAddr) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.replacen(" /deep/gate", " ", 1);
    let kept = |line: &&str| !line.to_ascii_lowercase().starts_with("connection:");
    let lines = head.trim_end().split("\r\n").filter(kept).collect::<Vec<_>>().join("\r\n");
    let mut gateway = TcpStream::connect(to).ok()?;
    gateway.write_all(format!("{lines}\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let (mut from, mut into) = (client.try_clone().ok()?, gateway.try_clone().ok()?);
    std::thread::spawn(move || {
        // The body, and that the client has left.
        let _ = std::io::copy(&mut from, &mut into);
        let _ = into.shutdown(Shutdown::Both);
    });
    std::io::copy(&mut gateway, &mut client).ok()?;
    client.shutdown(Shutdown::Both).ok()
}

#[test]
fn encrypted_and_for_users() {
    tour(
        &[TLS, USERS].concat(),
        &[],
        |address| json!({ "url": format!("https://{address}"), "user": "bob", "password": "open sesame" }),
    );
}

/// A token that `tidegate token` makes: the secret, and the table for the settings.
fn token(name: &str, may: &str) -> (String, String) {
    let output = finished(&mut Tidegate::command(&["token", name, &format!("--may={may}")]));
    let text = String::from_utf8(output.stdout).unwrap();
    let (first, table) = text.split_once('\n').expect("the secret, and a table");
    (first.rsplit(' ').next().unwrap().to_owned(), table.to_owned())
}

#[test]
fn for_those_who_may_only_read() {
    let (reader, reader_table) = token("reader", "read,scrape");
    let (pusher, pusher_table) = token("pusher", "push");
    let folder = TempDir::new().unwrap();
    let settings = folder.path().join("tidegate.toml");
    std::fs::write(&settings, [reader_table, pusher_table].concat()).unwrap();
    let settings = format!("--config.file={}", settings.display());
    tour("", &[&settings, "--web.enable-admin-api"], |address| {
        let url = format!("http://{address}");
        json!({ "url": url, "user": "x", "password": reader, "may": "read", "pusher": pusher })
    });
}
