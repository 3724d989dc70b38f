//! From sources to one valid [`Config`].

use std::path::PathBuf;
use std::time::Duration;

use super::problems::Problems;
use super::reader::Reader;
use super::rules::warnings;
use super::sources::Sources;
use super::table::{self, Row, SETTINGS};
use super::{Config, memory, values};
use crate::model::NameRules;
use crate::telemetry::log;
use crate::{gateway, http, store, webhook};

/// Lengths on disk are 32 bits, and a push takes less there than as it was sent.
const DECODED_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

pub(super) fn validate(sources: &Sources, problems: Problems) -> Result<Config, Problems> {
    let mut reader = Reader { sources, problems };
    // Each part is read before any is missed, so that all problems are found.
    let http = reader.http();
    let store = reader.store();
    let cluster = reader.cluster();
    let gateway = reader.gateway();
    let notify = reader.notify();
    let log = reader.log();
    let persistence_file = reader.get(&table::PERSISTENCE_FILE);
    reader.get(&table::PERSISTENCE_INTERVAL);
    let watch = reader.get(&table::CONFIG_WATCH);
    let shutdown_grace = reader.get(&table::LIMITS_SHUTDOWN_TIMEOUT);
    let commit_timeout = reader.get(&table::STORAGE_COMMIT_TIMEOUT);
    let config = (|| {
        let (gateway, cluster) = (gateway?, cluster?);
        let replicas = cluster.as_ref().map(|cluster| cluster.replicas.clone());
        Some(Config {
            warnings: warnings(&gateway.ttl, sources),
            http: http::Options { replicas, ..http? },
            store: store?,
            cluster,
            gateway,
            log: log?,
            shutdown_grace: shutdown_grace?,
            commit_timeout: commit_timeout?,
            persistence_file: persistence_file?,
            notify: notify?,
            file: None,
            watch: watch?,
            in_force: sources.in_force(),
        })
    })();
    match config {
        Some(config) if reader.problems.is_empty() => Ok(config),
        _ => Err(reader.problems),
    }
}

