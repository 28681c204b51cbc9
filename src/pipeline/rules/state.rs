//! What a rule remembers of one stream: a table of phase × event.
//!
//! | phase | not met | met, hold running | held, cooling down | held and cool |
//! |---|---|---|---|---|
//! | idle, holding | idle | holding | cooling (counted as suppressed) | active, **fires** |
//! | cooling | cooling | cooling | cooling | active, **fires** |
//! | active | active | active | active | active |
//!
//! A release takes cooling and active back to idle; idle and holding do not ask for it. Without `until`
//! it comes when the condition is not met. With `until` it comes before the condition is looked at, and
//! hits from before do not count any more, so that `until = "true"` lets every evaluation decide for
//! itself. A rule fires once and then not before it was released and met again, and never twice within
//! the cooldown; a firing that the cooldown held back is made up for at the first evaluation after it,
//! unless it was released in between.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::condition::{Condition, Hits};

/// What a rule remembers of one stream: a few dozen bytes, whatever the traffic.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleState {
    window: Window,
    phase: Phase,
    met_since: Option<Instant>,
    fired_at: Option<Instant>,
}

/// What a rule remembers, as it is kept over a restart: moments are milliseconds ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptState {
    hits: u64,
    phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fired: Option<u64>,
}

/// Where a rule stands in one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    /// Nothing to see.
    #[default]
    Idle,
    /// Met, but not yet for as long as `hold` asks.
    Holding,
    /// Met for long enough; the firing waits for the cooldown.
    Cooling,
    /// Fired, not yet released.
    Active,
}

/// What one evaluation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Unmet,
    /// Met; `hold` is still running.
    Met,
    /// Met for as long as `hold` asks; the cooldown is still running.
    Held,
    /// Met for as long as `hold` asks, and the cooldown is over.
    Ready,
}

/// What an evaluation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// The rule fires.
    Fire,
    /// It would have, but for the cooldown.
    Suppress,
}

/// The whole behaviour.
#[expect(clippy::match_same_arms, reason = "a table has a row for each case")]
const fn step(phase: Phase, event: Event, released: bool) -> (Phase, Verdict) {
    match (phase, event, released) {
        (Phase::Cooling | Phase::Active, _, true) => (Phase::Idle, Verdict::Nothing),
        (Phase::Active, _, false) => (Phase::Active, Verdict::Nothing),
        (Phase::Cooling, Event::Ready, false) => (Phase::Active, Verdict::Fire),
        (Phase::Cooling, _, false) => (Phase::Cooling, Verdict::Nothing),
        (Phase::Idle | Phase::Holding, Event::Unmet, _) => (Phase::Idle, Verdict::Nothing),
        (Phase::Idle | Phase::Holding, Event::Met, _) => (Phase::Holding, Verdict::Nothing),
        (Phase::Idle | Phase::Holding, Event::Held, _) => (Phase::Cooling, Verdict::Suppress),
        (Phase::Idle | Phase::Holding, Event::Ready, _) => (Phase::Active, Verdict::Fire),
    }
}

impl RuleState {
    /// What is to be kept; `None`: nothing happened.
    pub(super) fn keep(&self, now: Instant) -> Option<KeptState> {
        let Self { window, phase, met_since, fired_at } = self;
        let ago = |at: &Instant| {
            u64::try_from(now.saturating_duration_since(*at).as_millis()).unwrap_or(u64::MAX)
        };
        let (met, fired) = (met_since.as_ref().map(ago), fired_at.as_ref().map(ago));
        let is_new = window.0 == 0 && *phase == Phase::Idle && fired.is_none();
        (!is_new).then_some(KeptState { hits: window.0, phase: *phase, met, fired })
    }

    /// What was kept, `away` later. A cooldown went on meanwhile; a hold did not: nobody looked.
    pub(super) fn resume(kept: &KeptState, away: Duration, now: Instant) -> Self {
        let before = |ago: Duration| now.checked_sub(ago).unwrap_or(now);
        Self {
            window: Window(kept.hits),
            phase: kept.phase,
            met_since: kept.met.map(|ago| before(Duration::from_millis(ago))),
            fired_at: kept.fired.map(|ago| before(Duration::from_millis(ago).saturating_add(away))),
        }
    }

    /// Whether `until` has a say in this phase; it need not be evaluated otherwise.
    pub(super) const fn asks_for_release(&self) -> bool {
        matches!(self.phase, Phase::Cooling | Phase::Active)
    }

    /// One evaluation: `when` and, where the rule has one, `until`.
    pub(super) fn evaluate(
        &mut self,
        rule: &Condition,
        when: bool,
        until: Option<bool>,
        now: Instant,
    ) -> Verdict {
        if until == Some(true) && self.asks_for_release() {
            *self = Self { fired_at: self.fired_at, ..Self::default() };
        }
        let met = self.window.push(when, rule.hits);
        let released = until.is_none() && !met;
        let event = if met { self.met(rule, now) } else { Event::Unmet };
        let (phase, verdict) = step(self.phase, event, released);
        if phase == Phase::Idle {
            self.met_since = None;
        }
        if verdict == Verdict::Fire {
            self.fired_at = Some(now);
        }
        self.phase = phase;
        verdict
    }

