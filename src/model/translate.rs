//! The way of one input through a model, without the engine: preparation before it, meaning after.

use super::{ModelError, PredictError};
use crate::event::{Input, Prediction, Tensor};
use crate::package::Package;
use crate::pipeline::postprocess::Interpreter;
use crate::pipeline::preprocess::{Batch, PrepareError, Preparer};

/// Preparation and interpretation for one caller, with its buffers.
#[derive(Debug)]
pub(super) struct Translator {
    preparer: Preparer,
    batch: Batch,
    interpreter: Interpreter,
}

impl Translator {
    /// Checks the package against its ONNX file: shapes, labels, layouts.
    pub(super) fn new(package: &Package) -> Result<Self, ModelError> {
        let signature = &package.signature;
        let [info] = signature.inputs.as_slice() else {
            let inputs = signature.inputs.len();
            return Err(ModelError::Inputs { model: package.name.clone(), inputs });
        };
        let spec = package.spec.input.get(&info.name).or_else(|| package.spec.input.get(""));
        let preparer = Preparer::new(&spec.cloned().unwrap_or_default(), info)
            .map_err(|source| ModelError::Prepare { model: package.name.clone(), source })?;
        let interpreter =
            Interpreter::new(&package.spec, &package.labels, &signature.inputs, &signature.outputs)
                .map_err(|source| ModelError::Interpret { model: package.name.clone(), source })?;
        let batch = Batch::new(&preparer);
        Ok(Self { preparer, batch, interpreter })
    }

    /// Adds an input to the batch.
    pub(super) fn push(&mut self, input: &Input) -> Result<(), PrepareError> {
        self.preparer.push(input, &mut self.batch)
    }

    /// Inputs in the batch.
    pub(super) fn len(&self) -> usize {
        self.batch.len()
    }

    /// The batch as a tensor.
    pub(super) fn take(&mut self) -> Tensor {
        self.batch.take_tensor()
    }

    /// Gives the memory of a batch back.
    pub(super) fn recycle(&mut self, tensor: Tensor) {
        self.batch.recycle(tensor);
    }

    /// What the model said about item `item` of the batch that was taken last.
    pub(super) fn interpret(
        &self,
        item: usize,
        inputs: &[Tensor],
        outputs: &[Tensor],
    ) -> Result<Prediction, PredictError> {
        let placement = &self.batch.placements()[item];
        Ok(self.interpreter.interpret(item, inputs, outputs, placement)?)
    }
}
