//! Any text as a rule: it compiles or is refused with a reason, and evaluating it does not panic.

use std::time::Instant;

use eir::event::{Detection, Device, Name, Prediction, StreamKey, Topic};
use eir::package::Task;
use eir::pipeline::rules::{Condition, Facts, RuleSet, StreamRules};

/// One input. The first half is `when`, the second `until`.
pub fn rules(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (when, until) = text.split_once('\0').map_or((&*text, None), |(a, b)| (a, Some(b)));
    let mut condition = Condition::new(when);
    condition.until = until.map(str::to_owned);
    let name: Name = "fuzz".parse().expect("a name");
    let rule = [(name.clone(), condition)];
    let device = Device { id: name.clone(), labels: [("a".to_owned(), "b".to_owned())].into() };
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    let now = Instant::now();
    for (task, prediction) in predictions() {
        let Ok(rules) = RuleSet::compile(&rule, task, &["a".into()]) else { continue };
        let facts = Facts {
            prediction: &prediction,
            stream: &StreamKey::new("a"),
            topic: &Topic::new("a/b"),
            device: &device,
            now: jiff::Timestamp::UNIX_EPOCH,
            model: &name,
            version: 1,
        };
        let mut states = StreamRules::default();
        for _ in 0..2 {
            rules.evaluate(&facts, &mut states, now);
        }
    }
}

fn predictions() -> [(Task, Prediction); 3] {
    let label = "a".into();
    let scores = vec![("a".into(), 0.5)];
    let found = Detection { label: "a".into(), score: 0.5, x: 1.0, y: f32::NAN, w: 3.0, h: 4.0 };
    [
        (Task::Classification, Prediction::Classification { label, score: 0.5, scores }),
        (Task::Detection, Prediction::Detection { detections: vec![found] }),
        (Task::Regression, Prediction::Regression { values: vec![1.0, f32::INFINITY] }),
    ]
}
