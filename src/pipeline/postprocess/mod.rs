//! What a model's answer means: tensors become a [`Prediction`].
//!
//! What the package says is checked against what the ONNX file declares in [`Interpreter::new`], and
//! again against each answer where the file leaves a dimension open. An answer that holds NaN or an
//! infinity is an error, never a decision.

mod activation;
mod boxes;
mod classify;
mod detect;
mod error;
mod output;

pub use error::InterpretError;

use std::sync::Arc;

use super::preprocess::Placement;
use crate::event::{Prediction, Tensor};
use crate::package::{Activation, AnomalyScore, Spec, Task, TensorInfo};
use output::Place;

/// Reads the answers of one model.
#[derive(Debug, Clone)]
pub struct Interpreter(Meaning);

#[derive(Debug, Clone)]
enum Meaning {
    Classification(classify::Classifier),
    Detection(Box<detect::Detector>),
    Score { output: Place, activation: Activation },
    Reconstruction { input: Place, output: Place },
    Regression(Place),
    Embedding(Place),
    Tensor(Place),
}

impl Interpreter {
    /// Checks the package against the declared inputs and outputs. Without `labels` a class is named
    /// by its index.
    pub fn new(
        spec: &Spec,
        labels: &[Arc<str>],
        inputs: &[TensorInfo],
        outputs: &[TensorInfo],
    ) -> Result<Self, InterpretError> {
        let one = |outputs: Vec<Place>| {
            outputs
                .into_iter()
                .next()
                .ok_or_else(|| InterpretError::spec("the model has no output"))
        };
        // A tensor is whatever comes first; boxes and scores may lie in two outputs.
        let all = matches!(spec.task, Task::Detection | Task::Tensor);
        let (chosen, meaning) = output::choose(spec, outputs, all)?;
        Ok(Self(match spec.task {
            Task::Classification => {
                let output = one(chosen)?;
                Meaning::Classification(classify::Classifier::new(output, &meaning, labels)?)
            }
            Task::Detection => {
                Meaning::Detection(Box::new(detect::Detector::new(chosen, &meaning, labels)?))
            }
            Task::Anomaly if meaning.score == AnomalyScore::Reconstruction => {
                reconstruction(inputs, one(chosen)?)?
            }
            Task::Anomaly => {
                let output = one(chosen)?;
                if output.shape.iter().skip(1).any(|dim| dim.is_some_and(|n| n != 1)) {
                    return Err(output.wrong(
                        &output.describe(),
                        "an anomaly score is one number (or score = \"reconstruction\")",
                    ));
                }
                Meaning::Score { output, activation: meaning.activation }
            }
            Task::Regression => Meaning::Regression(one(chosen)?),
            Task::Embedding => Meaning::Embedding(one(chosen)?),
            Task::Tensor => Meaning::Tensor(one(chosen)?),
        }))
    }

    /// The names that classes or detections can have, where the package or the model says them.
    pub fn labels(&self) -> &[Arc<str>] {
        match &self.0 {
            Meaning::Classification(classifier) => classifier.labels.names(),
            Meaning::Detection(detector) => detector.labels.names(),
            _ => &[],
        }
    }

    /// How many classes or detections an answer tells of at most; `None`: of all that there are.
    pub fn most(&self) -> Option<usize> {
        match &self.0 {
            Meaning::Classification(classifier) => {
                Some(classifier.top_k).filter(|top_k| *top_k > 0)
            }
            Meaning::Detection(detector) => Some(detector.max),
            _ => None,
        }
    }

    /// Reads item `item` of a batch. `inputs` are as prepared, `outputs` as the engine gave them, both
    /// in the order of the model; `placement` is that of the item.
    pub fn interpret(
        &self,
        item: usize,
        inputs: &[Tensor],
        outputs: &[Tensor],
        placement: &Placement,
    ) -> Result<Prediction, InterpretError> {
        match &self.0 {
            Meaning::Classification(classifier) => classifier.interpret(item, outputs),
            Meaning::Detection(detector) => detector.interpret(item, outputs, placement),
            Meaning::Score { output, activation } => {
                let found = output.item(outputs, item)?;
                let &[score] = &*found.values else {
                    return Err(
                        output.wrong(&format!("{:?}", found.shape), "a score is one number")
                    );
                };
                let sigmoid = *activation == Activation::Sigmoid;
                let score = if sigmoid { activation::sigmoid(score) } else { score };
                Ok(Prediction::Anomaly { score })
            }
            Meaning::Reconstruction { input, output } => {
                let (before, after) = (input.item(inputs, item)?, output.item(outputs, item)?);
                if before.values.is_empty() || before.values.len() != after.values.len() {
                    let wanted = format!("as large as the input, {:?}", before.shape);
                    return Err(output.wrong(&format!("{:?}", after.shape), &wanted));
                }
                let score = mean_squared_difference(&before.values, &after.values);
                finite(score, output).map(|score| Prediction::Anomaly { score })
            }
            Meaning::Regression(output) => {
                let values = output.item(outputs, item)?.values.into_owned();
                Ok(Prediction::Regression { values })
            }
            Meaning::Embedding(output) => {
                let values = unit_length(output.item(outputs, item)?.values.into_owned());
                Ok(Prediction::Embedding { values })
            }
            Meaning::Tensor(output) => {
                let found = output.item(outputs, item)?;
                let (shape, values) = (found.shape.to_vec(), found.values.into_owned());
                Ok(Prediction::Tensor { shape, values })
            }
        }
    }
}

fn reconstruction(inputs: &[TensorInfo], output: Place) -> Result<Meaning, InterpretError> {
    let [info] = inputs else {
        return Err(InterpretError::spec("a reconstruction needs a model of one input"));
    };
    let input = Place { index: 0, name: info.name.clone(), shape: info.shape.clone() };
    let differs = |axis: usize| {
        let (a, b) = (input.declared(axis), output.declared(axis));
        a.is_some() && b.is_some() && a != b
    };
    if input.shape.len() != output.shape.len() || (1..input.shape.len()).any(differs) {
        let wanted = format!("a reconstruction has the shape of the input, {}", input.describe());
        return Err(output.wrong(&output.describe(), &wanted));
    }
    Ok(Meaning::Reconstruction { input, output })
}

/// Summed in 64 bits, so that the length of the input costs no precision.
#[expect(
    clippy::cast_possible_truncation,
    reason = "what f32 cannot hold is refused by the caller"
)]
fn mean_squared_difference(a: &[f32], b: &[f32]) -> f32 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (sum / a.len() as f64) as f32
}

/// A vector of zeros has no direction and stays as it is.
#[expect(clippy::cast_possible_truncation, reason = "the elements are at most 1")]
fn unit_length(mut values: Vec<f32>) -> Vec<f32> {
    let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    if norm > 0.0 {
        for value in &mut values {
            *value = (f64::from(*value) / norm) as f32;
        }
    }
    values
}

fn finite(value: f32, output: &Place) -> Result<f32, InterpretError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(InterpretError::NotFinite { tensor: output.name.clone() })
    }
}

#[cfg(test)]
mod tests;
