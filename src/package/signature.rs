//! What the ONNX file says about itself: inputs, outputs, operators, who made it.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use tract_onnx::pb::{
    GraphProto, ModelProto, TensorProto, ValueInfoProto, tensor_proto::DataLocation,
    tensor_proto::DataType, tensor_shape_proto::dimension, type_proto,
};

use super::TensorInfo;
use crate::event::DType;

const MAX_ENDS: usize = 256;
const MAX_RANK: usize = 16;
const MAX_NODES: usize = 1_000_000;
const MAX_METADATA: usize = 256;
const MAX_METADATA_BYTES: usize = 64 * 1024;
/// Subgraphs (loops, branches) in subgraphs.
const MAX_DEPTH: usize = 16;

/// The face of a model, read from its ONNX file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    /// What goes in, without initializers, in the order of the file.
    pub inputs: Vec<TensorInfo>,
    /// What comes out, in the order of the file.
    pub outputs: Vec<TensorInfo>,
    /// Operator sets by domain; `""` is ONNX's own.
    pub opsets: BTreeMap<String, i64>,
    /// Every operator that occurs, as `(domain, type)`.
    pub operators: BTreeSet<(String, String)>,
    /// What made the file, with its version; empty if it does not say.
    pub producer: String,
    /// Free notes that the producer left.
    pub metadata: BTreeMap<String, String>,
}

impl Signature {
    /// Reads an ONNX file; the reason of a refusal is a whole message.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        Self::of(&decode(bytes)?)
    }

    fn of(model: &ModelProto) -> Result<Self, String> {
        let graph = model.graph.as_ref().ok_or("it holds no graph; is it an ONNX model?")?;
        if graph.output.is_empty() {
            return Err("its graph has no output".into());
        }
        let mut operators = BTreeSet::new();
        look_through(graph, 0, &mut operators)?;
        let initialized: BTreeSet<_> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        let fed = graph.input.iter().filter(|input| !initialized.contains(input.name.as_str()));
        let metadata = model.metadata_props.iter();
        Ok(Self {
            inputs: ends(fed, "input")?,
            outputs: ends(graph.output.iter(), "output")?,
            opsets: model
                .opset_import
                .iter()
                .map(|set| (domain(&set.domain).to_owned(), set.version))
                .collect(),
            operators,
            producer: format!("{} {}", model.producer_name, model.producer_version).trim().into(),
            metadata: metadata
                .filter(|entry| entry.key.len() + entry.value.len() <= MAX_METADATA_BYTES)
                .take(MAX_METADATA)
                .map(|entry| (entry.key.clone(), entry.value.clone()))
                .collect(),
        })
    }

    /// The version of ONNX's own operators; 0 if the file does not say.
    pub fn opset(&self) -> i64 {
        self.opsets.get("").copied().unwrap_or(0)
    }

    /// The model computes with 8-bit integers (or says so by Quantize and Dequantize pairs).
    pub fn is_quantized(&self) -> bool {
        self.operators.iter().any(|(_, operator)| {
            ["QuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"]
                .contains(&operator.as_str())
        })
    }

    /// Every input and output leaves its first dimension open, so that items can share a run.
    pub fn is_batched(&self) -> bool {
        let open = |info: &TensorInfo| info.shape.first() == Some(&None);
        !self.inputs.is_empty() && self.inputs.iter().chain(&self.outputs).all(open)
    }
}

/// Decodes the protobuf message.
pub fn decode(bytes: &[u8]) -> Result<ModelProto, String> {
    let model = ModelProto::decode(bytes).map_err(|error| {
        format!("is no ONNX model, or only a part of one ({error}); copy it again")
    })?;
    if model.graph.is_none() {
        return Err(
            "holds no graph: it is no ONNX model, or it was truncated; copy it again".into()
        );
    }
    Ok(model)
}

/// ONNX's own domain has two spellings.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

fn look_through(
    graph: &GraphProto,
    depth: usize,
    operators: &mut BTreeSet<(String, String)>,
) -> Result<(), String> {
    if depth > MAX_DEPTH || graph.node.len() > MAX_NODES {
        return Err(format!(
            "its graph is over the limit of {MAX_NODES} operators or {MAX_DEPTH} levels of subgraphs"
        ));
    }
    graph.initializer.iter().try_for_each(refuse_external)?;
    for node in &graph.node {
        operators.insert((domain(&node.domain).to_owned(), node.op_type.clone()));
        for attribute in &node.attribute {
            attribute.t.iter().try_for_each(refuse_external)?;
            for inner in attribute.g.iter().chain(&attribute.graphs) {
                look_through(inner, depth + 1, operators)?;
            }
        }
    }
    Ok(())
}

