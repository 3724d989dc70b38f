//! HTTP to a gateway that runs somewhere. Blocks.

use std::fmt;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use thiserror::Error;
use ureq::http::{Method, Request, Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

/// Where a gateway is, and what gives access to it. Shown as its URL, without secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// The URL up to the route prefix, without user and password.
    base: String,
    authorization: Option<String>,
    /// PEM file of the authorities to trust in place of those of the system.
    ca_file: Option<PathBuf>,
}

/// A gateway.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    target: Target,
}

/// For a gateway to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For it to begin to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// For an answer to the question whether it speaks TLS.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

const START_ONE: &str = "nothing listens there: start a gateway with `tidegate`, or name another by its URL (--gateway)";
const ADD_PREFIX: &str =
    "the URL needs the route prefix, if the gateway has one (web.route-prefix)";
const SHOW_WHO: &str = "set TIDEGATE_TOKEN or --token-file, or put user and password into the URL, as in \
                        http://user:password@host:9091";
const NAME_AUTHORITY: &str =
    "--ca-file names the file of the authority that has signed the certificate";

/// Why a gateway did not do what it was asked.
#[derive(Debug, Error)]
#[error("{url}: {reason}")]
pub struct ClientError {
    pub url: String,
    pub reason: String,
}

impl Target {
    /// The gateway at a URL, which may have user and password in it: `https://user:password@host`.
    pub fn new(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let authority = rest.split('/').next().unwrap_or(rest);
        let (authorization, rest) = match authority.rsplit_once('@') {
            Some((user, _)) => {
                let decoded = percent_encoding::percent_decode_str(user).decode_utf8_lossy();
                let value = format!("Basic {}", STANDARD.encode(&*decoded));
                (Some(value), rest.get(user.len() + 1..).unwrap_or(rest))
            }
            None => (None, rest),
        };
        let base = format!("{scheme}://{}", rest.trim_end_matches('/'));
        Self { base, authorization, ca_file: None }
    }

    /// Whether there is something to show to the gateway: a user or a token.
    pub fn has_credentials(&self) -> bool {
        self.authorization.is_some()
    }

    /// The same with a token to show.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { authorization: Some(format!("Bearer {token}")), ..self }
    }

    /// The same, where the authorities of a PEM file are trusted in place of those of the system.
    #[must_use]
    pub fn with_ca_file(self, ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, ..self }
    }

    fn is_https(&self) -> bool {
        self.base.starts_with("https://")
    }

    /// The place under the other scheme.
    fn otherwise(&self) -> String {
        let (other, port) = if self.is_https() { ("http", 443) } else { ("https", 80) };
        let (_, rest) = self.base.split_once("://").unwrap_or_default();
        let authority = rest.split('/').next().unwrap_or(rest);
        match authority.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => format!("{other}://{authority}/"),
            _ => format!("{other}://{authority}:{port}/"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl Client {
    /// Fails if the file of the authorities cannot be read.
    pub fn new(target: Target) -> Result<Self, ClientError> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT));
        if target.is_https() {
            let tls = target.ca_file.as_deref().map_or_else(|| Ok(system_tls()), tls_of);
            let failed = |reason| ClientError { url: target.to_string(), reason };
            config = config.tls_config(tls.map_err(failed)?);
        }
        Ok(Self { agent: config.build().into(), target })
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.target.base)
    }

    /// The URL without what is asked, for people.
    fn place(&self, path: &str) -> String {
        self.url(path.split('?').next().unwrap_or(path))
    }

    /// The body of a successful GET.
    pub fn get(&self, path: &str, accept: &str) -> Result<impl Read + use<>, ClientError> {
        let response = self.request(Method::GET, path, (header::ACCEPT, accept), &[])?;
        Ok(response.into_body().into_reader())
    }

    /// The body of a successful POST without one.
    pub fn post(&self, path: &str) -> Result<impl Read + use<>, ClientError> {
        let response = self.request(Method::POST, path, (header::ACCEPT, "*/*"), &[])?;
        Ok(response.into_body().into_reader())
    }

    /// A successful PUT.
    pub fn put(&self, path: &str, content_type: &str, body: &[u8]) -> Result<(), ClientError> {
        self.request(Method::PUT, path, (header::CONTENT_TYPE, content_type), body).map(drop)
    }

    /// The answer of `/api/v2`: its `data`, or its error.
    pub fn api(&self, method: Method, path: &str, body: &[u8]) -> Result<Value, ClientError> {
        let response = self.request(method, path, (header::ACCEPT, "application/json"), body)?;
        let failed = |reason| ClientError { url: self.place(path), reason };
        let answer = BufReader::new(response.into_body().into_reader());
        match serde_json::from_reader(answer).map_err(|error| failed(error.to_string()))? {
            Value::Object(mut answer) if answer.get("status") == Some(&"success".into()) => {
                Ok(answer.remove("data").unwrap_or_default())
            }
            _ => Err(failed("it did not answer as Tidegate does".into())),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        (name, value): (header::HeaderName, &str),
        body: &[u8],
    ) -> Result<Response<Body>, ClientError> {
        let failed = |reason| ClientError { url: self.place(path), reason };
        let mut request = Request::builder().method(method).uri(self.url(path)).header(name, value);
        if let Some(value) = &self.target.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let sent = if body.is_empty() {
            request.body(()).map_err(ureq::Error::from).and_then(|request| self.agent.run(request))
        } else {
            request
                .body(body)
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request))
        };
        let mut response = sent.map_err(|error| {
            let hint = self.hint_of_silence(&error);
            let reason = match error {
                ureq::Error::Io(error) => error.to_string(),
                error => error.to_string(),
            };
            failed(hinted(reason, hint))
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let text = response.body_mut().read_to_string().unwrap_or_default();
        // The API says in a member of an object what is wrong.
        let error = serde_json::from_str::<Value>(&text).ok();
        let error = error.as_ref().and_then(|error| error.get("error")).and_then(Value::as_str);
        let status = response.status();
        let hint = match status {
            StatusCode::UNAUTHORIZED => Some(SHOW_WHO),
            StatusCode::NOT_FOUND if error.is_none() => Some(ADD_PREFIX),
            StatusCode::BAD_REQUEST if error.is_none() => self.hint_of_scheme(),
            _ => None,
        };
        let error = error.unwrap_or(text.trim());
        Err(failed(hinted(format!("it answered {status}: {error}"), hint)))
    }

    /// A way to go on where nothing was answered.
    fn hint_of_silence(&self, error: &ureq::Error) -> Option<&'static str> {
        match error {
            ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
                Some(START_ONE)
            }
            ureq::Error::HostNotFound | ureq::Error::Timeout(_) => None,
            error if error.to_string().contains("invalid peer certificate") => Some(NAME_AUTHORITY),
            _ => self.hint_of_scheme(),
        }
    }

    /// Whether the place answers under the other scheme. It gets no more than `HEAD /`.
    fn hint_of_scheme(&self) -> Option<&'static str> {
        let tls = TlsConfig::builder().disable_verification(true).build();
        let probe = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PROBE_TIMEOUT))
            .tls_config(tls)
            .build()
            .new_agent();
        let hint = if self.target.is_https() {
            "it does not speak TLS: use http://"
        } else {
            "it speaks TLS: use https://"
        };
        probe.head(self.target.otherwise()).call().is_ok().then_some(hint)
    }
}

