//! Which names Prometheus allows (its data model), and how names beyond the "legacy" charset are
//! escaped for those who know only that one.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Which names a push may bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameRules {
    /// Letters, digits and underscores; in metric names also colons.
    #[default]
    Legacy,
    /// Any UTF-8 text that is not empty.
    Utf8,
}

/// How names beyond the legacy charset are escaped on their way out
/// (`model.EscapingScheme` of `prometheus/common`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Escaping {
    /// Nothing.
    AllowUtf8,
    /// Each character outside the charset becomes an underscore.
    #[default]
    Underscores,
    /// As `Underscores`, but dots become `_dot_` and underscores two, so that most names differ.
    Dots,
    /// `U__`, and code points in hexadecimal: can be undone.
    Values,
}

impl NameRules {
    /// Whether a family may have this name.
    pub fn is_metric_name(self, name: &str) -> bool {
        match self {
            Self::Legacy => is_metric_name(name),
            Self::Utf8 => !name.is_empty(),
        }
    }

    /// Whether a label may have this name. Reserved ones count as names too.
    pub fn is_label_name(self, name: &str) -> bool {
        match self {
            Self::Legacy => is_label_name(name),
            Self::Utf8 => !name.is_empty(),
        }
    }
}

impl Escaping {
    /// Those under which names beyond the legacy charset change.
    pub const CHANGING: [Self; 3] = [Self::Underscores, Self::Dots, Self::Values];

    /// A label name that two of these have, as they are or once they are escaped.
    pub fn collision<'a>(names: &(impl Iterator<Item = &'a str> + Clone)) -> Option<String> {
        let legacy = names.clone().all(is_label_name);
        let schemes = if legacy { &[Self::AllowUtf8][..] } else { &Self::CHANGING[..] };
        schemes.iter().find_map(|scheme| {
            let mut names: Vec<_> = names.clone().map(|name| scheme.apply_to_label(name)).collect();
            names.sort_unstable();
            let twice = names.iter().zip(names.iter().skip(1)).find(|(a, b)| a == b);
            twice.map(|(name, _)| name.clone().into_owned())
        })
    }

    /// The scheme of this name in an `escaping=` parameter.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values]
            .into_iter()
            .find(|scheme| scheme.as_str() == name)
    }

    /// Its name in an `escaping=` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The name under this scheme. One that is legacy already stays as it is
    /// (`EscapeMetricFamily`).
    pub fn apply(self, name: &str) -> Cow<'_, str> {
        if self == Self::AllowUtf8 || is_metric_name(name) {
            return Cow::Borrowed(name);
        }
        self.escaped(name, |character| character == ':')
    }

    /// The name of a label under this scheme. Beyond the Go Pushgateway, which leaves a colon as it
    /// is: no scraper can read a label with one, nor what comes after it.
    pub fn apply_to_label(self, name: &str) -> Cow<'_, str> {
        if self == Self::AllowUtf8 || is_label_name(name) {
            return Cow::Borrowed(name);
        }
        self.escaped(name, |_| false)
    }

    /// `also`: characters that stay beside those of labels.
    fn escaped(self, name: &str, also: impl Fn(char) -> bool) -> Cow<'_, str> {
        let mut escaped = String::with_capacity(name.len() + 16);
        if self == Self::Values {
            escaped.push_str("U__");
        }
        for (at, character) in name.char_indices() {
            let legal = character.is_ascii_alphabetic()
                || character == '_'
                || also(character)
                || (at > 0 && character.is_ascii_digit());
            match (self, character) {
                (Self::Dots | Self::Values, '_') => escaped.push_str("__"),
                (Self::Dots, '.') => escaped.push_str("_dot_"),
                _ if legal => escaped.push(character),
                (Self::Dots, _) => escaped.push_str("__"),
                (Self::Values, _) => {
                    write!(escaped, "_{:x}_", u32::from(character)).expect("a string grows");
                }
                _ => escaped.push('_'),
            }
        }
        escaped.into()
    }
}

/// Undoes [`Escaping::Values`]; a text that is not of that form stays as it is
/// (`model.UnescapeName`).
pub fn unescape(name: &str) -> Cow<'_, str> {
    name.strip_prefix("U__").and_then(unescape_rest).map_or(Cow::Borrowed(name), Cow::Owned)
}

fn unescape_rest(escaped: &str) -> Option<String> {
    let mut name = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        let (before, after) = rest.split_at(at);
        name.push_str(before);
        let after = after.strip_prefix('_')?;
        if let Some(after) = after.strip_prefix('_') {
            name.push('_');
            rest = after;
            continue;
        }
        let (code, after) = after.split_once('_')?;
        // Five digits at most, although the last plane of Unicode has six: as the Go Pushgateway 1.11.
        if code.is_empty() || code.len() > 5 || !code.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        name.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
        rest = after;
    }
    name.push_str(rest);
    Some(name)
}

