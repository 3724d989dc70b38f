//! Bounds over all requests: bytes that are held at a time, and the time that a client may take.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};

use crate::model::{Meter, OverBudget};

/// The longest head. As a connection reads that far ahead, it takes as much memory, and there may be
/// thousands.
pub(super) const HEAD_BYTES_MAX: usize = 80 * 1024;

/// How many connections there may be at a time.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    limit: usize,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(limit)), limit }
    }

    /// A slot, once there is one. Given back when it is dropped.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// A slot, if there is one now. Given back when it is dropped.
    pub(super) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// How many are taken, of how many.
    pub(super) fn fill(&self) -> (usize, usize) {
        (self.limit.saturating_sub(self.free.available_permits()), self.limit)
    }

    /// Whether none is left.
    pub(super) fn are_taken(&self) -> bool {
        self.free.available_permits() == 0
    }
}

/// How many bytes the requests under way may have between them.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
    /// For large bodies that are being parsed: each takes a thread, and a processor.
    places: Arc<Semaphore>,
}

/// Requests that take more than so many bytes leave this part of a budget: a small one goes on beside
/// those that take all they can, and the smallest beside many small ones.
const LEFT: [(usize, usize); 2] = [(256 * 1024, 8), (16 * 1024, 16)];

/// Who finds no place to parse a large body waits so long for one.
const PLACE_WAIT: Duration = Duration::from_secs(10);

/// The share of a request in a budget. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        let places = available_parallelism().map_or(1, usize::from);
        Self { used: Arc::default(), limit, places: Arc::new(Semaphore::new(places)) }
    }

    /// How much of it is used, of how much.
    pub(super) fn fill(&self) -> (usize, usize) {
        (self.used.load(Ordering::Relaxed), self.limit)
    }

    /// Nothing yet.
    pub(super) fn reservation(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }
}

impl Meter for Reservation {
    /// Takes more. Refused where that is more than is left: whoever waited for others to give back
    /// might wait for one that waits for it.
    fn take(&mut self, bytes: usize) -> Result<(), OverBudget> {
        let Budget { used, limit, .. } = &self.budget;
        let own = self.bytes.saturating_add(bytes);
        let left = LEFT.iter().find(|(bytes, _)| own > *bytes);
        let most = limit - left.map_or(0, |(_, part)| limit / part);
        let sum = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= most);
        let taken = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
        if taken.is_err() {
            let limit = *limit;
            return Err(if own > most {
                OverBudget::Alone { limit }
            } else {
                OverBudget::Together { limit }
            });
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Reservation {
    /// Gives some of it back: as much of it as was taken, at most.
    pub(super) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Another of the same budget, which has nothing yet: for what is given back sooner.
    pub(super) fn beside(&self) -> Self {
        self.budget.reservation()
    }

    /// A place to parse a large body. Given back when it is dropped.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, OverBudget> {
        let place = Arc::clone(&self.budget.places).acquire_owned();
        match tokio::time::timeout(PLACE_WAIT, place).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(OverBudget::Together { limit: self.budget.limit }),
        }
    }

    /// Hands over all that was taken, and has taken nothing then.
    pub(super) fn hand_over(&mut self) -> Self {
        Self { budget: self.budget.clone(), bytes: std::mem::take(&mut self.bytes) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// By when the large answers of a connection have to be sent: until then each holds on to what it
/// shows.
#[derive(Clone, Debug)]
pub(super) struct SendBy {
    due: Arc<watch::Sender<Vec<Instant>>>,
}

/// An answer that is being sent, until it is dropped.
#[derive(Debug)]
pub(super) struct Sending {
    send_by: SendBy,
    at: Instant,
}

impl SendBy {
    pub(super) fn new() -> Self {
        Self { due: Arc::new(watch::Sender::new(Vec::new())) }
    }

    /// An answer is about to be sent, within this time.
    pub(super) fn sending(&self, within: Duration) -> Sending {
        let at = Instant::now() + within;
        self.due.send_modify(|due| due.push(at));
        Sending { send_by: self.clone(), at }
    }

    /// Completes once an answer was not sent in time.
    pub(super) async fn overdue(&self) {
        let mut due = self.due.subscribe();
        loop {
            let first = due.borrow_and_update().iter().min().copied();
            let timer = async {
                match first {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // It cannot be closed: the sender is here.
                _ = due.changed() => {}
                () = timer => return,
            }
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.send_by.due.send_modify(|due| {
            if let Some(at) = due.iter().position(|at| *at == self.at) {
                due.swap_remove(at);
            }
        });
    }
}

/// A stream whose other end has to take something now and then of what is sent.
#[derive(Debug)]
pub(super) struct WriteTimeout<S> {
    stream: S,
    patience: Duration,
    /// Since when nothing was taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, stalled: None }
    }

    fn waited<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "nothing is taken of what is sent",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.waited(context, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.waited(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(context);
        this.waited(context, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_shutdown(context);
        this.waited(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[test]
    fn a_budget_is_shared_and_given_back() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.reservation(), budget.reservation());
        one.take(6).unwrap();
        assert!(other.take(5).is_err());
        other.take(4).unwrap();
        drop(one);
        other.take(6).unwrap();
        assert!(budget.reservation().take(1).is_err());
        assert!(other.take(usize::MAX).is_err(), "it does not wrap around");
    }

    #[test]
    fn small_requests_go_on_beside_large_and_the_smallest_beside_small_ones() {
        let budget = Budget::new(16 << 20);
        let take = |bytes, times: usize| {
            let mut all: Vec<_> = (0..times).map(|_| budget.reservation()).collect();
            all.retain_mut(|one| one.take(bytes).is_ok());
            all
        };
        let large = take(1 << 20, 20);
        assert_eq!(large.len(), 14, "an eighth is kept");
        let small = take(256 << 10, 20);
        assert_eq!(small.len(), 4, "and of it a half");
        assert_eq!(take(16 << 10, 100).len(), 64);
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_that_is_due_first_counts() {
        let send_by = SendBy::new();
        let began = Instant::now();
        let late = send_by.sending(Duration::from_secs(9));
        drop(send_by.sending(Duration::from_secs(1)));
        let first = send_by.sending(Duration::from_secs(5));
        send_by.overdue().await;
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        drop(first);
        send_by.overdue().await;
        assert_eq!(began.elapsed(), Duration::from_secs(9));
        drop(late);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up() {
        let (near, far) = tokio::io::duplex(8);
        let mut near = WriteTimeout::new(near, Duration::from_secs(3));
        near.write_all(b"12345678").await.unwrap();
        let error = near.write_all(b"9").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }
}
