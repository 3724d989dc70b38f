//! How commands reach gateways: certificates, tokens, and what an error says that can be done.

use std::net::SocketAddr;
use std::path::Path;

use support::{Tidegate, eventually, finished, part, root};
use tempfile::TempDir;

/// A command on a gateway, its output of both kinds, and its exit code.
#[track_caller]
fn run(args: &[&str], variables: &[(&str, &str)]) -> (String, i32) {
    let mut command = Tidegate::command(args);
    command.envs(variables.iter().copied());
    let output = finished(&mut command);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (text, output.status.code().unwrap())
}

fn tls(name: &str) -> String {
    root().join("tests/compatibility/differential/tls").join(name).display().to_string()
}

/// Serves TLS, with a certificate that nobody knows.
fn serve_tls(folder: &Path) -> Tidegate {
    let web = folder.join("web.yml");
    let (certificate, key) = (tls("server.pem"), tls("server.key"));
    let text = format!("tls_server_config:\n  cert_file: {certificate}\n  key_file: {key}\n");
    std::fs::write(&web, text).unwrap();
    Tidegate::serve(&folder.join("tls"), &[&format!("--web.config.file={}", web.display())])
}

/// A store with a group, as a flag.
fn stored(folder: &Path) -> String {
    let store = folder.join("store");
    let gateway = Tidegate::serve(&store, &[]);
    gateway.put("/metrics/job/stored", "m 1\n").expect(200);
    gateway.stop();
    format!("--storage.path={}", store.display())
}

/// The commands that ask a gateway, each of its kind.
fn commands<'a>(url: &'a str, gateway: &'a str, to: &'a str, store: &'a str) -> [Vec<&'a str>; 4] {
    [
        vec!["groups", gateway],
        vec!["export", url, "--output=/dev/null"],
        vec!["export", to, store],
        vec!["import", "--dry-run", url],
    ]
}

fn with<'a>(args: &[&'a str], more: &'a str) -> Vec<&'a str> {
    [args, &[more]].concat()
}

#[test]
fn a_private_certificate_is_trusted_by_the_file_of_its_authority() {
    let folder = TempDir::new().unwrap();
    let gateway = serve_tls(folder.path());
    let url = format!("https://{}", gateway.address());
    let (at, to) = (format!("--gateway={url}"), format!("--to={url}"));
    let store = stored(folder.path());
    let (ca, server) = (tls("ca.pem"), tls("server.key"));
    let (flag, wrong) = (format!("--ca-file={ca}"), format!("--ca-file={server}"));
    for args in commands(&url, &at, &to, &store) {
        for (done, code) in [
            run(&with(&args, &flag), &[]),
            run(&args, &[("TIDEGATE_CA_FILE", &ca)]),
            // As the system has its own in a file.
            run(&args, &[("SSL_CERT_FILE", &ca)]),
        ] {
            assert_eq!(code, 0, "{args:?}: {done}");
        }
        let (unknown, code) = run(&args, &[]);
        assert_eq!(code, 1, "{args:?}: {unknown}");
        assert!(unknown.contains("certificate") && unknown.contains("--ca-file"), "{unknown}");
        let (none, code) = run(&with(&args, &wrong), &[]);
        assert_eq!(code, 1, "{args:?}: {none}");
        assert!(none.contains(&server) && none.contains("PEM"), "{none}");
        let (missing, code) = run(&with(&args, "--ca-file=/does/not/exist"), &[]);
        assert_eq!(code, 1, "{args:?}: {missing}");
        assert!(missing.contains("/does/not/exist"), "{missing}");
    }
    gateway.stop();
}

#[test]
fn a_token_is_shown_to_the_gateway_and_to_nobody_else() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (made, _) = run(&["token", "cli", "--may=push,delete,scrape,read,admin"], &[]);
    let token = made.lines().find_map(|line| line.split_once("nowhere else: ")).unwrap().1;
    std::fs::write(at("tidegate.toml"), &made).unwrap();
    std::fs::write(at("token"), format!("{token}\n")).unwrap();
    std::fs::write(at("table"), &made).unwrap();
    let settings = format!("--config.file={}", at("tidegate.toml"));
    let gateway = Tidegate::serve(&folder.path().join("guarded"), &[&settings]);
    let address = gateway.address();
    let url = format!("http://{address}");
    let (gateway_flag, to) = (format!("--gateway={url}"), format!("--to={url}"));
    let store = stored(folder.path());
    let file = format!("--token-file={}", at("token"));
    let set = [("TIDEGATE_TOKEN", token)];
    for args in commands(&url, &gateway_flag, &to, &store) {
        // A flag counts over the environment.
        let both = run(&with(&args, &file), &[("TIDEGATE_TOKEN", "another")]);
        for (done, code) in [run(&args, &set), run(&with(&args, &file), &[]), both] {
            assert_eq!(code, 0, "{args:?}: {done}");
        }
        let other = "tg_0123456789abcdef";
        for variables in [&[][..], &[("TIDEGATE_TOKEN", other)]] {
            let (refused, code) = run(&args, variables);
            assert_eq!(code, 1, "{args:?}: {refused}");
            for part in ["401", "TIDEGATE_TOKEN", "--token-file", "user:password@"] {
                assert!(refused.contains(part), "{refused}");
            }
            assert!(!refused.contains(other), "{refused}");
        }
    }

    let password = format!("--gateway=http://any:{token}@{address}");
    assert_eq!(run(&["groups", &password], &[]).1, 0);
    let table = format!("--token-file={}", at("table"));
    for (args, variables, part) in [
        (&["groups", &password][..], &set[..], "use one of them"),
        (&["groups", &password, &file], &[], "use one of them"),
        (&["groups", &gateway_flag, &table], &[], "expected a token and nothing else"),
        (&["groups", "--token-file=/does/not/exist"], &[], "/does/not/exist"),
        (&["groups"], &[("TIDEGATE_TOKEN", "two words")], "TIDEGATE_TOKEN: expected a token"),
        // For one of two, it is not said for which.
        (&["export", &url, &to], &set, "there are two"),
    ] {
        let (wrong, code) = run(args, variables);
        assert_eq!(code, 2, "{args:?}: {wrong}");
        assert!(wrong.contains(part), "{args:?}: {wrong}");
        assert!(!wrong.contains(token) && !wrong.contains("two words"), "{wrong}");
    }
    // The other one has a user, so that the token is not for it.
    let open = Tidegate::serve(&folder.path().join("open"), &[]);
    gateway
        .send("PUT", "/metrics/job/j", &[("Authorization", &format!("Bearer {token}"))], b"m 1\n")
        .expect(200);
    let user = format!("--to=http://me:secret@{}", open.address());
    let (done, code) = run(&["export", &url, &user], &set);
    assert_eq!(code, 0, "{done}");
    assert!(open.scrape().has("m{instance=\"\",job=\"j\"} 1"));
    // A password is in no message, either.
    let (nobody, _) = run(&["import", "--dry-run", "http://me:secret@127.0.0.1:9"], &[]);
    assert!(nobody.contains("127.0.0.1:9/") && !nobody.contains("secret"), "{nobody}");
    let source = format!("http://me:secret@{}", open.address());
    let (found, _) = run(&["import", "--dry-run", &source], &[]);
    assert!(found.contains("has 2 groups") && !found.contains("secret"), "{found}");
    let help = run(&["groups", "--help"], &[("TIDEGATE_GATEWAY", &source), set[0]]).0;
    assert!(!help.contains("secret") && !help.contains(token), "{help}");
    open.stop();
    gateway.stop();
}

