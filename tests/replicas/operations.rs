//! Expiry, the webhook, commands and versions of replicas.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use support::cluster::{Etcd, Replica, leader_of};
use support::{Listener, PATIENCE, Tidegate, eventually, finished};

use super::faults::{Pushers, assert_only_unavailable, check};

fn three(etcd: &Etcd, more: &[&str]) -> Vec<Replica> {
    ["a", "b", "c"].map(|id| Replica::start(etcd, id, more)).into()
}

#[expect(clippy::disallowed_methods, reason = "deadlines of other processes are of this clock")]
fn wall() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn a_group_expires_at_one_instant_on_all_replicas_also_without_etcd() {
    let mut etcd = Etcd::start();
    let replicas = three(&etcd, &["--ttl.expose-deadline"]);
    let leader = leader_of(&replicas);
    expire_at_one_instant(&replicas, expiry(&replicas, leader, "with"), "with");
    let expires = expiry(&replicas, leader, "without");
    for at in 0..3 {
        etcd.kill(at);
    }
    expire_at_one_instant(&replicas, expires, "without");
}

/// Pushes a group that expires soon through a replica that follows. Returns when it does, by the clock of
/// the leader's host.
pub(crate) fn expiry(replicas: &[Replica], leader: usize, job: &str) -> f64 {
    let path = format!("/metrics/job/{job}?ttl=3s");
    replicas[(leader + 1) % 3].put(&path, "m 1\n").expect(200);
    let shown = replicas[leader].scrape();
    let series = format!("push_expiry_time_seconds{{instance=\"\",job=\"{job}\"}}");
    shown.value(&series).parse::<f64>().unwrap()
}

/// Looks that a group is shown by all replicas until this time, and by none after it.
pub(crate) fn expire_at_one_instant(replicas: &[Replica], expires: f64, job: &str) {
    let line = format!("m{{instance=\"\",job=\"{job}\"}} 1");
    let (mut seen, mut hidden) = ([false; 3], [false; 3]);
    while hidden != [true; 3] {
        for (at, replica) in replicas.iter().enumerate() {
            let before = wall();
            let is_there = replica.scrape().has(&line);
            let after = wall();
            seen[at] |= is_there;
            hidden[at] |= !is_there;
            // Clocks of replicas follow that of the leader by some milliseconds.
            assert!(!is_there || before < expires + 0.05, "{at}: {} late", before - expires);
            assert!(is_there || after > expires - 0.05, "{at}: {} early", expires - after);
        }
    }
    assert_eq!(seen, [true; 3]);
}

/// An endpoint of a webhook, which passes on the bodies that it gets.
fn endpoint() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (send, bodies) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                    break;
                }
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                continue;
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = reader.get_mut().write_all(answer);
            let _ = send.send(serde_json::from_slice(&body).unwrap());
        }
    });
    (url, bodies)
}

#[test]
fn the_webhook_is_told_by_the_leader_and_its_successor_goes_on() {
    let etcd = Etcd::start();
    let (url, bodies) = endpoint();
    let mut replicas = three(&etcd, &[&format!("--notify.url={url}"), "--cluster.lease-ttl=2s"]);
    let mut told: Vec<String> = Vec::new();
    let mut wait_for = |expected: usize| {
        while told.len() < expected {
            let body = bodies.recv_timeout(PATIENCE).expect("the webhook is told");
            for group in body["groups"].as_array().unwrap() {
                told.push(group["labels"]["job"].as_str().unwrap().to_owned());
            }
        }
        told.clone()
    };
    replicas[0].put("/metrics/job/a", "m 1\n").expect(200);
    replicas[1].delete("/metrics/job/a").expect(202);
    assert_eq!(wait_for(1), ["a"]);
    // The next batch says that it has arrived.
    replicas[0].put("/metrics/job/b", "m 1\n").expect(200);
    replicas[0].put("/metrics/job/b", "m 2\n").expect(200);
    let leader = leader_of(&replicas);
    replicas[leader].kill();
    let other = &replicas[(leader + 1) % 3];
    other.delete("/metrics/job/b").expect(202);
    assert_eq!(wait_for(2), ["a", "b"]);
    assert!(bodies.recv_timeout(Duration::from_secs(1)).is_err(), "each is told once");
}

