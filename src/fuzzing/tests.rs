//! The corpus, and mutations of it.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;

use crate::exposition::protobuf::encode::length_prefix;

/// A change of an input.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Remove(Index, usize),
    /// Puts a token of the target's dictionary there.
    Token(Index, Index),
    /// Puts a part of another input there.
    Splice {
        at: Index,
        other: Index,
        from: Index,
        len: usize,
    },
    Repeat {
        from: Index,
        len: usize,
        times: usize,
    },
}

/// The prefix of the name of a target.
struct Inputs {
    corpus: Vec<Vec<u8>>,
    tokens: Vec<Vec<u8>>,
}

impl Inputs {
    fn of(target: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
        let entries = fs::read_dir(folder.join("corpus").join(target)).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(files.len() > 5, "the corpus of {target} is elsewhere");
        let corpus = files.iter().map(|file| fs::read(file).unwrap()).collect();
        let dictionary = fs::read_to_string(folder.join("dictionaries").join(target));
        let tokens = dictionary.unwrap_or_default().lines().map(token).collect();
        Self { corpus, tokens }
    }

    fn mutated(&self, base: Index, edits: &[Edit]) -> Vec<u8> {
        let mut input = base.get(&self.corpus).clone();
        for edit in edits {
            let at = |index: &Index| index.index(input.len() + 1);
            match edit {
                Edit::Set(index, byte) => {
                    let at = at(index);
                    if let Some(there) = input.get_mut(at) {
                        *there = *byte;
                    }
                }
                Edit::Remove(index, len) => {
                    let at = at(index);
                    input.drain(at..(at + len).min(input.len()));
                }
                Edit::Token(index, token) => {
                    let at = at(index);
                    if !self.tokens.is_empty() {
                        input.splice(at..at, token.get(&self.tokens).iter().copied());
                    }
                }
                Edit::Splice { at: index, other, from, len } => {
                    let (at, other) = (at(index), other.get(&self.corpus));
                    let from = from.index(other.len() + 1);
                    let part = &other[from..(from + len).min(other.len())];
                    input.splice(at..at, part.iter().copied());
                }
                Edit::Repeat { from, len, times } => {
                    let from = at(from);
                    let part = input[from..(from + len).min(input.len())].repeat(*times);
                    input.splice(from..from, part);
                }
            }
        }
        input
    }
}

/// A line of a dictionary: in quotes, with quotes, backslashes and bytes escaped.
fn token(line: &str) -> Vec<u8> {
    let text = line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let mut rest = text.expect("a token in quotes").as_bytes();
    let mut token = Vec::new();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let hex = [*high, *low];
                let hex = std::str::from_utf8(&hex).unwrap();
                token.push(u8::from_str_radix(hex, 16).unwrap());
                rest = after;
            }
            (b'\\', [escaped @ (b'\\' | b'"'), after @ ..]) => {
                token.push(*escaped);
                rest = after;
            }
            _ => token.push(*first),
        }
    }
    token
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    prop_oneof![
        2 => (index(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        2 => (index(), 1..20_usize).prop_map(|(at, len)| Edit::Remove(at, len)),
        3 => (index(), index()).prop_map(|(at, token)| Edit::Token(at, token)),
        3 => (index(), index(), index(), 1..200_usize)
            .prop_map(|(at, other, from, len)| Edit::Splice { at, other, from, len }),
        1 => (index(), 1..80_usize, 1..30_usize)
            .prop_map(|(from, len, times)| Edit::Repeat { from, len, times }),
    ]
}

/// Runs the corpus of a target, then so many mutations of it.
fn run(name: &str, target: fn(&[u8]), cases: u32) {
    let inputs = Inputs::of(name);
    for input in &inputs.corpus {
        target(input);
    }
    let strategy = (any::<Index>(), prop::collection::vec(edit(), 0..6));
    let config = ProptestConfig { cases, source_file: Some(file!()), ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&strategy, |(base, edits)| {
        let input = inputs.mutated(base, &edits);
        // A finding is shown as it goes into the corpus.
        let shown = input.escape_ascii().to_string();
        let run = std::panic::catch_unwind(|| target(&input));
        run.map_err(|_| TestCaseError::fail(format!("{name} of \"{shown}\"")))
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// Bytes of protobuf behind their length.
fn delimited(bytes: &[u8]) -> Vec<u8> {
    [&length_prefix(bytes.len())[..], bytes].concat()
}

/// Bodies that are small for what they have a parser do.
#[test]
fn the_smallest_parts_of_a_body_take_no_more_than_others() {
    const PARTS: usize = 20_000;
    let text = [&b"\n"[..], b"a 1\n", b"# \n", b"a{b=\"\"} 1\n", b"# TYPE a gauge\n", b"a", b"\\"];
    for part in text {
        super::text(&part.repeat(PARTS));
    }
    let each = |part: fn(usize) -> String| (0..PARTS).map(part).collect::<Vec<_>>().concat();
    super::text(each(|n| format!("a{n} 1\n")).as_bytes());
    let labels = each(|n| format!("a{n}=\"\","));
    super::text(format!("a{{{labels}}} 1\n").as_bytes());
    let field = |number: u8, value: &[u8]| [&[number << 3 | 2], &delimited(value)[..]].concat();
    let family = |metrics: &[u8]| delimited(&[&field(1, b"a")[..], &[3 << 3, 4], metrics].concat());
    // Empty families, metrics, labels, quantiles, buckets, spans, exemplars.
    super::protobuf(&vec![0; PARTS]);
    super::protobuf(&family(&[0x22, 0].repeat(PARTS)));
    super::protobuf(&family(&field(4, &[1 << 3 | 2, 0].repeat(PARTS))));
    for (value, part) in [(4, 3), (7, 3), (7, 9), (7, 12), (7, 16)] {
        let parts = [part << 3 | 2, 0].repeat(PARTS);
        super::protobuf(&family(&field(4, &field(value, &parts))));
    }
}

#[test]
fn text() {
    run("text", super::text, 10_000);
}

#[test]
fn protobuf() {
    run("protobuf", super::protobuf, 10_000);
}

#[test]
fn path() {
    run("path", super::path, 5000);
}

#[test]
fn selector() {
    run("selector", super::selector, 3000);
}

#[test]
fn toml() {
    run("toml", super::toml, 1500);
}

#[test]
fn record() {
    run("record", super::record, 2000);
}

#[test]
fn gob() {
    run("gob", super::gob, 10_000);
}

#[test]
fn request() {
    run("request", super::request, 1000);
}
