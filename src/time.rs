//! Time as the rest of the crate sees it. The only module that reads the host's clocks.
//!
//! Two kinds of time, because they answer two questions:
//! - *wall time* ([`UnixNanos`]) says when something happened, for people and for
//!   `push_time_seconds`. It follows the host clock, steps included.
//! - *gateway time* ([`UnixMillis`]) says how much of a TTL has passed. It looks like Unix time, but
//!   it runs on the host's boot-time clock: it never steps, and it counts while the host is
//!   suspended. Deadlines are gateway time, so that setting the host clock back or forward neither
//!   keeps groups for ever nor drops live ones at once.
//!
//! The difference between the two is the [offset](Clock::offset_ms). The store keeps it, so that
//! gateway time goes on over a restart: a clock that was corrected while the gateway ran stays
//! corrected for. A step made while the gateway is down cannot be told from time that has passed,
//! and moves the deadlines by its size.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

/// An instant of wall time: nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub i64);

/// An instant of gateway time: milliseconds, on a scale that starts as Unix time and never steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

/// An instant of both times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub now: UnixMillis,
    pub wall: UnixNanos,
}

/// A future that a [`Clock`] completes at an instant.
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// The two times, and a way to wait for one of them.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Gateway time. Never goes backwards within a process.
    fn now(&self) -> UnixMillis;

    /// Wall time. Goes wherever the host clock goes.
    fn wall(&self) -> UnixNanos;

    /// Sets gateway time to wall time plus `offset_ms`, forward or back. Called only before anything is
    /// judged by this clock, with what the store kept of the last run, or with the time of another
    /// process.
    fn restore_offset_ms(&self, offset_ms: i64);

    /// Moves gateway time, forward or back, to that of another process. Moved back, it stands still
    /// until it would have come to where it was.
    fn shift_ms(&self, by_ms: i64);

    /// Completes once `now() >= deadline`; at once if that is already so.
    fn sleep_until(&self, deadline: UnixMillis) -> Sleep<'_>;

    /// Both times.
    fn moment(&self) -> Moment {
        Moment { now: self.now(), wall: self.wall() }
    }

    /// Gateway time minus wall time, in milliseconds.
    fn offset_ms(&self) -> i64 {
        let now = i64::try_from(self.now().0).unwrap_or(i64::MAX);
        now.saturating_sub(self.wall().as_millis())
    }
}

/// The clocks of the host.
#[derive(Debug)]
pub struct SystemClock {
    /// Gateway time minus boot time, in milliseconds.
    anchor_ms: AtomicI64,
    /// Gateway time has been here.
    floor_ms: AtomicI64,
}

/// A clock that moves only when it is told to. For tests.
#[derive(Clone, Debug)]
pub struct ManualClock {
    state: Arc<Mutex<ManualState>>,
    /// Wakes every sleeper after each move.
    moved: Arc<Notify>,
}

#[derive(Debug)]
struct ManualState {
    now: UnixMillis,
    wall: UnixNanos,
}

// === impl UnixNanos ===

impl UnixNanos {
    /// Seconds since the Unix epoch, as Prometheus writes instants.
    #[expect(clippy::cast_precision_loss, reason = "the same division as the Go Pushgateway's")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Milliseconds since the Unix epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The same instant for `std`; instants before 1970 become 1970.
    pub fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl From<SystemTime> for UnixNanos {
    fn from(time: SystemTime) -> Self {
        let nanos = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos)
            }
        };
        Self(nanos)
    }
}

// === impl UnixMillis ===

impl UnixMillis {
    /// Later than any deadline.
    pub const MAX: Self = Self(u64::MAX);

    /// This instant moved by `by`; [`UnixMillis::MAX`] where it would overflow.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long `earlier` lies before this instant; zero where it does not.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This instant of gateway time as wall time, with the clock's present offset.
    pub fn to_wall(self, offset_ms: i64) -> UnixNanos {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX).saturating_sub(offset_ms);
        UnixNanos(millis.saturating_mul(1_000_000))
    }
}

// === impl SystemClock ===

