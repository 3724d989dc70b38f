//! Tells a supervisor how the process is: systemd, for a unit of `Type=notify` or `notify-reload`,
//! with or without `WatchdogSec` (`sd_notify(3)`). Without one nobody is told.

use std::time::Duration;

use sd_notify::NotifyState;

/// Requests are served.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The settings are read again; [`ready`] follows.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The process is about to stop.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The process does what it is there for.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Within which time the supervisor wants to hear that; `None` if it does not.
pub(super) fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot tell the supervisor");
    }
}
