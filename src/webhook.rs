//! Tells an HTTP endpoint of groups that expire or are deleted.
//!
//! Promises
//! - Removed groups go out in order and in batches, each until it has arrived or too many wait behind
//!   it: then the oldest are dropped, which is logged. A batch that is sent again is the same, byte
//!   by byte.
//! - Batches go to the URL of the settings and nowhere else: a redirection is a failure.
//! - Nothing else waits for the endpoint.
//!
//! - Of replicas the one that leads sends. The next goes on behind the last group that is known to have
//!   arrived: each arrives once, or once more where a replica ends.
//!
//! Deliberately absent
//! - What was not sent when a single node stops is not sent later: `/api/v2/expired` has it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use ureq::Agent;

use crate::client::system_tls;
use crate::gateway::{EventKind, Gateway, RemovedGroup};
use crate::http::query::json as api;
use crate::model::RemovalReason;
use crate::model::duration::Exact;
use crate::store::etcd::Standing;
use crate::telemetry::labels::Told;

/// Who is told, and how.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    pub url: String,
    pub format: Format,
    /// The key of the signature.
    pub secret: Option<String>,
}

/// A batch as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `{"version": 1, "groups": […]}`, each group as `/api/v2/expired` has it.
    Json,
    /// Alerts, as the API of an Alertmanager takes them.
    Alertmanager,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL, too, may have a secret in it.
        f.debug_struct("Options").field("format", &self.format).finish_non_exhaustive()
    }
}

/// Groups in one request.
const BATCH_MAX: usize = 500;
/// Groups that wait.
const QUEUE_MAX: usize = 10_000;
const BACK_OFF_MIN: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_mins(1);
/// For one request, from connecting to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const SIGNATURE: &str = "Tidegate-Signature";

/// Why a batch was not taken.
enum Failure {
    /// As it is, it never will be.
    Refused(String),
    /// It may be the next time.
    Unsent(String),
}

/// The groups of one request.
struct Batch {
    /// So many of the groups that wait longest.
    groups: usize,
    /// The sequence number of the last of them.
    last: u64,
    body: Arc<str>,
}

/// Whether this gateway is the one that sends.
struct Turn {
    standing: Option<watch::Receiver<Standing>>,
    leads: bool,
}

impl Turn {
    fn new(gateway: &Gateway) -> Self {
        let standing = gateway.standing();
        Self { leads: standing.is_none(), standing }
    }

    /// Completes when that may have changed.
    async fn changed(&mut self) {
        if let Some(standing) = &mut self.standing
            && standing.changed().await.is_ok()
        {
            return;
        }
        // On a single node, or while the gateway is taken down.
        std::future::pending::<()>().await;
    }

    /// Whether this gateway has come to be the one that sends; and whether it is.
    fn look(&mut self) -> (bool, bool) {
        let Some(standing) = &mut self.standing else { return (false, true) };
        let leads = standing.borrow_and_update().leads;
        let begins = leads && !self.leads;
        self.leads = leads;
        (begins, leads)
    }
}

/// The groups that the leader before has not told of.
fn untold(gateway: &Gateway) -> Vec<Arc<RemovedGroup>> {
    let Some(cluster) = gateway.cluster() else { return Vec::new() };
    match cluster.told() {
        // Nobody has begun: those from before that are not told.
        0 => {
            let latest = gateway.removed_after(0).last().map_or(1, |removed| removed.sequence);
            cluster.note_told(latest);
            Vec::new()
        }
        told => gateway.removed_after(told),
    }
}

