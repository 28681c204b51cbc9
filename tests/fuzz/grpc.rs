//! Whatever a client of gRPC sends is a request that fits the model, or a mistake.

use eir::api::read_request;
use eir::event::DType;
use eir::package::{Signature, TensorInfo};
use prost::Message;

use crate::mutate::drive;

/// `ModelInferRequest`, as far as it brings tensors.
#[derive(Clone, PartialEq, Message)]
struct Infer {
    #[prost(string, tag = "1")]
    model: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Input>,
    #[prost(message, repeated, tag = "6")]
    outputs: Vec<Output>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    raw: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Input {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
    #[prost(message, optional, tag = "5")]
    contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Message)]
struct Contents {
    #[prost(int64, repeated, tag = "3")]
    int64: Vec<i64>,
    #[prost(float, repeated, tag = "6")]
    fp32: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct Output {
    #[prost(string, tag = "1")]
    name: String,
}

#[test]
fn grpc_requests() {
    let info = |name: &str, dtype, shape: &[Option<usize>]| TensorInfo {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
    };
    let signature = Signature {
        inputs: vec![info("x", DType::F32, &[None, Some(2)]), info("n", DType::I64, &[Some(1)])],
        outputs: vec![info("y", DType::F32, &[None])],
        ..Signature::default()
    };
    let input = |name: &str, datatype: &str, shape: &[i64], contents| Input {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        contents,
    };
    let typed = Infer {
        model: "m".to_owned(),
        id: "42".to_owned(),
        inputs: vec![
            input("x", "FP32", &[1, 2], Some(Contents { int64: vec![], fp32: vec![1.0, -2e3] })),
            input("n", "INT64", &[1], Some(Contents { int64: vec![-7], fp32: vec![] })),
        ],
        outputs: vec![Output { name: "y".to_owned() }],
        raw: Vec::new(),
    };
    let raw = Infer {
        inputs: vec![input("x", "FP32", &[2, 2], None), input("n", "INT64", &[1], None)],
        raw: vec![vec![1; 16], vec![1; 8]],
        ..typed.clone()
    };
    let corpus = [typed.encode_to_vec(), raw.encode_to_vec()];
    for good in &corpus {
        read_request(good, &signature).expect("a request");
    }
    drive("grpc requests", &corpus, |message| match read_request(message, &signature) {
        Ok(asked) => {
            assert_eq!(asked.inputs.len(), signature.inputs.len());
            for (tensor, info) in asked.inputs.iter().zip(&signature.inputs) {
                assert_eq!(tensor.dtype(), info.dtype);
                let dims = tensor.shape().iter().zip(&info.shape);
                assert!(dims.clone().all(|(is, want)| want.is_none_or(|want| want == *is)));
                assert_eq!(tensor.data().len(), tensor.shape().iter().product::<usize>());
                assert!(!tensor.data().is_empty());
            }
            assert!(asked.outputs.iter().all(|(place, _)| *place == 0));
        }
        Err(error) => assert!(error.len() < 800, "{error}"),
    });
}
