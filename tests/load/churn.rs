//! Groups that come and go for ever: memory and disk stay as they are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::gateway::{Gateway, number};
use crate::{SECONDS_VARIABLE, alone, figure, pass, variable};
use support::{Client, eventually};

const SECONDS: u64 = 15;
const CLIENTS: usize = 4;
/// In which the caches fill up, and the history with what has expired.
const WARM_UP: u64 = 5;

/// The figures at an instant.
#[derive(Clone, Copy, Debug)]
struct Sample {
    memory_kib: u64,
    disk_kib: u64,
}

#[test]
fn memory_and_disk_stay_flat_while_groups_come_and_go() {
    let _machine = alone();
    let seconds = variable(SECONDS_VARIABLE, SECONDS);
    let gateway = Gateway::start(&[
        "--storage.cache-size=8MiB",
        "--history.groups=200",
        // So that the machine's disk is not the subject.
        "--storage.sync=100ms",
    ]);
    let pushed = AtomicU64::new(0);
    let began = Instant::now();
    let end = began + Duration::from_secs(seconds);
    let mut samples = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (client, pushed) = (Client::new(gateway.address()), &pushed);
            scope.spawn(move || {
                while Instant::now() < end {
                    let group = pushed.fetch_add(1, Ordering::Relaxed);
                    let path = format!("/metrics/job/churn/instance/i-{group}?ttl=1s");
                    let lines = (0..10).map(|n| format!("family_{n}{{path=\"/some/{n}\"}} {n}\n"));
                    client.put(&path, lines.collect::<String>()).expect(200);
                }
            });
        }
        while Instant::now() < end {
            pass(Duration::from_millis(200));
            if began.elapsed() > Duration::from_secs(WARM_UP) {
                let sample = Sample { memory_kib: gateway.memory().now, disk_kib: gateway.disk() };
                samples.push(sample);
            }
            // A scrape now and then, as there is always one.
            gateway.get("/metrics").expect(200);
        }
    });
    let pushed = pushed.into_inner();
    let third = samples.len() / 3;
    let (first, last) = (&samples[..third], &samples[samples.len() - third..]);
    figure(&format!("{pushed} groups in {seconds} s"));
    for (what, unit) in [
        ("memory", (|sample: &Sample| sample.memory_kib) as fn(&Sample) -> u64),
        ("disk", |sample| sample.disk_kib),
    ] {
        // The store grows and is tidied up in turn: what counts is how high that goes.
        let most = |samples: &[Sample]| samples.iter().map(unit).max().unwrap();
        let (first, last) = (most(first), most(last));
        figure(&format!("{what}: {first} KiB in the first third, {last} KiB in the last (maxima)"));
        assert!(last <= first + first / 2 + (16 << 10), "{what}: {first} KiB, then {last} KiB");
    }
    // All that is left expires, and is removed a moment later.
    eventually("all groups have expired", || {
        let expired = number(&gateway.scrape(), "tidegate_expired_groups_total");
        (expired == pushed).then_some(())
    });
    assert_eq!(number(&gateway.scrape(), "tidegate_groups"), 0);
    gateway.stop();
}
