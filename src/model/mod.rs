//! Models that serve: from a package to predictions.
//!
//! A version is checked before it serves: its files, its signature, its golden samples on this very
//! device and engine. The engine is the user's choice, ONNX Runtime where it is there, tract where it
//! is not; which one and why is in [`EngineStatus`]. A model that keeps failing is built anew, and
//! falls over to tract if that does not help.

mod asked;
mod attempt;
mod caller;
mod choose;
mod config;
mod error;
mod golden;
mod intake;
mod measure;
mod models;
mod run;
mod second;
mod served;
mod shelf;
mod status;
mod translate;
mod verdict;

pub use asked::{Served, ServedCounts};
pub use caller::{Caller, Spent, Where};
pub use config::{ModelsConfig, ServeConfig};
pub use error::{ModelError, PredictError, Refusal};
pub use golden::GoldenResult;
pub use intake::{Intake, IntakeError, MAX_VALUES, files_in, is_picture, samples};
pub(crate) use intake::{PICTURES, is_called};
pub use measure::{Timing, Trial, measure};
pub use models::Models;
pub use run::Run;
pub use second::{Prepared, Reader};
pub use served::Model;
pub use shelf::{Absent, Entry, Shelf};
pub use status::{EngineStatus, label};

#[cfg(test)]
mod tests;
