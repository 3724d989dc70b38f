//! From method and path to what is asked for. Follows `handler.splitLabels` and
//! `handler.decodeBase64` of the Go Pushgateway for the grouping key.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use thiserror::Error;

use super::Paths;
use super::api_v2::Endpoint;
use super::rejection::Rejection;
use super::web::Page;
use crate::gateway::PushMode;
use crate::model::name::{is_reserved_label_name, quoted, unescape};
use crate::model::{Escaping, GroupingKey, GroupingKeyError, Label, NameRules};

/// What a request asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Route {
    Push(PushPath, PushMode),
    Delete(GroupingKey),
    Scrape,
    /// One of the pages for people.
    Page(Page),
    Healthy,
    Ready,
    Quit,
    /// GET on what only PUT and POST do.
    QuitHint,
    ApiStatus,
    ApiMetrics,
    /// OPTIONS on anything below the API.
    ApiOptions,
    Wipe,
    Reload,
    V2(Endpoint),
    /// Which methods there are for a path.
    Options {
        allow: &'static str,
    },
    Redirect {
        status: StatusCode,
        location: String,
        /// To a path that is clean, whether anything is there or not.
        clean: bool,
    },
}

/// What the path of a push says.
#[derive(Debug, PartialEq)]
pub(super) struct PushPath {
    pub(super) key: GroupingKey,
    /// That of the label `__ttl__`, which is not part of the key.
    pub(super) ttl: Option<String>,
}

/// Knows the paths.
#[derive(Debug)]
pub(super) struct Router {
    paths: Paths,
    /// Whether what deletes everything is there at all.
    admin: bool,
    names: NameRules,
}

/// What lies at a path, for whichever methods it has.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Target<'a> {
    /// What follows `/metrics/job`: `/JOB…` or `@base64/JOB…`.
    Group(&'a str),
    Scrape,
    Page(Page),
    Healthy,
    Ready,
    Quit,
    /// With a prefix, GET has its answer without it, as in the Go Pushgateway.
    PrefixedQuit,
    QuitHint,
    ApiStatus,
    ApiMetrics,
    Wipe,
    Reload,
    V2(Endpoint),
}

/// Why a push path is no grouping key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum RouteError {
    #[error("the path is not valid UTF-8 once it is percent-decoded: {0:?}")]
    NotUtf8(String),
    #[error(
        "odd number of components in label string {}: a label has a name and a value, and a value that \
         has a slash is written in base64, as in /LABEL@base64/VALUE",
        quoted(.0)
    )]
    OddComponents(String),
    #[error("job name is required: {hint}")]
    NoJob { hint: String },
    #[error("a part of the path {} is empty, or one or two dots: {hint}", quoted(path))]
    EmptyPart { path: String, hint: String },
    #[error("improper label name {}", quoted(.0))]
    LabelName(String),
    #[error("invalid base64 encoding for label {name}={}: {reason}", quoted(value))]
    LabelBase64 { name: String, value: String, reason: String },
    #[error("invalid base64 encoding in job name {}: {reason}", quoted(job))]
    JobBase64 { job: String, reason: String },
    #[error(transparent)]
    Key(#[from] GroupingKeyError),
}

const PUSH_PREFIX: &str = "/metrics/job";
const BASE64_SUFFIX: &str = "@base64";

/// The label of a push path that says for how long the group lives.
const TTL_LABEL: &str = "__ttl__";

const API: &str = "/api/v1";
const API_V2: &str = "/api/v2";
const RELOAD: &str = "/-/reload";
const QUIT: &str = "/-/quit";

/// What Go leaves as it is in the path of a URL (`net/url`, `shouldEscape`).
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// Accepts padding and does without, as Go's `RawURLEncoding` does here once padding is cut.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true),
);

/// Paths that are there beside those of groups, of pages, and of the second version of the API.
const KNOWN: [&str; 6] =
    ["/-/healthy", "/-/ready", QUIT, "/api/v1/status", "/api/v1/metrics", "/api/v1/admin/wipe"];

