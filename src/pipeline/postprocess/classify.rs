//! One of several classes.

use std::sync::Arc;

use super::activation;
use super::output::{Labels, Place};
use super::{InterpretError, finite};
use crate::event::{Prediction, Tensor};
use crate::package::{Activation, OutputSpec};

#[derive(Debug, Clone)]
pub(super) struct Classifier {
    output: Place,
    pub(super) labels: Labels,
    activation: Activation,
    pub(super) top_k: usize,
}

impl Classifier {
    pub(super) fn new(
        output: Place,
        spec: &OutputSpec,
        labels: &[Arc<str>],
    ) -> Result<Self, InterpretError> {
        // [N, classes], or with axes of 1 behind them.
        let classes = output.shape.iter().skip(1).copied().product::<Option<usize>>();
        let labels = Labels::new(labels, spec, &output, classes)?;
        let (activation, top_k) = (spec.activation, spec.top_k);
        Ok(Self { output, labels, activation, top_k })
    }

    pub(super) fn interpret(
        &self,
        item: usize,
        outputs: &[Tensor],
    ) -> Result<Prediction, InterpretError> {
        let mut values = self.output.item(outputs, item)?.values.into_owned();
        self.labels.check(&self.output, values.len())?;
        activation::apply(self.activation, &mut values);
        let best =
            (0..values.len()).reduce(|best, at| if values[at] > values[best] { at } else { best });
        let Some(best) = best else {
            return Err(self.output.wrong("empty", "there must be one class"));
        };
        let score = finite(values[best], &self.output)?;
        let kept = self.kept(&values);
        let scores: Vec<_> = kept
            .into_iter()
            .filter_map(|class| Some((self.labels.get(class)?, values[class])))
            .collect();
        let label = self.labels.get(best).unwrap_or_default();
        Ok(Prediction::Classification { label, score, scores })
    }

    /// The `top_k` best classes, in the order of the labels.
    fn kept(&self, values: &[f32]) -> Vec<usize> {
        let mut classes: Vec<usize> = (0..values.len()).collect();
        if (1..values.len()).contains(&self.top_k) {
            classes.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
            classes.truncate(self.top_k);
            classes.sort_unstable();
        }
        classes
    }
}
