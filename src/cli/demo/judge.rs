//! Decisions against what really happened.

use std::time::Duration;

use super::truth::Event;

/// How late a decision may come after its event has ended: the last window or frame is still on its
/// way, and a rule wants several of them.
pub(super) const TOLERANCE: Duration = Duration::from_secs(1);

/// How well a pipeline's decisions fit the events of its world.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Verdict {
    /// Events that were over in time to be judged.
    pub events: usize,
    /// Decisions that fall into an event, as a share of all decisions; none without decisions.
    pub precision: Option<f64>,
    /// Events with a decision, as a share of all events; none without events.
    pub recall: Option<f64>,
}

/// Judges decisions by the moments of the messages that caused them. `until` is how far the
/// world was shown: an event that was not over by then counts only if it was found.
pub(super) fn judge(events: &[Event], decisions: &[Duration], until: Duration) -> Verdict {
    let fits = |event: &Event, at: Duration| event.start <= at && at <= event.end + TOLERANCE;
    let found = |event: &&Event| decisions.iter().any(|at| fits(event, *at));
    let judged: Vec<_> =
        events.iter().filter(|event| event.end + TOLERANCE <= until || found(event)).collect();
    let right = decisions.iter().filter(|at| events.iter().any(|event| fits(event, **at))).count();
    let hit = judged.iter().filter(|event| found(event)).count();
    let share = |part: usize, all: usize| (all > 0).then(|| part as f64 / all as f64);
    Verdict {
        events: judged.len(),
        precision: share(right, decisions.len()),
        recall: share(hit, judged.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(numbers: &[u64]) -> Vec<Duration> {
        numbers.iter().map(|n| Duration::from_secs(*n)).collect()
    }

    fn event(start: u64, end: u64) -> Event {
        let seconds = Duration::from_secs;
        Event { label: "fault", start: seconds(start), end: seconds(end) }
    }

    #[test]
    fn a_miss_and_a_false_alarm_both_show() {
        let events = [event(10, 20), event(30, 40)];
        let verdict = judge(&events, &seconds(&[12, 21, 25]), Duration::from_mins(1));
        assert_eq!(verdict.events, 2);
        assert_eq!(verdict.recall, Some(0.5));
        assert_eq!(verdict.precision, Some(2.0 / 3.0));
    }

    #[test]
    fn an_event_that_was_cut_short_is_not_held_against_anyone() {
        let events = [event(10, 20), event(30, 40)];
        let verdict = judge(&events, &seconds(&[12]), Duration::from_secs(35));
        assert_eq!((verdict.events, verdict.recall), (1, Some(1.0)));
        assert_eq!(judge(&events, &[], Duration::ZERO).recall, None);
        assert_eq!(judge(&events, &seconds(&[9]), Duration::ZERO).precision, Some(0.0));
    }
}
