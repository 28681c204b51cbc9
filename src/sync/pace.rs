//! How much is sent at once, and how long to wait before the next try.

use std::time::Duration;

use rand::RngExt;

use super::{CloudConfig, Verdict};
use crate::task::{Backoff, Breaker, BreakerEvent, BreakerState};

/// So many failures in a row open the breaker.
const THRESHOLD: u32 = 5;

/// A device that has no network looks for it at least so often: nobody is burdened by it, and what
/// happened meanwhile leaves within seconds of the link coming up.
const LOOK_FOR_NETWORK: Duration = Duration::from_secs(4);

/// Batches shrink to this part of the largest on the word of a cloud. Where even that is too large they are
/// halved each time; a cloud that for a while refused whatever it got does not leave them tiny for long.
const SMALLEST: usize = 32;

/// The first batch after a rest is a sixteenth of the largest, and each one that is delivered doubles it.
const SLOW_START: usize = 16;

/// The pace towards one cloud.
#[derive(Debug)]
pub(super) struct Pace {
    breaker: Breaker,
    backoff: Backoff,
    first_wait: Duration,
    longest_wait: Duration,
    recheck: Duration,
    max_records: usize,
    max_bytes: usize,
    /// What the cloud takes at once, as far as it let know.
    taken_bytes: usize,
    /// What may be sent at once, growing after a rest.
    records: usize,
}

impl Pace {
    pub(super) const fn new(config: &CloudConfig) -> Self {
        Self {
            breaker: Breaker::new(THRESHOLD),
            backoff: Backoff::new(config.backoff.first, config.backoff.max),
            first_wait: config.backoff.first,
            longest_wait: config.backoff.max,
            recheck: config.recheck,
            max_records: config.max_records,
            max_bytes: config.batch_bytes(),
            taken_bytes: config.batch_bytes(),
            records: config.max_records,
        }
    }

    pub(super) const fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// The most records and bytes of the next batch.
    pub(super) const fn limits(&self) -> (usize, usize) {
        (self.records, self.taken_bytes)
    }

    /// The wait after this verdict on a batch of `bytes`.
    pub(super) fn after(&mut self, verdict: &Verdict, bytes: usize) -> Duration {
        match verdict {
            Verdict::Part => {
                self.breaker.apply(BreakerEvent::Success);
                self.backoff.reset();
                Duration::ZERO
            }
            Verdict::Delivered => {
                self.breaker.apply(BreakerEvent::Success);
                self.backoff.reset();
                self.taken_bytes = self.max_bytes.min(self.taken_bytes + self.taken_bytes / 32);
                let growing = self.records < self.max_records;
                self.records = self.max_records.min(self.records.saturating_mul(2));
                // A thousand devices that were cut off together do not all push at the same instant.
                if growing { jittered(self.first_wait) } else { Duration::ZERO }
            }
            Verdict::TooLarge { .. } => {
                let least = self.max_bytes / SMALLEST;
                self.taken_bytes = self.taken_bytes.min((bytes / 2).max(least));
                Duration::ZERO
            }
            // It answers, and knows what it does not want: the search for the bad record goes on at once.
            Verdict::Rejected { .. } => Duration::ZERO,
            Verdict::Wait { after, .. } => {
                self.fail(BreakerEvent::Failure);
                self.backoff.next_wait() + after.unwrap_or_default()
            }
            Verdict::Offline { .. } => {
                self.start_slowly();
                jittered(LOOK_FOR_NETWORK.min(self.longest_wait))
            }
            Verdict::Stop { .. } => self.trip(),
        }
    }

    /// The cloud accepts nothing: the wait until it is asked again.
    pub(super) fn trip(&mut self) -> Duration {
        self.fail(BreakerEvent::Trip);
        self.recheck.mul_f64(rand::rng().random_range(0.75..=1.25))
    }

    /// The wait is over.
    pub(super) fn rested(&mut self) {
        self.breaker.apply(BreakerEvent::Cooled);
    }

    fn fail(&mut self, event: BreakerEvent) {
        if self.breaker.apply(event) == BreakerState::Open {
            self.start_slowly();
        }
    }

    const fn start_slowly(&mut self) {
        let part = self.max_records / SLOW_START;
        self.records = if part > 1 { part } else { 1 };
    }
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(after: Option<Duration>) -> Verdict {
        Verdict::Wait { why: String::new(), after }
    }

    #[test]
    fn a_cloud_that_is_away_is_left_alone_and_returned_to_gently() {
        let config = CloudConfig::new("https://c.example");
        let mut pace = Pace::new(&config);
        for failures in 1..20 {
            assert!(pace.after(&wait(None), 1) <= config.backoff.max);
            let open = failures >= THRESHOLD;
            assert_eq!(pace.state() == BreakerState::Open, open, "{failures}");
            pace.rested();
        }
        assert_eq!(pace.state(), BreakerState::HalfOpen);
        assert_eq!(pace.limits().0, 1000 / SLOW_START);
        let mut sizes = vec![];
        while pace.limits().0 < 1000 {
            assert!(pace.after(&Verdict::Delivered, 1) <= config.backoff.first);
            sizes.push(pace.limits().0);
        }
        assert_eq!(sizes, [124, 248, 496, 992, 1000]);
        assert_eq!(pace.after(&Verdict::Delivered, 1), Duration::ZERO);
        assert_eq!(pace.state(), BreakerState::Closed);
    }

    #[test]
    fn the_wait_is_at_least_what_the_cloud_asked_for() {
        let config = CloudConfig::new("https://c.example");
        let mut pace = Pace::new(&config);
        let asked = Duration::from_mins(10);
        for _ in 0..20 {
            let found = pace.after(&wait(Some(asked)), 1);
            assert!(found >= asked && found <= asked + config.backoff.max, "{found:?}");
        }
    }

    #[test]
    fn the_network_is_looked_for_every_few_seconds_for_ever() {
        let mut pace = Pace::new(&CloudConfig::new("https://c.example"));
        for _ in 0..1000 {
            let offline = Verdict::Offline { why: String::new() };
            assert!(pace.after(&offline, 1) <= LOOK_FOR_NETWORK);
        }
        assert_eq!(pace.state(), BreakerState::Closed);
        // A thousand devices behind one link come back together.
        assert_eq!(pace.limits().0, 1000 / SLOW_START);
    }

    #[test]
    fn a_cloud_that_refuses_is_asked_slowly() {
        let config = CloudConfig::new("https://c.example");
        let mut pace = Pace::new(&config);
        let stop = Verdict::Stop { why: String::new() };
        let found = pace.after(&stop, 1);
        assert!(found >= config.recheck * 3 / 4 && found <= config.recheck * 5 / 4, "{found:?}");
        assert_eq!(pace.state(), BreakerState::Open);
    }

    #[test]
    fn what_is_too_large_is_halved_and_grows_again_slowly() {
        let mut pace = Pace::new(&CloudConfig::new("https://c.example"));
        let too_large = Verdict::TooLarge { why: String::new() };
        assert_eq!(pace.after(&too_large, 1 << 20), Duration::ZERO);
        assert_eq!(pace.limits().1, 512 << 10);
        pace.after(&too_large, 10);
        assert_eq!(pace.limits().1, (1 << 20) / SMALLEST);
        for _ in 0..200 {
            pace.after(&Verdict::Delivered, 1);
        }
        assert_eq!(pace.limits().1, 1 << 20);
    }
}
