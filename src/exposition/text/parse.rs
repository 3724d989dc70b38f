//! Text 0.0.4 into families.
//!
//! Accepts and refuses what `expfmt.TextParser` of Prometheus's Go library does, with its words.
//! Beyond it, and on purpose: a histogram whose counts are not whole numbers becomes a float
//! histogram, as the newer releases of that library have it, rather than being cut.

mod labels;

use std::borrow::Cow;
use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use memchr::{memchr, memchr3, memrchr};

use self::labels::LabelList;
use crate::exposition::budget::{Budget, ParseLimits};
use crate::exposition::error::ParseError;
use crate::exposition::number::parse_float;
use crate::model::name::quoted;
use crate::model::{
    Bucket, Histogram, Label, Metric, MetricFamily, MetricType, MetricValue, NameRules, Quantile,
    Unmetered,
};

/// Parses a whole body that comes from no client. Families come in the order of their first line,
/// without those that have no sample.
pub fn parse(body: &[u8], names: NameRules) -> Result<Vec<MetricFamily>, ParseError> {
    let mut meter = Unmetered;
    let mut parser = TextParser::new(names, Budget::new(ParseLimits::UNLIMITED, &mut meter));
    parser.feed(body)?;
    parser.finish()
}

/// Parses a body as it comes, within a budget.
#[derive(Debug)]
pub struct TextParser<'b> {
    families: Families<'b>,
    /// The begin of a line whose end is yet to come.
    begun: Vec<u8>,
    /// Lines that are done.
    lines: usize,
    /// Whether the first of them was seen.
    started: bool,
}

/// The byte order mark that some editors put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl<'b> TextParser<'b> {
    /// Of nothing yet.
    pub fn new(names: NameRules, budget: Budget<'b>) -> Self {
        let families = Families::new(names, budget);
        Self { families, begun: Vec::new(), lines: 0, started: false }
    }

    /// Parses the lines that end here, and keeps the begin of the next.
    pub fn feed(&mut self, mut chunk: &[u8]) -> Result<(), ParseError> {
        if !self.begun.is_empty() {
            let end = memchr(b'\n', chunk).map_or(chunk.len(), |at| at + 1);
            let (rest, next) = chunk.split_at(end);
            self.keep(rest)?;
            chunk = next;
            if rest.last() != Some(&b'\n') {
                return Ok(());
            }
            let line = std::mem::take(&mut self.begun);
            self.parse(&line)?;
        }
        let end = memrchr(b'\n', chunk).map_or(0, |at| at + 1);
        let (lines, begun) = chunk.split_at(end);
        self.parse(lines)?;
        self.keep(begun)
    }

    /// All that was there.
    pub fn finish(mut self) -> Result<Vec<MetricFamily>, ParseError> {
        let line = std::mem::take(&mut self.begun);
        match self.parse(&line) {
            Ok(()) => Ok(self.families.finish()),
            Err(ParseError::Text { line, reason }) if reason == END => {
                let reason = format!("{END}: the last line does not end in a newline");
                Err(ParseError::Text { line, reason })
            }
            Err(error) => Err(error),
        }
    }

    fn keep(&mut self, begun: &[u8]) -> Result<(), ParseError> {
        // A vector is there twice while it grows.
        self.families.budget.take(2 * begun.len())?;
        self.begun.extend_from_slice(begun);
        Ok(())
    }

    fn parse(&mut self, lines: &[u8]) -> Result<(), ParseError> {
        let lines = if self.started {
            lines
        } else {
            self.started = !lines.is_empty();
            lines.strip_prefix(BYTE_ORDER_MARK).unwrap_or(lines)
        };
        let mut input = Cow::Borrowed(lines);
        if memchr::memmem::find(lines, b"\r\n").is_some() {
            self.families.budget.take(lines.len())?;
            input = without_carriage_returns(lines).into();
        }
        let mut parser = Parser { input: &input, at: 0, families: &mut self.families };
        match parser.body() {
            Ok(()) => {
                self.lines += memchr::memchr_iter(b'\n', lines).count();
                Ok(())
            }
            Err(Stop::Reason(reason)) => {
                Err(ParseError::Text { line: self.lines + parser.line(), reason })
            }
            Err(Stop::Bound(error)) => Err(error),
        }
    }
}