    /// An evaluation of before that was wrong: the condition was met. True: the rule fires by that alone. It is on
    /// then, unless it was `passed` by a later evaluation that has released it.
    pub(super) fn fire_late(&mut self, rule: &Condition, passed: bool, now: Instant) -> bool {
        let one_is_enough = rule.hits.count() == 1 && rule.hold.0.is_zero();
        if !one_is_enough || !self.is_cool(rule, now) {
            return false;
        }
        let (phase, verdict) = step(self.phase, Event::Ready, false);
        let fires = verdict == Verdict::Fire;
        // Had the last one been met, it would be on or cooling down.
        let released = passed && rule.until.is_none() && self.phase == Phase::Idle;
        if fires {
            self.fired_at = Some(now);
        }
        if fires && !released {
            self.phase = phase;
            self.met_since = Some(now);
        }
        fires
    }

    fn is_cool(&self, rule: &Condition, now: Instant) -> bool {
        self.fired_at.is_none_or(|at| passed(at, rule.cooldown.0, now))
    }

    fn met(&mut self, rule: &Condition, now: Instant) -> Event {
        let since = *self.met_since.get_or_insert(now);
        let held = self.phase == Phase::Cooling || passed(since, rule.hold.0, now);
        match (held, self.is_cool(rule, now)) {
            (false, _) => Event::Met,
            (true, false) => Event::Held,
            (true, true) => Event::Ready,
        }
    }
}

fn passed(since: Instant, at_least: Duration, now: Instant) -> bool {
    now.saturating_duration_since(since) >= at_least
}

/// The outcome of the last evaluations, newest in the lowest bit.
#[derive(Debug, Clone, Copy, Default)]
struct Window(u64);

