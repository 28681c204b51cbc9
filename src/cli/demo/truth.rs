//! What a generator did to its world, kept beside the data it hands out.

use std::time::Duration;

/// What the world really was, against which decisions are judged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// The fault or defect, named as the model's label names it.
    pub label: &'static str,
    /// When it began to exist: since the start of the run.
    pub start: Duration,
    /// When it was gone: repaired, or out of the camera's view.
    pub end: Duration,
}