/// Lines that end as on Windows, as they end elsewhere.
fn without_carriage_returns(lines: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(lines.len());
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if text.len() == line.len() {
            plain.extend_from_slice(line);
            continue;
        }
        let end = text.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
        plain.extend_from_slice(text.get(..end).unwrap_or_default());
        plain.push(b'\n');
    }
    plain
}

/// Why parsing ends.
enum Stop {
    /// An error in the current line.
    Reason(String),
    /// There is too much.
    Bound(ParseError),
}

impl From<ParseError> for Stop {
    fn from(error: ParseError) -> Self {
        Self::Bound(error)
    }
}

type Parsed<T> = Result<T, Stop>;

struct Parser<'a, 'f, 'b> {
    /// Whole lines, but for the last of a body.
    input: &'a [u8],
    /// Offset of the next byte. Where a line is wrong, not past its newline, so that the newlines
    /// before it tell the line's number.
    at: usize,
    families: &'f mut Families<'b>,
}

/// Families under construction.
#[derive(Debug)]
struct Families<'b> {
    budget: Budget<'b>,
    names: NameRules,
    list: Vec<Building>,
    /// Of the latest line that named one.
    current: Option<usize>,
    /// Places in `list`, by the hash of the name.
    by_name: HashTable<usize>,
    hasher: DefaultHashBuilder,
    /// Of summaries and histograms: family and sorted labels to the metric's place. The samples of
    /// one such metric need not stand together.
    metrics: HashMap<(usize, Vec<Label>), usize>,
}

#[derive(Debug)]
struct Building {
    family: MetricFamily,
    /// Whether a TYPE line or a sample has fixed the type.
    typed: bool,
}

/// The role of a sample in its family, by its name.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Plain,
    Count,
    Sum,
}

fn fail<T>(reason: impl Into<String>) -> Parsed<T> {
    Err(Stop::Reason(reason.into()))
}

fn ended<T>() -> Parsed<T> {
    fail(END)
}

const END: &str = "unexpected end of input stream";

