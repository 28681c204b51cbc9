//! Why an answer cannot be read.

use thiserror::Error;

/// A package that contradicts its model, or an answer that is not what the model declared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the fields are what the message shows")]
pub enum InterpretError {
    /// The package and the ONNX file disagree; only from [`super::Interpreter::new`].
    #[error("{reason}")]
    Spec { reason: String },
    /// The number of labels is not the number of classes.
    #[error("{file} has {labels} labels, output `{output}` has {classes} classes")]
    Labels { file: String, labels: usize, output: String, classes: usize },
    /// Another shape than the task and the layout have.
    #[error("output `{output}` is {found}; {wanted}")]
    Shape { output: String, found: String, wanted: String },
    /// A number is NaN or infinite: nothing may be decided on it.
    #[error("`{tensor}` holds a number that is not finite")]
    NotFinite { tensor: String },
}

impl InterpretError {
    /// A name for counters: one of a fixed few.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Spec { .. } => "spec",
            Self::Labels { .. } => "labels",
            Self::Shape { .. } => "wrong_shape",
            Self::NotFinite { .. } => "not_finite",
        }
    }

    pub(super) fn spec(reason: impl Into<String>) -> Self {
        Self::Spec { reason: reason.into() }
    }
}
