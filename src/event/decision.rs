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
    /// Its version in the repository.
    pub version: u64,
    /// The engine that ran it: `ort` or `tract`.
    pub engine: &'static str,
    /// From the arrival of the message to this decision, in microseconds.
    pub latency_us: u64,
    /// The broker may have delivered the message before, and its publisher gave it no id.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub redelivered: bool,
}
