//! Pushes at random, as clients send them and as they should not.
//!
//! Left out is what only breaks the reference or is refused by us on purpose: see `poison` and
//! `explained`. And groups that differ in the HELP of a family, of which the reference shows any.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

use crate::differential::encodings::{gzip, snappy};
use crate::differential::http::Request;
use support::protobuf::{
    Bucket, CONTENT_TYPE, Counter, Histogram, Metric, MetricFamily, MetricType, Quantile, Summary,
    Value, body, exemplar, family, labels, span,
};
use support::random::Random;

/// Labels of a group, by name.
type Group = Vec<(String, String)>;

/// The common parts of the pushes of one sequence.
#[derive(Debug)]
pub(crate) struct Sequence {
    random: Random,
    groups: Vec<Group>,
    /// Each with its type and its HELP text.
    families: Vec<(&'static str, MetricType, Option<&'static str>)>,
    /// Bodies that were changed at random get names of their own.
    changed: usize,
    /// So many label sets have a number, so that none is another but for a label without a value.
    numbered: usize,
}

const NAMES: [&str; 8] =
    ["m", "n", "m_sum", "m_count", "m_bucket", "long_name:with_all_9", "_", "n_total"];

const TYPES: [MetricType; 5] = [
    MetricType::Counter,
    MetricType::Gauge,
    MetricType::Summary,
    MetricType::Untyped,
    MetricType::Histogram,
];

const HELPS: [&str; 5] =
    ["Some help.", "two\nlines", "back \\ slash", "\"quoted\" <&>", "\u{fc}\u{1f4a9}"];

const VALUES: [&str; 14] = [
    "",
    "a",
    "b",
    "value with blanks",
    "/",
    "a/b/",
    "\"quoted\"",
    "back\\slash",
    "line\nfeed",
    "\t\r",
    "\u{fc}\u{4f50}\u{1f4a9}",
    "a+b%20c",
    "{}=,#",
    "<&>'\u{2028}",
];

const LABELS: [&str; 9] =
    ["a", "b", "Z", "_x", "instance", "job", "zone", "exported_job", "label_with_a_long_name"];

const NUMBERS: [&str; 26] = [
    "0",
    "1",
    "-1",
    "3.14",
    "1e3",
    "1E-7",
    "+5",
    "08",
    "NaN",
    "+Inf",
    "-Inf",
    "inf",
    "1e6",
    "999999",
    "123456789.125",
    "5e-324",
    "1.7976931348623157e308",
    "-0",
    ".5",
    "7.",
    "0.1",
    "1e21",
    "nan",
    "9007199254740993",
    "2398.283",
    "1583781848.025745",
];

impl Sequence {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut groups: Vec<Group> = Vec::new();
        for _ in 0..2 + random.below(4) {
            let mut group = vec![("job".to_owned(), random.pick(&VALUES[1..]).to_string())];
            for name in ["a", "instance", "grp", "zone"] {
                // An empty instance in the key is another group with the same labels: poison.
                let values = if name == "instance" { &VALUES[1..] } else { &VALUES[..] };
                if random.chance(30) {
                    group.push((name.to_owned(), random.pick(values).to_string()));
                }
            }
            // A label without a value is none: beside it, another has to tell what it is on apart.
            if group.iter().any(|(_, value)| value.is_empty()) {
                group.push(("group".to_owned(), groups.len().to_string()));
            }
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        let families = NAMES.map(|name| {
            let help = random.chance(50).then(|| *random.pick(&HELPS));
            (name, *random.pick(&TYPES), help)
        });
        Self { random, groups, families: families.to_vec(), changed: 0, numbered: 0 }
    }

    pub(crate) fn requests(&mut self) -> Vec<Request> {
        (0..10 + self.random.below(11)).map(|_| self.request()).collect()
    }

    /// Deletes all groups.
    pub(crate) fn cleanup(&mut self) -> Vec<Request> {
        let groups = self.groups.clone();
        groups.iter().map(|group| Request::delete(self.path(group))).collect()
    }

    fn request(&mut self) -> Request {
        let group = self.random.pick(&self.groups).clone();
        let mut path = self.path(&group);
        if self.random.chance(4) {
            path = self.bad_path(&path);
        }
        if self.random.chance(12) {
            return Request::delete(path);
        }
        let method = if self.random.chance(50) { "PUT" } else { "POST" };
        let request = Request::new(method, path);
        if self.random.chance(30) { self.with_protobuf(request) } else { self.with_text(request) }
    }

