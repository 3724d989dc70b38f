//! Answers: their body, whatever it is made of, and the forms that several endpoints use.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use buf_list::BufList;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use crate::store::ReadError;

/// An answer.
pub(super) type Response = hyper::Response<ReplyBody>;

/// The body of an answer.
#[derive(Debug)]
pub(super) struct ReplyBody {
    body: UnsyncBoxBody<BufList, ReadError>,
    bytes: usize,
    endless: bool,
}

impl ReplyBody {
    /// A body that is there as a whole.
    pub(super) fn whole(content: impl Into<Bytes>) -> Self {
        let content = content.into();
        let bytes = content.len();
        Self::streamed(Full::new(BufList::from(content)), bytes)
    }

    /// A body that is made while it is sent. `bytes`: how much memory it takes until it is sent, beside
    /// what is stored anyway and what was counted when it was made.
    pub(super) fn streamed<B>(body: B, bytes: usize) -> Self
    where
        B: Body<Data = BufList, Error = Infallible> + Send + 'static,
    {
        let body = body.map_err(|never| match never {}).boxed_unsync();
        Self { body, bytes, endless: false }
    }

    /// The same of a body in parts, whose length nobody knows.
    pub(super) fn in_parts<B>(body: B, bytes: usize) -> Self
    where
        B: Body<Data = Bytes, Error = ReadError> + Send + 'static,
    {
        let body = body.map_frame(|frame| frame.map_data(BufList::from));
        Self { body: body.boxed_unsync(), bytes, endless: false }
    }

    /// A body that ends when the gateway does: each of its parts has its own time limit.
    pub(super) fn endless(self) -> Self {
        Self { endless: true, ..self }
    }

    pub(super) fn is_endless(&self) -> bool {
        self.endless
    }

    /// How much memory it takes until it is sent, beside what was counted when it was made.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Body for ReplyBody {
    type Data = BufList;
    type Error = ReadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<BufList>, ReadError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    with(status, Bytes::new())
}

/// An answer with a body, yet without headers.
pub(super) fn with(status: StatusCode, content: impl Into<Bytes>) -> Response {
    let mut response = Response::new(ReplyBody::whole(content));
    *response.status_mut() = status;
    response
}

/// An answer in plain text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let text = text.into();
    let is_empty = text.is_empty();
    let mut response = with(status, text);
    if !is_empty {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
    }
    response
}

/// An error in plain text, as from Go's `http.Error`.
pub(super) fn error_text(status: StatusCode, message: &str) -> Response {
    let mut response = text(status, format!("{message}\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// The data that a request to the API asked for.
pub(super) fn success(data: &Value) -> Response {
    api(StatusCode::OK, &json!({ "status": "success", "data": data }))
}

/// Why a request to the API is not carried out.
pub(super) fn failure(status: StatusCode, error: &str) -> Response {
    let kind = match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => "unavailable",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::CONFLICT => "conflict",
        status if status.is_server_error() => "internal",
        _ => "bad_data",
    };
    api(status, &json!({ "status": "error", "errorType": kind, "error": error }))
}

fn api(status: StatusCode, value: &Value) -> Response {
    let mut response = with(status, value.to_string());
    set_api_headers(response.headers_mut());
    response
}

/// The headers of each answer of the API.
pub(super) fn set_api_headers(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// A redirection, to those who read with a link, as from Go's `http.Redirect`.
pub(super) fn redirect(method: &Method, status: StatusCode, location: &str) -> Response {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let mut response = if reads {
        let reason = status.canonical_reason().unwrap_or_default();
        let link = maud::html! { a href=(location) { (reason) } }.into_string();
        with(status, format!("{link}.\n\n"))
    } else {
        empty(status)
    };
    let headers = response.headers_mut();
    if reads {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    let location = HeaderValue::try_from(location);
    headers.insert(LOCATION, location.expect("a path is percent-encoded, a query was a header"));
    response
}
