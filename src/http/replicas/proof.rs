//! The proof that a request was handed on by a replica that has let its sender in.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hashbrown::HashMap;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{HeaderMap, http::HeaderName};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::http::access::{self, Caller, Permission};
use crate::http::rejection::Rejection;
use crate::model::{RequestId, Selector};
use crate::time::UnixMillis;

pub(super) const PROOF: HeaderName = HeaderName::from_static("tidegate-cluster");
pub(super) const TIME: HeaderName = HeaderName::from_static("tidegate-time");
pub(super) const FROM: HeaderName = HeaderName::from_static("tidegate-from");
pub(super) const BY: HeaderName = HeaderName::from_static("tidegate-by");
pub(super) const REQUEST: HeaderName = HeaderName::from_static("tidegate-request");
pub(super) const TERM: HeaderName = HeaderName::from_static("tidegate-term");
pub(super) const BODY: HeaderName = HeaderName::from_static("tidegate-body");

/// A proof is taken so long before and after its time: gateway time, which replicas have in common.
const AGE_MAX: Duration = Duration::from_secs(30);

/// Who sent a request, as it is handed on.
#[derive(Serialize, Deserialize)]
struct By {
    name: Option<String>,
    /// Permissions by name; none: everything.
    may: Option<Vec<String>>,
    /// The selector of the groups that it is about.
    groups: Option<String>,
}

/// A request that was handed on, with a right proof.
#[derive(Debug)]
pub(in crate::http) struct Handed {
    pub(in crate::http) caller: Caller,
    pub(in crate::http) id: RequestId,
    /// The time of the leader that it is for: it may come late.
    pub(in crate::http) term: i64,
    /// The digest that its body has to have.
    body: String,
}

/// The requests that were taken lately, so that none is taken twice.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Held to look one up.
    ids: Mutex<HashMap<RequestId, Instant>>,
}

/// Whether a request says that it was handed on.
pub(in crate::http) fn is_handed_on(headers: &HeaderMap) -> bool {
    headers.contains_key(PROOF)
}

impl Seen {
    fn forget(&self, id: RequestId) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Notes a request. Returns whether it is new.
    fn note(&self, id: RequestId) -> bool {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() == ids.capacity() {
            // Before room is made for more.
            ids.retain(|_, at| at.elapsed() <= 2 * AGE_MAX);
        }
        let before = ids.insert(id, Instant::now());
        before.is_none_or(|at| at.elapsed() > 2 * AGE_MAX)
    }
}

/// The digest of a body.
fn digest(body: &[u8]) -> String {
    format!("{:x}", Bytes::copy_from_slice(&Sha256::digest(body)))
}

/// The parts of a request that a proof is about.
struct Proven<'a> {
    time: &'a str,
    method: &'a str,
    target: &'a str,
    from: &'a str,
    by: &'a str,
    request: &'a str,
    term: &'a str,
    body: &'a str,
}

impl Proven<'_> {
    fn mac(&self, secret: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key has any length");
        let Self { time, method, target, from, by, request, term, body } = self;
        for part in [time, method, target, from, by, request, term, body] {
            // No header and no target has a line break.
            mac.update(part.as_bytes());
            mac.update(b"\n");
        }
        mac
    }
}

/// The headers by which a request is handed on.
pub(super) fn headers(
    secret: &str,
    head: &Parts,
    caller: &Caller,
    id: RequestId,
    term: i64,
    body: &[u8],
    now: UnixMillis,
) -> Vec<(HeaderName, HeaderValue)> {
    let (from, name, may, groups) = caller.parts();
    let may = may.map(|may| may.iter().map(|may| may.as_str().to_owned()).collect());
    let groups = groups.map(ToString::to_string);
    let by = By { name: name.map(str::to_owned), may, groups };
    // Names need not be ASCII.
    let by = STANDARD.encode(serde_json::to_vec(&by).unwrap_or_default());
    let (time, from) = (now.0.to_string(), from.to_string());
    let request = format!("{:x}", Bytes::copy_from_slice(&id.0));
    let (term, body) = (term.to_string(), digest(body));
    let proven = Proven {
        time: &time,
        method: head.method.as_str(),
        target: head.uri.path_and_query().map_or("", |target| target.as_str()),
        from: &from,
        by: &by,
        request: &request,
        term: &term,
        body: &body,
    };
    let proof = proven.mac(secret).finalize().into_bytes();
    let proof = format!("{:x}", Bytes::copy_from_slice(&proof));
    let pairs = [
        (PROOF, proof),
        (TIME, time),
        (FROM, from),
        (BY, by),
        (REQUEST, request),
        (TERM, term),
        (BODY, body),
    ];
    let value = |text: String| HeaderValue::try_from(text).expect("it is ASCII");
    pairs.into_iter().map(|(name, text)| (name, value(text))).collect()
}

