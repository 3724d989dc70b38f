//! Settings: flags, environment and file become one validated [`Config`], made of the options that
//! the parts define for themselves.

mod access;
mod error;
mod flags;
mod memory;
mod settings;
mod source;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;

pub use error::Problems;
pub use flags::{FlagSettings, all_flags, store_flags};
pub use source::InForce;

use settings::Setting;
use source::{Origin, RawAuto, RawRule, Sources};

use crate::model::{AutoTtl, NameRules, RuleTtl, Selector, Ttl, TtlPolicy, TtlRule};
use crate::telemetry::log;
use crate::webhook;
use crate::{gateway, http, store};

/// All settings, valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub http: http::Options,
    pub store: store::Options,
    pub gateway: gateway::Options,
    pub log: log::Options,
    /// For requests under way when the gateway stops.
    pub shutdown_grace: Duration,
    /// For one commit; a store that takes longer is stuck.
    pub commit_timeout: Duration,
    /// A Go Pushgateway's persistence file, to be imported once.
    pub persistence_file: Option<PathBuf>,
    /// Who is told of what is gone.
    pub notify: Option<webhook::Options>,
    /// The file that was read, and whether it is to be watched.
    pub file: Option<PathBuf>,
    pub watch: bool,
    /// What is valid and still hardly meant.
    pub warnings: Vec<String>,
    /// All settings, for people.
    pub in_force: Vec<InForce>,
}

impl Config {
    /// Reads the settings from flags, environment and the file that they name.
    pub fn load(flags: &FlagSettings) -> Result<Self, Problems> {
        let mut sources = Sources::default();
        let mut problems = Problems::default();
        let file = flags.config_file.clone();
        let file = file.or_else(|| variable("TIDEGATE_CONFIG_FILE").map(PathBuf::from));
        if let Some(file) = &file {
            read(file, &mut sources, &mut problems);
        }
        sources.environment(variable);
        flags.apply(&mut sources);
        let mut config = validate(&sources, problems)?;
        if config.watch && file.is_none() {
            let warning = "config.watch is set, but there is no config.file to watch";
            config.warnings.push(warning.into());
        }
        Ok(Self { file, ..config })
    }

    /// What the settings would be if the file had this text.
    pub fn load_proposed(flags: &FlagSettings, text: &str) -> Result<Self, Problems> {
        let mut sources = Sources::default();
        let mut problems = Problems::default();
        sources.toml(Path::new("toml"), text, &mut problems);
        sources.environment(variable);
        flags.apply(&mut sources);
        validate(&sources, problems)
    }

    /// Reads the settings from a file alone.
    pub fn from_file(file: &Path) -> Result<Self, Problems> {
        let mut sources = Sources::default();
        let mut problems = Problems::default();
        read(file, &mut sources, &mut problems);
        validate(&sources, problems)
    }

    /// Reads the settings from a TOML text.
    pub fn from_toml(text: &str) -> Result<Self, Problems> {
        let mut sources = Sources::default();
        let mut problems = Problems::default();
        sources.toml(Path::new("toml"), text, &mut problems);
        validate(&sources, problems)
    }

    /// Reads the settings from flags alone.
    pub fn from_flags(flags: &[&str]) -> Result<Self, String> {
        let program = std::iter::once("tidegate");
        let args = program.chain(flags.iter().copied()).map(OsString::from);
        let flags = FlagSettings::parse(args).map_err(|error| error.to_string())?;
        let mut sources = Sources::default();
        flags.apply(&mut sources);
        validate(&sources, Problems::default()).map_err(|problems| problems.to_string())
    }
}

#[expect(clippy::disallowed_methods, reason = "settings may be in the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn read(file: &Path, sources: &mut Sources, problems: &mut Problems) {
    match std::fs::read_to_string(file) {
        Ok(text) => sources.toml(file, &text, problems),
        Err(error) => problems.add(&file.display().to_string(), format!("cannot read it: {error}")),
    }
}

/// Values with their places, and the problems found in them.
struct Reader<'a> {
    sources: &'a Sources,
    problems: Problems,
}