/// Every endpoint, without a prefix and with all that can be enabled, and its methods as `Allow` has
/// them. `NAME` stands for the name of a job.
pub fn endpoints() -> Vec<(String, &'static str)> {
    let paths = Paths {
        prefix: String::new(),
        telemetry: "/metrics".to_owned(),
        external_url: String::new(),
    };
    let router = Router { paths, admin: true, names: NameRules::Legacy };
    let group = format!("{PUSH_PREFIX}/NAME");
    let v2 = Endpoint::paths().map(|path| format!("{API_V2}{path}"));
    let known = KNOWN.into_iter().chain([RELOAD, "/metrics"]).chain(Page::paths());
    let all = known.map(str::to_owned).chain(v2).chain([group]);
    let methods = |path: String| {
        let allow = router.target(&path, &Method::GET)?.allow();
        Some((path, allow))
    };
    all.filter_map(methods).collect()
}

impl Router {
    pub(super) fn new(options: &super::Options, names: NameRules) -> Self {
        Self { paths: options.paths.clone(), admin: options.admin, names }
    }

    /// Finds what `method` on the still encoded path and its query asks for.
    ///
    /// Follows `ServeMux` and `httprouter`, by which the Go Pushgateway routes: on the decoded path,
    /// in which an encoded slash separates as any other; what is not clean is redirected to what is,
    /// and so is what is there but for its case or a slash at its end.
    pub(super) fn route(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
    ) -> Result<Route, Rejection> {
        if path == "*" && *method == Method::OPTIONS {
            return Ok(Route::Options { allow: "" });
        }
        if path == "*" {
            return Err(Rejection::BadTarget { text: "" });
        }
        if !is_percent_encoded(path) {
            return Err(Rejection::BadTarget { text: "400 Bad Request" });
        }
        let mut decoded: Cow<'_, [u8]> = percent_decode_str(path).into();
        let acts = matches!(*method, Method::PUT | Method::POST | Method::DELETE);
        if acts && let Some(below) = self.below_job(&decoded) {
            // The slashes too many that an address with one at its end leads to change nothing. Further
            // on they, and dots, would lead to another group.
            let mut path = self.paths.prefix.clone().into_bytes();
            path.extend(PUSH_PREFIX.as_bytes());
            path.extend(below);
            if cleaned(&path).is_some() {
                let lossy = String::from_utf8_lossy(&path).into_owned();
                return Err(RouteError::EmptyPart { path: lossy, hint: self.hint() }.into());
            }
            decoded = path.into();
        }
        if let Some(clean) = cleaned(&decoded) {
            // Who pushes is to push there, not to read.
            let to_group = acts && self.below_job(&clean).is_some();
            let status = if to_group {
                StatusCode::PERMANENT_REDIRECT
            } else {
                StatusCode::MOVED_PERMANENTLY
            };
            return Ok(redirect(status, &clean, query, true));
        }
        let Ok(decoded) = std::str::from_utf8(&decoded) else {
            let lossy = String::from_utf8_lossy(&decoded);
            return Err(match self.target(&lossy, method) {
                Some(target @ Target::Group(_)) if acts || target.has(method) => {
                    RouteError::NotUtf8(path.to_owned()).into()
                }
                Some(target @ Target::Group(_)) if *method != Method::OPTIONS => {
                    Rejection::MethodNotAllowed { allow: target.allow(), hint: String::new() }
                }
                _ => self.not_found(acts),
            });
        };
        if let Some(below) = self.local(decoded).and_then(|local| local.strip_prefix(API)) {
            if below.is_empty() {
                let slash = format!("{decoded}/");
                return Ok(redirect(StatusCode::MOVED_PERMANENTLY, slash.as_bytes(), query, true));
            }
            if below.starts_with('/') && *method == Method::OPTIONS {
                return Ok(Route::ApiOptions);
            }
        }
        let Some(target) = self.target(decoded, method) else {
            let local = self.local(decoded).unwrap_or_default();
            if acts && is_empty_job(local) {
                return Err(RouteError::NoJob { hint: self.hint() }.into());
            }
            return match self.repaired(decoded, method) {
                Some(there) => {
                    let get = matches!(*method, Method::GET | Method::HEAD);
                    let status = if get {
                        StatusCode::MOVED_PERMANENTLY
                    } else {
                        StatusCode::TEMPORARY_REDIRECT
                    };
                    Ok(redirect(status, there.as_bytes(), query, false))
                }
                None => Err(self.not_found(acts && !local.starts_with("/api/"))),
            };
        };
        if *method == Method::OPTIONS {
            return Ok(Route::Options { allow: target.allow() });
        }
        if !target.has(method) {
            let hint = if acts && target == Target::Scrape { self.hint() } else { String::new() };
            return Err(Rejection::MethodNotAllowed { allow: target.allow(), hint });
        }
        Ok(match target {
            Target::Group(rest) => {
                let path = push_path_of(rest, self.names)?;
                match *method {
                    Method::PUT => Route::Push(path, PushMode::Replace),
                    Method::POST => Route::Push(path, PushMode::Update),
                    _ => Route::Delete(path.key),
                }
            }
            Target::Scrape => Route::Scrape,
            Target::Page(page) => Route::Page(page),
            Target::Healthy => Route::Healthy,
            Target::Ready => Route::Ready,
            Target::Quit if matches!(*method, Method::GET | Method::HEAD) => Route::QuitHint,
            Target::Quit | Target::PrefixedQuit => Route::Quit,
            Target::QuitHint => Route::QuitHint,
            Target::ApiStatus => Route::ApiStatus,
            Target::ApiMetrics => Route::ApiMetrics,
            Target::Wipe => Route::Wipe,
            Target::Reload => Route::Reload,
            Target::V2(endpoint) => Route::V2(endpoint),
        })
    }

