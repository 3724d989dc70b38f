//! A gateway that stops loses nothing: requests under way finish, and what was acknowledged is
//! there when it starts again.

use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use support::{Connection, Gateway, Tidegate, eventually};

#[test]
fn a_push_under_way_is_finished_and_kept() {
    for signal in ["TERM", "INT"] {
        let folder = TempDir::new().unwrap();
        let mut gateway = Tidegate::serve(folder.path(), &[]);
        let mut push = Connection::begin_push(gateway.address(), "/metrics/job/j", 8);
        push.write("m 1\n");
        gateway.process().signal(signal);
        gateway.process().logs("the stop", |line| line.contains("stopping").then_some(()));
        push.write("n 2\n");
        assert_eq!(push.status(), 200);
        let (status, log) = gateway.ended();
        assert!(status.success(), "{status}\n{log}");

        let gateway = Tidegate::serve(folder.path(), &[]);
        gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 1", "n{instance=\"\",job=\"j\"} 2"]);
        gateway.stop();
    }
}

#[test]
fn idle_connections_do_not_hold_up_the_stop() {
    let mut gateway = Gateway::start("");
    let mut idle = Connection::open(gateway.address());
    idle.write("GET /-/healthy HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(idle.status(), 200);
    let silent = Connection::open(gateway.address());
    gateway.begin_stop();
    assert!(idle.head().is_empty(), "it is closed");
    gateway.stop();
    drop(silent);
}

/// It exits with 1, as somebody was cut off, but what was acknowledged is kept.
#[test]
fn a_push_that_does_not_finish_is_cut_off() {
    let folder = TempDir::new().unwrap();
    let mut gateway = Tidegate::serve(folder.path(), &["--limits.shutdown-timeout=50ms"]);
    gateway.put("/metrics/job/kept", "m 1\n").expect(200);
    let mut push = Connection::begin_push(gateway.address(), "/metrics/job/j", 8);
    push.write("m 1\n");
    gateway.process().signal("TERM");
    let (status, log) = gateway.ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("1 connections were cut off"), "{log}");
    let gateway = Tidegate::serve(folder.path(), &[]);
    gateway.scrape().shows(&["m{instance=\"\",job=\"kept\"} 1"]).lacks("job=\"j\"");
    gateway.stop();
}

#[test]
fn a_second_signal_stops_at_once() {
    let folder = TempDir::new().unwrap();
    let mut gateway = Tidegate::serve(folder.path(), &[]);
    let _push = Connection::begin_push(gateway.address(), "/metrics/job/j", 8);
    gateway.process().signal("TERM");
    gateway.process().logs("the stop", |line| line.contains("stopping").then_some(()));
    gateway.process().signal("TERM");
    let (status, log) = gateway.ended();
    assert_eq!(status.code(), Some(1), "{log}");
}

#[test]
fn whatever_was_acknowledged_is_there_after_a_stop_under_load() {
    let folder = TempDir::new().unwrap();
    let mut gateway = Tidegate::serve(folder.path(), &[]);
    let stopping = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (http, stopping) = ((*gateway).clone(), &stopping);
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    for number in 0.. {
                        let path = format!("/metrics/job/j{client}/n/{number}");
                        match http.try_send("PUT", &path, &[], b"m 1\n") {
                            Ok(answer) if answer.status == 200 => acknowledged.push(path),
                            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                            Err(error) => {
                                let known = stopping.load(Ordering::SeqCst);
                                assert!(known, "a failure without a reason: {error}");
                                break;
                            }
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        // Once each of them has been served.
        eventually("some pushes", || {
            let groups = gateway.scrape().value("tidegate_groups").parse::<u32>().unwrap();
            (groups >= 40).then_some(())
        });
        stopping.store(true, Ordering::SeqCst);
        gateway.process().signal("TERM");
        let all = clients.into_iter().flat_map(|client| client.join().unwrap());
        all.collect::<Vec<_>>()
    });
    let (status, log) = gateway.ended();
    assert!(status.success(), "{status}\n{log}");
    assert!(acknowledged.len() >= 40);

    let gateway = Tidegate::serve(folder.path(), &[]);
    let scrape = gateway.scrape();
    for path in acknowledged {
        let parts: Vec<_> = path.split('/').collect();
        scrape.shows(&[&format!("m{{instance=\"\",job=\"{}\",n=\"{}\"}} 1", parts[3], parts[5])]);
    }
    gateway.stop();
}

#[test]
fn a_killed_gateway_has_what_it_acknowledged() {
    let folder = TempDir::new().unwrap();
    let mut gateway = Tidegate::serve(folder.path(), &[]);
    for number in 0..20 {
        gateway.post("/metrics/job/j", format!("m{number} {number}\n")).expect(200);
    }
    gateway.process().signal("KILL");
    let (status, _) = gateway.ended();
    assert!(!status.success());
    let gateway = Tidegate::serve(folder.path(), &[]);
    for number in 0..20 {
        gateway.scrape().shows(&[&format!("m{number}{{instance=\"\",job=\"j\"}} {number}")]);
    }
    gateway.stop();
}
