//! Figures for people.

/// A number with as many digits as it deserves.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((&*text, ""), |(w, f)| (w, f));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}

/// A duration given in seconds.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        value if value < 1e-6 => format!("{} ns", number(value * 1e9)),
        value if value < 1e-3 => format!("{} µs", number(value * 1e6)),
        value if value < 1.0 => format!("{} ms", number(value * 1e3)),
        value => format!("{} s", number(value)),
    }
}

/// The value below which a share of the values lies.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let at = ((values.len() as f64 - 1.0) * share).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}
