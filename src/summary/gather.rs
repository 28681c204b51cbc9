//! What one pipeline has done since its window began.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use sketches_ddsketch::{Config, DDSketch};

use super::drift::{Baseline, Drift, Found};
use super::sketch::Spread;
use crate::event::{Input, Name, Prediction, StreamKey};

/// Groups that have a part of their own; what belongs to another is in the whole alone.
const MOST_GROUPS: usize = 64;

/// Classes that are counted each by itself. A labels file has fewer; the rest are counted as one.
const MOST_CLASSES: usize = 1000;

/// The class of those that have none of their own.
const OTHERS: &str = "(others)";

/// What one pipeline does, counted by its thread and taken at the end of each window.
#[derive(Default)]
pub struct Gatherer(Mutex<State>);

#[derive(Default)]
struct State {
    whole: Tally,
    groups: BTreeMap<StreamKey, Tally>,
    baseline: Option<Arc<Baseline>>,
}

/// One model input and what came of it.
#[derive(Debug)]
pub struct Seen<'a> {
    /// What the model was given.
    pub input: &'a Input,
    /// What it said.
    pub prediction: &'a Prediction,
    /// From the arrival of the message.
    pub latency: Duration,
    /// The rules that fired.
    pub fired: &'a [Name],
}

struct Tally {
    inferences: u64,
    decisions: BTreeMap<Name, u64>,
    classes: BTreeMap<Arc<str>, u64>,
    score: DDSketch,
    latency: DDSketch,
    found: Option<Found>,
}

/// What a window held.
#[derive(Debug, Serialize)]
pub struct Contents {
    /// Everything.
    #[serde(flatten)]
    pub whole: Part,
    /// The same by group of streams, where the configuration asks for that.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<StreamKey, Part>,
}

/// What a window held, or the part of it that one group of streams had.
#[derive(Debug, Serialize)]
pub struct Part {
    /// Model inputs that were run.
    pub inferences: u64,
    /// How often each rule fired.
    pub decisions: BTreeMap<Name, u64>,
    /// How often the model said each class; for detections, how often it found one.
    pub classes: BTreeMap<Arc<str>, u64>,
    /// Scores: of the best class, of each detection, or of the anomaly.
    pub score: Option<Spread>,
    /// Seconds from the arrival of a message to its decision.
    pub latency: Option<Spread>,
    /// How far this is from the package's `reference.json`, where it has one.
    pub drift: Option<Drift>,
}

impl fmt::Debug for Gatherer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gatherer").finish_non_exhaustive()
    }
}

impl Gatherer {
    /// Counts what came of one model input. `baseline` belongs to the model.
    pub fn add(
        &self,
        group: Option<&StreamKey>,
        baseline: Option<&Arc<Baseline>>,
        seen: &Seen<'_>,
    ) {
        let mut state = self.lock();
        let state = &mut *state;
        if state.baseline.is_none() {
            state.baseline = baseline.cloned();
        }
        let baseline = state.baseline.as_deref();
        state.whole.add(baseline, seen);
        if let Some(tally) = group.and_then(|group| tally_of(group, &mut state.groups)) {
            tally.add(baseline, seen);
        }
    }

    /// Counts a rule that fired on what was counted before: a second opinion.
    pub fn fired_late(&self, group: Option<&StreamKey>, rule: &Name) {
        let mut state = self.lock();
        let state = &mut *state;
        let of_group = group.and_then(|group| tally_of(group, &mut state.groups));
        for tally in std::iter::once(&mut state.whole).chain(of_group) {
            *tally.decisions.entry(rule.clone()).or_default() += 1;
        }
    }

    /// What was counted so far; counting begins anew.
    pub fn take(&self) -> Contents {
        let State { whole, groups, baseline } = std::mem::take(&mut *self.lock());
        let part = |tally: Tally| tally.part(baseline.as_deref());
        Contents {
            whole: part(whole),
            groups: groups.into_iter().map(|(group, tally)| (group, part(tally))).collect(),
        }
    }

    // No code that can panic runs under this lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That of a group, if there is room for it.
fn tally_of<'a>(
    group: &StreamKey,
    groups: &'a mut BTreeMap<StreamKey, Tally>,
) -> Option<&'a mut Tally> {
    if groups.len() < MOST_GROUPS && !groups.contains_key(group) {
        groups.insert(group.clone(), Tally::default());
    }
    groups.get_mut(group)
}

impl Default for Tally {
    fn default() -> Self {
        let sketch = || DDSketch::new(Config::defaults());
        Self {
            inferences: 0,
            decisions: BTreeMap::new(),
            classes: BTreeMap::new(),
            score: sketch(),
            latency: sketch(),
            found: None,
        }
    }
}

impl Tally {
    fn add(&mut self, baseline: Option<&Baseline>, seen: &Seen<'_>) {
        self.inferences += 1;
        self.latency.add(seen.latency.as_secs_f64());
        for rule in seen.fired {
            *self.decisions.entry(rule.clone()).or_default() += 1;
        }
        match seen.prediction {
            Prediction::Classification { label, .. } => self.class(label),
            Prediction::Detection { detections } => {
                for detection in detections {
                    self.class(&detection.label);
                }
            }
            _ => {}
        }
        for score in seen.prediction.scores() {
            self.score.add(f64::from(score));
        }
        if let Some(baseline) = baseline {
            let found = self.found.get_or_insert_with(|| baseline.nothing_found());
            seen.prediction.scores().for_each(|score| baseline.add_score(found, score));
            baseline.add_input(found, seen.input);
        }
    }

