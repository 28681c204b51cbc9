//! When windows begin and end.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

/// Windows of wall-clock time, one after the other.
#[derive(Debug)]
pub struct Schedule {
    /// Milliseconds.
    every: i64,
    /// Where the open window begins by the clock, in milliseconds.
    from: i64,
    /// When it was opened.
    since: Instant,
}

/// A window that is over, or a part of it: those of the same `from` and `to` add up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Span {
    /// Where it begins by the clock.
    pub from: Timestamp,
    /// Where it ends by the clock.
    pub to: Timestamp,
    /// For how much of it eir ran, measured without the wall clock.
    pub seconds: f64,
    /// The clock had left it by more than its length, or backwards, when it was closed: the device slept, or
    /// its clock was set.
    pub late: bool,
}

impl Schedule {
    /// Opens the window of this moment; `every` is whole seconds, at least one.
    pub fn new(every: Duration, now: Instant, wall: Timestamp) -> Self {
        let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
        Self { every, from: begin(every, wall), since: now }
    }

    /// The window that is over, if one is; the next one is open then.
    pub fn tick(&mut self, now: Instant, wall: Timestamp) -> Option<Span> {
        (begin(self.every, wall) != self.from).then(|| self.cut(now, wall))
    }

    /// Closes the open window, wherever in it this is.
    pub fn cut(&mut self, now: Instant, wall: Timestamp) -> Span {
        let to = self.from.saturating_add(self.every);
        let begun = begin(self.every, wall);
        let seconds = now.saturating_duration_since(self.since).as_secs_f64();
        let span = Span {
            from: moment(self.from),
            to: moment(to),
            seconds: (seconds * 1e3).round() / 1e3,
            late: begun != self.from && begun != to,
        };
        (self.from, self.since) = (begun, now);
        span
    }
}

/// Where the window of a moment begins, in milliseconds.
fn begin(every: i64, wall: Timestamp) -> i64 {
    wall.as_millisecond().div_euclid(every) * every
}

fn moment(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Clock, SystemClock};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn windows_are_those_of_the_clock() {
        let minute = Duration::from_mins(1);
        let start = SystemClock.now();
        let mut schedule = Schedule::new(minute, start, at("2026-03-01T10:00:42.5Z"));
        assert_eq!(schedule.tick(start, at("2026-03-01T10:00:59.999Z")), None);
        let span = schedule.tick(start + Duration::from_secs(18), at("2026-03-01T10:01:00.5Z"));
        let span = span.expect("the first part of a minute");
        assert_eq!(span.from, at("2026-03-01T10:00:00Z"));
        assert_eq!((span.to, span.seconds), (at("2026-03-01T10:01:00Z"), 18.0));
        assert!(!span.late);
        // The end comes in the middle of the next one; what follows a restart is its other part.
        let span = schedule.cut(start + Duration::from_secs(28), at("2026-03-01T10:01:10.5Z"));
        assert_eq!((span.from, span.seconds), (at("2026-03-01T10:01:00Z"), 10.0));
        assert!(!span.late);
    }

    #[test]
    fn a_jump_of_the_clock_makes_one_late_window_and_no_more() {
        let minute = Duration::from_mins(1);
        let start = SystemClock.now();
        for jump in ["2036-03-01T10:00:00Z", "2016-03-01T10:00:00Z", "1970-01-01T00:00:00Z"] {
            let mut schedule = Schedule::new(minute, start, at("2026-03-01T10:00:00Z"));
            let span = schedule.tick(start + minute, at(jump)).expect(jump);
            assert!(span.late, "{jump}");
            assert_eq!(span.from, at("2026-03-01T10:00:00Z"));
            let after = at(jump) + minute;
            let span = schedule.tick(start + 2 * minute, after).expect(jump);
            assert_eq!((span.from, span.late), (at(jump), false));
        }
    }
}
