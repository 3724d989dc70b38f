//! Values as a person reads them. `assets/time.js` writes durations in the same way.

use std::time::Duration;

use bytesize::ByteSize;
use maud::{Markup, html};

use crate::exposition::number::push_float;
use crate::model::duration::Rough;
use crate::time::UnixNanos;

/// A number of seconds beyond this is an instant: September 2001.
const INSTANT_SECONDS_MIN: f64 = 1e9;
/// And what is before this: the year 5138.
const INSTANT_SECONDS_MAX: f64 = 1e11;

/// A duration in its two largest units.
pub(super) fn duration(duration: Duration) -> String {
    Rough(duration).to_string()
}

/// An instant in full.
pub(super) fn instant(at: UnixNanos) -> String {
    humantime::format_rfc3339_seconds(at.to_system_time()).to_string()
}

/// How long ago something was, or in how long it is; the instant in full on hover. Goes on while
/// one looks.
pub(super) fn relative(at: UnixNanos, now: UnixNanos) -> Markup {
    let millis = now.as_millis().saturating_sub(at.as_millis());
    let length = duration(Duration::from_secs(millis.unsigned_abs() / 1000));
    let text = if millis >= 0 { format!("{length} ago") } else { format!("in {length}") };
    html! { time datetime=(instant(at)) title=(instant(at)) data-at=(at.as_millis()) { (text) } }
}

/// The same, where there may be no such instant.
pub(super) fn relative_or_never(at: Option<UnixNanos>, now: UnixNanos) -> Markup {
    html! { @match at { Some(at) => (relative(at, now)), None => "never" } }
}

/// A number of things.
pub(super) fn count(number: usize, what: &str, plural: &str) -> String {
    format!("{} {}", grouped(number as u64), if number == 1 { what } else { plural })
}

/// A whole number, its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes.
pub(super) fn bytes(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// A number in full, as the exposition has it.
pub(super) fn exact(value: f64) -> String {
    let mut text = Vec::new();
    push_float(&mut text, value);
    String::from_utf8_lossy(&text).into_owned()
}

/// The value of a series, by what its name says that it is in.
pub(super) fn value(name: &str, value: f64) -> String {
    let is_of = |unit: &str| {
        let base = name.strip_suffix("_total").unwrap_or(name);
        base.strip_suffix(unit).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    };
    if is_of("seconds") && (INSTANT_SECONDS_MIN..INSTANT_SECONDS_MAX).contains(&value) {
        #[expect(clippy::cast_possible_truncation, reason = "it is within the range")]
        return instant(UnixNanos((value * 1e9) as i64));
    }
    if is_of("seconds") && (1e-6..INSTANT_SECONDS_MIN).contains(&value) {
        return if value < 60.0 {
            format!("{}\u{202f}s", digits(value))
        } else {
            duration(Duration::from_secs_f64(value))
        };
    }
    if is_of("bytes") && (0.0..1e18).contains(&value) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        return bytes(value as u64);
    }
    if is_of("ratio") && (0.0..=1.0).contains(&value) {
        return format!("{}\u{202f}%", digits(value * 100.0));
    }
    digits(value)
}

/// A number with as many digits as one wants to read.
pub(super) fn digits(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        let whole = grouped(value.abs() as u64);
        return if value < 0.0 { format!("\u{2212}{whole}") } else { whole };
    }
    if !value.is_finite() || value.abs() >= 1e15 || value.abs() < 1e-4 {
        return exact(value);
    }
    let whole_digits = value.abs().log10().floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 8")]
    let decimals = (4.0 - whole_digits).clamp(0.0, 8.0) as usize;
    let text = format!("{value:.decimals$}");
    match text.split_once('.') {
        Some((whole, part)) => match part.trim_end_matches('0') {
            "" => whole.to_owned(),
            part => format!("{whole}.{part}"),
        },
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_in_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m 59s"),
            (86_400 + 59, "1d"),
            (86_400 * 400 + 7200, "400d 2h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(duration(Duration::from_millis(250)), "250ms");
    }

    #[test]
    fn values_are_read_by_what_their_names_say() {
        for (name, number, text) in [
            ("backup_last_success_timestamp_seconds", 1.7e9, "2023-11-14T22:13:20Z"),
            ("push_time_seconds", 1.7e9, "2023-11-14T22:13:20Z"),
            ("duration_seconds", 5400.0, "1h 30m"),
            ("duration_seconds", 0.0123, "0.0123\u{202f}s"),
            ("cpu_seconds_total", 61.5, "1m 1s"),
            ("size_bytes", 1_610_612_736.0, "1.5 GiB"),
            ("hit_ratio", 0.125, "12.5\u{202f}%"),
            ("jobs_total", 1_234_567.0, "1\u{202f}234\u{202f}567"),
            ("kilobytes", 2048.0, "2\u{202f}048"),
            ("level", -0.5, "-0.5"),
            ("level", -3.0, "\u{2212}3"),
            ("level", 3.123_456_789, "3.1235"),
            ("level", f64::NAN, "NaN"),
            ("size_bytes", f64::INFINITY, "+Inf"),
            ("tiny", 1e-9, "1e-09"),
        ] {
            assert_eq!(value(name, number), text, "{name} {number}");
        }
    }
}
