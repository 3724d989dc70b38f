//! Everything that a client may take is bounded, and a request that takes too much is refused with the
//! setting that says so, and changes nothing.

use std::time::Duration;

use tempfile::TempDir;

use support::{
    Answer, Client, Connection, Exposition, Gateway, Tidegate, eventually, gzip, minutes,
    push_in_chunks, snappy_framed, snappy_raw, zstd,
};

/// Sees to it that a push was too much and was counted as that, and that not even its failure was
/// noted: the series from before are scraped as before.
#[track_caller]
fn too_much(gateway: &Gateway, status: u16, setting: &str, push: impl FnOnce() -> Answer) {
    let before = gateway.scrape();
    gateway.advance(Duration::from_secs(1));
    let answer = push().expect(status).says(setting);
    // Only what the gateway holds in all may be less in a while: the others are the push's own fault.
    assert_eq!(answer.header("retry-after"), (status == 429).then_some("60"), "{setting}");
    let after = gateway.scrape();
    assert_eq!(after.pushed(), before.pushed(), "{setting}");
    let refused = "tidegate_pushes_refused_total{reason=\"limit\"}";
    for series in [refused, &reached(setting)] {
        let count = |exposition: &Exposition| exposition.value(series).parse::<u64>().unwrap();
        assert_eq!(count(&after), count(&before) + 1, "{series}");
    }
}

/// The counter of a limit.
fn reached(setting: &str) -> String {
    format!("tidegate_limit_reached_total{{limit=\"{setting}\"}}")
}

/// Sees to it that a limit was reached, and that ordinary requests go on.
#[track_caller]
fn was_reached(gateway: &Client, setting: &str) {
    // It is counted a moment after the connection is closed.
    eventually(setting, || (gateway.scrape().value(&reached(setting)) != "0").then_some(()));
    gateway.put("/metrics/job/ordinary", "ordinary 1\n").expect(200);
    gateway.scrape().shows(&["ordinary{instance=\"\",job=\"ordinary\"} 1"]);
}

#[test]
fn bodies_are_bounded_as_sent_and_once_decompressed() {
    let gateway = Gateway::start("[limits]\nbody-size = '2KiB'\ndecoded-size = '8KiB'\n");
    let fits = format!("m 1\n#{}\n", "x".repeat(2000));
    gateway.put("/metrics/job/j", &fits).expect(200);
    let sent = format!("m 1\n#{}\n", "x".repeat(3000));
    too_much(&gateway, 413, "limits.body-size", || gateway.put("/metrics/job/j", &sent));
    let text = format!("m 1\n#{}\n", "x".repeat(8 << 10));
    let bytes = text.as_bytes();
    for (encoding, body) in [
        ("gzip", gzip(bytes)),
        ("snappy", snappy_framed(bytes)),
        ("snappy", snappy_raw(bytes)),
        ("zstd", zstd(bytes)),
    ] {
        assert!(body.len() < 2000, "{encoding}");
        too_much(&gateway, 413, "limits.decoded-size", || {
            gateway.send("PUT", "/metrics/job/j", &[("Content-Encoding", encoding)], &body)
        });
    }
    gateway.stop();
}

/// A body that says no length is counted as it comes.
#[test]
fn a_body_in_chunks_is_bounded_too() {
    let gateway = Gateway::start("[limits]\nbody-size = '1KiB'\n");
    for (size, status) in [(0x100, 200), (0x500, 413), (0x1000, 413)] {
        let text = format!("#{}\n", "x".repeat(size - 2));
        let answer = push_in_chunks(gateway.address(), "/metrics/job/j", &[&text]);
        assert_eq!(answer, status, "{size} bytes");
        let halves = text.split_at(size / 2);
        let answer =
            push_in_chunks(gateway.address(), "/metrics/job/j", &[halves.0, halves.1, "m 1\n"]);
        assert_eq!(answer, status, "{size} bytes in chunks");
    }
    gateway.stop();
}