/// The text with a replacement character for each byte that is none, as Go's JSON has it.
fn replaced(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

// === impl Parser: lines ===

impl Parser<'_, '_, '_> {
    fn body(&mut self) -> Parsed<()> {
        loop {
            self.skip_blanks();
            match self.peek() {
                None => return Ok(()),
                Some(b'\n') => self.at += 1,
                Some(b'#') => self.comment()?,
                Some(_) => self.sample()?,
            }
        }
    }

    fn comment(&mut self) -> Parsed<()> {
        self.at += 1;
        self.skip_blanks();
        let keyword = self.until_whitespace()?;
        if self.take(b'\n') {
            return Ok(());
        }
        if keyword != b"HELP" && keyword != b"TYPE" {
            self.until_newline()?;
            return Ok(());
        }
        self.skip_blanks();
        let name = self.name("metric name", |byte| byte == b':')?;
        match self.peek() {
            None => return ended(),
            Some(b'\n') => {
                self.at += 1;
                return Ok(());
            }
            Some(byte) if !is_blank(byte) => return fail("invalid metric name in comment"),
            Some(_) => {}
        }
        let (index, _) = self.families.find_or_create(&name)?;
        self.skip_blanks();
        if self.take(b'\n') {
            return Ok(());
        }
        if keyword == b"HELP" { self.help(index) } else { self.kind(index) }
    }

    fn help(&mut self, index: usize) -> Parsed<()> {
        let start = self.at;
        let rest = self.rest();
        let line = match self.until_newline() {
            Ok(line) => line,
            // A wrong escape comes before the end, unless it is cut off by it.
            Err(end) => {
                let backslashes = rest.iter().rev().take_while(|byte| **byte == b'\\').count();
                let whole = rest.get(..rest.len() - backslashes % 2).unwrap_or(rest);
                return unescape(whole).map_or_else(Err, |_| Err(end));
            }
        };
        let family = self.families.family(index);
        if family.help.is_some() {
            self.at = start;
            return fail(format!("second HELP line for metric name {}", quoted(&family.name)));
        }
        match unescape(line) {
            Ok(help) => {
                family.help = Some(replaced(&help));
                self.families.budget.take(2 * help.len())?;
                Ok(())
            }
            Err(reason) => {
                self.at = start;
                Err(reason)
            }
        }
    }

    fn kind(&mut self, index: usize) -> Parsed<()> {
        let start = self.at;
        let line = self.until_newline()?;
        // The Go parser takes backslashes out here, with no regard to what follows them.
        let line = line.trim_ascii_end();
        let line: Vec<u8> = line.iter().copied().filter(|byte| *byte != b'\\').collect();
        let kind = parse_kind(&line);
        let building = self.families.building(index);
        if building.typed {
            self.at = start;
            return fail(format!(
                "second TYPE line for metric name {}, or TYPE reported after samples",
                quoted(&building.family.name)
            ));
        }
        let Some(kind) = kind else {
            self.at = start;
            return fail(format!("unknown metric type {}", quoted(&line)));
        };
        building.typed = true;
        building.family.kind = kind;
        Ok(())
    }

    fn sample(&mut self) -> Parsed<()> {
        let mut name = None;
        if self.peek() != Some(b'{') {
            let token = self.name("metric name", |byte| byte == b':')?;
            if token.is_empty() {
                return fail("invalid metric name");
            }
            name = Some(self.families.find_or_create(&token)?);
            self.skip_blanks();
        }
        let mut list = LabelList::default();
        if self.take(b'{') {
            list = self.labels(name.map(|(index, _)| index))?;
        }
        let (index, part) = match (name, list.name) {
            (Some(found), _) => found,
            (None, Some(name)) => self.families.find_or_create(&name)?,
            (None, None) => return fail("invalid metric name"),
        };
        self.families.building(index).typed = true;
        self.skip_blanks();
        let text = self.until_whitespace()?;
        let Some(value) = parse_float(text) else {
            return fail(format!("expected float as value, got {}", quoted(text)));
        };
        self.skip_blanks();
        let timestamp_ms = if self.take(b'\n') { None } else { Some(self.timestamp()?) };
        match self.families.add(index, part, list.labels, value, timestamp_ms) {
            Ok(()) => Ok(()),
            Err(reason) => {
                // The line was read to its end; it is still the one that is wrong.
                self.at -= 1;
                Err(reason)
            }
        }
    }

    fn timestamp(&mut self) -> Parsed<i64> {
        let token = self.until_whitespace()?;
        let parsed = std::str::from_utf8(token).ok().and_then(|token| token.parse().ok());
        let Some(timestamp) = parsed else {
            return fail(format!("expected integer as timestamp, got {}", quoted(token)));
        };
        let start = self.at;
        let rest = self.until_newline()?;
        if !rest.trim_ascii_end().is_empty() {
            self.at = start;
            return fail(format!("spurious string after timestamp: {}", quoted(rest)));
        }
        Ok(timestamp)
    }

    /// Everything from behind `{` to behind `}`. `index` is the family where the name stood before
    /// the braces.
    fn labels(&mut self, index: Option<usize>) -> Parsed<LabelList> {
        let mut list = LabelList::default();
        loop {
            self.skip_blanks();
            if self.take(b'}') {
                return Ok(list);
            }
            let name = self.name("label name", |_| false)?;
            if name.is_empty() {
                let metric = self.families.name_of(index, &list);
                return fail(format!("invalid label name for metric {}", quoted(metric)));
            }
            self.skip_blanks();
            let Some(next) = self.peek() else { return ended() };
            if next == b'=' {
                self.at += 1;
                self.label(index, &mut list, name)?;
            } else {
                if index.is_some() {
                    let found = char::from(next);
                    return fail(format!("expected '=' after label name, found {found:?}"));
                }
                if let Some(first) = list.name {
                    return fail(format!("multiple metric names for metric {}", quoted(first)));
                }
                if next != b',' && next != b'}' {
                    let found = char::from(next);
                    return fail(format!("unexpected end of metric name {found:?}"));
                }
                list.name = Some(name.into_owned());
            }
            if self.take(b'}') {
                return Ok(list);
            }
            // `name` or `label` have seen to it that a comma is what is left.
            self.at += 1;
        }
    }

    /// The value of the label `name`, up to the comma or brace that follows.
    fn label(
        &mut self,
        index: Option<usize>,
        list: &mut LabelList,
        name: Cow<'_, str>,
    ) -> Parsed<()> {
        if name == "__name__" {
            return fail(format!("label name {} is reserved", quoted(&*name)));
        }
        if !self.families.names.is_label_name(&name) {
            return fail(format!("invalid label name {}", quoted(&*name)));
        }
        if list.has(&name, &self.families.hasher) {
            let metric = self.families.name_of(index, list);
            return fail(format!("duplicate label names for metric {}", quoted(metric)));
        }
        self.skip_blanks();
        match self.peek() {
            None => return ended(),
            Some(b'"') => self.at += 1,
            Some(byte) => {
                let found = char::from(byte);
                return fail(format!("expected '\"' at start of label value, found {found:?}"));
            }
        }
        let value = self.quoted("label value", Vec::new())?;
        let value = match String::from_utf8(value) {
            Ok(value) => value,
            Err(error) => {
                return fail(format!("invalid label value {}", quoted(error.as_bytes())));
            }
        };
        self.check_bound(index, list, &name, &value)?;
        self.skip_blanks();
        match self.peek() {
            None => ended(),
            Some(b',' | b'}') => {
                self.families.budget.labels(list.labels.len() + 1)?;
                self.families.budget.label(name.len() + value.len())?;
                let label = Label { name: name.into_owned(), value };
                list.push(label, &self.families.hasher);
                Ok(())
            }
            Some(_) => fail(format!("unexpected end of label value {}", quoted(value))),
        }
    }
}

