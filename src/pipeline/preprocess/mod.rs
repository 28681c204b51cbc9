//! What was decoded becomes the tensor that a model wants.

mod placement;

pub use placement::Placement;

use thiserror::Error;

use crate::event::{DType, Input, Tensor};
use crate::package::{InputSpec, TensorInfo};

/// An input that does not fit its model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PrepareError {
    /// The package and the ONNX file disagree.
    #[error("input `{name}`: {reason}")]
    Spec {
        /// The input.
        name: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The message does not hold what the model wants.
    #[error("the message has {found}, the model wants {wanted}")]
    Mismatch {
        /// What the message has.
        found: String,
        /// What the model wants.
        wanted: String,
    },
}

impl PrepareError {
    /// A name for counters.
    pub fn kind(&self) -> &'static str {
        "todo"
    }
}

/// Makes items of a batch.
#[derive(Debug)]
pub struct Preparer {
    item: Vec<usize>,
    dtype: DType,
}

impl Preparer {
    /// Checks the package against the declared tensor.
    pub fn new(_spec: &InputSpec, info: &TensorInfo) -> Result<Self, PrepareError> {
        Ok(Self { item: vec![], dtype: info.dtype })
    }

    /// The dimensions of one item; 0 for one that the model leaves open.
    pub fn item_shape(&self) -> &[usize] {
        &self.item
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The largest batch where the model fixes it.
    pub fn fixed_batch(&self) -> Option<usize> {
        None
    }

    /// Adds one item to the batch.
    pub fn push(&mut self, _input: &Input, _batch: &mut Batch) -> Result<(), PrepareError> {
        Ok(())
    }
}

/// Items that go into a model together.
#[derive(Debug)]
pub struct Batch {
    placements: Vec<Placement>,
    len: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new(_preparer: &Preparer) -> Self {
        Self { placements: vec![], len: 0 }
    }

    /// Items in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No item is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the items.
    pub fn clear(&mut self) {}

    /// Where each picture lies in its item.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// The items as one tensor `[n, item…]`; the batch is empty then, the placements stay readable
    /// until the next push.
    pub fn take_tensor(&mut self) -> Tensor {
        Tensor::new(vec![0], Vec::<f32>::new()).expect("no elements fill no shape")
    }

    /// Gives the buffer of a tensor back for reuse.
    pub fn recycle(&mut self, _tensor: Tensor) {}
}
