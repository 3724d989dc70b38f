//! Times as people write them.

use jiff::{SignedDuration, Timestamp};

use crate::model::duration::{self, Exact};
use crate::time::{Clock as _, SystemClock};

/// A time that was written: an instant, or one from now.
enum Time {
    At(String),
    FromNow(SignedDuration),
}

/// The forms in which a time is written, for `--help` and errors.
const FORMS: &str = "a time such as 2026-01-02T03:04:05Z, now, or from now, as in +24h and -1h";

/// A time as the API takes it. Its own clock says when now is, unless the time has passed.
pub(super) fn any(text: &str) -> Result<String, String> {
    match parse(text)? {
        Time::FromNow(from_now) if !from_now.is_negative() => {
            Ok(format!("+{}", Exact(from_now.unsigned_abs())))
        }
        time => absolute(time),
    }
}

/// A time that has passed, as the API takes it.
pub(super) fn past(text: &str) -> Result<String, String> {
    match parse(text)? {
        Time::FromNow(from_now) if from_now.is_positive() => {
            let ago = Exact(from_now.unsigned_abs());
            Err(format!("expected a time that has passed: -{ago} is {ago} ago"))
        }
        time => absolute(time),
    }
}

fn parse(text: &str) -> Result<Time, String> {
    let wrong = || format!("expected {FORMS}");
    let from_now = |duration: &str| {
        let duration =
            duration::parse(duration).map_err(|error| format!("{error}: {}", wrong()))?;
        SignedDuration::try_from(duration).map_err(|_| wrong())
    };
    if text == "now" {
        return Ok(Time::FromNow(SignedDuration::ZERO));
    }
    if let Some(after) = text.strip_prefix('+') {
        return from_now(after).map(Time::FromNow);
    }
    let seconds = text.parse::<f64>().is_ok_and(f64::is_finite);
    if seconds || text.parse::<Timestamp>().is_ok() {
        return Ok(Time::At(text.to_owned()));
    }
    match text.strip_prefix('-') {
        Some(before) => from_now(before).map(|duration| Time::FromNow(-duration)),
        None => Err(wrong()),
    }
}

/// With this host's clock where it is from now.
fn absolute(time: Time) -> Result<String, String> {
    let from_now = match time {
        Time::At(text) => return Ok(text),
        Time::FromNow(from_now) => from_now,
    };
    let at = Timestamp::from_nanosecond(SystemClock::new().wall().0.into());
    let at = at.and_then(|now| now.checked_add(from_now));
    at.map(|at| at.to_string()).map_err(|_| "expected a time within some thousand years".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_form_wherever_they_are_written() {
        for (text, at, before) in [
            ("2026-01-02T03:04:05Z", Some("2026-01-02T03:04:05Z"), Some("2026-01-02T03:04:05Z")),
            ("1767323045", Some("1767323045"), Some("1767323045")),
            ("now", Some("+0s"), Some("2")),
            ("+24h", Some("+1d"), None),
            ("+1h30m", Some("+1h 30m"), None),
            ("-1h", Some("2"), Some("2")),
            ("1h", None, None),
            ("+never", None, None),
            ("-1M", None, None),
            ("yesterday", None, None),
            ("+99999999999999999999d", None, None),
            ("-99999999d", None, None),
            ("", None, None),
        ] {
            for (found, expected) in [(any(text), at), (past(text), before)] {
                match (&found, expected) {
                    // From this host's clock.
                    (Ok(found), Some("2")) => {
                        assert!(found.parse::<Timestamp>().is_ok(), "{text}: {found}");
                    }
                    (Ok(found), Some(expected)) => assert_eq!(found, expected, "{text}"),
                    (Err(error), None) => assert!(error.contains("expected a time"), "{error}"),
                    (found, expected) => panic!("{text}: {found:?}, expected {expected:?}"),
                }
            }
        }
        assert!(any("+1M").unwrap_err().contains("30d"));
    }
}