    /// What follows `/metrics/job` in a decoded path that leads there once the slashes in front of it
    /// are one each; with the slash, and with `@base64` if the job is said so.
    fn below_job<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = path;
        let prefix = self.paths.prefix.as_bytes();
        let parts = prefix.split(|byte| *byte == b'/').chain([&b"metrics"[..], b"job"]);
        for part in parts.filter(|part| !part.is_empty()) {
            let slashes = rest.iter().take_while(|byte| **byte == b'/').count();
            rest = rest.get(slashes..).filter(|_| slashes > 0)?.strip_prefix(part)?;
        }
        let job = rest.strip_prefix(BASE64_SUFFIX.as_bytes()).unwrap_or(rest);
        job.starts_with(b"/").then_some(rest)
    }

    /// Nothing is there. `hint`: whoever asks may want to push.
    fn not_found(&self, hint: bool) -> Rejection {
        if hint { Rejection::NoPush { hint: self.hint() } } else { Rejection::NotFound }
    }

    /// Where pushes go.
    fn hint(&self) -> String {
        let prefix = &self.paths.prefix;
        format!(
            "pushes go to {prefix}{PUSH_PREFIX}/JOB{{/LABEL/VALUE}}; a value that is empty or has a \
             slash is written in base64, as in {prefix}{PUSH_PREFIX}/JOB/LABEL@base64/VALUE"
        )
    }

    /// Whether a path is below the API.
    pub(super) fn is_api(&self, path: &str) -> bool {
        let below = self.local(path).and_then(|local| local.strip_prefix(API));
        below.is_some_and(|below| below.starts_with('/'))
    }

    /// Whether a path is below the second version of the API.
    pub(super) fn is_api_v2(&self, path: &str) -> bool {
        let below = self.local(path).and_then(|local| local.strip_prefix(API_V2));
        below.is_some_and(|below| below.starts_with('/'))
    }

    /// The path without the prefix.
    fn local<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.paths.prefix.as_str())
    }

    fn target<'a>(&self, path: &'a str, method: &Method) -> Option<Target<'a>> {
        let Some(local) = self.local(path) else {
            return (path == QUIT).then_some(Target::QuitHint);
        };
        let group = push_path(local);
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if local == self.paths.telemetry && (group.is_none() || reads) {
            return Some(Target::Scrape);
        }
        if let Some(group) = group {
            return Some(Target::Group(group));
        }
        Some(match local {
            "/-/healthy" => Target::Healthy,
            "/-/ready" => Target::Ready,
            QUIT if self.paths.prefix.is_empty() => Target::Quit,
            QUIT => Target::PrefixedQuit,
            "/api/v1/status" => Target::ApiStatus,
            "/api/v1/metrics" => Target::ApiMetrics,
            "/api/v1/admin/wipe" if self.admin => Target::Wipe,
            RELOAD => Target::Reload,
            other => {
                return match other.strip_prefix(API_V2) {
                    Some(below) => Endpoint::find(below).map(Target::V2),
                    None => Page::find(other).map(Target::Page),
                };
            }
        })
    }

    /// The path that is there, where this one differs from it in case or by a slash at its end.
    fn repaired(&self, path: &str, method: &Method) -> Option<String> {
        let Paths { prefix, telemetry, .. } = &self.paths;
        let local = KNOWN.into_iter().chain([telemetry.as_str()]);
        if *method == Method::OPTIONS {
            return None;
        }
        let trimmed = |path: &str| path.strip_suffix('/').unwrap_or(path).to_ascii_lowercase();
        let wanted = trimmed(path);
        let at = |local: &str| format!("{prefix}{local}");
        let known = Page::paths().map(at).chain(local.map(at));
        for known in known.chain([QUIT.to_owned()]) {
            if trimmed(&known) == wanted {
                let has = self.target(&known, method).is_some_and(|target| target.has(method));
                return has.then_some(known);
            }
        }
        if !matches!(*method, Method::PUT | Method::POST | Method::DELETE) {
            return None;
        }
        let known = format!("{prefix}{PUSH_PREFIX}");
        let (start, rest) = path.split_at_checked(known.len())?;
        if !start.eq_ignore_ascii_case(&known) {
            return None;
        }
        if rest == "/" {
            // Where nothing is either; but that is where the Go Pushgateway sends its clients.
            return Some(known);
        }
        let suffix = rest.get(..BASE64_SUFFIX.len()).unwrap_or("");
        let repaired = if suffix.eq_ignore_ascii_case(BASE64_SUFFIX) {
            let value = rest.get(BASE64_SUFFIX.len()..).unwrap_or("");
            format!("{known}{BASE64_SUFFIX}{value}")
        } else {
            format!("{known}{rest}")
        };
        (repaired != path && self.target(&repaired, method).is_some()).then_some(repaired)
    }
}

