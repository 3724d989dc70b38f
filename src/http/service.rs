//! One request in, one response out: routed, admitted, handled, counted.

use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW,
    CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, ORIGIN, TRANSFER_ENCODING, VARY,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode, Version};

use super::access::Caller;
use super::body::{self, BodyError, Bounds, RequestBody};
use super::bounds::{HEAD_BYTES_MAX, Reservation};
use super::endpoint::{Endpoint, Needs, Request, Site};
use super::leftover::expects_continue;
use super::rejection::{Refused, Rejection};
use super::reply::{self, Response};
use super::router::{Route, Router};
use crate::model::Meter as _;
use crate::telemetry::labels::{self, Handler};

/// Serves requests.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) site: Site,
    pub(super) router: Router,
}

impl Service {
    /// Serves a request from an address. Never fails: a request that cannot be served is answered too.
    pub(super) async fn serve<B>(&self, head: &Parts, body: &mut B, from: IpAddr) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: Into<BodyError>,
    {
        let began = Instant::now();
        if let Err(rejection) = well_formed(head) {
            return self.refused(head, rejection);
        }
        let routed = self.router.route(&head.method, head.uri.path(), head.uri.query());
        let (caller, headers) = self.admit(head, &routed, from).await;
        let mut response = match caller {
            Ok(caller) => {
                let mut body = body.map_err(Into::into);
                self.serve_to(&caller, routed, head, &mut body, began).await
            }
            Err(rejection) => self.refused(head, rejection),
        };
        // Headers of the settings take the place of those of the answer.
        response.headers_mut().extend(headers);
        response
    }

    /// Who sent a request, if that one is let in, and the headers that the answer has to have. The one
    /// look at who may do what: all that is decided later is decided on what it found.
    async fn admit(
        &self,
        head: &Parts,
        routed: &Result<Route, Rejection>,
        from: IpAddr,
    ) -> (Result<Caller, Rejection>, Vec<(HeaderName, HeaderValue)>) {
        let access = self.site.hooks.access.current();
        let web = self.site.web_config.as_ref().map(|web_config| web_config.current());
        if web.as_ref().is_some_and(|web| !web.has_room()) {
            return (Err(Rejection::TooMany), Vec::new());
        }
        let headers = web.as_ref().map(|web| web.headers().to_vec()).unwrap_or_default();
        if let Ok(Route::Endpoint(endpoint, _)) = routed
            && endpoint.needs == Needs::NoLogin
        {
            return (Ok(access.nobody(from)), headers);
        }
        (access.caller(&head.headers, web.as_deref(), from).await, headers)
    }

    async fn serve_to(
        &self,
        caller: &Caller,
        routed: Result<Route, Rejection>,
        head: &Parts,
        body: &mut RequestBody<'_>,
        began: Instant,
    ) -> Response {
        let endpoint = match &routed {
            Ok(Route::Endpoint(endpoint, _)) => Some(*endpoint),
            // The path of a push that names no group is still that of a push.
            Err(Rejection::Path(_)) => self.router.of_group(&head.method),
            Ok(Route::Options { .. } | Route::Redirect { .. }) | Err(_) => None,
        };
        let result = self.try_serve(routed, head, body, caller).await;
        let undecodable =
            matches!(&result, Err(Refused { rejection: Rejection::Encoding { .. }, .. }));
        let mut response = result.unwrap_or_else(|Refused { rejection, header }| {
            let mut response = self.refused(head, rejection);
            response.headers_mut().extend(header.map(|header| *header));
            response
        });
        if self.router.is_api_v2(head.uri.path()) {
            self.allow_origin(&head.headers, response.headers_mut());
        }
        if let Some(endpoint) = endpoint.filter(|_| !undecodable) {
            self.count(endpoint, head, &response, began);
        }
        response
    }

    async fn try_serve(
        &self,
        routed: Result<Route, Rejection>,
        head: &Parts,
        body: &mut RequestBody<'_>,
        caller: &Caller,
    ) -> Result<Response, Refused> {
        if let Ok(route) = &routed {
            self.authorize(caller, route, head)?;
        }
        let limits = self.site.options.limits;
        // Nothing is read for whoever may do nothing, or waits to be asked for a body that nobody
        // needs.
        let asks = caller.may_something() && !expects_continue(&head.headers);
        if asks && self.checks_gzip(&routed, head) {
            body::check_encoding(&head.headers, body, &limits).await?;
        }
        match routed? {
            Route::Endpoint(endpoint, group) => {
                let bounds = Bounds { limits, held: self.site.budget.reservation() };
                let endpoints = self.router.endpoints();
                let site = &self.site;
                let request =
                    Request { site, endpoints, endpoint, head, body, caller, bounds, group };
                (endpoint.handler)(request).await
            }
            Route::Options { allow } => {
                let mut response = reply::empty(StatusCode::OK);
                if let Some(allow) = HeaderValue::try_from(allow).ok().filter(|it| !it.is_empty()) {
                    response.headers_mut().insert(ALLOW, allow);
                }
                Ok(response)
            }
            Route::Redirect { status, location, .. } => {
                Ok(reply::redirect(&head.method, status, &location))
            }
        }
    }

