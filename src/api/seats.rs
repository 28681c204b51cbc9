//! Who is connected: a bounded number of clients, of whom the one that has left us waiting the longest makes room.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::task::{Clock, SystemClock};

/// The places for clients.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    taken: Mutex<Taken>,
    /// Somebody left, or lets us wait now.
    moved: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    seats: BTreeMap<u64, Arc<Seat>>,
}

/// One client's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    seats: Arc<Seats>,
    number: u64,
    pub seat: Arc<Seat>,
}

/// What one client and we are at.
#[derive(Debug)]
pub(super) struct Seat {
    state: Mutex<State>,
    leave: Notify,
    moved: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    /// Requests that are being worked on.
    working: usize,
    /// Since when there is none: it is the client's turn.
    since: Instant,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub address: IpAddr,
    pub seat: Arc<Seat>,
}

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default(), moved: Arc::default() })
    }

    /// A place, when there is one: a client that lets us wait makes room, one that we work for does not.
    pub(super) async fn sit(self: &Arc<Self>) -> Place {
        loop {
            let moved = self.moved.notified();
            if let Some(place) = self.try_sit() {
                return place;
            }
            self.show_out();
            moved.await;
        }
    }

    fn try_sit(self: &Arc<Self>) -> Option<Place> {
        let mut taken = lock(&self.taken);
        if taken.seats.len() >= self.most {
            return None;
        }
        let state = State { working: 0, since: SystemClock.now() };
        let (state, leave, moved) = (Mutex::new(state), Notify::new(), Arc::clone(&self.moved));
        let seat = Arc::new(Seat { state, leave, moved });
        let number = taken.next;
        taken.next += 1;
        taken.seats.insert(number, Arc::clone(&seat));
        Some(Place { seats: Arc::clone(self), number, seat })
    }

    /// Asks the client to leave that has left us waiting the longest.
    fn show_out(&self) {
        let taken = lock(&self.taken);
        let idle = taken.seats.values().filter_map(|seat| Some((seat.idle_since()?, seat)));
        if let Some((_, seat)) = idle.min_by_key(|(since, _)| *since) {
            seat.leave.notify_one();
        }
    }
}

impl Seat {
    /// When the client must go for another.
    pub(super) async fn left(&self) {
        self.leave.notified().await;
    }

    fn idle_since(&self) -> Option<Instant> {
        let state = lock(&self.state);
        (state.working == 0).then_some(state.since)
    }
}

impl Peer {
    /// It is our turn while this is held.
    pub(super) fn works(&self) -> Working {
        lock(&self.seat.state).working += 1;
        Working(Arc::clone(&self.seat))
    }
}

impl Seat {
    /// It is the client's turn while this is held: the rest of its request is to come.
    pub(super) fn waits(self: &Arc<Self>) -> Waiting {
        let mut state = lock(&self.state);
        state.working = state.working.saturating_sub(1);
        state.since = SystemClock.now();
        drop(state);
        self.moved.notify_one();
        Waiting(Arc::clone(self))
    }
}

/// A request whose rest is to come.
#[derive(Debug)]
pub(super) struct Waiting(Arc<Seat>);

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.0.state).working += 1;
    }
}

/// A request that is being worked on.
#[derive(Debug)]
pub(super) struct Working(Arc<Seat>);

impl Drop for Working {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.working = state.working.saturating_sub(1);
        state.since = SystemClock.now();
        drop(state);
        self.0.moved.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.seats.taken).seats.remove(&self.number);
        self.seats.moved.notify_one();
    }
}

// No code that can panic runs under these locks.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_lets_us_wait_the_longest_makes_room() {
        let seats = Seats::new(2);
        let (first, second) = (seats.sit().await, seats.sit().await);
        let peer = Peer { address: [127, 0, 0, 1].into(), seat: Arc::clone(&first.seat) };
        let working = peer.works();
        let third = {
            let next = seats.sit();
            tokio::pin!(next);
            tokio::select! {
                biased;
                _ = &mut next => panic!("there is no room yet"),
                () = first.seat.left() => panic!("we work for it"),
                () = second.seat.left() => {}
            }
            drop(second);
            next.await
        };
        drop(working);
        let fourth = seats.sit();
        tokio::pin!(fourth);
        tokio::select! {
            biased;
            _ = &mut fourth => panic!("there is no room yet"),
            // The first one has been served a moment ago.
            () = first.seat.left() => panic!("it waits the shorter"),
            () = third.seat.left() => {}
        }
        drop(third);
        fourth.await;
    }
}