impl Target<'_> {
    fn allow(self) -> &'static str {
        match self {
            Self::Group(_) => "DELETE, OPTIONS, POST, PUT",
            Self::Quit => "GET, HEAD, OPTIONS, POST, PUT",
            Self::PrefixedQuit | Self::Reload => "OPTIONS, POST, PUT",
            Self::Wipe => "OPTIONS, PUT",
            Self::V2(endpoint) => endpoint.allow(),
            Self::Page(page) => page.allow(),
            Self::Scrape
            | Self::Healthy
            | Self::Ready
            | Self::QuitHint
            | Self::ApiStatus
            | Self::ApiMetrics => "GET, HEAD, OPTIONS",
        }
    }

    fn has(self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }
}

/// Whether each percent sign begins an encoded byte.
fn is_percent_encoded(path: &str) -> bool {
    let mut parts = path.split('%');
    parts.next();
    parts.all(|part| {
        part.as_bytes().first_chunk::<2>().is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

/// A redirection to a decoded path.
fn redirect(status: StatusCode, path: &[u8], query: Option<&str>, clean: bool) -> Route {
    let mut location = percent_encode(path, PATH).to_string();
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    Route::Redirect { status, location, clean }
}

/// The path without empty components and dots (Go's `cleanPath`); `None` if it is clean.
fn cleaned(path: &[u8]) -> Option<Vec<u8>> {
    if path.first() == Some(&b'/') && !path.windows(2).any(|pair| pair == b"//" || pair == b"/.") {
        return None;
    }
    let mut components: Vec<&[u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop()),
            other => components.push(other),
        }
    }
    let mut clean = vec![b'/'];
    clean.extend(components.join(&b'/'));
    if path.ends_with(b"/") && clean != b"/" {
        clean.push(b'/');
    }
    (clean != path).then_some(clean)
}

/// Whether a path is that of a push without a job, as that of an empty variable is.
fn is_empty_job(local: &str) -> bool {
    let rest = local.strip_prefix(PUSH_PREFIX);
    rest.is_some_and(|rest| rest.strip_prefix(BASE64_SUFFIX).unwrap_or(rest) == "/")
}

/// What follows `/metrics/job`, if that is followed by a job: `/JOB…` or `@base64/JOB…`.
fn push_path(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(PUSH_PREFIX)?;
    let job = rest.strip_prefix(BASE64_SUFFIX).unwrap_or(rest).strip_prefix('/')?;
    (!job.is_empty() && !job.starts_with('/')).then_some(rest)
}

/// The grouping key of the path of a push, without a prefix.
pub fn grouping_key_of(path: &str) -> Result<GroupingKey, String> {
    let rest = push_path(path).ok_or_else(|| format!("{path} is no path of a push"))?;
    push_path_of(rest, NameRules::Utf8).map(|path| path.key).map_err(|error| error.to_string())
}

/// The path of a push to a group, without a prefix: in base64 what a path may not carry as it is.
pub fn path_of(key: &GroupingKey) -> String {
    let mut path = String::from("/metrics");
    for (name, value) in key.labels_job_first() {
        let name = Escaping::Values.apply(name);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~:".contains(c);
        if value.chars().all(is_plain) && value.contains(|c| c != '.') {
            path.extend(["/", &name, "/", value]);
        } else {
            let encoded = BASE64.encode(value);
            let encoded = if encoded.is_empty() { "=" } else { &encoded };
            path.extend(["/", &name, "@base64/", encoded]);
        }
    }
    path
}

fn push_path_of(rest: &str, names: NameRules) -> Result<PushPath, RouteError> {
    let (job_is_base64, rest) = match rest.strip_prefix(BASE64_SUFFIX) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let (job, labels) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let job = if job_is_base64 {
        decode_base64(job)
            .map_err(|reason| RouteError::JobBase64 { job: job.to_owned(), reason })?
    } else {
        job.to_owned()
    };
    let (mut labels, ttl) = split_labels(labels, names)?;
    // Last, so that it counts over a `job` among the labels.
    labels.push(Label::new("job", job));
    Ok(PushPath { key: GroupingKey::new(labels)?, ttl })
}

/// The labels, and the TTL that is among them.
fn split_labels(text: &str, names: NameRules) -> Result<(Vec<Label>, Option<String>), RouteError> {
    let (mut labels, mut ttl) = (Vec::new(), None);
    if text.len() <= 1 {
        return Ok((labels, ttl));
    }
    let components: Vec<&str> = text.strip_prefix('/').unwrap_or(text).split('/').collect();
    let (pairs, odd) = components.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(RouteError::OddComponents(text.to_owned()));
    }
    for [name, value] in pairs {
        if name.strip_suffix(BASE64_SUFFIX).unwrap_or(name) == TTL_LABEL {
            ttl = Some(label_value(name, value)?);
        } else {
            labels.push(label(name, value, names)?);
        }
    }
    Ok((labels, ttl))
}

