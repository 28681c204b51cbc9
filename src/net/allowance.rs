//! When, how fast and how much may go over a line: what a metered link, or a site that needs it by day, allows.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use jiff::Zoned;
use jiff::civil::Date;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::event::ByteSize;

/// The clock may be set at any time: nothing is waited for longer than this without a look at it.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// A batch is no larger than what the rate lets through in this time, so that the rate holds over any minute.
const BURST_SECONDS: usize = 10;

/// Hours of the day, written `22:00-06:00`, by the device's own time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hours {
    /// Minutes since midnight.
    from: u16,
    /// Minutes since midnight; before `from` where midnight lies between.
    until: u16,
}

/// Bytes a second, written `64KiB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(pub ByteSize);

/// What may go over the line, and what did.
#[derive(Debug)]
pub struct Allowance {
    hours: Option<Hours>,
    rate: Option<Rate>,
    daily: Option<usize>,
    /// What was sent on this day.
    spent: (Option<Date>, usize),
    /// What was sent is through by then, at the rate.
    through: Option<Instant>,
}

impl Allowance {
    /// Nothing has gone over it yet.
    pub const fn new(hours: Option<Hours>, rate: Option<Rate>, daily: Option<ByteSize>) -> Self {
        let daily = match daily {
            Some(bytes) => Some(bytes.0),
            None => None,
        };
        Self { hours, rate, daily, spent: (None, 0), through: None }
    }

    /// How long nothing may go, at least, and why, where that is more than the rate.
    pub fn wait(&self, now: Instant, local: &Zoned) -> Option<(Duration, Option<String>)> {
        if let Some(hours) = self.hours
            && let Some(wait) = hours.wait(local)
        {
            return Some((wait.min(LOOK_AGAIN), Some(format!("is allowed {hours}"))));
        }
        if let Some(daily) = self.daily
            && self.left(daily, local) == 0
        {
            let why = format!("today's {} are used", ByteSize(daily));
            return Some((LOOK_AGAIN, Some(why)));
        }
        let through = self.through?.saturating_duration_since(now);
        (!through.is_zero()).then_some((through, None))
    }

    /// The most bytes that may go next, of the `most` that could.
    pub fn most(&self, most: usize, local: &Zoned) -> usize {
        let at_rate = self.rate.map_or(most, |Rate(bytes)| bytes.0.saturating_mul(BURST_SECONDS));
        let today = self.daily.map_or(most, |daily| self.left(daily, local));
        most.min(at_rate).min(today)
    }

    /// So much went, whether it arrived or not.
    pub fn sent(&mut self, bytes: usize, now: Instant, local: &Zoned) {
        let today = local.date();
        if self.spent.0 != Some(today) {
            self.spent = (Some(today), 0);
        }
        self.spent.1 = self.spent.1.saturating_add(bytes);
        if let Some(Rate(rate)) = self.rate {
            let takes = Duration::from_secs_f64(bytes as f64 / rate.0 as f64);
            self.through = Some(self.through.map_or(now, |through| through.max(now)) + takes);
        }
    }

    fn left(&self, daily: usize, local: &Zoned) -> usize {
        let spent = if self.spent.0 == Some(local.date()) { self.spent.1 } else { 0 };
        daily.saturating_sub(spent)
    }
}

