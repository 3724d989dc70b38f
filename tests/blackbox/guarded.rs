//! Outsiders, pages of other sites, and files that are being written change nothing: users in
//! `web.config.file`, origins, and what a refusal tells.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Answer, Client, Gateway, Tidegate, eventually, finished};

/// bob, whose password is "open sesame", at the lowest cost.
const USERS: &str = "basic_auth_users:\n  \
    bob: $2b$04$kvO0RmOwhZH.otVNe83sO.sA0bb9E5W7Wae2JbdffycYhqDR4E8L2\n";
const BOB: (&str, &str) = ("Authorization", "Basic Ym9iOm9wZW4gc2VzYW1l");
const WRONG: (&str, &str) = ("Authorization", "Basic Ym9iOm5v");

/// Serves with a file for users; more settings are flags.
fn with_users(folder: &Path, flags: &[&str]) -> Tidegate {
    let file = folder.join("web.yml");
    std::fs::write(&file, USERS).unwrap();
    let web = format!("--web.config.file={}", file.display());
    Tidegate::serve(&folder.join("store"), &[&[&*web], flags].concat())
}

fn delete(gateway: &Client) -> Answer {
    gateway.send("DELETE", "/metrics/job/x", &[], b"")
}

#[test]
fn a_file_that_loses_its_users_opens_nothing_until_somebody_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    let mut gateway = with_users(folder.path(), &[]);
    let counts = |gateway: &Client| {
        let scrape = gateway.send("GET", "/metrics", &[BOB], b"").expect(200).text();
        scrape.lines().any(|line| line == "tidegate_web_config_in_force 1")
    };
    assert!(counts(&gateway));
    for text in ["", "basic_auth_users:\n", "basic_auth_users:", "nonsense"] {
        std::fs::write(&file, text).unwrap();
        delete(&gateway).expect(401);
        assert!(!counts(&gateway), "{text:?}");
    }
    gateway.process().logs("the file", |line| {
        (line.contains("level=error") && line.contains("web.yml")).then_some(())
    });
    std::fs::write(&file, USERS).unwrap();
    assert!(counts(&gateway));
    std::fs::write(&file, "").unwrap();
    delete(&gateway).expect(401);
    gateway.process().signal("HUP");
    eventually("the file to count", || (delete(&gateway).status == 202).then_some(()));
    gateway.stop();
}

#[test]
fn whoever_is_asked_for_nothing_gains_nothing_while_the_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("tidegate.toml");
    std::fs::write(&settings, "[access]\nanonymous = ['scrape']\n").unwrap();
    let config = format!("--config.file={}", settings.display());
    let gateway = with_users(folder.path(), &[&config]);
    let file = folder.path().join("web.yml");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for text in ["a: [", "", USERS, "basic_auth_users: 1\n"] {
                    std::fs::write(&file, text).unwrap();
                }
            }
        });
        let statuses: Vec<_> = (0..2000).map(|_| delete(&gateway).status).collect();
        done.store(true, Ordering::Relaxed);
        assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
    });
    gateway.get("/metrics").expect(200);
    gateway.stop();
}

#[test]
fn probes_need_no_user_and_all_others_are_told_how_to_say_who_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = with_users(folder.path(), &[]);
    for path in ["/-/healthy", "/-/ready"] {
        for headers in [&[][..], &[BOB], &[WRONG]] {
            assert_eq!(gateway.send("GET", path, headers, b"").expect(200).text(), "OK");
        }
    }
    for path in ["/metrics", "/", "/nowhere", "/api/v2/groups", "/-/quit", "/-/healthy/"] {
        for headers in [&[][..], &[WRONG]] {
            let answer = gateway.send("GET", path, headers, b"").expect(401);
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge, Some("Basic realm=\"tidegate\""), "{path}");
        }
    }
    gateway.stop();
}