#[test]
fn series_and_groups_are_bounded() {
    let gateway = Gateway::start(
        "[limits]\nseries-per-push = 4\nseries-per-group = 6\nseries = 8\ngroups = 3\n",
    );
    let series = |family: &str, count: usize| -> String {
        let lines = (0..count).map(|n| format!("{family}{{n=\"{n}\"}} 1\n"));
        lines.collect::<Vec<_>>().concat()
    };
    gateway.put("/metrics/job/a", series("a", 4)).expect(200);
    too_much(&gateway, 413, "limits.series-per-push", || {
        gateway.put("/metrics/job/a", series("a", 5))
    });
    gateway.post("/metrics/job/a", series("b", 2)).expect(200);
    too_much(&gateway, 413, "limits.series-per-group", || {
        gateway.post("/metrics/job/a", series("c", 1))
    });
    // Series that replace others still fit.
    gateway.post("/metrics/job/a", series("b", 1)).expect(200);
    gateway.put("/metrics/job/b", series("c", 3)).expect(200);
    too_much(&gateway, 429, "limits.series", || gateway.put("/metrics/job/b", series("c", 4)));
    gateway.put("/metrics/job/c", "").expect(200);
    too_much(&gateway, 429, "limits.groups", || gateway.put("/metrics/job/d", ""));
    // Not even a failure makes another group.
    gateway.put("/metrics/job/d", "m 1 1\n");
    gateway.scrape().lacks("job=\"d\"").shows(&["tidegate_groups 3"]);
    gateway.delete("/metrics/job/c").expect(202);
    gateway.put("/metrics/job/d", "").expect(200);
    let gateway = gateway.restart();
    too_much(&gateway, 429, "limits.groups", || gateway.put("/metrics/job/e", ""));
    too_much(&gateway, 429, "limits.series", || gateway.put("/metrics/job/d", series("d", 1)));
    gateway.stop();
}

#[test]
fn an_expired_group_takes_no_room() {
    let gateway = Gateway::start("[ttl]\ndefault = '10m'\n[limits]\ngroups = 1\nseries = 1\n");
    gateway.put("/metrics/job/a", "m 1\n").expect(200);
    gateway.put("/metrics/job/b", "m 1\n").expect(429);
    gateway.advance(minutes(10));
    gateway.put("/metrics/job/b", "m 1\n").expect(200);
    gateway.stop();
}

#[test]
fn names_and_labels_are_bounded() {
    let gateway = Gateway::start(
        "[limits]\nlabels-per-series = 2\nlabel-name-length = 8\nlabel-value-length = 10\n\
         metric-name-length = 12\n",
    );
    gateway
        .put("/metrics/job/ten_bytes_", "twelve_bytes{eight_b_=\"12345678ü\",b=\"\"} 1\n")
        .expect(200);
    for (path, body, setting) in [
        ("/metrics/job/eleven_byte", "m 1\n", "limits.label-value-length"),
        ("/metrics/job/j/nine_byte/1", "m 1\n", "limits.label-name-length"),
        ("/metrics/job/j", "m{nine_byte=\"\"} 1\n", "limits.label-name-length"),
        ("/metrics/job/j", "m{a=\"123456789ü\"} 1\n", "limits.label-value-length"),
        ("/metrics/job/j", "m{a=\"\",b=\"\",c=\"\"} 1\n", "limits.labels-per-series"),
        ("/metrics/job/j", "thirteen_byte 1\n", "limits.metric-name-length"),
    ] {
        too_much(&gateway, 400, setting, || gateway.put(path, body));
    }
    gateway.stop();
}

#[test]
fn a_body_that_does_not_arrive_is_given_up() {
    let gateway = Gateway::start("[limits]\nbody-timeout = '50ms'\n");
    let mut connection = Connection::begin_push(gateway.address(), "/metrics/job/j", 4);
    connection.write("m 1");
    assert_eq!(connection.status(), 408);
    let exposition = gateway.scrape();
    assert_eq!(exposition.pushed(), "");
    exposition.shows(&["tidegate_pushes_refused_total{reason=\"encoding\"} 1"]);
    was_reached(&gateway, "limits.body-timeout");
    gateway.stop();
}

