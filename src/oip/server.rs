//! What a server hears and says: one `infer` request and its answer.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::input::Input;
use super::numbers::{self, Elements};
use super::{Given, OipError, datatype, short, split, tensor, text_of, wrong};
use crate::event::{DType, Tensor};
use crate::package::{Signature, TensorInfo};

/// A request that fits the model.
#[derive(Debug, PartialEq)]
pub struct Asked {
    /// The client's name for it, which the answer repeats.
    pub id: Option<String>,
    /// In the order of the signature.
    pub inputs: Vec<Tensor>,
    /// Which outputs the answer has, by their places in the signature, and whether as bytes.
    pub outputs: Vec<(usize, bool)>,
    /// For how long the client waits.
    pub timeout: Option<Duration>,
}

/// An answer: its body, and how much of that is JSON where tensors follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// `None`: all of it.
    pub json: Option<usize>,
    /// The body.
    pub body: Vec<u8>,
}

/// A request.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Settings,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    #[serde(default)]
    outputs: Vec<Output>,
}

/// Others are for other servers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Settings {
    binary_data_output: bool,
    /// Microseconds.
    timeout: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Form,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Form {
    binary_data: Option<bool>,
    classification: Option<u64>,
}

/// Reads a request for a model of this signature; `header` is its [`HEADER_LENGTH`](super::HEADER_LENGTH). With `0` there
/// the body is the elements of the one input, and the answer is in bytes.
pub fn asked(header: Option<&str>, body: &[u8], signature: &Signature) -> Result<Asked, OipError> {
    if header.is_some_and(|header| header.trim() == "0") {
        return raw(body, signature);
    }
    let (json, mut rest) = split(header, body)?;
    let Request { id, parameters, inputs, outputs } = serde_json::from_slice(json)?;
    let mut found = Inputs::new(signature);
    for Input { name, shape, datatype, parameters, data } in inputs {
        let given = match parameters.binary_data_size {
            None => data,
            Some(size) => {
                let (bytes, behind) = rest.split_at_checked(size).ok_or_else(|| {
                    wrong(&name, format!("has {} of its {size} bytes", rest.len()))
                })?;
                rest = behind;
                Given::Bytes(bytes)
            }
        };
        found.take(&name, (&datatype, &shape), given)?;
    }
    if !rest.is_empty() {
        return Err(OipError::Left(rest.len()));
    }
    let binary = parameters.binary_data_output;
    let wants = outputs.iter().map(|output| Wants {
        name: &output.name,
        classes: output.parameters.classification.is_some_and(|count| count > 0),
        binary: output.parameters.binary_data.unwrap_or(binary),
    });
    Ok(Asked {
        inputs: found.all()?,
        outputs: wanted(wants, binary, &signature.outputs)?,
        id,
        timeout: parameters.timeout.filter(|wait| *wait > 0).map(Duration::from_micros),
    })
}

/// The inputs of a request as they are read, each in its place in the signature.
#[derive(Debug)]
pub struct Inputs<'a> {
    known: &'a [TensorInfo],
    found: Vec<Option<Tensor>>,
}

impl<'a> Inputs<'a> {
    /// None is there yet.
    pub fn new(signature: &'a Signature) -> Self {
        Self { known: &signature.inputs, found: signature.inputs.iter().map(|_| None).collect() }
    }

    /// Takes one with its datatype and shape, if the model has it and it fits.
    pub fn take(
        &mut self,
        name: &str,
        told: (&str, &[usize]),
        given: Given<'_>,
    ) -> Result<(), OipError> {
        let place = place(name, self.known)?;
        if self.found[place].is_some() {
            return Err(wrong(name, "is there twice".to_owned()));
        }
        let tensor = tensor(name, told, given)?;
        fits(&self.known[place], &tensor)?;
        self.found[place] = Some(tensor);
        Ok(())
    }

    /// All of them.
    pub fn all(self) -> Result<Vec<Tensor>, OipError> {
        let missing = |info: &TensorInfo| OipError::Missing(short(&info.name));
        let inputs = self.known.iter().zip(self.found);
        inputs.map(|(info, tensor)| tensor.ok_or_else(|| missing(info))).collect()
    }
}

/// An output as it is asked for.
#[derive(Debug)]
pub struct Wants<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether as classes, which there are none of here.
    pub classes: bool,
    /// Whether as bytes.
    pub binary: bool,
}

/// The outputs that are asked for; all, where none is named, as bytes if `binary`.
pub fn wanted<'a>(
    wants: impl ExactSizeIterator<Item = Wants<'a>>,
    binary: bool,
    known: &[TensorInfo],
) -> Result<Vec<(usize, bool)>, OipError> {
    if wants.len() == 0 {
        return Ok((0..known.len()).map(|place| (place, binary)).collect());
    }
    let mut places: Vec<(usize, bool)> = Vec::with_capacity(known.len());
    for Wants { name, classes, binary } in wants {
        if classes {
            let problem = "is not given as classes here; ask for its numbers";
            return Err(wrong(name, problem.to_owned()));
        }
        let place = place(name, known)?;
        // Few words would make a large answer.
        if places.iter().any(|(other, _)| *other == place) {
            return Err(wrong(name, "is asked for twice".to_owned()));
        }
        places.push((place, binary));
    }
    Ok(places)
}

