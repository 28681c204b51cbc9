//! When to leave a peer alone that does not answer.

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BreakerState {
    /// The peer is asked as usual.
    #[default]
    Closed,
    /// The peer is left alone for a while.
    Open,
    /// One question is allowed; its answer decides.
    HalfOpen,
}

impl BreakerState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// Its name in metrics, in records and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What a breaker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerEvent {
    /// The peer did what was asked.
    Success,
    /// It did not; it may next time.
    Failure,
    /// It will not until something changes.
    Trip,
    /// It was left alone for long enough.
    Cooled,
}

/// A circuit breaker: so many failures in a row open it, and after a rest one success closes it again. How
/// long the rest is decides who holds it.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: BreakerState,
    failures: u32,
    threshold: u32,
}

impl Breaker {
    /// A closed breaker that `threshold` failures in a row open, at least one.
    pub const fn new(threshold: u32) -> Self {
        Self { state: BreakerState::Closed, failures: 0, threshold }
    }

    /// Where it stands.
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    /// Takes an event, and says where it stands now.
    pub fn apply(&mut self, event: BreakerEvent) -> BreakerState {
        self.failures = match event {
            BreakerEvent::Success => 0,
            BreakerEvent::Failure | BreakerEvent::Trip => self.failures.saturating_add(1),
            BreakerEvent::Cooled => self.failures,
        };
        self.state = next(self.state, event, self.failures >= self.threshold);
        self.state
    }
}

/// The table. `enough`: this failure makes the row long enough.
const fn next(state: BreakerState, event: BreakerEvent, enough: bool) -> BreakerState {
    use BreakerEvent::{Cooled, Failure, Success, Trip};
    use BreakerState::{Closed, HalfOpen, Open};
    match (state, event) {
        (Closed, Failure) if !enough => Closed,
        // A success is a success, even of a question that was asked before the breaker opened.
        (Closed | HalfOpen | Open, Success) | (Closed, Cooled) => Closed,
        (Closed | HalfOpen | Open, Failure | Trip) => Open,
        (Open | HalfOpen, Cooled) => HalfOpen,
    }
}

#[cfg(test)]
mod tests {
    use super::BreakerEvent::{Cooled, Failure, Success, Trip};
    use super::BreakerState::{Closed, HalfOpen, Open};
    use super::*;

    /// Every state × every event × whether the failure was the last straw.
    #[test]
    fn every_pair_leads_where_it_should() {
        let mut pairs = 0;
        for (state, event, after, after_enough) in [
            (Closed, Success, Closed, Closed),
            (Closed, Failure, Closed, Open),
            (Closed, Trip, Open, Open),
            (Closed, Cooled, Closed, Closed),
            (Open, Success, Closed, Closed),
            (Open, Failure, Open, Open),
            (Open, Trip, Open, Open),
            (Open, Cooled, HalfOpen, HalfOpen),
            (HalfOpen, Success, Closed, Closed),
            (HalfOpen, Failure, Open, Open),
            (HalfOpen, Trip, Open, Open),
            (HalfOpen, Cooled, HalfOpen, HalfOpen),
        ] {
            assert_eq!(next(state, event, false), after, "{state:?} × {event:?}");
            assert_eq!(next(state, event, true), after_enough, "{state:?} × {event:?}, enough");
            pairs += 1;
        }
        assert_eq!(pairs, 3 * 4);
    }

    #[test]
    fn a_row_of_failures_opens_it_and_a_success_in_between_begins_a_new_row() {
        let mut breaker = Breaker::new(3);
        let events =
            [Failure, Failure, Success, Failure, Failure, Failure, Cooled, Failure, Cooled];
        let states: Vec<_> = events.into_iter().map(|event| breaker.apply(event)).collect();
        let wanted = [Closed, Closed, Closed, Closed, Closed, Open, HalfOpen, Open, HalfOpen];
        assert_eq!(states, wanted);
        assert_eq!(breaker.apply(Success), Closed);
        assert_eq!(breaker.apply(Failure), Closed, "the row began anew");
    }
}