#[test]
fn events_are_told_by_every_replica() {
    let etcd = Etcd::start();
    let replicas = three(&etcd, &[]);
    let mut listeners: Vec<_> =
        replicas.iter().map(|replica| Listener::new(replica, "", None)).collect();
    replicas[0].put("/metrics/job/j", "m 1\n").expect(200);
    replicas[1].put("/metrics/job/j", "# TYPE m counter\nm 1\n").expect(200);
    replicas[2].put("/metrics/job/k", "# TYPE m gauge\nm 1\n").expect(400);
    replicas[0].delete("/metrics/job/j").expect(202);
    // Who was cut off goes on at another replica.
    let (first, ..) = Listener::new(&replicas[1], "", Some("0")).event();
    let mut other = Listener::new(&replicas[2], "", Some(&first));
    assert_eq!(other.event().1, "pushed");
    assert_eq!(other.event().1, "refused");
    for listener in &mut listeners {
        let names: Vec<_> = (0..4).map(|_| listener.event().1).collect();
        assert_eq!(names, ["pushed", "pushed", "refused", "deleted"]);
    }
}

fn run(args: &[&str]) -> String {
    let output = finished(&mut Tidegate::command(args));
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {errors}");
    text
}

#[test]
fn an_operator_sees_the_replicas_and_has_the_leader_step_down() {
    let etcd = Etcd::start();
    let mut replicas = three(&etcd, &[]);
    let leader = leader_of(&replicas);
    let follower = (leader + 1) % 3;
    let gateway = format!("--gateway=http://{}", replicas[follower].address());
    let shown = eventually("all replicas", || {
        let shown = run(&["cluster", "status", &gateway]);
        (shown.matches("follows").count() == 2).then_some(shown)
    });
    assert!(shown.contains("cluster main") && shown.matches("leads").count() == 1, "{shown}");
    let status = replicas[follower].get("/status").expect(200).text();
    assert!(status.contains("Cluster main") && status.contains("(this one)"));
    assert!(status.contains(" came to lead "));
    let told = replicas[follower].get("/api/v2/cluster").expect(200).data();
    assert!(told["replicas"].as_array().unwrap().iter().all(|it| it["applied_revision"].is_u64()));
    let told = run(&["cluster", "step-down", &gateway]);
    assert!(told.contains("does not lead any more"), "{told}");
    replicas[leader]
        .process()
        .logs("stepping down", |line| line.contains("does not lead any more").then_some(()));
    replicas[leader].put("/metrics/job/j", "m 1\n").expect(200);
    for replica in &replicas {
        assert!(replica.scrape().has(r#"m{instance="",job="j"} 1"#));
    }
    // Settings that count for all should be the same.
    let other = Replica::start(&etcd, "d", &["--limits.groups=5"]);
    eventually("the difference", || {
        let cluster = other.get("/api/v2/cluster").expect(200).data();
        let warnings = cluster["warnings"].to_string();
        warnings.contains("other limits").then_some(())
    });
    assert_eq!(other.metric("tidegate_cluster_settings_differ"), 3.0);

    let folder = tempfile::tempdir().unwrap();
    let single = Tidegate::serve(folder.path(), &[]);
    single.get("/api/v2/cluster").expect(404).says("single node");
    single.get("/-/metrics").expect(200).says("tidegate_groups 0");
}

#[test]
fn groups_move_from_a_single_node_to_a_cluster_and_back() {
    let etcd = Etcd::start();
    let replicas = three(&etcd, &[]);
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let single = Tidegate::serve(old.path(), &[]);
    for at in 0..20 {
        let path = format!("/metrics/job/j/instance/{at}?ttl=1h");
        single.put(&path, format!("m {at}\nn{{x=\"1\"}} 2\n")).expect(200);
    }
    let url = |client: &support::Client| format!("http://{}", client.address());
    run(&["export", &url(&single), "--to", &url(&replicas[1])]);
    let values = |text: String| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("m{") || line.starts_with("n{"));
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let shown = values(single.get("/metrics").text());
    assert_eq!(shown.len(), 40);
    for replica in &replicas {
        assert_eq!(values(replica.get("/metrics").text()), shown);
    }
    let back = Tidegate::serve(new.path(), &[]);
    run(&["export", &url(&replicas[2]), "--to", &url(&back)]);
    assert_eq!(values(back.get("/metrics").text()), shown);
}

#[test]
fn a_cluster_of_another_format_is_left_as_it_is() {
    let etcd = Etcd::start();
    etcd.ctl(&["put", "/tidegate/main/format", "2 schema=9"]);
    let before = etcd.ctl(&["get", "--prefix", "/tidegate"]);
    let mut args = etcd.endpoints();
    args.push("--cluster.advertise-url=http://127.0.0.1:1".into());
    args.push("--web.listen-address=127.0.0.1:0".into());
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut command: Command = Tidegate::command(&args);
    let output = finished(&mut command);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && errors.contains("2 schema=9"), "{errors}");
    assert_eq!(etcd.ctl(&["get", "--prefix", "/tidegate"]), before);
}