impl Parser<'_, '_, '_> {
    /// A quantile or bound has to be a number: looked at as soon as it is read.
    fn check_bound(
        &self,
        index: Option<usize>,
        list: &LabelList,
        name: &str,
        value: &str,
    ) -> Parsed<()> {
        let named = || list.name.as_deref().and_then(|name| self.families.find(name));
        let building = index.or_else(named).and_then(|index| self.families.list.get(index));
        let is_bound = match building.map(|building| building.family.kind) {
            Some(MetricType::Summary) => name == "quantile",
            Some(MetricType::Histogram | MetricType::GaugeHistogram) => name == "le",
            _ => false,
        };
        if is_bound && parse_float(value.as_bytes()).is_none() {
            let value = quoted(value);
            return fail(format!("expected float as value for '{name}' label, got {value}"));
        }
        Ok(())
    }
}

// === impl Parser: tokens ===

impl<'a> Parser<'a, '_, '_> {
    fn line(&self) -> usize {
        memchr::memchr_iter(b'\n', self.input.get(..self.at).unwrap_or(self.input)).count() + 1
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// Steps over `byte` if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    /// Up to a blank or newline, which is left.
    fn until_whitespace(&mut self) -> Parsed<&'a [u8]> {
        let rest = self.rest();
        let Some(end) = memchr3(b' ', b'\t', b'\n', rest) else {
            self.at = self.input.len();
            return ended();
        };
        self.at += end;
        Ok(rest.get(..end).unwrap_or_default())
    }

