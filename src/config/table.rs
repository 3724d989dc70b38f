//! The table of settings: a row has the name, the default, the type, how a value is parsed, what
//! `--help` says, and the attributes. Flags, environment, TOML keys, `--help`, reloads and the API read
//! it.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::values;
use crate::gateway::{Downtime, Sync};
use crate::http::access::Permission;
use crate::model::Ttl;
use crate::telemetry::log;
use crate::webhook;

/// A setting with values of type `T`.
#[derive(Debug)]
pub(super) struct Setting<T> {
    pub(super) row: Row,
    /// Parses one value. The error says what was expected.
    pub(super) parse: fn(&str) -> Result<T, String>,
}

/// A row of the table: all about a setting but its type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// On the command line `--NAME`, in the TOML file the table and key, in the environment
    /// `TIDEGATE_` and the name in capitals.
    pub(super) name: &'static str,
    pub(super) alias: Option<&'static str>,
    pub(super) default: &'static str,
    /// The kind of value, for `--help`.
    pub(super) value: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    /// Whether a reload replaces it.
    pub(super) live: bool,
    pub(super) secret: Secret,
    /// Whether the Go Pushgateway has it as a flag, too.
    pub(super) upstream: bool,
    pub(super) for_store: ForStore,
}

/// How a setting is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As one value.
    Value,
    /// May be given several times, or as an array.
    List,
    /// `--NAME` and `--no-NAME`; `true` and `false` elsewhere.
    Switch,
}

/// The part of a value that nobody is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secret {
    None,
    Whole,
    /// Of a URL all but the scheme and the host.
    Path,
}

/// Whether commands on a store have a setting as a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForStore {
    No,
    Yes,
    /// Without a word in `--help`.
    Hidden,
}

const fn value<T>(
    name: &'static str,
    default: &'static str,
    value: &'static str,
    parse: fn(&str) -> Result<T, String>,
    help: &'static str,
) -> Setting<T> {
    let row = Row {
        name,
        alias: None,
        default,
        value,
        help,
        kind: Kind::Value,
        live: false,
        secret: Secret::None,
        upstream: false,
        for_store: ForStore::No,
    };
    Setting { row, parse }
}

const fn list<T>(
    name: &'static str,
    default: &'static str,
    of: &'static str,
    parse: fn(&str) -> Result<T, String>,
    help: &'static str,
) -> Setting<T> {
    let Setting { row, parse } = value(name, default, of, parse, help);
    Setting { row: Row { kind: Kind::List, ..row }, parse }
}

const fn switch(name: &'static str, help: &'static str) -> Setting<bool> {
    let Setting { row, parse } = value(name, "false", "", values::switch, help);
    Setting { row: Row { kind: Kind::Switch, ..row }, parse }
}

