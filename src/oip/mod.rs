//! The Open Inference Protocol, version 2: the words that a client and a server of it have in common
//! (<https://github.com/kserve/open-inference-protocol>), and its form over HTTP with binary tensor data.
//!
//! A request over HTTP is a JSON object, and behind it the bytes of the tensors in the order of the inputs; the header
//! `Inference-Header-Content-Length` tells where the JSON ends. An answer has the same form, or holds the elements in
//! the JSON itself.

pub mod client;
mod input;
mod numbers;
pub mod server;

use thiserror::Error;

use crate::event::{DType, Data, Tensor};

/// Tells how long the JSON before the tensors is, in bytes.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

/// No tensor has more dimensions.
const MAX_RANK: usize = 16;

/// The names of the element types in the protocol.
const DATATYPES: [(DType, &str); 13] = [
    (DType::Bool, "BOOL"),
    (DType::U8, "UINT8"),
    (DType::I8, "INT8"),
    (DType::U16, "UINT16"),
    (DType::I16, "INT16"),
    (DType::U32, "UINT32"),
    (DType::I32, "INT32"),
    (DType::U64, "UINT64"),
    (DType::I64, "INT64"),
    (DType::F16, "FP16"),
    (DType::F32, "FP32"),
    (DType::F64, "FP64"),
    (DType::String, "BYTES"),
];

/// Why a request or an answer cannot be read.
#[derive(Debug, Error)]
pub enum OipError {
    /// It is not what the protocol says.
    #[error("it is not as the protocol says")]
    Json(#[from] serde_json::Error),
    /// The header contradicts the body.
    #[error("its JSON is told to take {told} bytes of {whole}")]
    HeaderLength {
        /// What the header says.
        told: String,
        /// The length of the whole body.
        whole: usize,
    },
    /// A tensor that is needed is not there.
    #[error("no tensor `{0}` in it")]
    Missing(String),
    /// A tensor that nobody knows.
    #[error("there is no `{name}`; {known} are known")]
    Unknown {
        /// The tensor, as it is called there.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// An element type that is not known here.
    #[error("`{tensor}` is of {datatype}; {} are known", names())]
    Datatype {
        /// The tensor.
        tensor: String,
        /// As it is called there.
        datatype: String,
    },
    /// A tensor is not as it is described.
    #[error("`{tensor}` {problem}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Bytes that belong to no tensor.
    #[error("{0} bytes behind its last tensor")]
    Left(usize),
    /// Inputs are given as bytes, and not each of them.
    #[error("{bytes} of {inputs} inputs are there in bytes; give all of them so, or none")]
    Bytes {
        /// How many are given so.
        bytes: usize,
        /// How many there are.
        inputs: usize,
    },
}

/// The name of an element type in the protocol.
pub fn datatype(dtype: DType) -> &'static str {
    DATATYPES.into_iter().find(|(known, _)| *known == dtype).map_or("", |(_, name)| name)
}

/// What tells tensors apart: of each its type and shape, and its elements as bytes.
pub fn bytes(tensors: &[Tensor]) -> Vec<Vec<u8>> {
    let one = |tensor: &Tensor| {
        let mut bytes = format!("{} {:?}", tensor.dtype(), tensor.shape()).into_bytes();
        numbers::write(tensor.data(), &mut bytes);
        bytes
    };
    tensors.iter().map(one).collect()
}

/// The element type that has this name in the protocol.
pub fn dtype(datatype: &str) -> Option<DType> {
    DATATYPES.into_iter().find(|(_, known)| *known == datatype).map(|(dtype, _)| dtype)
}

/// The elements of a tensor as bytes, lowest first.
pub fn bytes_of(data: &Data) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(data.bytes());
    numbers::write(data, &mut bytes);
    bytes
}

/// A text as engines take it: UTF-8 without a NUL.
pub fn text_of(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.contains('\0')).then(|| text.to_owned())
}

fn names() -> String {
    DATATYPES.map(|(_, name)| name).join(", ")
}

/// Where the JSON of a body ends, as its [`HEADER_LENGTH`] says.
fn split<'a>(header: Option<&str>, body: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), OipError> {
    let Some(told) = header else { return Ok((body, &[])) };
    let wrong =
        || OipError::HeaderLength { told: told.chars().take(40).collect(), whole: body.len() };
    let length = told.trim().parse().map_err(|_| wrong())?;
    body.split_at_checked(length).ok_or_else(wrong)
}

/// The elements of a tensor, as a message has them.
#[derive(Debug)]
pub enum Given<'a> {
    /// As bytes, lowest first.
    Bytes(&'a [u8]),
    /// As JSON, flat or nested.
    Json(&'a str),
    /// Read already.
    Read(Data),
    /// Not at all.
    Nowhere,
}

impl<'a> Given<'a> {
    /// With the bytes behind the JSON, or in it.
    fn of(bytes: Option<&'a [u8]>, json: Option<&'a str>) -> Self {
        bytes.map(Self::Bytes).or(json.map(Self::Json)).unwrap_or(Self::Nowhere)
    }
}

/// Elements of a tensor of this shape; `None` where there can be none of it.
fn volume(shape: &[usize]) -> Option<usize> {
    let volume = shape.iter().try_fold(1_usize, |n, dim| n.checked_mul(*dim));
    volume.filter(|_| shape.len() <= MAX_RANK)
}

/// A tensor as a message describes it.
fn tensor(
    name: &str,
    (datatype, shape): (&str, &[usize]),
    given: Given<'_>,
) -> Result<Tensor, OipError> {
    let dtype = dtype(datatype).ok_or_else(|| OipError::Datatype {
        tensor: short(name),
        datatype: datatype.chars().take(40).collect(),
    })?;
    let volume =
        volume(shape).ok_or_else(|| wrong(name, "has a shape that cannot be".to_owned()))?;
    let data = match given {
        Given::Bytes(bytes) => numbers::read(dtype, bytes)
            .ok_or_else(|| wrong(name, format!("has {} bytes of {dtype}", bytes.len())))?,
        Given::Json(json) => numbers::read_json(dtype, json, volume)
            .map_err(|error| wrong(name, format!("holds no {dtype}: {error}")))?,
        Given::Read(data) => data,
        Given::Nowhere => return Err(wrong(name, "has no data".to_owned())),
    };
    Tensor::new(shape.to_vec(), data).map_err(|error| wrong(name, error.to_string()))
}

/// What is wrong with a tensor.
pub(crate) fn wrong(name: &str, problem: String) -> OipError {
    OipError::Tensor { tensor: short(name), problem }
}

fn short(name: &str) -> String {
    name.chars().take(80).collect()
}