    // === paths ===

    /// One of the many ways to write a grouping key.
    fn path(&mut self, group: &Group) -> String {
        let (job, rest) = group.split_first().expect("a job");
        let mut rest = rest.to_vec();
        self.random.shuffle(&mut rest);
        let mut path = format!("/metrics{}", self.pair(&job.0, &job.1, true));
        for (at, (name, value)) in rest.iter().enumerate() {
            path += &self.pair(name, value, at + 1 < rest.len());
        }
        path
    }

    fn pair(&mut self, name: &str, value: &str, more_follow: bool) -> String {
        // A slash separates however it is written, and an empty component is cleaned away.
        let needs_base64 = value.contains('/') || (value.is_empty() && more_follow);
        if needs_base64 || self.random.chance(25) {
            let encoded = if value.is_empty() {
                "=".to_owned()
            } else if self.random.chance(50) {
                URL_SAFE.encode(value)
            } else {
                URL_SAFE_NO_PAD.encode(value)
            };
            return format!("/{name}@base64/{encoded}");
        }
        let encoded: String = value
            .bytes()
            .map(|byte| {
                let plain = byte.is_ascii_alphanumeric() || b"+=,'".contains(&byte);
                if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
            })
            .collect();
        format!("/{name}/{encoded}")
    }

    fn bad_path(&mut self, path: &str) -> String {
        let bad = [
            format!("{path}/a"),
            format!("{path}/1x/v"),
            format!("{path}/__x/v"),
            format!("{path}/l@base64/***"),
            path.replacen("/job", "/Job", 1),
            path.replacen("/metrics", "//metrics", 1),
            format!("{path}/l//v"),
            "/metrics/job@base64/=".to_owned(),
            "/metrics/job".to_owned(),
        ];
        self.random.pick(&bad).clone()
    }

    // === bodies ===

    /// A family with the type that its name has in this sequence, mostly.
    fn family(&mut self) -> (&'static str, MetricType, Option<&'static str>) {
        let mut family = *self.random.pick(&self.families);
        if self.random.chance(4) {
            family.1 = *self.random.pick(&TYPES);
        }
        family
    }

    /// `changes`: any of them may become another, or be left without its value.
    fn body_labels(&mut self, changes: bool) -> Vec<(&'static str, String)> {
        let mut found: Vec<(&str, String)> = Vec::new();
        for _ in 0..self.random.below(4) {
            let name = match self.random.below(200) {
                0 => "__reserved",
                1 => "quantile",
                _ => *self.random.pick(&LABELS),
            };
            if found.iter().all(|(other, _)| *other != name) {
                let values = if changes { &VALUES[1..] } else { &VALUES[..] };
                found.push((name, self.random.pick(values).to_string()));
            }
        }
        if changes || found.iter().any(|(_, value)| value.is_empty()) {
            self.numbered += 1;
            found.push(("series", self.numbered.to_string()));
        }
        found
    }

    fn with_text(&mut self, request: Request) -> Request {
        let mut text = String::new();
        let changes = self.random.chance(25);
        let (mut seen, mut of_m) = (Vec::new(), None);
        for _ in 0..self.random.below(5) {
            let (name, kind, mut help) = self.family();
            // A family of a text has one TYPE line.
            if seen.contains(&name) {
                continue;
            }
            // The HELP of its part is a summary's or histogram's own, and would differ between groups.
            let is_part = match of_m {
                Some(MetricType::Summary) => ["m_sum", "m_count"].contains(&name),
                Some(MetricType::Histogram) => name.starts_with("m_"),
                _ => false,
            };
            if is_part {
                help = None;
            }
            if name == "m" {
                of_m = Some(kind);
            }
            // Changed, a count may become none, of which the reference makes something.
            if kind == MetricType::Histogram && (changes || is_native(name)) {
                continue;
            }
            seen.push(name);
            let name = if changes { format!("x{}_{name}", self.changed) } else { name.to_owned() };
            text += &self.text_family(&name, kind, help, changes);
        }
        let mut bytes = text.into_bytes();
        if changes {
            self.changed += 1;
            self.change(&mut bytes);
        }
        let mut request = match self.random.below(6) {
            0 => request.header("Content-Type", "text/plain; version=0.0.4"),
            1 => request.header("Content-Type", "application/x-www-form-urlencoded"),
            _ => request,
        };
        let encoding = match self.random.below(20) {
            0 | 1 => ("gzip", gzip(&bytes)),
            2 | 3 => ("snappy", snappy(&bytes)),
            4 => {
                let half = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                ("GZIP", [gzip(&bytes[..half]), gzip(&bytes[half..])].concat())
            }
            5 => {
                let mut broken = gzip(&bytes);
                broken.truncate(self.random.below(broken.len()));
                ("gzip", broken)
            }
            6 => ("gzip", bytes.clone()),
            7 => ("snappy", bytes.clone()),
            // The reference does not mind, and would store it.
            8 => ("nonsense", [&bytes[..], b"\nwhat is this\n"].concat()),
            _ => ("", bytes.clone()),
        };
        if !encoding.0.is_empty() {
            request = request.header("Content-Encoding", encoding.0);
        }
        request.body(encoding.1)
    }