#[test]
fn an_error_says_what_can_be_done() {
    let folder = TempDir::new().unwrap();
    let secure = serve_tls(folder.path());
    let plain = Tidegate::serve(&folder.path().join("plain"), &["--web.route-prefix=/pre"]);
    let (tls, open) = (secure.address(), plain.address());
    let to = |url: String| {
        let gateway = format!("--gateway={url}");
        [run(&["groups", &gateway], &[]), run(&["import", "--dry-run", &url], &[])]
    };
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    for (url, part) in [
        (format!("http://{tls}"), "it speaks TLS: use https://"),
        (format!("https://{open}/pre"), "it does not speak TLS: use http://"),
        (format!("http://{open}"), "the URL needs the route prefix"),
        (format!("http://{nobody}"), "start a gateway with `tidegate`, or name another by its URL"),
    ] {
        for (said, code) in to(url.clone()) {
            assert_eq!(code, 1, "{url}: {said}");
            assert!(said.contains(part) && said.contains(&url), "{url}: {said}");
        }
    }
    for (said, code) in to(format!("http://{open}/pre")) {
        assert_eq!(code, 0, "{said}");
    }
    // Of what is not there it is said alone.
    let at = format!("--gateway=http://{open}/pre");
    let (said, code) = run(&["expired", "restore", "--id=7", &at], &[]);
    assert_eq!(code, 1);
    assert!(said.contains("404") && !said.contains("prefix"), "{said}");
    secure.stop();
    plain.stop();
}

/// In Go, whoever speaks HTTP to a port with TLS is told so.
#[test]
fn the_go_pushgateway_is_reached_too() {
    let folder = TempDir::new().unwrap();
    let web = folder.path().join("web.yml");
    let (certificate, key) = (tls("server.pem"), tls("server.key"));
    let text = format!("tls_server_config:\n  cert_file: {certificate}\n  key_file: {key}\n");
    std::fs::write(&web, text).unwrap();
    let mut command = std::process::Command::new(part("pushgateway"));
    command.arg(format!("--web.config.file={}", web.display()));
    command.arg("--web.listen-address=127.0.0.1:0");
    let mut process = support::Process::spawn(&mut command);
    let address = process.address();
    let url = format!("https://{address}");
    let ca = format!("--ca-file={}", tls("ca.pem"));
    let done = eventually("an import", || {
        let (said, code) = run(&["import", "--dry-run", &url, &ca], &[]);
        (code == 0).then_some(said)
    });
    assert!(done.contains("has 0 groups"), "{done}");
    let (said, code) = run(&["import", "--dry-run", &format!("http://{address}")], &[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("it speaks TLS: use https://"), "{said}");
}

/// The webhook trusts the authorities of the system.
#[test]
fn the_webhook_reaches_an_endpoint_with_a_private_certificate() {
    let folder = TempDir::new().unwrap();
    let endpoint = serve_tls(folder.path());
    let mut command = Tidegate::command(&["--web.listen-address=127.0.0.1:0"]);
    command.arg(format!("--storage.path={}", folder.path().join("told").display()));
    command.arg(format!("--notify.url=https://{}/metrics/job/j", endpoint.address()));
    command.env("SSL_CERT_FILE", tls("ca.pem"));
    let mut gateway = Tidegate::spawn(&mut command);
    gateway.put("/metrics/job/a", "m 1\n").expect(200);
    gateway.delete("/metrics/job/a").expect(202);
    // It is no metric: this is the answer of the endpoint.
    gateway.process().logs("the answer", |line| line.contains("http status: 400").then_some(()));
    gateway.stop();
    endpoint.stop();
}
