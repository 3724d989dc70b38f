//! `web.config.file`: TLS, users, headers, a rate limit. Read again whenever it, or a file that it
//! names, has changed: a certificate is renewed without a restart.

mod auth;
mod file;
mod tls;

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hyper::HeaderMap;
use hyper::header::{
    AUTHORIZATION, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use hyper::{Response, StatusCode};
use rustls::ServerConfig;
use thiserror::Error;

use super::rejection::{WholeResponse, error_text};
use auth::Users;
pub(super) use auth::basic;
use file::File;

/// The file, as it was when it was last looked at.
#[derive(Debug)]
pub(super) struct WebConfig {
    path: PathBuf,
    /// Held to look at the files, which is quick, or to read them anew.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: Result<Arc<Settings>, String>,
    seen: Vec<(PathBuf, Option<Stamp>)>,
}

/// What tells a file that has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
}

/// What the file says.
#[derive(Debug)]
pub(super) struct Settings {
    tls: Option<Arc<ServerConfig>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    users: Users,
    limiter: Option<DefaultDirectRateLimiter>,
}

/// Why the file is of no use.
#[derive(Debug, Error)]
#[error("{} (web.config.file): {reason}", path.display())]
pub struct WebConfigError {
    path: PathBuf,
    reason: String,
}

impl WebConfig {
    /// Reads the file.
    pub(super) fn load(path: &Path) -> Result<Self, WebConfigError> {
        let (current, seen) = read(path);
        let checked = current.as_ref().map_err(Clone::clone).and_then(|it| it.users.check());
        if let Err(reason) = checked {
            return Err(WebConfigError { path: path.to_owned(), reason });
        }
        Ok(Self { path: path.to_owned(), state: Mutex::new(State { current, seen }) })
    }

    /// What the file says now; an error if it is of no use any more.
    pub(super) fn current(&self) -> Result<Arc<Settings>, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.seen.iter().any(|(path, stamp)| self::stamp(path) != *stamp) {
            let (current, seen) = read(&self.path);
            match &current {
                Ok(_) => {
                    tracing::info!(path = %self.path.display(), "web.config.file was read again");
                }
                Err(error) => {
                    tracing::error!(path = %self.path.display(), %error, "web.config.file is of no use; requests are answered 500");
                }
            }
            *state = State { current, seen };
        }
        state.current.clone()
    }

    /// What admits or refuses a request: on success the headers that every answer has. `known`: it need
    /// not be that of a user.
    pub(super) async fn admit(
        &self,
        request: &HeaderMap,
        known: bool,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, WholeResponse> {
        let Ok(settings) = self.current() else {
            return Err(error_text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"));
        };
        if settings.limiter.as_ref().is_some_and(|limiter| limiter.check().is_err()) {
            return Err(error_text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"));
        }
        if known || settings.users.admit(request.get(AUTHORIZATION)).await {
            return Ok(settings.headers.clone());
        }
        let mut response = error_text(StatusCode::UNAUTHORIZED, "Unauthorized");
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        settings.add_headers(&mut response);
        Err(response)
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

    fn add_headers<B>(&self, response: &mut Response<B>) {
        response.headers_mut().extend(self.headers.iter().cloned());
    }
}

type Read = (Result<Arc<Settings>, String>, Vec<(PathBuf, Option<Stamp>)>);

fn read(path: &Path) -> Read {
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
    Ok(Settings { tls: tls.map(Arc::new), headers, users, limiter })
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
        file.and_then(settings).and_then(|settings| settings.users.check()).expect_err(text)
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

    #[tokio::test]
    async fn a_file_that_changes_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        fs::write(&path, "").unwrap();
        let config = WebConfig::load(&path).unwrap();
        assert!(config.admit(&HeaderMap::new(), false).await.unwrap().is_empty());
        fs::write(&path, "http_server_config:\n  headers:\n    X-Frame-Options: deny\n").unwrap();
        assert_eq!(config.admit(&HeaderMap::new(), false).await.unwrap().len(), 1);
        fs::write(&path, "rate_limit:\n  interval: 1h\n  burst: 2\n").unwrap();
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let answer = config.admit(&HeaderMap::new(), false).await;
            statuses.push(answer.map_or_else(|refused| refused.status().as_u16(), |_| 200));
        }
        assert_eq!(statuses, [200, 200, 429]);
        fs::write(&path, "bogus").unwrap();
        let broken = config.admit(&HeaderMap::new(), false).await.unwrap_err();
        assert_eq!(broken.status(), 500);
        assert!(WebConfig::load(&path).is_err());
    }
}
