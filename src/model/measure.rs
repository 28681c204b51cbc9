//! How long a session takes on this device.

use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::engine::{EngineError, Session};
use crate::event::Tensor;
use crate::task::Clock;

const MOST_RUNS: usize = 100_000;
/// Pairs of runs that a race has at least, even if the models are slow.
const LEAST_PAIRS: usize = 3;
/// A race goes on to so many pairs …
const PAIRS: usize = 5;
/// … and further while it took less than this: quick models need more runs to be told apart.
const SHORT: Duration = Duration::from_millis(5);
/// Slow models must not hold up the start.
const LONG: Duration = Duration::from_millis(40);

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

/// How a model is run to be timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Threads that work on one run (ONNX Runtime).
    pub threads: usize,
    /// Sessions that run at the same time.
    pub instances: usize,
    /// Items that share a run.
    pub batch: usize,
}

/// Runs each session at least three times, until `budget` has passed, all at the same time; a first run that warms up is
/// not counted.
pub fn measure(
    sessions: &mut [Box<dyn Session>],
    inputs: &[Tensor],
    budget: Duration,
    clock: &dyn Clock,
) -> Result<Timing, EngineError> {
    let mut total = Duration::ZERO;
    let mut times = Vec::new();
    thread::scope(|scope| {
        let runs: Vec<_> = sessions
            .iter_mut()
            .map(|session| scope.spawn(|| run(&mut **session, inputs, budget, clock)))
            .collect();
        for run in runs {
            let (took, of) = run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            total = total.max(took);
            times.extend(of);
        }
        Ok::<_, EngineError>(())
    })?;
    times.sort_unstable();
    let at = |share: usize| {
        times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).copied()
    };
    let [least, p50, p99] = [0, 50, 99].map(|share| at(share).unwrap_or_default());
    Ok(Timing { runs: times.len(), least, p50, p99, total })
}

/// How long all runs took, and each.
fn run(
    session: &mut dyn Session,
    inputs: &[Tensor],
    budget: Duration,
    clock: &dyn Clock,
) -> Result<(Duration, Vec<Duration>), EngineError> {
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
    Ok((last - start, times))
}

/// The fastest run of each of two sessions that run by turns. What else the device does hits both alike,
/// and the fastest run of several is hit least. Both have been run before.
pub(super) fn race(
    a: &mut dyn Session,
    b: &mut dyn Session,
    inputs: &[Tensor],
    clock: &dyn Clock,
) -> Result<(Duration, Duration), EngineError> {
    let mut outputs = (Vec::new(), Vec::new());
    let mut least = (Duration::MAX, Duration::MAX);
    let start = clock.now();
    for pair in 1..=MOST_RUNS {
        let before = clock.now();
        a.run(inputs, &mut outputs.0)?;
        let between = clock.now();
        b.run(inputs, &mut outputs.1)?;
        let after = clock.now();
        least = (least.0.min(between - before), least.1.min(after - between));
        let elapsed = after - start;
        if elapsed >= LONG && pair >= LEAST_PAIRS || elapsed >= SHORT && pair >= PAIRS {
            break;
        }
    }
    Ok(least)
}

/// The fastest of a few runs, after one that warms up. The first that is faster than `enough` ends it.
pub(super) fn least(
    session: &mut dyn Session,
    inputs: &[Tensor],
    enough: Duration,
    clock: &dyn Clock,
) -> Result<Duration, EngineError> {
    let mut outputs = Vec::new();
    session.run(inputs, &mut outputs)?;
    let mut least = Duration::MAX;
    for _ in 0..LEAST_PAIRS {
        let before = clock.now();
        session.run(inputs, &mut outputs)?;
        least = least.min(clock.now() - before);
        if least < enough {
            break;
        }
    }
    Ok(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    /// Time passes only while a session runs.
    #[derive(Debug, Clone)]
    struct Turned(Instant, Arc<AtomicU64>);

    impl Turned {
        fn new() -> Self {
            Self(crate::task::SystemClock.now(), Arc::default())
        }

        fn micros(&self) -> u64 {
            self.1.load(Ordering::Relaxed)
        }
    }

    impl Clock for Turned {
        fn now(&self) -> Instant {
            self.0 + Duration::from_micros(self.micros())
        }

        fn wall(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
    }

    /// Takes so many microseconds a run, and what else the device does every second time.
    #[derive(Debug)]
    struct Paced(Turned, u64, u64, u64);

    impl Session for Paced {
        fn run(&mut self, _: &[Tensor], _: &mut Vec<Tensor>) -> Result<(), EngineError> {
            self.3 += 1;
            let more = if self.3.is_multiple_of(2) { 0 } else { self.2 };
            self.0.1.fetch_add(self.1 + more, Ordering::Relaxed);
            Ok(())
        }
    }

    /// B9: half of the starts put a model of 3.1 ms on the form that takes 8.3 ms.
    #[test]
    fn a_loaded_device_does_not_decide_which_form_is_faster() {
        for (a, b) in [(8_300, 3_100), (300, 200), (30, 31)] {
            let clock = Turned::new();
            let mut slow = Paced(clock.clone(), a, 0, 0);
            let mut fast = Paced(clock.clone(), b, 20_000, 0);
            let found = race(&mut slow, &mut fast, &[], &clock).expect("race");
            assert_eq!(found, (Duration::from_micros(a), Duration::from_micros(b)));
            assert!(slow.3 == fast.3 && slow.3 >= 3, "{slow:?}");
        }
    }

    #[test]
    fn a_race_of_slow_models_ends_after_three_pairs_and_one_of_quick_ones_goes_on() {
        for (micros, pairs) in [(30_000, 3), (3_000, 7), (10, 250)] {
            let clock = Turned::new();
            let mut a = Paced(clock.clone(), micros, 0, 0);
            let mut b = Paced(clock.clone(), micros, 0, 0);
            race(&mut a, &mut b, &[], &clock).expect("race");
            assert!(a.3 <= pairs, "{} pairs of {micros} µs", a.3);
            assert!(clock.micros() <= 40_000 + 2 * 3 * micros, "{} µs", clock.micros());
        }
    }
}
