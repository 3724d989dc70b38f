//! `/api/v2`: look at groups, act on them, see ahead and back. Answers are `{"status":"success",
//! "data":…}` or `{"status":"error","errorType":…,"error":…}`, as those of Prometheus's API.

mod events;
mod expired;
mod groups;
mod json;
pub(super) mod listing;
pub(super) mod preview;
pub(super) mod query;
pub mod render;
mod search;

pub(super) use events::{EventsBody, KINDS};
pub(super) use json::JsonBody;
pub use listing::{sort_names, state_names};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response, StatusCode};
use serde_json::{Value, json};
use thiserror::Error;

use super::Hooks;
use super::access::{Caller, Origin, Permission};
use super::body::{self, Bounds};
use super::bounds::Slots;
use super::rejection::Rejection;
use super::service::ResponseBody;
use crate::gateway::{Error, Fault, Gateway};
use crate::model::OverBudget;
use crate::telemetry::metrics::SelfMetrics;
use json::Data;
use query::Query;

/// What there is below `/api/v2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Groups,
    Families,
    Touch,
    Ttl,
    Preview,
    Expired,
    Restore,
    Events,
    Config,
}

/// Why a request to the API is not carried out.
#[derive(Debug, Error)]
pub(super) enum ApiError {
    #[error("{0}")]
    BadData(String),
    #[error("{0}")]
    NotFound(String),
    #[error(
        "{matched} groups match, and only one may be changed at a time without web.enable-admin-api"
    )]
    NotAdmin { matched: usize },
    #[error(transparent)]
    Gateway(#[from] Error),
    /// As any request may be.
    #[error(transparent)]
    Rejected(Box<Rejection>),
}

impl From<OverBudget> for ApiError {
    fn from(error: OverBudget) -> Self {
        Self::Rejected(Box::new(error.into()))
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        Self::Gateway(fault.into())
    }
}

/// Where each endpoint is, below the prefix of the API, and its methods.
const ENDPOINTS: [(&str, Endpoint, &str); 9] = [
    ("/groups", Endpoint::Groups, "DELETE, GET, HEAD, OPTIONS"),
    ("/groups/families", Endpoint::Families, "GET, HEAD, OPTIONS"),
    ("/groups/touch", Endpoint::Touch, "OPTIONS, POST"),
    ("/groups/ttl", Endpoint::Ttl, "OPTIONS, PUT"),
    ("/ttl/preview", Endpoint::Preview, "GET, HEAD, OPTIONS, POST"),
    ("/expired", Endpoint::Expired, "GET, HEAD, OPTIONS"),
    ("/expired/restore", Endpoint::Restore, "OPTIONS, POST"),
    ("/events", Endpoint::Events, "GET, OPTIONS"),
    ("/config", Endpoint::Config, "GET, HEAD, OPTIONS"),
];

impl Endpoint {
    /// The endpoint of a path below the prefix of the API.
    pub(super) fn find(path: &str) -> Option<Self> {
        ENDPOINTS.iter().find(|(at, ..)| *at == path).map(|endpoint| endpoint.1)
    }

    /// The paths below the prefix of the API.
    pub(super) fn paths() -> impl Iterator<Item = &'static str> {
        ENDPOINTS.iter().map(|endpoint| endpoint.0)
    }

    /// The change that a request makes, for the audit log; `None` if it makes none.
    fn change(self, method: &Method) -> Option<&'static str> {
        match self {
            Self::Groups if *method == Method::DELETE => Some("delete"),
            Self::Touch => Some("touch"),
            Self::Ttl => Some("override"),
            Self::Restore => Some("restore"),
            Self::Groups
            | Self::Families
            | Self::Preview
            | Self::Expired
            | Self::Events
            | Self::Config => None,
        }
    }

    /// What a request needs: the permission, from where, and whether it is about all that there is.
    pub(super) fn needs(self, method: &Method) -> (Permission, Origin, bool) {
        match self {
            Self::Groups if *method == Method::DELETE => (Permission::Delete, Origin::Admin, false),
            Self::Touch | Self::Ttl | Self::Restore => (Permission::Admin, Origin::Admin, false),
            Self::Config => (Permission::Read, Origin::Anywhere, true),
            Self::Groups | Self::Families | Self::Preview | Self::Expired | Self::Events => {
                (Permission::Read, Origin::Anywhere, false)
            }
        }
    }

    /// Its methods.
    pub(super) fn allow(self) -> &'static str {
        ENDPOINTS.iter().find(|endpoint| endpoint.1 == self).map_or("", |endpoint| endpoint.2)
    }
}

