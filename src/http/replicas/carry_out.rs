//! Carries out a request that changes groups: here, if this replica leads; else it hands the request on,
//! until it is known to be carried out or refused.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, DATE, EXPECT, FORWARDED, HOST, HeaderName,
    HeaderValue, ORIGIN, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;

use super::presence::INSTANCE;
use super::{Replicas, proof};
use crate::gateway::Gateway;
use crate::gateway::replica::{Awaited, Fate};
use crate::http::access::Caller;
use crate::http::rejection::Rejection;
use crate::http::reply::{self, Response};
use crate::model::RequestId;
use crate::store::etcd::Leader;

/// The revision at which all that a request has changed is there.
pub(in crate::http) const REVISION: HeaderName = HeaderName::from_static("tidegate-revision");

/// Asks a replica to answer only once it has come to such a revision.
pub(in crate::http) const MIN_REVISION: HeaderName =
    HeaderName::from_static("tidegate-min-revision");

/// Of an answer of the leader: what the API says of the groups that were changed.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// After so long without an answer, a leader that still leads is asked again.
const ASKED_AGAIN: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(20);
/// An answer waits so long for what it tells of to be visible here, too.
pub(in crate::http) const VISIBLE_WAIT: Duration = Duration::from_secs(1);

/// Headers that are between two neighbours, or that this replica has dealt with.
const LEFT_OUT: [HeaderName; 12] = [
    AUTHORIZATION,
    CONNECTION,
    CONTENT_LENGTH,
    COOKIE,
    EXPECT,
    FORWARDED,
    HOST,
    ORIGIN,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A request with all of its body.
pub(in crate::http) struct Held<'a> {
    pub(in crate::http) head: &'a Parts,
    pub(in crate::http) body: Bytes,
    pub(in crate::http) caller: &'a Caller,
    pub(in crate::http) id: RequestId,
    /// Whether it changes one group, as its path says: such a request is named by its batch.
    pub(in crate::http) is_named: bool,
}

/// The fate of a request that was handed on.
enum Sent {
    /// The leader has answered.
    Answered(Response),
    /// It was not carried out by this leader, and will not be.
    NotTaken,
    /// The connection broke, or the leader has it already.
    Unclear,
    /// The leader does not take this replica for one.
    Refused,
}

/// The fate of a request whose leader has given no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Outcome {
    Done,
    /// It was not carried out, and will not be: another leads.
    NotDone,
    /// It may be carried out yet.
    Unknown,
    /// Nobody knows: this replica has not followed all batches since.
    Missed,
}

impl Replicas {
    /// Waits until some replica leads.
    pub(in crate::http) async fn leader(
        gateway: &Gateway,
        deadline: Instant,
    ) -> Result<Leader, Rejection> {
        let Some(mut standing) = gateway.standing() else { return Err(Rejection::NoLeader) };
        let found = standing.wait_for(|standing| standing.leader.is_some());
        let found = tokio::time::timeout_at(deadline, found).await;
        let leader = found.ok().and_then(Result::ok).and_then(|standing| standing.leader.clone());
        leader.ok_or(Rejection::NoLeader)
    }

    /// Hands a request on to the leader, and to the next where it is sure that this one has not carried it
    /// out. `None`: this replica leads now.
    pub(in crate::http) async fn hand_on(
        &self,
        gateway: &Gateway,
        held: &Held<'_>,
        deadline: Instant,
    ) -> Result<Option<Response>, Rejection> {
        let Some(replica) = gateway.replica() else { return Ok(None) };
        let awaited = replica.await_request(held.id);
        replica.note_handed_on();
        // Whether an attempt may still be carried out.
        let mut unclear = false;
        loop {
            let leader = match Self::leader(gateway, deadline).await {
                Err(Rejection::NoLeader) if unclear => return Err(Rejection::Unclear),
                leader => leader?,
            };
            // By a leader that has ended since, whose batches have all been followed.
            match awaited.fate() {
                Fate::Done => return Ok(Some(done(gateway, held))),
                Fate::Missed => return Err(Rejection::Unclear),
                Fate::Waits => {}
            }
            if leads(gateway) {
                return Ok(None);
            }
            match self.send(gateway, held, &leader, deadline).await {
                Sent::Answered(response) => {
                    let revision = response.headers().get(REVISION);
                    let revision = revision.and_then(|it| it.to_str().ok()?.parse().ok());
                    if let Some(revision) = revision {
                        replica.visible(revision, VISIBLE_WAIT).await;
                    }
                    return Ok(Some(response));
                }
                Sent::NotTaken => {
                    // Until the feed tells of the next leader.
                    tokio::time::sleep(RETRY).await;
                }
                Sent::Refused => return Err(Rejection::Stranger { leader: leader.id }),
                Sent::Unclear if !held.is_named => return Err(Rejection::Unclear),
                Sent::Unclear => match Self::outcome(gateway, &awaited, &leader, deadline).await {
                    Outcome::Done => return Ok(Some(done(gateway, held))),
                    Outcome::NotDone => unclear = false,
                    Outcome::Unknown => unclear = true,
                    Outcome::Missed => return Err(Rejection::Unclear),
                },
            }
            if Instant::now() >= deadline {
                return Err(if unclear { Rejection::Unclear } else { Rejection::NoLeader });
            }
        }
    }

