//! Time that a test turns.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eir::task::{Clock, SystemClock};
use jiff::{SignedDuration, Timestamp};

/// A clock that stands still until it is turned.
#[derive(Debug)]
pub(crate) struct Turned(Mutex<(Instant, Timestamp)>);

impl Turned {
    /// Whole minutes of the wall clock begin with it.
    pub(crate) fn new() -> Arc<Self> {
        let wall = "2026-03-01T00:00:00Z".parse().expect("a time");
        Arc::new(Self(Mutex::new((SystemClock.now(), wall))))
    }

    /// Time goes by.
    pub(crate) fn pass(&self, time: Duration) {
        let mut state = self.0.lock().expect("lock");
        state.0 += time;
        state.1 += time;
    }

    /// Somebody sets the wall clock.
    pub(crate) fn jump(&self, by: SignedDuration) {
        self.0.lock().expect("lock").1 += by;
    }
}

impl Clock for Turned {
    fn now(&self) -> Instant {
        self.0.lock().expect("lock").0
    }

    fn wall(&self) -> Timestamp {
        self.0.lock().expect("lock").1
    }
}
