//! Words of others on a terminal: a server's, a client's, a file's.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A text whose characters do nothing but be read: what controls a terminal, or turns the direction of
/// what is read, is written as `\\u001b`, which is an escape in JSON, too. Line breaks and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    let acts = |c: char| acts(c) && !matches!(c, '\n' | '\t');
    if !text.contains(acts) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            write!(shown, "\\u{:04x}", u32::from(c)).expect("a string grows as needed");
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

/// Whether a character does something to how others are shown.
pub(super) fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_a_terminal_is_shown_and_not_done() {
        for (text, shown) in [
            ("plain, \u{fc}\u{4e16}\u{1f600}\n\tnext", "plain, \u{fc}\u{4e16}\u{1f600}\n\tnext"),
            ("\u{1b}[2J\u{1b}]0;x\u{7}", "\\u001b[2J\\u001b]0;x\\u0007"),
            ("a\rb\u{8}\u{7f}", "a\\u000db\\u0008\\u007f"),
            ("\u{9b}31m", "\\u009b31m"),
            ("a\u{202e}b\u{2066}c", "a\\u202eb\\u2066c"),
        ] {
            assert_eq!(printable(text), shown);
        }
        let json = format!("{{\"a\":\"{}\"}}", printable("\u{9b}"));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["a"], "\u{9b}", "in JSON it is what it was");
    }
}
