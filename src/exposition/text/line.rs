//! Reads lines as this module renders them, to write them anew: with escaped names, or in another
//! format. Not a parser of what others write.

use memchr::{memchr, memchr2};

use crate::model::Escaping;

/// A rendered sample line.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The name of the sample, suffix included, as it was escaped for quotes.
    pub name: &'a [u8],
    labels: &'a [u8],
    pub value: &'a [u8],
}

/// A label of a rendered line: name and value as they were escaped for quotes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawLabel<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
}

/// The rendered lines of a text.
pub fn rendered(mut text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    std::iter::from_fn(move || {
        let end = memchr(b'\n', text)?;
        let (line, rest) = (text.get(..end)?, text.get(end + 1..)?);
        text = rest;
        Line::read(line)
    })
}

/// Undoes the escaping for quotes.
pub fn push_unescaped(out: &mut Vec<u8>, mut escaped: &[u8]) {
    while let Some(at) = memchr(b'\\', escaped) {
        let (before, after) = escaped.split_at(at);
        out.extend_from_slice(before);
        let [_, byte, rest @ ..] = after else { return };
        out.push(if *byte == b'n' { b'\n' } else { *byte });
        escaped = rest;
    }
    out.extend_from_slice(escaped);
}

impl<'a> Line<'a> {
    fn read(line: &'a [u8]) -> Option<Self> {
        let (name, after) = if let Some(inside) = line.strip_prefix(b"{") {
            let (name, rest) = quoted(inside)?;
            (name, rest.strip_prefix(b",").unwrap_or(rest))
        } else {
            let (name, rest) = line.split_at(memchr2(b'{', b' ', line)?);
            match rest.strip_prefix(b"{") {
                Some(inside) => (name, inside),
                None => return Some(Self { name, labels: &[], value: rest.get(1..)? }),
            }
        };
        // A value has no brace, so that the last one ends the labels.
        let end = memchr::memrchr(b'}', after)?;
        Some(Self { name, labels: after.get(..end)?, value: after.get(end + 2..)? })
    }

    /// The labels, in their order.
    pub fn labels(&self) -> impl Iterator<Item = RawLabel<'a>> {
        let mut rest = self.labels;
        std::iter::from_fn(move || {
            let (name, after) = if rest.starts_with(b"\"") {
                quoted(rest)?
            } else {
                rest.split_at(memchr(b'=', rest)?)
            };
            let (value, after) = quoted(after.get(1..)?)?;
            rest = after.strip_prefix(b",").unwrap_or(after);
            Some(RawLabel { name, value })
        })
    }
}

/// The text in the quotes that a line begins with, and the text behind them.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some((text.get(..at)?, text.get(at + 1..)?));
        }
        at += 2;
    }
}

/// Whether any name may stand in quotes. May say so of text that has none; never the reverse.
pub fn may_have_quoted_names(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"{\"").is_some() || memchr::memmem::find(text, b",\"").is_some()
}

/// Writes the rendered lines of a family anew, with its name and those of its labels escaped.
pub fn push_escaped_names(out: &mut Vec<u8>, text: &[u8], family: &str, escaping: Escaping) {
    let escaped_family = escaping.apply(family);
    let mut name = Vec::new();
    for line in rendered(text) {
        name.clear();
        push_unescaped(&mut name, line.name);
        // The family is escaped, not the sample: what it adds to the name stays as it is.
        let suffix = name.strip_prefix(family.as_bytes()).unwrap_or_default();
        out.extend_from_slice(escaped_family.as_bytes());
        out.extend_from_slice(suffix);
        let mut separator = b'{';
        for label in line.labels() {
            out.push(separator);
            separator = b',';
            out.extend_from_slice(&escaped_name(label.name, escaping));
            out.extend_from_slice(b"=\"");
            out.extend_from_slice(label.value);
            out.push(b'"');
        }
        if separator == b',' {
            out.push(b'}');
        }
        out.push(b' ');
        out.extend_from_slice(line.value);
        out.push(b'\n');
    }
}

/// The name of a label, given as it was escaped for quotes, under a scheme.
pub fn escaped_name(raw: &[u8], escaping: Escaping) -> Vec<u8> {
    let mut name = Vec::with_capacity(raw.len());
    push_unescaped(&mut name, raw);
    match String::from_utf8(name) {
        Ok(name) => escaping.apply_to_label(&name).into_owned().into_bytes(),
        Err(error) => error.into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exposition::text::{LabelBlock, lines};
    use crate::model::{GroupingKey, Label, Metric, MetricFamily, MetricType};

    fn render(name: &str, labels: &[(String, String)]) -> Vec<u8> {
        let mut labels: Vec<_> =
            labels.iter().map(|(name, value)| Label::new(name, value)).collect();
        labels.sort();
        labels.dedup_by(|a, b| a.name == b.name);
        let family = MetricFamily {
            name: name.into(),
            kind: MetricType::Gauge,
            metrics: vec![Metric::gauge(labels, 1.5)],
            ..MetricFamily::default()
        };
        let mut out = Vec::new();
        lines(&mut out, &family, &LabelBlock::empty());
        out
    }

    #[test]
    fn names_are_escaped_and_suffixes_stay() {
        let text = b"{\"my.h_bucket\",job=\"j\",\"l.x\"=\"a\\\"b\",le=\"1\"} 2\n";
        let mut out = Vec::new();
        push_escaped_names(&mut out, text, "my.h", Escaping::Dots);
        assert_eq!(out, b"my_dot_h_bucket{job=\"j\",l_dot_x=\"a\\\"b\",le=\"1\"} 2\n");
        out.clear();
        push_escaped_names(&mut out, b"m 1\n{\"m\"} 2\n", "m", Escaping::Values);
        assert_eq!(out, b"m 1\nm 2\n");
        out.clear();
        push_escaped_names(&mut out, b"m:n{\"a:b\"=\"c\"} 2\n", "m:n", Escaping::Underscores);
        assert_eq!(out, b"m:n{a_b=\"c\"} 2\n");
    }

    #[test]
    fn quoted_names_are_never_overlooked() {
        let block = LabelBlock::of_group(
            &GroupingKey::new(vec![Label::new("job", "j"), Label::new("a.b", "")]).unwrap(),
        );
        let mut out = Vec::new();
        crate::exposition::text::gauge_line(&mut out, "m", 1.0, &block);
        assert!(may_have_quoted_names(&out));
        assert!(may_have_quoted_names(&render("a b", &[])));
        assert!(!may_have_quoted_names(&render("a", &[("b".into(), "c".into())])));
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_read(
            name in ".{1,6}",
            labels in prop::collection::vec((".{1,5}", ".{0,8}"), 0..4),
        ) {
            let text = render(&name, &labels);
            let found: Vec<_> = rendered(&text).collect();
            prop_assert_eq!(found.len(), 1);
            let unescaped = |raw| {
                let mut out = Vec::new();
                push_unescaped(&mut out, raw);
                String::from_utf8(out).unwrap()
            };
            prop_assert_eq!(unescaped(found[0].name), name);
            prop_assert_eq!(found[0].value, b"1.5");
            let read: Vec<_> = found[0]
                .labels()
                .map(|label| (unescaped(label.name), unescaped(label.value)))
                .collect();
            let mut expected = labels;
            expected.sort();
            expected.dedup_by(|a, b| a.0 == b.0);
            prop_assert_eq!(read, expected);
        }
    }
}