impl SystemClock {
    /// Starts gateway time at wall time.
    pub fn new() -> Self {
        let anchor_ms = host_time().as_millis().saturating_sub(boot_millis());
        Self { anchor_ms: AtomicI64::new(anchor_ms), floor_ms: AtomicI64::new(0) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let millis = boot_millis().saturating_add(self.anchor_ms.load(Ordering::Relaxed));
        let millis = millis.max(self.floor_ms.load(Ordering::Relaxed));
        UnixMillis(u64::try_from(millis).unwrap_or(0))
    }

    fn wall(&self) -> UnixNanos {
        host_time()
    }

    fn shift_ms(&self, by_ms: i64) {
        let floor = i64::try_from(self.now().0).unwrap_or(i64::MAX);
        self.floor_ms.fetch_max(floor, Ordering::Relaxed);
        self.anchor_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    fn restore_offset_ms(&self, offset_ms: i64) {
        let now = host_time().as_millis().saturating_add(offset_ms);
        self.floor_ms.store(0, Ordering::Relaxed);
        self.anchor_ms.store(now.saturating_sub(boot_millis()), Ordering::Relaxed);
    }

    fn sleep_until(&self, deadline: UnixMillis) -> Sleep<'_> {
        Box::pin(async move {
            // The runtime's timers stand still while the host is suspended, so a sleep may end
            // early or late by this clock: look again rather than trust it.
            loop {
                let left = deadline.saturating_since(self.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(SLEEP_MAX)).await;
            }
        })
    }
}

/// Within this time after a resume from suspend, a sleeper notices.
const SLEEP_MAX: Duration = Duration::from_mins(1);

/// The only ambient read of the wall clock in the crate.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn host_time() -> UnixNanos {
    SystemTime::now().into()
}

/// Time since the host booted, suspended time included.
fn boot_millis() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

// === impl ManualClock ===

impl ManualClock {
    /// A clock that stands at `wall`, with gateway time equal to it.
    pub fn at(wall: UnixNanos) -> Self {
        let now = UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(0));
        let state = Arc::new(Mutex::new(ManualState { now, wall }));
        Self { state, moved: Arc::new(Notify::new()) }
    }

    /// Lets time pass: both times move.
    pub fn advance(&self, by: Duration) {
        self.with(|state| {
            state.now = state.now.saturating_add(by);
            state.wall.0 += i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        });
        self.moved.notify_waiters();
    }

    /// Sets the host clock: wall time moves, gateway time does not.
    pub fn step_wall_ms(&self, by_ms: i64) {
        self.with(|state| state.wall.0 += by_ms * 1_000_000);
    }

    fn with<T>(&self, f: impl FnOnce(&mut ManualState) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        self.with(|state| state.now)
    }

    fn wall(&self) -> UnixNanos {
        self.with(|state| state.wall)
    }

    fn shift_ms(&self, by_ms: i64) {
        self.with(|state| {
            state.now = UnixMillis(state.now.0.saturating_add_signed(by_ms.max(0)));
        });
        self.moved.notify_waiters();
    }

    fn restore_offset_ms(&self, offset_ms: i64) {
        self.with(|state| {
            let now = state.wall.as_millis().saturating_add(offset_ms);
            state.now = UnixMillis(u64::try_from(now).unwrap_or(0));
        });
    }

    fn sleep_until(&self, deadline: UnixMillis) -> Sleep<'_> {
        Box::pin(async move {
            loop {
                // Registered before the look at the clock, so that no move is missed.
                let moved = self.moved.notified();
                if self.now() >= deadline {
                    return;
                }
                moved.await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_time_ignores_a_step_of_the_wall_clock() {
        let clock = ManualClock::at(UnixNanos(1_000_000_000_000));
        let before = clock.now();
        clock.step_wall_ms(3_600_000);
        assert_eq!(clock.now(), before);
        assert_eq!(clock.offset_ms(), -3_600_000);
        clock.restore_offset_ms(-3_600_000);
        assert_eq!(clock.now(), before);
    }

    #[test]
    fn the_system_clock_starts_at_wall_time_and_keeps_a_restored_offset() {
        let clock = SystemClock::new();
        assert!(clock.offset_ms().abs() < 1_000);
        clock.restore_offset_ms(-3_600_000);
        assert!((clock.offset_ms() + 3_600_000).abs() < 1_000);
    }

    #[tokio::test]
    async fn a_manual_sleeper_wakes_when_the_clock_reaches_its_deadline() {
        let clock = ManualClock::at(UnixNanos(0));
        let sleeper = clock.clone();
        let deadline = clock.now().saturating_add(Duration::from_secs(2));
        let mut sleep = Box::pin(sleeper.sleep_until(deadline));
        clock.advance(Duration::from_secs(1));
        assert!(futures_pending(sleep.as_mut()));
        clock.advance(Duration::from_secs(1));
        sleep.await;
    }

    fn futures_pending(future: Pin<&mut impl Future<Output = ()>>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.poll(&mut context).is_pending()
    }

    #[test]
    fn wall_time_before_1970_is_a_negative_instant() {
        assert_eq!(UnixNanos::from(UNIX_EPOCH - Duration::from_nanos(7)), UnixNanos(-7));
        assert_eq!(UnixNanos(-1).as_millis(), -1);
    }
}
