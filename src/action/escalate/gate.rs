//! Whether a remote is asked at the moment: its circuit breaker and its rate.

use std::time::Duration;

use tokio::time::Instant;

use super::EscalateConfig;
use crate::task::{Breaker, BreakerEvent, BreakerState, Bucket};

/// Why a remote is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It failed too often.
    Breaker,
    /// It was asked as often as it may be.
    Rate,
}

/// The breaker and the rate of one remote.
#[derive(Debug)]
pub struct Gate {
    breaker: Breaker,
    recheck: Duration,
    /// Until when it is left alone, while the breaker is open.
    rest: Option<Instant>,
    /// One question is on its way whose answer decides.
    probing: bool,
    bucket: Bucket,
}

impl Gate {
    /// Nobody was asked yet.
    pub const fn new(config: &EscalateConfig) -> Self {
        Self {
            breaker: Breaker::new(config.breaker.failures),
            recheck: config.breaker.recheck.0,
            rest: None,
            probing: false,
            bucket: Bucket::new(config.rate.count(), config.rate.per()),
        }
    }

    /// Where the breaker stands.
    pub const fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Whether one more question may be asked; if so, what came of it is to be told.
    pub fn admit(&mut self, now: Instant) -> Result<(), Refusal> {
        if self.state() == BreakerState::Open && self.rest.is_none_or(|until| now >= until) {
            self.breaker.apply(BreakerEvent::Cooled);
            self.probing = false;
        }
        let closed = match self.state() {
            BreakerState::Closed => false,
            BreakerState::Open => true,
            BreakerState::HalfOpen => self.probing,
        };
        if closed {
            return Err(Refusal::Breaker);
        }
        if !self.bucket.take(now.into_std()) {
            return Err(Refusal::Rate);
        }
        self.probing = self.state() == BreakerState::HalfOpen;
        Ok(())
    }

    /// It answered. True: the breaker has closed by that.
    pub fn answered(&mut self) -> bool {
        let before = self.state();
        self.probing = false;
        self.rest = None;
        self.breaker.apply(BreakerEvent::Success) != before
    }

    /// It did not answer as it should: `for_good` where it will not before something is changed, and not before
    /// `after` where it said so. True: the breaker has opened by that.
    pub fn failed(&mut self, now: Instant, for_good: bool, after: Option<Duration>) -> bool {
        let before = self.state();
        self.probing = false;
        let event = if for_good { BreakerEvent::Trip } else { BreakerEvent::Failure };
        if self.breaker.apply(event) == BreakerState::Open {
            // One that was asked before it opened takes nothing from what another was told.
            self.rest = self.rest.max(Some(now + self.recheck.max(after.unwrap_or_default())));
        }
        // That it is still away when it is tried again is no news.
        before == BreakerState::Closed && self.state() == BreakerState::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(more: &str) -> Gate {
        let text = format!("uncertain = [0.3, 0.7]\nurl = \"https://big.example\"\n{more}");
        Gate::new(&toml::from_str(&text).expect("a configuration"))
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_rate_lets_its_burst_through_and_then_what_time_brings() {
        let mut gate = gate("rate = \"3/s\"");
        let now = Instant::now();
        let mut admitted = |at| (0..10).filter(|_| gate.admit(at).is_ok()).count();
        assert_eq!(admitted(now), 3);
        assert_eq!(admitted(now + SECOND / 2), 1);
        assert_eq!(admitted(now + SECOND / 2), 0);
        assert_eq!(admitted(now + SECOND * 100), 3, "no more than the burst is saved up");
        assert_eq!(gate.admit(now + SECOND * 100), Err(Refusal::Rate));
        assert_eq!(gate.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_one_question_after_a_rest_decides() {
        let mut gate = gate("breaker = { failures = 2, recheck = \"10s\" }\nrate = \"100/s\"");
        let now = Instant::now();
        assert_eq!(gate.admit(now), Ok(()));
        assert!(!gate.failed(now, false, None));
        assert!(gate.failed(now, false, None), "it opens");
        assert_eq!(gate.admit(now + SECOND * 9), Err(Refusal::Breaker));
        // One question, and no second one before its answer.
        let later = now + SECOND * 10;
        assert_eq!(gate.admit(later), Ok(()));
        assert_eq!(gate.state(), BreakerState::HalfOpen);
        assert_eq!(gate.admit(later), Err(Refusal::Breaker));
        assert!(!gate.failed(later, false, None), "still away is no news");
        assert_eq!(gate.admit(later + SECOND * 9), Err(Refusal::Breaker));
        let later = later + SECOND * 10;
        assert_eq!(gate.admit(later), Ok(()));
        assert!(gate.answered(), "it closes");
        assert_eq!(gate.admit(later), Ok(()));
        assert!(!gate.answered());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_opens_it_at_once_and_the_remotes_own_wish_is_heard() {
        let mut gate = gate("breaker = { recheck = \"10s\" }");
        let now = Instant::now();
        assert!(gate.failed(now, true, Some(SECOND * 60)));
        assert_eq!(gate.admit(now + SECOND * 59), Err(Refusal::Breaker));
        assert_eq!(gate.admit(now + SECOND * 60), Ok(()));
    }

    /// Those that were on their way when it opened fail one after the other, and only one was told for how long.
    #[tokio::test(start_paused = true)]
    async fn a_later_failure_does_not_shorten_the_rest_that_the_remote_asked_for() {
        let mut gate = gate("breaker = { failures = 1, recheck = \"10s\" }");
        let now = Instant::now();
        assert!(gate.failed(now, false, Some(SECOND * 600)));
        assert!(!gate.failed(now + SECOND, false, None));
        assert_eq!(gate.admit(now + SECOND * 599), Err(Refusal::Breaker));
        assert_eq!(gate.admit(now + SECOND * 600), Ok(()));
    }

    /// A question that the rate held back was none: the next one still decides.
    #[tokio::test(start_paused = true)]
    async fn a_half_open_breaker_that_the_rate_holds_back_still_asks_later() {
        let mut gate = gate("breaker = { failures = 1, recheck = \"10ms\" }\nrate = \"1/min\"");
        let now = Instant::now();
        assert_eq!(gate.admit(now), Ok(()));
        assert!(gate.failed(now, false, None));
        assert_eq!(gate.admit(now + SECOND), Err(Refusal::Rate));
        assert_eq!(gate.admit(now + SECOND * 61), Ok(()));
    }
}