    /// Up to a newline, which is stepped over.
    fn until_newline(&mut self) -> Parsed<&'a [u8]> {
        let rest = self.rest();
        let Some(end) = memchr(b'\n', rest) else {
            self.at = self.input.len();
            return ended();
        };
        self.at += end + 1;
        Ok(rest.get(..end).unwrap_or_default())
    }

    /// A metric or label name, quoted or not; empty if there is none. `also` says which bytes it may
    /// have beside letters, digits and underscores.
    /// Quotes may stand in the middle, too: the Go parser takes them out. `what` names it in errors.
    fn name(&mut self, what: &str, also: impl Fn(u8) -> bool) -> Parsed<Cow<'a, str>> {
        if self.take(b'"') {
            return self.quoted_name(what, Vec::new());
        }
        let rest = self.rest();
        if rest.first().is_some_and(u8::is_ascii_digit) {
            return Ok(Cow::default());
        }
        let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || also(*byte);
        let len = rest.iter().take_while(|byte| of_name(byte)).count();
        self.at += len;
        if self.at == self.input.len() {
            return ended();
        }
        let name = rest.get(..len).unwrap_or_default();
        if len > 0 && self.take(b'"') {
            return self.quoted_name(what, name.to_vec());
        }
        Ok(String::from_utf8_lossy(name))
    }

    fn quoted_name(&mut self, what: &str, before: Vec<u8>) -> Parsed<Cow<'a, str>> {
        let name = self.quoted(what, before)?;
        // Something has to follow, whatever it is.
        if self.at == self.input.len() {
            return ended();
        }
        utf8(what, name).map(Cow::Owned)
    }

    /// The text up to the closing quote, which is stepped over, behind the text before it. `what`
    /// names it in errors.
    fn quoted(&mut self, what: &str, before: Vec<u8>) -> Parsed<Vec<u8>> {
        let mut value = before;
        loop {
            let rest = self.rest();
            let Some(end) = memchr3(b'"', b'\\', b'\n', rest) else {
                self.at = self.input.len();
                return ended();
            };
            value.extend_from_slice(rest.get(..end).unwrap_or_default());
            self.at += end;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(value);
                }
                Some(b'\\') => {
                    match rest.get(end + 1) {
                        None => return ended(),
                        Some(escaped) => value.push(unescaped(*escaped)?),
                    }
                    self.at += 2;
                }
                _ => {
                    return fail(format!("{what} {} contains unescaped new-line", quoted(value)));
                }
            }
        }
    }
}

fn utf8(what: &str, name: Vec<u8>) -> Parsed<String> {
    String::from_utf8(name)
        .map_err(|error| Stop::Reason(format!("invalid {what} {}", quoted(error.as_bytes()))))
}

/// The byte that a backslash and `byte` stand for.
fn unescaped(byte: u8) -> Parsed<u8> {
    match byte {
        b'\\' | b'"' => Ok(byte),
        b'n' => Ok(b'\n'),
        other => fail(format!("invalid escape sequence '\\{}'", char::from(other))),
    }
}

/// The text of a HELP line.
fn unescape(mut line: &[u8]) -> Parsed<Vec<u8>> {
    let mut out = Vec::with_capacity(line.len());
    while let Some(at) = memchr(b'\\', line) {
        let (before, after) = line.split_at(at);
        out.extend_from_slice(before);
        match after {
            [_, escaped, rest @ ..] => {
                out.push(unescaped(*escaped)?);
                line = rest;
            }
            // A backslash before the newline escapes it.
            _ => return fail("invalid escape sequence '\\\n'"),
        }
    }
    out.extend_from_slice(line);
    Ok(out)
}

fn parse_kind(text: &[u8]) -> Option<MetricType> {
    Some(match text.to_ascii_lowercase().as_slice() {
        b"counter" => MetricType::Counter,
        b"gauge" => MetricType::Gauge,
        b"summary" => MetricType::Summary,
        b"untyped" => MetricType::Untyped,
        b"histogram" => MetricType::Histogram,
        b"gauge_histogram" | b"gaugehistogram" => MetricType::GaugeHistogram,
        _ => return None,
    })
}

// === impl Families ===

impl<'b> Families<'b> {
    fn new(names: NameRules, budget: Budget<'b>) -> Self {
        Self {
            budget,
            names,
            list: Vec::new(),
            current: None,
            by_name: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            metrics: HashMap::new(),
        }
    }