impl Reader<'_> {
    fn store(&mut self) -> Option<store::Options> {
        let path = match self.get(&table::PERSISTENCE_FILE)? {
            // Beside the file, so that a gateway of the same flags finds the same metrics.
            Some(file) if self.is_default(&table::STORAGE_PATH) => {
                let mut name = file.into_os_string();
                name.push(".tidegate");
                Some(PathBuf::from(name))
            }
            _ => self.get(&table::STORAGE_PATH),
        };
        let cache_bytes = self.get(&table::STORAGE_CACHE_SIZE);
        let cache_bytes = cache_bytes?.unwrap_or_else(memory::store_cache);
        Some(store::Options { path: path?, cache_bytes })
    }

    fn gateway(&mut self) -> Option<gateway::Options> {
        let ttl = self.ttl();
        let downtime = self.get(&table::TTL_DOWNTIME);
        let startup_grace = self.get(&table::TTL_STARTUP_GRACE);
        let expose_deadline = self.get(&table::TTL_EXPOSE_DEADLINE);
        let (groups, bytes) = (self.get(&table::HISTORY_GROUPS), self.get(&table::HISTORY_SIZE));
        let sync = self.get(&table::STORAGE_SYNC);
        let limits = self.limits();
        let names = self.get(&table::PUSH_ENABLE_UTF8_NAMES);
        let unchecked = self.get(&table::PUSH_DISABLE_CONSISTENCY_CHECK);
        Some(gateway::Options {
            ttl: ttl?,
            downtime: downtime?,
            startup_grace: startup_grace?,
            expose_deadline: expose_deadline?,
            history: gateway::HistoryLimits { groups: groups?, bytes: bytes? },
            sync: sync?,
            limits: limits?,
            names: if names? { NameRules::Utf8 } else { NameRules::Legacy },
            consistency_check: !unchecked?,
        })
    }

    fn limits(&mut self) -> Option<gateway::Limits> {
        let series_per_push = self.get(&table::LIMITS_SERIES_PER_PUSH);
        let series_per_group = self.get(&table::LIMITS_SERIES_PER_GROUP);
        let series = self.get(&table::LIMITS_SERIES);
        let groups = self.get(&table::LIMITS_GROUPS);
        let labels_per_series = self.get(&table::LIMITS_LABELS_PER_SERIES);
        let label_name_bytes = self.get(&table::LIMITS_LABEL_NAME_LENGTH);
        let label_value_bytes = self.get(&table::LIMITS_LABEL_VALUE_LENGTH);
        let metric_name_bytes = self.get(&table::LIMITS_METRIC_NAME_LENGTH);
        let group_bytes = self.get(&table::LIMITS_GROUP_SIZE);
        let rendered_bytes = self.get(&table::LIMITS_RENDERED_SIZE);
        let queue = self.get(&table::LIMITS_QUEUE);
        // Groups and series are numbered in 32 bits.
        let numbered = |count: u64| count.min(u64::from(u32::MAX));
        Some(gateway::Limits {
            series_per_push: series_per_push?,
            series_per_group: series_per_group?,
            series: numbered(series?),
            groups: numbered(groups?),
            labels_per_series: labels_per_series?,
            label_name_bytes: label_name_bytes?,
            label_value_bytes: label_value_bytes?,
            metric_name_bytes: metric_name_bytes?,
            group_bytes: group_bytes?,
            rendered_bytes: rendered_bytes?.unwrap_or_else(memory::rendered),
            queue: in_memory(queue?),
        })
    }

    fn http(&mut self) -> Option<http::Options> {
        let paths = self.paths();
        let flags = self.flags(paths.as_ref());
        let listen = self.list(&table::WEB_LISTEN_ADDRESS);
        if listen.as_ref().is_some_and(Vec::is_empty) {
            let none = values::expected("", "host:port or :port");
            self.add(&table::WEB_LISTEN_ADDRESS, none);
        }
        let systemd_socket = self.get(&table::WEB_SYSTEMD_SOCKET);
        let web_config = self.get(&table::WEB_CONFIG_FILE);
        let lifecycle = self.get(&table::WEB_ENABLE_LIFECYCLE);
        let admin = self.get(&table::WEB_ENABLE_ADMIN_API);
        let openmetrics = self.get(&table::WEB_ENABLE_OPENMETRICS);
        let access = self.access();
        let cors_origins = self.list(&table::WEB_CORS_ORIGIN);
        let allowed_hosts = self.list(&table::WEB_ALLOWED_HOSTS);
        if let (Some(access), Some(None)) = (&access, &web_config)
            && let Err(nobody_else) = access.check(false)
        {
            self.add(&table::ACCESS_ANONYMOUS, nobody_else);
        }
        let limits = self.http_limits();
        Some(http::Options {
            listen: listen?,
            systemd_socket: systemd_socket?,
            web_config: web_config?,
            paths: paths?,
            lifecycle: lifecycle?,
            admin: admin?,
            openmetrics: openmetrics?,
            access: access?,
            cors_origins: cors_origins?,
            allowed_hosts: allowed_hosts?,
            flags,
            limits: limits?,
            replicas: None,
        })
    }

    fn http_limits(&mut self) -> Option<http::Limits> {
        let body_bytes = self.get(&table::LIMITS_BODY_SIZE);
        let decoded_bytes = self.get(&table::LIMITS_DECODED_SIZE);
        let connections = self.get(&table::LIMITS_CONNECTIONS);
        let header_timeout = self.get(&table::LIMITS_HEADER_TIMEOUT);
        let body_timeout = self.get(&table::LIMITS_BODY_TIMEOUT);
        let bytes_in_flight = self.get(&table::LIMITS_BYTES_IN_FLIGHT);
        let followers = self.get(&table::LIMITS_FOLLOWERS);
        let send_timeout = self.get(&table::LIMITS_SEND_TIMEOUT);
        let bytes_in_flight = bytes_in_flight?.unwrap_or_else(memory::bytes_in_flight);
        Some(http::Limits {
            body_bytes: in_memory(body_bytes?),
            decoded_bytes: in_memory(decoded_bytes?.min(DECODED_BYTES_MAX)),
            connections: in_memory(connections?).min(tokio::sync::Semaphore::MAX_PERMITS),
            header_timeout: header_timeout?,
            body_timeout: body_timeout?,
            bytes_in_flight: in_memory(bytes_in_flight),
            followers: in_memory(followers?),
            send_timeout: send_timeout?,
        })
    }

    /// Where things are served. Follows `computeRoutePrefix` of the Go Pushgateway.
    fn paths(&mut self) -> Option<http::Paths> {
        let external_url = self.get(&table::WEB_EXTERNAL_URL)?;
        let given = self.get(&table::WEB_ROUTE_PREFIX)?;
        let prefix = route_prefix(if given.is_empty() { path_of(&external_url) } else { &given });
        let telemetry = self.get(&table::WEB_TELEMETRY_PATH)?;
        Some(http::Paths { prefix, telemetry, external_url })
    }

    /// The settings that the Go Pushgateway has as flags, as its API shows them.
    fn flags(&self, paths: Option<&http::Paths>) -> Vec<(String, String)> {
        let is = |row: &Row, other: &Row| row.name == other.name;
        let shown = |row: &'static Row| {
            let (values, _) = self.texts(row);
            let text = if is(row, &table::WEB_ROUTE_PREFIX.row) {
                paths.map_or("", |paths| &paths.prefix).to_owned()
            } else if is(row, &table::PERSISTENCE_INTERVAL.row) {
                let interval = values.last().and_then(|text| values::duration(text).ok());
                interval.map(go_duration).unwrap_or_default()
            } else {
                values.join(",")
            };
            (row.name.to_owned(), text)
        };
        let mut flags: Vec<_> =
            SETTINGS.iter().copied().filter(|row| row.upstream).map(shown).collect();
        flags.sort_unstable();
        flags
    }

    fn log(&mut self) -> Option<log::Options> {
        let (level, format) = (self.get(&table::LOG_LEVEL), self.get(&table::LOG_FORMAT));
        Some(log::Options { level: level?, format: format? })
    }

    /// Without a URL nobody is notified: `Some(None)`. `None` where something is wrong.
    #[expect(clippy::option_option, reason = "the outer one is that of every reader here")]
    fn notify(&mut self) -> Option<Option<webhook::Options>> {
        let url = self.get(&table::NOTIFY_URL);
        let format = self.get(&table::NOTIFY_FORMAT);
        let secret = self.get(&table::NOTIFY_SECRET);
        let (url, format, secret) = (url?, format?, secret?);
        Some(url.map(|url| webhook::Options { url, format, secret }))
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
