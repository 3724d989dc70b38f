//! The feed: all keys of a cluster as of one revision, and every change since, in order.
//!
//! A watch that breaks goes on from the revision after the last that was whole. Where etcd no longer has
//! that one, everything is loaded again, and comes as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::client::Client;
use super::keys::{Key, Keys};
use super::messages::{Event, EventType, KeyValue, RangeRequest, WatchCreate};
use super::record::Member;
use crate::store::chunk::ChunkKey;

/// The changes of one revision.
#[derive(Clone, Debug)]
pub(in crate::store) struct Revision {
    pub(super) number: i64,
    /// Wall time in milliseconds when it came.
    pub(super) came_ms: i64,
    pub(super) changes: Vec<Changed>,
}

/// A key that has changed.
#[derive(Clone, Debug)]
pub(super) struct Changed {
    pub(super) key: Key,
    /// The revision at which the key has come to be.
    pub(super) created: i64,
    /// `None`: it was deleted.
    pub(super) value: Option<Bytes>,
}

/// All keys of a cluster.
#[derive(Debug, Default)]
pub(in crate::store) struct Whole {
    pub(super) revision: i64,
    /// All but the chunks, with the revisions at which each has come to be and was put last.
    pub(super) keys: Vec<(Key, i64, i64, Bytes)>,
    pub(super) chunks: BTreeMap<(u64, ChunkKey), Bytes>,
}

/// A message of the feed.
#[derive(Debug)]
pub(in crate::store) enum Message {
    Revisions(Vec<Revision>),
    Whole(Box<Whole>),
}

/// Follows the keys of a cluster.
pub struct Watching {
    pub(super) client: Arc<Client>,
    pub(super) keys: Keys,
    /// The first revision that was not seen.
    pub(super) next: i64,
    pub(super) send: mpsc::Sender<Message>,
    /// How often all keys were loaded again.
    pub(super) reloads: Arc<AtomicU64>,
    /// This replica, as of now.
    pub(super) me: Arc<dyn Fn() -> Member + Send + Sync>,
}

impl std::fmt::Debug for Watching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watching").field("next", &self.next).finish_non_exhaustive()
    }
}

/// Keys of a page.
const PAGE: i64 = 2500;
/// A leader writes each second: a watch that is silent for so long has lost its member.
const SILENCE: Duration = Duration::from_secs(4);
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);

/// Why a watch has ended.
enum End {
    Stopped,
    /// The revisions that it was to go on with are compacted.
    Compacted,
    Failed(Status),
}

/// Loads all keys as of one revision.
pub(super) async fn load(client: &Client, keys: &Keys) -> Result<Whole, Status> {
    loop {
        match load_once(client, keys).await {
            // Compacted between two pages.
            Err(status) if is_compacted(&status) => {}
            loaded => return loaded,
        }
    }
}

fn is_compacted(status: &Status) -> bool {
    status.code() == Code::OutOfRange && status.message().contains("compacted")
}

async fn load_once(client: &Client, keys: &Keys) -> Result<Whole, Status> {
    let (mut from, range_end) = keys.all();
    let mut whole = Whole::default();
    let mut limit = PAGE;
    loop {
        let request = RangeRequest {
            key: from.clone(),
            range_end: range_end.clone(),
            limit,
            revision: whole.revision,
            keys_only: false,
        };
        let page = match client.range(&request).await {
            Ok(page) => page,
            // Larger than a message may be: some chunks are.
            Err(status) if limit > 1 && is_too_large(&status) => {
                limit /= 2;
                continue;
            }
            Err(status) => return Err(status),
        };
        if whole.revision == 0 {
            whole.revision = page.header.map_or(0, |header| header.revision);
        }
        if let Some(last) = page.kvs.last() {
            let mut next = last.key.to_vec();
            next.push(0);
            from = next.into();
        }
        for KeyValue { key, create_revision, mod_revision, value } in page.kvs {
            match keys.parse(&key) {
                Some(Key::Chunk(tree, chunk)) => {
                    // A copy, for the value holds the whole page.
                    whole.chunks.insert((tree, chunk), Bytes::copy_from_slice(&value));
                }
                Some(key) => whole.keys.push((key, create_revision, mod_revision, value)),
                None => {}
            }
        }
        if !page.more {
            return Ok(whole);
        }
    }
}

