//! Whatever a client asks in the Open Inference Protocol is a request that fits the model, or a mistake.

use eir::event::DType;
use eir::oip::server;
use eir::package::{Signature, TensorInfo};

use crate::mutate::drive;

#[test]
fn open_inference_protocol_requests() {
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
    let alone = Signature {
        inputs: vec![info("x", DType::F16, &[None, None, Some(2)])],
        ..signature.clone()
    };
    let json = r#"{"id":"42","parameters":{"timeout":5,"binary_data_output":true},"inputs":[
        {"name":"x","shape":[1,2],"datatype":"FP32","data":[[1.0,-2e3]]},
        {"name":"n","shape":[1],"datatype":"INT64","data":[7]}],
        "outputs":[{"name":"y","parameters":{"binary_data":false}}]}"#;
    let head = r#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","parameters":{"binary_data_size":16}},
        {"name":"n","shape":[1],"datatype":"INT64","parameters":{"binary_data_size":8}}]}"#;
    let framed = |head: &str, bytes: &[u8]| {
        let length = u16::try_from(head.len()).expect("short");
        [&length.to_le_bytes()[..], head.as_bytes(), bytes].concat()
    };
    let corpus = [framed(json, b""), framed(head, &[1; 24]), framed("", &[0; 12])];
    drive("oip requests", &corpus, |data| {
        // The first two bytes are what the header tells.
        let Some((length, body)) = data.split_first_chunk() else { return };
        let header = u16::from_le_bytes(*length).to_string();
        for (header, signature) in
            [(Some(&*header), &signature), (None, &signature), (Some("0"), &alone)]
        {
            match server::asked(header, body, signature) {
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
                Err(error) => assert!(error.to_string().len() < 800, "{error}"),
            }
        }
    });
}
