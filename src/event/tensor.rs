//! Numbers in a shape: what goes into an engine and comes out of it.

use std::fmt;
use std::str::FromStr;

use half::f16;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A dense row-major tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

/// The elements of a [`Tensor`].
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant is the Rust type of its name")]
pub enum Data {
    Bool(Vec<bool>),
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F16(Vec<f16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    String(Vec<String>),
}

/// The element types that the engines know, by their Rust names in files and configuration; tract knows no strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each variant is the Rust type of its name")]
pub enum DType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
    String,
}

/// A tensor that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TensorError {
    /// The number of elements is not the product of the dimensions.
    #[error("{found} elements do not fill the shape {shape:?}")]
    Shape {
        /// The dimensions asked for.
        shape: Vec<usize>,
        /// The number of elements given.
        found: usize,
    },
    /// The elements are of another type.
    #[error("elements are {found}, not {expected}")]
    Type {
        /// The type asked for.
        expected: DType,
        /// The type found.
        found: DType,
    },
}

impl Tensor {
    /// Checks that the data fills the shape.
    pub fn new(shape: Vec<usize>, data: impl Into<Data>) -> Result<Self, TensorError> {
        let data = data.into();
        if volume(&shape) == Some(data.len()) {
            Ok(Self { shape, data })
        } else {
            Err(TensorError::Shape { shape, found: data.len() })
        }
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements, to be written in place; their number stays.
    pub fn data_mut(&mut self) -> DataMut<'_> {
        DataMut(&mut self.data)
    }

    /// Shape and elements, for reuse.
    pub fn into_parts(self) -> (Vec<usize>, Data) {
        (self.shape, self.data)
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The elements as a slice of f32, if that is what they are.
    pub fn as_f32(&self) -> Result<&[f32], TensorError> {
        match &self.data {
            Data::F32(values) => Ok(values),
            other => Err(TensorError::Type { expected: DType::F32, found: other.dtype() }),
        }
    }

    /// Item `index` along the first dimension, which stays and is 1; `None` where there is none.
    pub fn item(&self, index: usize) -> Option<Self> {
        self.items(index, 1)
    }

    /// `count` items along the first dimension from the one at `start` on; `None` where they are not all there.
    pub fn items(&self, start: usize, count: usize) -> Option<Self> {
        let (items, rest) = self.shape.split_first()?;
        let size = self.data.len().checked_div(*items)?;
        let data = self.data.slice(start.checked_mul(size)?, count.checked_mul(size)?)?;
        let shape = std::iter::once(count).chain(rest.iter().copied()).collect();
        Some(Self { shape, data })
    }

    /// Adds the items of another along the first dimension, if it is of the same type and has the same other dimensions;
    /// false: it is not, and nothing changed.
    pub fn append(&mut self, other: &Self) -> bool {
        let (Some((more, rest)), Some((items, mine))) =
            (other.shape.split_first(), self.shape.split_first_mut())
        else {
            return false;
        };
        if rest != mine || !self.data.append(&other.data) {
            return false;
        }
        *items += more;
        true
    }

    /// The tensor `count` times over along its first dimension.
    pub fn repeat(&self, count: usize) -> Result<Self, TensorError> {
        let mut shape = self.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = first.saturating_mul(count);
        }
        Self::new(shape, self.data.repeat(count))
    }

    /// Takes over another shape and other elements, in the memory that is there if the element type
    /// stays. On an error the tensor is as it was.
    pub fn assign<T: Element>(&mut self, shape: &[usize], values: &[T]) -> Result<(), TensorError> {
        if volume(shape) != Some(values.len()) {
            return Err(TensorError::Shape { shape: shape.to_vec(), found: values.len() });
        }
        self.shape.clear();
        self.shape.extend_from_slice(shape);
        match T::elements_mut(&mut self.data) {
            Some(elements) => {
                elements.clear();
                elements.extend_from_slice(values);
            }
            None => self.data = T::wrap(values.to_vec()),
        }
        Ok(())
    }
}

impl Default for Tensor {
    /// No element, in the shape `[0]`.
    fn default() -> Self {
        Self { shape: vec![0], data: Data::F32(Vec::new()) }
    }
}

/// The number of elements in a shape, where that is a number.
fn volume(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d))
}

/// A Rust type that a tensor may be made of.
pub trait Element: Clone + 'static {
    /// Elements of this type.
    fn wrap(values: Vec<Self>) -> Data;

    /// The elements, if they are of this type.
    fn elements(data: &Data) -> Option<&[Self]>;

    /// The elements to be changed, if they are of this type.
    fn elements_mut(data: &mut Data) -> Option<&mut Vec<Self>>;
}

/// Elements that may be written but neither added nor removed.
#[derive(Debug)]
pub struct DataMut<'a>(&'a mut Data);

