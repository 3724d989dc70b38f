//! The one form of durations for people: `1d 2h`. Days are the largest unit: months and years have
//! no certain length.

use std::fmt;
use std::time::Duration;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// A duration to the nanosecond: `1d 2h 3m 4s 5ms`. [`crate::model::Ttl::parse`] reads it.
#[derive(Clone, Copy, Debug)]
pub struct Exact(pub Duration);

/// A duration in its two largest units: `1d 2h`. Below a second in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rough(pub Duration);

/// Reads a duration as humantime writes it (`1h 30m`, `7d`) or Go (`1h30m`, `1.5h`). The error is the
/// reason.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.split(|c: char| !c.is_alphabetic()).any(|unit| unit == "M") {
        return Err("M is a month to some and a minute to others: write 30d or 1m".into());
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0.as_secs() / DAY_SECONDS;
        let rest = self.0.saturating_sub(Duration::from_secs(days * DAY_SECONDS));
        match (days, rest.is_zero()) {
            (0, _) => humantime::format_duration(rest).fmt(f),
            (days, true) => write!(f, "{days}d"),
            (days, false) => write!(f, "{days}d {}", humantime::format_duration(rest)),
        }
    }
}

impl fmt::Display for Rough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        if self.0 < Duration::from_secs(1) {
            return write!(f, "{}ms", self.0.as_millis());
        }
        let seconds = Duration::from_secs(self.0.as_secs());
        let text = Exact(seconds).to_string();
        // The second of the two units may be zero and missing.
        let units = ["d", "h", "m", "s"];
        let at = |part: &str| units.iter().position(|unit| part.ends_with(unit));
        let mut parts = text.split(' ');
        let first = parts.next().unwrap_or_default();
        f.write_str(first)?;
        match parts.next().filter(|part| at(part) == at(first).map(|at| at + 1)) {
            Some(part) => write!(f, " {part}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_may_be_a_month_or_a_minute_is_refused() {
        for text in ["1M", "1h 30M", "1h30M", "2M5s"] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("30d"), "{error}");
        }
        assert_eq!(parse("1month"), Ok(Duration::from_secs(2_630_016)));
    }

    #[test]
    fn durations_have_one_form() {
        for (millis, exact, rough) in [
            (0, "0s", "0s"),
            (450, "450ms", "450ms"),
            (61_500, "1m 1s 500ms", "1m 1s"),
            (3_605_000, "1h 5s", "1h"),
            (93_784_000, "1d 2h 3m 4s", "1d 2h"),
            (86_400_000 * 400, "400d", "400d"),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(Exact(duration).to_string(), exact);
            assert_eq!(Rough(duration).to_string(), rough);
        }
    }
}
