//! The table of settings. Flags, environment, TOML keys and `--help` all come from it.

/// A setting with one value, or a list of them.
#[derive(Debug)]
pub(super) struct Setting {
    /// On the command line `--NAME`, in the TOML file the table and key, in the environment
    /// `TIDEGATE_` and the name in capitals.
    pub(super) name: &'static str,
    pub(super) default: &'static str,
    /// The kind of value, for `--help`.
    pub(super) value: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
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

const fn setting(
    name: &'static str,
    default: &'static str,
    value: &'static str,
    help: &'static str,
) -> Setting {
    Setting { name, default, value, help, kind: Kind::Value }
}

const fn switch(name: &'static str, help: &'static str) -> Setting {
    Setting { kind: Kind::Switch, ..setting(name, "false", "", help) }
}

/// All of them but `config.file` and `[[ttl.rules]]`, in the order of `--help`.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        kind: Kind::List,
        ..setting(
            "web.listen-address",
            ":9091",
            "ADDRESS",
            "Address to listen on: host:port, :port or [::1]:port. May be repeated",
        )
    },
    switch(
        "web.systemd-socket",
        "Take the sockets from systemd's socket activation instead of listening on addresses",
    ),
    setting(
        "web.config.file",
        "",
        "FILE",
        "YAML file for TLS, users and their passwords, headers and a rate limit, as the Go \
         Pushgateway has it",
    ),
    setting("web.telemetry-path", "/metrics", "PATH", "Path of the exposition"),
    setting(
        "web.external-url",
        "",
        "URL",
        "URL under which the gateway is reached from outside, if a proxy serves it under a path. \
         The path is the prefix of all others, the host one of the gateway's own",
    ),
    setting(
        "web.route-prefix",
        "",
        "PATH",
        "Prefix of all paths that are served. Empty: the path of web.external-url",
    ),
    switch(
        "web.enable-lifecycle",
        "Let PUT or POST /-/quit stop the gateway, and POST /-/reload have it read its settings again",
    ),
    switch(
        "web.enable-admin-api",
        "Let the API change or delete more than one group: wipe, and what /api/v2 does by selector",
    ),
    Setting {
        kind: Kind::List,
        ..setting(
            "web.cors-origin",
            "",
            "ORIGIN",
            "Origin of pages that may use /api/v2, push and delete in a browser, as in \
             https://example.com. May be repeated",
        )
    },
    Setting {
        kind: Kind::List,
        ..setting(
            "web.allowed-hosts",
            "",
            "HOST",
            "Host under which browsers reach the gateway, as in gateway.example.com, beside its \
             addresses, localhost, the host's name and that of web.external-url: pages of others change \
             nothing. May be repeated",
        )
    },
    switch(
        "web.enable-openmetrics",
        "Offer OpenMetrics 1.0 to scrapers. Mind that it names a counter without its _total in the \
         metadata, and one that has none it calls unknown",
    ),
    switch(
        "push.disable-consistency-check",
        "Accept pushes that contradict what is there, with 202, and leave out what contradicts",
    ),
    switch("push.enable-utf8-names", "Allow any UTF-8 in names of metrics and labels"),
    setting(
        "persistence.file",
        "",
        "FILE",
        "Persistence file of a Go Pushgateway. Read once, into an empty store; never written",
    ),
    setting(
        "persistence.interval",
        "5m",
        "DURATION",
        "Accepted for the Go Pushgateway's sake. Not needed: every push is stored at once",
    ),
    setting(
        "storage.path",
        "data",
        "DIR",
        "Folder of the store. Where only persistence.file is given: its name with .tidegate",
    ),
    setting(
        "storage.sync",
        "always",
        "WHEN",
        "When a push is on disk: always, before it is answered; or a duration, at most that much later",
    ),
    setting(
        "storage.cache-size",
        "auto",
        "SIZE",
        "Page cache of the store; auto is a sixteenth of the memory that the process may have, and \
         64MiB at most",
    ),
    setting(
        "storage.commit-timeout",
        "1m",
        "DURATION",
        "A commit that takes longer ends the process with an error, for a supervisor to start it \
         again: the disk is stuck",
    ),
    setting(
        "ttl.default",
        "7d",
        "TTL",
        "How long a group lives after its last push, where no rule matches and the push says \
         nothing: a duration such as 36h or 7d, or never",
    ),
    setting(
        "ttl.min",
        "1s",
        "DURATION",
        "Least TTL that a push can ask for; less is raised to it, and the answer says so. 0s is let \
         through: it stores the push and expires it at once",
    ),
    setting(
        "ttl.max",
        "never",
        "TTL",
        "Greatest TTL that a push can ask for; more is lowered to it, and the answer says so",
    ),
    setting(
        "ttl.downtime",
        "count",
        "WHAT",
        "What becomes of deadlines while the gateway is down: count, they come nearer; pause, they \
         move by the time that it was down",
    ),
    setting(
        "ttl.startup-grace",
        "0s",
        "DURATION",
        "Nothing expires before the gateway has run for so long",
    ),
    switch(
        "ttl.expose-deadline",
        "Give each group a gauge push_expiry_time_seconds that says when it expires",
    ),
    setting(
        "history.groups",
        "1000",
        "N",
        "How many of the latest expired and deleted groups are kept, to be looked at and brought \
         back; 0 keeps none",
    ),
    setting("history.size", "64MiB", "SIZE", "Most bytes of such groups in the store"),
    switch(
        "config.watch",
        "Read config.file again when it changes, as at SIGHUP: TTLs then apply to what is there",
    ),
    setting(
        "notify.url",
        "",
        "URL",
        "HTTP endpoint that is told of groups that expire or are deleted, in batches",
    ),
    setting(
        "notify.format",
        "json",
        "FORMAT",
        "How it is told: json, or alertmanager, for the API of an Alertmanager (/api/v2/alerts)",
    ),
    setting(
        "notify.secret",
        "",
        "SECRET",
        "Key with which what is sent is signed (HMAC-SHA256, header Tidegate-Signature)",
    ),
    Setting {
        kind: Kind::List,
        ..setting(
            "access.anonymous",
            "",
            "WHAT",
            "What may be done by whoever shows neither a token of [[access.tokens]] nor a user of \
             web.config.file: push, delete, scrape, read, admin",
        )
    },
    Setting {
        kind: Kind::List,
        ..setting(
            "access.admin-from",
            "",
            "NETWORK",
            "Addresses from which groups may be changed by selector, wiped and restored, as in \
             10.0.0.0/8. Empty: from everywhere",
        )
    },
    Setting {
        kind: Kind::List,
        ..setting(
            "access.lifecycle-from",
            "",
            "NETWORK",
            "Addresses from which the gateway may be reloaded and stopped. Empty: from everywhere",
        )
    },
    setting("limits.body-size", "64MiB", "SIZE", "Largest body of a push, as it is sent"),
    setting(
        "limits.decoded-size",
        "256MiB",
        "SIZE",
        "Largest body of a push, once it is decompressed",
    ),
    setting("limits.series-per-push", "1000000", "N", "Most series in one push"),
    setting("limits.series-per-group", "1000000", "N", "Most series in one group"),
    setting("limits.series", "20000000", "N", "Most series in all groups"),
    setting("limits.groups", "2000000", "N", "Most groups"),
    setting("limits.labels-per-series", "128", "N", "Most labels that a pushed series may have"),
    setting("limits.label-name-length", "1024", "BYTES", "Longest label name"),
    setting("limits.label-value-length", "32KiB", "BYTES", "Longest label value"),
    setting("limits.metric-name-length", "1024", "BYTES", "Longest metric name"),
    setting("limits.connections", "10000", "N", "Most connections at a time; others wait"),
    setting(
        "limits.header-timeout",
        "2m",
        "DURATION",
        "Time for the head of a request to arrive, and for a connection to be idle",
    ),
    setting("limits.body-timeout", "1m", "DURATION", "Time for a body to arrive"),
    setting(
        "limits.group-size",
        "64MiB",
        "SIZE",
        "Most bytes of one group, as a scrape shows them",
    ),
    setting(
        "limits.rendered-size",
        "auto",
        "SIZE",
        "Most bytes of all groups, as a scrape shows them; auto is an eighth of the memory that the \
         process may have",
    ),
    setting(
        "limits.bytes-in-flight",
        "auto",
        "SIZE",
        "Most memory that all requests under way take between them; beyond it the answer is 503, or \
         413 for one that is too much alone; auto is an eighth of the memory that the process may \
         have, and 1GiB at most",
    ),
    setting("limits.followers", "100", "N", "Most clients that follow events at a time"),
    setting(
        "limits.send-timeout",
        "1m",
        "DURATION",
        "Time for a client to take an answer, or the next event; beyond it the connection is closed",
    ),
    setting(
        "limits.queue",
        "16384",
        "N",
        "Most pushes that wait to be stored; beyond it the answer is 503",
    ),
    setting(
        "limits.shutdown-timeout",
        "30s",
        "DURATION",
        "Time for requests under way to finish once the gateway stops",
    ),
    setting("log.level", "info", "LEVEL", "debug, info, warn or error"),
    setting("log.format", "logfmt", "FORMAT", "logfmt or json"),
];

/// Other names for settings.
pub(super) const ALIASES: &[(&str, &str)] = &[("metric.timetolive", "ttl.default")];

impl Setting {
    /// Its name in the environment.
    pub(super) fn variable(&self) -> String {
        format!("TIDEGATE_{}", self.name.to_ascii_uppercase().replace(['.', '-'], "_"))
    }

    /// The setting of a name or alias.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        let name = alias.map_or(name, |(_, name)| name);
        SETTINGS.iter().find(|setting| setting.name == name)
    }
}