impl Window {
    fn push(&mut self, hit: bool, hits: Hits) -> bool {
        let mask = u64::MAX >> (64 - u32::from(hits.of()));
        self.0 = ((self.0 << 1) | u64::from(hit)) & mask;
        self.0.count_ones() >= u32::from(hits.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::HumanDuration;

    #[test]
    fn every_pair_of_phase_and_event() {
        use Event::{Held, Met, Ready, Unmet};
        use Phase::{Active, Cooling, Holding, Idle};
        use Verdict::{Fire, Nothing, Suppress};
        let table = [
            (Idle, Unmet, (Idle, Nothing), (Idle, Nothing)),
            (Idle, Met, (Holding, Nothing), (Holding, Nothing)),
            (Idle, Held, (Cooling, Suppress), (Cooling, Suppress)),
            (Idle, Ready, (Active, Fire), (Active, Fire)),
            (Holding, Unmet, (Idle, Nothing), (Idle, Nothing)),
            (Holding, Met, (Holding, Nothing), (Holding, Nothing)),
            (Holding, Held, (Cooling, Suppress), (Cooling, Suppress)),
            (Holding, Ready, (Active, Fire), (Active, Fire)),
            (Cooling, Unmet, (Cooling, Nothing), (Idle, Nothing)),
            (Cooling, Met, (Cooling, Nothing), (Idle, Nothing)),
            (Cooling, Held, (Cooling, Nothing), (Idle, Nothing)),
            (Cooling, Ready, (Active, Fire), (Idle, Nothing)),
            (Active, Unmet, (Active, Nothing), (Idle, Nothing)),
            (Active, Met, (Active, Nothing), (Idle, Nothing)),
            (Active, Held, (Active, Nothing), (Idle, Nothing)),
            (Active, Ready, (Active, Nothing), (Idle, Nothing)),
        ];
        for (phase, event, kept, released) in table {
            assert_eq!(step(phase, event, false), kept, "{phase:?} × {event:?}");
            assert_eq!(step(phase, event, true), released, "{phase:?} × {event:?}, released");
        }
        let mut pairs: Vec<_> = table.iter().map(|row| format!("{:?}{:?}", row.0, row.1)).collect();
        pairs.sort();
        pairs.dedup();
        assert_eq!(pairs.len(), 16, "the table walks every pair");
    }

    /// Runs evaluations at one a second and tells at which ones the rule fired and was suppressed.
    fn run(rule: &Condition, when: &str, until: Option<&str>) -> String {
        let straight = evaluate(rule, when, until, false);
        assert_eq!(straight, evaluate(rule, when, until, true), "restarts make no difference");
        straight
    }

    /// With a restart after each evaluation, or without.
    fn evaluate(rule: &Condition, when: &str, until: Option<&str>, restarts: bool) -> String {
        #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
        let start = Instant::now();
        let mut state = RuleState::default();
        let until: Vec<_> = until.map_or(vec![], |text| text.chars().collect());
        (0_u64..)
            .zip(when.chars())
            .map(|(second, when)| {
                let release = usize::try_from(second).ok().and_then(|n| until.get(n));
                let now = start + Duration::from_secs(second);
                if restarts && let Some(kept) = state.keep(now) {
                    state = RuleState::resume(&kept, Duration::ZERO, now);
                }
                match state.evaluate(rule, when == 'x', release.map(|c| *c == 'x'), now) {
                    Verdict::Nothing => '.',
                    Verdict::Fire => 'F',
                    Verdict::Suppress => 's',
                }
            })
            .collect()
    }

    #[test]
    fn a_rule_fires_late_where_one_evaluation_is_enough_and_then_not_again() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let rule = Condition { cooldown: HumanDuration::from_secs(10), ..Condition::new("") };
        let mut state = RuleState::default();
        assert_eq!(state.evaluate(&rule, false, None, at(0)), Verdict::Nothing);
        assert!(state.fire_late(&rule, false, at(1)));
        assert!(!state.fire_late(&rule, false, at(2)), "it is on");
        assert_eq!(state.evaluate(&rule, true, None, at(3)), Verdict::Nothing, "it is on");
        assert_eq!(state.evaluate(&rule, false, None, at(4)), Verdict::Nothing, "released");
        assert!(!state.fire_late(&rule, false, at(5)), "it cools down");
        assert_eq!(state.evaluate(&rule, true, None, at(6)), Verdict::Suppress);
        assert!(state.fire_late(&rule, true, at(11)), "made up for");
        assert_eq!(state.evaluate(&rule, true, None, at(22)), Verdict::Nothing, "it is on");
        assert_eq!(state.evaluate(&rule, false, None, at(23)), Verdict::Nothing, "released");
        assert!(state.fire_late(&rule, true, at(24)));
        assert_eq!(state.evaluate(&rule, true, None, at(34)), Verdict::Fire, "it was released");
        for needs_more in [
            Condition { hits: Hits::new(2, 3).expect("hits"), ..Condition::new("") },
            Condition { hold: HumanDuration::from_secs(1), ..Condition::new("") },
        ] {
            assert!(!RuleState::default().fire_late(&needs_more, false, at(0)));
        }
    }

    #[test]
    fn a_rule_fires_once_until_it_is_released() {
        let rule = Condition::new("");
        assert_eq!(run(&rule, "..xxx.xx.", None), "..F...F..");
        assert_eq!(run(&rule, "x.x.xx", Some("...x..")), "F...F.");
    }

    #[test]
    fn a_cooldown_goes_on_while_eir_is_away_and_a_hold_does_not() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
        let now = Instant::now();
        let mut rule = Condition::new("");
        rule.hold = HumanDuration::from_secs(10);
        let mut state = RuleState::default();
        assert_eq!(state.evaluate(&rule, true, None, now), Verdict::Nothing);
        let kept = state.keep(now + Duration::from_secs(4)).expect("it was met");
        let away = Duration::from_mins(1);
        let mut state = RuleState::resume(&kept, away, now);
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(state.evaluate(&rule, true, None, at(5)), Verdict::Nothing);
        assert_eq!(state.evaluate(&rule, true, None, at(6)), Verdict::Fire);
        let mut rule = Condition::new("");
        rule.cooldown = HumanDuration::from_secs(50);
        let kept = state.keep(at(6)).expect("it fired");
        let mut state = RuleState::resume(&kept, Duration::from_secs(20), now);
        assert_eq!(state.evaluate(&rule, false, None, at(1)), Verdict::Nothing);
        assert_eq!(state.evaluate(&rule, true, None, at(29)), Verdict::Suppress);
        assert_eq!(state.evaluate(&rule, true, None, at(30)), Verdict::Fire);
    }

    #[test]
    fn a_rule_that_is_always_released_decides_every_time() {
        assert_eq!(run(&Condition::new(""), "xx.xx", Some("xxxxx")), "FF.FF");
    }

    #[test]
    fn hits_count_within_their_window() {
        let mut rule = Condition::new("");
        rule.hits = Hits::new(3, 5).expect("hits");
        assert_eq!(run(&rule, "x.x..x.x.x", None), ".........F");
        assert_eq!(run(&rule, "xxx.......xxx", None), "..F.........F");
        // A release by `until` forgets the hits from before.
        assert_eq!(run(&rule, "xxxxxxx", Some("....x..")), "..F...F");
    }

    #[test]
    fn a_hold_must_be_unbroken() {
        let mut rule = Condition::new("");
        rule.hold = HumanDuration::from_secs(2);
        assert_eq!(run(&rule, "xx.xxxx", None), ".....F.");
    }

    #[test]
    fn a_firing_within_the_cooldown_waits_for_its_end_or_is_released() {
        let mut rule = Condition::new("");
        rule.cooldown = HumanDuration::from_secs(5);
        assert_eq!(run(&rule, "x.xxxxxxx", None), "F.s..F...");
        assert_eq!(run(&rule, "x.x.x.x.x", None), "F.s.s.F.s");
    }
}