    /// Whether a request was carried out by a leader that gave no answer.
    pub(in crate::http) async fn outcome(
        gateway: &Gateway,
        awaited: &Awaited<'_>,
        leader: &Leader,
        deadline: Instant,
    ) -> Outcome {
        let again = deadline.min(Instant::now() + ASKED_AGAIN);
        let Some(mut standing) = gateway.standing() else { return Outcome::Unknown };
        loop {
            // First who leads: then all batches of the one before have been followed.
            let changed = standing.borrow_and_update().leader.as_ref() != Some(leader);
            match awaited.fate() {
                Fate::Done => return Outcome::Done,
                Fate::Missed => return Outcome::Missed,
                Fate::Waits => {}
            }
            if changed {
                return Outcome::NotDone;
            }
            if Instant::now() >= again {
                return Outcome::Unknown;
            }
            let look = pin!(standing.changed());
            let _ = tokio::time::timeout(RETRY, look).await;
        }
    }

    async fn send(
        &self,
        gateway: &Gateway,
        held: &Held<'_>,
        leader: &Leader,
        deadline: Instant,
    ) -> Sent {
        let Held { head, body, caller, id, .. } = held;
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let url = format!("{}{target}", leader.url.trim_end_matches('/'));
        let mut request = hyper::Request::builder().method(&head.method).uri(url);
        let Some(headers) = request.headers_mut() else { return Sent::NotTaken };
        for (name, value) in &head.headers {
            let is_ours = name.as_str().starts_with("x-forwarded-");
            if !is_ours && !LEFT_OUT.contains(name) {
                headers.append(name, value.clone());
            }
        }
        let secret = self.first_secret();
        let proof = proof::headers(secret, head, caller, *id, leader.term, body, gateway.now());
        for (name, value) in proof {
            headers.insert(name, value);
        }
        let Ok(request) = request.body(Full::new(body.clone())) else { return Sent::NotTaken };
        let answered = tokio::time::timeout_at(deadline, async {
            let answer = self.client.request(request).await.map_err(|error| !error.is_connect())?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|_| true)?;
            Ok::<_, bool>((head, body.to_bytes()))
        });
        let replaced = async {
            let Some(mut standing) = gateway.standing() else { return };
            // An error means that the gateway is being taken down.
            let _ = standing.wait_for(|it| it.leader.as_ref() != Some(leader)).await;
        };
        let answered = tokio::select! {
            answered = answered => answered,
            // Its batches have been followed to the last: whether this one is among them, they say.
            () = replaced => return Sent::Unclear,
        };
        match answered {
            Ok(Ok((head, body))) => {
                let instance = head.headers.get(INSTANCE).map(HeaderValue::as_bytes);
                let by_leader = instance == Some(leader.instance.as_bytes());
                match head.status {
                    StatusCode::MISDIRECTED_REQUEST => Sent::NotTaken,
                    // By a process that has not led yet, such as the one that follows the leader's at
                    // its address.
                    StatusCode::SERVICE_UNAVAILABLE if !by_leader => Sent::NotTaken,
                    StatusCode::FORBIDDEN if !by_leader => Sent::Refused,
                    // By whatever is between the two.
                    _ if !by_leader => Sent::Unclear,
                    StatusCode::CONFLICT if head.headers.contains_key(proof::REQUEST) => {
                        Sent::Unclear
                    }
                    status => Sent::Answered(answer(status, &head.headers, body)),
                }
            }
            Ok(Err(false)) => Sent::NotTaken,
            Ok(Err(true)) | Err(_) => Sent::Unclear,
        }
    }
}

/// Whether this replica leads.
pub(in crate::http) fn leads(gateway: &Gateway) -> bool {
    gateway.standing().is_some_and(|standing| standing.borrow().leads)
}

/// Whether this replica leads, and for the time that a request is for.
pub(in crate::http) fn leads_in(gateway: &Gateway, term: i64) -> bool {
    gateway.standing().is_some_and(|standing| {
        let standing = standing.borrow();
        standing.leads && standing.leader.as_ref().is_some_and(|leader| leader.term == term)
    })
}

/// The leader's answer, as the client gets it.
fn answer(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Response {
    let mut response = reply::with(status, body);
    for (name, value) in headers {
        let between = matches!(*name, CONNECTION | TRANSFER_ENCODING | CONTENT_LENGTH);
        let of_leader = *name == DATE || *name == INSTANCE;
        if !between && !of_leader {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// The answer to a request that was carried out, and whose own answer was lost.
pub(in crate::http) fn done(gateway: &Gateway, held: &Held<'_>) -> Response {
    let unchecked = !gateway.checks_consistency();
    let deletes = held.head.method == Method::DELETE;
    let status = if deletes || unchecked { StatusCode::ACCEPTED } else { StatusCode::OK };
    reply::empty(status)
}

/// The revision of the latest batch, for an answer of the leader.
pub(in crate::http) fn revision(gateway: &Gateway) -> Option<HeaderValue> {
    gateway.cluster().map(|cluster| HeaderValue::from(cluster.batch_revision()))
}