fn hinted(reason: String, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("{}; {hint}", reason.trim_end_matches([':', ' '])),
        None => reason,
    }
}

/// TLS that trusts the authorities of the system, or where that has none those of Mozilla.
pub fn system_tls() -> TlsConfig {
    let system = rustls_native_certs::load_native_certs().certs;
    let own = |certificate: &[u8]| Certificate::from_der(certificate).to_owned();
    let trusted = if system.is_empty() {
        RootCerts::WebPki
    } else {
        system.iter().map(|certificate| own(certificate)).into()
    };
    TlsConfig::builder().root_certs(trusted).build()
}

/// TLS that trusts the authorities of a PEM file, and no others.
fn tls_of(file: &Path) -> Result<TlsConfig, String> {
    let failed =
        |reason: &str| format!("cannot take authorities from {}: {reason}", file.display());
    let pem = std::fs::read(file).map_err(|error| failed(&error.to_string()))?;
    let items = parse_pem(&pem).collect::<Result<Vec<_>, _>>();
    let items = items.map_err(|error| failed(&error.to_string()))?;
    let certificates: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(failed("expected certificates in PEM form (BEGIN CERTIFICATE)"));
    }
    Ok(TlsConfig::builder().root_certs(certificates.into()).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_taken_out_of_the_url_and_shown_to_nobody() {
        let target = Target::new("https://me:pass%40word@host:9091/prefix/");
        assert_eq!(target.to_string(), "https://host:9091/prefix");
        let expected = format!("Basic {}", STANDARD.encode("me:pass@word"));
        assert_eq!(target.authorization, Some(expected));
        assert_eq!(format!("{target:?}"), "https://host:9091/prefix");
        let open = Target::new("http://host/a@b");
        assert_eq!((open.to_string(), open.authorization), ("http://host/a@b".to_owned(), None));
        let token = Target::new("host:9091").with_token("t0ken");
        assert_eq!(token.authorization.as_deref(), Some("Bearer t0ken"));
        assert_eq!(format!("{token:?} {token}"), "http://host:9091 http://host:9091");
    }

    #[test]
    fn the_other_scheme_is_tried_at_the_same_port() {
        for (url, expected) in [
            ("http://host:9091/prefix", "https://host:9091/"),
            ("https://me:x@host/prefix", "http://host:443/"),
            ("http://[::1]", "https://[::1]:80/"),
            ("http://[::1]:9091", "https://[::1]:9091/"),
        ] {
            assert_eq!(Target::new(url).otherwise(), expected, "{url}");
        }
    }
}
