//! Against the examples that the protocol and its binary extension publish.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::event::Data;

fn tensor(shape: &[usize], data: impl Into<Data>) -> Tensor {
    Tensor::new(shape.to_vec(), data).expect("a tensor")
}

/// The request of the extension's example: two inputs as bytes, one output wanted so.
#[test]
fn a_request_is_the_published_example() {
    let first = tensor(&[2, 2], vec![1_u32, 2, 3, 4]);
    let second = tensor(&[3], vec![true, false, true]);
    let Request { json, body } = request(&[("input0", &first), ("input1", &second)], &["output0"]);
    let (head, bytes) = body.split_at(json);
    let expected = json!({
        "inputs": [
            { "name": "input0", "shape": [2, 2], "datatype": "UINT32", "parameters": { "binary_data_size": 16 } },
            { "name": "input1", "shape": [3], "datatype": "BOOL", "parameters": { "binary_data_size": 3 } },
        ],
        "outputs": [{ "name": "output0", "parameters": { "binary_data": true } }],
    });
    assert_eq!(serde_json::from_slice::<Value>(head).expect("json"), expected);
    assert_eq!(bytes, [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 1, 0, 1]);
}

/// The answer of the protocol's example, elements in the JSON.
#[test]
fn an_answer_in_json_is_the_published_example() {
    let body = br#"{ "id" : "42", "outputs" : [ { "name" : "output0", "shape" : [ 3, 2 ],
                     "datatype" : "FP32", "data" : [ 1.0, 1.1, 2.0, 2.1, 3.0, 3.1 ] } ] }"#;
    let found = answer(None, body, &["output0"]).expect("an answer");
    assert_eq!(found.tensors, [tensor(&[3, 2], vec![1.0_f32, 1.1, 2.0, 2.1, 3.0, 3.1])]);
    assert_eq!((found.model, found.version), (None, None));
    // Nested as the shape is, which the protocol allows as well.
    let nested = br#"{ "outputs": [{ "name": "output0", "shape": [2, 2], "datatype": "INT64",
                       "data": [[1, 2], [3, 4]] }] }"#;
    let found = answer(None, nested, &["output0"]).expect("an answer");
    assert_eq!(found.tensors, [tensor(&[2, 2], vec![1_i64, 2, 3, 4])]);
}

fn binary(head: &Value, bytes: &[u8]) -> (String, Vec<u8>) {
    let mut body = head.to_string().into_bytes();
    let json = body.len().to_string();
    body.extend_from_slice(bytes);
    (json, body)
}

/// The answer of the extension's example, with a name and a version, and an output that nobody asked for before it.
#[test]
fn an_answer_in_bytes_is_the_published_example() {
    let head = json!({
        "model_name": "mymodel", "model_version": "7",
        "outputs": [
            { "name": "other", "shape": [1], "datatype": "BYTES", "parameters": { "binary_data_size": 5 } },
            { "name": "output0", "shape": [3, 2], "datatype": "FP16", "parameters": { "binary_data_size": 12 } },
            { "name": "output1", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4] },
        ],
    });
    let halves = [1.0, 1.5, 2.0, 2.5, 3.0, 3.5].map(half::f16::from_f32);
    let mut bytes = b"\x01\0\0\0x".to_vec();
    bytes.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    let (json, body) = binary(&head, &bytes);
    let found = answer(Some(&json), &body, &["output1", "output0"]).expect("an answer");
    let expected =
        [tensor(&[2, 2], vec![1.0_f32, 2.0, 3.0, 4.0]), tensor(&[3, 2], halves.to_vec())];
    assert_eq!(found.tensors, expected);
    assert_eq!((found.model.as_deref(), found.version.as_deref()), (Some("mymodel"), Some("7")));
}

#[test]
fn an_answer_that_contradicts_itself_says_how() {
    let output = |more: Value| {
        let mut output = json!({ "name": "a", "shape": [2], "datatype": "FP32" });
        let (Value::Object(all), Value::Object(more)) = (&mut output, more) else { panic!() };
        all.extend(more);
        json!({ "outputs": [output] })
    };
    let size = |size: usize| json!({ "parameters": { "binary_data_size": size } });
    for (head, bytes, told) in [
        (json!({ "error": "no such model" }), &[][..], "it is not as the protocol says"),
        (json!([]), &[], "it is not as the protocol says"),
        (json!({ "outputs": [] }), &[], "no tensor `a`"),
        (output(json!({})), &[], "has no data"),
        (output(json!({ "data": [1] })), &[], "1 elements do not fill the shape [2]"),
        (output(json!({ "data": [1, 2, 3] })), &[], "more than 2 elements"),
        (output(json!({ "data": [1, null] })), &[], "holds no f32"),
        (output(json!({ "data": [1, 2], "datatype": "BF16" })), &[], "is of BF16"),
        (output(json!({ "data": [1, 2], "shape": [-1] })), &[], "it is not as the protocol says"),
        (
            output(json!({ "data": [1], "shape": [1_u64 << 40, 1_u64 << 40] })),
            &[],
            "a shape that cannot be",
        ),
        (output(size(8)), &[0; 7], "has 7 of its 8 bytes"),
        (output(size(8)), &[0; 9], "1 bytes behind"),
        (output(size(7)), &[0; 7], "has 7 bytes of f32"),
        (output(size(4)), &[0; 4], "1 elements do not fill"),
    ] {
        let (json, body) = binary(&head, bytes);
        let error = answer(Some(&json), &body, &["a"]).expect_err("refused");
        assert!(error.to_string().contains(told), "{head}: {error}");
    }
    for header in ["-1", "x", "3", ""] {
        assert!(answer(Some(header), b"{}", &["a"]).is_err(), "{header}");
    }
    for page in [&b"<!DOCTYPE html><html></html>"[..], b"", b"\xFF\xFE"] {
        assert!(matches!(answer(None, page, &["a"]), Err(OipError::Json(_))));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_a_mistake(
        bytes in any::<Vec<u8>>(),
        header in proptest::option::of(any::<u8>()),
        size in any::<u64>(),
        shape in any::<Vec<u64>>(),
    ) {
        let header = header.map(|length| length.to_string());
        let _answer = answer(header.as_deref(), &bytes, &["a"]);
        let head = json!({ "outputs": [{ "name": "a", "shape": shape, "datatype": "FP64",
                                         "parameters": { "binary_data_size": size } }] });
        let (json, body) = binary(&head, &bytes);
        let _answer = answer(Some(&json), &body, &["a"]);
    }
}