/// Sends what happens from now on, until it is stopped.
pub fn run(
    gateway: Gateway,
    options: Options,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send {
    let mut latest = gateway.events().latest();
    // Now, not once it is first polled: something may have expired by then.
    let mut seen = *latest.borrow_and_update();
    async move {
        let agent = agent();
        let mut queue: VecDeque<Arc<RemovedGroup>> = VecDeque::new();
        let (mut back_off, mut at_once) = (BACK_OFF_MIN, BATCH_MAX);
        // Begun, and not known to have arrived.
        let mut batch: Option<Batch> = None;
        let mut sending: Option<JoinHandle<Result<(), Failure>>> = None;
        let mut pause: Option<std::pin::Pin<Box<tokio::time::Sleep>>> = None;
        let mut turn = Turn::new(&gateway);
        // The last removal that was taken up.
        let mut taken = None;
        loop {
            let (begins, leads) = turn.look();
            if begins {
                seen = *latest.borrow_and_update();
                queue = untold(&gateway).into();
                taken = queue.back().map(|removed| removed.sequence);
            }
            if !leads && sending.is_none() {
                queue.clear();
                batch = None;
            }
            if sending.is_none() && pause.is_none() && !queue.is_empty() {
                let batch = batch.get_or_insert_with(|| {
                    let groups: Vec<_> = queue.iter().take(at_once).cloned().collect();
                    let body = body(&gateway, options.format, &groups).to_string().into();
                    let last = groups.last().map_or(0, |removed| removed.sequence);
                    Batch { groups: groups.len(), last, body }
                });
                let (agent, options) = (agent.clone(), options.clone());
                let body = Arc::clone(&batch.body);
                sending = Some(tokio::task::spawn_blocking(move || send(&agent, &options, &body)));
            }
            gateway.metrics().webhook_waits(queue.len());
            let sent = async {
                match &mut sending {
                    Some(sent) => sent.await,
                    None => std::future::pending().await,
                }
            };
            let paused = async {
                match &mut pause {
                    Some(sleep) => sleep.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = turn.changed() => {}
                Ok(()) = latest.changed() => {
                    take(&gateway, &mut seen, taken, &mut queue, batch.is_some());
                }
                sent = sent => {
                    sending = None;
                    let groups = batch.as_ref().map_or(0, |batch| batch.groups);
                    match sent.unwrap_or_else(|error| Err(Failure::Unsent(error.to_string()))) {
                        Ok(()) => {
                            // Those that wait may be others since, if this replica has come to lead.
                            gateway.metrics().told(Told::Delivered, groups);
                            let last = batch.take().map_or(0, |batch| batch.last);
                            while queue.front().is_some_and(|removed| removed.sequence <= last) {
                                queue.pop_front();
                            }
                            if let Some(cluster) = gateway.cluster() {
                                cluster.note_told(last);
                            }
                            (back_off, at_once) = (BACK_OFF_MIN, BATCH_MAX.min(at_once * 2));
                        }
                        // It may be a single group that is not wanted: the others are to get there.
                        Err(Failure::Refused(_)) if groups > 1 => {
                            batch = None;
                            at_once = groups / 2;
                        }
                        Err(Failure::Refused(error)) => {
                            batch = None;
                            gateway.metrics().told(Told::Rejected, 1);
                            let group = queue.pop_front().map(|removed| removed.key.to_string());
                            tracing::error!(group, %error, "the webhook rejects a removed group; dropping it");
                        }
                        Err(Failure::Unsent(error)) => {
                            gateway.metrics().webhook_failed();
                            tracing::warn!(%error, retry_in = %Exact(back_off), "cannot deliver removed groups to the webhook; will retry");
                            pause = Some(Box::pin(tokio::time::sleep(back_off)));
                            back_off = (back_off * 2).min(BACK_OFF_MAX);
                        }
                    }
                }
                () = paused => pause = None,
            }
        }
    }
}

/// Takes over what has happened since.
///
/// `after`: only those that were removed after this one. `begun`: the first of those that wait may have
/// arrived already.
fn take(
    gateway: &Gateway,
    seen: &mut u64,
    after: Option<u64>,
    queue: &mut VecDeque<Arc<RemovedGroup>>,
    begun: bool,
) {
    loop {
        let followed = gateway.events().after(*seen, 1024);
        if followed.missed {
            tracing::warn!("the webhook missed events: too many happened at once");
        }
        *seen = followed.last;
        if followed.events.is_empty() {
            return;
        }
        for event in followed.events {
            if let EventKind::Removed(removed) = &event.what
                && Some(removed.sequence) > after
            {
                queue.push_back(Arc::clone(removed));
            }
        }
        // A batch under way stays until its outcome is known.
        let kept = if begun { QUEUE_MAX + BATCH_MAX } else { QUEUE_MAX };
        if queue.len() > kept {
            let dropped = queue.len() - kept;
            let from = if begun { BATCH_MAX.min(queue.len() - dropped) } else { 0 };
            queue.drain(from..from + dropped);
            gateway.metrics().told(Told::Dropped, dropped);
            tracing::warn!(dropped, "the webhook is too slow: dropping removed groups");
        }
    }
}

fn body(gateway: &Gateway, format: Format, batch: &[Arc<RemovedGroup>]) -> Value {
    match format {
        Format::Json => {
            let groups: Vec<_> =
                batch.iter().map(|removed| api::removed(gateway, removed)).collect();
            json!({ "version": 1, "groups": groups })
        }
        Format::Alertmanager => batch.iter().map(|removed| alert(removed)).collect(),
    }
}

/// An alert as `POST /api/v2/alerts` of Alertmanager takes it. It resolves by itself.
fn alert(removed: &RemovedGroup) -> Value {
    let mut labels: Map<String, Value> =
        removed.key.labels().map(|(name, value)| (name.to_owned(), value.into())).collect();
    labels.insert("alertname".into(), "TidegateGroupGone".into());
    labels.insert("event".into(), removed.reason.as_str().into());
    let last_push = removed.state.pushed.map_or_else(|| "never".into(), |at| api::time(Some(at)));
    let summary = format!(
        "The group {} {}",
        removed.key,
        match removed.reason {
            RemovalReason::Expired => format!("expired: nobody pushed for {}", removed.state.ttl),
            RemovalReason::Deleted => "was deleted".to_owned(),
        }
    );
    json!({
        "labels": labels,
        "annotations": { "summary": summary, "last_push": last_push },
        "startsAt": api::time(Some(removed.at)),
    })
}

/// Sends requests. It follows no redirection: the batch and its signature are for nobody else,
/// and a POST that is followed loses its body.
fn agent() -> Agent {
    Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .tls_config(system_tls())
        .build()
        .new_agent()
}

/// One request. Blocks.
fn send(agent: &Agent, options: &Options, body: &str) -> Result<(), Failure> {
    let mut request = agent.post(&options.url).header("Content-Type", "application/json");
    if let Some(secret) = &options.secret {
        request = request.header(SIGNATURE, signature(secret, body));
    }
    let response = request.send(body).map_err(|error| match error {
        // Timed out, or too many at a time: the same may be taken later.
        ureq::Error::StatusCode(408 | 429) => Failure::Unsent(error.to_string()),
        ureq::Error::StatusCode(400..500) => Failure::Refused(error.to_string()),
        error => Failure::Unsent(error.to_string()),
    })?;
    if response.status().is_success() {
        return Ok(());
    }
    let status = response.status().as_u16();
    let location = response.headers().get("location").and_then(|location| location.to_str().ok());
    let elsewhere =
        location.map(|location| format!(" and sends to {location}")).unwrap_or_default();
    Err(Failure::Unsent(format!(
        "the webhook answers {status}{elsewhere}; expected 2xx: notify.url has to be the place itself"
    )))
}

/// `sha256=` and the HMAC of the body in hexadecimal, as webhooks are commonly signed.
fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key has any length");
    mac.update(body.as_bytes());
    let digest = bytes::Bytes::copy_from_slice(&mac.finalize().into_bytes());
    format!("sha256={digest:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_hmac_of_the_body() {
        // RFC 4231, test case 2.
        assert_eq!(
            signature("Jefe", "what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn the_secret_is_in_no_log() {
        let options = Options {
            url: "http://localhost".into(),
            format: Format::Json,
            secret: Some("hush".into()),
        };
        assert!(!format!("{options:?}").contains("hush"));
    }
}