/// What requests to the API are served with.
pub(super) struct Context<'a> {
    pub(super) gateway: Gateway,
    pub(super) hooks: &'a Hooks,
    pub(super) admin: bool,
    pub(super) caller: &'a Caller,
    /// Of clients that follow events.
    pub(super) followers: &'a Slots,
    pub(super) metrics: &'a SelfMetrics,
}

impl Context<'_> {
    /// More than one group is changed only by who may wipe, too.
    fn may_change(&self, matched: usize) -> Result<(), ApiError> {
        if matched > 1 && !self.admin { Err(ApiError::NotAdmin { matched }) } else { Ok(()) }
    }
}

/// Serves a request whose method the endpoint has.
pub(super) async fn serve<B>(
    context: &Context<'_>,
    endpoint: Endpoint,
    head: &Parts,
    incoming: &mut B,
    bounds: &mut Bounds,
) -> Result<Response<ResponseBody>, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let query = Query::parse(head.uri.query(), context.caller.scope());
    let result = match endpoint {
        Endpoint::Events => {
            return match events::follow(context, &query, &head.headers, bounds) {
                Ok(body) => Ok(events::response(body)),
                Err(ApiError::Rejected(rejection)) => Err(*rejection),
                Err(error) => Ok(error.into_response().map(ResponseBody::Whole)),
            };
        }
        Endpoint::Groups if head.method == Method::DELETE => {
            groups::delete(context, &query, bounds).await
        }
        Endpoint::Groups => groups::list(context, &query, bounds).await,
        Endpoint::Families => groups::families(context, &query, bounds).await,
        Endpoint::Touch => groups::touch(context, &query, bounds).await,
        Endpoint::Ttl => groups::set_ttl(context, &query, bounds).await,
        Endpoint::Preview if head.method == Method::POST => {
            // A rule of a few bytes may take a thousand times as much memory.
            bounds.lower_to(preview::TABLE_BYTES_MAX);
            let table = body::read(&head.headers, incoming, bounds).await?;
            preview::compare(context, &query, &table, bounds).await
        }
        Endpoint::Preview => preview::preview(context, &query, bounds).await,
        Endpoint::Expired => expired::list(context, &query, bounds).await,
        Endpoint::Restore => expired::restore(context, &query, bounds).await.map(Data::Value),
        Endpoint::Config => Ok((context.hooks.settings)().into()),
    };
    let response = match result {
        Ok(data) => {
            let said = |name: &str| match &data {
                Data::Value(value) => value.get(name),
                Data::List(list) => list.fields.get(name),
            };
            if let Some(change) = endpoint.change(&head.method)
                && said("dry_run") != Some(&true.into())
            {
                let count = said("count").and_then(Value::as_u64).unwrap_or(0);
                let what = format!("{count} groups by {}", query.to_text());
                context.caller.audit(change, &what);
            }
            match data {
                Data::Value(value) => success(&value).map(ResponseBody::Whole),
                Data::List(list) => {
                    let mut response = list.into_response();
                    set_headers(response.headers_mut());
                    response
                }
            }
        }
        Err(ApiError::Gateway(error)) => return Err(error.into()),
        Err(ApiError::Rejected(rejection)) => return Err(*rejection),
        Err(error) => error.into_response().map(ResponseBody::Whole),
    };
    Ok(response)
}

/// An answer that has what was asked for.
pub(super) fn success(data: &Value) -> Response<Full<Bytes>> {
    answer(StatusCode::OK, &json!({ "status": "success", "data": data }))
}

/// An answer that says why there is none.
pub(super) fn failure(status: StatusCode, error: &str) -> Response<Full<Bytes>> {
    let kind = match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => "unavailable",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::CONFLICT => "conflict",
        status if status.is_server_error() => "internal",
        _ => "bad_data",
    };
    answer(status, &json!({ "status": "error", "errorType": kind, "error": error }))
}

fn answer(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    set_headers(response.headers_mut());
    response
}

fn set_headers(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

impl ApiError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::BadData(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::NotAdmin { .. } => StatusCode::FORBIDDEN,
            Self::Gateway(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Rejected(rejection) => rejection.status(),
        }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        match self {
            Self::Gateway(error) => Rejection::from(error).into_json_response(),
            Self::Rejected(rejection) => rejection.into_json_response(),
            _ => failure(self.status(), &self.to_string()),
        }
    }
}
