//! One request in, one response out.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use super::Limits;
use super::rejection::{Rejection, text};
use super::route::{Route, route};
use super::scrape::ScrapeBody;
use super::{body, push, scrape};
use crate::gateway::Gateway;

/// How far the gateway is. Moves forward only: starting, ready, stopping.
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
            *state = State::Stopping(gateway.clone());
        }
    }

    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn gateway(&self) -> Result<Gateway, Rejection> {
        match self.state() {
            State::Starting => Err(Rejection::Starting),
            State::Ready(gateway) | State::Stopping(gateway) => Ok(gateway),
        }
    }
}

/// What requests are served with.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) readiness: Readiness,
    pub(super) limits: Limits,
}

pub(super) type ResponseBody = Either<Full<Bytes>, ScrapeBody>;

impl Service {
    /// Serves a request. Never fails: what cannot be served is answered too.
    pub(super) async fn serve(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let (head, mut body) = request.into_parts();
        let result = self.try_serve(&head, &mut body).await;
        // A body that nobody wanted would have the connection closed behind the answer, and a
        // client that sends its next request at that moment would get none.
        body::discard(&mut body, &self.limits).await;
        Ok(result.unwrap_or_else(|rejection| {
            self.note(&head.method, &rejection);
            rejection.into_response().map(Either::Left)
        }))
    }

    async fn try_serve(
        &self,
        head: &Parts,
        body: &mut Incoming,
    ) -> Result<Response<ResponseBody>, Rejection> {
        match route(&head.method, head.uri.path())? {
            Route::Push(key, mode) => {
                let gateway = self.readiness.gateway()?;
                let response =
                    push::push(&gateway, &self.limits, key, mode, &head.headers, body).await?;
                Ok(response.map(Either::Left))
            }
            Route::Delete(key) => {
                let gateway = self.readiness.gateway()?;
                Ok(push::delete(&gateway, key).await?.map(Either::Left))
            }
            Route::Scrape => {
                let gateway = self.readiness.gateway()?;
                Ok(scrape::scrape(&gateway, &head.headers).await.map(Either::Right))
            }
            Route::Healthy => Ok(text(StatusCode::OK, "OK").map(Either::Left)),
            Route::Ready => Ok(self.ready().map(Either::Left)),
            Route::Options { allow } => {
                let mut response = Response::new(Full::default());
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
                Ok(response.map(Either::Left))
            }
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match self.readiness.state() {
            State::Starting => text(unavailable, "starting: restoring what is stored\n"),
            State::Ready(_) => text(StatusCode::OK, "OK"),
            State::Stopping(_) => text(unavailable, "stopping\n"),
        }
    }

    /// Counts and logs a request that was not served.
    fn note(&self, method: &Method, rejection: &Rejection) {
        let pushes = matches!(*method, Method::PUT | Method::POST);
        if pushes && let Ok(gateway) = self.readiness.gateway() {
            gateway.refused(rejection.reason());
        }
        let status = rejection.status().as_u16();
        if rejection.status().is_server_error() {
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
