//! Where settings are read from: flags, environment, file. Knows their names, not their meaning.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use toml::{Table, Value};

use super::problems::Problems;
use super::table::{Kind, Row, SETTINGS, Secret};
use crate::store::SharedSettings;

/// The variable of the environment with the token that commands show to a gateway.
pub const TOKEN_VARIABLE: &str = "TIDEGATE_TOKEN";

/// Variables that are no settings: those of commands, and of whoever builds and tests.
const OTHER_VARIABLES: [&str; 4] =
    ["TIDEGATE_CONFIG_FILE", "TIDEGATE_GATEWAY", "TIDEGATE_CA_FILE", TOKEN_VARIABLE];

/// Of the same prefix, and set by others: Kubernetes, for a service of this name, and our tests.
const FOREIGN_VARIABLES: [&str; 4] =
    ["TIDEGATE_SERVICE_", "TIDEGATE_PORT", "TIDEGATE_TEST_", "TIDEGATE_BUILD_"];

/// Settings as they were written, each with the place that counts.
#[derive(Debug, Default)]
pub(super) struct Sources {
    values: BTreeMap<&'static str, (Vec<String>, Origin)>,
    pub(super) rules: Vec<RawRule>,
    pub(super) tokens: Vec<RawToken>,
    /// Schema versions that this build takes itself to know, where a test says so.
    pub(super) schemas: Option<(u32, u32)>,
}

/// A setting as it counts, and where it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct InForce {
    pub name: &'static str,
    /// Whether a reload replaces it.
    pub live: bool,
    secret: Secret,
    value: String,
    pub origin: String,
}

impl InForce {
    /// Its value without secrets.
    pub fn shown(&self) -> Cow<'_, str> {
        match self.secret {
            Secret::Whole if !self.value.is_empty() => "<secret>".into(),
            Secret::Path => without_secrets(&self.value),
            Secret::None | Secret::Whole => self.value.as_str().into(),
        }
    }

    /// Whether another has the same value.
    pub fn is_as(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?} ({})", self.name, self.shown(), self.origin)
    }
}

/// Of a URL the scheme and the host: a webhook may have its secret in any other part.
fn without_secrets(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else { return url.into() };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    match authority.rsplit_once('@') {
        None if path.is_empty() => url.into(),
        None => format!("{scheme}://{authority}/<secret>").into(),
        Some((_, host)) => format!("{scheme}://<secret>@{host}/<secret>").into(),
    }
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    File(String),
    Environment(String),
    Flag,
    /// The cluster that this replica is of.
    Cluster,
}

/// A table of `[[ttl.rules]]`.
#[derive(Debug)]
pub(super) struct RawRule {
    /// `FILE: rule N of ttl.rules (line L)`
    pub(super) place: String,
    pub(super) selector: Option<String>,
    pub(super) ttl: Option<String>,
    pub(super) auto: RawAuto,
}

/// A table of `[[access.tokens]]`.
#[derive(Debug, Default)]
pub(super) struct RawToken {
    /// `FILE: token N of access.tokens (line L)`
    pub(super) place: String,
    pub(super) name: Option<String>,
    pub(super) hash: Option<String>,
    pub(super) may: Vec<String>,
    pub(super) selector: Option<String>,
}

/// The table `auto` of a rule: what it says of each key, with its place.
#[derive(Debug, Default)]
pub(super) struct RawAuto {
    pub(super) missed: Option<String>,
    pub(super) min: Option<String>,
    pub(super) max: Option<String>,
}

impl Origin {
    /// The place of a setting, for a message.
    pub(super) fn place(&self, name: &str) -> String {
        match self {
            Self::Default => name.to_owned(),
            Self::File(file) => format!("{file}: {name}"),
            Self::Environment(variable) => format!("environment: {variable}"),
            Self::Flag => format!("--{name}"),
            Self::Cluster => format!("in force in the cluster: {name}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "file {file}"),
            Self::Environment(_) => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
            Self::Cluster => f.write_str("cluster"),
        }
    }
}

impl Sources {
    /// A setting's values and where they come from.
    pub(super) fn get(&self, setting: &'static Row) -> (Vec<String>, Origin) {
        self.values
            .get(setting.name)
            .cloned()
            .unwrap_or_else(|| (vec![setting.default.to_owned()], Origin::Default))
    }

    /// All settings as they count, by name. Lists are joined with commas.
    pub(super) fn in_force(&self) -> Vec<InForce> {
        let setting = |setting: &'static Row| {
            let (values, origin) = self.get(setting);
            let Row { name, live, secret, .. } = *setting;
            let (value, origin) = (values.join(","), origin.to_string());
            InForce { name, live, secret, value, origin }
        };
        SETTINGS.iter().copied().map(setting).collect()
    }

