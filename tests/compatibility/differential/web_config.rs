//! `web.config.file`: who may ask, and headers for every answer. Encryption is in `tls`.

use std::path::Path;
use std::process::Command;

use crate::differential::explained::Why;
use crate::differential::http::Request;
use crate::differential::pair::Pair;
use support::eventually;
use support::programs::{our_command, reference_command};

/// bob, whose password is "open sesame", at the least cost that there is.
const USERS: &str = "basic_auth_users:\n  \
    bob: $2b$04$kvO0RmOwhZH.otVNe83sO.sA0bb9E5W7Wae2JbdffycYhqDR4E8L2\n";
const BOB: &str = "Basic Ym9iOm9wZW4gc2VzYW1l";

/// Starts both with a file, which tests may change.
fn start(file: &Path, text: &str) -> Pair {
    std::fs::write(file, text).unwrap();
    Pair::start(&[&format!("--web.config.file={}", file.display()), "--web.enable-admin-api"])
}

#[test]
fn only_users_with_their_password_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut pair = start(&folder.path().join("web.yml"), USERS);
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/-/healthy"),
        ("GET", "/-/ready"),
        ("GET", "/status"),
        ("GET", "/nowhere"),
        ("GET", "//metrics"),
        ("GET", "/metrics/"),
        ("PUT", "/metrics/job/x"),
        ("DELETE", "/metrics/job/x"),
        ("OPTIONS", "/metrics"),
        ("OPTIONS", "/api/v1/status"),
        ("GET", "/api/v1/metrics"),
        ("PUT", "/api/v1/admin/wipe"),
        ("PUT", "/-/quit"),
    ] {
        for authorization in [
            "",
            BOB,
            "basic Ym9iOm9wZW4gc2VzYW1l",
            "Basic Ym9iOm5v",
            "Basic Ym9iOg==",
            "Basic Ym9i",
            "Basic YWxpY2U6b3BlbiBzZXNhbWU=",
            "Basic Ym9iOm9wZW4gc2VzYW1lIA==",
            "Basic not base64",
            "Basic",
            "Bearer Ym9iOm9wZW4gc2VzYW1l",
        ] {
            let request = Request::new(method, path);
            pair.same(&if authorization.is_empty() {
                request
            } else {
                request.header("Authorization", authorization)
            });
        }
    }
    let state = Request::get("/metrics").header("Authorization", BOB);
    pair.same(&Request::put("/metrics/job/x", "m 1\n").header("Authorization", BOB));
    pair.same(&state);
    // A body that cannot be decoded is not looked at before the user is.
    pair.same(&Request::put("/metrics/job/x", "x").header("Content-Encoding", "gzip"));
    pair.finish();
}

#[test]
fn the_file_counts_as_it_is_at_the_moment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    let mut pair = start(&file, "");
    let frame = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n";
    let users_and_frame = format!("{USERS}{frame}");
    for text in [
        frame,
        "# nothing\n",
        "tls_server_config: {}\n",
        "basic_auth_users:\n",
        "",
        USERS,
        &*users_and_frame,
    ] {
        std::fs::write(&file, text).unwrap();
        pair.case(text.escape_debug().to_string());
        for path in ["/-/ready", "/metrics", "/nowhere", "/api/v1/metrics"] {
            pair.same(&Request::get(path));
            pair.same(&Request::get(path).header("Authorization", BOB));
        }
    }
    // A file that asks for less: the reference is open to everybody.
    for text in ["", "# nothing\n", "basic_auth_users:\n", "tls_server_config: {}\n", frame] {
        std::fs::write(&file, text).unwrap();
        pair.case(text.escape_debug().to_string());
        pair.differs(Why::Kept, &Request::get("/metrics"), 401);
        pair.differs(Why::Kept, &Request::delete("/metrics/job/x"), 401);
    }
    // An invalid file: the reference serves nobody.
    for text in [
        "nonsense: 1\n",
        "a: [\n",
        "basic_auth_users:\n  bob: nonsense\n",
        "http_server_config:\n  headers:\n    X-Nonsense: deny\n",
        "http_server_config:\n  headers:\n    X-Frame-Options: nonsense\n",
    ] {
        std::fs::write(&file, text).unwrap();
        pair.case(text.escape_debug().to_string());
        pair.differs(Why::Kept, &Request::get("/metrics").header("Authorization", BOB), 200);
    }
    std::fs::remove_file(&file).unwrap();
    pair.case("no file");
    pair.differs(Why::Kept, &Request::get("/nowhere").header("Authorization", BOB), 404);
    pair.finish();
}

#[test]
fn headers_are_on_every_answer() {
    let folder = tempfile::tempdir().unwrap();
    let text = "http_server_config:\n  headers:\n    Content-Security-Policy: \"default-src 'self'\"\n    \
                X-Frame-Options: sameorigin\n    X-Content-Type-Options: nosniff\n    \
                X-XSS-Protection: 1; mode=block\n    Strict-Transport-Security: max-age=31536000\n";
    let mut pair = start(&folder.path().join("web.yml"), text);
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/-/ready"),
        ("PUT", "/metrics/job/x"),
        ("PUT", "/metrics/job/x/a"),
        ("DELETE", "/metrics/job/x"),
        ("OPTIONS", "/metrics"),
        ("OPTIONS", "/api/v1/metrics"),
        ("GET", "/api/v1/metrics"),
        ("GET", "/nowhere"),
        ("GET", "/metrics/"),
        ("PUT", "//metrics"),
        ("PATCH", "/metrics"),
    ] {
        pair.same(&Request::new(method, path));
    }
    pair.finish();
}

/// Where the file is wrong at the start, the reference ends with a code that says that all is well.
#[test]
fn a_wrong_file_at_the_start_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    for text in [
        "nonsense: 1\n",
        "a: [\n",
        "basic_auth_users:\n  bob: nonsense\n",
        "basic_auth_users: [bob]\n",
        "http_server_config:\n  nonsense: 1\n",
        "http_server_config:\n  headers:\n    X-Nonsense: deny\n",
        "http_server_config:\n  headers:\n    X-Frame-Options: nonsense\n",
        "tls_server_config:\n  cert_file: none\n  key_file: none\n",
        "tls_server_config:\n  cert_file: none\n",
        "tls_server_config:\n  nonsense: 1\n",
    ] {
        let file = folder.path().join("web.yml");
        std::fs::write(&file, text).unwrap();
        let flag = format!("--web.config.file={}", file.display());
        let store = tempfile::tempdir().unwrap();
        let flags = [flag.as_str(), "--web.listen-address=127.0.0.1:0"];
        let reference = code(&mut reference_command(&flags));
        let ours = code(&mut our_command(&store, &flags));
        assert_eq!(reference, Some(0), "{text:?}: {:?} is no longer a difference", Why::ExitCode);
        assert_eq!(ours, Some(1), "{text:?}");
    }
}

/// The code with which a command ends by itself. One that does not is killed, and fails the test.
fn code(command: &mut Command) -> Option<i32> {
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let began = std::time::Instant::now();
    let status = eventually("the end of a command", || {
        let late = began.elapsed().as_secs() > 20;
        if late {
            let _ = child.kill();
        }
        child.try_wait().unwrap()
    });
    status.code()
}
