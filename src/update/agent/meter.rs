//! What may come over the line, whoever asks for it.

use std::time::Duration;

use super::Agent;
use crate::task::Clock;
use crate::update::source::CHUNK;

/// No piece is smaller: each costs a request.
const LEAST: u64 = 16 << 10;

impl Agent {
    /// How long nothing may be fetched, and why.
    pub fn put_off(&self, clock: &dyn Clock) -> Option<(Duration, String)> {
        let local = clock.wall().to_zoned(jiff::tz::TimeZone::system());
        let (wait, why) = self.allowance.wait(clock.now(), &local)?;
        Some((wait, why.unwrap_or_else(|| "the rate is used up".to_owned())))
    }

    /// The most bytes that a piece may have, where the line is metered.
    pub fn piece(&self, metered: bool, clock: &dyn Clock) -> u64 {
        if !metered {
            return CHUNK;
        }
        let local = clock.wall().to_zoned(jiff::tz::TimeZone::system());
        let most = usize::try_from(CHUNK).unwrap_or(usize::MAX);
        (self.allowance.most(most, &local) as u64).clamp(LEAST, CHUNK)
    }

    /// So many bytes were fetched.
    pub fn came(&mut self, bytes: u64, clock: &dyn Clock) {
        let local = clock.wall().to_zoned(jiff::tz::TimeZone::system());
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.allowance.sent(bytes, clock.now(), &local);
    }
}
