//! What became of the cases that were escalated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::task::BreakerState;

/// How one case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The remote answered in time.
    Answered,
    /// It was answered as the same content was before.
    Cached,
    /// Too many were on their way.
    Queue,
    /// The remote was asked as often as it may be.
    Rate,
    /// The remote is left alone.
    Breaker,
    /// No answer came in time.
    Late,
    /// The remote refused, or what it answered cannot be read.
    Failed,
    /// The pipeline ended first.
    Abandoned,
}

impl Fate {
    /// Every fate, in the order in which they are told.
    pub const ALL: [Self; 8] = [
        Self::Answered,
        Self::Cached,
        Self::Queue,
        Self::Rate,
        Self::Breaker,
        Self::Late,
        Self::Failed,
        Self::Abandoned,
    ];

    /// Its name in metrics and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Cached => "cached",
            Self::Queue => "dropped_queue",
            Self::Rate => "dropped_rate",
            Self::Breaker => "dropped_breaker",
            Self::Late => "dropped_late",
            Self::Failed => "dropped_failed",
            Self::Abandoned => "dropped_abandoned",
        }
    }
}

/// What an answer did to one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The decision stands.
    Confirmed,
    /// The decision does not.
    Withdrawn,
    /// One that was missed is made now.
    Missed,
}

impl Verdict {
    /// Every verdict, in the order in which they are told.
    pub const ALL: [Self; 3] = [Self::Confirmed, Self::Withdrawn, Self::Missed];

    /// Its name in metrics and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Withdrawn => "withdrawn",
            Self::Missed => "missed",
        }
    }
}

/// The counters of one pipeline's escalation.
#[derive(Debug, Default)]
pub struct Tally {
    escalated: AtomicU64,
    fates: [AtomicU64; Fate::ALL.len()],
    verdicts: [AtomicU64; Verdict::ALL.len()],
    breaker: Mutex<BreakerState>,
}

/// The counters of one pipeline's escalation at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EscalationStatus {
    /// Cases that were uncertain.
    pub escalated: u64,
    /// What became of them, by name; what is on its way is in none.
    pub fates: Vec<(&'static str, u64)>,
    /// What the answers did, by name.
    pub verdicts: Vec<(&'static str, u64)>,
    /// Where the breaker stands.
    pub breaker: BreakerState,
}

impl Tally {
    /// One more case. What becomes of it is counted once, whatever happens.
    pub fn case(self: &Arc<Self>) -> Case {
        self.escalated.fetch_add(1, Ordering::Relaxed);
        Case { tally: Arc::clone(self), fate: Fate::Abandoned }
    }

    /// An answer did this to a rule.
    pub fn verdict(&self, verdict: Verdict) {
        self.verdicts[verdict as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The breaker stands there now.
    pub fn set_breaker(&self, state: BreakerState) {
        *self.breaker.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// What was counted so far.
    pub fn status(&self) -> EscalationStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let fates = Fate::ALL.map(|fate| (fate.as_str(), read(&self.fates[fate as usize])));
        let verdicts =
            Verdict::ALL.map(|verdict| (verdict.as_str(), read(&self.verdicts[verdict as usize])));
        EscalationStatus {
            escalated: read(&self.escalated),
            fates: fates.to_vec(),
            verdicts: verdicts.to_vec(),
            breaker: *self.breaker.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl EscalationStatus {
    /// How often a case or a rule ended like that; 0 for a name that there is not.
    pub fn count(&self, name: &str) -> u64 {
        let all = self.fates.iter().chain(&self.verdicts);
        all.filter(|(known, _)| *known == name).map(|(_, count)| count).sum()
    }
}

/// A case on its way. Dropped without a word it was abandoned.
#[derive(Debug)]
pub struct Case {
    tally: Arc<Tally>,
    fate: Fate,
}

impl Case {
    /// This became of it.
    pub fn ends(mut self, fate: Fate) {
        self.fate = fate;
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        self.tally.fates[self.fate as usize].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_counted_once() {
        let tally = Arc::new(Tally::default());
        for fate in Fate::ALL {
            tally.case().ends(fate);
        }
        drop(tally.case());
        let on_its_way = tally.case();
        tally.verdict(Verdict::Missed);
        let status = tally.status();
        assert_eq!(status.escalated, 10);
        assert_eq!(status.fates.iter().map(|(_, count)| count).sum::<u64>(), 9);
        assert_eq!((status.count("dropped_abandoned"), status.count("dropped_late")), (2, 1));
        assert_eq!((status.count("missed"), status.count("confirmed")), (1, 0));
        drop(on_its_way);
    }
}