impl super::Replicas {
    /// A request was not carried out after all, and may come again.
    pub(in crate::http) fn not_taken(&self, id: RequestId) {
        self.seen.forget(id);
    }

    /// The sender of a request that was handed on, if the proof is right.
    pub(in crate::http) fn verify(
        &self,
        head: &Parts,
        access: &Arc<access::Options>,
        peer: IpAddr,
        now: UnixMillis,
    ) -> Result<Handed, Rejection> {
        let wrong = |what: &str| {
            Rejection::Forbidden(format!("the proof of a replica (Tidegate-Cluster) {what}"))
        };
        let text = |name: &HeaderName| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or_else(|| wrong(&format!("comes without {name}")))
        };
        let (proof, time, from, by) = (text(&PROOF)?, text(&TIME)?, text(&FROM)?, text(&BY)?);
        let (request, term, body) = (text(&REQUEST)?, text(&TERM)?, text(&BODY)?);
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        let method = head.method.as_str();
        let proven = Proven { time, method, target, from, by, request, term, body };
        let proof = from_hex(proof).ok_or_else(|| wrong("is no hexadecimal number"))?;
        // In constant time.
        let is_of = |secret: &str| proven.mac(secret).verify_slice(&proof).is_ok();
        let secrets = &self.options.secrets;
        // Without secrets all replicas are on this host.
        let is_right = if secrets.is_empty() {
            peer.to_canonical().is_loopback() && is_of("")
        } else {
            secrets.iter().any(|secret| is_of(secret))
        };
        if !is_right {
            return Err(wrong("is wrong: is cluster.secret the same on all replicas?"));
        }
        let age = time.parse().map(|time| Duration::from_millis(now.0.abs_diff(time)));
        if !age.is_ok_and(|age| age <= AGE_MAX) {
            return Err(wrong("is too old, or of the future"));
        }
        let id = from_hex(request).and_then(|id| id.try_into().ok()).map(RequestId);
        let id = id.ok_or_else(|| wrong("has no request"))?;
        let term = term.parse().map_err(|_| wrong("has no term"))?;
        let from: IpAddr = from.parse().map_err(|_| wrong("has no address"))?;
        let by = STANDARD.decode(by).ok().and_then(|by| serde_json::from_slice::<By>(&by).ok());
        let By { name, may, groups } = by.ok_or_else(|| wrong("has no sender"))?;
        let may = may.map(|may| may.iter().filter_map(|name| Permission::parse(name)).collect());
        let groups = groups.map(|groups| Selector::parse(&groups).map(Arc::new)).transpose();
        let groups = groups.map_err(|_| wrong("has no valid selector"))?;
        // Last: one that is wrong is not remembered.
        if !self.seen.note(id) {
            return Err(Rejection::HandedTwice);
        }
        let name = name.map(Into::into);
        let caller = Caller::handed_on(Arc::clone(access), name, from, may, groups);
        Ok(Handed { caller, id, term, body: body.to_owned() })
    }
}

impl Handed {
    /// Whether this is the body that was handed on.
    pub(in crate::http) fn check_body(&self, body: &[u8]) -> Result<(), Rejection> {
        if digest(body) == self.body {
            return Ok(());
        }
        Err(Rejection::Forbidden("the body is not the one that a replica has handed on".into()))
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}
