//! What a client says and hears: one `infer` request and its answer.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Given, OipError, datatype, numbers, split, tensor, wrong};
use crate::event::Tensor;

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
    let binary_data_size = tensor.data().bytes();
    AskedInput {
        name,
        shape: tensor.shape(),
        datatype: datatype(tensor.dtype()),
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

/// Reads an answer; `header` is its [`HEADER_LENGTH`](super::HEADER_LENGTH), `wanted` are the outputs that were asked for.
pub fn answer(header: Option<&str>, body: &[u8], wanted: &[&str]) -> Result<Outputs, OipError> {
    let (json, mut rest) = split(header, body)?;
    let answer: Answer<'_> = serde_json::from_slice(json)?;
    let mut found: Vec<Option<Tensor>> = wanted.iter().map(|_| None).collect();
    for output in &answer.outputs {
        let place = wanted.iter().position(|name| *name == output.name);
        let bytes = match output.parameters.as_ref().and_then(|told| told.binary_data_size) {
            None => None,
            Some(size) => {
                let (bytes, behind) = rest.split_at_checked(size).ok_or_else(|| {
                    wrong(&output.name, format!("has {} of its {size} bytes", rest.len()))
                })?;
                rest = behind;
                Some(bytes)
            }
        };
        if let Some(place) = place {
            let told = (&*output.datatype, &*output.shape);
            let given = Given::of(bytes, output.data.map(RawValue::get));
            found[place] = Some(tensor(&output.name, told, given)?);
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

#[cfg(test)]
mod tests;