/// A text in quotes, as Go's `%q` writes it for messages, and as `PromQL` reads it.
pub fn quoted(text: impl AsRef<[u8]>) -> String {
    let mut out = String::from("\"");
    for chunk in text.as_ref().utf8_chunks() {
        for character in chunk.valid().chars() {
            push_quoted(&mut out, character);
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("a string grows");
        }
    }
    out.push('"');
    out
}

fn push_quoted(out: &mut String, character: char) {
    let code = u32::from(character);
    let escape = match character {
        '"' | '\\' => character,
        '\x07' => 'a',
        '\x08' => 'b',
        '\x0c' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\x0b' => 'v',
        '\'' => return out.push(character),
        _ => {
            // Rust escapes characters that are not printable.
            let printable = character.escape_debug().len() == 1;
            return match code {
                _ if printable => out.push(character),
                0..0x80 => write!(out, "\\x{code:02x}").expect("a string grows"),
                0x80..0x1_0000 => write!(out, "\\u{code:04x}").expect("a string grows"),
                _ => write!(out, "\\U{code:08x}").expect("a string grows"),
            };
        }
    };
    out.push('\\');
    out.push(escape);
}

/// Whether `name` is `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_metric_name(name: &str) -> bool {
    is_name(name, |byte| byte == b':')
}

/// Whether `name` is `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_label_name(name: &str) -> bool {
    is_name(name, |_| false)
}

/// Whether Prometheus keeps label names like `name` for itself.
pub fn is_reserved_label_name(name: &str) -> bool {
    name.starts_with("__")
}

fn is_name(name: &str, also: impl Fn(u8) -> bool) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_' || also(byte))
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || also(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_follow_the_legacy_charset() {
        for name in ["a", "_", "a1", "A_b", "__x"] {
            assert!(is_label_name(name) && is_metric_name(name), "{name}");
        }
        for name in ["", "1a", "a-b", "a.b", "ä", "a b"] {
            assert!(!is_label_name(name) && !is_metric_name(name), "{name}");
        }
        assert!(is_metric_name("job:rate:5m") && !is_label_name("job:rate"));
        assert!(NameRules::Utf8.is_label_name("ä b") && !NameRules::Utf8.is_metric_name(""));
    }

    /// The table of `TestEscapeName` in `prometheus/common`.
    #[test]
    fn names_are_escaped_as_in_prometheus() {
        for (name, underscores, dots, values) in [
            ("", "", "", ""),
            ("no:escaping_required", "no:escaping_required", "no:escaping_required", ""),
            (
                "mysystem.prod.west.cpu.load",
                "mysystem_prod_west_cpu_load",
                "mysystem_dot_prod_dot_west_dot_cpu_dot_load",
                "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load",
            ),
            (
                "mysystem.prod.west.cpu.load_total",
                "mysystem_prod_west_cpu_load_total",
                "mysystem_dot_prod_dot_west_dot_cpu_dot_load__total",
                "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load__total",
            ),
            ("http.status:sum", "http_status:sum", "http_dot_status:sum", "U__http_2e_status:sum"),
            ("label with 😱", "label_with__", "label__with____", "U__label_20_with_20__1f631_"),
            ("花火", "__", "____", "U___82b1__706b_"),
            ("花 火", "___", "______", "U___82b1__20__706b_"),
            ("1a", "_a", "__a", "U___31_a"),
        ] {
            assert_eq!(Escaping::AllowUtf8.apply(name), name);
            if name.is_empty() {
                continue;
            }
            let values = if values.is_empty() { name } else { values };
            assert_eq!(Escaping::Underscores.apply(name), underscores);
            assert_eq!(Escaping::Dots.apply(name), dots);
            assert_eq!(Escaping::Values.apply(name), values);
        }
    }

    #[test]
    fn texts_are_quoted_as_in_go() {
        for (text, expected) in [
            (&b"a'\"\\"[..], r#""a'\"\\""#),
            (b"\n\t\x00\x7f", r#""\n\t\x00\x7f""#),
            ("ä💩\u{ad}\u{e0000}".as_bytes(), "\"ä💩\\u00ad\\U000e0000\""),
            (b"b\xff", r#""b\xff""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn what_is_malformed_is_not_unescaped() {
        for name in ["U__a_20", "U__a_z_", "U___123456_", "U__a_d800_", "U__a_", "a_2e_b", "U___"] {
            assert_eq!(unescape(name), name);
        }
        assert_eq!(unescape("U__dotted_2e_label_2E_name__x"), "dotted.label.name_x");
        assert_eq!(unescape("U__"), "");
    }

    proptest! {
        #[test]
        fn values_are_undone(name in "[^\\u{100000}-\\u{10ffff}]{1,20}") {
            let escaped = Escaping::Values.apply(&name).into_owned();
            prop_assert!(is_metric_name(&escaped));
            if escaped != name {
                prop_assert_eq!(unescape(&escaped), name);
            }
        }

        #[test]
        fn every_escaped_name_is_a_legacy_name(name in ".{1,20}") {
            for scheme in [Escaping::Underscores, Escaping::Dots, Escaping::Values] {
                prop_assert!(is_metric_name(&scheme.apply(&name)));
            }
        }
    }
}
