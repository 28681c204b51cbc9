//! How long to wait before the next try.

use std::time::Duration;

use rand::RngExt;

/// Exponential backoff with full jitter: the n-th wait is drawn evenly from 0 to
/// `min(max, first × 2ⁿ)`, so that a thousand devices do not come back at the same instant.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits from around `first`, never over `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, failures: 0 }
    }

    /// The wait after one more failure.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(rand::rng().random_range(0.0..=1.0))
    }

    /// It worked: start from the beginning.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    fn ceiling(&self) -> Duration {
        self.first.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_ceiling_and_start_again() {
        let max = Duration::from_secs(30);
        let mut backoff = Backoff::new(Duration::from_millis(100), max);
        let ceilings: Vec<_> = (0..12)
            .map(|_| {
                let ceiling = backoff.ceiling();
                assert!(backoff.next_wait() <= ceiling);
                ceiling
            })
            .collect();
        assert!(ceilings.is_sorted());
        assert_eq!(ceilings.last(), Some(&max));
        for _ in 0..100 {
            assert!(backoff.next_wait() <= max);
        }
        backoff.reset();
        assert_eq!(backoff.ceiling(), Duration::from_millis(100));
    }
}