const fn duration(
    name: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting<Duration> {
    value(name, default, "DURATION", values::duration, help)
}

/// In bytes.
const fn size(name: &'static str, default: &'static str, help: &'static str) -> Setting<u64> {
    value(name, default, "SIZE", values::size, help)
}

/// In bytes; `None` is `auto`.
const fn auto_size(name: &'static str, help: &'static str) -> Setting<Option<u64>> {
    value(name, "auto", "SIZE", values::auto_size, help)
}

const fn count(name: &'static str, default: &'static str, help: &'static str) -> Setting<u64> {
    value(name, default, "N", values::count, help)
}

impl<T> Setting<T> {
    const fn with(self, row: Row) -> Self {
        Self { row, parse: self.parse }
    }

    const fn live(self) -> Self {
        let row = Row { live: true, ..self.row };
        self.with(row)
    }

    const fn upstream(self) -> Self {
        let row = Row { upstream: true, ..self.row };
        self.with(row)
    }

    const fn for_store(self) -> Self {
        let row = Row { for_store: ForStore::Yes, ..self.row };
        self.with(row)
    }

    const fn for_store_hidden(self) -> Self {
        let row = Row { for_store: ForStore::Hidden, ..self.row };
        self.with(row)
    }

    const fn secret(self, secret: Secret) -> Self {
        let row = Row { secret, ..self.row };
        self.with(row)
    }

    const fn alias(self, alias: &'static str) -> Self {
        let row = Row { alias: Some(alias), ..self.row };
        self.with(row)
    }
}

/// A constant for each setting, and the table of their rows.
macro_rules! settings {
    ($($name:ident: $type:ty = $setting:expr;)*) => {
        $(pub(super) static $name: Setting<$type> = $setting;)*

        /// All settings but `config.file`, `[[ttl.rules]]` and `[[access.tokens]]`, in the order of
        /// `--help`.
        pub(super) static SETTINGS: &[&Row] = &[$(&$name.row),*];
    };
}

settings! {
    WEB_LISTEN_ADDRESS: String = list(
        "web.listen-address", ":9091", "ADDRESS", values::address,
        "Address to listen on: host:port, :port or [::1]:port. May be repeated",
    ).upstream();
    WEB_SYSTEMD_SOCKET: bool = switch(
        "web.systemd-socket",
        "Take the sockets from systemd's socket activation instead of listening on addresses",
    ).upstream();
    WEB_CONFIG_FILE: Option<PathBuf> = value(
        "web.config.file", "", "FILE", values::file,
        "YAML file for TLS, users and their passwords, headers and a rate limit, as the Go \
         Pushgateway has it",
    ).upstream();
    WEB_TELEMETRY_PATH: String = value(
        "web.telemetry-path", "/metrics", "PATH", values::telemetry_path,
        "Path of the exposition",
    ).upstream();
    WEB_EXTERNAL_URL: String = value(
        "web.external-url", "", "URL", values::text,
        "URL under which the gateway is reached from outside, if a proxy serves it under a \
         path. The path is the prefix of all others, the host one of the gateway's own",
    ).upstream();
    WEB_ROUTE_PREFIX: String = value(
        "web.route-prefix", "", "PATH", values::text,
        "Prefix of all paths that are served. Empty: the path of web.external-url",
    ).upstream();
    WEB_ENABLE_LIFECYCLE: bool = switch(
        "web.enable-lifecycle",
        "Let PUT or POST /-/quit stop the gateway, and /-/reload have it read its \
         settings again",
    ).upstream();
    WEB_ENABLE_ADMIN_API: bool = switch(
        "web.enable-admin-api",
        "Let the API change or delete more than one group: wipe, and changes in /api/v2 by \
         selector",
    ).upstream();
    WEB_CORS_ORIGIN: String = list(
        "web.cors-origin", "", "ORIGIN", values::origin,
        "Origin of pages that may use /api/v2, push and delete in a browser, as in \
         https://example.com. May be repeated",
    );
    WEB_ALLOWED_HOSTS: String = list(
        "web.allowed-hosts", "", "HOST", values::host,
        "Host under which browsers reach the gateway, as in gateway.example.com, beside its \
         addresses, localhost, the host's name and that of web.external-url: pages of others \
         change nothing. May be repeated",
    );
    WEB_ENABLE_OPENMETRICS: bool = switch(
        "web.enable-openmetrics",
        "Offer OpenMetrics 1.0 to scrapers. It names a counter without its _total in \
         the metadata, and one that has none it calls unknown",
    );
    PUSH_DISABLE_CONSISTENCY_CHECK: bool = switch(
        "push.disable-consistency-check",
        "Accept pushes that contradict stored groups, with 202, and leave out the families that \
         contradict",
    ).upstream();
    PUSH_ENABLE_UTF8_NAMES: bool = switch(
        "push.enable-utf8-names",
        "Allow any UTF-8 in names of metrics and labels",
    ).upstream().for_store();
    PERSISTENCE_FILE: Option<PathBuf> = value(
        "persistence.file", "", "FILE", values::file,
        "Persistence file of a Go Pushgateway. Read once, into an empty store; never written",
    ).upstream();
    PERSISTENCE_INTERVAL: Duration = duration(
        "persistence.interval", "5m",
        "Accepted for the Go Pushgateway's sake. Not needed: every push is stored at once",
    ).upstream();
    STORAGE_PATH: PathBuf = value(
        "storage.path", "data", "DIR", values::folder,
        "Folder of the store. Where only persistence.file is given: its name with .tidegate",
    ).upstream().for_store();
    STORAGE_SYNC: Sync = value(
        "storage.sync", "always", "WHEN", values::sync,
        "When a push is on disk: always, before it is answered; or a duration, at most that \
         much later",
    );
    STORAGE_CACHE_SIZE: Option<u64> = auto_size(
        "storage.cache-size",
        "Page cache of the store; auto is a sixteenth of the memory that the process may have, \
         and 64MiB at most",
    ).for_store();
    STORAGE_COMMIT_TIMEOUT: Duration = duration(
        "storage.commit-timeout", "1m",
        "A commit that takes longer ends the process with an error, for a supervisor to start \
         it again: the disk is stuck",
    );
    TTL_DEFAULT: Ttl = value(
        "ttl.default", "7d", "TTL", values::ttl,
        "How long a group lives after its last push, where no rule matches and the push says \
         nothing: a duration such as 36h or 7d, or never",
    ).upstream().live().for_store().alias("metric.timetolive");
    TTL_MIN: Duration = duration(
        "ttl.min", "1s",
        "Least TTL that a push can ask for; less is raised to it, and the answer says so. 0s \
         is let through: it stores the push and expires it at once",
    ).live();
    TTL_MAX: Ttl = value(
        "ttl.max", "never", "TTL", values::ttl,
        "Greatest TTL that a push can ask for; more is lowered to it, and the answer says so",
    ).live();
    TTL_DOWNTIME: Downtime = value(
        "ttl.downtime", "count", "WHAT", values::downtime,
        "Deadlines while the gateway is down: count, they come nearer; pause, \
         they move by the time that it was down",
    );
    TTL_STARTUP_GRACE: Duration = duration(
        "ttl.startup-grace", "0s",
        "Nothing expires before the gateway has run for so long",
    );
    TTL_EXPOSE_DEADLINE: bool = switch(
        "ttl.expose-deadline",
        "Give each group a gauge push_expiry_time_seconds that says when it expires",
    );
    HISTORY_GROUPS: usize = value(
        "history.groups", "1000", "N", values::number,
        "How many of the latest expired and deleted groups are kept, to be looked at and \
         restored; 0 keeps none",
    );
    HISTORY_SIZE: u64 = size("history.size", "64MiB", "Most bytes of such groups in the store");
    CLUSTER_ENDPOINTS: String = list(
        "cluster.endpoints", "", "URL", values::text,
        "URL of a member of etcd, as in http://etcd-1:2379. May be repeated. Several gateways with \
         the same etcd and cluster.name are replicas: they share their groups, in place of \
         storage.path",
    );
    CLUSTER_NAME: String = value(
        "cluster.name", "main", "NAME", values::name,
        "Name of the cluster: several may share one etcd",
    );
    CLUSTER_ID: String = value(
        "cluster.id", "", "NAME", values::optional_name,
        "Name of this replica. Empty: the host's name",
    );
    CLUSTER_ADVERTISE_URL: Option<String> = value(
        "cluster.advertise-url", "", "URL", values::url,
        "URL under which other replicas reach this one, as in http://gateway-1:9091",
    );
    CLUSTER_SECRET: String = list(
        "cluster.secret", "", "SECRET", values::text,
        "Secret by which replicas know each other, the same on all. A second one is taken, too, \
         for a change of secrets",
    ).secret(Secret::Whole);
    CLUSTER_SECRET_FILE: Option<PathBuf> = value(
        "cluster.secret-file", "", "FILE", values::file,
        "File with these secrets, one a line",
    );
    CLUSTER_CA: Option<PathBuf> = value(
        "cluster.ca", "", "FILE", values::file,
        "PEM file of the authorities that replicas trust for each other. Empty: those of the system",
    );
    CLUSTER_CERT: Option<PathBuf> = value(
        "cluster.cert", "", "FILE", values::file,
        "PEM file of the certificate by which this replica is a client of others",
    );
    CLUSTER_KEY: Option<PathBuf> = value(
        "cluster.key", "", "FILE", values::file,
        "PEM file of the key of that certificate",
    );
    CLUSTER_ETCD_CA: Option<PathBuf> = value(
        "cluster.etcd.ca", "", "FILE", values::file,
        "PEM file of the authorities to trust for etcd. Empty: those of the system",
    );
    CLUSTER_ETCD_CERT: Option<PathBuf> = value(
        "cluster.etcd.cert", "", "FILE", values::file,
        "PEM file of the certificate by which this replica is a client of etcd",
    );
    CLUSTER_ETCD_KEY: Option<PathBuf> = value(
        "cluster.etcd.key", "", "FILE", values::file,
        "PEM file of the key of that certificate",
    );
    CLUSTER_ETCD_USER: String = value(
        "cluster.etcd.user", "", "NAME", values::text,
        "User of etcd",
    );
    CLUSTER_ETCD_PASSWORD_FILE: Option<PathBuf> = value(
        "cluster.etcd.password-file", "", "FILE", values::file,
        "File with the password of that user",
    );
    CLUSTER_LEASE_TTL: Duration = duration(
        "cluster.lease-ttl", "5s",
        "A replica that leads and is not heard of for so long is replaced; 2s at least",
    );
    CLUSTER_STALE_LIMIT: Duration = duration(
        "cluster.stale-limit", "1m",
        "Scrapes of a replica that has heard nothing of the leader for longer are answered with 503",
    );
    CONFIG_WATCH: bool = switch(
        "config.watch",
        "Read config.file again when it changes, as at SIGHUP: TTLs then apply to what is \
         there",
    );
    NOTIFY_URL: Option<String> = value(
        "notify.url", "", "URL", values::url,
        "HTTP endpoint that is told of groups that expire or are deleted, in batches",
    ).secret(Secret::Path);
    NOTIFY_FORMAT: webhook::Format = value(
        "notify.format", "json", "FORMAT", values::notify_format,
        "How it is told: json, or alertmanager, for the API of an Alertmanager \
         (/api/v2/alerts)",
    );
    NOTIFY_SECRET: Option<String> = value(
        "notify.secret", "", "SECRET", values::secret,
        "Key with which what is sent is signed (HMAC-SHA256, header Tidegate-Signature)",
    ).secret(Secret::Whole);
    ACCESS_ANONYMOUS: Permission = list(
        "access.anonymous", "", "WHAT", values::permission,
        "Permissions of requests with neither a token of [[access.tokens]] nor a user of \
         web.config.file: push, delete, scrape, read, admin",
    ).live();
    ACCESS_ADMIN_FROM: IpNet = list(
        "access.admin-from", "", "NETWORK", values::network,
        "Addresses from which groups may be changed by selector, wiped and restored, as in \
         10.0.0.0/8. Empty: from everywhere",
    ).live();
    ACCESS_LIFECYCLE_FROM: IpNet = list(
        "access.lifecycle-from", "", "NETWORK", values::network,
        "Addresses from which the gateway may be reloaded and stopped. Empty: from everywhere",
    ).live();
    LIMITS_BODY_SIZE: u64 = size(
        "limits.body-size", "64MiB",
        "Largest body of a push, as it is sent",
    ).for_store_hidden();
    LIMITS_DECODED_SIZE: u64 = size(
        "limits.decoded-size", "256MiB",
        "Largest body of a push, once it is decompressed",
    ).for_store_hidden();
    LIMITS_SERIES_PER_PUSH: u64 = count(
        "limits.series-per-push", "1000000",
        "Most series in one push",
    ).for_store_hidden();
    LIMITS_SERIES_PER_GROUP: u64 = count(
        "limits.series-per-group", "1000000",
        "Most series in one group",
    ).for_store_hidden();
    LIMITS_SERIES: u64 = count(
        "limits.series", "20000000",
        "Most series in all groups",
    ).for_store_hidden();
    LIMITS_GROUPS: u64 = count("limits.groups", "2000000", "Most groups").for_store_hidden();
    LIMITS_LABELS_PER_SERIES: u64 = count(
        "limits.labels-per-series", "128",
        "Most labels that a pushed series may have",
    ).for_store_hidden();
    LIMITS_LABEL_NAME_LENGTH: u64 = value(
        "limits.label-name-length", "1024", "BYTES", values::size,
        "Longest label name",
    ).for_store_hidden();
    LIMITS_LABEL_VALUE_LENGTH: u64 = value(
        "limits.label-value-length", "32KiB", "BYTES", values::size,
        "Longest label value",
    ).for_store_hidden();
    LIMITS_METRIC_NAME_LENGTH: u64 = value(
        "limits.metric-name-length", "1024", "BYTES", values::size,
        "Longest metric name",
    ).for_store_hidden();
    LIMITS_CONNECTIONS: u64 = count(
        "limits.connections", "10000",
        "Most connections at a time; others wait",
    ).for_store_hidden();
    LIMITS_HEADER_TIMEOUT: Duration = duration(
        "limits.header-timeout", "2m",
        "Time for the head of a request to arrive, and for a connection to be idle",
    ).for_store_hidden();
    LIMITS_BODY_TIMEOUT: Duration = duration(
        "limits.body-timeout", "1m",
        "Time for a body to arrive",
    ).for_store_hidden();
    LIMITS_GROUP_SIZE: u64 = size(
        "limits.group-size", "64MiB",
        "Most bytes of one group, as a scrape shows them",
    ).for_store_hidden();
    LIMITS_RENDERED_SIZE: Option<u64> = auto_size(
        "limits.rendered-size",
        "Most bytes of all groups, as a scrape shows them; auto is an eighth of the memory \
         that the process may have",
    ).for_store_hidden();
    LIMITS_BYTES_IN_FLIGHT: Option<u64> = auto_size(
        "limits.bytes-in-flight",
        "Most memory that all requests under way take between them; beyond it the answer is \
         503, or 413 for one that is too much alone; auto is an eighth of the memory that the \
         process may have, and 1GiB at most",
    ).for_store_hidden();
    LIMITS_FOLLOWERS: u64 = count(
        "limits.followers", "100",
        "Most clients that follow events at a time",
    ).for_store_hidden();
    LIMITS_SEND_TIMEOUT: Duration = duration(
        "limits.send-timeout", "1m",
        "Time for a client to take an answer, or the next event; beyond it the connection is \
         closed",
    ).for_store_hidden();
    LIMITS_QUEUE: u64 = count(
        "limits.queue", "16384",
        "Most pushes that wait to be stored; beyond it the answer is 503",
    ).for_store_hidden();
    LIMITS_SHUTDOWN_TIMEOUT: Duration = duration(
        "limits.shutdown-timeout", "30s",
        "Time for requests under way to finish once the gateway stops",
    ).for_store_hidden();
    LOG_LEVEL: tracing::Level = value(
        "log.level", "info", "LEVEL", values::log_level,
        "debug, info, warn or error",
    ).upstream().for_store_hidden();
    LOG_FORMAT: log::Format = value(
        "log.format", "logfmt", "FORMAT", values::log_format,
        "logfmt or json",
    ).upstream().for_store_hidden();
}

impl Row {
    /// Its name in the environment.
    pub(super) fn variable(&self) -> String {
        format!("TIDEGATE_{}", self.name.to_ascii_uppercase().replace(['.', '-'], "_"))
    }

    /// The setting of a name or alias.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        let is = |row: &&&'static Self| row.name == name || row.alias == Some(name);
        SETTINGS.iter().find(is).copied()
    }
}
