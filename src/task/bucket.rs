//! How often something may happen: a token bucket.

use std::time::{Duration, Instant};

/// So many times in so much time, and no more at once than that.
#[derive(Debug)]
pub struct Bucket {
    full: f64,
    per: Duration,
    /// What is left, and since when.
    tokens: Option<(f64, Instant)>,
}

impl Bucket {
    /// Full at first.
    pub const fn new(count: u32, per: Duration) -> Self {
        Self { full: count as f64, per, tokens: None }
    }

    /// Whether it may happen once more; if so, it does.
    pub fn take(&mut self, now: Instant) -> bool {
        let (left, since) = self.level(now);
        let enough = left >= 1.0;
        self.tokens = Some((if enough { left - 1.0 } else { left }, since));
        enough
    }

    /// How long until it may happen again.
    pub fn wait(&self, now: Instant) -> Duration {
        let (left, _) = self.level(now);
        self.per.mul_f64((1.0 - left).max(0.0) / self.full)
    }

    /// Nothing was taken, or it has all come back.
    pub fn is_full(&self, now: Instant) -> bool {
        self.level(now).0 >= self.full
    }

    fn level(&self, now: Instant) -> (f64, Instant) {
        let (left, since) = self.tokens.unwrap_or((self.full, now));
        let parts = now.saturating_duration_since(since).as_secs_f64() / self.per.as_secs_f64();
        ((left + parts * self.full).min(self.full), now.max(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Clock, SystemClock};

    #[test]
    fn a_burst_passes_and_then_what_time_brings() {
        let (start, second) = (SystemClock.now(), Duration::from_secs(1));
        let mut bucket = Bucket::new(3, second);
        let mut taken = |at| (0..10).filter(|_| bucket.take(at)).count();
        assert_eq!(taken(start), 3);
        assert_eq!(taken(start + second / 2), 1);
        assert_eq!(taken(start + second * 100), 3, "no more than the burst is saved up");
        let empty = start + second * 100;
        assert!(!bucket.is_full(empty) && bucket.is_full(empty + second));
        assert!(bucket.wait(empty).abs_diff(second / 3) < Duration::from_millis(1));
        assert_eq!(bucket.wait(empty + second), Duration::ZERO);
    }
}