/// Whether a page of fewer keys may come: this one was larger than a message may be, or came too late.
fn is_too_large(status: &Status) -> bool {
    match status.code() {
        Code::OutOfRange => !is_compacted(status),
        Code::ResourceExhausted | Code::DeadlineExceeded => true,
        _ => false,
    }
}

impl Watching {
    /// Follows until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut back_off = BACK_OFF_MIN;
        loop {
            let before = self.next;
            let end = tokio::select! {
                () = stop.cancelled() => return,
                end = self.follow() => end,
            };
            let pause = match end {
                End::Stopped => {
                    stop.cancelled().await;
                    return;
                }
                End::Compacted => {
                    tracing::warn!(
                        revision = self.next,
                        "etcd no longer has the changes that come next; loading all groups again"
                    );
                    tokio::select! {
                        () = stop.cancelled() => return,
                        loaded = load(&self.client, &self.keys) => match loaded {
                            Ok(whole) => {
                                self.next = whole.revision + 1;
                                self.reloads.fetch_add(1, Ordering::Relaxed);
                                if self.send.send(Message::Whole(Box::new(whole))).await.is_err() {
                                    stop.cancelled().await;
                                    return;
                                }
                                Duration::ZERO
                            }
                            Err(_) => back_off,
                        }
                    }
                }
                End::Failed(status) => {
                    tracing::debug!(%status, "the watch has ended; going on with another member");
                    self.client.give_up_member();
                    back_off
                }
            };
            back_off =
                if self.next == before { BACK_OFF_MAX.min(back_off * 2) } else { BACK_OFF_MIN };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Follows until the watch ends.
    async fn follow(&mut self) -> End {
        let (key, range_end) = self.keys.all();
        let start_revision = self.next;
        let create =
            WatchCreate { key, range_end, start_revision, progress_notify: true, fragment: true };
        let mut answers = match self.client.watch(create).await {
            Ok(answers) => answers,
            Err(status) => return End::Failed(status),
        };
        let mut events = Vec::new();
        loop {
            let answer = match tokio::time::timeout(SILENCE, answers.message()).await {
                Ok(Ok(Some(answer))) => answer,
                Ok(Ok(None)) => return End::Failed(Status::unavailable("etcd ended the watch")),
                Ok(Err(status)) => return End::Failed(status),
                Err(_) => return End::Failed(Status::deadline_exceeded("etcd is silent")),
            };
            if answer.compact_revision > 0 {
                return End::Compacted;
            }
            if answer.canceled {
                return End::Failed(Status::cancelled(answer.cancel_reason));
            }
            let said_nothing = answer.events.is_empty() && events.is_empty();
            events.extend(answer.events);
            if answer.fragment {
                continue;
            }
            let seen = answer.header.map_or(0, |header| header.revision);
            if said_nothing {
                // All up to here was told. The first answer says nothing of the kind.
                if !answer.created {
                    self.next = self.next.max(seen + 1);
                }
                continue;
            }
            let came_ms = (self.me)().wall_ms;
            let events = std::mem::take(&mut events);
            let revisions = revisions(&self.keys, events, self.next, came_ms);
            if let Some(last) = revisions.last() {
                self.next = last.number + 1;
                if self.send.send(Message::Revisions(revisions)).await.is_err() {
                    return End::Stopped;
                }
            }
        }
    }
}

/// Events by the revisions that they are of; none before this one.
fn revisions(keys: &Keys, events: Vec<Event>, from: i64, came_ms: i64) -> Vec<Revision> {
    let mut revisions: Vec<Revision> = Vec::new();
    for Event { r#type, kv } in events {
        let Some(KeyValue { key, create_revision, mod_revision, value }) = kv else { continue };
        let Some(key) = keys.parse(&key).filter(|_| mod_revision >= from) else { continue };
        let deleted = r#type == EventType::Delete as i32;
        let value = (!deleted).then(|| Bytes::copy_from_slice(&value));
        let changed = Changed { key, created: create_revision, value };
        match revisions.last_mut() {
            Some(last) if last.number == mod_revision => last.changes.push(changed),
            _ => {
                let (number, changes) = (mod_revision, vec![changed]);
                revisions.push(Revision { number, came_ms, changes });
            }
        }
    }
    revisions
}
