//! Ordinary clients, who push and scrape while somebody else misbehaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::gateway::Gateway;
use crate::{figure, pass};
use support::{Client, eventually};

/// Between two requests of one client, so that they do not load the machine themselves.
const PACE: Duration = Duration::from_millis(5);

/// One client that pushes and one that scrapes, each again and again. Whatever is answered with
/// anything but 200 fails the test.
#[derive(Debug)]
pub(crate) struct Others {
    stop: Arc<AtomicBool>,
    pushes: JoinHandle<Vec<Duration>>,
    scrapes: JoinHandle<Vec<Duration>>,
}

/// How long the requests took, in order of time taken.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    pub(crate) pushes: Vec<Duration>,
    pub(crate) scrapes: Vec<Duration>,
}

impl Others {
    pub(crate) fn start(gateway: &Gateway) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        // A connection of each its own, not one that a test has been slow on.
        let client = || Client::new(gateway.address());
        let mut count = 0;
        let pushes = again(&stop, client(), move |client| {
            count += 1;
            client.put("/metrics/job/others", format!("others {count}\n")).expect(200);
        });
        let scrapes = again(&stop, client(), |client| {
            client.get("/metrics").expect(200);
        });
        Self { stop, pushes, scrapes }
    }

    /// Has them go on for a while, then stop.
    #[track_caller]
    pub(crate) fn run_for(gateway: &Gateway, time: Duration) -> Times {
        let others = Self::start(gateway);
        pass(time);
        others.stop()
    }

    /// Has them stop. All of their requests were served.
    #[track_caller]
    pub(crate) fn stop(self) -> Times {
        self.stop.store(true, Ordering::Relaxed);
        let joined = |requests: JoinHandle<Vec<Duration>>| {
            let mut times = requests.join().expect("every push and scrape of others is served");
            times.sort_unstable();
            times
        };
        Times { pushes: joined(self.pushes), scrapes: joined(self.scrapes) }
    }
}

fn again(
    stop: &Arc<AtomicBool>,
    client: Client,
    mut request: impl FnMut(&Client) + Send + 'static,
) -> JoinHandle<Vec<Duration>> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut times = Vec::new();
        // At least once, however short the test is.
        loop {
            let began = Instant::now();
            request(&client);
            times.push(began.elapsed());
            if stop.load(Ordering::Relaxed) {
                return times;
            }
            pass(PACE);
        }
    })
}

impl Times {
    /// Sees to it that these are much as those before. Of medians, and with room: a slow moment of
    /// the machine is not the subject.
    #[track_caller]
    pub(crate) fn are_much_as(&self, before: &Self, what: &str) {
        for (kind, before, after) in
            [("pushes", &before.pushes, &self.pushes), ("scrapes", &before.scrapes, &self.scrapes)]
        {
            let (before, after) = (median(before), median(after));
            figure(&format!(
                "{what}: {kind} of others take {after:?}, before {before:?} (medians)"
            ));
            assert!(
                after <= before * 5 + Duration::from_millis(5),
                "{what}: {kind} of others take {after:?}, before {before:?}"
            );
        }
    }

    pub(crate) fn longest(&self) -> Duration {
        let longest = |times: &[Duration]| times.last().copied().unwrap_or_default();
        longest(&self.pushes).max(longest(&self.scrapes))
    }
}

fn median(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() / 2]
}

/// Sees to it that a push and a scrape are served, and that the scrape shows the push.
#[track_caller]
pub(crate) fn go_on(gateway: &Gateway) {
    gateway.put("/metrics/job/ordinary", "ordinary 1\n").expect(200);
    gateway.scrape().shows(&["ordinary{instance=\"\",job=\"ordinary\"} 1"]);
}

/// Waits until a limit was reached so often, and sees to it that ordinary requests go on.
#[track_caller]
pub(crate) fn limit_was_reached(gateway: &Gateway, setting: &str, times: u64) {
    // It is counted a moment after the answer is sent, or the connection closed.
    eventually(setting, || (gateway.reached(setting) >= times).then_some(()));
    assert_eq!(gateway.reached(setting), times, "{setting}");
    go_on(gateway);
}
