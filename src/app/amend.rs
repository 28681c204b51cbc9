//! What a second opinion changes, on the pipeline's own thread.
//!
//! Only `when` of each rule is asked, of the remote's prediction in the place of the local one: what came after
//! that message was judged already, so that hits, hold and release of the stream stay as they are. A rule that had
//! fired gets an amendment, which says whether its decision stands. One that had not fires late, if that single
//! prediction would have been enough for it.

use std::sync::Arc;
use std::time::Instant;

use super::decide::Voice;
use super::escalation::{Escalation, Occasion, Opinion};
use super::flow::{Flow, StreamState};
use super::rules::{Rules, by};
use crate::action::escalate::{Answer, Tally, Verdict};
use crate::event::{Amendment, Decision, Prediction};
use crate::pipeline::rules::{EvaluationError, Facts};

/// Says that it runs elsewhere.
const ENGINE: &str = "remote";

/// Stands behind the origin of an amendment, which is another than that of its decision.
const AMENDED: &str = "amended";

impl Flow {
    /// Judges the second opinions that have come.
    pub(super) fn amend(&mut self) {
        while let Some(opinion) = self.escalation.as_mut().and_then(Escalation::next) {
            self.take_in(opinion);
        }
    }

    fn take_in(&mut self, opinion: Opinion) {
        let now = self.clock.now();
        let Some(tally) = self.escalation.as_ref().map(|escalation| Arc::clone(&escalation.tally))
        else {
            return;
        };
        let Some((occasion, answer)) = opinion.in_time(now) else { return };
        let rules = self.rules.load_full();
        let before = self.hold(&rules, &occasion, &occasion.prediction);
        let after = self.hold(&rules, &occasion, &answer.prediction);
        for (index, (before, after)) in before.into_iter().zip(after).enumerate() {
            // A rule that a reload has changed since did not judge the message.
            let mark = rules.set.mark(index).filter(|mark| occasion.rules.has(*mark));
            let Some(mark) = mark else { continue };
            let holds = match after {
                Ok(holds) => holds,
                Err(error) => {
                    self.counters.error("rule", &error, now);
                    continue;
                }
            };
            let fired = occasion.fired.iter().find(|(fired, _)| *fired == mark);
            if let Some((_, amends)) = fired {
                let amendment = Amendment { amends: *amends, stands: holds };
                self.tell(&rules, index, (&occasion, &answer), Some(amendment), now);
                tally.verdict(if holds { Verdict::Confirmed } else { Verdict::Withdrawn });
            } else if holds && before == Ok(false) {
                self.fire_late(&rules, index, (&occasion, &answer), now, &tally);
            }
        }
    }

    /// Whether `when` of each rule holds on a prediction; everything else is as it was.
    fn hold(
        &self,
        rules: &Rules,
        occasion: &Occasion,
        prediction: &Prediction,
    ) -> Vec<Result<bool, EvaluationError>> {
        let package = self.caller.model().package();
        rules.set.hold(&Facts {
            prediction,
            stream: &occasion.stream,
            topic: &occasion.trace.topic,
            device: &self.device,
            now: occasion.at,
            model: &package.name,
            version: package.version,
        })
    }

    fn fire_late(
        &mut self,
        rules: &Rules,
        index: usize,
        said: (&Occasion, &Answer),
        now: Instant,
        tally: &Tally,
    ) {
        let (window, stream) = (&self.window, &said.0.stream);
        let state =
            self.streams.get_or_insert_with(stream, now, || StreamState::new(window.as_ref()));
        if !rules.set.fire_late(index, &mut state.rules, said.0.judged, now) {
            return;
        }
        self.keeping.changed();
        self.counters.decision();
        tally.verdict(Verdict::Missed);
        if let (Some(gathering), Some(name)) = (&mut self.gathering, rules.set.name(index)) {
            gathering.fired_late(&said.0.trace.topic, &self.device, name);
        }
        self.tell(rules, index, said, None, now);
    }

    /// Hands on a decision on the remote's prediction: its rule's own, late, or an amendment of that.
    fn tell(
        &self,
        rules: &Rules,
        index: usize,
        (occasion, answer): (&Occasion, &Answer),
        amendment: Option<Amendment>,
        now: Instant,
    ) {
        let Some(name) = rules.set.name(index) else { return };
        let (model, version) = (&answer.model, answer.version);
        let voice = Voice { prediction: &answer.prediction, model, version, engine: ENGINE };
        let Occasion { trace, cause, stream, .. } = occasion;
        let when = (now, self.clock.wall());
        let decision = self.decision(name, stream, (trace, cause.as_ref()), voice, when);
        let origin = match (decision.origin, amendment) {
            (Some(origin), Some(_)) => Some(format!("{origin}:{AMENDED}")),
            (origin, _) => origin,
        };
        let decision = Arc::new(Decision { origin, amendment, ..decision });
        self.scene.decided(&decision);
        let dispatched = if amendment.is_some() {
            rules.dispatch_amendment(&decision, by(trace))
        } else {
            rules.dispatch(&decision, by(trace))
        };
        if let Err(error) = dispatched {
            self.counters.error("action", &error, now);
        }
        if let Err(error) = rules.record(&decision, trace) {
            self.counters.error("record", &error, now);
        }
    }
}
