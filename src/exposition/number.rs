//! Numbers as Go reads and writes them.

/// Appends `value` as the Go text encoder does (`strconv.FormatFloat(value, 'g', -1, 64)`): the
/// shortest digits that read back as `value`, in scientific form iff the decimal exponent of the
/// first digit is below -4 or at least 6.
pub fn push_float(out: &mut Vec<u8>, value: f64) {
    if value == 0.0 {
        // Negative zero too: the Go encoder special-cases everything that equals zero.
        out.push(b'0');
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        push_finite(out, value);
    }
}

/// Appends `value` in decimal.
pub fn push_integer(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Reads a float as Go's `strconv.ParseFloat` does, without the forms that the Prometheus text
/// format excludes (hexadecimal, underscores). A number beyond the range of `f64` is an error.
pub fn parse_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    let unsigned = text.trim_start_matches(['+', '-']);
    let spelled = unsigned.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if value.is_finite() {
        Some(value)
    } else if value.is_nan() {
        // Rust reads "+nan"; Go does not.
        (unsigned.len() == text.len()).then_some(value)
    } else {
        spelled.then_some(value)
    }
}

fn push_finite(out: &mut Vec<u8>, value: f64) {
    if value < 0.0 {
        out.push(b'-');
    }
    let magnitude = value.abs();
    // Whole numbers below a million are most of what is pushed.
    if magnitude < 1e6 && magnitude.fract() == 0.0 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 1e6")]
        let whole = magnitude as u32;
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
        return;
    }
    let mut buffer = ryu::Buffer::new();
    let (digits, exponent) = decimal(buffer.format_finite(magnitude));
    let digits = digits.as_slice();
    if (-4..6).contains(&exponent) {
        push_plain(out, digits, exponent);
    } else {
        push_scientific(out, digits, exponent);
    }
}

/// The significant digits of a number.
struct Digits {
    bytes: [u8; 24],
    start: usize,
    end: usize,
}

impl Digits {
    fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }
}

/// Takes what ryu wrote apart: the significant digits, and the decimal exponent of the first.
fn decimal(text: &str) -> (Digits, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let mut digits = Digits { bytes: [0; 24], start: 0, end: 0 };
    let mut point = mantissa.len();
    for (at, byte) in mantissa.bytes().enumerate() {
        if byte == b'.' {
            point = at;
        } else if let Some(slot) = digits.bytes.get_mut(digits.end) {
            *slot = byte;
            digits.end += 1;
        }
    }
    let zeros = |bytes: &mut dyn Iterator<Item = &u8>| bytes.take_while(|b| **b == b'0').count();
    digits.start = zeros(&mut digits.as_slice().iter());
    digits.end -= zeros(&mut digits.as_slice().iter().rev());
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let before_point = i32::try_from(point).unwrap_or(0);
    let leading_zeros = i32::try_from(digits.start).unwrap_or(0);
    (digits, exponent + before_point - leading_zeros - 1)
}

/// `ddd.ddd`, for an exponent of -4 to 5.
fn push_plain(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    let Ok(exponent) = usize::try_from(exponent) else {
        out.extend_from_slice(b"0.");
        out.extend((exponent + 1..0).map(|_| b'0'));
        out.extend_from_slice(digits);
        return;
    };
    let (whole, fraction) = digits.split_at(digits.len().min(exponent + 1));
    out.extend_from_slice(whole);
    out.extend(std::iter::repeat_n(b'0', exponent + 1 - whole.len()));
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

/// `d.ddde±dd`.
fn push_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    if let Some((first, rest)) = digits.split_first() {
        out.push(*first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let exponent = exponent.unsigned_abs();
    if exponent < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rendered(value: f64) -> String {
        let mut out = Vec::new();
        push_float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    /// The output of Go's encoder for these numbers.
    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (21.0, "21"),
            (100_000.0, "100000"),
            (123_456.0, "123456"),
            (123_456.75, "123456.75"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (1_234_560.0, "1.23456e+06"),
            (1_234_567.5, "1.2345675e+06"),
            (1_756_047.3, "1.7560473e+06"),
            (123_456_789_012.0, "1.23456789012e+11"),
            (1_583_781_848.025_745, "1.583781848025745e+09"),
            (1e20, "1e+20"),
            (3.14e42, "3.14e+42"),
            (-1.23e-45, "-1.23e-45"),
            (0.5, "0.5"),
            (0.0001, "0.0001"),
            (0.00012, "0.00012"),
            (0.00001, "1e-05"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(rendered(value), expected);
        }
    }

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("1", 1.0),
            ("+1", 1.0),
            ("08", 8.0),
            ("-3e3", -3000.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("inf", f64::INFINITY),
            ("+Inf", f64::INFINITY),
            ("-infinity", f64::NEG_INFINITY),
            ("1e-400", 0.0),
        ] {
            assert_eq!(parse_float(text.as_bytes()), Some(value), "{text}");
        }
        assert!(parse_float(b"NaN").is_some_and(f64::is_nan));
        for text in
            ["", ".", "1_2", "0x1p-3", "0x1", "0b1", "1e", "+NaN", "1e400", "-1e999", "blubb", "1 "]
        {
            assert_eq!(parse_float(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            let read = parse_float(rendered(value).as_bytes()).unwrap();
            prop_assert!(read == value || (read.is_nan() && value.is_nan()));
        }
    }
}