    /// Sets a value in place of what an earlier source said.
    pub(super) fn set(&mut self, setting: &'static Row, values: Vec<String>, origin: Origin) {
        self.values.insert(setting.name, (values, origin));
    }

    /// Takes over what the environment says.
    pub(super) fn environment(&mut self, variable: impl Fn(&str) -> Option<String>) {
        // So that tests have builds of other releases.
        #[cfg(debug_assertions)]
        if let Some(schemas) = variable("TIDEGATE_TEST_SCHEMAS") {
            let parsed = schemas.split_once('-').map(|(a, b)| (a.parse(), b.parse()));
            self.schemas = parsed.and_then(|(first, last)| first.ok().zip(last.ok()));
        }
        for &setting in SETTINGS {
            let name = setting.variable();
            if let Some(value) = variable(&name) {
                let values = if setting.kind == Kind::List {
                    value.split(',').map(|value| value.trim().to_owned()).collect()
                } else {
                    vec![value]
                };
                self.set(setting, values, Origin::Environment(name));
            }
        }
    }

    /// Takes over what a cluster has in force. Settings that a later build has added are passed over.
    pub(super) fn cluster(&mut self, settings: &SharedSettings) {
        for (name, values) in settings {
            if let Some(setting) = Row::find(name) {
                self.set(setting, values.clone(), Origin::Cluster);
            }
        }
    }

    /// Takes over what a TOML text says.
    pub(super) fn toml(&mut self, file: &Path, text: &str, problems: &mut Problems) {
        let file = file.display().to_string();
        match text.parse::<Table>() {
            Ok(table) => self.table(&file, text, "", table, problems),
            Err(error) => problems.add(&file, error.to_string().trim_end()),
        }
    }

    fn table(
        &mut self,
        file: &str,
        text: &str,
        prefix: &str,
        table: Table,
        problems: &mut Problems,
    ) {
        for (key, value) in table {
            let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            let place = format!("{file}: {name}");
            if name == "ttl.rules" {
                self.rules(file, text, value, problems);
            } else if name == "access.tokens" {
                self.tokens(file, text, value, problems);
            } else if let Some(setting) = Row::find(&name) {
                match scalars(setting, value) {
                    Ok(values) => self.set(setting, values, Origin::File(file.to_owned())),
                    Err(expected) => problems.add(&place, expected),
                }
            } else if let Value::Table(table) = value {
                self.table(file, text, &name, table, problems);
            } else {
                problems.add(&place, unknown(&name));
            }
        }
    }

    fn tokens(&mut self, file: &str, text: &str, value: Value, problems: &mut Problems) {
        let Value::Array(tokens) = value else {
            problems.add(&format!("{file}: access.tokens"), "expected tables: [[access.tokens]]");
            return;
        };
        let places = places(file, text, "token", "access.tokens", tokens.len());
        for (place, token) in places.into_iter().zip(tokens) {
            let Value::Table(token) = token else {
                problems.add(&place, "expected a table with the keys name, hash and may");
                continue;
            };
            let mut raw = RawToken { place, ..RawToken::default() };
            for (key, value) in token {
                let place = format!("{}: {key}", raw.place);
                match (key.as_str(), value) {
                    ("name", Value::String(name)) => raw.name = Some(name),
                    ("hash", Value::String(hash)) => raw.hash = Some(hash),
                    ("match", Value::String(selector)) => raw.selector = Some(selector),
                    ("may", Value::Array(may)) => {
                        raw.may.extend(may.into_iter().filter_map(scalar));
                    }
                    ("may", _) => problems.add(&place, "expected an array such as [\"push\"]"),
                    ("name" | "hash" | "match", _) => problems.add(&place, "expected a string"),
                    _ => {
                        let known = "unknown key; a token has the keys name, hash, may and match";
                        problems.add(&place, known);
                    }
                }
            }
            self.tokens.push(raw);
        }
    }

