//! Records to put into an outbox.

use std::sync::Arc;

use eir::event::{Decision, Name, Prediction, StreamKey};
use eir::outbox::Draft;

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A decision as the bearing's pipeline makes them.
pub(crate) fn draft(number: usize) -> Draft {
    let labels = ["healthy", "imbalance", "inner_race", "outer_race"];
    let part = (number % 997) as f32 / 1e4;
    let scores = labels.iter().map(|label| (Arc::from(*label), 0.01 + part)).collect();
    let decision = Decision {
        id: uuid::Uuid::now_v7(),
        origin: Some(format!("{number}:bearing:fault")),
        pipeline: name("bearing"),
        rule: name("fault"),
        stream: StreamKey::new("press-07"),
        at: jiff::Timestamp::now(),
        prediction: Arc::new(Prediction::Classification {
            label: "outer_race".into(),
            score: 0.9 + part,
            scores,
        }),
        model: name("bearing"),
        version: 1,
        engine: "ort",
        latency_us: 380 + number as u64 % 100,
        redelivered: false,
        amendment: None,
    };
    Draft::decision(&decision).expect("a record")
}
