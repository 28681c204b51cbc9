//! A model as it lies on disk: the ONNX file, what it means, its labels and its golden samples.
//!
//! The layout is Triton's: `<name>/<version>/model.onnx`, the version a positive integer. Everything
//! but `model.onnx` is optional; without `model.toml` a model takes and gives tensors as they are.

mod error;
mod golden;
#[cfg(test)]
pub(crate) mod graph;
mod labels;
mod open;
mod parse;
mod reference;
mod repository;
mod signature;
mod spec;

pub use error::PackageError;
pub use golden::{Expectation, GoldenInput, GoldenSample};
pub use open::Package;
pub use parse::SpecError;
pub use reference::{Quantile, Reference};
pub use repository::{InvalidModelRef, Listed, ModelRef, Repository};
pub use signature::{Signature, decode};
pub use spec::{
    Activation, AnomalyScore, Color, DetectionLayout, EngineChoice, Fit, InputKind, InputSpec,
    Layout, OutputSpec, Spec, Task, TensorInfo,
};

/// Writes a package for a test.
#[cfg(test)]
pub(crate) fn test_package(
    directory: &std::path::Path,
    onnx: &[u8],
    toml: &str,
    files: &[(&str, &str)],
) {
    std::fs::create_dir_all(directory.join("golden")).expect("directory");
    crate::disk::replace(&directory.join("model.onnx"), onnx).expect("model");
    crate::disk::replace(&directory.join("model.toml"), toml.as_bytes()).expect("spec");
    for (name, text) in files {
        crate::disk::replace(&directory.join(name), text.as_bytes()).expect("file");
    }
}
