//! `web.config.file`: TLS, users, headers, a rate limit. Read again whenever it, or a file that it
//! names, has changed: a certificate is renewed without a restart.
//!
//! Promises
//! - What was let in by nobody's word is not let in because a file is being written: one that is of no
//!   use, or that asks for less than it did, leaves everything as it was until somebody says
//!   otherwise, and the log and a metric say so.

mod auth;
mod file;
mod line;
mod tls;

use std::fs;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hyper::HeaderMap;
use hyper::header::{
    AUTHORIZATION, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use rustls::ServerConfig;
use thiserror::Error;

use crate::telemetry::metrics::SelfMetrics;
use auth::Users;
pub(super) use auth::{Verdict, basic};
use file::File;
use tls::Demands;

/// The file, as it counts.
#[derive(Debug)]
pub struct WebConfig {
    path: PathBuf,
    metrics: Arc<SelfMetrics>,
    /// Held to look at the files, which is quick, or to read them anew.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: Arc<Settings>,
    /// The files as they were when they were last looked at.
    seen: Seen,
    /// Why what they say since does not count; `None` if it does.
    held: Option<String>,
}

type Seen = Vec<(PathBuf, Option<Stamp>)>;

/// The marks by which a changed file is noticed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
}

/// The contents of the file.
#[derive(Debug)]
pub(super) struct Settings {
    tls: Option<Arc<ServerConfig>>,
    demands: Demands,
    headers: Vec<(HeaderName, HeaderValue)>,
    users: Users,
    limiter: Option<DefaultDirectRateLimiter>,
}

/// Why the file is invalid.
#[derive(Debug, Error)]
#[error("{} (web.config.file): {reason}", path.display())]
pub struct WebConfigError {
    path: PathBuf,
    reason: String,
}

/// How to proceed where a file does not count by itself.
const SAY_SO: &str = "a reload (SIGHUP or /-/reload) or a restart has it count";

impl WebConfig {
    /// Reads the file.
    pub(super) fn load(path: &Path, metrics: Arc<SelfMetrics>) -> Result<Self, WebConfigError> {
        let (settings, seen) = read(path);
        let current =
            settings.map_err(|reason| WebConfigError { path: path.to_owned(), reason })?;
        metrics.web_config(true);
        let state = Mutex::new(State { current, seen, held: None });
        Ok(Self { path: path.to_owned(), metrics, state })
    }

    /// The settings in force. Where the files have changed, those of the files as they are now, if they
    /// are valid and ask for no less than before.
    pub(super) fn current(&self) -> Arc<Settings> {
        let mut state = self.lock();
        if state.has_changed() {
            let (settings, seen) = read(&self.path);
            state.seen = seen;
            let judged = settings.and_then(|new| match new.lacks(&state.current) {
                None => Ok(new),
                Some(what) => Err(format!("it has no {what} any more; {SAY_SO}")),
            });
            self.settle(&mut state, judged);
        }
        Arc::clone(&state.current)
    }

    /// Whether somebody has to be one of its users.
    pub fn has_users(&self) -> bool {
        self.current().has_users()
    }

    /// Has the file count as it is, as somebody says so: also where it asks for less. A change that
    /// needs a restart is named. Where it is invalid, nothing changes.
    pub fn read_again(&self) -> Result<Option<&'static str>, WebConfigError> {
        let mut state = self.lock();
        if state.held.is_none() && !state.has_changed() {
            return Ok(None);
        }
        let (settings, seen) = read(&self.path);
        state.seen = seen;
        let switched =
            settings.as_ref().is_ok_and(|new| new.tls.is_some() != state.current.tls.is_some());
        let (kept, demands) = (state.current.tls.clone(), state.current.demands);
        let settings = settings.map(|new| match Arc::try_unwrap(new) {
            // The sockets speak what they spoke at the start.
            Ok(new) if switched => Arc::new(Settings { tls: kept, demands, ..new }),
            Ok(new) => Arc::new(new),
            Err(shared) => shared,
        });
        let failed = settings.as_ref().err().cloned();
        self.settle(&mut state, settings);
        match failed {
            Some(reason) => Err(WebConfigError { path: self.path.clone(), reason }),
            None => Ok(switched.then_some("tls_server_config of web.config.file")),
        }
    }

    /// Takes over what was read, or leaves all as it is, and says so.
    fn settle(&self, state: &mut State, judged: Result<Arc<Settings>, String>) {
        let path = self.path.display();
        state.held = match judged {
            Ok(new) => {
                state.current = new;
                tracing::info!(%path, "read web.config.file again");
                None
            }
            Err(reason) => {
                tracing::error!(%path, %reason, "ignoring the changed web.config.file; the previous contents stay in force");
                Some(reason)
            }
        };
        self.metrics.web_config(state.held.is_none());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_changed(&self) -> bool {
        self.seen.iter().any(|(path, stamp)| self::stamp(path) != *stamp)
    }
}