#[test]
fn a_refusal_of_access_tells_nothing_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = with_users(folder.path(), &[]);
    gateway.send("PUT", "/metrics/job/x", &[BOB], b"m 1\n").expect(200);
    for job in ["x", "y"] {
        for body in [&b"m 1\n"[..], b"broken"] {
            for headers in [&[][..], &[WRONG]] {
                let answer = gateway.send("PUT", &format!("/metrics/job/{job}"), headers, body);
                assert_eq!(answer.expect(401).header("tidegate-expires"), None);
            }
        }
    }
    let live = gateway.send("GET", "/live?event=refused", &[BOB], b"").expect(200);
    live.says("Nothing has happened yet");
    gateway.stop();
    // Tokens that may do something, and not this.
    let token = finished(&mut Tidegate::command(&["token", "t", "--may=read,delete"]));
    let text = String::from_utf8(token.stdout).unwrap();
    let (first, table) = text.split_once('\n').unwrap();
    let gateway = Gateway::start(&format!("[access]\nanonymous = ['push']\n{table}"));
    gateway.put("/metrics/job/x", "m 1\n").expect(200);
    let bearer = format!("Bearer {}", first.rsplit(' ').next().unwrap());
    let headers = [("Authorization", &*bearer)];
    let answer = gateway.send("PUT", "/metrics/job/x", &headers, b"m 2\n").expect(403);
    assert_eq!(answer.header("tidegate-expires"), None);
    let live = gateway.send("GET", "/live?event=refused", &headers, b"").expect(200);
    live.says("Nothing has happened yet");
    gateway.stop();
}

#[test]
fn pages_of_other_sites_change_nothing() {
    let settings = "[web]\nenable-admin-api = true\nenable-lifecycle = true\n\
                    allowed-hosts = ['gate.example']\ncors-origin = ['https://ops.example']\n\
                    external-url = 'https://outside.example/'\n";
    let gateway = Gateway::start(settings);
    gateway.put("/metrics/job/kept", "m 1\n").expect(200);
    let here = gateway.address().to_string();
    let own = format!("http://{here}");
    for (host, origin) in [
        (&*here, "http://evil.example"),
        (&*here, "null"),
        // The name leads here, and the page is the browser's own site's.
        ("evil.example:9091", "http://evil.example:9091"),
        ("evil.example:9091", &*own),
    ] {
        for (method, path) in [
            ("POST", "/metrics/job/x"),
            ("PUT", "/metrics/job/x"),
            ("DELETE", "/metrics/job/kept"),
            ("POST", "//metrics/job/x"),
            ("PUT", "/api/v1/admin/wipe"),
            ("DELETE", "/api/v2/groups?job=kept"),
            ("DELETE", "/api/v2/groups?match[]=%7Bjob%3D%22kept%22%7D"),
            ("POST", "/-/quit"),
            ("PUT", "/-/quit"),
            ("POST", "/-/reload"),
        ] {
            let headers = [("Host", host), ("Origin", origin), ("Content-Type", "text/plain")];
            gateway.send(method, path, &headers, b"m 1\n").expect(403).says("a page of");
        }
    }
    let jobs = gateway.get("/api/v2/groups").data();
    assert_eq!(jobs["total"], 1, "{jobs}");
    for (host, origin) in [
        (&*here, &*own),
        ("localhost:9091", "http://localhost:9091"),
        ("gate.example", "https://gate.example"),
        (&*here, "https://outside.example"),
        (&*here, "https://ops.example"),
        ("whatever.example", ""),
    ] {
        let headers = [("Host", host), ("Origin", origin)];
        let headers = if origin.is_empty() { &headers[..1] } else { &headers[..] };
        gateway.send("PUT", "/metrics/job/x", headers, b"n 1\n").expect(200);
        gateway.send("DELETE", "/metrics/job/x", headers, b"").expect(202);
    }
    gateway.stop();
}

