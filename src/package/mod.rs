//! A model as it lies on disk: the ONNX file, what it means, its labels and its golden samples.
//!
//! The layout is Triton's: `<name>/<version>/model.onnx`, the version a positive integer. Everything
//! but `model.onnx` is optional; without `model.toml` a model takes and gives tensors as they are.

mod spec;

pub use spec::{
    Activation, AnomalyScore, Color, DetectionLayout, EngineChoice, Fit, InputKind, InputSpec,
    Layout, OutputSpec, Spec, Task, TensorInfo,
};