impl Settings {
    /// TLS, where the file asks for it.
    pub(super) fn tls(&self) -> Option<&Arc<ServerConfig>> {
        self.tls.as_ref()
    }

    /// Whether there are users, so that somebody has to be one of them.
    pub(super) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// Whether one more request is within the rate limit.
    pub(super) fn has_room(&self) -> bool {
        self.limiter.as_ref().is_none_or(|limiter| limiter.check().is_ok())
    }

    /// The headers of every answer.
    pub(super) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Whether what a request from an address says of itself is right.
    pub(super) async fn judge(&self, headers: &HeaderMap, from: IpAddr) -> Verdict {
        self.users.judge(headers.get(AUTHORIZATION), from).await
    }

    /// The first check of clients that others make and these do not.
    fn lacks(&self, others: &Self) -> Option<&'static str> {
        if others.has_users() && !self.has_users() {
            Some("basic_auth_users")
        } else if others.tls.is_some() && self.tls.is_none() {
            Some("tls_server_config")
        } else if !self.demands.cover(others.demands) {
            Some("certificates of clients that it asks for (client_auth_type, client_allowed_sans)")
        } else {
            None
        }
    }
}

/// Checks the file before a start with it. Returns whether there are users.
pub(super) fn check(path: &Path) -> Result<bool, WebConfigError> {
    match read(path).0 {
        Ok(settings) => Ok(settings.has_users()),
        Err(reason) => Err(WebConfigError { path: path.to_owned(), reason }),
    }
}

fn read(path: &Path) -> (Result<Arc<Settings>, String>, Seen) {
    // Before they are read, so that a change in between is noticed.
    let mut seen = vec![(path.to_owned(), stamp(path))];
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = fs::read_to_string(path)
        .map_err(|error| format!("cannot read it: {error}"))
        .and_then(|text| File::parse(&text, folder));
    let settings = file.and_then(|file| {
        seen.extend(file.paths().map(|path| (path.clone(), stamp(path))));
        settings(file).map(Arc::new)
    });
    (settings, seen)
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp { modified: metadata.modified().ok()?, bytes: metadata.len() })
}

fn settings(file: File) -> Result<Settings, String> {
    let http2 = file.http_server_config.http2;
    let tls = file.tls_server_config.as_ref();
    let tls = tls.map(|tls| tls::server_config(tls, http2)).transpose()?;
    let mut headers = Vec::new();
    for (name, value) in &file.http_server_config.headers {
        headers.extend(header(name, value)?);
    }
    let interval = file.rate_limit.interval.as_deref().unwrap_or("0s");
    let interval = match interval.parse::<humantime::Duration>() {
        Ok(interval) => Duration::from(interval),
        Err(_) if interval == "0" => Duration::ZERO,
        Err(error) => return Err(format!("rate_limit: interval: {interval:?}: {error}")),
    };
    let limiter = match (Quota::with_period(interval), NonZeroU32::new(file.rate_limit.burst)) {
        (None, _) => None,
        (Some(quota), Some(burst)) => Some(RateLimiter::direct(quota.allow_burst(burst))),
        (Some(_), None) => {
            return Err("rate_limit: burst: expected at least 1, else nothing is served".into());
        }
    };
    let users = Users::new(file.basic_auth_users.unwrap_or_default());
    users.check()?;
    let demands = file.tls_server_config.as_ref().map(Demands::of).unwrap_or_default();
    Ok(Settings { tls: tls.map(Arc::new), demands, headers, users, limiter })
}

