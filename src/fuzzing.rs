//! Properties that hold for any bytes at all, one function for each part that reads what others write:
//! none panics, what can be read is the same once it is written and read again, and a body takes no
//! more memory than a number of times its size.
//!
//! `tests/fuzz` calls these with inputs that coverage guides it to, and the unit tests here with the
//! corpus that was found so, and with mutations of it. Built for these two only.

mod record;
mod request;
#[cfg(test)]
mod tests;

pub use record::record;
pub use request::request;

use std::fmt::Write as _;

use crate::config::Config;
use crate::exposition::text::{self, LabelBlock};
use crate::exposition::{Budget, ParseError, ParseLimits, PushFormat, persistence, protobuf};
use crate::http::in_memory;
use crate::model::duration::Exact;
use crate::model::{
    Escaping, GroupingKey, Label, Meter, MetricFamily, NameRules, OverBudget, RuleTtl, Selector,
    TtlRule,
};

const NAMES: [NameRules; 2] = [NameRules::Legacy, NameRules::Utf8];

/// A body is counted as so many times its bytes at most while it is parsed: an empty label of protobuf,
/// of two bytes, is the most for its size.
pub const TIMES: usize = 100;
/// And so many bytes in any case.
pub const BYTES: usize = 256 << 10;

/// The memory that a body of so many bytes may take.
pub fn bytes_max(body: usize) -> usize {
    BYTES + TIMES * body
}

/// Counts what the parse of one body takes.
#[derive(Debug, Default)]
struct Counted(usize);

impl Meter for Counted {
    fn take(&mut self, bytes: usize) -> Result<(), OverBudget> {
        self.0 += bytes;
        Ok(())
    }
}

/// Parses a body as it comes, in two parts, and counts what it takes.
fn parse(
    format: PushFormat,
    data: &[u8],
    names: NameRules,
) -> Result<Vec<MetricFamily>, ParseError> {
    let mut counted = Counted::default();
    let (begin, end) = data.split_at(data.len() / 2);
    let mut parser = format.parser(names, Budget::new(ParseLimits::UNLIMITED, &mut counted));
    let parsed = parser.feed(begin).and_then(|()| parser.feed(end)).and_then(|()| parser.finish());
    let (taken, most) = (counted.0, bytes_max(data.len()));
    assert!(taken <= most, "{} bytes take {taken}, of {most}", data.len());
    parsed
}

/// A body in the text format: what is rendered of it is rendered of what is rendered.
pub fn text(data: &[u8]) {
    for names in NAMES {
        let Ok(families) = parse(PushFormat::Text, data, names) else { continue };
        if collides(&families) {
            continue;
        }
        let rendered = rendered(&families);
        let again = text::parse(&rendered, names);
        let again = again.unwrap_or_else(|error| panic!("{error} in {}", shown(&rendered)));
        assert_eq!(shown(&self::rendered(&again)), shown(&rendered));
    }
}

/// A body in delimited protobuf: what is decoded is decoded of what it is encoded to.
pub fn protobuf(data: &[u8]) {
    for names in NAMES {
        let Ok(families) = parse(PushFormat::Protobuf, data, names) else { continue };
        let encoded: Vec<u8> = families.iter().flat_map(encoded).collect();
        let again = protobuf::decode(&encoded, names).expect("it was encoded here");
        // Units are for nobody: they are not sent on.
        let expected = families.into_iter().map(|family| MetricFamily { unit: None, ..family });
        let expected: Vec<_> = expected.collect();
        // By their text, in which NaN is NaN.
        assert_eq!(format!("{again:?}"), format!("{expected:?}"));
    }
}

/// The path of a request: a grouping key is found again in the path that is made of it.
pub fn path(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    for (prefix, names) in [("", NAMES[0]), ("", NAMES[1]), ("/p", NAMES[0])] {
        for (method, to) in in_memory::redirected(prefix, path, names).into_iter().enumerate() {
            let Some(to) = to else { continue };
            let on = in_memory::redirected(prefix, &to, names);
            assert_ne!(on.get(method), Some(&Some(to)), "a redirection in a circle");
        }
        let Some(key) = in_memory::grouping_key(prefix, path, names) else { continue };
        assert_eq!(GroupingKey::from_bytes(key.as_bytes()).as_ref(), Ok(&key));
        if key.labels().any(|(name, _)| has_no_escape(name)) {
            continue;
        }
        let canonical = in_memory::path_of(prefix, &key, names);
        let again = in_memory::grouping_key(prefix, &canonical, names);
        assert_eq!(again.as_ref(), Some(&key), "{canonical}");
    }
}