fn refuse_external(tensor: &TensorProto) -> Result<(), String> {
    if tensor.data_location == Some(DataLocation::External as i32) {
        return Err(format!(
            "the weights `{}` lie in another file; export the model with its weights inside \
             (onnx.save_model(model, path, save_as_external_data=False))",
            tensor.name
        ));
    }
    Ok(())
}

fn ends<'a>(
    found: impl Iterator<Item = &'a ValueInfoProto>,
    what: &str,
) -> Result<Vec<TensorInfo>, String> {
    let ends: Vec<_> = found.map(|info| end(info, what)).collect::<Result<_, _>>()?;
    if ends.len() > MAX_ENDS {
        return Err(format!("{} {what}s are over the limit of {MAX_ENDS}", ends.len()));
    }
    Ok(ends)
}

fn end(info: &ValueInfoProto, what: &str) -> Result<TensorInfo, String> {
    let name = &info.name;
    let declared = info.r#type.as_ref().and_then(|t| t.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = declared else {
        return Err(format!(
            "the {what} `{name}` is no tensor; export the model with tensors only (no ZipMap)"
        ));
    };
    let dtype = dtype(tensor.elem_type).ok_or_else(|| {
        format!("the {what} `{name}` has elements of a type that eir does not know")
    })?;
    let shape = tensor.shape.as_ref().ok_or_else(|| {
        format!(
            "the {what} `{name}` has no shape; run onnx.shape_inference.infer_shapes on the model"
        )
    })?;
    if shape.dim.len() > MAX_RANK {
        return Err(format!("the {what} `{name}` has more than {MAX_RANK} dimensions"));
    }
    let shape = shape
        .dim
        .iter()
        .map(|dim| match &dim.value {
            Some(dimension::Value::DimValue(size)) => usize::try_from(*size).ok(),
            _ => None,
        })
        .collect();
    Ok(TensorInfo { name: name.clone(), dtype, shape })
}

fn dtype(code: i32) -> Option<DType> {
    Some(match DataType::try_from(code).ok()? {
        DataType::Bool => DType::Bool,
        DataType::Uint8 => DType::U8,
        DataType::Int8 => DType::I8,
        DataType::Uint16 => DType::U16,
        DataType::Int16 => DType::I16,
        DataType::Uint32 => DType::U32,
        DataType::Int32 => DType::I32,
        DataType::Uint64 => DType::U64,
        DataType::Int64 => DType::I64,
        DataType::Float16 => DType::F16,
        DataType::Float => DType::F32,
        DataType::Double => DType::F64,
        DataType::String => DType::String,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::graph::{self, Graph};

    #[test]
    fn a_signature_leaves_open_what_the_file_leaves_open() {
        let bytes = Graph::new()
            .input("x", DType::F32, &[None, Some(4)])
            .input("w", DType::F32, &[Some(4), Some(2)])
            .constant("w", graph::f32s(&[4, 2], &[0.0; 8]))
            .node("Gemm", &["x", "w"], &["y"], &[])
            .output("y", DType::F32, &[None, Some(2)])
            .bytes();
        let signature = Signature::read(&bytes).expect("signature");
        assert_eq!(signature.inputs.len(), 1, "an initializer is no input");
        assert_eq!(signature.inputs[0].shape, [None, Some(4)]);
        assert_eq!(signature.outputs[0].shape, [None, Some(2)]);
        assert!(signature.is_batched() && !signature.is_quantized());
        assert_eq!(signature.opset(), 17);
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let whole = Graph::identity(DType::F32, &[Some(2)]).bytes();
        for cut in 0..whole.len() {
            // No prefix may panic; most are refused, none may pass as a model with both ends.
            let read = Signature::read(&whole[..cut]);
            assert!(read.is_err() || cut > whole.len() - 16, "{cut} of {} bytes", whole.len());
        }
        assert!(Signature::read(b"not a model at all").is_err());
        assert!(Signature::read(b"").expect_err("empty").contains("graph"));
    }

    #[test]
    fn weights_in_another_file_are_refused_with_the_remedy() {
        let mut model = Graph::identity(DType::F32, &[Some(2)]).model();
        let graph = model.graph.as_mut().expect("graph");
        graph.initializer.push(TensorProto {
            name: "w".into(),
            data_location: Some(DataLocation::External as i32),
            ..TensorProto::default()
        });
        let error = Signature::of(&model).expect_err("external");
        assert!(error.contains("weights inside"), "{error}");
    }
}
