//! How single values are parsed. An error says what was expected and what was found.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;

use crate::gateway::{Downtime, Sync};
use crate::http;
use crate::http::access::Permission;
use crate::model::Ttl;
use crate::telemetry::log;
use crate::webhook;

/// Longer than anybody waits, and short enough for any clock.
const DURATION_MAX: Duration = Duration::from_hours(100 * 365 * 24);

pub(super) fn expected(found: &str, what: &str) -> String {
    format!("expected {what}, found {found:?}")
}

#[expect(clippy::unnecessary_wraps, reason = "it parses as the others do")]
pub(super) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// A part of a key in etcd.
pub(super) fn name(text: &str) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 253 || !text.chars().all(is_name) {
        return Err(expected(text, "a name of letters, digits, dashes, dots and underscores"));
    }
    Ok(text.to_owned())
}

/// The same; empty if there is none.
pub(super) fn optional_name(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { name(text) }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| expected(text, "true or false"))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match Ttl::parse(text) {
        Ok(Ttl::After(duration)) => Ok(duration.min(DURATION_MAX)),
        _ => Err(expected(text, "a duration such as 30s, 1h30m or 30d")),
    }
}

pub(super) fn ttl(text: &str) -> Result<Ttl, String> {
    Ttl::parse(text).map_err(|error| error.to_string())
}

/// In bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let size: Result<ByteSize, _> = text.parse();
    size.map(|size| size.as_u64()).map_err(|_| expected(text, "a size such as 16MiB"))
}

/// In bytes; `None` is `auto`.
pub(super) fn auto_size(text: &str) -> Result<Option<u64>, String> {
    if text == "auto" {
        return Ok(None);
    }
    size(text).map(Some).map_err(|_| expected(text, "a size such as 16MiB, or auto"))
}

pub(super) fn number(text: &str) -> Result<usize, String> {
    text.replace('_', "").parse().map_err(|_| expected(text, "a whole number"))
}

/// A number of things, of which there is at least one.
pub(super) fn count(text: &str) -> Result<u64, String> {
    match text.replace('_', "").parse() {
        Ok(0) | Err(_) => Err(expected(text, "a whole number above zero")),
        Ok(count) => Ok(count),
    }
}

/// A file; `None` if there is none.
#[expect(clippy::unnecessary_wraps, reason = "it parses as the others do")]
pub(super) fn file(text: &str) -> Result<Option<PathBuf>, String> {
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

pub(super) fn folder(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("expected a folder".to_owned()),
        path => Ok(PathBuf::from(path)),
    }
}

/// The secret; `None` if there is none.
#[expect(clippy::unnecessary_wraps, reason = "it parses as the others do")]
pub(super) fn secret(text: &str) -> Result<Option<String>, String> {
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// An address to listen on.
pub(super) fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(_) => Ok(text.to_owned()),
        None => Err(expected(text, "host:port or :port")),
    }
}

pub(super) fn origin(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some((_, host)) if !host.contains('/') => Ok(text.to_owned()),
        _ if text == "*" => Ok(text.to_owned()),
        _ => Err(expected(text, "an origin such as https://example.com")),
    }
}

/// A host without a port, in lower case.
pub(super) fn host(text: &str) -> Result<String, String> {
    let is_address = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    let host = text.strip_suffix('.').unwrap_or(text);
    let is_host =
        !host.is_empty() && !host.contains(|c: char| " /:@?#*".contains(c) || c.is_control());
    if is_host || is_address {
        Ok(host.to_ascii_lowercase())
    } else {
        Err(expected(host, "a host without port, such as gateway.example.com"))
    }
}

/// The path of the exposition, which nothing else may have.
pub(super) fn telemetry_path(path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err(expected(path, "a path that begins with /"));
    }
    // One slash is dropped where the path is looked up, as it is from the path of a request.
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
}

pub(super) fn sync(text: &str) -> Result<Sync, String> {
    match text {
        "always" => Ok(Sync::Always),
        text => duration(text)
            .map(Sync::Within)
            .map_err(|_| expected(text, "always, or a duration such as 1s")),
    }
}

pub(super) fn downtime(text: &str) -> Result<Downtime, String> {
    match text {
        "count" => Ok(Downtime::Count),
        "pause" => Ok(Downtime::Pause),
        _ => Err(expected(text, "count or pause")),
    }
}

/// A URL of HTTP; `None` if there is none.
pub(super) fn url(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        Ok(None)
    } else if text.starts_with("http://") || text.starts_with("https://") {
        Ok(Some(text.to_owned()))
    } else {
        Err(expected(text, "a URL that begins with http:// or https://"))
    }
}

pub(super) fn notify_format(text: &str) -> Result<webhook::Format, String> {
    match text {
        "json" => Ok(webhook::Format::Json),
        "alertmanager" => Ok(webhook::Format::Alertmanager),
        _ => Err(expected(text, "json or alertmanager")),
    }
}

pub(super) fn log_level(text: &str) -> Result<tracing::Level, String> {
    match text.to_ascii_lowercase().as_str() {
        "debug" => Ok(tracing::Level::DEBUG),
        "info" => Ok(tracing::Level::INFO),
        "warn" => Ok(tracing::Level::WARN),
        "error" => Ok(tracing::Level::ERROR),
        _ => Err(expected(text, "debug, info, warn or error")),
    }
}

pub(super) fn log_format(text: &str) -> Result<log::Format, String> {
    match text {
        "logfmt" => Ok(log::Format::Logfmt),
        "json" => Ok(log::Format::Json),
        _ => Err(expected(text, "logfmt or json")),
    }
}

pub(super) fn permission(name: &str) -> Result<Permission, String> {
    Permission::parse(name).ok_or_else(|| {
        let names = Permission::NAMES.map(|(name, _)| name).join(", ");
        expected(name, &format!("one of {names}"))
    })
}

pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse()
        .or(address)
        .map_err(|_| expected(text, "a network such as 10.0.0.0/8, or an address"))
}