#[test]
fn replicas_are_upgraded_one_by_one_and_the_schema_with_the_last() {
    let etcd = Etcd::start();
    let mut replicas = three(&etcd, &[]);
    let format = || etcd.ctl(&["get", "--print-value-only", "/tidegate/main/format"]);
    let all: Vec<_> = replicas.iter().map(|replica| replica.client().clone()).collect();
    let pushers = Pushers::start_at(4, &all);
    for (replica, nth) in replicas.iter_mut().zip(1..) {
        assert_eq!(format().trim(), "1 schema=4", "before replica {nth}");
        let mut upgrade = |schemas| {
            replica.stop();
            replica.set_schemas(schemas);
            replica.run();
        };
        upgrade("4-5");
        pushers.more(50);
        if nth == 2 {
            // Until all have it, one can go back.
            upgrade("4-4");
            upgrade("4-5");
        }
    }
    eventually("the schema", || (format().trim() == "1 schema=5").then_some(()));
    pushers.more(50);
    let pushed = pushers.stop();
    assert_only_unavailable(&pushed);
    for replica in &replicas {
        check(replica, &pushed);
    }
    let mut old = Replica::begin_at(&etcd.endpoints(), "d", &[]);
    let refusal =
        old.process().logs("a refusal", |line| line.contains("schema=5").then(|| line.to_owned()));
    assert!(refusal.contains("nothing was changed"), "{refusal}");
    assert_eq!(format().trim(), "1 schema=5");
}

#[test]
fn a_cluster_has_one_of_each_shared_setting_whoever_leads() {
    let etcd = Etcd::start_with(1, &[]);
    let mut first = Replica::start(&etcd, "a", &["--limits.series-per-push=3"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("b.toml");
    std::fs::write(&file, "[limits]\nseries-per-push = 2\n").unwrap();
    let flag = format!("--config.file={}", file.display());
    let mut other = Replica::start(&etcd, "b", &[&flag]);
    let body = |series: usize| -> String {
        let lines: Vec<_> = (0..series).map(|n| format!("m{{n=\"{n}\"}} 1\n")).collect();
        lines.concat()
    };
    let takes = |replica: &Replica, most: usize| {
        replica.put("/metrics/job/j", body(most)).expect(200);
        replica.put("/metrics/job/j", body(most + 1)).expect(413).says("limits.series-per-push");
    };
    takes(&other, 3);
    let warnings = |replica: &Replica| {
        replica.get("/api/v2/cluster").expect(200).data()["warnings"].to_string()
    };
    assert!(warnings(&other).contains("limits.series-per-push"), "{}", warnings(&other));
    assert_eq!(other.metric("tidegate_cluster_policy_differs"), 1.0);
    assert_eq!(first.metric("tidegate_cluster_policy_differs"), 0.0);
    first.stop();
    eventually("the other to lead", || other.leads().then_some(()));
    takes(&other, 3);
    // On purpose; from the next start on, of each.
    std::fs::write(&file, "[limits]\nseries-per-push = 4\n").unwrap();
    let reloaded = other.post("/-/reload", "").expect(200).text();
    assert!(reloaded.contains("limits.series-per-push"), "{reloaded}");
    first.run();
    takes(&other, 3);
    other.stop();
    eventually("the first to lead", || first.leads().then_some(()));
    takes(&first, 4);
    other.run();
    takes(&other, 4);
    assert_eq!(other.metric("tidegate_cluster_policy_differs"), 0.0);
    assert!(warnings(&first).contains("limits.series-per-push"), "{}", warnings(&first));
}

#[test]
fn names_go_by_the_cluster_at_every_replica() {
    let etcd = Etcd::start_with(1, &[]);
    let _first = Replica::start(&etcd, "a", &["--push.enable-utf8-names"]);
    // Its own settings would refuse these names, in the path and in the body.
    let other = Replica::start(&etcd, "b", &[]);
    let path = "/metrics/job/j/U__data_2e_center/x";
    other.put(path, "{\"my.metric\",\"a.b\"=\"1\"} 1\n").expect(200);
    let accept = [("Accept", "text/plain;version=1.0.0;escaping=allow-utf-8")];
    let shown = other.send("GET", "/metrics", &accept, b"").expect(200).text();
    assert!(shown.contains("my.metric") && shown.contains("data.center"), "{shown}");
}