    fn building(&mut self, index: usize) -> &mut Building {
        self.list.get_mut(index).expect("indices come from find_or_create")
    }

    fn family(&mut self, index: usize) -> &mut MetricFamily {
        &mut self.building(index).family
    }

    /// The family that a message names: where the line has not said it yet, the one before, as in Go.
    fn name_of(&self, index: Option<usize>, list: &LabelList) -> String {
        let before = index.or(self.current.filter(|_| list.name.is_none()));
        let before = before.and_then(|index| self.list.get(index));
        before.map(|b| b.family.name.clone()).or_else(|| list.name.clone()).unwrap_or_default()
    }

    /// The family that a sample or comment for `name` belongs to: that of the name, or the summary
    /// or histogram that `name` is a part of.
    fn find_or_create(&mut self, name: &str) -> Parsed<(usize, Part)> {
        let found = self.found_or_created(name)?;
        self.current = Some(found.0);
        Ok(found)
    }

    fn found_or_created(&mut self, name: &str) -> Parsed<(usize, Part)> {
        if self.list.last().is_some_and(|last| last.family.name == name) {
            return Ok((self.list.len() - 1, Part::Plain));
        }
        if !self.names.is_metric_name(name) {
            return fail(format!("invalid metric name {}", quoted(name)));
        }
        if let Some(index) = self.find(name) {
            return Ok((index, Part::Plain));
        }
        for (suffix, part) in
            [("_count", Part::Count), ("_sum", Part::Sum), ("_bucket", Part::Plain)]
        {
            let base = name.strip_suffix(suffix).filter(|base| !base.is_empty());
            let Some(index) = base.and_then(|base| self.find(base)) else { continue };
            let kind = self.list.get(index).map(|building| building.family.kind);
            let owns = match kind {
                Some(MetricType::Summary) => suffix != "_bucket",
                Some(MetricType::Histogram | MetricType::GaugeHistogram) => true,
                _ => false,
            };
            if owns {
                return Ok((index, part));
            }
        }
        self.budget.take(2 * size_of::<Building>() + 2 * name.len() + 64)?;
        let index = self.list.len();
        let family = MetricFamily { name: name.to_owned(), ..MetricFamily::default() };
        self.list.push(Building { family, typed: false });
        let Self { list, by_name, hasher, .. } = self;
        let hash_of = |index: &usize| {
            list.get(*index).map_or(0, |building| hasher.hash_one(building.family.name.as_str()))
        };
        by_name.insert_unique(hasher.hash_one(name), index, hash_of);
        Ok((index, Part::Plain))
    }

    fn find(&self, name: &str) -> Option<usize> {
        let is_it = |index: &usize| {
            self.list.get(*index).is_some_and(|building| building.family.name == name)
        };
        self.by_name.find(self.hasher.hash_one(name), is_it).copied()
    }

