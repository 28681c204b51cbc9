//! What was decoded becomes the tensor that a model wants.
//!
//! Everything that the package and the ONNX file say is checked once, in [`Preparer::new`]; a push
//! then only moves numbers. Each value becomes `(raw - mean) * scale`; a model that takes integers
//! gets it rounded and saturated.

mod batch;
mod element;
mod numbers;
mod picture;
mod placement;

pub use batch::Batch;
pub use placement::Placement;

use thiserror::Error;

use super::decode::Wanted;
use crate::event::{DType, Input};
use crate::package::{InputKind, InputSpec, TensorInfo};

/// No item has more elements than this.
const MAX_ELEMENTS: usize = 1 << 26;

/// An input that does not fit its model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the fields are what the message shows")]
pub enum PrepareError {
    /// The package and the ONNX file disagree; only from [`Preparer::new`].
    #[error("input `{name}`: {reason}")]
    Spec { name: String, reason: String },
    /// A picture where numbers are wanted, or the other way round.
    #[error("the message is {found}, the model wants {wanted}")]
    Kind { found: &'static str, wanted: &'static str },
    /// Another number of instants, channels or values.
    #[error("the input is {found}, the model wants {wanted}")]
    Shape { found: String, wanted: String },
}

impl PrepareError {
    /// A name for counters: one of a fixed few.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Spec { .. } => "spec",
            Self::Kind { .. } => "wrong_kind",
            Self::Shape { .. } => "wrong_shape",
        }
    }
}

/// Makes the items of one input of one model.
#[derive(Debug)]
pub struct Preparer {
    item: Vec<usize>,
    dtype: DType,
    batch: Option<usize>,
    plan: Plan,
}

#[derive(Debug)]
enum Plan {
    Numbers(numbers::Numbers),
    Picture(Box<picture::Picture>),
}

impl Preparer {
    /// Checks what the package says against what the ONNX file declares. The first dimension is the
    /// batch.
    pub fn new(spec: &InputSpec, info: &TensorInfo) -> Result<Self, PrepareError> {
        let name = &info.name;
        let refuse = |reason| PrepareError::Spec { name: name.clone(), reason };
        let Some((batch, item)) = info.shape.split_first() else {
            return Err(refuse(
                "a single number without a batch dimension is not supported".into(),
            ));
        };
        if info.dtype == DType::String {
            return Err(refuse("it takes texts, which no message is made into".into()));
        }
        for (key, values) in [("mean", &spec.mean), ("scale", &spec.scale)] {
            if values.iter().any(|value| !value.is_finite()) {
                return Err(refuse(format!("{key} holds a number that is not finite")));
            }
        }
        let (plan, item) = match spec.kind {
            InputKind::Image => {
                let (plan, item) = picture::Picture::new(spec, item, info.dtype).map_err(refuse)?;
                (Plan::Picture(Box::new(plan)), item)
            }
            InputKind::Samples | InputKind::Tensor => {
                let plan = numbers::Numbers::new(spec, item).map_err(refuse)?;
                let item = plan.shape().iter().map(|dim| dim.unwrap_or(0)).collect();
                (Plan::Numbers(plan), item)
            }
        };
        let size = item.iter().try_fold(1_usize, |n, d: &usize| n.checked_mul((*d).max(1)));
        if size.is_none_or(|size| size > MAX_ELEMENTS) {
            return Err(refuse(format!("{item:?} are more than {MAX_ELEMENTS} elements")));
        }
        Ok(Self { item, dtype: info.dtype, batch: *batch, plan })
    }

    /// The dimensions of one item, without the batch; 0 for one that the model leaves open.
    pub fn item_shape(&self) -> &[usize] {
        &self.item
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// How many items the model insists on; `None` if any number goes.
    pub fn batch_size(&self) -> Option<usize> {
        self.batch
    }

    /// What becomes of pictures; `None`: it takes none.
    pub fn wanted(&self) -> Option<Wanted> {
        match &self.plan {
            Plan::Picture(plan) => Some(plan.wanted()),
            Plan::Numbers(_) => None,
        }
    }

    /// Adds one item to the batch. An error leaves the batch as it was.
    pub fn push(&mut self, input: &Input, batch: &mut Batch) -> Result<(), PrepareError> {
        match (&mut self.plan, input) {
            (Plan::Numbers(plan), Input::Samples(samples)) => plan.push(samples, batch),
            (Plan::Picture(plan), Input::Frame(frame)) => plan.push(frame, &self.item, batch),
            (Plan::Numbers(_), Input::Frame(_)) => Err(PrepareError::Kind {
                found: "a picture",
                wanted: "numbers (or kind = \"image\" in model.toml)",
            }),
            (Plan::Picture(_), Input::Samples(_)) => {
                Err(PrepareError::Kind { found: "numbers", wanted: "a picture" })
            }
        }
    }
}