impl Reader<'_> {
    fn texts(&self, name: &str) -> (Vec<String>, String) {
        let setting = Setting::find(name).expect("only names of the table are asked for");
        let (values, origin) = self.sources.get(setting);
        (values, origin.place(name))
    }

    fn is_default(&self, name: &str) -> bool {
        let setting = Setting::find(name).expect("only names of the table are asked for");
        self.sources.get(setting).1 == Origin::Default
    }

    /// The value as `parse` understands it; where it does not, the problem is noted and the value
    /// is of no use.
    fn get<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let (values, place) = self.texts(name);
        let value = parse(values.last().map_or("", String::as_str));
        self.problems.check(&place, value)
    }

    fn size(&mut self, name: &str) -> Option<u64> {
        self.get(name, |text| {
            let size: Result<ByteSize, _> = text.parse();
            size.map(|size| size.as_u64()).map_err(|_| expected(text, "a size such as 16MiB"))
        })
    }

    /// A size; `auto` is this one.
    fn size_or_auto(&mut self, name: &str, auto: u64) -> Option<u64> {
        if self.texts(name).0.last().is_some_and(|text| text == "auto") {
            return Some(auto);
        }
        self.get(name, |text| {
            let size: Result<ByteSize, _> = text.parse();
            size.map(|size| size.as_u64())
                .map_err(|_| expected(text, "a size such as 16MiB, or auto"))
        })
    }

    fn count(&mut self, name: &str) -> Option<u64> {
        self.get(name, |text| match text.replace('_', "").parse() {
            Ok(0) | Err(_) => Err(expected(text, "a whole number above zero")),
            Ok(count) => Ok(count),
        })
    }

    fn duration(&mut self, name: &str) -> Option<Duration> {
        self.get(name, duration)
    }

    fn limits(&mut self) -> Option<gateway::Limits> {
        // Each is read before any is missed, so that all problems are found.
        let (series_per_push, series_per_group, series, groups) = (
            self.count("limits.series-per-push"),
            self.count("limits.series-per-group"),
            self.count("limits.series"),
            self.count("limits.groups"),
        );
        let (labels_per_series, label_name, label_value, metric_name, queue) = (
            self.count("limits.labels-per-series"),
            self.size("limits.label-name-length"),
            self.size("limits.label-value-length"),
            self.size("limits.metric-name-length"),
            self.count("limits.queue"),
        );
        let (group, rendered) = (
            self.size("limits.group-size"),
            self.size_or_auto("limits.rendered-size", memory::rendered()),
        );
        // Groups and series are numbered in 32 bits.
        let numbered = |count: u64| count.min(u64::from(u32::MAX));
        Some(gateway::Limits {
            series_per_push: series_per_push?,
            series_per_group: series_per_group?,
            series: numbered(series?),
            groups: numbered(groups?),
            labels_per_series: labels_per_series?,
            label_name_bytes: label_name?,
            label_value_bytes: label_value?,
            metric_name_bytes: metric_name?,
            group_bytes: group?,
            rendered_bytes: rendered?,
            queue: in_memory(queue?),
        })
    }

    fn switch(&mut self, name: &str) -> Option<bool> {
        self.get(name, |text| text.parse().map_err(|_| expected(text, "true or false")))
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        let (values, _) = self.texts(name);
        values.last().filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Where things are served. Follows `computeRoutePrefix` of the Go Pushgateway.
    fn paths(&mut self) -> Option<http::Paths> {
        let external_url = self.get("web.external-url", |url| Ok(url.to_owned()))?;
        let given = self.get("web.route-prefix", |prefix| Ok(prefix.to_owned()))?;
        let prefix = route_prefix(if given.is_empty() { path_of(&external_url) } else { &given });
        let telemetry = self.get("web.telemetry-path", |path| {
            if !path.starts_with('/') {
                return Err(expected(path, "a path that begins with /"));
            }
            // One slash is dropped where the path is looked up, as it is from what is asked for.
            let path = path.strip_suffix('/').unwrap_or(path);
            let mut endpoints = http::endpoints().into_iter().map(|(path, _)| path);
            let is_below = |at: &str| {
                path.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let taken = path.is_empty()
                || ["/api/v1", "/api/v2", "/assets"].into_iter().any(is_below)
                || endpoints.any(|taken| taken == path && taken != "/metrics");
            if taken {
                return Err(format!("{path:?} is taken: something else is served there"));
            }
            Ok(path.to_owned())
        });
        Some(http::Paths { prefix, telemetry: telemetry?, external_url })
    }

    /// The settings that the Go Pushgateway has as flags, as its API shows them.
    fn flags(&mut self, paths: Option<&http::Paths>) -> Vec<(String, String)> {
        const NAMES: [&str; 16] = [
            "log.format",
            "log.level",
            "persistence.file",
            "persistence.interval",
            "push.disable-consistency-check",
            "push.enable-utf8-names",
            "storage.path",
            "ttl.default",
            "web.config.file",
            "web.enable-admin-api",
            "web.enable-lifecycle",
            "web.external-url",
            "web.listen-address",
            "web.route-prefix",
            "web.systemd-socket",
            "web.telemetry-path",
        ];
        let value = |name: &&str| {
            let text = match *name {
                "web.route-prefix" => paths.map_or("", |paths| &paths.prefix).to_owned(),
                "persistence.interval" => {
                    let (values, _) = self.texts(name);
                    let interval = values.last().and_then(|text| duration(text).ok());
                    interval.map(go_duration).unwrap_or_default()
                }
                name => self.texts(name).0.join(","),
            };
            ((*name).to_owned(), text)
        };
        NAMES.iter().map(value).collect()
    }

    fn http(&mut self) -> Option<http::Options> {
        let paths = self.paths();
        let (systemd_socket, lifecycle, admin, openmetrics) = (
            self.switch("web.systemd-socket"),
            self.switch("web.enable-lifecycle"),
            self.switch("web.enable-admin-api"),
            self.switch("web.enable-openmetrics"),
        );
        let flags = self.flags(paths.as_ref());
        let web_config = self.file("web.config.file");
        let access = self.access();
        let cors_origins = self.list("web.cors-origin", |origin| match origin.split_once("://") {
            Some((_, host)) if !host.contains('/') => Ok(origin.to_owned()),
            _ if origin == "*" => Ok(origin.to_owned()),
            _ => Err(expected(origin, "an origin such as https://example.com")),
        });
        let allowed_hosts = self.list("web.allowed-hosts", |host| {
            let is_host = |host: &str| {
                !host.is_empty()
                    && !host.contains(|c: char| " /:@?#*".contains(c) || c.is_control())
            };
            let is_address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
            let host = host.strip_suffix('.').unwrap_or(host);
            if is_host(host) || is_address {
                Ok(host.to_ascii_lowercase())
            } else {
                Err(expected(host, "a host without port, such as gateway.example.com"))
            }
        });
        if let (Some(access), None) = (&access, &web_config)
            && let Err(nobody_else) = access.check(false)
        {
            let (_, place) = self.texts("access.anonymous");
            self.problems.add(&place, nobody_else);
        }
        let (listen, place) = self.texts("web.listen-address");
        for address in &listen {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() {
                self.problems.add(&place, expected(address, "host:port or :port"));
            }
        }
        let (body, decoded) = (self.size("limits.body-size"), self.size("limits.decoded-size"));
        let connections = self.count("limits.connections");
        let (header_timeout, body_timeout) =
            (self.duration("limits.header-timeout"), self.duration("limits.body-timeout"));
        let bytes_in_flight =
            self.size_or_auto("limits.bytes-in-flight", memory::bytes_in_flight());
        let (followers, send_timeout) =
            (self.count("limits.followers"), self.duration("limits.send-timeout"));
        let limits = http::Limits {
            body_bytes: in_memory(body?),
            decoded_bytes: in_memory(decoded?.min(DECODED_BYTES_MAX)),
            connections: in_memory(connections?).min(tokio::sync::Semaphore::MAX_PERMITS),
            header_timeout: header_timeout?,
            body_timeout: body_timeout?,
            bytes_in_flight: in_memory(bytes_in_flight?),
            followers: in_memory(followers?),
            send_timeout: send_timeout?,
        };
        Some(http::Options {
            listen,
            systemd_socket: systemd_socket?,
            web_config,
            paths: paths?,
            lifecycle: lifecycle?,
            admin: admin?,
            openmetrics: openmetrics?,
            access: access?,
            cors_origins: cors_origins?,
            allowed_hosts: allowed_hosts?,
            flags,
            limits,
        })
    }

    fn log(&mut self) -> Option<log::Options> {
        let level = self.get("log.level", |text| match text.to_ascii_lowercase().as_str() {
            "debug" => Ok(tracing::Level::DEBUG),
            "info" => Ok(tracing::Level::INFO),
            "warn" => Ok(tracing::Level::WARN),
            "error" => Ok(tracing::Level::ERROR),
            _ => Err(expected(text, "debug, info, warn or error")),
        });
        let format = self.get("log.format", |text| match text {
            "logfmt" => Ok(log::Format::Logfmt),
            "json" => Ok(log::Format::Json),
            _ => Err(expected(text, "logfmt or json")),
        });
        Some(log::Options { level: level?, format: format? })
    }

    fn ttl(&mut self) -> Option<TtlPolicy> {
        let ttl = |text: &str| Ttl::parse(text).map_err(|error| error.to_string());
        let default = self.get("ttl.default", ttl);
        let (min, max) = (self.duration("ttl.min"), self.get("ttl.max", ttl));
        if let (Some(min), Some(Ttl::After(max))) = (min, max)
            && min > max
        {
            let (_, place) = self.texts("ttl.max");
            let min = Ttl::After(min);
            self.problems.add(&place, format!("{} is less than ttl.min, {min}", Ttl::After(max)));
        }
        let sources = self.sources;
        let rules: Vec<_> = sources.rules.iter().map(|rule| self.rule(rule)).collect();
        let rules = rules.into_iter().collect::<Option<_>>()?;
        Some(TtlPolicy { rules, default: default?, min: min?, max: max? })
    }

    fn rule(&mut self, rule: &RawRule) -> Option<TtlRule> {
        let RawRule { place, selector, ttl, auto } = rule;
        let missing = |key, example| format!("the key {key} is missing, as in {example}");
        let selector = match selector {
            Some(text) => Selector::parse(text).map_err(|error| format!("{text}: {error}")),
            None => Err(missing("match", "match = '{job=\"backup\"}'")),
        };
        let has_auto = auto.missed.is_some() || auto.min.is_some() || auto.max.is_some();
        let auto = self.auto(place, auto);
        let ttl = match ttl.as_deref() {
            Some("auto") => Ok(auto.map(RuleTtl::Auto)),
            Some(text) if has_auto => {
                Err(format!("{text:?} leaves no use for the key auto: expected ttl = \"auto\""))
            }
            Some(text) => match Ttl::parse(text) {
                Ok(ttl) => Ok(Some(RuleTtl::Fixed(ttl))),
                Err(error) => Err(format!("{error}, or auto")),
            },
            None => Err(missing("ttl", "ttl = \"36h\"")),
        };
        let selector = self.problems.check(&format!("{place}.match"), selector);
        let ttl = self.problems.check(&format!("{place}.ttl"), ttl);
        Some(TtlRule { selector: selector?, ttl: ttl?? })
    }

    fn auto(&mut self, place: &str, raw: &RawAuto) -> Option<AutoTtl> {
        let default = AutoTtl::default();
        let missed = match raw.missed.as_deref().map(|text| (text, text.parse())) {
            None => Ok(default.missed),
            Some((_, Ok(missed))) if missed > 0 => Ok(missed),
            Some((text, _)) => Err(expected(text, "a whole number above zero")),
        };
        let or = |text: &Option<String>, default| text.as_deref().map_or(Ok(default), duration);
        let (min, max) = (or(&raw.min, default.min), or(&raw.max, default.max));
        let order = match (&min, &max) {
            (Ok(min), Ok(max)) if min > max => Err("it is less than min".to_owned()),
            _ => Ok(()),
        };
        let missed = self.problems.check(&format!("{place}.auto.missed"), missed);
        let min = self.problems.check(&format!("{place}.auto.min"), min);
        let max = self.problems.check(&format!("{place}.auto.max"), max);
        self.problems.check(&format!("{place}.auto.max"), order)?;
        Some(AutoTtl { missed: missed?, min: min?, max: max? })
    }

    /// Without a URL nobody is told: `Ok(None)`. `None` where something is wrong.
    #[expect(clippy::option_option, reason = "the outer one is that of every reader here")]
    fn notify(&mut self) -> Option<Option<webhook::Options>> {
        let url = self.get("notify.url", |url| {
            let plain = url.starts_with("http://") || url.starts_with("https://");
            if url.is_empty() || plain {
                Ok(url.to_owned())
            } else {
                Err(expected(url, "a URL that begins with http:// or https://"))
            }
        });
        let format = self.get("notify.format", |text| match text {
            "json" => Ok(webhook::Format::Json),
            "alertmanager" => Ok(webhook::Format::Alertmanager),
            _ => Err(expected(text, "json or alertmanager")),
        });
        let secret = self.get("notify.secret", |text| Ok(text.to_owned()))?;
        let secret = (!secret.is_empty()).then_some(secret);
        let (url, format) = (url?, format?);
        Some((!url.is_empty()).then_some(webhook::Options { url, format, secret }))
    }
}

/// What is valid and still hardly meant.
fn warnings(policy: &TtlPolicy, sources: &Sources) -> Vec<String> {
    let place = |at: usize| sources.rules.get(at).map_or("", |rule| rule.place.as_str());
    let covered = policy.covered_rules().filter_map(|(at, by)| {
        let (rule, earlier) = (policy.rules.get(at)?, policy.rules.get(by)?);
        Some(format!(
            "{}: no group comes to this rule: all that {} matches, the earlier rule {} ({}) matches",
            place(at),
            rule.selector,
            by + 1,
            earlier.selector
        ))
    });
    covered.collect()
}

/// Lengths on disk are 32 bits; what is stored of a push is smaller than the push.
const DECODED_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

fn validate(sources: &Sources, problems: Problems) -> Result<Config, Problems> {
    let mut reader = Reader { sources, problems };
    let http = reader.http();
    let persistence_file = reader.file("persistence.file");
    reader.duration("persistence.interval");
    let path = match &persistence_file {
        // Beside the file, so that a gateway of the same flags finds the same metrics.
        Some(file) if reader.is_default("storage.path") => {
            let mut name = file.clone().into_os_string();
            name.push(".tidegate");
            Some(PathBuf::from(name))
        }
        _ => reader.get("storage.path", |text| match text {
            "" => Err("expected a folder".to_owned()),
            path => Ok(PathBuf::from(path)),
        }),
    };
    let names = reader.switch("push.enable-utf8-names");
    let unchecked = reader.switch("push.disable-consistency-check");
    let cache_bytes = reader.size_or_auto("storage.cache-size", memory::store_cache());
    let sync = reader.get("storage.sync", |text| match text {
        "always" => Ok(gateway::Sync::Always),
        text => duration(text)
            .map(gateway::Sync::Within)
            .map_err(|_| expected(text, "always, or a duration such as 1s")),
    });
    let ttl = reader.ttl();
    let downtime = reader.get("ttl.downtime", |text| match text {
        "count" => Ok(gateway::Downtime::Count),
        "pause" => Ok(gateway::Downtime::Pause),
        _ => Err(expected(text, "count or pause")),
    });
    let startup_grace = reader.duration("ttl.startup-grace");
    let expose_deadline = reader.switch("ttl.expose-deadline");
    let history_groups = reader.get("history.groups", |text| {
        text.replace('_', "").parse().map_err(|_| expected(text, "a whole number"))
    });
    let history_bytes = reader.size("history.size");
    let notify = reader.notify();
    let watch = reader.switch("config.watch");
    let limits = reader.limits();
    let log = reader.log();
    let shutdown_grace = reader.duration("limits.shutdown-timeout");
    let commit_timeout = reader.duration("storage.commit-timeout");
    let warnings = ttl.as_ref().map(|ttl| warnings(ttl, sources)).unwrap_or_default();
    let config = (|| {
        Some(Config {
            http: http?,
            store: store::Options { path: path?, cache_bytes: cache_bytes? },
            gateway: gateway::Options {
                ttl: ttl?,
                downtime: downtime?,
                startup_grace: startup_grace?,
                expose_deadline: expose_deadline?,
                history: gateway::HistoryLimits { groups: history_groups?, bytes: history_bytes? },
                sync: sync?,
                limits: limits?,
                names: if names? { NameRules::Utf8 } else { NameRules::Legacy },
                consistency_check: !unchecked?,
            },
            log: log?,
            shutdown_grace: shutdown_grace?,
            commit_timeout: commit_timeout?,
            persistence_file,
            notify: notify?,
            file: None,
            watch: watch?,
            warnings,
            in_force: sources.in_force(),
        })
    })();
    match config {
        Some(config) if reader.problems.is_empty() => Ok(config),
        _ => Err(reader.problems),
    }
}

/// Longer than anybody waits, and short enough for any clock.
const DURATION_MAX: Duration = Duration::from_hours(100 * 365 * 24);

fn duration(text: &str) -> Result<Duration, String> {
    match Ttl::parse(text) {
        Ok(Ttl::After(duration)) => Ok(duration.min(DURATION_MAX)),
        _ => Err(expected(text, "a duration such as 30s or 1h30m")),
    }
}

/// The path of a URL; a bare path is one too.
fn path_of(url: &str) -> &str {
    let has_host = |scheme: &str| scheme.is_empty() || scheme.ends_with(':');
    let rest = match url.split_once("//") {
        Some((scheme, rest)) if has_host(scheme) => {
            rest.find('/').map_or("", |slash| rest.split_at(slash).1)
        }
        _ => url,
    };
    rest.split(['?', '#']).next().unwrap_or("")
}

/// One slash in front and none behind; nothing for the root.
fn route_prefix(path: &str) -> String {
    let path = path.trim_matches('/');
    if path.is_empty() { String::new() } else { format!("/{path}") }
}

/// A duration as Go writes it: `5m0s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = duration.subsec_nanos();
    let rest = if fraction == 0 {
        rest.to_string()
    } else {
        format!("{rest}.{fraction:09}").trim_end_matches('0').to_owned()
    };
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

fn in_memory(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn expected(found: &str, what: &str) -> String {
    format!("expected {what}, found {found:?}")
}

#[cfg(test)]
mod tests;
