//! The Open Inference Protocol, version 2, over HTTP, with its binary tensor data extension: one `infer` request
//! and its answer (<https://github.com/kserve/open-inference-protocol>).
//!
//! A request is a JSON object, and behind it the bytes of the tensors in the order of the inputs; the header
//! `Inference-Header-Content-Length` tells where the JSON ends. An answer has the same form where the server can,
//! or holds the elements in the JSON itself.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::numbers;
use crate::event::{DType, Tensor};

/// Tells how long the JSON before the tensors is, in bytes.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

/// No tensor has more dimensions.
const MAX_RANK: usize = 16;

/// The names of the element types in the protocol.
const DATATYPES: [(DType, &str); 12] = [
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
];

/// Why an answer cannot be read.
#[derive(Debug, Error)]
pub enum OipError {
    /// It is not what the protocol says.
    #[error("no answer of the protocol")]
    Json(#[from] serde_json::Error),
    /// The header contradicts the body.
    #[error("its JSON is told to take {told} bytes of {whole}")]
    HeaderLength {
        /// What the header says.
        told: String,
        /// The length of the whole body.
        whole: usize,
    },
    /// A tensor that was asked for is not there.
    #[error("no output `{0}` in it")]
    Missing(String),
    /// An element type that is not known here.
    #[error("output `{output}` is of {datatype}; {} are known", names())]
    Datatype {
        /// The tensor.
        output: String,
        /// As the server calls it.
        datatype: String,
    },
    /// A tensor is not as it is described.
    #[error("output `{output}` {problem}")]
    Tensor {
        /// The tensor.
        output: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Bytes that belong to no tensor.
    #[error("{0} bytes behind its last tensor")]
    Left(usize),
}

fn names() -> String {
    DATATYPES.map(|(_, name)| name).join(", ")
}

/// A request: its body, and how much of that is JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// How much of the body is JSON; the tensors follow.
    pub json: usize,
    /// The body.
    pub body: Vec<u8>,
}

/// What an answer holds.
#[derive(Debug, PartialEq)]
pub struct Outputs {
    /// The model, as the server calls it.
    pub model: Option<String>,
    /// Its version, likewise.
    pub version: Option<String>,
    /// In the order in which they were asked for.
    pub tensors: Vec<Tensor>,
}

#[derive(Serialize)]
struct Asking<'a> {
    inputs: Vec<AskedInput<'a>>,
    outputs: Vec<AskedOutput<'a>>,
}

#[derive(Serialize)]
struct AskedInput<'a> {
    name: &'a str,
    shape: &'a [usize],
    datatype: &'static str,
    parameters: Size,
}

#[derive(Serialize)]
struct AskedOutput<'a> {
    name: &'a str,
    parameters: Binary,
}

#[derive(Serialize)]
struct Size {
    binary_data_size: usize,
}

#[derive(Serialize)]
struct Binary {
    binary_data: bool,
}

/// Asks for `outputs` of `inputs`. Without an `id`: the same content makes the same body.
pub fn request(inputs: &[(&str, &Tensor)], outputs: &[&str]) -> Request {
    let asking = Asking {
        inputs: inputs.iter().map(|(name, tensor)| asked(name, tensor)).collect(),
        outputs: outputs
            .iter()
            .map(|name| AskedOutput { name, parameters: Binary { binary_data: true } })
            .collect(),
    };
    // There is nothing in it that JSON could not hold.
    let mut body = serde_json::to_vec(&asking).unwrap_or_default();
    let json = body.len();
    for (_, tensor) in inputs {
        numbers::write(tensor.data(), &mut body);
    }
    Request { json, body }
}

fn asked<'a>(name: &'a str, tensor: &'a Tensor) -> AskedInput<'a> {
    let dtype = tensor.dtype();
    let known = DATATYPES.into_iter().find(|(known, _)| *known == dtype);
    let binary_data_size = tensor.data().len() * dtype.size();
    AskedInput {
        name,
        shape: tensor.shape(),
        datatype: known.map_or("", |(_, name)| name),
        parameters: Size { binary_data_size },
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    model_name: Option<String>,
    #[serde(default)]
    model_version: Option<String>,
    #[serde(borrow)]
    outputs: Vec<Output<'a>>,
}

#[derive(Deserialize)]
struct Output<'a> {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    #[serde(default)]
    parameters: Option<Parameters>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    binary_data_size: Option<usize>,
}

/// Reads an answer; `header` is its [`HEADER_LENGTH`], `wanted` are the outputs that were asked for.
pub fn answer(header: Option<&str>, body: &[u8], wanted: &[&str]) -> Result<Outputs, OipError> {
    let json = match header {
        None => body.len(),
        Some(told) => {
            let length = told.trim().parse().ok().filter(|length| *length <= body.len());
            let wrong = || OipError::HeaderLength { told: told.to_owned(), whole: body.len() };
            length.ok_or_else(wrong)?
        }
    };
    let (json, mut rest) = body.split_at(json);
    let answer: Answer<'_> = serde_json::from_slice(json)?;
    let mut found: Vec<Option<Tensor>> = wanted.iter().map(|_| None).collect();
    for output in &answer.outputs {
        let place = wanted.iter().position(|name| *name == output.name);
        let bytes = match output.parameters.as_ref().and_then(|told| told.binary_data_size) {
            None => None,
            Some(size) => {
                let (bytes, behind) = rest.split_at_checked(size).ok_or_else(|| {
                    output.wrong(format!("has {} of its {size} bytes", rest.len()))
                })?;
                rest = behind;
                Some(bytes)
            }
        };
        if let Some(place) = place {
            found[place] = Some(output.tensor(bytes)?);
        }
    }
    if !rest.is_empty() {
        return Err(OipError::Left(rest.len()));
    }
    let tensors = wanted.iter().zip(found);
    let tensors =
        tensors.map(|(name, tensor)| tensor.ok_or_else(|| OipError::Missing((*name).to_owned())));
    Ok(Outputs {
        tensors: tensors.collect::<Result<_, _>>()?,
        model: answer.model_name,
        version: answer.model_version,
    })
}

impl Output<'_> {
    fn tensor(&self, bytes: Option<&[u8]>) -> Result<Tensor, OipError> {
        let known = DATATYPES.into_iter().find(|(_, name)| *name == self.datatype);
        let (dtype, _) = known.ok_or_else(|| OipError::Datatype {
            output: self.name.clone(),
            datatype: self.datatype.chars().take(40).collect(),
        })?;
        let volume = self.shape.iter().try_fold(1_usize, |n, dim| n.checked_mul(*dim));
        let volume = volume
            .filter(|_| self.shape.len() <= MAX_RANK)
            .ok_or_else(|| self.wrong("has a shape that cannot be".to_owned()))?;
        let data = match (bytes, self.data) {
            (Some(bytes), _) => numbers::read(dtype, bytes)
                .ok_or_else(|| self.wrong(format!("has {} bytes of {dtype}", bytes.len())))?,
            (None, Some(json)) => numbers::read_json(dtype, json.get(), volume)
                .map_err(|error| self.wrong(format!("holds no {dtype}: {error}")))?,
            (None, None) => return Err(self.wrong("has no data".to_owned())),
        };
        Tensor::new(self.shape.clone(), data).map_err(|error| self.wrong(error.to_string()))
    }

    fn wrong(&self, problem: String) -> OipError {
        OipError::Tensor { output: self.name.chars().take(80).collect(), problem }
    }
}

#[cfg(test)]
mod tests;
