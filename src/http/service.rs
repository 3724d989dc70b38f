//! One request in, one response out.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Instant;

use buf_list::BufList;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW,
    CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue, LOCATION, ORIGIN,
    TRANSFER_ENCODING, VARY,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response, StatusCode, Version};
use tokio::sync::{Notify, oneshot};

use super::access::cross_origin::Pages;
use super::access::{Caller, Origin, Permission};
use super::api_v1::GroupsBody;
use super::api_v2::{EventsBody, JsonBody};
use super::body::{self, Bounds};
use super::bounds::{Budget, Reservation, Slots};
use super::leftover::expects_continue;
use super::rejection::{Rejection, error_text, text};
use super::route::{Route, Router};
use super::scrape::ScrapeBody;
use super::web::Page;
use super::web_config::WebConfig;
use super::{Hooks, Options, api_v1, api_v2, heads, push, scrape, web};
use crate::gateway::Gateway;
use crate::model::Meter as _;
use crate::store::ReadError;
use crate::telemetry::labels::{self, Handler};
use crate::telemetry::metrics::SelfMetrics;
use crate::time::UnixNanos;

/// How far the gateway is. Moves forward only: starting, ready, stopping or failed.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// Held to read or replace; never across an await.
    state: Arc<RwLock<State>>,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Starting,
    Ready(Gateway),
    Stopping(Gateway),
    /// With the reason.
    Failed(Gateway, Arc<str>),
}

impl Readiness {
    /// The gateway has restored what is stored.
    pub fn ready(&self, gateway: Gateway) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::Ready(gateway);
    }

    /// The gateway is about to stop. Requests are still served.
    pub fn stopping(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::Ready(gateway) = &*state {
            gateway.events().close();
            *state = State::Stopping(gateway.clone());
        }
    }

    /// A part of the gateway is gone that it cannot do without: the process is about to end.
    pub fn failed(&self, reason: &str) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::Ready(gateway) | State::Stopping(gateway) = &*state {
            gateway.events().close();
            *state = State::Failed(gateway.clone(), reason.into());
        }
    }

    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn gateway(&self) -> Result<Gateway, Rejection> {
        match self.state() {
            State::Starting => Err(Rejection::Starting),
            State::Ready(gateway) | State::Stopping(gateway) | State::Failed(gateway, _) => {
                Ok(gateway)
            }
        }
    }
}

/// What requests are served with.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) readiness: Readiness,
    pub(super) options: Options,
    pub(super) router: Router,
    pub(super) web_config: Option<Arc<WebConfig>>,
    /// Which pages may have a browser change something.
    pub(super) pages: Pages,
    pub(super) hooks: Hooks,
    /// Notified by whoever asks the gateway to stop.
    pub(super) quit: Arc<Notify>,
    pub(super) started: UnixNanos,
    /// Whether connections speak TLS.
    pub(super) tls: bool,
    /// Of the bodies of all requests under way.
    pub(super) budget: Budget,
    /// Of connections.
    pub(super) slots: Slots,
    /// Of clients that follow events.
    pub(super) followers: Slots,
    pub(super) metrics: Arc<SelfMetrics>,
}

/// What is sent back.
#[derive(Debug)]
pub(super) enum ResponseBody {
    Whole(Full<Bytes>),
    Scrape(Box<ScrapeBody>),
    Groups(GroupsBody),
    Json(JsonBody),
    Events(EventsBody),
}

impl ResponseBody {
    /// How much memory it takes until it is sent, beside what is stored anyway and what was counted when
    /// it was made.
    pub(super) fn bytes(&self) -> usize {
        /// What is written of a list at a time, a part that is on its way and the next, and as much again
        /// for what the heap keeps of parts that were sent.
        const PARTS_BYTES: usize = 256 * 1024;
        /// Events, likewise.
        const EVENTS_BYTES: usize = 32 * 1024;
        match self {
            Self::Whole(body) => {
                body.size_hint().exact().and_then(|len| usize::try_from(len).ok()).unwrap_or(0)
            }
            Self::Scrape(body) => body.bytes(),
            Self::Groups(_) | Self::Json(_) => PARTS_BYTES,
            Self::Events(_) => EVENTS_BYTES,
        }
    }
}

