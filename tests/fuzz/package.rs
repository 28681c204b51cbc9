//! Packages: whatever lies in `model.toml` or `model.onnx`, opening it gives an answer.

use eir::package::{Signature, Spec};
use prost::Message;
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto::Dimension,
    tensor_shape_proto::dimension::Value, type_proto,
};

use crate::mutate::drive;

#[test]
fn model_toml() {
    let corpus: Vec<Vec<u8>> = [
        "task = \"classification\"\ntolerance = 0.02\n[input]\nkind = \"samples\"\nlayout = \"CT\"\n\
         mean = [0.0, 1.0]\nscale = [1.0]\n[output]\nlabels = \"labels.txt\"\nactivation = \"softmax\"",
        "task = \"detection\"\nengine = \"ort\"\n[input.images]\nkind = \"image\"\nsize = [320, 240]\n\
         fit = \"letterbox\"\npad = 114\ncolor = \"bgr\"\n[output.boxes]\nlayout = \"ssd\"\n\
         score_threshold = 0.25\nnms_iou = 0.45\n[output.scores]\ntop_k = 3",
        "input = { kind = \"tensor\" }\noutput.score = \"reconstruction\"",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    drive("model.toml", &corpus, |bytes| match Spec::parse(&String::from_utf8_lossy(bytes)) {
        Ok(spec) => {
            assert!(spec.tolerance >= 0.0 && spec.tolerance.is_finite());
            for input in spec.input.values() {
                assert!(input.mean.iter().chain(&input.scale).all(|value| value.is_finite()));
                assert!(input.size.into_iter().flatten().all(|side| (1..=8192).contains(&side)));
            }
            for output in spec.output.values() {
                assert!((0.0..=1.0).contains(&output.nms_iou) && output.max_detections > 0);
                assert!(!output.labels.as_deref().is_some_and(|name| name.contains('/')));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    });
}

#[test]
fn model_onnx() {
    let dim = |value| Dimension { value: Some(value), ..Dimension::default() };
    let end = |name: &str| {
        let shape = vec![dim(Value::DimParam("N".into())), dim(Value::DimValue(3))];
        let value = type_proto::Value::TensorType(type_proto::Tensor {
            elem_type: 1,
            shape: Some(TensorShapeProto { dim: shape }),
        });
        let r#type = Some(TypeProto { value: Some(value), ..TypeProto::default() });
        ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
    };
    let model = ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: "ai.onnx".into(), version: 17 }],
        metadata_props: vec![StringStringEntryProto {
            key: "names".into(),
            value: "{0: 'a'}".into(),
        }],
        graph: Some(GraphProto {
            node: vec![NodeProto {
                op_type: "Add".into(),
                input: vec!["x".into(), "w".into()],
                output: vec!["y".into()],
                ..NodeProto::default()
            }],
            initializer: vec![TensorProto {
                name: "w".into(),
                dims: vec![3],
                data_type: 1,
                raw_data: vec![0; 12],
                ..TensorProto::default()
            }],
            input: vec![end("x")],
            output: vec![end("y")],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    drive("model.onnx", &[model.encode_to_vec()], |bytes| match Signature::read(bytes) {
        Ok(signature) => {
            assert!(!signature.outputs.is_empty());
            assert!(signature.inputs.iter().all(|input| input.shape.len() <= 16));
        }
        Err(reason) => assert!(!reason.is_empty()),
    });
}
