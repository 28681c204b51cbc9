//! Tensors in the messages of gRPC: as bytes, or as numbers in the field of their datatype.

use std::time::Duration;

use bytes::Bytes;

use super::proto::infer_parameter::ParameterChoice;
use super::proto::model_infer_request::InferInputTensor;
use super::proto::model_infer_response::InferOutputTensor;
use super::proto::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use crate::event::{DType, Data, Tensor};
use crate::oip::server::{Asked, Inputs, Wants, wanted};
use crate::oip::{Given, OipError, bytes_of, datatype, dtype, text_of, wrong};
use crate::package::{Package, Signature};

/// Says that the elements of a tensor are where both sides can look.
const SHARED_MEMORY: &str = "shared_memory_region";

/// Reads a request for a model of this signature. The answer is to be in bytes where the request is.
pub(super) fn asked(request: ModelInferRequest, signature: &Signature) -> Result<Asked, OipError> {
    let ModelInferRequest { id, parameters, inputs, outputs, raw_input_contents: raw, .. } =
        request;
    let binary = !raw.is_empty();
    if binary && raw.len() != inputs.len() {
        return Err(OipError::Bytes { bytes: raw.len(), inputs: inputs.len() });
    }
    let mut bytes = raw.iter();
    let mut found = Inputs::new(signature);
    for input in inputs {
        take(&mut found, input, bytes.next().map(|bytes| &bytes[..]))?;
    }
    if let Some(output) = outputs.iter().find(|out| out.parameters.contains_key(SHARED_MEMORY)) {
        let problem = "is not written into shared memory here; take it from the answer";
        return Err(wrong(&output.name, problem.to_owned()));
    }
    let wants = outputs.iter().map(|output| Wants {
        name: &output.name,
        classes: output.parameters.contains_key("classification"),
        binary,
    });
    Ok(Asked {
        inputs: found.all()?,
        outputs: wanted(wants, binary, &signature.outputs)?,
        id: Some(id).filter(|id| !id.is_empty()),
        timeout: timeout(parameters.get("timeout"))?,
    })
}

/// The elements of a request, in bytes or so.
pub(super) fn size(request: &ModelInferRequest) -> usize {
    let contents = request.inputs.iter().filter_map(|input| input.contents.as_deref());
    let raw = request.raw_input_contents.iter().map(Bytes::len);
    raw.sum::<usize>() + contents.map(|contents| count(contents) * size_of::<f32>()).sum::<usize>()
}

/// For how many microseconds a client waits; 0: it does not say.
fn timeout(told: Option<&InferParameter>) -> Result<Option<Duration>, OipError> {
    let micros = match told.map(|told| &told.parameter_choice) {
        None => Some(0),
        Some(Some(ParameterChoice::Int64Param(micros))) => u64::try_from(*micros).ok(),
        Some(Some(ParameterChoice::Uint64Param(micros))) => Some(*micros),
        Some(_) => None,
    };
    let micros =
        micros.ok_or_else(|| wrong("timeout", "is no number of microseconds".to_owned()))?;
    Ok(Some(micros).filter(|micros| *micros > 0).map(Duration::from_micros))
}

fn take(
    found: &mut Inputs<'_>,
    input: InferInputTensor,
    bytes: Option<&[u8]>,
) -> Result<(), OipError> {
    let InferInputTensor { name, datatype, shape, parameters, contents } = input;
    if parameters.contains_key(SHARED_MEMORY) {
        let problem = "is in shared memory, which is not looked at here; send its elements";
        return Err(wrong(&name, problem.to_owned()));
    }
    let dim =
        |dim| usize::try_from(dim).map_err(|_| wrong(&name, format!("has a dimension {dim}")));
    let shape = shape.into_iter().map(dim).collect::<Result<Vec<_>, _>>()?;
    let contents = contents.map(|contents| *contents).unwrap_or_default();
    let given = match (bytes, dtype(&datatype)) {
        (Some(_), _) if contents != InferTensorContents::default() => {
            return Err(wrong(&name, "is there in bytes and in contents".to_owned()));
        }
        (Some(bytes), _) => Given::Bytes(bytes),
        (None, Some(dtype)) if contents != InferTensorContents::default() => {
            Given::Read(elements(contents, dtype).map_err(|problem| wrong(&name, problem))?)
        }
        (None, _) => Given::Nowhere,
    };
    found.take(&name, (&datatype, &shape), given)
}

