//! Time, as a seam: tests turn it, the program reads the system's.

use std::time::Instant;

use jiff::Timestamp;

/// Where time comes from. Durations are measured with [`Clock::now`] alone; wall time is for people.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Monotonic time.
    fn now(&self) -> Instant;

    /// Wall-clock time; it may jump.
    fn wall(&self) -> Timestamp;
}

/// The clocks of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where it is allowed")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }
}
