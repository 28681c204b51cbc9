//! How messages come, so that it shows when they do no more.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::api::View;
use crate::event::Name;

/// How far apart messages are counted, and how many counts are kept.
const COUNT_EVERY: Duration = Duration::from_secs(5);
const COUNTS: usize = 7;

/// How many messages came to each pipeline.
pub(super) type Messages = BTreeMap<Name, u64>;

/// Messages a second, of each pipeline.
pub(super) type Rates = BTreeMap<Name, f64>;

/// How many messages came in the last half minute.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<(Instant, Messages)>);

impl Pace {
    /// Counts, if it is time.
    pub(super) fn count(&mut self, view: &View, now: Instant) {
        self.add(now, || messages(view));
    }

    fn add(&mut self, now: Instant, count: impl FnOnce() -> Messages) {
        let last = self.0.back().map(|(at, _)| now.saturating_duration_since(*at));
        if last.is_some_and(|gone| gone < COUNT_EVERY) {
            return;
        }
        if self.0.len() == COUNTS {
            self.0.pop_front();
        }
        self.0.push_back((now, count()));
    }

    /// Of the pipelines whose messages came all the time: as slowly as they ever did in it.
    pub(super) fn rates(&self) -> Rates {
        let Some((_, names)) = self.0.back().filter(|_| self.0.len() == COUNTS) else {
            return Rates::new();
        };
        let rates = names.keys().filter_map(|name| {
            let steps = self.0.iter().zip(self.0.iter().skip(1));
            let slowest = steps.map(|((since, before), (until, after))| {
                let (before, after) = (before.get(name)?, after.get(name)?);
                // A pipeline that was built anew counts from nothing.
                let more = after.checked_sub(*before).unwrap_or(*after);
                let seconds = until.saturating_duration_since(*since).as_secs_f64().max(1.0);
                Some(more as f64 / seconds)
            });
            let slowest = slowest.reduce(|a, b| Some(a?.min(b?)))??;
            (slowest > 0.0).then(|| (name.clone(), slowest))
        });
        rates.collect()
    }
}

pub(super) fn messages(view: &View) -> Messages {
    view.pipelines.iter().map(|known| (known.name.clone(), known.counts.messages)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Clock, SystemClock};

    /// Counts of one pipeline, one each five seconds.
    fn pace(counts: impl IntoIterator<Item = u64>, start: Instant) -> Pace {
        let mut pace = Pace::default();
        for (number, count) in counts.into_iter().enumerate() {
            let at = start + COUNT_EVERY * u32::try_from(number).expect("few");
            pace.add(at, || Messages::from([("a".parse().expect("a name"), count)]));
        }
        pace
    }

    #[test]
    fn only_what_came_all_the_time_is_waited_for() {
        let start = SystemClock.now();
        let rate =
            |counts: &[u64]| pace(counts.iter().copied(), start).rates().into_values().next();
        assert_eq!(rate(&[0, 50, 100, 150, 200, 250, 300]), Some(10.0));
        // As slowly as ever, built anew in between, and of the last half minute alone.
        assert_eq!(rate(&[0, 50, 100, 125, 25, 75, 125]), Some(5.0));
        assert_eq!(rate(&[0, 0, 50, 100, 150, 200, 250, 300]), Some(10.0));
        // It has not run for long, and it comes in batches.
        assert_eq!(rate(&[0, 50, 100, 150, 200, 250]), None);
        assert_eq!(rate(&[0, 50, 100, 100, 200, 250, 300]), None);
    }
}
