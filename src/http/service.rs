//! One request in, one response out: routed, admitted, handled, counted.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
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
use super::endpoint::{Endpoint, Needs, Place, Request, Site};
use super::leftover::expects_continue;
use super::rejection::{Refused, Rejection};
use super::replicas::carry_out::{self, Held, Outcome};
use super::replicas::presence::INSTANCE;
use super::replicas::{Handed, LEADER_WAIT, Replicas, is_handed_on};
use super::reply::{self, Response};
use super::router::{Route, Router};
use crate::exposition::push_path::PushPath;
use crate::model::{Meter as _, RequestId};
use crate::telemetry::labels::{self, Handler};

/// Serves requests.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) site: Site,
    pub(super) router: Router,
}

/// Who has sent a request.
enum Sender {
    Client(Caller),
    /// Another replica, for one that it has let in.
    Replica(Handed),
}

/// Until a replica that does not lead any more knows who does.
const STEPPING_DOWN: Duration = Duration::from_millis(20);

impl Sender {
    fn caller(&self) -> &Caller {
        match self {
            Self::Client(caller) => caller,
            Self::Replica(handed) => &handed.caller,
        }
    }
}

fn new_id() -> Result<RequestId, Rejection> {
    let mut id = [0; 16];
    match getrandom::fill(&mut id) {
        Ok(()) => Ok(RequestId(id)),
        // Nothing is handed on without a name.
        Err(_) => Err(Rejection::NoLeader),
    }
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
        let (path, query) = (head.uri.path(), head.uri.query());
        let routed = match self.site.readiness.gateway() {
            // A cluster may have other rules than the settings of this replica.
            Ok(gateway) => self.router.route_by(gateway.names(), &head.method, path, query),
            Err(_) => self.router.route(&head.method, path, query),
        };
        let (sender, headers) = self.admit(head, &routed, from).await;
        let mut response = match sender {
            Ok(sender) => {
                let mut body = body.map_err(Into::into);
                let mut response = self.serve_to(&sender, routed, head, &mut body, began).await;
                if let Sender::Replica(_) = sender {
                    let instance = self.site.readiness.gateway().ok();
                    let instance = instance.as_ref().and_then(|gateway| gateway.cluster());
                    let instance = instance.and_then(|it| it.instance().try_into().ok());
                    response.headers_mut().extend(instance.map(|value| (INSTANCE, value)));
                }
                response
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
    ) -> (Result<Sender, Rejection>, Vec<(HeaderName, HeaderValue)>) {
        let access = self.site.hooks.access.current();
        let web = self.site.web_config.as_ref().map(|web_config| web_config.current());
        let handed_on = self.site.replicas.as_ref().filter(|_| is_handed_on(&head.headers));
        let handed = handed_on.map(|replicas| {
            let now = self.site.readiness.gateway().map(|gateway| gateway.now());
            now.and_then(|now| replicas.verify(head, &access, from, now))
        });
        // One that was handed on has been counted where it came in.
        if !matches!(handed, Some(Ok(_))) && web.as_ref().is_some_and(|web| !web.has_room()) {
            return (Err(Rejection::TooMany), Vec::new());
        }
        let headers = web.as_ref().map(|web| web.headers().to_vec()).unwrap_or_default();
        if let Ok(Route::Endpoint(endpoint, _)) = routed
            && endpoint.needs == Needs::NoLogin
        {
            return (Ok(Sender::Client(access.nobody(from))), headers);
        }
        if let Some(handed) = handed {
            return (handed.map(Sender::Replica), headers);
        }
        let caller = access.caller(&head.headers, web.as_deref(), from).await;
        (caller.map(Sender::Client), headers)
    }

    async fn serve_to(
        &self,
        sender: &Sender,
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
        let result = self.try_serve(routed, head, body, sender).await;
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
        sender: &Sender,
    ) -> Result<Response, Refused> {
        let caller = sender.caller();
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
            Route::Endpoint(endpoint, group)
                if endpoint.is_by_leader()
                    && let Some(replicas) = &self.site.replicas =>
            {
                self.carry_out(replicas, endpoint, group, head, body, sender).await
            }
            Route::Endpoint(endpoint, group) => {
                self.wait_for_revision(head).await?;
                let bounds = Bounds { limits, held: self.site.budget.reservation() };
                let endpoints = self.router.endpoints();
                let site = &self.site;
                let request = Request {
                    site,
                    endpoints,
                    endpoint,
                    head,
                    body,
                    caller,
                    bounds,
                    group,
                    id: None,
                    term: None,
                    by_replica: matches!(sender, Sender::Replica(_)),
                };
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

    /// Waits until this replica has come as far as a request asks for.
    async fn wait_for_revision(&self, head: &Parts) -> Result<(), Rejection> {
        let (Some(_), Some(asked)) =
            (&self.site.replicas, head.headers.get(carry_out::MIN_REVISION))
        else {
            return Ok(());
        };
        let asked = asked.to_str().ok().and_then(|asked| asked.trim().parse().ok());
        let asked = asked.ok_or(Rejection::MinRevision)?;
        let gateway = self.site.readiness.gateway()?;
        let Some(replica) = gateway.replica() else { return Ok(()) };
        if replica.visible(asked, carry_out::VISIBLE_WAIT).await {
            return Ok(());
        }
        Err(Rejection::Behind { revision: replica.revision() })
    }

    /// Has the replica that leads carry out a request, which may be this one.
    async fn carry_out(
        &self,
        replicas: &Replicas,
        endpoint: &'static Endpoint,
        group: Option<PushPath>,
        head: &Parts,
        body: &mut RequestBody<'_>,
        sender: &Sender,
    ) -> Result<Response, Refused> {
        let gateway = self.site.readiness.gateway()?;
        let limits = self.site.options.limits;
        let mut bounds = Bounds { limits, held: self.site.budget.reservation() };
        let bytes = body::whole(body, &mut bounds).await?;
        let caller = sender.caller();
        let (id, term) = match sender {
            Sender::Replica(handed) => {
                handed.check_body(&bytes)?;
                (handed.id, Some(handed.term))
            }
            Sender::Client(_) => (new_id()?, None),
        };
        let handed = term.is_some();
        let is_named = matches!(endpoint.place, Place::Group);
        let held = Held { head, body: bytes.clone(), caller, id, is_named };
        let deadline = tokio::time::Instant::now() + LEADER_WAIT;
        loop {
            let leads = match term {
                None => carry_out::leads(&gateway),
                Some(term) => carry_out::leads_in(&gateway, term),
            };
            if !leads {
                if handed {
                    replicas.not_taken(id);
                    return Err(Rejection::NotLeading.into());
                }
                match replicas.hand_on(&gateway, &held, deadline).await? {
                    Some(response) => return Ok(response),
                    None => continue,
                }
            }
            let Some(replica) = gateway.replica() else { return Err(Rejection::NoLeader.into()) };
            let awaited = replica.await_request(id);
            let leader = Replicas::leader(&gateway, deadline).await?;
            let mut again = Full::new(bytes.clone()).map_err(Into::into);
            let request = Request {
                site: &self.site,
                endpoints: self.router.endpoints(),
                endpoint,
                head,
                body: &mut again,
                caller,
                bounds: Bounds { limits, held: self.site.budget.reservation() },
                group: group.clone(),
                id: Some(id),
                term,
                by_replica: handed,
            };
            let answer = tokio::time::timeout_at(deadline, (endpoint.handler)(request)).await;
            let refused = match answer {
                Ok(Ok(mut response)) => {
                    let revision = carry_out::revision(&gateway);
                    let revision = revision.map(|revision| (carry_out::REVISION, revision));
                    response.headers_mut().extend(revision);
                    return Ok(response);
                }
                Ok(Err(refused)) => refused,
                Err(_) => return Err(Rejection::Unclear.into()),
            };
            if !refused.rejection.is_not_leading() {
                return Err(refused);
            }
            let is_unclear = refused.rejection.is_unclear();
            match (handed, is_unclear) {
                // Whoever has handed it on follows the batches, too.
                (true, true) => return Err(Rejection::HandedTwice.into()),
                (true, false) => {
                    replicas.not_taken(id);
                    return Err(Rejection::NotLeading.into());
                }
                (false, true) if !is_named => return Err(refused),
                (false, true) => {
                    match Replicas::outcome(&gateway, &awaited, &leader, deadline).await {
                        Outcome::Done => return Ok(carry_out::done(&gateway, &held)),
                        Outcome::NotDone => {}
                        Outcome::Unknown | Outcome::Missed => return Err(Rejection::Unclear.into()),
                    }
                }
                (false, false) => tokio::time::sleep(STEPPING_DOWN).await,
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(Rejection::NoLeader.into());
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
        if pushes {
            // Those that name a group have a line, with who pushed it.
            tracing::debug!(%method, status, error = %rejection, "push not taken");
        } else if rejection.status().is_server_error() {
            let error: &dyn std::error::Error = rejection;
            let causes: Vec<_> = std::iter::successors(error.source(), |error| error.source())
                .map(ToString::to_string)
                .collect();
            tracing::error!(%method, status, error = %rejection, causes = causes.join(": "), "request failed");
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