fn label(name: &str, value: &str, names: NameRules) -> Result<Label, RouteError> {
    let trimmed = name.strip_suffix(BASE64_SUFFIX).unwrap_or(name);
    let unescaped = match names {
        NameRules::Legacy => Cow::Borrowed(trimmed),
        NameRules::Utf8 => unescape(trimmed),
    };
    // Both before and after: the Go Pushgateway looks before only, and can no longer be scraped once
    // it has taken a name that is reserved after.
    let reserved = is_reserved_label_name(trimmed) || is_reserved_label_name(&unescaped);
    if reserved || !names.is_label_name(&unescaped) {
        return Err(RouteError::LabelName(trimmed.to_owned()));
    }
    Ok(Label::new(unescaped, label_value(name, value)?))
}

/// The value of a label, which is in base64 where its name says so.
fn label_value(name: &str, value: &str) -> Result<String, RouteError> {
    let Some(name) = name.strip_suffix(BASE64_SUFFIX) else { return Ok(value.to_owned()) };
    decode_base64(value).map_err(|reason| RouteError::LabelBase64 {
        name: name.to_owned(),
        value: value.to_owned(),
        reason,
    })
}

fn decode_base64(text: &str) -> Result<String, String> {
    let trimmed = text.trim_end_matches('=');
    let is_newline = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let digits: Vec<u8> = trimmed.bytes().filter(|byte| !is_newline(byte)).collect();
    let bytes = BASE64.decode(&digits).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) => at,
            // Go names the first digit of the group that is not whole.
            _ => digits.len() - digits.len() % 4,
        };
        let places = trimmed.bytes().enumerate().filter(|(_, byte)| !is_newline(byte));
        let at = places.map(|(place, _)| place).nth(at).unwrap_or(trimmed.len());
        format!("illegal base64 data at input byte {at}")
    })?;
    String::from_utf8(bytes).map_err(|_| "the decoded value is not valid UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn router(prefix: &str, names: NameRules) -> Router {
        let paths = Paths {
            prefix: prefix.into(),
            telemetry: "/metrics".into(),
            external_url: String::new(),
        };
        Router { paths, admin: false, names }
    }

    fn route(method: &Method, path: &str) -> Result<Route, Rejection> {
        router("", NameRules::Legacy).route(method, path, None)
    }

    fn location(prefix: &str, method: &Method, path: &str) -> Option<(u16, String)> {
        match router(prefix, NameRules::Legacy).route(method, path, Some("q=1")) {
            Ok(Route::Redirect { status, location, .. }) => {
                let location = location.strip_suffix("?q=1").expect("the query is kept");
                Some((status.as_u16(), location.to_owned()))
            }
            _ => None,
        }
    }

    #[test]
    fn what_is_not_clean_or_nearly_there_is_redirected() {
        let (get, put) = (&Method::GET, &Method::PUT);
        for (prefix, method, path, expected) in [
            ("", get, "//metrics", Some((301, "/metrics"))),
            ("", get, "/metrics/job/x//y", Some((301, "/metrics/job/x/y"))),
            ("", get, "/metrics/job/%2Fx%20y", Some((301, "/metrics/job/x%20y"))),
            ("", put, "//metrics", Some((301, "/metrics"))),
            ("", put, "/./metrics/job/x", Some((308, "/metrics/job/x"))),
            ("", put, "/a/../metrics//job/x", Some((308, "/metrics/job/x"))),
            ("/foo", put, "/foo/./metrics/job/x", Some((308, "/foo/metrics/job/x"))),
            ("", get, "/a/%2E%2e/metrics", Some((301, "/metrics"))),
            ("", get, "/metrics/", Some((301, "/metrics"))),
            ("", put, "/metrics/", None),
            ("", get, "/STATUS/", Some((301, "/status"))),
            ("", put, "/Metrics/JOB/X/a/B", Some((307, "/metrics/job/X/a/B"))),
            ("", put, "/metrics/JOB@BASE64/eA", Some((307, "/metrics/job@base64/eA"))),
            ("", put, "/metrics/job/", None),
            ("", get, "/metrics/job/", None),
            ("", get, "/api/v1", Some((301, "/api/v1/"))),
            ("", get, "/api/v1/status/", Some((301, "/api/v1/status"))),
            ("/foo", get, "/foo", Some((301, "/foo/"))),
            ("/foo", get, "/Foo/metrics", Some((301, "/foo/metrics"))),
            ("/foo", get, "/metrics", None),
            ("", get, "/metrics/job/x/..", Some((301, "/metrics/job"))),
            ("", get, "/.", Some((301, "/"))),
        ] {
            let expected = expected.map(|(status, path): (u16, &str)| (status, path.to_owned()));
            assert_eq!(location(prefix, method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn the_path_of_a_group_leads_back_to_it() {
        for (labels, path) in [
            (
                &[("job", "a/b"), ("empty", ""), ("dotted.name", "x")][..],
                "/metrics/job@base64/YS9i/U__dotted_2e_name/x/empty@base64/=",
            ),
            (&[("job", "db-1.example:9100")], "/metrics/job/db-1.example:9100"),
            (&[("job", ".."), ("of", "ü %2F")], "/metrics/job@base64/Li4/of@base64/w7wgJTJG"),
        ] {
            let labels = labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
            let key = GroupingKey::new(labels).unwrap();
            assert_eq!(path_of(&key), path);
            assert_eq!(grouping_key_of(path).unwrap(), key);
        }
    }

    #[test]
    fn with_utf8_names_labels_are_unescaped() {
        let router = router("", NameRules::Utf8);
        let key = |path: &str| match router.route(&Method::PUT, path, None) {
            Ok(Route::Push(path, _)) => path.key.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(key("/metrics/job/x/U__a_2e_b@base64/YQ"), r#"{"a.b"="a",job="x"}"#);
        assert_eq!(key("/metrics/job/x/a.b/c"), r#"{"a.b"="c",job="x"}"#);
        assert!(key("/metrics/job/x/U______x/c").contains("LabelName"));
        assert!(key("/metrics/job/x/__x/c").contains("LabelName"));
    }

    fn key(path: &str) -> String {
        match route(&Method::PUT, path) {
            Ok(Route::Push(path, PushMode::Replace)) => path.key.to_string(),
            other => panic!("{path}: {other:?}"),
        }
    }

    fn error(path: &str) -> String {
        route(&Method::POST, path).expect_err(path).to_string()
    }

    #[test]
    fn push_paths_name_a_group() {
        for (path, expected) in [
            ("/metrics/job/x", r#"{job="x"}"#),
            ("/metrics/job/x/", r#"{job="x"}"#),
            ("/metrics/job/x/instance/i/zone/z", r#"{instance="i",job="x",zone="z"}"#),
            ("/metrics/job/x/zone/z/instance/i", r#"{instance="i",job="x",zone="z"}"#),
            ("/metrics/job/x/instance/", r#"{instance="",job="x"}"#),
            ("/metrics/job/x/a/1/a/2", r#"{a="2",job="x"}"#),
            ("//metrics/job/x", r#"{job="x"}"#),
            ("///metrics//job/x/a/b", r#"{a="b",job="x"}"#),
            ("//metrics/job@base64/eA", r#"{job="x"}"#),
            ("/%2Fmetrics/job/x/", r#"{job="x"}"#),
            ("/metrics/job/x/job/y", r#"{job="x"}"#),
            ("/metrics/job/a%20b/k/%C3%BC", r#"{job="a b",k="ü"}"#),
            ("/metrics/job/a+b", r#"{job="a+b"}"#),
            ("/metrics/job/x/a%2Fb", r#"{a="b",job="x"}"#),
            ("/metrics/job@base64/dGVzdC9qb2I", r#"{job="test/job"}"#),
            ("/metrics/job@base64/dGVzdC9qb2I=", r#"{job="test/job"}"#),
            ("/metrics/job/x/path@base64/L3Zhci90bXA", r#"{job="x",path="/var/tmp"}"#),
            ("/metrics/job/x/path@base64/L3Zhci90bXA==", r#"{job="x",path="/var/tmp"}"#),
            ("/metrics/job/x/empty@base64/=", r#"{empty="",job="x"}"#),
            ("/metrics/job/job@base64/instance@base64/YQ", r#"{instance="a",job="job@base64"}"#),
        ] {
            assert_eq!(key(path), expected, "{path}");
        }
    }

    #[test]
    fn paths_that_name_no_group_say_why() {
        for (path, reason) in [
            ("/metrics/job/x/a", "odd number of components in label string \"/a\""),
            ("/metrics/job/x/a/b/c", "odd number of components"),
            ("/metrics/job/x/path/a/b", "/LABEL@base64/VALUE"),
            ("/metrics/job/", "job name is required: pushes go to"),
            ("/metrics/job@base64/", "job name is required: pushes go to"),
            ("//metrics/job/", "job name is required"),
            ("/metrics/job//instance/x", "a part of the path"),
            ("/metrics/job/x/a//b/c", "a value that is empty or has a slash is written in base64"),
            ("/metrics/job/x/a/%2Fb", "a part of the path"),
            ("/metrics/job/x/a/..", "a part of the path"),
            ("/metrics/job/.", "a part of the path"),
            ("//metrics/job/x//", "a part of the path"),
            ("/metrics/job/x/a-b/1", "improper label name \"a-b\""),
            ("/metrics/job/x/__a/1", "improper label name \"__a\""),
            ("/metrics/job/x/__a@base64/MQ", "improper label name \"__a\""),
            (
                "/metrics/job/x/a@base64/foo.bar",
                "invalid base64 encoding for label a=\"foo.bar\": illegal base64 data at input byte 3",
            ),
            ("/metrics/job@base64/foo.bar", "invalid base64 encoding in job name \"foo.bar\""),
            ("/metrics/job@base64/=", "job name is required"),
            ("/metrics/job/%FF", "not valid UTF-8"),
            ("/metrics/job/x/a/%FF", "not valid UTF-8"),
            ("/metrics/job/x/a@base64/_w", "not valid UTF-8"),
        ] {
            let error = error(path);
            assert!(error.contains(reason), "{path}: {error}");
        }
    }

    #[test]
    fn methods_and_paths_lead_to_their_routes() {
        assert_eq!(route(&Method::GET, "/metrics").unwrap(), Route::Scrape);
        assert_eq!(route(&Method::HEAD, "/-/ready").unwrap(), Route::Ready);
        assert!(matches!(route(&Method::DELETE, "/metrics/job/x"), Ok(Route::Delete(_))));
        assert!(matches!(
            route(&Method::POST, "/metrics/job/x"),
            Ok(Route::Push(_, PushMode::Update))
        ));
        for path in
            ["/metrics/", "/metrics/job", "/metrics/jobs/x", "/metrics/metrics/job/x", "/x", "/%FF"]
        {
            let error = route(&Method::PUT, path).unwrap_err().to_string();
            assert!(
                error.starts_with("404 page not found: pushes go to /metrics/job/JOB"),
                "{error}"
            );
            assert!(error.contains("@base64/"), "{error}");
            let read = route(&Method::GET, path);
            assert!(
                matches!(read, Err(Rejection::NotFound) | Ok(Route::Redirect { .. })),
                "{path}"
            );
        }
        for path in ["/api/v1/nothing", "/api/v2/nothing"] {
            assert!(matches!(route(&Method::PUT, path), Err(Rejection::NotFound)), "{path}");
        }
        assert!(route(&Method::PUT, "/metrics").unwrap_err().to_string().contains("pushes go to"));
        for (method, path, allowed) in [
            (Method::GET, "/metrics/job/x", "DELETE, OPTIONS, POST, PUT"),
            (Method::PUT, "/metrics", "GET, HEAD, OPTIONS"),
            (Method::PATCH, "/-/healthy", "GET, HEAD, OPTIONS"),
            (Method::PATCH, "/metrics/job/%FF", "DELETE, OPTIONS, POST, PUT"),
            (Method::from_bytes(b"FOO").unwrap(), "/metrics/job/%FF", "DELETE, OPTIONS, POST, PUT"),
        ] {
            match route(&method, path) {
                Err(Rejection::MethodNotAllowed { allow, .. }) => assert_eq!(allow, allowed),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn base64_values_of_every_length_are_understood(value in ".{0,40}", padded: bool) {
            let encoded = if padded {
                base64::engine::general_purpose::URL_SAFE.encode(&value)
            } else {
                base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&value)
            };
            let encoded = if encoded.is_empty() { "=".to_owned() } else { encoded };
            let path = format!("/metrics/job/x/v@base64/{encoded}");
            let Ok(Route::Push(PushPath { key, .. }, _)) = route(&Method::PUT, &path) else {
                panic!("{path}")
            };
            prop_assert_eq!(key.get("v"), Some(value.as_str()));
        }

        #[test]
        fn no_path_makes_the_router_panic(path in ".{0,60}") {
            let _ = route(&Method::PUT, &format!("/metrics/job/{path}"));
            let _ = route(&Method::GET, &path);
        }
    }
}