impl Body for ResponseBody {
    type Data = BufList;
    type Error = ReadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<BufList>, ReadError>>> {
        let never = |never: Infallible| match never {};
        match self.get_mut() {
            Self::Whole(body) => in_parts(Pin::new(body).poll_frame(context), never),
            Self::Scrape(body) => in_parts(Pin::new(body).poll_frame(context), never),
            Self::Groups(body) => in_parts(Pin::new(body).poll_frame(context), |error| error),
            Self::Json(body) => in_parts(Pin::new(body).poll_frame(context), never),
            Self::Events(body) => in_parts(Pin::new(body).poll_frame(context), never),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Scrape(body) => body.is_end_stream(),
            Self::Groups(body) => body.is_end_stream(),
            Self::Json(body) => body.is_end_stream(),
            Self::Events(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Scrape(body) => body.size_hint(),
            Self::Groups(body) => body.size_hint(),
            Self::Json(body) => body.size_hint(),
            Self::Events(body) => body.size_hint(),
        }
    }
}

/// A frame of one of the bodies as one of all.
fn in_parts<T: Into<BufList>, E>(
    polled: Poll<Option<Result<Frame<T>, E>>>,
    error: impl FnOnce(E) -> ReadError,
) -> Poll<Option<Result<Frame<BufList>, ReadError>>> {
    polled.map(|frame| {
        frame.map(|frame| frame.map(|frame| frame.map_data(Into::into)).map_err(error))
    })
}

impl Service {
    /// Serves a request from an address. Never fails: what cannot be served is answered too.
    pub(super) async fn serve<B>(
        &self,
        head: &Parts,
        body: &mut B,
        from: IpAddr,
    ) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let began = Instant::now();
        if let Err(rejection) = well_formed(head) {
            return self.refused(head, rejection);
        }
        let routed = self.router.route(&head.method, head.uri.path(), head.uri.query());
        let (caller, headers) = self.admit(head, &routed, from).await;
        let mut response = match caller {
            Ok(caller) => self.serve_to(&caller, routed, head, body, began).await,
            Err(rejection) => self.refused(head, rejection),
        };
        // What the settings say takes the place of what an answer would have.
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
        let access = self.hooks.access.current();
        let web = self.web_config.as_ref().map(|web_config| web_config.current());
        if web.as_ref().is_some_and(|web| !web.has_room()) {
            return (Err(Rejection::TooMany), Vec::new());
        }
        let headers = web.as_ref().map(|web| web.headers().to_vec()).unwrap_or_default();
        // A probe has no secrets, and there are none in what it is told.
        if matches!(routed, Ok(Route::Healthy | Route::Ready)) {
            return (Ok(access.nobody(from)), headers);
        }
        (access.caller(&head.headers, web.as_deref(), from).await, headers)
    }

