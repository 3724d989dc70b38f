//! `/-/`: the state of the process, and what stops it or has it read its settings again.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::StatusCode;
use hyper::body::Frame;
use hyper::header::HeaderValue;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::endpoint::Request;
use super::query::{self, Concern};
use super::readiness::Stage;
use super::rejection::{Refused, Rejection};
use super::replicas::presence::{INSTANCE, SAID_EACH};
use super::reply::{ReplyBody, Response, error_text, text};
use crate::store::ReadError;

/// A replica that has heard nothing of the leader for longer is not ready.
const READY_STALENESS: Duration = Duration::from_secs(10);

/// Whether the process works. One that waits for room on its disk does.
pub(super) fn healthy(request: &Request<'_>) -> Response {
    match request.site.readiness.stage() {
        Stage::Failed(_, reason) => {
            text(StatusCode::SERVICE_UNAVAILABLE, format!("failed: {reason}\n"))
        }
        Stage::Starting | Stage::Ready(_) | Stage::Stopping(_) => text(StatusCode::OK, "OK"),
    }
}

/// Whether pushes are taken.
pub(super) fn ready(request: &Request<'_>) -> Response {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    match request.site.readiness.stage() {
        Stage::Starting => text(unavailable, "starting: loading the store\n"),
        Stage::Ready(gateway) => {
            let concerns = query::concerns(&gateway);
            let refuses = concerns.iter().any(|concern| concern.refuses);
            let line = |concern: &Concern| format!("{}\n{}\n", concern.what, concern.remedy);
            let lines: String = concerns.iter().map(line).collect();
            if refuses {
                return text(unavailable, lines);
            }
            match gateway.replica().map(|replica| replica.staleness()) {
                // Scrapes are served by others meanwhile, if there are any.
                Some(staleness) if staleness > READY_STALENESS => {
                    let seconds = staleness.as_secs();
                    let reason = format!("nothing was heard of the leader for {seconds} s\n");
                    text(unavailable, reason)
                }
                _ if lines.is_empty() => text(StatusCode::OK, "OK"),
                _ => text(StatusCode::OK, format!("OK, but:\n{lines}")),
            }
        }
        Stage::Stopping(_) => text(unavailable, "stopping\n"),
        Stage::Failed(_, reason) => text(unavailable, format!("failed: {reason}\n")),
    }
}

/// Says that this process is there, for as long as it is.
pub(super) fn presence(request: &Request<'_>) -> Result<Response, Refused> {
    let gateway = request.gateway()?;
    let instance = gateway.cluster().map(|cluster| cluster.instance().to_owned());
    let Some(instance) = instance.filter(|_| request.by_replica) else {
        return Err(Rejection::NotFound.into());
    };
    let latest = gateway.events().latest();
    let parts =
        stream::unfold((gateway, latest, true), |(gateway, mut latest, first)| async move {
            let began = Instant::now();
            while !first && began.elapsed() < SAID_EACH {
                if gateway.events().is_closed() {
                    return None;
                }
                let left = SAID_EACH.saturating_sub(began.elapsed());
                let _ = tokio::time::timeout(left, latest.changed()).await;
            }
            let part = Frame::data(Bytes::from_static(b"\n"));
            Some((Ok::<_, ReadError>(part), (gateway, latest, false)))
        });
    let body = ReplyBody::in_parts(StreamBody::new(parts), 0).endless();
    let mut response = Response::new(body);
    let value = HeaderValue::try_from(instance).expect("it is hexadecimal");
    response.headers_mut().insert(INSTANCE, value);
    Ok(response)
}

/// GET on what only PUT and POST do.
pub(super) fn quit_hint() -> Response {
    text(StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed.")
}

/// Has the process stop.
pub(super) fn quit(request: &Request<'_>) -> Response {
    if !request.site.options.lifecycle {
        return not_enabled();
    }
    request.audit("the gateway");
    request.site.quit.notify_one();
    text(StatusCode::OK, "Requesting termination... Goodbye!")
}

/// Has the settings read again. The answer is for people, as it is with Prometheus.
pub(super) async fn reload(request: Request<'_>) -> Result<Response, Refused> {
    if !request.site.options.lifecycle {
        return Ok(not_enabled());
    }
    request.audit("settings");
    let (reply, answer) = oneshot::channel();
    let sent = request.site.hooks.reload.send(reply).await;
    let answer = if sent.is_ok() { answer.await.ok() } else { None };
    Ok(match answer {
        Some(Ok(done)) => text(StatusCode::OK, done),
        Some(Err(problems)) => {
            let message = format!("the settings stay as they are: {problems}");
            error_text(StatusCode::INTERNAL_SERVER_ERROR, &message)
        }
        None => error_text(StatusCode::SERVICE_UNAVAILABLE, "the gateway is stopping"),
    })
}

fn not_enabled() -> Response {
    text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled.")
}