    /// `changes`: it is going to be changed. A count may then become none, of which the reference
    /// makes something.
    fn text_family(
        &mut self,
        name: &str,
        kind: MetricType,
        help: Option<&str>,
        changes: bool,
    ) -> String {
        let mut text = String::new();
        if let Some(help) = help {
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            writeln!(text, "# HELP {name} {help}").unwrap();
        }
        let word = match kind {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Summary => "summary",
            MetricType::Untyped => "untyped",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => unreachable!("it breaks the scrape of the reference"),
        };
        if kind != MetricType::Untyped || self.random.chance(50) {
            writeln!(text, "# TYPE {name} {word}").unwrap();
        }
        let mut seen: Vec<Vec<_>> = Vec::new();
        for _ in 0..=self.random.below(3) {
            let labels = self.body_labels(changes);
            // A metric of several lines that comes twice is one with all its buckets twice.
            let mut sorted = labels.clone();
            sorted.sort();
            if matches!(kind, MetricType::Summary | MetricType::Histogram) && seen.contains(&sorted)
            {
                continue;
            }
            seen.push(sorted);
            let mut line =
                |random: &mut Random, suffix: &str, more: Option<(&str, &str)>, value: &str| {
                    let labels = labels.iter().map(|(name, value)| (*name, value.as_str()));
                    let labels = labels.chain(more);
                    let labels: Vec<_> = labels
                        .map(|(name, value)| {
                            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                            format!("{name}=\"{}\"", value.replace('\n', "\\n"))
                        })
                        .collect();
                    let blank = ["", " ", "\t "][random.below(3)];
                    let stamp = if random.chance(1) { " 1000" } else { "" };
                    let labels = labels.join(",");
                    writeln!(text, "{name}{suffix}{{{labels}{blank}}} {value}{stamp}").unwrap();
                };
            let random = &mut self.random;
            let count = if random.chance(20) { "07e1" } else { "7" };
            match kind {
                MetricType::Summary => {
                    for quantile in ["0.5", "0.99", "1e-7"] {
                        let value = *random.pick(&NUMBERS);
                        line(random, "", Some(("quantile", quantile)), value);
                    }
                    let sum = *random.pick(&NUMBERS);
                    line(random, "_sum", None, sum);
                    if !changes {
                        line(random, "_count", None, count);
                    }
                }
                MetricType::Histogram | MetricType::GaugeHistogram => {
                    for bound in ["0.5", "1e6", "+Inf"] {
                        line(random, "_bucket", Some(("le", bound)), count);
                    }
                    let sum = *random.pick(&NUMBERS);
                    line(random, "_sum", None, sum);
                    line(random, "_count", None, count);
                }
                _ => {
                    // Behind a summary or histogram it is a count of that.
                    let is_count = name.ends_with("_count");
                    let value = if is_count { count } else { *random.pick(&NUMBERS) };
                    line(random, "", None, value);
                }
            }
        }
        text
    }