/// The elements in the field of their type, and in no other.
fn elements(contents: InferTensorContents, dtype: DType) -> Result<Data, String> {
    let all = count(&contents);
    let (data, field) = match dtype {
        DType::Bool => (Data::Bool(contents.bool_contents), "bool_contents"),
        DType::U8 => (Data::U8(narrow(contents.uint_contents, dtype)?), "uint_contents"),
        DType::I8 => (Data::I8(narrow(contents.int_contents, dtype)?), "int_contents"),
        DType::U16 => (Data::U16(narrow(contents.uint_contents, dtype)?), "uint_contents"),
        DType::I16 => (Data::I16(narrow(contents.int_contents, dtype)?), "int_contents"),
        DType::U32 => (Data::U32(contents.uint_contents), "uint_contents"),
        DType::I32 => (Data::I32(contents.int_contents), "int_contents"),
        DType::U64 => (Data::U64(contents.uint64_contents), "uint64_contents"),
        DType::I64 => (Data::I64(contents.int64_contents), "int64_contents"),
        DType::F32 => (Data::F32(contents.fp32_contents), "fp32_contents"),
        DType::F64 => (Data::F64(contents.fp64_contents), "fp64_contents"),
        DType::String => {
            let texts: Option<_> =
                contents.bytes_contents.iter().map(|text| text_of(text)).collect();
            let texts: Vec<String> = texts.ok_or("holds what is no text in UTF-8, or a NUL")?;
            (Data::String(texts), "bytes_contents")
        }
        DType::F16 => return Err("is of FP16, which is given in raw_input_contents".to_owned()),
    };
    if data.len() != all {
        let elsewhere = all - data.len();
        let is = datatype(dtype);
        return Err(format!(
            "has {elsewhere} elements elsewhere than in {field}, as {is} has them"
        ));
    }
    Ok(data)
}

fn count(contents: &InferTensorContents) -> usize {
    contents.bool_contents.len()
        + contents.int_contents.len()
        + contents.int64_contents.len()
        + contents.uint_contents.len()
        + contents.uint64_contents.len()
        + contents.fp32_contents.len()
        + contents.fp64_contents.len()
        + contents.bytes_contents.len()
}

/// Numbers as a type that may be too small for them.
fn narrow<T, N>(wide: Vec<T>, dtype: DType) -> Result<Vec<N>, String>
where
    T: Copy + std::fmt::Display,
    N: TryFrom<T>,
{
    let one =
        |value: T| N::try_from(value).map_err(|_| format!("holds {value}, which is no {dtype}"));
    wide.into_iter().map(one).collect()
}

/// What a model made of a request: in bytes all, if one of its outputs is to be or has no other form.
pub(super) fn answer(
    package: &Package,
    id: Option<String>,
    wanted: &[(usize, bool)],
    outputs: &[Tensor],
) -> ModelInferResponse {
    let told: Vec<_> = wanted
        .iter()
        .filter_map(|(place, binary)| {
            let name = &package.signature.outputs.get(*place)?.name;
            Some((name, outputs.get(*place)?, *binary))
        })
        .collect();
    let binary = told.iter().any(|(_, tensor, binary)| *binary || tensor.dtype() == DType::F16);
    let known = |dim: &usize| i64::try_from(*dim).unwrap_or(i64::MAX);
    let outputs = told.iter().map(|(name, tensor, _)| InferOutputTensor {
        name: (*name).clone(),
        datatype: datatype(tensor.dtype()).to_owned(),
        shape: tensor.shape().iter().map(known).collect(),
        contents: (!binary).then(|| contents(tensor.data())),
        ..InferOutputTensor::default()
    });
    let raw = told.iter().filter(|_| binary).map(|(_, tensor, _)| bytes_of(tensor.data()).into());
    ModelInferResponse {
        model_name: package.name.as_str().to_owned(),
        model_version: package.version.to_string(),
        id: id.unwrap_or_default(),
        outputs: outputs.collect(),
        raw_output_contents: raw.collect(),
        ..ModelInferResponse::default()
    }
}

/// Elements in the field of their type.
fn contents(data: &Data) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    match data {
        Data::Bool(values) => contents.bool_contents.clone_from(values),
        Data::U8(values) => contents.uint_contents = widen(values),
        Data::I8(values) => contents.int_contents = widen(values),
        Data::U16(values) => contents.uint_contents = widen(values),
        Data::I16(values) => contents.int_contents = widen(values),
        Data::U32(values) => contents.uint_contents.clone_from(values),
        Data::I32(values) => contents.int_contents.clone_from(values),
        Data::U64(values) => contents.uint64_contents.clone_from(values),
        Data::I64(values) => contents.int64_contents.clone_from(values),
        Data::F32(values) => contents.fp32_contents.clone_from(values),
        Data::F64(values) => contents.fp64_contents.clone_from(values),
        Data::String(texts) => {
            contents.bytes_contents = texts.iter().map(|text| text.clone().into()).collect();
        }
        // It has no field: `answer` gives it in bytes.
        Data::F16(_) => {}
    }
    contents
}

fn widen<T: Copy, W: From<T>>(values: &[T]) -> Vec<W> {
    values.iter().copied().map(W::from).collect()
}

#[cfg(test)]
mod tests;
