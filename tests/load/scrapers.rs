//! Scrapers that read slowly, or never: a scrape has a time limit, and holds on to what it shows for
//! no longer.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::gateway::Gateway;
use crate::others::{Others, limit_was_reached};
use crate::{beside_others, figure, pass};
use support::PATIENCE;

const SCRAPERS: usize = 50;
/// More than the buffers of two sockets hold, so that a scraper that does not read has the gateway
/// wait.
const GROUPS: usize = 20;
const GROUP_BYTES: usize = 1 << 20;
const PIECE: usize = 16 << 10;

/// The body of a push of a group of about a megabyte.
fn large(push: usize) -> String {
    let pad = "x".repeat(PIECE);
    let series = (0..GROUP_BYTES / PIECE).map(|n| format!("m{{n=\"{n}\",pad=\"{pad}\"}} {push}\n"));
    series.collect()
}

fn scrape(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    stream
}

/// Takes what is left; returns how many bytes that was, and whether the end was one in order.
fn drain(stream: &mut TcpStream) -> u64 {
    std::io::copy(stream, &mut std::io::sink()).unwrap_or(0)
}

fn fill(gateway: &Gateway, push: usize) {
    for group in 0..GROUPS {
        gateway.put(&format!("/metrics/job/large/group/{group}"), large(push)).expect(200);
    }
}

#[test]
fn scrapers_that_never_read_or_read_slowly_are_cut_off() {
    let _machine = beside_others();
    let gateway = Gateway::start(&["--limits.send-timeout=2s"]);
    fill(&gateway, 0);
    let before = gateway.memory();
    let whole = (GROUPS * GROUP_BYTES) as u64;
    let began = Instant::now();
    let mut never = scrape(&gateway);
    let mut slow = scrape(&gateway);
    let mut taken = 0;
    // A client that takes some now and then, so that the connection never stands still, is no reason to
    // wait for ever.
    while gateway_holds(&mut slow, &mut taken) {
        pass(Duration::from_millis(50));
        assert!(began.elapsed() < PATIENCE, "it was never cut off");
        if gateway.reached("limits.send-timeout") == 2 {
            break;
        }
    }
    figure(&format!("cut off after {:?}", began.elapsed()));
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    limit_was_reached(&gateway, "limits.send-timeout", 2);
    for stream in [&mut never, &mut slow] {
        let rest = drain(stream);
        assert!(rest < whole, "{rest} of {whole} bytes");
    }
    let grown = gateway.memory().now.saturating_sub(before.now);
    figure(&format!("{grown} KiB more than before"));
    gateway.stop();
}

/// Takes some of it, if there is any.
fn gateway_holds(slow: &mut TcpStream, taken: &mut u64) -> bool {
    let mut some = vec![0; 64 * 1024];
    let read = slow.read(&mut some).unwrap_or(0);
    *taken += read as u64;
    read > 0
}

#[test]
fn scrapers_that_hold_old_versions_take_a_bounded_amount_of_memory() {
    let _machine = beside_others();
    let gateway = Gateway::start(&["--limits.send-timeout=4s"]);
    fill(&gateway, 0);
    gateway.scrape();
    let before = gateway.memory();
    gateway.forget_peak();
    let others = Others::start(&gateway);
    // Each holds on to a version of its own: between two of them a group is replaced.
    let mut scrapers: Vec<_> = (1..=SCRAPERS)
        .map(|push| {
            let path = format!("/metrics/job/large/group/{}", push % GROUPS);
            gateway.put(&path, large(push)).expect(200);
            scrape(&gateway)
        })
        .collect();
    limit_was_reached(&gateway, "limits.send-timeout", SCRAPERS as u64);
    others.stop();
    let grown = gateway.memory().peak.saturating_sub(before.now);
    figure(&format!(
        "{} KiB, and up to {grown} KiB more for {SCRAPERS} that never read",
        before.now
    ));
    for stream in &mut scrapers {
        assert!(drain(stream) < (GROUPS * GROUP_BYTES) as u64);
    }
    gateway.stop();
}