#[test]
fn a_head_that_does_not_arrive_is_given_up() {
    let gateway = Gateway::start("[limits]\nheader-timeout = '2s'\n");
    let mut connection = Connection::open(gateway.address());
    connection.write("PUT /metrics/job/j HTTP/1.1\r\nHost:");
    let head = connection.head();
    assert!(head.is_empty() || head[0].contains(" 408 "), "{head:?}");
    // The gateway's own client has a connection that was idle for as long, and is about to be closed.
    was_reached(&Client::new(gateway.address()), "limits.header-timeout");
    gateway.stop();
}

#[test]
fn connections_beyond_the_limit_wait_for_another_to_close() {
    let gateway = Gateway::start("[limits]\nconnections = 2\n");
    // The harness has asked whether the gateway is ready, and keeps that connection.
    let request = "GET /-/healthy HTTP/1.1\r\nHost: test\r\n\r\n";
    let mut second = Connection::open(gateway.address());
    second.write(request);
    assert_eq!(second.status(), 200);
    let mut third = Connection::open(gateway.address());
    third.write(request);
    assert!(third.is_silent_for(Duration::from_millis(100)), "it has to wait");
    // The open connections are served meanwhile.
    was_reached(&gateway, "limits.connections");
    drop(second);
    assert_eq!(third.status(), 200);
    gateway.stop();
}

/// The most memory that a process ever had, in KiB.
fn peak_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_gzip_bomb_takes_no_more_memory_than_the_limit_allows() {
    let folder = TempDir::new().unwrap();
    let mut gateway = Tidegate::serve(folder.path(), &["--limits.decoded-size=16MiB"]);
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    // A gigabyte, as members of 8 MiB each.
    let bomb = gzip(&vec![b'\n'; 8 << 20]).repeat(128);
    let before = peak_memory(gateway.process().id());
    for _ in 0..3 {
        let headers = [("Content-Encoding", "gzip")];
        let answer = gateway.send("PUT", "/metrics/job/j", &headers, &bomb);
        answer.expect(413).says("limits.decoded-size");
    }
    let grown = peak_memory(gateway.process().id()) - before;
    assert!(grown < 100 << 10, "grown by {grown} KiB");
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 1"]);
    gateway.stop();
}

/// It was said in the answer and counted nowhere.
#[test]
fn a_restore_that_a_limit_refuses_is_counted() {
    let gateway = Gateway::start("[limits]\ngroups = 1\n");
    gateway.put("/metrics/job/a", "m 1\n").expect(200);
    gateway.delete("/metrics/job/a").expect(202);
    gateway.put("/metrics/job/b", "m 1\n").expect(200);
    let path = "/api/v2/expired/restore?group=job/a";
    let data = gateway.send("POST", path, &[], b"").expect(200).data();
    assert!(data["refused"][0]["error"].as_str().unwrap().contains("limits.groups"), "{data}");
    gateway.scrape().shows(&[&format!("{} 1", reached("limits.groups"))]);
    gateway.stop();
}

