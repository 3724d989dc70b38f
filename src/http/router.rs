//! From method and path to an endpoint, as `ServeMux` and `httprouter` route, by which the Go
//! Pushgateway does.

use std::borrow::Cow;

use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use super::Paths;
use super::endpoint::{Endpoint, Place};
use super::rejection::Rejection;
use crate::exposition::push_path::{self, BASE64_SUFFIX, PushPath, PushPathError};
use crate::model::NameRules;

/// Where a request leads.
#[derive(Debug)]
pub(super) enum Route {
    /// With the group that the path names, if it names one.
    Endpoint(&'static Endpoint, Option<PushPath>),
    /// The methods that a path has.
    Options { allow: String },
    Redirect {
        status: StatusCode,
        location: String,
        /// To a path that is clean, whether anything is there or not.
        clean: bool,
    },
}

/// Finds the endpoint of a path.
#[derive(Debug)]
pub(super) struct Router {
    endpoints: &'static [Endpoint],
    paths: Paths,
    /// Whether what deletes everything is there at all.
    admin: bool,
    names: NameRules,
}

const API_V1: &str = "/api/v1";
const API_V2: &str = "/api/v2";

/// Characters that Go leaves as they are in the path of a URL (`net/url`, `shouldEscape`).
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

impl Router {
    pub(super) fn new(
        endpoints: &'static [Endpoint],
        options: &super::Options,
        names: NameRules,
    ) -> Self {
        Self { endpoints, paths: options.paths.clone(), admin: options.admin, names }
    }

    pub(super) fn endpoints(&self) -> &'static [Endpoint] {
        self.endpoints
    }

    /// Finds the endpoint of `method` on the still encoded path.
    ///
    /// The decoded path counts, in which an encoded slash separates as any other. A path that is not
    /// clean is redirected to the clean one, and one that differs from an endpoint in case or by a
    /// slash at its end to that endpoint.
    pub(super) fn route(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
    ) -> Result<Route, Rejection> {
        self.route_by(self.names, method, path, query)
    }

    /// The same by other rules of names than those of the settings.
    pub(super) fn route_by(
        &self,
        names: NameRules,
        method: &Method,
        path: &str,
        query: Option<&str>,
    ) -> Result<Route, Rejection> {
        if path == "*" && *method == Method::OPTIONS {
            return Ok(Route::Options { allow: String::new() });
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
            // Slashes too many in front change nothing: an address that ends with one leads to them.
            // Further on they, and dots, would lead to another group.
            let mut path = self.paths.prefix.clone().into_bytes();
            path.extend(push_path::PREFIX.as_bytes());
            path.extend(below);
            if cleaned(&path).is_some() {
                let lossy = String::from_utf8_lossy(&path).into_owned();
                return Err(PushPathError::EmptyPart { path: lossy, hint: self.hint() }.into());
            }
            decoded = path.into();
        }
        if let Some(clean) = cleaned(&decoded) {
            // A push has to stay a push.
            let to_group = acts && self.below_job(&clean).is_some();
            let status = if to_group {
                StatusCode::PERMANENT_REDIRECT
            } else {
                StatusCode::MOVED_PERMANENTLY
            };
            return Ok(redirect(status, &clean, query, true));
        }
        match std::str::from_utf8(&decoded) {
            Ok(decoded) => self.route_clean(names, method, decoded, query),
            Err(_) => Err(self.not_utf8(method, path, &String::from_utf8_lossy(&decoded))),
        }
    }

    /// Finds the endpoint of a decoded and clean path.
    fn route_clean(
        &self,
        names: NameRules,
        method: &Method,
        path: &str,
        query: Option<&str>,
    ) -> Result<Route, Rejection> {
        let local = self.local(path);
        if local == Some(API_V1) {
            let slash = format!("{path}/");
            return Ok(redirect(StatusCode::MOVED_PERMANENTLY, slash.as_bytes(), query, true));
        }
        if let Some(endpoint) = self.find(path, method) {
            let below = local.filter(|_| matches!(endpoint.place, Place::Group));
            let below = below.and_then(push_path::below_job);
            let group = below.map(|below| PushPath::parse(below, names)).transpose()?;
            return Ok(Route::Endpoint(endpoint, group));
        }
        let acts = matches!(*method, Method::PUT | Method::POST | Method::DELETE);
        let local = local.unwrap_or_default();
        if let Some(allow) = self.allow(path) {
            if *method == Method::OPTIONS {
                return Ok(Route::Options { allow });
            }
            let hint = acts && local == self.paths.telemetry;
            let hint = if hint { self.hint() } else { String::new() };
            return Err(Rejection::MethodNotAllowed { allow, hint });
        }
        if acts && push_path::is_empty_job(local) {
            return Err(PushPathError::NoJob { hint: self.hint() }.into());
        }
        match self.repaired(path, method) {
            Some(there) => {
                let reads = matches!(*method, Method::GET | Method::HEAD);
                let status = if reads {
                    StatusCode::MOVED_PERMANENTLY
                } else {
                    StatusCode::TEMPORARY_REDIRECT
                };
                Ok(redirect(status, there.as_bytes(), query, false))
            }
            None => Err(self.not_found(acts && !local.starts_with("/api/"))),
        }
    }