impl Hours {
    /// How long until they begin; `None`: they have.
    pub fn wait(self, local: &Zoned) -> Option<Duration> {
        let time = local.time();
        let minute =
            u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
        let inside = if self.from < self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        };
        let minutes = (self.from + 24 * 60 - minute) % (24 * 60);
        let gone = u64::from(time.second().unsigned_abs()).min(59);
        // Outside they are a minute away at least.
        (!inside).then(|| Duration::from_secs((u64::from(minutes) * 60).saturating_sub(gone)))
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` are no hours; write them like \"22:00-06:00\", from 00:00 to 24:00")
        };
        let minutes = |time: &str| {
            let (hour, minute) = time.trim().split_once(':')?;
            let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            if !digits(hour) || !digits(minute) {
                return None;
            }
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            let total = hour * 60 + minute;
            (minute < 60 && total <= 24 * 60).then_some(total)
        };
        let (from, until) = text.split_once('-').ok_or_else(wrong)?;
        match (minutes(from), minutes(until)) {
            (Some(from), Some(until)) if from != until && from < 24 * 60 => {
                Ok(Self { from, until })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.trim().strip_suffix("/s").and_then(|size| size.trim().parse().ok());
        bytes
            .filter(|bytes: &ByteSize| bytes.0 > 0)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no rate; write it like \"64KiB/s\""))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

/// Written as text in the file.
macro_rules! as_text {
    ($name:ident, $pattern:literal, $example:literal) => {
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }
    };
}

as_text!(Hours, "^ *[0-9]{2}:[0-9]{2} *- *[0-9]{2}:[0-9]{2} *$", "22:00-06:00");
as_text!(Rate, "^.+/s *$", "64KiB/s");

#[cfg(test)]
mod tests {
    use jiff::Span;

    use super::*;
    use crate::task::{Clock, SystemClock};

    fn local(text: &str) -> Zoned {
        format!("2026-03-01T{text}+01:00[+01:00]").parse().expect("a time")
    }

    fn allowance(hours: Option<&str>, rate: Option<&str>, daily: Option<&str>) -> Allowance {
        let hours = hours.map(|text| text.parse().expect("hours"));
        let rate = rate.map(|text| text.parse().expect("a rate"));
        Allowance::new(hours, rate, daily.map(|text| text.parse().expect("a size")))
    }

    #[test]
    fn hours_may_lie_around_midnight() {
        let wait = |hours: &str, time: &str| {
            let hours: Hours = hours.parse().expect("hours");
            hours.wait(&local(time)).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("22:00-06:00", "23:59:59"), None);
        assert_eq!(wait("22:00-06:00", "00:00"), None);
        // The first minute of them was a panic.
        assert_eq!(wait("22:00-06:00", "22:00:30"), None);
        assert_eq!(wait("22:00-06:00", "05:59:59"), None);
        assert_eq!(wait("22:00-06:00", "06:00"), Some(16 * 3600));
        assert_eq!(wait("22:00-06:00", "21:59:30"), Some(30));
        assert_eq!(wait("08:00-24:00", "23:59"), None);
        assert_eq!(wait("08:00-24:00", "00:00:01"), Some(8 * 3600 - 1));
        for wrong in
            ["", "22:00", "22:00-22:00", "8:00-9:00", "25:00-26:00", "24:00-01:00", "10:60-11:00"]
        {
            assert!(wrong.parse::<Hours>().is_err(), "{wrong}");
        }
        let hours = allowance(Some("22:00-06:00"), None, None);
        let (wait, why) = hours.wait(SystemClock.now(), &local("12:00")).expect("a wait");
        assert_eq!((wait, why.as_deref()), (LOOK_AGAIN, Some("is allowed 22:00-06:00")));
    }

    #[test]
    fn a_rate_holds_over_time() {
        let mut allowance = allowance(None, Some("1KiB/s"), None);
        let (start, noon) = (SystemClock.now(), local("12:00"));
        let mut now = start;
        assert_eq!(allowance.most(1 << 20, &noon), 10 << 10);
        let mut sent = 0;
        while now - start < Duration::from_mins(10) {
            if let Some((wait, why)) = allowance.wait(now, &noon) {
                assert_eq!(why, None);
                now += wait;
            }
            allowance.sent(3000, now, &noon);
            sent += 3000;
        }
        assert!((600 << 10..(603 << 10) + 3000).contains(&sent), "{sent}");
    }

    #[test]
    fn what_is_left_of_a_day_is_no_more_than_that_and_the_next_day_is_new() {
        let mut allowance = allowance(None, None, Some("10KiB"));
        let now = SystemClock.now();
        let noon = local("12:00");
        assert_eq!(allowance.wait(now, &noon), None);
        allowance.sent(8 << 10, now, &noon);
        assert_eq!(allowance.most(1 << 20, &noon), 2 << 10);
        allowance.sent(3 << 10, now, &noon);
        let (_, why) = allowance.wait(now, &noon).expect("a wait");
        assert_eq!(why.as_deref(), Some("today's 10KiB are used"));
        let tomorrow: Zoned = "2026-03-02T00:00:01+01:00[+01:00]".parse().expect("a time");
        assert_eq!(allowance.wait(now, &tomorrow), None);
        assert_eq!(allowance.most(1 << 20, &tomorrow), 10 << 10);
    }

    /// A day in which the clock is set ten years forth and back, again and again.
    #[test]
    fn no_jump_of_the_clock_freezes_a_cloud() {
        const JUMPS: [i64; 4] = [10, -10, -10, 10];
        let mut allowance = allowance(Some("00:00-23:00"), Some("1KiB/s"), Some("10KiB"));
        let (mut now, mut wall) = (SystemClock.now(), local("00:00"));
        let (mut sent, mut jumps, mut waited) = (0, JUMPS.iter().cycle(), Duration::ZERO);
        for step in 0..24 * 60 - 1 {
            let minute = Duration::from_mins(1);
            (now, wall) = (now + minute, wall.checked_add(minute).expect("in range"));
            let jumps_now = step % 97 == 96;
            if jumps_now {
                let years = jumps.next().expect("for ever");
                wall = wall.checked_add(Span::new().years(*years)).expect("in range");
            }
            if let Some((wait, _)) = allowance.wait(now, &wall) {
                assert!(wait <= LOOK_AGAIN.max(Duration::from_secs(10)), "{wait:?}");
                waited += minute;
            } else {
                let bytes = allowance.most(5 << 10, &wall);
                assert!(bytes > 0);
                allowance.sent(bytes, now, &wall);
                sent += bytes;
                waited = Duration::ZERO;
            }
            // The day that it was set to is another one, with an allowance of its own.
            let is_open = wall.hour() < 23;
            assert!(!(jumps_now && is_open) || waited.is_zero(), "frozen at {wall}");
        }
        // The day it began on, and one for each time that the clock was set.
        assert_eq!(sent, (1 + 24 * 60 / 97) * (10 << 10));
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["22:00-06:00", "00:00-24:00"] {
            assert_eq!(text.parse::<Hours>().expect("hours").to_string(), text);
        }
        let rate: Rate = "64KiB/s".parse().expect("a rate");
        assert_eq!(rate.to_string().parse(), Ok(rate));
        for wrong in ["64KiB", "0/s", "fast/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
