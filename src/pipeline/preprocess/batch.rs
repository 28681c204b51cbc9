//! Items that go into a model together.

use super::element::{Element, with_elements};
use super::{Placement, PrepareError, Preparer};
use crate::event::{Data, Tensor};

/// Items of one shape, one behind the other, and where the picture of each lies.
///
/// The buffer outlives its items: give the tensor back with [`Batch::recycle`], and the next batch of
/// the same size allocates nothing.
#[derive(Debug)]
pub struct Batch {
    /// Holds `len` items, and behind them whatever an earlier batch left.
    data: Data,
    item: Vec<usize>,
    len: usize,
    placements: Vec<Placement>,
}

impl Batch {
    /// An empty batch.
    pub fn new(preparer: &Preparer) -> Self {
        let data = Data::zeros(preparer.dtype(), 0);
        Self { data, item: preparer.item_shape().to_vec(), len: 0, placements: Vec::new() }
    }

    /// How many items are in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No item is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the items.
    pub fn clear(&mut self) {
        self.len = 0;
        self.placements.clear();
    }

    /// One for each item; after [`Batch::take_tensor`] those of the items taken, until the next push.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// The items as one tensor `[n, item…]`. The batch is empty then.
    pub fn take_tensor(&mut self) -> Tensor {
        let size = self.len * self.item.iter().product::<usize>();
        let mut data = std::mem::replace(&mut self.data, Data::U8(Vec::new()));
        with_elements!(&mut data, values => values.truncate(size));
        self.data = Data::zeros(data.dtype(), 0);
        let shape = std::iter::once(self.len).chain(self.item.iter().copied()).collect();
        self.len = 0;
        Tensor::new(shape, data).expect("the items fill the shape: that is their number")
    }

    /// Gives a tensor back, so that its buffer serves the next items.
    pub fn recycle(&mut self, tensor: Tensor) {
        let (_, data) = tensor.into_parts();
        if self.len == 0 && data.dtype() == self.data.dtype() {
            self.data = data;
        }
    }

    /// Makes room for one more item of `shape` and says where its elements begin.
    pub(super) fn reserve(&mut self, shape: &[usize]) -> Result<(usize, &mut Data), PrepareError> {
        if self.len == 0 {
            self.placements.clear();
            self.item.clear();
            self.item.extend_from_slice(shape);
        } else if self.item != shape {
            return Err(PrepareError::Shape {
                found: format!("an item of shape {shape:?}"),
                wanted: format!("{:?} as the others of the batch", self.item),
            });
        }
        let size: usize = shape.iter().product();
        let start = self.len * size;
        with_elements!(&mut self.data, values => grow(values, start + size));
        Ok((start, &mut self.data))
    }

    /// The item that [`Batch::reserve`] made room for is complete.
    pub(super) fn commit(&mut self, placement: Placement) {
        self.len += 1;
        self.placements.push(placement);
    }
}

fn grow<T: Element>(values: &mut Vec<T>, size: usize) {
    if values.len() < size {
        values.resize(size, T::default());
    }
}
