//! What a rule made of a prediction.

use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use super::{Name, Prediction, StreamKey};

/// A rule fired: the JSON that is published, sent and printed.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// Names this decision (UUID v7).
    pub id: Uuid,
    /// Names the cause: the publisher's id with pipeline and rule; null where the publisher gave none.
    pub origin: Option<String>,
    /// The pipeline.
    pub pipeline: Name,
    /// The rule that fired.
    pub rule: Name,
    /// The stream within the pipeline.
    pub stream: StreamKey,
    /// When, RFC 3339 in UTC.
    pub at: jiff::Timestamp,
    /// What the model said.
    pub prediction: Arc<Prediction>,
    /// The model.
    pub model: Name,
    /// Its version in the repository; 0: a remote that does not tell.
    pub version: u64,
    /// The engine that ran it: `ort` or `tract`, or `remote` for a second opinion.
    pub engine: &'static str,
    /// From the arrival of the message to this decision, in microseconds.
    pub latency_us: u64,
    /// The broker may have delivered the message before, and its publisher gave it no id.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub redelivered: bool,
    /// What a second opinion makes of an earlier decision; nothing in the JSON of any other.
    #[serde(flatten)]
    pub amendment: Option<Amendment>,
}

/// What a second opinion makes of an earlier decision of the same rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Amendment {
    /// The `id` of the decision that it amends.
    pub amends: Uuid,
    /// The rule's condition is met by the second opinion too; false withdraws the decision.
    pub stands: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amendment_shows_beside_the_rest_and_nothing_of_it_otherwise() {
        let mut decision = Decision {
            id: Uuid::nil(),
            origin: None,
            pipeline: Name::near("p"),
            rule: Name::near("r"),
            stream: StreamKey::new("7"),
            at: jiff::Timestamp::UNIX_EPOCH,
            prediction: Arc::new(Prediction::Anomaly { score: 0.5 }),
            model: Name::near("m"),
            version: 3,
            engine: "ort",
            latency_us: 12,
            redelivered: false,
            amendment: None,
        };
        let json = |decision: &Decision| serde_json::to_string(decision).expect("json");
        let plain = "{\"id\":\"00000000-0000-0000-0000-000000000000\",\"origin\":null,\
                     \"pipeline\":\"p\",\"rule\":\"r\",\"stream\":\"7\",\
                     \"at\":\"1970-01-01T00:00:00Z\",\
                     \"prediction\":{\"task\":\"anomaly\",\"score\":0.5},\"model\":\"m\",\
                     \"version\":3,\"engine\":\"ort\",\"latency_us\":12}";
        assert_eq!(json(&decision), plain);
        decision.amendment = Some(Amendment { amends: Uuid::nil(), stands: false });
        let more = ",\"amends\":\"00000000-0000-0000-0000-000000000000\",\"stands\":false}";
        assert_eq!(json(&decision), format!("{}{more}", plain.trim_end_matches('}')));
    }
}