    fn class(&mut self, label: &Arc<str>) {
        if let Some(count) = self.classes.get_mut(label) {
            *count += 1;
        } else {
            let label =
                if self.classes.len() < MOST_CLASSES { label.clone() } else { OTHERS.into() };
            *self.classes.entry(label).or_default() += 1;
        }
    }

    fn part(self, baseline: Option<&Baseline>) -> Part {
        let found = baseline.zip(self.found.as_ref());
        Part {
            inferences: self.inferences,
            decisions: self.decisions,
            classes: self.classes,
            score: Spread::of(&self.score),
            latency: Spread::of(&self.latency),
            drift: found.map(|(baseline, found)| baseline.drift(found)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Order, Samples};
    use crate::package::{Quantile, Reference};

    fn classified(label: &str, score: f32) -> Prediction {
        Prediction::Classification { label: label.into(), score, scores: vec![] }
    }

    fn add(gatherer: &Gatherer, group: Option<&str>, prediction: &Prediction, fired: &[Name]) {
        let values = vec![0.5; 8];
        let input = Input::Samples(Samples { channels: 1, order: Order::Planar, values });
        let latency = Duration::from_millis(2);
        let quantiles = vec![Quantile { part: 0.5, value: 0.5 }];
        let reference = Reference { scores: quantiles, input: vec![] };
        let baseline = Arc::new(Baseline::new(&reference));
        let group = group.map(StreamKey::new);
        let seen = Seen { input: &input, prediction, latency, fired };
        gatherer.add(group.as_ref(), Some(&baseline), &seen);
    }

    #[test]
    fn a_window_tells_of_all_and_of_each_group() {
        let gatherer = Gatherer::default();
        let fault: Name = "fault".parse().expect("name");
        for n in 0..100 {
            let (group, label) = if n % 4 == 0 { ("b", "inner") } else { ("a", "healthy") };
            let fired = if n % 20 == 0 { std::slice::from_ref(&fault) } else { &[] };
            add(&gatherer, Some(group), &classified(label, 0.9), fired);
        }
        let json = serde_json::to_value(gatherer.take()).expect("json");
        assert_eq!(json["inferences"], 100);
        assert_eq!(json["decisions"], serde_json::json!({ "fault": 5 }));
        assert_eq!(json["classes"], serde_json::json!({ "healthy": 75, "inner": 25 }));
        assert_eq!(json["groups"]["b"]["inferences"], 25);
        assert_eq!(json["groups"]["a"]["classes"], serde_json::json!({ "healthy": 75 }));
        assert_eq!(json["drift"]["score"]["reading"], "large");
        assert_eq!(json["groups"]["b"]["drift"]["score"], serde_json::Value::Null);
        assert_eq!(json["score"]["count"], 100);
        let median = json["latency"]["p50"].as_f64().expect("a number");
        assert!((median / 0.002 - 1.0).abs() < 0.011, "{median}");

        let nothing = serde_json::to_value(gatherer.take()).expect("json");
        assert_eq!(
            (&nothing["inferences"], &nothing["score"]),
            (&0.into(), &serde_json::Value::Null)
        );
        assert!(nothing.get("groups").is_none());
    }

    /// The answer to the last message of a window comes in the next, before anything else of its group does.
    #[test]
    fn a_late_decision_counts_in_its_group_although_a_window_was_cut_meanwhile() {
        let gatherer = Gatherer::default();
        let fault: Name = "fault".parse().expect("name");
        add(&gatherer, Some("a"), &classified("healthy", 0.5), &[]);
        gatherer.take();
        gatherer.fired_late(Some(&StreamKey::new("a")), &fault);
        let json = serde_json::to_value(gatherer.take()).expect("json");
        let once = serde_json::json!({ "fault": 1 });
        assert_eq!((&json["decisions"], &json["groups"]["a"]["decisions"]), (&once, &once));
    }

    #[test]
    fn groups_and_classes_are_bounded_and_the_whole_counts_on() {
        let gatherer = Gatherer::default();
        for n in 0..2000 {
            add(&gatherer, Some(&n.to_string()), &classified(&n.to_string(), 0.5), &[]);
        }
        let contents = gatherer.take();
        assert_eq!(contents.groups.len(), MOST_GROUPS);
        assert_eq!((contents.whole.inferences, contents.whole.classes.len()), (2000, 1001));
        assert_eq!(contents.whole.classes[OTHERS], 1000);
    }

    #[test]
    fn every_detection_counts_and_a_number_has_no_score() {
        let gatherer = Gatherer::default();
        let detection = |label: &str, score| crate::event::Detection {
            label: label.into(),
            score,
            x: 0.0,
            y: 0.0,
            w: 1.0,
            h: 1.0,
        };
        let detections =
            vec![detection("dent", 0.9), detection("dent", 0.5), detection("hole", 0.4)];
        add(&gatherer, None, &Prediction::Detection { detections }, &[]);
        add(&gatherer, None, &Prediction::Regression { values: vec![1.0] }, &[]);
        let whole = gatherer.take().whole;
        assert_eq!(whole.inferences, 2);
        assert_eq!(whole.classes.values().copied().collect::<Vec<_>>(), [2, 1]);
        assert_eq!(whole.score.expect("scores").count, 3);
    }
}