/// Two selectors, a line each: the same when they are parsed again, and one that covers another
/// matches what it does.
pub fn selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = text.splitn(2, '\n').map(Selector::parse).collect::<Result<Vec<_>, _>>();
    let Ok(selectors) = parsed else { return };
    let key = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
        GroupingKey::new(labels).expect("it has a job")
    };
    let keys = [
        key(&[("job", "a")]),
        key(&[("job", "backup-db"), ("env", "prod")]),
        key(&[("job", "b"), ("instance", ""), ("zone", "ü\n")]),
    ];
    for selector in &selectors {
        let again = Selector::parse(&selector.to_string()).expect("it was parsed before");
        for key in &keys {
            assert_eq!(selector.matches(key), again.matches(key), "{selector} {key}");
        }
        for other in selectors.iter().filter(|other| selector.covers(other)) {
            for key in keys.iter().filter(|key| other.matches(key)) {
                assert!(selector.matches(key), "{selector} covers {other}, but not {key}");
            }
        }
    }
}

/// A settings file: what is in force, written down, is in force again.
pub fn toml(data: &[u8]) {
    const LISTS: [&str; 6] = [
        "access.admin-from",
        "access.anonymous",
        "access.lifecycle-from",
        "web.allowed-hosts",
        "web.cors-origin",
        "web.listen-address",
    ];
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(config) = Config::from_toml(text) else { return };
    let mut written = String::new();
    for setting in &config.in_force {
        // Secrets are not shown; of a list it cannot be told how it was cut.
        let is_whole = !setting.shown().contains("<secret>") && !LISTS.contains(&setting.name);
        // Written down, a default would be a choice.
        if !is_whole || setting.origin == "default" {
            continue;
        }
        let value = ::toml::Value::String(setting.shown().into_owned());
        writeln!(written, "{} = {value}", setting.name).expect("a string grows as needed");
    }
    for TtlRule { selector, ttl } in &config.gateway.ttl.rules {
        let selector = ::toml::Value::String(selector.to_string());
        let short = match ttl {
            RuleTtl::Auto(_) => "auto".to_owned(),
            RuleTtl::Fixed(ttl) => ttl.to_string(),
        };
        write!(written, "[[ttl.rules]]\nmatch = {selector}\nttl = \"{short}\"\n")
            .expect("a string grows as needed");
        if let RuleTtl::Auto(auto) = ttl {
            let (min, max) = (Exact(auto.min), auto.max);
            let max = Exact(max);
            let missed = auto.missed;
            writeln!(written, "auto = {{ missed = {missed}, min = \"{min}\", max = \"{max}\" }}")
                .expect("a string grows as needed");
        }
    }
    let again = Config::from_toml(&written);
    let again = again.unwrap_or_else(|problems| panic!("{problems} in {written}"));
    assert_eq!(again.gateway, config.gateway);
    assert_eq!(again.store, config.store);
    assert_eq!(again.http.limits, config.http.limits);
    assert_eq!(again.http.paths, config.http.paths);
}

/// A persistence file of the Go Pushgateway.
pub fn gob(data: &[u8]) {
    let Ok(groups) = persistence::read(data) else { return };
    for group in groups {
        assert_eq!(GroupingKey::from_bytes(group.key.as_bytes()).as_ref(), Ok(&group.key));
        for (_, family) in group.families {
            text(&rendered(&[family]));
        }
    }
}

/// Whether the samples of a family are named as another one is: text cannot tell these apart. A
/// gateway refuses such a push.
fn collides(families: &[MetricFamily]) -> bool {
    let suffixes = ["_count", "_sum", "_bucket"];
    families.iter().any(|family| {
        let base = suffixes.iter().find_map(|suffix| family.name.strip_suffix(suffix));
        base.is_some_and(|base| families.iter().any(|other| other.name == base))
    })
}

/// Whether a name cannot be written in a path by Prometheus's rules, which leave what looks escaped
/// as it is, and read five digits while the last plane of Unicode has six.
fn has_no_escape(name: &str) -> bool {
    name.starts_with("U__") || name.chars().any(|character| u32::from(character) > 0xF_FFFF)
}

fn rendered(families: &[MetricFamily]) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families {
        out.extend(text::header(&family.name, family.help.as_deref(), family.kind));
        text::lines(&mut out, family, &LabelBlock::empty());
    }
    out
}

fn encoded(family: &MetricFamily) -> Vec<u8> {
    use protobuf::encode::{header, length_prefix, metric};
    let (name, help) = (&family.name, family.help.as_deref());
    let mut message = header(name, help, family.kind, Escaping::AllowUtf8);
    for one in &family.metrics {
        let labels = one.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        metric(&mut message, one, labels);
    }
    [length_prefix(message.len()), message].concat()
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
