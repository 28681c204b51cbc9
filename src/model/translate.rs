//! The way of one input through a model, without the engine: preparation before it, meaning after.

use super::{ModelError, PredictError, Prepared};
use crate::event::{Input, Prediction, Tensor};
use crate::package::Package;
use crate::pipeline::decode::Wanted;
use crate::pipeline::postprocess::Interpreter;
use crate::pipeline::preprocess::{Batch, Placement, PrepareError, Preparer};

/// Preparation and interpretation for one caller.
#[derive(Debug)]
pub(super) struct Translator {
    preparer: Preparer,
    interpreter: Interpreter,
    most: usize,
}

/// Items that share one run at most.
const MAX_BATCH: usize = 32;

impl Translator {
    /// Checks the package against its ONNX file: shapes, labels, layouts.
    pub(super) fn new(package: &Package) -> Result<Self, ModelError> {
        let signature = &package.signature;
        let [info] = signature.inputs.as_slice() else {
            let inputs = signature.inputs.len();
            return Err(ModelError::Inputs { model: package.name.clone(), inputs });
        };
        let spec = package.spec.input.get(&info.name).or_else(|| package.spec.input.get(""));
        let refused = |mistake| ModelError::Prepare { model: package.name.clone(), mistake };
        let preparer = Preparer::new(&spec.cloned().unwrap_or_default(), info).map_err(refused)?;
        if let Some(size) = preparer.batch_size().filter(|size| *size != 1) {
            let reason =
                format!("the model insists on {size} items a run; export it with 1 or any");
            return Err(refused(PrepareError::Spec { name: info.name.clone(), reason }));
        }
        let interpreter =
            Interpreter::new(&package.spec, &package.labels, &signature.inputs, &signature.outputs)
                .map_err(|mistake| ModelError::Interpret {
                    model: package.name.clone(),
                    mistake,
                })?;
        // Where the model leaves more than the batch open, two inputs need not have the same shape.
        let alike = !preparer.item_shape().contains(&0);
        let most = if alike && signature.is_batched() { MAX_BATCH } else { 1 };
        Ok(Self { preparer, interpreter, most })
    }

    /// What gives the answers their meaning, alone.
    pub(super) fn into_interpreter(self) -> Interpreter {
        self.interpreter
    }

    /// What becomes of pictures; `None`: it takes none.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        self.preparer.wanted()
    }

    /// Inputs that share one run at most.
    pub(super) fn max_batch(&self) -> usize {
        self.most
    }

    /// A batch without inputs.
    pub(super) fn batch(&self) -> Batch {
        Batch::new(&self.preparer)
    }

    /// Adds an input to a batch.
    pub(super) fn push(&mut self, input: &Input, batch: &mut Batch) -> Result<(), PrepareError> {
        self.preparer.push(input, batch)
    }

    /// One input alone.
    pub(super) fn prepare(&mut self, input: &Input) -> Result<Prepared, PrepareError> {
        let mut batch = self.batch();
        self.push(input, &mut batch)?;
        let placement = batch.placements()[0];
        Ok(Prepared { tensor: batch.take_tensor(), placement })
    }

    /// What the model said about item `item` of a batch, which lay there in its source.
    pub(super) fn interpret(
        &self,
        (item, placement): (usize, &Placement),
        inputs: &[Tensor],
        outputs: &[Tensor],
    ) -> Result<Prediction, PredictError> {
        Ok(self.interpreter.interpret(item, inputs, outputs, placement)?)
    }
}
