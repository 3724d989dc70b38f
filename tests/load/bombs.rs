//! Bodies that are small as they are sent and large once decompressed, and bodies that are too much
//! together: memory stays within what `limits.*` allow.

use std::io::Write as _;
use std::time::Duration;

use crate::connections::{answers, connect};
use crate::gateway::{Gateway, Memory, unread};
use crate::others::{Others, limit_was_reached};
use crate::{beside_others, figure};
use support::{Client, eventually, gzip, snappy_framed, snappy_raw, zstd};

const MIB: usize = 1 << 20;
/// The size of each bomb once it is decompressed.
const BOMB: usize = 256 * MIB;

/// By how much a gateway may grow that was told to take 16 MiB a body, while one bomb after the other
/// is sent; and one that was told to take 48 MiB in all, while many are. A buffer that grows is there
/// twice for a moment, decoders have tables, and an allocator gives back what it has a while later.
/// All the bombs together would be more than 3 GiB.
const GROWTH_OF_ONE_MAX_KIB: u64 = 128 << 10;
const GROWTH_OF_ALL_MAX_KIB: u64 = 320 << 10;

const LIMITS: &[&str] =
    &["--limits.body-size=16MiB", "--limits.decoded-size=16MiB", "--limits.bytes-in-flight=48MiB"];

/// A zstd frame whose decoder has to remember 128 MiB of what it has written.
fn zstd_with_a_large_window() -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.long_distance_matching(true).unwrap();
    for _ in 0..BOMB / MIB {
        encoder.write_all(&vec![b'\n'; MIB]).unwrap();
    }
    encoder.finish().unwrap()
}

/// The content encoding, a name for messages, and the bomb.
fn bombs() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let megabyte = vec![b'\n'; MIB];
    let framed = snappy_framed(&megabyte);
    // The identifier of the stream stands in front once, the chunks may be repeated.
    let (identifier, chunks) = framed.split_at(10);
    let framed = [identifier, &chunks.repeat(BOMB / MIB)].concat();
    let large = vec![b'\n'; BOMB];
    vec![
        ("gzip", "gzip", gzip(&large)),
        ("gzip", "gzip of many members", gzip(&megabyte).repeat(BOMB / MIB)),
        ("snappy", "snappy, framed", framed),
        ("snappy", "snappy, a raw block", snappy_raw(&large)),
        // It says that it is 4 GiB less a byte, and is not.
        ("snappy", "snappy, a raw block that lies", vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0]),
        ("zstd", "zstd", zstd(&large)),
    ]
}

#[track_caller]
fn grew_little(gateway: &Gateway, before: Memory, most: u64, what: &str) {
    let grown = gateway.memory().peak.saturating_sub(before.now);
    figure(&format!("{what}: {} KiB before, grown by up to {grown} KiB", before.now));
    assert!(grown < most, "{what}: grown by {grown} KiB");
}

#[test]
fn a_bomb_of_any_encoding_is_refused_and_takes_little_memory() {
    let _machine = beside_others();
    let bombs = bombs();
    let gateway = Gateway::start(LIMITS);
    let others = Others::start(&gateway);
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    let before = gateway.memory();
    for (sent, (encoding, what, bomb)) in (1..).zip(&bombs) {
        assert!(bomb.len() < 16 * MIB, "{what} is small as it is sent: {}", bomb.len());
        gateway.forget_peak();
        gateway
            .send("PUT", "/metrics/job/j", &[("Content-Encoding", encoding)], bomb)
            .expect(413)
            .says("limits.decoded-size");
        let what = format!("{what} of {} KiB", bomb.len() >> 10);
        grew_little(&gateway, before, GROWTH_OF_ONE_MAX_KIB, &what);
        limit_was_reached(&gateway, "limits.decoded-size", sent);
    }
    figure(&format!("others took {:?} at the longest", others.stop().longest()));
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 1"]);
    gateway.stop();
}

/// Each of them may have what a body may have, all of them together may not.
#[test]
fn bombs_from_many_clients_at_a_time_take_no_more_than_is_allowed_in_flight() {
    let _machine = beside_others();
    let mut bombs = bombs();
    bombs.push(("zstd", "zstd with a large window", zstd_with_a_large_window()));
    let gateway = Gateway::start(LIMITS);
    gateway.put("/metrics/job/j", "m 1\n").expect(200);
    let before = gateway.memory();
    std::thread::scope(|scope| {
        for (encoding, what, bomb) in bombs.iter().chain(&bombs) {
            let client = Client::new(gateway.address());
            scope.spawn(move || {
                for _ in 0..4 {
                    let headers = [("Content-Encoding", *encoding)];
                    let sent = client.try_send("PUT", "/metrics/job/j", &headers, bomb);
                    // One that is refused while most of it is still to be sent sees no answer.
                    let Ok(answer) = sent else {
                        assert!(bomb.len() > 256 << 10, "{what}: {sent:?}");
                        continue;
                    };
                    match answer.status {
                        503 => {
                            assert_eq!(answer.header("retry-after"), Some("1"), "{what}");
                            answer.says("limits.bytes-in-flight");
                        }
                        // No decoder of HTTP has to take such a window.
                        400 => assert_eq!(*what, "zstd with a large window"),
                        _ => drop(answer.expect(413).says("limits.decoded-size")),
                    }
                }
            });
        }
    });
    grew_little(&gateway, before, GROWTH_OF_ALL_MAX_KIB, "bombs at a time");
    gateway.put("/metrics/job/j", "m 2\n").expect(200);
    gateway.scrape().shows(&["m{instance=\"\",job=\"j\"} 2"]);
    gateway.stop();
}

#[test]
fn bodies_that_are_too_much_together_are_refused_for_now() {
    let _machine = beside_others();
    let gateway = Gateway::start(&[
        "--limits.body-size=1MiB",
        "--limits.decoded-size=1MiB",
        "--limits.bytes-in-flight=2MiB",
    ]);
    let comment = format!("#{}\n", "x".repeat(700 * 1024 - 2));
    let push = |job: usize| {
        let mut stream = connect(gateway.address());
        let length = comment.len() + "m 1\n".len();
        let head = format!(
            "PUT /metrics/job/held-{job} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(comment.as_bytes()).unwrap();
        stream
    };
    // An eighth of the budget is for small requests. Two that are all there but for a few bytes, and do
    // not end.
    let held = [push(0), push(1)];
    eventually("both are read", || (held.iter().map(unread).sum::<u64>() == 0).then_some(()));
    let answer = answers(&push(2), "503 ");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("limits.bytes-in-flight"), "{answer}");
    let exposition = gateway.scrape();
    exposition.shows(&["tidegate_pushes_refused_total{reason=\"overload\"} 1"]);
    limit_was_reached(&gateway, "limits.bytes-in-flight", 1);
    Others::run_for(&gateway, Duration::from_millis(200));
    for mut stream in &held {
        stream.write_all(b"m 1\n").unwrap();
        answers(stream, "200 ");
    }
    // Their memory is given back.
    let mut third = push(2);
    third.write_all(b"m 1\n").unwrap();
    answers(&third, "200 ");
    let exposition = gateway.scrape();
    (0..3).for_each(|job| {
        exposition.shows(&[&format!("m{{instance=\"\",job=\"held-{job}\"}} 1")]);
    });
    gateway.stop();
}
