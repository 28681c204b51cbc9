//! What serves a model at the moment, and why that.

use std::time::Duration;

use serde::Serialize;

use crate::engine::{EngineKind, Form};

/// What serves a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EngineStatus {
    /// The engine.
    pub kind: EngineKind,
    /// Whether the model runs as it is stored.
    pub form: Form,
    /// The stored model computes with 8-bit integers.
    pub quantized: bool,
    /// The engine's version.
    pub version: String,
    /// Threads that work on one operator.
    pub threads: usize,
    /// Why it is this engine, where that is not the obvious one.
    pub reason: Option<String>,
    /// Why no prediction comes, while it keeps failing and nothing else can serve.
    pub failing: Option<String>,
    /// What was found while loading: providers that are missing, answers that nothing vouches for.
    pub notes: Vec<String>,
    /// The fastest of a few runs at load, one item each, where it was timed.
    #[serde(skip)]
    pub least: Option<Duration>,
}

impl EngineStatus {
    /// `ort`, `tract (int8)`, `tract (float form)`.
    pub fn label(&self) -> String {
        label(self.kind, self.form, self.quantized)
    }
}

/// `ort`, `tract (int8)`, `tract (float form)`.
pub fn label(kind: EngineKind, form: Form, quantized: bool) -> String {
    match (kind, form, quantized) {
        (_, Form::Float, _) => format!("{kind} (float form)"),
        (EngineKind::Tract, Form::Stored, true) => format!("{kind} (int8)"),
        _ => kind.to_string(),
    }
}
