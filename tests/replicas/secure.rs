//! Replicas over TLS: to etcd with client certificates and a user, and to each other.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use support::cluster::{Etcd, Replica, free_port};
use support::{Client, Process, Tidegate, finished};

/// A file of the tests.
fn file(name: &str) -> String {
    let folder: PathBuf = support::root().join("tests/compatibility/differential/tls");
    folder.join(name).display().to_string()
}

#[test]
fn a_user_of_etcd_sees_its_own_cluster_and_no_other() {
    let etcd = Etcd::start();
    etcd.ctl(&["user", "add", "root:root"]);
    etcd.ctl(&["role", "add", "tidegate"]);
    etcd.ctl(&[
        "role",
        "grant-permission",
        "tidegate",
        "--prefix=true",
        "readwrite",
        "/tidegate/main/",
    ]);
    etcd.ctl(&["user", "add", "gateway:a password"]);
    etcd.ctl(&["user", "grant-role", "gateway", "tidegate"]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["auth", "enable"]);
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "a password\n").unwrap();
    let flags = [
        "--cluster.etcd.user=gateway".to_owned(),
        format!("--cluster.etcd.password-file={}", password.display()),
    ];
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let replicas = ["a", "b"].map(|id| Replica::start(&etcd, id, &flags));
    replicas[0].put("/metrics/job/j", "m 1\n").expect(200);
    assert!(replicas[1].scrape().has(r#"m{instance="",job="j"} 1"#));

    let elsewhere = [flags.as_slice(), &["--cluster.name=other"]].concat();
    let refused = refusal(&etcd, &elsewhere);
    assert!(refused.contains("permission denied"), "{refused}");
    std::fs::write(&password, "another\n").unwrap();
    let refused = refusal(&etcd, &flags);
    assert!(refused.contains("authentication failed"), "{refused}");
}

/// The reason why a replica does not start.
fn refusal(etcd: &Etcd, more: &[&str]) -> String {
    let mut args = etcd.endpoints();
    args.push("--cluster.advertise-url=http://127.0.0.1:1".into());
    args.push("--web.listen-address=127.0.0.1:0".into());
    args.extend(more.iter().map(|flag| (*flag).to_owned()));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let output = finished(&mut Tidegate::command(&args));
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

/// Makes a certificate for clients, of an authority of its own.
fn client_certificate(folder: &std::path::Path) -> (String, String) {
    let (cert, key) = (folder.join("client.pem"), folder.join("client.key"));
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.args(["-nodes", "-days", "2", "-subj", "/CN=tidegate", "-keyout", &key, "-out", &cert]);
    openssl.args(["-addext", "extendedKeyUsage=clientAuth"]);
    let made = finished(&mut openssl);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (cert, key)
}

#[test]
fn replicas_speak_tls_to_etcd_with_a_certificate_and_to_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = client_certificate(folder.path());
    let (client, peer) = (free_port(), free_port());
    let (url, peer) = (format!("https://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let mut command = Command::new(support::part("etcd"));
    command.env_clear().args(["--name", "n", "--log-level", "error", "--data-dir"]);
    command.arg(folder.path().join("etcd"));
    command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("n={peer}"), "--client-cert-auth"]);
    command.args(["--cert-file", &file("server.pem"), "--key-file", &file("server.key")]);
    command.args(["--trusted-ca-file", &cert]);
    let _etcd = Process::spawn(&mut command);

    let web = folder.path().join("web.yml");
    let (server, server_key) = (file("server.pem"), file("server.key"));
    let text = format!("tls_server_config:\n  cert_file: {server}\n  key_file: {server_key}\n");
    std::fs::write(&web, text).unwrap();
    let endpoint = [format!("--cluster.endpoints={url}")];
    let flags = [
        format!("--cluster.etcd.ca={}", file("ca.pem")),
        format!("--cluster.etcd.cert={cert}"),
        format!("--cluster.etcd.key={key}"),
        format!("--cluster.ca={}", file("ca.pem")),
        format!("--web.config.file={}", web.display()),
    ];
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let replicas = ["a", "b"].map(|id| Replica::start_tls(&endpoint, id, &flags));
    let curl = |replica: &Replica, args: &[&str]| {
        let address: SocketAddr = Client::address(replica.client());
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--cacert", &file("ca.pem")]).args(&args[1..]);
        curl.arg(format!("https://{address}{}", args[0]));
        let output = finished(&mut curl);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for (at, replica) in replicas.iter().enumerate() {
        curl(replica, &[&format!("/metrics/job/j{at}"), "-XPUT", "--data-binary", "m 1\n"]);
    }
    for replica in &replicas {
        let shown = curl(replica, &["/metrics"]);
        assert!(shown.contains("job=\"j0\"") && shown.contains("job=\"j1\""), "{shown}");
    }
}

#[test]
fn a_proof_is_for_replicas_alone() {
    let etcd = Etcd::start();
    let replica = Replica::start(&etcd, "a", &[]);
    // Without the secret, whatever is claimed.
    let headers = [
        ("Tidegate-Cluster", "00"),
        ("Tidegate-Time", "0"),
        ("Tidegate-From", "127.0.0.1"),
        ("Tidegate-By", "e30="),
        ("Tidegate-Request", "00112233445566778899aabbccddeeff"),
        ("Tidegate-Term", "7"),
        ("Tidegate-Body", "00"),
    ];
    replica.send("PUT", "/metrics/job/j", &headers, b"m 1\n").expect(403).says("cluster.secret");
    replica.send("PUT", "/metrics/job/j", &headers[..1], b"m 1\n").expect(403);
    // While secrets are changed, some replicas have both.
    let other = Replica::start(
        &etcd,
        "b",
        &["--cluster.secret=a secret of tests", "--cluster.secret=another"],
    );
    for replica in [&replica, &other] {
        replica.put("/metrics/job/j", "m 1\n").expect(200);
    }
    let stranger = Replica::start(&etcd, "c", &["--cluster.secret=a third"]);
    stranger.put("/metrics/job/j", "m 1\n").expect(502).says("cluster.secret");
}

#[test]
fn replicas_on_one_host_need_no_secret() {
    let etcd = Etcd::start_with(1, &[]);
    let replicas = ["a", "b"].map(|id| Replica::start(&etcd, id, &["--cluster.secret="]));
    for (at, replica) in replicas.iter().enumerate() {
        replica.put(&format!("/metrics/job/j{at}"), "m 1\n").expect(200);
    }
    for replica in &replicas {
        replica.scrape().shows(&[r#"m{instance="",job="j0"} 1"#, r#"m{instance="",job="j1"} 1"#]);
    }
}
