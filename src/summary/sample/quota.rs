//! How much was taken in this hour and on this day.

use jiff::Timestamp;

use super::Quota;

const HOUR: i64 = 3600;

/// Counts against both limits.
#[derive(Debug)]
pub(super) struct Meter([Period; 2]);

#[derive(Debug)]
struct Period {
    seconds: i64,
    most: Quota,
    /// Which one it is, and what was taken in it.
    now: i64,
    count: u64,
    bytes: usize,
}

impl Meter {
    pub(super) fn new(hourly: Quota, daily: Quota) -> Self {
        let period = |seconds, most| Period { seconds, most, now: i64::MIN, count: 0, bytes: 0 };
        Self([period(HOUR, hourly), period(24 * HOUR, daily)])
    }

    /// Whether one more could be taken, were it small enough.
    pub(super) fn has_room(&mut self, wall: Timestamp) -> bool {
        self.0.iter_mut().all(|period| period.at(wall).has_room(0))
    }

    /// Takes one of so many bytes; false: it is too much.
    pub(super) fn spend(&mut self, wall: Timestamp, bytes: usize) -> bool {
        let fits = self.0.iter_mut().all(|period| period.at(wall).has_room(bytes));
        for period in self.0.iter_mut().filter(|_| fits) {
            period.count += 1;
            period.bytes += bytes;
        }
        fits
    }
}

impl Period {
    fn at(&mut self, wall: Timestamp) -> &Self {
        let now = wall.as_second().div_euclid(self.seconds);
        if now != self.now {
            (self.now, self.count, self.bytes) = (now, 0, 0);
        }
        self
    }

    const fn has_room(&self, bytes: usize) -> bool {
        self.count < self.most.count && self.bytes.saturating_add(bytes) <= self.most.size.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ByteSize;

    #[test]
    fn an_hour_and_a_day_have_their_limits() {
        let quota = |count, size| Quota { count, size: ByteSize(size) };
        let mut meter = Meter::new(quota(2, 100), quota(3, 1000));
        let at = |text: &str| -> Timestamp { text.parse().expect("a time") };
        let ten = at("2026-03-01T10:00:00Z");
        assert!(!meter.spend(ten, 101), "too large");
        assert!(meter.spend(ten, 60) && !meter.spend(ten, 60) && meter.spend(ten, 40));
        assert!(!meter.has_room(at("2026-03-01T10:59:59Z")));
        let eleven = at("2026-03-01T11:00:00Z");
        assert!(meter.spend(eleven, 1) && !meter.has_room(eleven), "three on this day");
        assert!(meter.has_room(at("2026-03-02T00:00:00Z")));
    }
}
