//! The settings of a replica, which are there only with `cluster.endpoints`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::system::uname;

use super::reader::Reader;
use super::table::{self, Setting};
use crate::gateway::{Downtime, Sync};
use crate::http::replicas;
use crate::store::{SCHEMA_VERSION, SharedSettings, etcd};

/// A replica of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub etcd: etcd::Options,
    pub replicas: replicas::Options,
}

/// etcd raises a lease of less to this.
const LEASE_TTL_MIN: Duration = Duration::from_secs(2);

/// The settings that count for all groups, beside the TTL policy: a cluster has one of each.
const SHARED: [&str; 15] = [
    "push.disable-consistency-check",
    "push.enable-utf8-names",
    "ttl.downtime",
    "ttl.startup-grace",
    "ttl.expose-deadline",
    "history.groups",
    "history.size",
    "limits.series-per-push",
    "limits.series-per-group",
    "limits.series",
    "limits.groups",
    "limits.labels-per-series",
    "limits.label-name-length",
    "limits.label-value-length",
    "limits.metric-name-length",
];

impl Reader<'_> {
    /// Without endpoints there is no cluster: `Some(None)`. `None` where something is wrong.
    #[expect(clippy::option_option, reason = "the outer one is that of every reader here")]
    pub(super) fn cluster(&mut self) -> Option<Option<Cluster>> {
        let endpoints = self.endpoints();
        let (name, id) = (self.get(&table::CLUSTER_NAME), self.get(&table::CLUSTER_ID));
        let advertise = self.get(&table::CLUSTER_ADVERTISE_URL);
        let secrets = self.secrets();
        let own = self.files([&table::CLUSTER_CA, &table::CLUSTER_CERT, &table::CLUSTER_KEY]);
        let etcd = self.files([
            &table::CLUSTER_ETCD_CA,
            &table::CLUSTER_ETCD_CERT,
            &table::CLUSTER_ETCD_KEY,
        ]);
        let user = self.user();
        let lease_ttl = self.get(&table::CLUSTER_LEASE_TTL);
        if lease_ttl.is_some_and(|ttl| ttl < LEASE_TTL_MIN) {
            self.add(&table::CLUSTER_LEASE_TTL, "expected 2s at least: etcd grants no less");
        }
        let stale_limit = self.get(&table::CLUSTER_STALE_LIMIT);
        let endpoints = endpoints?;
        if endpoints.is_empty() {
            return Some(None);
        }
        if self.get(&table::STORAGE_SYNC) != Some(Sync::Always) {
            let why = "expected always with cluster.endpoints: an answer means that etcd has it";
            self.add(&table::STORAGE_SYNC, why);
        }
        if self.get(&table::PERSISTENCE_FILE).is_some_and(|file| file.is_some()) {
            let why =
                "expected none with cluster.endpoints: `tidegate import` takes it into a cluster";
            self.add(&table::PERSISTENCE_FILE, why);
        }
        let Some(advertise_url) = advertise? else {
            let why = "expected a URL under which the other replicas reach this one";
            self.add(&table::CLUSTER_ADVERTISE_URL, why);
            return None;
        };
        if has_path(&advertise_url) {
            let why = "expected a URL without a path: the other replicas ask for all paths there";
            self.add(&table::CLUSTER_ADVERTISE_URL, why);
        }
        if name.as_ref().is_some_and(|name| name.len() > etcd::NAME_LENGTH_MAX) {
            let max = etcd::NAME_LENGTH_MAX;
            self.add(&table::CLUSTER_NAME, format!("expected a name of at most {max} characters"));
        }
        let secrets = secrets?;
        let on_one_host = is_loopback(&advertise_url);
        let why = if on_one_host {
            "without one whoever runs on this host could pass for a replica, and do what only some may"
        } else {
            "without one only replicas on one host are let in"
        };
        if secrets.is_empty() && (!on_one_host || self.has_guards()) {
            let why = format!("expected a secret, the same on all replicas: {why}");
            self.add(&table::CLUSTER_SECRET, why);
        }
        let host = || uname().nodename().to_string_lossy().into_owned();
        let id = id.map(|id| if id.is_empty() { host() } else { id });
        let settings = self.shared_settings();
        let pauses = self.get(&table::TTL_DOWNTIME).map(|it| it == Downtime::Pause);
        let grace = self.get(&table::TTL_STARTUP_GRACE).map(|grace| !grace.is_zero());
        let has_to_know = pauses.zip(grace).map(|(pauses, grace)| pauses || grace);
        let (ca, cert, key) = etcd?;
        let etcd = etcd::Options {
            endpoints,
            name: name?,
            id: id?,
            advertise_url,
            lease_ttl: lease_ttl?,
            ca,
            cert,
            key,
            user: user?,
            settings,
            schemas: self.sources.schemas.unwrap_or((SCHEMA_VERSION, SCHEMA_VERSION)),
            has_to_know: has_to_know?,
        };
        let (ca, cert, key) = own?;
        let replicas = replicas::Options { secrets, ca, cert, key, stale_limit: stale_limit? };
        Some(Some(Cluster { etcd, replicas }))
    }

    /// Whether not everybody may do everything.
    fn has_guards(&mut self) -> bool {
        self.get(&table::WEB_CONFIG_FILE).is_some_and(|file| file.is_some())
            || !self.sources.tokens.is_empty()
    }

    fn endpoints(&mut self) -> Option<Vec<String>> {
        let endpoints = self.list(&table::CLUSTER_ENDPOINTS)?;
        let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if let Some(other) = endpoints.iter().find(|endpoint| !is_url(endpoint)) {
            let found = super::values::expected(other, "a URL such as http://etcd-1:2379");
            self.add(&table::CLUSTER_ENDPOINTS, found);
            return None;
        }
        Some(endpoints)
    }

    fn secrets(&mut self) -> Option<Vec<String>> {
        let mut secrets = self.list(&table::CLUSTER_SECRET)?;
        if let Some(file) = self.get(&table::CLUSTER_SECRET_FILE)? {
            let text = self.text_of(&table::CLUSTER_SECRET_FILE, &file)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            secrets.extend(lines.map(str::to_owned));
        }
        Some(secrets)
    }

    /// Authorities, certificate and key.
    fn files(
        &mut self,
        [authorities, cert, key]: [&'static Setting<Option<PathBuf>>; 3],
    ) -> Option<(Option<PathBuf>, Option<PathBuf>, Option<PathBuf>)> {
        let files = (self.get(authorities), self.get(cert), self.get(key));
        let (ca, certificate, private) = (files.0?, files.1?, files.2?);
        for (setting, file) in [(authorities, &ca), (cert, &certificate), (key, &private)] {
            if let Some(file) = file {
                self.text_of(setting, file)?;
            }
        }
        if certificate.is_some() != private.is_some() {
            let missing = if private.is_some() { cert } else { key };
            self.add(missing, "expected a file: a certificate and its key come together");
            return None;
        }
        Some((ca, certificate, private))
    }

    #[expect(clippy::option_option, reason = "the outer one is that of every reader here")]
    fn user(&mut self) -> Option<Option<(String, String)>> {
        let name = self.get(&table::CLUSTER_ETCD_USER)?;
        let file = self.get(&table::CLUSTER_ETCD_PASSWORD_FILE)?;
        match (name.is_empty(), file) {
            (true, _) => Some(None),
            (false, None) => {
                let why = "expected a file with the password of cluster.etcd.user";
                self.add(&table::CLUSTER_ETCD_PASSWORD_FILE, why);
                None
            }
            (false, Some(file)) => {
                let text = self.text_of(&table::CLUSTER_ETCD_PASSWORD_FILE, &file)?;
                Some(Some((name, text.trim_end_matches(['\r', '\n']).to_owned())))
            }
        }
    }

    fn text_of<T>(&mut self, setting: &'static Setting<T>, file: &Path) -> Option<String> {
        match std::fs::read_to_string(file) {
            Ok(text) => Some(text),
            Err(error) => {
                self.add(setting, format!("cannot read {}: {error}", file.display()));
                None
            }
        }
    }

    /// Those settings as this replica has them.
    fn shared_settings(&self) -> SharedSettings {
        let rows = SHARED.iter().filter_map(|name| table::Row::find(name));
        rows.map(|row| (row.name.to_owned(), self.texts(row).0)).collect()
    }
}

fn has_path(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    !rest.trim_end_matches('/').chars().all(|c| !matches!(c, '/' | '?' | '#'))
}

/// Whether a URL is of this host alone.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