/// The size of a rendered push is known before it is rendered: a few kilobytes may be gigabytes in a
/// scrape.
#[test]
fn the_rendered_lines_of_a_push_are_bounded() {
    let gateway = Gateway::start("[limits]\ngroup-size = '1MiB'\nrendered-size = '3MiB'\n");
    let key = format!("/metrics/job/j/a/{}", "x".repeat(10_000));
    let lines = |range: std::ops::Range<usize>| {
        range.map(|n| format!("f{n} 1\n")).collect::<Vec<_>>().concat()
    };
    let families = |count: usize| lines(0..count);
    too_much(&gateway, 413, "limits.group-size", || gateway.put(&key, families(200)));
    gateway.put(&key, families(50)).expect(200);
    // Together with what is there.
    let more = lines(50..120);
    too_much(&gateway, 413, "limits.group-size", || gateway.post(&key, &more));
    gateway.put(&key, families(60)).expect(200);
    let other = |n: usize| format!("{key}/b/{n}");
    let stored = (0..10).filter(|n| gateway.put(&other(*n), families(60)).status == 200).count();
    assert_eq!(stored, 3, "about 600 kB each, beside one that is there");
    too_much(&gateway, 429, "limits.rendered-size", || gateway.put(&other(9), families(60)));
    // The labels of a key together have a bound of their own.
    let long = format!("{key}/b/{}", "y".repeat(8000));
    gateway.put(&long, "m 1\n").expect(400).says("the labels of the grouping key have");
    gateway.stop();
}

/// A group that was stored with larger limits does not stop the start, and is not lost.
#[test]
fn a_stored_group_beyond_a_bound_is_set_aside() {
    let gateway = Gateway::start("");
    let body = (0..2000).map(|n| format!("m{{n=\"{n}\"}} 1\n")).collect::<Vec<_>>().concat();
    gateway.put("/metrics/job/large", &body).expect(200);
    gateway.put("/metrics/job/small", "n 1\n").expect(200);
    let stopped = gateway.stop();
    let gateway = stopped.start_with("[limits]\ngroup-size = '10KiB'\n");
    let shown = gateway.scrape().pushed();
    assert!(shown.contains("job=\"small\"") && !shown.contains("m{"), "{shown}");
    let gateway = gateway.stop().start_with("");
    assert_eq!(gateway.scrape().pushed().matches("\nm{").count(), 2000);
    let gateway = gateway.stop().start_with("[limits]\ngroup-size = '10KiB'\n");
    gateway.post("/metrics/job/large", "m 1\n").expect(200);
    let gateway = gateway.stop().start_with("");
    gateway.scrape().shows(&["m{instance=\"\",job=\"large\"} 1"]);
    gateway.stop();
}

#[test]
fn followers_are_bounded() {
    let gateway = Gateway::start("[limits]\nfollowers = 2\n");
    let follow = || {
        let mut connection = Connection::open(gateway.address());
        connection.write("GET /api/v2/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        // A request that asks for a place has it for a moment, so that it could be in the way of another.
        assert_eq!(connection.head()[0], "HTTP/1.1 200 OK");
        connection
    };
    let followers = [follow(), follow()];
    gateway.get("/api/v2/events").expect(503).says("limits.followers");
    drop(followers);
    eventually("a place", || {
        gateway.put("/metrics/job/j", "m 1\n").expect(200);
        (gateway.get("/api/v2/events?event=none").status == 400).then_some(())
    });
    gateway.stop();
}

/// Whatever a client asks for, it is looked for in each group.
#[test]
fn the_selectors_of_a_request_are_bounded() {
    let gateway = Gateway::start("");
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    let matchers =
        |count: usize, one: &str| format!("match[]=%7B{}%7D", vec![one; count].join(","));
    let groups = |query: String| gateway.get(&format!("/api/v2/groups?{query}"));
    groups(matchers(64, "job=%22j%22")).expect(200);
    groups(matchers(65, "job=%22j%22")).expect(400).says("more than 64 matchers");
    let twice = [matchers(40, "job=%22j%22"), matchers(40, "job=%22j%22")].join("&");
    groups(twice).expect(400).says("more than 64 matchers");
    groups(matchers(33, "job=~%22j%22")).expect(400).says("32 regular expressions");
    groups(format!("search={}", vec!["j"; 33].join("+"))).expect(400).says("at most 32");
    let rules = "[[rules]]\nmatch = '{job=~\"a\"}'\nttl = \"1h\"\n".repeat(33);
    let table = format!("default = \"1h\"\n{rules}");
    gateway.post("/api/v2/ttl/preview", &table).expect(400).says("regular expressions");
    gateway.stop();
}
