//! What can go wrong with an engine.

use std::path::PathBuf;

use thiserror::Error;

use super::EngineKind;
use crate::package::{PackageError, Signature};

/// A model that an engine cannot load or run.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The file could not be read again.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The engine is not there.
    #[error(transparent)]
    Unavailable(#[from] OrtUnavailable),
    /// The engine does not know an operator.
    #[error("it does not know the operator {operator} of opset {opset}; {}", remedy(*engine))]
    Operator {
        /// The engine.
        engine: EngineKind,
        /// The operator with its domain.
        operator: String,
        /// The version of the operator set that the model asks for.
        opset: i64,
    },
    /// The model asks for operators that came after the engine.
    #[error(
        "opset {opset} is not supported; the highest that {} {} knows is {highest}; export the \
         model with that one or a lower one", engine.name(), release(version)
    )]
    Opset {
        /// The engine.
        engine: EngineKind,
        /// Its version.
        version: String,
        /// The version of the operator set that the model asks for.
        opset: i64,
        /// The newest that it knows.
        highest: i64,
    },
    /// There is nothing to do for this form of the model.
    #[error("the model has no Quantize and Dequantize pairs to fold")]
    NothingToFold,
    /// The engine refuses the model.
    #[error("it cannot load the model (opset {opset}): {reason}")]
    Load {
        /// The engine.
        engine: EngineKind,
        /// The version of the operator set that the model asks for.
        opset: i64,
        /// What it said.
        reason: String,
    },
    /// A tensor does not fit the model's signature.
    #[error("input `{name}` is {found}, the model wants {wanted}")]
    Input {
        /// The input.
        name: String,
        /// What was given.
        found: String,
        /// What the signature says.
        wanted: String,
    },
    /// The engine failed while it ran.
    #[error("{engine} failed to run the model: {reason}")]
    Run {
        /// The engine.
        engine: EngineKind,
        /// What it said.
        reason: String,
    },
    /// The engine's code panicked.
    #[error("{engine} panicked: {reason}")]
    Panicked {
        /// The engine.
        engine: EngineKind,
        /// What it said.
        reason: String,
    },
}

impl EngineError {
    /// An operator that the engine does not know, with its domain and the version of that.
    pub(super) fn operator(
        engine: EngineKind,
        domain: &str,
        operator: &str,
        signature: &Signature,
    ) -> Self {
        let gap = if domain.is_empty() { "" } else { "." };
        let opset = signature.opsets.get(domain).copied().unwrap_or_default();
        Self::Operator { engine, operator: format!("{domain}{gap}{operator}"), opset }
    }

    /// The caller gave what the model does not take; the session is as good as before.
    pub fn is_callers(&self) -> bool {
        matches!(self, Self::Input { .. })
    }
}

/// ONNX Runtime cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OrtUnavailable {
    /// No library was found where it is looked for.
    #[error(
        "ONNX Runtime's library was found neither in ORT_DYLIB_PATH nor beside the program nor on \
         the system's library path; set [models].ort.library, or run cross/onnxruntime.sh ({reason})"
    )]
    NotFound {
        /// What the loader said.
        reason: String,
    },
    /// The library that was named cannot be used.
    #[error("{} is no usable ONNX Runtime: {reason}", path.display())]
    Unusable {
        /// The library.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Its telemetry is not switched off, so it is not loaded.
    #[error(
        "ONNX Runtime would report to its makers: start eir with ORT_DISABLE_TELEMETRY=1 in the \
         environment"
    )]
    Telemetry,
    /// This program was built without it.
    #[error("this program was built without ONNX Runtime (feature ort-dynamic or ort-static)")]
    NotBuilt,
}

const fn remedy(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Ort => "a newer ONNX Runtime may, or export the model with a lower opset",
        EngineKind::Tract => "ONNX Runtime may: see [models].ort",
    }
}

/// `1.31` of `1.31.1`: what decides about operator sets.
fn release(version: &str) -> &str {
    version
        .match_indices('.')
        .nth(1)
        .map_or(version, |(end, _)| version.get(..end).unwrap_or(version))
}