impl DataMut<'_> {
    /// The elements as a mutable slice of f32, if that is what they are.
    pub fn as_f32(&mut self) -> Option<&mut [f32]> {
        match self.0 {
            Data::F32(values) => Some(values),
            _ => None,
        }
    }
}

macro_rules! for_each_dtype {
    ($($variant:ident $type:ty;)*) => {
        impl Data {
            /// The number of elements.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(values) => values.len(),)* }
            }

            /// The element type.
            pub fn dtype(&self) -> DType {
                match self { $(Self::$variant(_) => DType::$variant,)* }
            }

            /// `count` elements from the one at `start` on, where they are there.
            fn slice(&self, start: usize, count: usize) -> Option<Self> {
                let end = start.checked_add(count)?;
                match self { $(Self::$variant(values) => Some(Self::$variant(values.get(start..end)?.to_vec())),)* }
            }

            /// Adds elements of the same type; false: they are of another.
            fn append(&mut self, other: &Self) -> bool {
                match (self, other) {
                    $((Self::$variant(values), Self::$variant(more)) => {
                        values.extend_from_slice(more);
                        true
                    })*
                    _ => false,
                }
            }

            /// The elements `count` times over.
            fn repeat(&self, count: usize) -> Self {
                match self { $(Self::$variant(values) => {
                    let all = values.iter().cycle().take(values.len().saturating_mul(count));
                    Self::$variant(all.cloned().collect())
                })* }
            }

            /// So many elements of a type: zeros, false, or empty texts.
            pub fn zeros(dtype: DType, count: usize) -> Self {
                match dtype { $(DType::$variant => Self::$variant(vec![<$type>::default(); count]),)* }
            }
        }
        $(impl From<Vec<$type>> for Data {
            fn from(values: Vec<$type>) -> Self { Self::$variant(values) }
        }
        impl Element for $type {
            fn wrap(values: Vec<Self>) -> Data { Data::$variant(values) }
            fn elements(data: &Data) -> Option<&[Self]> {
                match data { Data::$variant(values) => Some(values), _ => None }
            }
            fn elements_mut(data: &mut Data) -> Option<&mut Vec<Self>> {
                match data { Data::$variant(values) => Some(values), _ => None }
            }
        })*
    };
}

for_each_dtype! {
    Bool bool; U8 u8; I8 i8; U16 u16; I16 i16; U32 u32; I32 i32; U64 u64; I64 i64;
    F16 f16; F32 f32; F64 f64; String String;
}

impl DType {
    /// Bytes of an element, beside those of a text itself.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            // A text has its length before it.
            Self::U32 | Self::I32 | Self::F32 | Self::String => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

impl Data {
    /// What all elements take, in bytes.
    pub fn bytes(&self) -> usize {
        let texts = match self {
            Self::String(texts) => texts.iter().map(String::len).sum(),
            _ => 0,
        };
        self.len() * self.dtype().size() + texts
    }

    /// There is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as f32, rounded where f32 cannot hold them; a text is no number.
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is asked for")]
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::Bool(v) => v.iter().map(|x| f32::from(u8::from(*x))).collect(),
            Self::U8(v) => v.iter().map(|x| f32::from(*x)).collect(),
            Self::I8(v) => v.iter().map(|x| f32::from(*x)).collect(),
            Self::U16(v) => v.iter().map(|x| f32::from(*x)).collect(),
            Self::I16(v) => v.iter().map(|x| f32::from(*x)).collect(),
            Self::U32(v) => v.iter().map(|x| *x as f32).collect(),
            Self::I32(v) => v.iter().map(|x| *x as f32).collect(),
            Self::U64(v) => v.iter().map(|x| *x as f32).collect(),
            Self::I64(v) => v.iter().map(|x| *x as f32).collect(),
            Self::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
            Self::F32(v) => v.clone(),
            Self::F64(v) => v.iter().map(|x| *x as f32).collect(),
            Self::String(v) => vec![f32::NAN; v.len()],
        }
    }
}

const DTYPE_NAMES: [(DType, &str); 13] = [
    (DType::Bool, "bool"),
    (DType::U8, "u8"),
    (DType::I8, "i8"),
    (DType::U16, "u16"),
    (DType::I16, "i16"),
    (DType::U32, "u32"),
    (DType::I32, "i32"),
    (DType::U64, "u64"),
    (DType::I64, "i64"),
    (DType::F16, "f16"),
    (DType::F32, "f32"),
    (DType::F64, "f64"),
    (DType::String, "string"),
];

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = DTYPE_NAMES.iter().find(|(dtype, _)| dtype == self);
        f.write_str(name.map_or("?", |(_, name)| name))
    }
}

impl FromStr for DType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = DTYPE_NAMES.iter().find(|(_, name)| *name == text);
        found.map(|(dtype, _)| *dtype).ok_or_else(|| {
            let known: Vec<_> = DTYPE_NAMES.iter().map(|(_, name)| *name).collect();
            format!("`{text}` is no element type; known are {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests;
