//! How long a session takes on this device.

use std::time::Duration;

use serde::Serialize;

use crate::engine::{EngineError, Session};
use crate::event::Tensor;
use crate::task::Clock;

const MOST_RUNS: usize = 100_000;

/// What a number of runs took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Timing {
    /// Runs that were timed.
    pub runs: usize,
    /// The fastest.
    pub least: Duration,
    /// Half were faster.
    pub p50: Duration,
    /// One in a hundred was slower.
    pub p99: Duration,
    /// All together.
    pub total: Duration,
}

/// Runs a session at least three times, until `budget` has passed; a first run that warms up is not
/// counted.
pub fn measure(
    session: &mut dyn Session,
    inputs: &[Tensor],
    budget: Duration,
    clock: &dyn Clock,
) -> Result<Timing, EngineError> {
    let mut outputs = Vec::new();
    session.run(inputs, &mut outputs)?;
    let mut times = Vec::new();
    let start = clock.now();
    let mut last = start;
    while times.len() < 3 || (last - start < budget && times.len() < MOST_RUNS) {
        session.run(inputs, &mut outputs)?;
        let now = clock.now();
        times.push(now - last);
        last = now;
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    Ok(Timing { runs: times.len(), least: times[0], p50: at(50), p99: at(99), total: last - start })
}