/// The elements of the one input alone. What is left open of its shape is told by their number.
fn raw(body: &[u8], signature: &Signature) -> Result<Asked, OipError> {
    let [info] = &*signature.inputs else {
        let problem = "is not alone: without JSON nobody knows which of the inputs this is";
        let first = signature.inputs.first().map_or("", |info| &info.name);
        return Err(wrong(first, problem.to_owned()));
    };
    if info.dtype == DType::String {
        // The whole body is one text.
        let problem = || wrong(&info.name, "is no text in UTF-8".to_owned());
        let text = text_of(body).ok_or_else(problem)?;
        return alone(info, &vec![1; info.shape.len()], Given::Read(vec![text].into()), signature);
    }
    let elements = body.len() / info.dtype.size();
    let fixed: usize = info.shape.iter().flatten().product();
    let mut open = info.shape.iter().filter(|dim| dim.is_none()).count();
    let shape = info.shape.iter().map(|dim| {
        dim.unwrap_or_else(|| {
            open -= 1;
            // The first ones are 1: a batch of one.
            if open > 0 { 1 } else { elements.checked_div(fixed).unwrap_or(0) }
        })
    });
    let shape: Vec<_> = shape.collect();
    alone(info, &shape, Given::Bytes(body), signature)
}

/// A request of one input and nothing else; all outputs are wanted, in bytes.
fn alone(
    info: &TensorInfo,
    shape: &[usize],
    given: Given<'_>,
    signature: &Signature,
) -> Result<Asked, OipError> {
    let tensor = tensor(&info.name, (datatype(info.dtype), shape), given)?;
    fits(info, &tensor)?;
    let outputs = (0..signature.outputs.len()).map(|place| (place, true)).collect();
    Ok(Asked { id: None, inputs: vec![tensor], outputs, timeout: None })
}

fn place(name: &str, known: &[TensorInfo]) -> Result<usize, OipError> {
    known.iter().position(|info| info.name == name).ok_or_else(|| {
        let known: Vec<_> = known.iter().map(|info| format!("`{}`", info.name)).collect();
        OipError::Unknown { name: short(name), known: known.join(", ") }
    })
}

/// The tensor is one that the model takes.
fn fits(info: &TensorInfo, tensor: &Tensor) -> Result<(), OipError> {
    let shape = tensor.shape();
    let dims = info.shape.iter().zip(shape);
    let fits = info.dtype == tensor.dtype()
        && info.shape.len() == shape.len()
        && dims.into_iter().all(|(want, is)| *is > 0 && want.is_none_or(|want| want == *is));
    if fits {
        return Ok(());
    }
    let wanted: Vec<i64> = dims_of(info);
    let (is, wants) = (datatype(tensor.dtype()), datatype(info.dtype));
    Err(wrong(&info.name, format!("is {is} {shape:?}; the model takes {wants} {wanted:?}")))
}

/// The dimensions of a tensor in the protocol: -1 where one is open.
pub fn dims_of(info: &TensorInfo) -> Vec<i64> {
    let known = |dim: usize| i64::try_from(dim).unwrap_or(i64::MAX);
    info.shape.iter().map(|dim| dim.map_or(-1, known)).collect()
}

/// An answer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Answer<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Told<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Told<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<serde_json::Value>>")]
    data: Option<Elements<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Bytes {
    binary_data_size: usize,
}

/// Writes the answer of a model: its outputs with their names, and whether as bytes. A number that is not finite has
/// no form in JSON and is null there.
pub fn answer(
    (model, version): (&str, u64),
    id: Option<&str>,
    outputs: &[(&str, &Tensor, bool)],
) -> Written {
    let told = outputs.iter().map(|(name, tensor, binary)| Told {
        name,
        datatype: datatype(tensor.dtype()),
        shape: tensor.shape(),
        parameters: binary.then(|| Bytes { binary_data_size: tensor.data().bytes() }),
        data: (!binary).then(|| Elements(tensor.data())),
    });
    let answer = Answer {
        model_name: model,
        model_version: version.to_string(),
        id,
        outputs: told.collect(),
    };
    // There is nothing in it that JSON could not hold.
    let mut body = serde_json::to_vec(&answer).unwrap_or_default();
    let json = outputs.iter().any(|(_, _, binary)| *binary).then_some(body.len());
    for (_, tensor, _) in outputs.iter().filter(|(_, _, binary)| *binary) {
        numbers::write(tensor.data(), &mut body);
    }
    Written { json, body }
}

#[cfg(test)]
mod tests;