    /// Whether a body that claims to be gzip is looked at first. The Go Pushgateway decodes before it
    /// routes; whoever reads the body decodes it, too.
    fn checks_gzip(&self, routed: &Result<Route, Rejection>, head: &Parts) -> bool {
        match routed {
            Err(Rejection::BadTarget { .. }) => false,
            Ok(Route::Redirect { clean, .. }) => !clean,
            Ok(Route::Endpoint(endpoint, _)) if !endpoint.checks_gzip => false,
            _ => !self.router.is_api(head.uri.path()),
        }
    }

    /// Whether whoever sent a request may send it.
    fn authorize(&self, caller: &Caller, route: &Route, head: &Parts) -> Result<(), Rejection> {
        let reads = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let any_page = matches!(route, Route::Endpoint(endpoint, _) if endpoint.any_page);
        if !reads && !any_page {
            self.site.pages.check(head)?;
        }
        match route {
            Route::Endpoint(endpoint, group) => endpoint.admit(caller, group.as_ref()),
            Route::Options { .. } | Route::Redirect { .. } => Ok(()),
        }
    }

    /// Counts a request that was served, or was refused by what would have served it.
    fn count(&self, endpoint: &Endpoint, head: &Parts, response: &Response, began: Instant) {
        let Some(handler) = endpoint.counted else { return };
        let Ok(gateway) = self.site.readiness.gateway() else { return };
        let metrics = &self.site.metrics;
        let method = labels::Method::of(head.method.as_str());
        if handler == Handler::Push {
            metrics.push_served(method, began.elapsed(), request_size(head), gateway.now());
        }
        metrics.served(handler, method, response.status().as_u16());
    }

    /// Counts what an answer takes until it is sent. One for which there is no room is refused.
    pub(super) fn counted(&self, head: &Parts, response: Response) -> (Response, Reservation) {
        /// Of these there may be as many as there are requests.
        const SMALL_BYTES: usize = 4 * 1024;
        let mut held = self.site.budget.reservation();
        let bytes = response.body().bytes();
        if bytes <= SMALL_BYTES {
            return (response, held);
        }
        match held.take(bytes) {
            Ok(()) => (response, held),
            Err(error) => (self.refused(head, error.into()), held),
        }
    }

    /// The answer to a request that is not served, which is counted and logged.
    pub(super) fn refused(&self, head: &Parts, rejection: Rejection) -> Response {
        self.note(head, &rejection);
        if self.router.is_api_v2(head.uri.path()) {
            rejection.into_json_response()
        } else {
            rejection.into_response()
        }
    }

    /// Lets the pages of the hosts that the settings name use the API (the CORS protocol of the Fetch
    /// standard).
    fn allow_origin(&self, request: &HeaderMap, headers: &mut HeaderMap) {
        let allowed = &self.site.options.cors_origins;
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = request.get(ORIGIN)
            && allowed
                .iter()
                .any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
        {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            for (name, value) in [
                (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE, OPTIONS"),
                (
                    ACCESS_CONTROL_ALLOW_HEADERS,
                    "Accept, Authorization, Content-Type, Last-Event-ID",
                ),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
    }

    /// Counts and logs a request that was not served.
    fn note(&self, head: &Parts, rejection: &Rejection) {
        let method = &head.method;
        let pushes = matches!(*method, Method::PUT | Method::POST)
            && !self.router.is_api_v2(head.uri.path());
        if pushes {
            self.site.metrics.refused(rejection.reason());
        }
        if let Some(limit) = rejection.limit() {
            self.site.metrics.limited(limit);
        }
        let status = rejection.status().as_u16();
        if rejection.status().is_server_error() {
            let error: &dyn std::error::Error = rejection;
            let causes: Vec<_> = std::iter::successors(error.source(), |error| error.source())
                .map(ToString::to_string)
                .collect();
            tracing::error!(%method, status, error = %rejection, causes = causes.join(": "), "request failed");
        } else if rejection.is_inconsistency() {
            tracing::error!(%method, path = head.uri.path(), error = %rejection, "push refused");
        } else {
            tracing::debug!(%method, status, error = %rejection, "request refused");
        }
    }
}

/// Whether a head is one that HTTP allows, in what the HTTP library leaves to us.
fn well_formed(head: &Parts) -> Result<(), Rejection> {
    let headers = &head.headers;
    // As HTTP/2 counts them. Of HTTP/1 there are no longer ones.
    let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    if head.version == Version::HTTP_2 && lines.sum::<usize>() > HEAD_BYTES_MAX {
        return Err(Rejection::HeadTooLarge);
    }
    if head.version != Version::HTTP_2 {
        let mut hosts = headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (None, _) if head.version == Version::HTTP_11 => {
                return Err(Rejection::Head("missing required Host header"));
            }
            (_, Some(_)) => return Err(Rejection::Head("too many Host headers")),
            _ => {}
        }
    }
    let chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    if encodings.next().is_some_and(|value| !chunked(value)) || encodings.next().is_some() {
        return Err(Rejection::TransferEncoding);
    }
    let expects = headers.get_all(EXPECT).iter().any(|value| !value.is_empty());
    if expects && !expects_continue(headers) {
        return Err(Rejection::Expectation);
    }
    Ok(())
}

/// About how many bytes a request has, as the Go client library counts them.
fn request_size(head: &Parts) -> u64 {
    let length =
        head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let uri = head.uri.path().len() + head.uri.query().map_or(0, |query| query.len() + 1);
    let headers = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let line = head.method.as_str().len() + "HTTP/1.1".len();
    (uri + line + headers.sum::<usize>()) as u64 + length.unwrap_or(0)
}
