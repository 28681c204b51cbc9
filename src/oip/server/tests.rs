//! What a client says is what a server hears, and back.

use serde_json::{Value, json};

use super::super::client;
use super::*;
use crate::event::DType;

fn info(name: &str, dtype: DType, shape: &[Option<usize>]) -> TensorInfo {
    TensorInfo { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

fn signature() -> Signature {
    Signature {
        inputs: vec![info("x", DType::F32, &[None, Some(2)]), info("n", DType::I64, &[Some(1)])],
        outputs: vec![info("y", DType::F32, &[None, Some(2)]), info("k", DType::U8, &[None])],
        ..signature_of_one()
    }
}

fn signature_of_one() -> Signature {
    Signature {
        inputs: vec![info("x", DType::F32, &[None, None, Some(2)])],
        outputs: vec![info("y", DType::F32, &[None, Some(2)])],
        ..Signature::default()
    }
}

fn x() -> Tensor {
    Tensor::new(vec![2, 2], vec![1.0_f32, -2.5, 3.0, 4.0]).expect("tensor")
}

fn n() -> Tensor {
    Tensor::new(vec![1], vec![7_i64]).expect("tensor")
}

#[test]
fn what_a_client_asks_is_heard_in_the_order_of_the_signature() {
    let client::Request { json, body } = client::request(&[("n", &n()), ("x", &x())], &["k", "y"]);
    let found = asked(Some(&json.to_string()), &body, &signature()).expect("asked");
    assert_eq!(found.inputs, [x(), n()]);
    assert_eq!(found.outputs, [(1, true), (0, true)]);
    let plain = json!({
        "id": "42", "parameters": { "timeout": 1500, "sequence_id": 0 },
        "inputs": [
            { "name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, -2.5], [3, 4]] },
            { "name": "n", "shape": [1], "datatype": "INT64", "data": [7] }
        ]
    });
    let found = asked(None, plain.to_string().as_bytes(), &signature()).expect("asked");
    assert_eq!((&found.inputs, found.id.as_deref()), (&vec![x(), n()], Some("42")));
    assert_eq!(found.outputs, [(0, false), (1, false)]);
    assert_eq!(found.timeout, Some(Duration::from_micros(1500)));
}

#[test]
fn elements_without_json_are_the_one_input() {
    let bytes: Vec<u8> = (0..6).flat_map(|n| (n as f32).to_le_bytes()).collect();
    let found = asked(Some("0"), &bytes, &signature_of_one()).expect("asked");
    assert_eq!(found.inputs[0].shape(), [1, 3, 2]);
    assert_eq!(found.outputs, [(0, true)]);
    for (bytes, signature, told) in [
        (&bytes[..20], signature_of_one(), "do not fill the shape"),
        (&bytes[..3], signature_of_one(), "3 bytes of f32"),
        (&[][..], signature_of_one(), "the model takes FP32 [-1, -1, 2]"),
        (&bytes, signature(), "is not alone"),
    ] {
        let error = asked(Some("0"), bytes, &signature).expect_err(told);
        assert!(error.to_string().contains(told), "{told}: {error}");
    }
}

#[test]
fn every_mistake_names_the_thing() {
    let x = json!({ "name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2] });
    let n = json!({ "name": "n", "shape": [1], "datatype": "INT64", "data": [7] });
    let with = |key: &str, value: Value| {
        let mut x = x.clone();
        x[key] = value;
        json!({ "inputs": [x, n] })
    };
    for (request, told) in [
        (json!({}), "not as the protocol says"),
        (json!({ "inputs": [] }), "no tensor `x`"),
        (json!({ "inputs": [x] }), "no tensor `n`"),
        (json!({ "inputs": [x, n, n] }), "`n` is there twice"),
        (with("name", json!("z")), "there is no `z`; `x`, `n` are known"),
        (with("shape", json!([1, 3])), "2 elements do not fill the shape [1, 3]"),
        (with("shape", json!([2, 1])), "`x` is FP32 [2, 1]; the model takes FP32 [-1, 2]"),
        (with("shape", json!([2])), "`x` is FP32 [2]; the model takes FP32 [-1, 2]"),
        (with("shape", json!([-1, 2])), "not as the protocol says"),
        (with("shape", json!([0, 2])), "holds no f32: more than 0 elements"),
        (with("shape", json!([1u64 << 40, 1u64 << 40])), "a shape that cannot be"),
        (with("datatype", json!("BF16")), "`x` is of BF16; BOOL, UINT8"),
        (with("datatype", json!("FP64")), "`x` is FP64 [1, 2]; the model takes FP32"),
        (with("data", json!(["a", 2])), "`x` holds no f32"),
        (with("data", json!(null)), "`x`"),
        (with("parameters", json!({ "binary_data_size": 8 })), "has 0 of its 8 bytes"),
        (
            json!({ "inputs": [x, n], "outputs": [{ "name": "z" }] }),
            "there is no `z`; `y`, `k` are known",
        ),
        (
            json!({ "inputs": [x, n], "outputs": [{ "name": "y" }, { "name": "y" }] }),
            "`y` is asked for twice",
        ),
        (
            json!({ "inputs": [x, n], "outputs": [{ "name": "y", "parameters": { "classification": 2 } }] }),
            "is not given as classes",
        ),
    ] {
        let error = asked(None, request.to_string().as_bytes(), &signature()).expect_err(told);
        let text = error.to_string();
        assert!(text.contains(told), "{told}: {text}");
    }
    let whole = json!({ "inputs": [x, n] }).to_string();
    for (header, told) in [("9999", "9999 bytes of"), ("-1", "-1 bytes of"), ("x", "x bytes of")] {
        let error = asked(Some(header), whole.as_bytes(), &signature()).expect_err(told);
        assert!(error.to_string().contains(told), "{error}");
    }
    let more = [whole.as_bytes(), b"abc"].concat();
    let error = asked(Some(&whole.len().to_string()), &more, &signature()).expect_err("more");
    assert_eq!(error.to_string(), "3 bytes behind its last tensor");
}

#[test]
fn a_client_reads_what_a_server_answers() {
    let k = Tensor::new(vec![2], vec![3_u8, 4]).expect("tensor");
    for (y_binary, k_binary) in [(true, true), (true, false), (false, true), (false, false)] {
        let outputs = [("y", &x(), y_binary), ("k", &k, k_binary)];
        let Written { json, body } = answer(("m", 3), Some("42"), &outputs);
        assert_eq!(json.is_some(), y_binary || k_binary);
        let header = json.map(|json| json.to_string());
        let found = client::answer(header.as_deref(), &body, &["k", "y"]).expect("an answer");
        assert_eq!(found.tensors, [k.clone(), x()]);
        assert_eq!((found.model.as_deref(), found.version.as_deref()), (Some("m"), Some("3")));
        let told: Value =
            serde_json::from_slice(&body[..json.unwrap_or(body.len())]).expect("json");
        assert_eq!(told["id"], "42");
    }
    let odd = Tensor::new(vec![2], vec![f32::NAN, 0.5]).expect("tensor");
    let Written { body, .. } = answer(("m", 3), None, &[("y", &odd, false)]);
    let told: Value = serde_json::from_slice(&body).expect("json");
    assert_eq!((&told["outputs"][0]["data"], told.get("id")), (&json!([null, 0.5]), None));
}