/// A header that may be set, with a value that it may have; none where the value is empty.
fn header(name: &str, value: &str) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    let (known, allowed): (_, &[&str]) = match name.to_ascii_lowercase().as_str() {
        "content-security-policy" => (CONTENT_SECURITY_POLICY, &[]),
        "strict-transport-security" => (STRICT_TRANSPORT_SECURITY, &[]),
        "x-xss-protection" => (X_XSS_PROTECTION, &[]),
        "x-frame-options" => (X_FRAME_OPTIONS, &["deny", "sameorigin"]),
        "x-content-type-options" => (X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
        _ => return Err(format!("http_server_config: headers: {name} cannot be configured")),
    };
    if value.is_empty() {
        return Ok(None);
    }
    let wrong = !allowed.is_empty() && !allowed.contains(&value.to_ascii_lowercase().as_str());
    match HeaderValue::try_from(value) {
        Ok(value) if !wrong => Ok(Some((known, value))),
        _ => Err(format!("http_server_config: headers: {name}: invalid value {value:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        let file = File::parse(text, Path::new("/nowhere"));
        file.and_then(settings).map(drop).expect_err(text)
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, parts) in [
            ("bogus: 1\n", &["bogus"][..]),
            ("tls_server_config:\n  cert_file: a\n  bogus: b\n", &["bogus"]),
            ("tls_server_config:\n  cert_file: a.pem\n", &["cert_file", "/nowhere/a.pem"]),
            (
                "tls_server_config:\n  cert: x\n  cert_file: y\n",
                &["only one of cert and cert_file"],
            ),
            ("tls_server_config:\n  key_file: a\n", &["cert_file or cert is missing"]),
            ("tls_server_config:\n  client_ca: x\n  cert: x\n", &["without a Client Auth Policy"]),
            ("tls_server_config:\n  cert: x\n  min_version: TLS14\n", &["min_version", "TLS14"]),
            ("tls_server_config:\n  cert: x\n  max_version: TLS11\n", &["max_version"]),
            ("tls_server_config:\n  cert: x\n  client_auth_type: Maybe\n", &["Maybe"]),
            (
                "tls_server_config:\n  client_allowed_sans: [a]\n  cert: x\n",
                &["client_allowed_sans", "NoClientCert", "RequireAndVerifyClientCert"],
            ),
            (
                "tls_server_config:\n  client_allowed_sans: [a]\n  cert: x\n  \
                 client_auth_type: VerifyClientCertIfGiven\n",
                &["client_allowed_sans", "VerifyClientCertIfGiven"],
            ),
            ("tls_server_config:\n  client_allowed_sans: [a]\n", &["client_allowed_sans"]),
            (
                "tls_server_config:\n  cert: x\n  cipher_suites: [TLS_RC4]\n",
                &["TLS_RC4", "there are"],
            ),
            ("tls_server_config:\n  cert: x\n  curve_preferences: [P1]\n", &["P1"]),
            ("basic_auth_users:\n  eve: secret\n", &["eve", "bcrypt"]),
            ("http_server_config:\n  headers:\n    Server: x\n", &["Server"]),
            ("http_server_config:\n  headers:\n    X-Frame-Options: x\n", &["X-Frame-Options"]),
            ("rate_limit:\n  interval: soon\n", &["interval", "soon"]),
            ("rate_limit:\n  interval: 1s\n", &["burst"]),
        ] {
            let problem = problem(text);
            for part in parts {
                assert!(problem.contains(part), "{text}{problem}");
            }
        }
    }

    #[test]
    fn nothing_is_no_problem() {
        for text in
            ["", "# nothing\n\n", "tls_server_config: {}\n", "rate_limit:\n  interval: 0s\n"]
        {
            let settings = File::parse(text, Path::new("")).and_then(settings).expect(text);
            assert!(settings.tls.is_none() && settings.limiter.is_none());
        }
    }

    fn metrics() -> Arc<SelfMetrics> {
        Arc::new(SelfMetrics::new().unwrap())
    }

    /// Whether the metric says that the file counts as it is.
    fn counts(metrics: &SelfMetrics) -> bool {
        let families = metrics.families(&crate::telemetry::metrics::Readings::default());
        let family = families.iter().find(|family| family.name == "tidegate_web_config_in_force");
        family.unwrap().metrics[0].value == crate::model::MetricValue::Gauge(1.0)
    }

    const USERS: &str =
        "basic_auth_users:\n  bob: $2b$04$kvO0RmOwhZH.otVNe83sO.sA0bb9E5W7Wae2JbdffycYhqDR4E8L2\n";

    #[test]
    fn a_file_that_changes_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        fs::write(&path, "").unwrap();
        let config = WebConfig::load(&path, metrics()).unwrap();
        assert!(config.current().headers().is_empty());
        fs::write(&path, "http_server_config:\n  headers:\n    X-Frame-Options: deny\n").unwrap();
        assert_eq!(config.current().headers().len(), 1);
        fs::write(&path, "rate_limit:\n  interval: 1h\n  burst: 2\n").unwrap();
        let room: Vec<_> = (0..3).map(|_| config.current().has_room()).collect();
        assert_eq!(room, [true, true, false]);
        fs::write(&path, USERS).unwrap();
        assert!(config.current().has_users(), "more is believed at once");
    }

    #[test]
    fn a_file_that_asks_for_less_or_is_of_no_use_does_not_count_until_somebody_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        fs::write(&path, USERS).unwrap();
        let metrics = metrics();
        let config = WebConfig::load(&path, Arc::clone(&metrics)).unwrap();
        for text in [
            "",
            "basic_auth_users:\n",
            "basic_auth_users: {}\n",
            "basic_au",
            "basic_auth_users:\n  bob: $2b$04$kvO0\n",
            "rate_limit:\n  burst: 1\n",
        ] {
            fs::write(&path, text).unwrap();
            assert!(config.current().has_users() && config.current().has_users(), "{text:?}");
            assert!(!counts(&metrics), "{text:?}");
        }
        fs::remove_file(&path).unwrap();
        assert!(config.current().has_users() && !counts(&metrics));
        let error = config.read_again().unwrap_err().to_string();
        assert!(error.contains("cannot read it"), "{error}");
        assert!(config.current().has_users());
        fs::write(&path, USERS).unwrap();
        assert!(config.current().has_users() && counts(&metrics));
        fs::write(&path, "# open to all").unwrap();
        assert!(config.current().has_users());
        assert_eq!(config.read_again().unwrap(), None);
        assert!(!config.current().has_users() && counts(&metrics), "somebody has said so");
    }

    #[test]
    fn tls_and_what_it_asks_of_clients_stay_too() {
        let parts =
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compatibility/differential/tls"));
        let part = |name: &str| parts.join(name).display().to_string();
        let (cert, key, ca) = (part("server.pem"), part("server.key"), part("ca.pem"));
        let plain = format!("tls_server_config:\n  cert_file: {cert}\n  key_file: {key}\n");
        let verified = format!(
            "{plain}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {ca}\n"
        );
        let named = format!("{verified}  client_allowed_sans: [a]\n");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        fs::write(&path, &named).unwrap();
        let metrics = metrics();
        let config = WebConfig::load(&path, Arc::clone(&metrics)).unwrap();
        let all = config.current().demands;
        for text in [
            "",
            &plain,
            &verified,
            &format!("{plain}  client_auth_type: RequireAnyClientCert\n"),
            &format!(
                "{plain}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: {ca}\n"
            ),
        ] {
            fs::write(&path, text).unwrap();
            let current = config.current();
            assert!(current.tls().is_some() && current.demands == all, "{text}");
            assert!(!counts(&metrics), "{text}");
        }
        fs::write(&path, &plain).unwrap();
        assert_eq!(config.read_again().unwrap(), None);
        assert!(config.current().demands == Demands::default() && counts(&metrics));
        fs::write(&path, "").unwrap();
        assert!(config.read_again().unwrap().unwrap().contains("tls_server_config"));
        assert!(config.current().tls().is_some(), "the sockets speak what they spoke");
    }
}