    async fn serve_to<B>(
        &self,
        caller: &Caller,
        routed: Result<Route, Rejection>,
        head: &Parts,
        body: &mut B,
        began: Instant,
    ) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let handler = handler(&head.method, &routed);
        let group = match &routed {
            Ok(Route::Push(path, _)) => Some(path.key.clone()),
            _ => None,
        };
        let result = self.try_serve(routed, head, body, caller).await;
        let undecodable = matches!(&result, Err(Rejection::Encoding { .. }));
        let mut response = result.unwrap_or_else(|rejection| {
            let mut refused = HeaderMap::new();
            // Whoever may not push learns nothing of the group, and leaves nothing behind.
            if let Some(key) = group.as_ref().filter(|_| !rejection.is_of_access())
                && let Ok(gateway) = self.readiness.gateway()
            {
                push::refused(&gateway, key, &rejection, &mut refused);
            }
            let mut response = self.refused(head, rejection);
            response.headers_mut().extend(refused);
            response
        });
        if self.router.is_api_v2(head.uri.path()) {
            self.allow_origin(&head.headers, response.headers_mut());
        }
        if let Some(handler) = handler.filter(|_| !undecodable)
            && let Ok(gateway) = self.readiness.gateway()
        {
            let method = labels::Method::of(head.method.as_str());
            if handler == Handler::Push {
                let size = request_size(head);
                self.metrics.push_served(method, began.elapsed(), size, gateway.now());
            }
            self.metrics.served(handler, method, response.status().as_u16());
        }
        response
    }

    /// Counts what an answer takes until it is sent. One for which there is no room is refused.
    pub(super) fn counted(
        &self,
        head: &Parts,
        response: Response<ResponseBody>,
    ) -> (Response<ResponseBody>, Reservation) {
        /// Of these there may be as many as there are requests.
        const SMALL_BYTES: usize = 4 * 1024;
        let mut held = self.budget.reservation();
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
    pub(super) fn refused(&self, head: &Parts, rejection: Rejection) -> Response<ResponseBody> {
        self.note(head, &rejection);
        let response = if self.router.is_api_v2(head.uri.path()) {
            rejection.into_json_response()
        } else {
            rejection.into_response()
        };
        response.map(ResponseBody::Whole)
    }

    async fn try_serve<B>(
        &self,
        routed: Result<Route, Rejection>,
        head: &Parts,
        body: &mut B,
        caller: &Caller,
    ) -> Result<Response<ResponseBody>, Rejection>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        if let Ok(route) = &routed {
            self.authorize(caller, route, head)?;
        }
        let limits = self.options.limits;
        let mut bounds = Bounds { limits, held: self.budget.reservation() };
        // Also where nothing is there: the Go Pushgateway decodes before it looks. A push is decoded
        // where it is read. But for whoever may do nothing, or waits to be asked for a body that is of
        // no use, nothing is read.
        let asks = caller.may_something() && !expects_continue(&head.headers);
        let undecoded = match &routed {
            _ if !asks => false,
            // A client may say so of a body that it has not.
            Ok(Route::Push(..) | Route::Delete(_) | Route::V2(_))
            | Err(Rejection::BadTarget { .. }) => false,
            Ok(Route::Page(_)) if head.method == Method::POST => false,
            Ok(Route::Redirect { clean, .. }) => !clean,
            _ => !self.router.is_api(head.uri.path()),
        };
        if undecoded {
            body::check_encoding(&head.headers, body, &limits).await?;
        }
        let response = match routed? {
            Route::Push(path, mode) => {
                let gateway = self.readiness.gateway()?;
                push::push(&gateway, &self.metrics, &mut bounds, path, mode, head, body).await?
            }
            Route::Delete(key) => {
                let what = key.to_string();
                let response = push::delete(&self.readiness.gateway()?, key).await?;
                caller.audit("delete", &what);
                response
            }
            Route::Scrape => {
                let gateway = self.readiness.gateway()?;
                let openmetrics = self.options.openmetrics;
                let response =
                    scrape::scrape(&gateway, &self.metrics, &head.headers, openmetrics).await;
                return Ok(response.map(|body| ResponseBody::Scrape(body.into())));
            }
            Route::Page(page) => {
                let gateway = self.readiness.gateway()?;
                web::serve(self, gateway, page, head, body, &mut bounds, caller).await?
            }
            Route::Healthy => self.healthy(),
            Route::Ready => self.ready(),
            Route::QuitHint => {
                text(StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed.")
            }
            Route::Quit if self.options.lifecycle => {
                caller.audit("quit", "the gateway");
                self.quit.notify_one();
                text(StatusCode::OK, "Requesting termination... Goodbye!")
            }
            Route::ApiStatus => api_v1::status(&self.options.flags, self.started),
            Route::ApiMetrics => {
                let gateway = self.readiness.gateway()?;
                return Ok(api_v1::metrics(gateway, bounds.held)?.map(ResponseBody::Groups));
            }
            Route::ApiOptions => {
                let mut response = Response::new(Full::default());
                api_v1::headers(response.headers_mut());
                response
            }
            Route::Wipe => {
                self.readiness.gateway()?.wipe().await?;
                caller.audit("wipe", "all groups");
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::ACCEPTED;
                response
            }
            Route::Reload if self.options.lifecycle => {
                caller.audit("reload", "settings");
                self.reload().await
            }
            Route::Quit | Route::Reload => {
                text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled.")
            }
            Route::V2(endpoint) => {
                let gateway = self.readiness.gateway()?;
                let (hooks, admin) = (&self.hooks, self.options.admin);
                let followers = &self.followers;
                let metrics = &*self.metrics;
                let context = api_v2::Context { gateway, hooks, admin, caller, followers, metrics };
                return api_v2::serve(&context, endpoint, head, body, &mut bounds).await;
            }
            Route::Options { allow } => {
                let mut response = Response::new(Full::default());
                if !allow.is_empty() {
                    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
                }
                response
            }
            Route::Redirect { status, location, .. } => redirect(&head.method, status, &location),
        };
        Ok(response.map(ResponseBody::Whole))
    }

    /// Whether whoever sent a request may do what it asks for.
    fn authorize(&self, caller: &Caller, route: &Route, head: &Parts) -> Result<(), Rejection> {
        let reads = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        // A page changes nothing, whatever is asked of it: it shows what a change would do.
        if !reads && !matches!(route, Route::Page(_)) {
            self.pages.check(head)?;
        }
        match route {
            Route::Push(path, _) => caller.may(Permission::Push, Some(&path.key)),
            Route::Delete(key) => caller.may(Permission::Delete, Some(key)),
            Route::Scrape => caller.may_all(Permission::Scrape),
            Route::Page(page) => page.admit(caller),
            Route::ApiStatus | Route::ApiMetrics => caller.may_all(Permission::Read),
            Route::Wipe => {
                caller.admitted(Origin::Admin)?;
                caller.may_all(Permission::Admin)
            }
            Route::Quit | Route::Reload => {
                caller.admitted(Origin::Lifecycle)?;
                caller.may_all(Permission::Admin)
            }
            Route::V2(endpoint) => {
                let (permission, origin, all) = endpoint.needs(&head.method);
                caller.admitted(origin)?;
                if all { caller.may_all(permission) } else { caller.may(permission, None) }
            }
            // A probe has no secrets, and there are none in what it is told.
            Route::Healthy
            | Route::Ready
            | Route::QuitHint
            | Route::ApiOptions
            | Route::Options { .. }
            | Route::Redirect { .. } => Ok(()),
        }
    }

    /// Has the settings read again. The answer is for people, as it is with Prometheus.
    async fn reload(&self) -> Response<Full<Bytes>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.hooks.reload.send(reply).await;
        let answer = if sent.is_ok() { answer.await.ok() } else { None };
        match answer {
            Some(Ok(done)) => text(StatusCode::OK, done),
            Some(Err(problems)) => {
                let message = format!("the settings stay as they are: {problems}");
                error_text(StatusCode::INTERNAL_SERVER_ERROR, &message)
            }
            None => error_text(StatusCode::SERVICE_UNAVAILABLE, "the gateway is stopping"),
        }
    }

    /// Whether the process is of use. One that waits for room on its disk is.
    fn healthy(&self) -> Response<Full<Bytes>> {
        match self.readiness.state() {
            State::Failed(_, reason) => {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("failed: {reason}\n"))
            }
            State::Starting | State::Ready(_) | State::Stopping(_) => text(StatusCode::OK, "OK"),
        }
    }

    /// Whether pushes are taken.
    fn ready(&self) -> Response<Full<Bytes>> {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match self.readiness.state() {
            State::Starting => text(unavailable, "starting: restoring what is stored\n"),
            State::Ready(gateway) => match gateway.trouble() {
                None => text(StatusCode::OK, "OK"),
                Some(trouble) => {
                    let reason = Rejection::from(trouble).public_text();
                    text(unavailable, format!("pushes are refused: {reason}\n"))
                }
            },
            State::Stopping(_) => text(unavailable, "stopping\n"),
            State::Failed(_, reason) => text(unavailable, format!("failed: {reason}\n")),
        }
    }

    /// Lets the pages of the hosts that the settings name use the API (the CORS protocol of the Fetch
    /// standard).
    fn allow_origin(&self, request: &HeaderMap, headers: &mut HeaderMap) {
        let allowed = &self.options.cors_origins;
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
            self.metrics.refused(rejection.reason());
        }
        if let Some(limit) = rejection.limit() {
            self.metrics.limited(limit);
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
    if head.version == Version::HTTP_2 && lines.sum::<usize>() > heads::BYTES_MAX {
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

/// The name under which a request is counted, as the Go Pushgateway names it.
fn handler(method: &Method, routed: &Result<Route, Rejection>) -> Option<Handler> {
    Some(match routed {
        Ok(Route::Delete(_)) => Handler::Delete,
        Err(Rejection::Route(_)) if *method == Method::DELETE => Handler::Delete,
        Ok(Route::Push(..)) | Err(Rejection::Route(_)) => Handler::Push,
        Ok(Route::Healthy) => Handler::Healthy,
        Ok(Route::Ready) => Handler::Ready,
        Ok(Route::Page(Page::Asset(_))) => Handler::Static,
        Ok(Route::Page(_)) => Handler::Status,
        Ok(Route::Wipe) => Handler::Wipe,
        Ok(Route::ApiStatus) => Handler::ApiStatus,
        Ok(Route::ApiMetrics) => Handler::ApiMetrics,
        Ok(Route::ApiOptions) => Handler::ApiOptions,
        Ok(Route::V2(_)) => Handler::ApiV2,
        Ok(
            Route::Scrape
            | Route::Quit
            | Route::QuitHint
            | Route::Reload
            | Route::Options { .. }
            | Route::Redirect { .. },
        )
        | Err(_) => return None,
    })
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

/// A redirection. Who reads gets a link, as from Go's `http.Redirect`.
fn redirect(method: &Method, status: StatusCode, location: &str) -> Response<Full<Bytes>> {
    let mut body = Bytes::new();
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if reads {
        let reason = status.canonical_reason().unwrap_or_default();
        let link = maud::html! { a href=(location) { (reason) } }.into_string();
        body = format!("{link}.\n\n").into();
    }
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if reads {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    let location = HeaderValue::try_from(location);
    headers.insert(LOCATION, location.expect("a path is percent-encoded, a query was a header"));
    response
}
