//! A model that is tried beside the one that serves, and the judgement on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::understudy::{Part, Seen, Stage, Tally, Understudy};
use crate::model::Model;
use crate::update::release::Judge;

/// While too few messages come, it goes on so many times as long.
const PATIENCE: u32 = 10;

/// A model on the stage.
#[derive(Debug)]
pub(super) struct Trial {
    pub model: Arc<Model>,
    stage: Stage,
    on: Option<(Arc<Understudy>, Instant)>,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// It is too early to say.
    Open(String),
    /// It has proved itself.
    Passed,
    /// It has not.
    Failed(String),
}

impl Trial {
    pub(super) const fn new(model: Arc<Model>, stage: Stage) -> Self {
        Self { model, stage, on: None }
    }

    /// Goes on the stage in a part, if it is not in it already.
    pub(super) fn play(&mut self, part: Part, share: f64, now: Instant) {
        if self.on.as_ref().is_some_and(|(on, _)| on.part == part) {
            return;
        }
        let (model, tally) = (Arc::clone(&self.model), Tally::default());
        let understudy = Arc::new(Understudy { model, part, share, tally });
        self.stage.store(Some(Arc::clone(&understudy)));
        self.on = Some((understudy, now));
    }

    /// What was seen of it.
    pub(super) fn seen(&self) -> Option<Seen> {
        self.on.as_ref().map(|(on, _)| on.tally.seen())
    }

    /// How it stands, after so long at least and with so many inputs.
    pub(super) fn verdict(
        &self,
        judge: &Judge,
        (length, least): (Duration, u64),
        now: Instant,
    ) -> Verdict {
        let Some((on, since)) = &self.on else { return Verdict::Open(String::new()) };
        let (seen, gone) = (on.tally.seen(), now.saturating_duration_since(*since));
        let detail = || format!("{seen} in {}", humantime::format_duration(whole(gone)));
        if gone < length || (seen.asked < least && gone < length.saturating_mul(PATIENCE)) {
            return Verdict::Open(detail());
        }
        match faults(&seen, judge) {
            Some(fault) => Verdict::Failed(format!("{fault} ({})", detail())),
            None => Verdict::Passed,
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.stage.store(None);
    }
}

/// What is wrong with a model, by the thresholds of its release. Without a message nothing is.
fn faults(seen: &Seen, judge: &Judge) -> Option<String> {
    let share = |count: u64| count as f64 / seen.asked.max(1) as f64;
    let (failed, agreed) = (share(seen.failed), share(seen.agreed));
    if failed > judge.max_error_rate.0 {
        let most = judge.max_error_rate.0 * 100.0;
        return Some(format!(
            "it fails on {:.1} % of what it is asked, {most} % may",
            failed * 100.0
        ));
    }
    if seen.asked > 0 && agreed < judge.min_agreement.0 {
        let least = judge.min_agreement.0 * 100.0;
        return Some(format!("it agrees on {:.1} %, {least} % are asked for", agreed * 100.0));
    }
    let ratio = seen.latency_ratio.filter(|ratio| *ratio > judge.max_latency_ratio.0)?;
    let most = judge.max_latency_ratio.0;
    Some(format!("it takes {ratio:.2} times as long, {most} may"))
}

fn whole(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_judged_by_what_its_release_asks_for() {
        let judge = Judge::default();
        let good = Seen { asked: 100, agreed: 95, failed: 1, latency_ratio: Some(1.4) };
        assert_eq!(faults(&good, &judge), None);
        assert_eq!(faults(&Seen::default(), &judge), None, "nobody asked");
        for (seen, told) in [
            (Seen { failed: 2, ..good }, "fails on 2.0 % of what it is asked, 1 % may"),
            (Seen { agreed: 89, ..good }, "agrees on 89.0 %, 90 % are asked for"),
            (Seen { latency_ratio: Some(1.6), ..good }, "takes 1.60 times as long, 1.5 may"),
        ] {
            let found = faults(&seen, &judge).expect(told);
            assert!(found.contains(told), "{found}");
        }
    }
}
