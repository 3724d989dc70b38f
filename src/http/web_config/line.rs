//! A line for work that is done for one request at a time, as checking a password is: bounded, and
//! every address has its turn, so that whoever guesses passwords holds up nobody else for long.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Waiting requests of one address.
const OF_ONE_MAX: usize = 16;
/// Waiting requests of all addresses.
const OF_ALL_MAX: usize = 256;

/// Who waits. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// Held to add or take one.
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Whether somebody has its turn.
    busy: bool,
    /// By address, in the order of their turns; each has its oldest first, and is not empty.
    places: VecDeque<(IpAddr, VecDeque<oneshot::Sender<Turn>>)>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    line: Option<Line>,
}

impl Line {
    /// Waits for a turn. `None`: too many came after it.
    pub(super) async fn turn(&self, from: IpAddr) -> Option<Turn> {
        let next = {
            let mut waiting = self.lock();
            if !waiting.busy {
                waiting.busy = true;
                return Some(self.given());
            }
            let (turn, next) = oneshot::channel();
            waiting.add(place(from), turn);
            next
        };
        next.await.ok()
    }

    fn given(&self) -> Turn {
        Turn { line: Some(self.clone()) }
    }

    /// Gives the turn to the next who still waits.
    fn pass_on(&self) {
        loop {
            let Some(next) = self.lock().next() else { return };
            match next.send(self.given()) {
                Ok(()) => return,
                // It was dropped; its turn must not be passed on twice.
                Err(mut turn) => turn.line = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn add(&mut self, place: IpAddr, turn: oneshot::Sender<Turn>) {
        for (_, line) in &mut self.places {
            line.retain(|turn| !turn.is_closed());
        }
        self.places.retain(|(_, line)| !line.is_empty());
        match self.places.iter_mut().find(|(at, _)| *at == place) {
            Some((_, line)) => {
                if line.len() >= OF_ONE_MAX {
                    line.pop_front();
                }
                line.push_back(turn);
            }
            None => self.places.push_back((place, VecDeque::from([turn]))),
        }
        if self.places.iter().map(|(_, line)| line.len()).sum::<usize>() > OF_ALL_MAX
            && let Some((_, longest)) = self.places.iter_mut().max_by_key(|(_, line)| line.len())
        {
            longest.pop_front();
        }
    }

    /// Takes out the next: of the address whose turn it is, the latest. The earlier ones may have given
    /// up, and a flood of them must not hold up the one that comes after it.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        while let Some((place, mut line)) = self.places.pop_front() {
            let next = line.pop_back();
            if !line.is_empty() {
                self.places.push_back((place, line));
            }
            if next.is_some() {
                return next;
            }
        }
        self.busy = false;
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            line.pass_on();
        }
    }
}

/// Who counts as one: an IPv4 address, or a network of IPv6, of which a host has as many addresses as
/// it likes.
fn place(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn polled<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn every_address_has_its_turn_and_a_flood_of_one_is_cut() {
        let line = Line::default();
        let first = line.turn(address(1)).await.unwrap();
        let mut flood: Vec<_> = (0..50).map(|_| Box::pin(line.turn(address(1)))).collect();
        for waiting in &mut flood {
            let _ = polled(waiting);
        }
        let refused = flood.iter_mut().take(50 - OF_ONE_MAX);
        for waiting in refused {
            assert!(matches!(polled(waiting), Poll::Ready(None)), "it made room for later ones");
        }
        let mut other = Box::pin(line.turn(address(2)));
        assert!(polled(&mut other).is_pending());
        drop(first);
        // One of the flood, then the other address, whatever else waits.
        let Poll::Ready(Some(turn)) = polled(flood.last_mut().unwrap()) else { panic!() };
        assert!(polled(&mut other).is_pending());
        drop(turn);
        let Poll::Ready(Some(turn)) = polled(&mut other) else { panic!() };
        // Those that go are passed over, and in the end the line is free again.
        drop(flood);
        drop(turn);
        let mut free = pin!(line.turn(address(3)));
        let free = free.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(free, Poll::Ready(Some(_))));
    }

    #[tokio::test]
    async fn a_turn_that_nobody_takes_any_more_is_passed_on() {
        let line = Line::default();
        let first = line.turn(address(1)).await.unwrap();
        let mut leaves = Box::pin(line.turn(address(2)));
        let mut stays = Box::pin(line.turn(address(3)));
        assert!(polled(&mut leaves).is_pending() && polled(&mut stays).is_pending());
        drop(first);
        // It has its turn, and goes before it has looked.
        drop(leaves);
        assert!(matches!(polled(&mut stays), Poll::Ready(Some(_))));
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_are_one() {
        let at = |text: &str| place(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:2"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
    }
}
