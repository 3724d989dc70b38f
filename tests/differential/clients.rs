//! The client libraries, as they are: what they push to the two is the same, plainly, with users,
//! and encrypted where the library can do it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::pair::Pair;
use crate::parts::part;

const USERS: &str = "basic_auth_users:\n  bob: \
                     $2b$04$kvO0RmOwhZH.otVNe83sO.sA0bb9E5W7Wae2JbdffycYhqDR4E8L2\n";

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential").join(name)
}

/// A client library's script, as a command that takes URL, user, password and authority.
fn command(client: &str) -> Command {
    let script = |program: PathBuf, name: &str| {
        let mut command = Command::new(program);
        command.arg(here("clients").join(name));
        command
    };
    match client {
        "python" => script(part("python"), "push.py"),
        "javascript" => {
            let mut command = script(part("node"), "push.js");
            command.arg(part("prom-client").parent().unwrap().parent().unwrap());
            command
        }
        other => Command::new(part(other)),
    }
}

/// Has a client push to both, and compares what they then have.
fn push(client: &str, scheme: &str, web_config: &str) {
    let folder = TempDir::new().unwrap();
    for name in ["server.pem", "server.key"] {
        std::fs::copy(here("tls").join(name), folder.path().join(name)).unwrap();
    }
    let file = folder.path().join("web.yml");
    std::fs::write(&file, web_config).unwrap();
    let mut pair = Pair::start(&[&format!("--web.config.file={}", file.display())]);
    let [user, password] =
        if web_config.contains("bob") { ["bob", "open sesame"] } else { [""; 2] };
    let ca = here("tls/ca.pem");
    let ca = if scheme == "https" { ca.to_str().unwrap() } else { "" };
    for address in [pair.reference().address(), pair.ours().address()] {
        let url = format!("{scheme}://{address}");
        let output = command(client).args([&*url, user, password, ca]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{client} to {url}: {errors}");
    }
    if scheme == "http" && user.is_empty() {
        let shown = pair.ours_shows();
        pair.check(shown.contains("push_time_seconds{"), "something was pushed");
        pair.check(!shown.contains("job=\"gone\""), "what was deleted is gone");
        pair.same_state();
    }
    pair.finish();
}

fn all_ways(client: &str, tls: bool) {
    push(client, "http", "");
    push(client, "http", USERS);
    if tls {
        let section = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";
        push(client, "https", &format!("{section}{USERS}"));
    }
}

#[test]
fn python() {
    all_ways("python", true);
}

#[test]
fn javascript() {
    all_ways("javascript", true);
}

#[test]
fn golang() {
    all_ways("client-golang", true);
}

/// Its push has no way to trust an authority of one's own.
#[test]
fn rust() {
    all_ways("client-rust", false);
}