    /// Changes a few bytes, to others that mean something in the format.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        const BYTES: &[u8] = b"{}\"\\=, \n\t#_:.0+-eNaxy\xff";
        for _ in 0..=self.random.below(3) {
            let at = self.random.below(bytes.len() + 1);
            let byte = *self.random.pick(BYTES);
            match self.random.below(4) {
                0 if at < bytes.len() => drop(bytes.remove(at)),
                1 if at < bytes.len() => bytes[at] = byte,
                2 => bytes.truncate(at),
                _ => bytes.insert(at, byte),
            }
        }
    }

    fn with_protobuf(&mut self, request: Request) -> Request {
        let families: Vec<_> = (0..self.random.below(4)).map(|_| self.protobuf_family()).collect();
        let mut bytes = body(&families);
        if self.random.chance(8) {
            // Cut anywhere: what is left is whole only between two families.
            bytes.truncate(self.random.below(bytes.len() + 1));
        }
        let request = request.header("Content-Type", CONTENT_TYPE);
        if self.random.chance(20) {
            return request.header("Content-Encoding", "gzip").body(gzip(&bytes));
        }
        request.body(bytes)
    }

    fn protobuf_family(&mut self) -> MetricFamily {
        let (name, kind, help) = self.family();
        // A family without metrics has tests of its own.
        let metrics =
            (0..=self.random.below(2)).map(|_| self.protobuf_metric(name, kind)).collect();
        MetricFamily { help: help.map(str::to_owned), ..family(name, kind, metrics) }
    }

    fn protobuf_metric(&mut self, name: &str, kind: MetricType) -> Metric {
        let own = self.body_labels(false);
        let own: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut metric = Metric { label: labels(&own), ..Metric::default() };
        let random = &mut self.random;
        if random.chance(1) {
            metric.timestamp_ms = Some(1000);
        }
        let number = number(random);
        match kind {
            MetricType::Counter => {
                metric.counter = Some(Counter {
                    value: Some(number),
                    // One of no number is left out, which the reference does not.
                    exemplar: (random.chance(30) && !number.is_nan()).then(|| exemplar(number)),
                    created_timestamp: None,
                });
            }
            MetricType::Gauge => metric.gauge = Some(Value { value: Some(number) }),
            MetricType::Untyped => metric.untyped = Some(Value { value: Some(number) }),
            MetricType::Summary => {
                let quantile = Quantile { quantile: Some(0.5), value: Some(number) };
                metric.summary = Some(Summary {
                    sample_count: random.chance(80).then_some(3),
                    sample_sum: random.chance(80).then_some(number),
                    quantile: vec![quantile; random.below(2)],
                    created_timestamp: None,
                });
            }
            MetricType::Histogram | MetricType::GaugeHistogram => {
                metric.histogram = Some(histogram(random, is_native(name)));
            }
        }
        metric
    }
}

/// Any double, often an odd one.
fn number(random: &mut Random) -> f64 {
    match random.below(6) {
        0 => f64::from_bits(random.bits()),
        1 => f64::NAN,
        2 => f64::INFINITY,
        3 => -0.0,
        4 => f64::from(u32::try_from(random.below(1_000_000)).expect("it is small")) / 1000.0,
        _ => 1e6,
    }
}

/// Whether histograms of this name are native: the reference takes some that are and some that are
/// not, which no Prometheus does.
fn is_native(name: &str) -> bool {
    matches!(name, "n" | "m_count" | "_")
}

fn histogram(random: &mut Random, is_native: bool) -> Histogram {
    let sample_sum = Some(number(random));
    match random.below(2) + if is_native { 2 } else { 0 } {
        0 => Histogram { sample_count: Some(4), sample_sum, ..Histogram::default() },
        1 => {
            let bucket = |bound, count| Bucket {
                upper_bound: Some(bound),
                cumulative_count: Some(count),
                exemplar: Some(exemplar(bound)),
                ..Bucket::default()
            };
            let mut buckets = vec![bucket(0.1, 1), bucket(2e7, 3), bucket(f64::INFINITY, 4)];
            buckets.truncate(random.below(4));
            Histogram { sample_count: Some(4), sample_sum, bucket: buckets, ..Histogram::default() }
        }
        2 => Histogram {
            sample_count: Some(9),
            sample_sum,
            schema: Some(i32::try_from(random.below(13)).expect("it is small") - 4),
            zero_threshold: Some(0.001),
            zero_count: Some(2),
            negative_span: vec![span(-1, 1), span(2, 1)],
            negative_delta: vec![1, 1],
            positive_span: vec![span(
                i32::try_from(random.below(60)).expect("it is small") - 30,
                2,
            )],
            positive_delta: vec![1, 2],
            exemplars: vec![exemplar(0.5)],
            ..Histogram::default()
        },
        _ => Histogram {
            // Both, and the same: of a count that is no integer the reference writes 0 in text.
            sample_count: Some(9),
            sample_count_float: Some(9.0),
            sample_sum,
            schema: Some(3),
            zero_threshold: Some(0.5),
            zero_count_float: Some(0.5),
            positive_span: vec![span(0, 1), span(1, 1)],
            positive_count: vec![1.5, 2.0],
            ..Histogram::default()
        },
    }
}