    fn add(
        &mut self,
        index: usize,
        part: Part,
        mut labels: Vec<Label>,
        value: f64,
        timestamp_ms: Option<i64>,
    ) -> Parsed<()> {
        let simple = match self.family(index).kind {
            MetricType::Counter => {
                Some(MetricValue::Counter { value, exemplar: None, created: None })
            }
            MetricType::Gauge => Some(MetricValue::Gauge(value)),
            MetricType::Untyped => Some(MetricValue::Untyped(value)),
            MetricType::Summary | MetricType::Histogram | MetricType::GaugeHistogram => None,
        };
        if let Some(value) = simple {
            self.budget.series()?;
            self.family(index).metrics.push(Metric { labels, value, timestamp_ms });
            return Ok(());
        }
        let summary = self.family(index).kind == MetricType::Summary;
        let special = if summary { "quantile" } else { "le" };
        let bound = match labels.iter().position(|label| label.name == special) {
            None => f64::NAN,
            Some(at) => {
                let text = labels.remove(at).value;
                let Some(bound) = parse_float(text.as_bytes()) else {
                    return fail(format!(
                        "expected float as value for '{special}' label, got {}",
                        quoted(text)
                    ));
                };
                bound
            }
        };
        self.budget.part()?;
        let metric = self.metric(index, labels, summary)?;
        if timestamp_ms.is_some() {
            metric.timestamp_ms = timestamp_ms;
        }
        let wrong = match &mut metric.value {
            MetricValue::Summary(summary) => match part {
                Part::Count if !is_whole(value) => Some("no whole number as count for summary"),
                Part::Count => {
                    summary.count = Some(whole(value));
                    None
                }
                Part::Sum => {
                    summary.sum = Some(value);
                    None
                }
                Part::Plain => {
                    if !bound.is_nan() {
                        summary.quantiles.push(Quantile { quantile: bound, value });
                    }
                    None
                }
            },
            MetricValue::Histogram(histogram) => match part {
                Part::Count if value < 0.0 => Some("negative count for histogram"),
                Part::Count => {
                    histogram.count_float = Some(value);
                    None
                }
                Part::Sum => {
                    histogram.sum = Some(value);
                    None
                }
                Part::Plain if bound.is_nan() => None,
                Part::Plain if value < 0.0 => Some("negative bucket population for histogram"),
                Part::Plain => {
                    histogram.buckets.push(Bucket {
                        cumulative_count_float: Some(value),
                        upper_bound: bound,
                        ..Bucket::default()
                    });
                    None
                }
            },
            _ => None,
        };
        match wrong {
            Some(what) => fail(format!("{what} {}", quoted(&self.family(index).name))),
            None => Ok(()),
        }
    }

    /// The summary or histogram of these labels, created where it is not there.
    fn metric(&mut self, index: usize, labels: Vec<Label>, summary: bool) -> Parsed<&mut Metric> {
        let metrics = &self.list.get(index).expect("indices come from find_or_create").family;
        let last = metrics.metrics.last().filter(|last| last.labels == labels);
        let at = if last.is_some() {
            metrics.metrics.len() - 1
        } else {
            // Kept a second time, to be found by.
            for label in &labels {
                self.budget.label(label.name.len() + label.value.len())?;
            }
            let mut sorted = labels.clone();
            sorted.sort();
            let new = metrics.metrics.len();
            *self.metrics.entry((index, sorted)).or_insert(new)
        };
        if at == self.family(index).metrics.len() {
            self.budget.series()?;
            self.budget.parts()?;
        }
        let metrics = &mut self.family(index).metrics;
        if at == metrics.len() {
            let value = if summary {
                MetricValue::Summary(Box::default())
            } else {
                MetricValue::Histogram(Box::default())
            };
            metrics.push(Metric { labels, value, timestamp_ms: None });
        }
        Ok(metrics.get_mut(at).expect("found or just pushed"))
    }

    fn finish(self) -> Vec<MetricFamily> {
        let mut families: Vec<_> = self.list.into_iter().map(|building| building.family).collect();
        families.retain(|family| !family.metrics.is_empty());
        for metric in families.iter_mut().flat_map(|family| &mut family.metrics) {
            if let MetricValue::Histogram(histogram) = &mut metric.value {
                whole_counts(histogram);
            }
        }
        families
    }
}

/// Counts are read as floats. Where all of a histogram's are whole, that is what they are.
fn whole_counts(histogram: &mut Histogram) {
    let counts = histogram.buckets.iter().map(|bucket| bucket.cumulative_count_float);
    if !counts.chain([histogram.count_float]).flatten().all(is_whole) {
        return;
    }
    histogram.count = histogram.count_float.take().map(whole);
    for bucket in &mut histogram.buckets {
        bucket.cumulative_count = bucket.cumulative_count_float.take().map(whole);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole")]
fn whole(count: f64) -> u64 {
    count as u64
}

/// Whether `count` is a `u64`.
fn is_whole(count: f64) -> bool {
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    (0.0..BEYOND).contains(&count) && count.fract() == 0.0
}

#[cfg(test)]
mod tests;
