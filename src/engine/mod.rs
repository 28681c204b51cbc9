//! Tensors in, tensors out: what runs a model's graph.
//!
//! Two engines stand behind one small trait: ONNX Runtime where its library is found or linked in, and
//! tract, which is always inside. Both are synchronous, and a [`Session`] has one caller at a time; with
//! [`Shared`] several take turns, each on its own thread: a thread of the session's own would cost every
//! run two switches, as much as a small model takes.

mod config;
mod doubt;
mod error;
#[cfg(any(feature = "ort-dynamic", feature = "ort-static"))]
mod ort;
mod qdq;
mod sentence;
mod shared;
mod telemetry;
mod tract;

pub use config::{OrtConfig, Provider};
pub use error::{EngineError, OrtUnavailable};
#[cfg(any(feature = "ort-dynamic", feature = "ort-static"))]
pub use ort::Ort;
pub use shared::{
    Condition, Entry, InferError, Lease, Mend, Port, Priority, Ran, Shared, Step, Terms, Turn, Work,
};
pub use telemetry::disable_telemetry;
pub use tract::Tract;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use crate::event::Tensor;
use crate::package::{Package, TensorInfo};

/// Loads models.
pub trait Engine: fmt::Debug + Send + Sync {
    /// Which engine it is.
    fn kind(&self) -> EngineKind;

    /// The engine's own version.
    fn version(&self) -> String;

    /// Which form of a quantized model it runs.
    fn form(&self) -> Form {
        Form::Stored
    }

    /// Builds a session from the package's ONNX file.
    fn load(
        &self,
        package: &Package,
        options: SessionOptions,
    ) -> Result<Box<dyn Session>, EngineError>;
}

/// A loaded model.
pub trait Session: fmt::Debug + Send {
    /// Runs the graph on inputs in the order of the signature. The outputs, in that order too,
    /// replace what `outputs` held, in its memory where that fits. After an error `outputs` holds
    /// anything.
    fn run(&mut self, inputs: &[Tensor], outputs: &mut Vec<Tensor>) -> Result<(), EngineError>;

    /// What a person should know about how it was built: a provider that is missing.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// What this engine is known to compute wrongly in this model: only golden samples can show that
    /// it does not.
    fn doubt(&self) -> Option<&str> {
        None
    }
}

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// ONNX Runtime.
    Ort,
    /// tract.
    Tract,
}

impl EngineKind {
    /// `ort` or `tract`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ort => "ort",
            Self::Tract => "tract",
        }
    }

    /// Its own name, for a sentence.
    const fn name(self) -> &'static str {
        match self {
            Self::Ort => "ONNX Runtime",
            Self::Tract => "tract",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In which form a model is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// As the file has it.
    Stored,
    /// With the Quantize and Dequantize pairs folded away.
    Float,
}

/// How a session is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Threads that work on one operator, at least 1. tract uses one.
    pub intra_threads: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { intra_threads: 1 }
    }
}

/// The inputs are those that the signature declares.
fn check_inputs(declared: &[TensorInfo], inputs: &[Tensor]) -> Result<(), EngineError> {
    if declared.len() != inputs.len() {
        let wanted = format!("{} tensors", declared.len());
        let found = format!("{} tensors", inputs.len());
        return Err(EngineError::Input { name: "all".into(), found, wanted });
    }
    for (info, tensor) in declared.iter().zip(inputs) {
        let shape = tensor.shape();
        let fits = info.dtype == tensor.dtype()
            && info.shape.len() == shape.len()
            && info.shape.iter().zip(shape).all(|(want, is)| want.is_none_or(|want| want == *is));
        if !fits {
            return Err(EngineError::Input {
                name: info.name.clone(),
                found: format!("{} {shape:?}", tensor.dtype()),
                wanted: declared_as(info),
            });
        }
    }
    Ok(())
}

fn declared_as(info: &TensorInfo) -> String {
    let dims: Vec<_> =
        info.shape.iter().map(|dim| dim.map_or("?".into(), |dim| dim.to_string())).collect();
    format!("{} [{}]", info.dtype, dims.join(", "))
}

/// Runs the engine's own code: a panic there is an error here.
fn guard<T>(
    engine: EngineKind,
    work: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(EngineError::Panicked {
            engine,
            reason: text.unwrap_or_else(|| "no reason given".into()),
        })
    })
}

#[cfg(test)]
mod tests;
