//! What can go wrong between a package and its predictions.

use std::fmt::Write;
use std::sync::Arc;

use thiserror::Error;

use crate::engine::InferError;
use crate::event::ModelName;
use crate::package::{InvalidModelRef, PackageError};
use crate::pipeline::postprocess::InterpretError;
use crate::pipeline::preprocess::PrepareError;

/// A model that cannot serve.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The reference means nothing.
    #[error(transparent)]
    Reference(#[from] InvalidModelRef),
    /// The package has a mistake.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// What the package says about its input does not fit its ONNX file.
    #[error("model `{model}`: {mistake}")]
    Prepare {
        /// The model.
        model: ModelName,
        /// The mistake.
        mistake: PrepareError,
    },
    /// What the package says about its output does not fit its ONNX file.
    #[error("model `{model}`: {mistake}")]
    Interpret {
        /// The model.
        model: ModelName,
        /// The mistake.
        mistake: InterpretError,
    },
    /// A pipeline feeds one input.
    #[error("model `{model}` has {inputs} inputs; a pipeline and golden samples feed exactly one")]
    Inputs {
        /// The model.
        model: ModelName,
        /// How many it has.
        inputs: usize,
    },
    /// Every engine that may run it refused.
    #[error("model `{model}` cannot serve: {}", reasons(refusals))]
    Refused {
        /// The model.
        model: ModelName,
        /// Each engine with its reason.
        refusals: Vec<Refusal>,
    },
}

/// Why an engine does not run a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The engine and the form, as [`super::EngineStatus::label`] shows them.
    pub engine: String,
    /// What it said, or which golden sample it got wrong.
    pub reason: String,
}

fn reasons(refusals: &[Refusal]) -> String {
    let mut text = String::new();
    for Refusal { engine, reason } in refusals {
        let gap = if text.is_empty() { "" } else { "; " };
        // Writing into a String cannot fail.
        let _ok = write!(text, "{gap}{engine}: {reason}");
    }
    text
}

/// A prediction that did not come.
#[derive(Debug, Clone, Error)]
pub enum PredictError {
    /// The message does not fit the model.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The model did not run. Every item of a batch shares the reason.
    #[error(transparent)]
    Infer(Arc<InferError>),
    /// Who ran the model is gone, and the answer with it.
    #[error("the run of the model was given up")]
    Lost,
    /// The answer cannot be read.
    #[error(transparent)]
    Interpret(#[from] InterpretError),
}

impl PredictError {
    /// A name for counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Prepare(error) => error.kind(),
            Self::Interpret(error) => error.kind(),
            Self::Lost => "stopped",
            Self::Infer(error) => match &**error {
                InferError::Overloaded(_) => "overloaded",
                InferError::Stopped => "stopped",
                InferError::Engine(error) if error.is_callers() => "input_shape",
                InferError::Engine(_) => "engine",
            },
        }
    }
}
