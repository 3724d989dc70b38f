//! The cluster of `examples/cluster`, as a newcomer starts it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use support::cluster::free_port;
use support::{Client, PATIENCE, eventually, part};

/// Three free ports in a row.
fn three_ports() -> u16 {
    loop {
        let [first, second, third] = std::array::from_fn(|_| free_port());
        if (second, third) == (first + 1, first + 2) {
            return first;
        }
    }
}

#[test]
fn the_example_of_a_cluster_runs_and_leaves_nothing() {
    let port = three_ports();
    let mut command = Command::new(support::root().join("examples/cluster/run"));
    command.env("ETCD", part("etcd")).env("TIDEGATE", support::tidegate());
    command.env("BASE_PORT", port.to_string());
    command.env("BASE_ETCD_PORT", three_ports().to_string());
    command.env("BASE_PEER_PORT", three_ports().to_string());
    let folder = tempfile::tempdir().unwrap();
    command.env("TMPDIR", folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("Ctrl-C stops everything")), "it says what to do");
    // Reads on: a full pipe would stop it.
    let rest = std::thread::spawn(move || lines.collect::<Vec<_>>());
    let client = |at: u16| Client::new(SocketAddr::from(([127, 0, 0, 1], port + at)));
    client(0).put("/metrics/job/backup", "backup_size_bytes 42\n").expect(200);
    assert!(client(2).scrape().has(r#"backup_size_bytes{instance="",job="backup"} 42"#));

    let kill = format!("kill -TERM {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let status = eventually("the end of the example", || child.try_wait().unwrap());
    assert!(status.success(), "{status} within {PATIENCE:?}");
    rest.join().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it removes its data");
    let ended = client(0).try_send("GET", "/-/healthy", &[], b"");
    assert!(ended.is_err(), "{ended:?}");
}
