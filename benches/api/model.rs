//! The model that all servers serve, and what they are asked: vectors of 32 numbers through a small network.

use std::path::Path;

use eir::event::Tensor;
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, tensor_proto::DataType, tensor_shape_proto::Dimension,
    tensor_shape_proto::dimension::Value, type_proto,
};

/// Its name, and that of its one input and output.
pub(crate) const NAME: &str = "mlp";
pub(crate) const INPUT: &str = "input";
pub(crate) const OUTPUT: &str = "output";

/// Numbers of a vector that goes in and of one that comes out.
pub(crate) const WIDTH: usize = 32;
pub(crate) const CLASSES: usize = 4;

const HIDDEN: usize = 64;
const OPSET: i64 = 17;
const IR: i64 = 8;
const SEED: u64 = 1;

/// What the package says of it: as that says what the model does, requests that come together share a run.
const MEANING: &str = "task = \"regression\"\n[input]\nkind = \"samples\"\nlayout = \"T\"\n";

/// Writes `<name>/1/model.onnx` below `models`: 32 numbers, 64 hidden, 4 out, with random weights. And what it means.
pub(crate) fn write(models: &Path) {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut weights = |name: &str, dims: &[usize]| {
        let values = (0..dims.iter().product()).map(|_| random.random_range(-0.3_f32..0.3));
        TensorProto {
            name: name.into(),
            dims: dims.iter().map(|&dim| i64::try_from(dim).expect("small")).collect(),
            data_type: DataType::Float as i32,
            float_data: values.collect(),
            ..TensorProto::default()
        }
    };
    let graph = GraphProto {
        name: NAME.into(),
        initializer: vec![
            weights("w1", &[WIDTH, HIDDEN]),
            weights("b1", &[HIDDEN]),
            weights("w2", &[HIDDEN, CLASSES]),
            weights("b2", &[CLASSES]),
        ],
        node: vec![
            node("Gemm", &[INPUT, "w1", "b1"], "sum"),
            node("Relu", &["sum"], "hidden"),
            node("Gemm", &["hidden", "w2", "b2"], OUTPUT),
        ],
        input: vec![end(INPUT, WIDTH)],
        output: vec![end(OUTPUT, CLASSES)],
        ..GraphProto::default()
    };
    let model = ModelProto {
        ir_version: IR,
        producer_name: "eir".into(),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    let version = models.join(NAME).join("1");
    std::fs::create_dir_all(&version).expect("a directory");
    eir::disk::replace(&version.join("model.onnx"), &model.encode_to_vec()).expect("the model");
    eir::disk::replace(&version.join("model.toml"), MEANING.as_bytes()).expect("its meaning");
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: output.into(),
        op_type: operator.into(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

/// `[-1, width]` of float32.
fn end(name: &str, width: usize) -> ValueInfoProto {
    let dim = |value| Dimension { value: Some(value), ..Dimension::default() };
    let width = Value::DimValue(i64::try_from(width).expect("small"));
    let shape = TensorShapeProto { dim: vec![dim(Value::DimParam("batch".into())), dim(width)] };
    let value = type_proto::Value::TensorType(type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(shape),
    });
    let r#type = Some(TypeProto { value: Some(value), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}

/// So many vectors, the same in every run.
pub(crate) fn vectors(count: usize) -> Tensor {
    let mut random = StdRng::seed_from_u64(SEED + 1);
    let values = (0..count * WIDTH).map(|_| random.random_range(-1.0_f32..1.0));
    Tensor::new(vec![count, WIDTH], values.collect::<Vec<_>>()).expect("a tensor")
}