    fn rules(&mut self, file: &str, text: &str, value: Value, problems: &mut Problems) {
        let Value::Array(rules) = value else {
            problems.add(&format!("{file}: ttl.rules"), "expected tables: [[ttl.rules]]");
            return;
        };
        let places = places(file, text, "rule", "ttl.rules", rules.len());
        for (place, rule) in places.into_iter().zip(rules) {
            let Value::Table(rule) = rule else {
                problems.add(&place, "expected a table with the keys match and ttl");
                continue;
            };
            let mut raw = RawRule { place, selector: None, ttl: None, auto: RawAuto::default() };
            for (key, value) in rule {
                match (key.as_str(), value) {
                    ("match", Value::String(selector)) => raw.selector = Some(selector),
                    ("ttl", Value::String(ttl)) => raw.ttl = Some(ttl),
                    ("auto", Value::Table(auto)) => raw.auto(auto, problems),
                    ("auto", _) => problems.add(
                        &format!("{}: auto", raw.place),
                        "expected a table such as { missed = 3, min = \"10m\", max = \"30d\" }",
                    ),
                    ("match" | "ttl", _) => {
                        problems.add(&format!("{}: {key}", raw.place), "expected a string");
                    }
                    _ => problems.add(
                        &format!("{}: {key}", raw.place),
                        "unknown key; a rule has the keys match, ttl and auto",
                    ),
                }
            }
            self.rules.push(raw);
        }
    }
}

impl RawRule {
    fn auto(&mut self, table: Table, problems: &mut Problems) {
        for (key, value) in table {
            let place = format!("{}: auto.{key}", self.place);
            let Self { auto: RawAuto { missed, min, max }, .. } = self;
            let to = match key.as_str() {
                "missed" => missed,
                "min" => min,
                "max" => max,
                _ => {
                    problems.add(&place, "unknown key; auto has the keys missed, min and max");
                    continue;
                }
            };
            *to = scalar(value);
            if to.is_none() {
                problems.add(&place, "expected a string or a number");
            }
        }
    }
}

/// Warnings of variables that look like settings, and are none.
pub(super) fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let known: Vec<_> = SETTINGS.iter().map(|setting| setting.variable()).collect();
    let known: Vec<_> = known.iter().map(String::as_str).chain(OTHER_VARIABLES).collect();
    let is_ours = |name: &String| {
        name.starts_with("TIDEGATE_")
            && !FOREIGN_VARIABLES.iter().any(|prefix| name.starts_with(prefix))
    };
    let unknown = names.filter(|name| is_ours(name) && !known.contains(&name.as_str()));
    let mut warnings: Vec<_> = unknown
        .map(|name| {
            let similar = similar(&name, known.iter().copied());
            let meant = did_you_mean(&similar);
            let meant = meant.unwrap_or_else(|| "config.example.toml lists all settings".into());
            format!("environment: {name}: unknown variable; {meant}")
        })
        .collect();
    warnings.sort();
    warnings
}

/// The places of all tables of a kind, for people: by number, as pages and answers count them, and by
/// line, where each has a header of its own.
fn places(file: &str, text: &str, what: &str, name: &str, count: usize) -> Vec<String> {
    let header = format!("[[{name}]]");
    let is_header = |line: &str| line.trim_start().starts_with(&header);
    let lines: Vec<_> =
        (1..).zip(text.lines()).filter(|(_, line)| is_header(line)).map(|(at, _)| at).collect();
    let line = |at: usize| lines.get(at).filter(|_| lines.len() == count);
    let of_line = |at| line(at).map(|line: &usize| format!(" (line {line})")).unwrap_or_default();
    let place = |at| format!("{file}: {what} {} of {name}{}", at + 1, of_line(at));
    (0..count).map(place).collect()
}

/// The problem with a name that no setting has.
fn unknown(name: &str) -> String {
    let names = || SETTINGS.iter().map(|setting| setting.name);
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().replace('_', "-");
    // The right key in a wrong table, or else a slip.
    let mut meant: Vec<_> = names().filter(|known| last(known) == last(name)).collect();
    if meant.is_empty() {
        meant = similar(name, names());
    }
    let meant = did_you_mean(&meant);
    let meant = meant.unwrap_or_else(|| "config.example.toml lists all of them".into());
    format!("unknown key; {meant}")
}

/// The known names that come nearest to one, if any is near.
fn similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    const NEAR: f64 = 0.8;
    let nearness = |known| strsim::normalized_damerau_levenshtein(name, known);
    let near: Vec<_> = known.map(|known| (nearness(known), known)).collect();
    let nearest = near.iter().map(|(nearness, _)| *nearness).fold(NEAR, f64::max);
    near.into_iter().filter(|(nearness, _)| *nearness >= nearest).map(|(_, known)| known).collect()
}

fn did_you_mean(names: &[&str]) -> Option<String> {
    (!names.is_empty()).then(|| format!("did you mean {}?", names.join(" or ")))
}

fn scalars(setting: &Row, value: Value) -> Result<Vec<String>, &'static str> {
    match value {
        Value::Array(values) if setting.kind == Kind::List => values
            .into_iter()
            .map(|value| scalar(value).ok_or("expected an array of strings"))
            .collect(),
        value => scalar(value).map(|value| vec![value]).ok_or("expected a string or a number"),
    }
}

fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(boolean) => Some(boolean.to_string()),
        Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}