#[test]
fn settings_that_keep_out_nobody_although_they_say_so_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (web, settings) = (path("web.yml"), path("tidegate.toml"));
    let with_web = format!("[web.config]\nfile = '{web}'\n");
    let anonymous = "[access]\nanonymous = ['scrape']\n".to_owned();
    let both = [&*anonymous, &with_web].concat();
    for (toml, yaml, error) in [
        (&anonymous, None, "access.anonymous"),
        (&both, Some(""), "access.anonymous"),
        (&with_web, None, "web.yml"),
        (&with_web, Some("bogus: 1\n"), "bogus"),
        (&with_web, Some("basic_auth_users:\n  bob: secret\n"), "bcrypt"),
        (
            &with_web,
            Some("tls_server_config:\n  client_allowed_sans: [a]\n"),
            "client_allowed_sans",
        ),
    ] {
        std::fs::write(&settings, toml).unwrap();
        match yaml {
            Some(yaml) => std::fs::write(&web, yaml).unwrap(),
            None => drop(std::fs::remove_file(&web)),
        }
        let store = format!("--storage.path={}", path("store"));
        let config = format!("--config.file={settings}");
        let listen = "--web.listen-address=127.0.0.1:0";
        for args in [&["check-config", &settings][..], &[&config, &store, listen]] {
            let output = finished(&mut Tidegate::command(args));
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{args:?} {toml} {yaml:?}: {text}");
            assert!(text.contains(error) && !text.contains("secret"), "{error}: {text}");
        }
    }
    std::fs::write(&settings, &both).unwrap();
    std::fs::write(&web, USERS).unwrap();
    let output = finished(&mut Tidegate::command(&["check-config", &settings]));
    assert!(output.status.success(), "{output:?}");
}

/// As `: > tidegate.toml` under `config.watch`.
#[test]
fn a_settings_file_that_loses_its_tokens_opens_nothing_until_somebody_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidegate.toml");
    let token = finished(&mut Tidegate::command(&["token", "t", "--may=read"]));
    let table = String::from_utf8(token.stdout).unwrap();
    std::fs::write(&file, table).unwrap();
    let config = format!("--config.file={}", file.display());
    let args = [&*config, "--config.watch"];
    let mut gateway = Tidegate::serve(&folder.path().join("store"), &args);
    delete(&gateway).expect(401);
    std::fs::write(&file, "").unwrap();
    gateway.process().logs("the missing tokens", |line| {
        (line.contains("the settings stay") && line.contains("[[access.tokens]]")).then_some(())
    });
    delete(&gateway).expect(401);
    gateway.process().signal("HUP");
    eventually("the file to count", || (delete(&gateway).status == 202).then_some(()));
    gateway.stop();
}

#[test]
fn rules_are_shown_to_whoever_may_read_all_groups_only() {
    let token = |name: &str, groups: &[&str]| {
        let output =
            finished(&mut Tidegate::command(&[&["token", name, "--may=read"], groups].concat()));
        let text = String::from_utf8(output.stdout).unwrap();
        let (first, table) = text.split_once('\n').unwrap();
        (format!("Bearer {}", first.rsplit(' ').next().unwrap()), table.to_owned())
    };
    let (all, all_table) = token("all", &[]);
    let (ci, ci_table) = token("ci", &["--match={job=\"ci\"}"]);
    let rule = "[[ttl.rules]]\nmatch = '{job=\"customer-7\"}'\nttl = '1h'\n";
    let gateway = Gateway::start(&[rule, &all_table, &ci_table].concat());
    let page = |bearer: &str, method: &str, body: &[u8]| {
        let form = ("Content-Type", "application/x-www-form-urlencoded");
        let headers = [("Authorization", bearer), form];
        gateway.send(method, "/expiry", &headers, body).expect(200).text()
    };
    assert!(page(&all, "GET", b"").contains("customer-7"));
    for (method, body) in [("GET", &b""[..]), ("POST", b"table=%5Bttl%5D"), ("POST", b"")] {
        let shown = page(&ci, method, body);
        assert!(!shown.contains("customer-7") && shown.contains("Compare"), "{shown}");
    }
    gateway.stop();
}
