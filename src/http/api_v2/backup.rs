//! A backup, as one file.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::StatusCode;
use hyper::body::Frame;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};

use crate::http::endpoint::Request;
use crate::http::rejection::Refused;
use crate::http::reply::{self, ReplyBody, Response};
use crate::store::{BackupError, ReadError};

/// Sends all that is stored at one moment. An answer that is cut off is no backup: `tidegate verify` says
/// so, as it lacks its end.
pub(in crate::http) async fn backup(request: Request<'_>) -> Result<Response, Refused> {
    let gateway = request.gateway()?;
    let unavailable = |error: &dyn std::error::Error| {
        Ok(reply::failure(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()))
    };
    let mut parts = match gateway.back_up() {
        Ok(parts) => parts,
        Err(error) => return unavailable(&error),
    };
    let first = match parts.recv().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return unavailable(&error),
        None => return unavailable(&BackupError::Abandoned),
    };
    request.audit("all groups");
    let rest = stream::unfold((Some(first), parts), |(first, mut parts)| async move {
        let part = match first {
            Some(first) => Ok(first),
            None => parts.recv().await?,
        };
        let part = part.map(Frame::data).map_err(|error| match error {
            BackupError::Read(error) => error,
            _ => ReadError::Closed,
        });
        Some((part, (None::<Bytes>, parts)))
    });
    let mut response = Response::new(ReplyBody::in_parts(StreamBody::new(rest), 0).endless());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let name = HeaderValue::from_static("attachment; filename=\"tidegate.backup\"");
    headers.insert(CONTENT_DISPOSITION, name);
    Ok(response)
}