    /// Why a path that is not UTF-8 leads nowhere.
    fn not_utf8(&self, method: &Method, path: &str, lossy: &str) -> Rejection {
        let acts = matches!(*method, Method::PUT | Method::POST | Method::DELETE);
        let is_group = self.local(lossy).and_then(push_path::below_job).is_some();
        match self.allow(lossy).filter(|_| is_group) {
            Some(_) if acts => PushPathError::NotUtf8(path.to_owned()).into(),
            Some(allow) if *method != Method::OPTIONS => {
                Rejection::MethodNotAllowed { allow, hint: String::new() }
            }
            _ => self.not_found(acts),
        }
    }

    /// The endpoint that has a method at a decoded path.
    fn find(&self, path: &str, method: &Method) -> Option<&'static Endpoint> {
        self.at(path).find(|endpoint| endpoint.has(method.as_str()))
    }

    /// The endpoint that pushes to or deletes a group.
    pub(super) fn of_group(&self, method: &Method) -> Option<&'static Endpoint> {
        let of_group = |endpoint: &&Endpoint| matches!(endpoint.place, Place::Group);
        self.endpoints.iter().filter(of_group).find(|endpoint| endpoint.has(method.as_str()))
    }

    /// All endpoints at a decoded path.
    fn at(&self, path: &str) -> impl Iterator<Item = &'static Endpoint> {
        let local = self.local(path);
        let is_there = move |endpoint: &&Endpoint| {
            (self.admin || !endpoint.admin) && endpoint.place.is(path, local, &self.paths.telemetry)
        };
        self.endpoints.iter().filter(is_there)
    }

    /// The methods of a decoded path; `None` if nothing is there.
    fn allow(&self, path: &str) -> Option<String> {
        let here = self.at(path).filter(|endpoint| !matches!(endpoint.place, Place::Below(_)));
        methods(here)
    }

    /// The rest of a decoded path that leads to a group once the slashes in front of it are one each:
    /// a slash and the job, or `@base64` before them.
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
        let job = push_path::PREFIX;
        format!(
            "pushes go to {prefix}{job}/JOB{{/LABEL/VALUE}}; a value that is empty or has a \
             slash is written in base64, as in {prefix}{job}/JOB/LABEL@base64/VALUE"
        )
    }

    /// Whether a path is below the API.
    pub(super) fn is_api(&self, path: &str) -> bool {
        self.is_below(path, API_V1) || self.is_api_v2(path)
    }

    /// Whether a path is below the second version of the API.
    pub(super) fn is_api_v2(&self, path: &str) -> bool {
        self.is_below(path, API_V2)
    }

    fn is_below(&self, path: &str, api: &str) -> bool {
        let below = self.local(path).and_then(|local| local.strip_prefix(api));
        below.is_some_and(|below| below.starts_with('/'))
    }

    /// The path without the prefix.
    fn local<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.paths.prefix.as_str())
    }

    /// The path that is there, where this one differs from it in case or by a slash at its end.
    fn repaired(&self, path: &str, method: &Method) -> Option<String> {
        if *method == Method::OPTIONS {
            return None;
        }
        let Paths { prefix, telemetry, .. } = &self.paths;
        let trimmed = |path: &str| path.strip_suffix('/').unwrap_or(path).to_ascii_lowercase();
        let wanted = trimmed(path);
        let known = self.endpoints.iter().filter_map(|endpoint| {
            let at = endpoint.place.path(telemetry)?;
            let bare = matches!(endpoint.place, Place::Bare(_));
            Some(if bare { at.to_owned() } else { format!("{prefix}{at}") })
        });
        let mut alike = known.filter(|known| trimmed(known) == wanted);
        if let Some(known) = alike.find(|known| self.find(known, method).is_some()) {
            return Some(known);
        }
        if !matches!(*method, Method::PUT | Method::POST | Method::DELETE) {
            return None;
        }
        let known = format!("{prefix}{}", push_path::PREFIX);
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
        (repaired != path && self.allow(&repaired).is_some()).then_some(repaired)
    }
}

/// The methods of endpoints, as `Allow` lists them; `None` if there is no endpoint.
pub(super) fn methods(endpoints: impl Iterator<Item = &'static Endpoint>) -> Option<String> {
    let mut methods: Vec<&str> = endpoints.flat_map(|endpoint| endpoint.methods).copied().collect();
    if methods.is_empty() {
        return None;
    }
    methods.push("OPTIONS");
    methods.sort_unstable();
    methods.dedup();
    Some(methods.join(", "))
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
