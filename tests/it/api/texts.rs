//! Texts, which the protocol calls BYTES and ONNX strings.

use std::path::PathBuf;

use prost::Message;
use serde_json::json;
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_proto::DataType, tensor_shape_proto::Dimension,
    tensor_shape_proto::dimension::Value, type_proto,
};

use super::models::{device, say};
use super::*;
use crate::support::client;

/// Says what it was told, `[N, 2]`.
fn model() -> Vec<u8> {
    let end = |name: &str| {
        let dim = |value| Dimension { value: Some(value), ..Dimension::default() };
        let dim = vec![dim(Value::DimParam("N".into())), dim(Value::DimValue(2))];
        let tensor = type_proto::Tensor {
            elem_type: DataType::String as i32,
            shape: Some(TensorShapeProto { dim }),
        };
        let value = Some(type_proto::Value::TensorType(tensor));
        let r#type = Some(TypeProto { value, ..TypeProto::default() });
        ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
    };
    let same = NodeProto {
        op_type: "Identity".into(),
        input: vec!["x".into()],
        output: vec!["y".into()],
        ..NodeProto::default()
    };
    let graph = GraphProto {
        name: "echo".into(),
        node: vec![same],
        input: vec![end("x")],
        output: vec![end("y")],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
    ModelProto {
        ir_version: 8,
        opset_import: vec![opset],
        graph: Some(graph),
        ..ModelProto::default()
    }
    .encode_to_vec()
}

/// A device that has it; `None`: no engine here knows texts. With `EIR_REQUIRE_ORT=1` one must.
async fn start() -> Option<(App, SocketAddr, Mosquitto, tempfile::TempDir)> {
    let directory = tempfile::tempdir().expect("tempdir");
    let version = directory.path().join("echo/1");
    std::fs::create_dir_all(&version).expect("a directory");
    eir::disk::replace(&version.join("model.onnx"), &model()).expect("the model");
    let bearing: PathBuf = site::models().join("bearing");
    std::os::unix::fs::symlink(bearing, directory.path().join("bearing")).expect("a link");
    let models = format!("models.dir={}", directory.path().display());
    let (app, address, broker) = device(&[&models]).await;
    let said = say(address, "POST", "/v2/repository/models/echo/load", "", b"").await;
    if said.status == 200 {
        return Some((app, address, broker, directory));
    }
    let (_, message) = said.refused();
    assert!(message.contains("`x` holds texts, which tract does not know"), "{message}");
    let required = std::env::var_os("EIR_REQUIRE_ORT").is_some_and(|value| value == "1");
    assert!(!required, "{message}");
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_come_back_as_they_were_sent() {
    let Some((app, address, _broker, _directory)) = start().await else { return };
    let infer = "/v2/models/echo/infer";
    let about = say(address, "GET", "/v2/models/echo", "", b"").await.json();
    assert_eq!(about["inputs"], json!([{ "name": "x", "datatype": "BYTES", "shape": [-1, 2] }]));
    let config = say(address, "GET", "/v2/models/echo/config", "", b"").await.json();
    assert_eq!(config["input"][0]["data_type"], "TYPE_STRING");
    let ask = async |data: serde_json::Value, shape: [usize; 2]| {
        let input = json!({ "name": "x", "shape": shape, "datatype": "BYTES", "data": data });
        let body = json!({ "inputs": [input] }).to_string();
        say(address, "POST", infer, "", body.as_bytes()).await
    };
    let said = ask(json!([["a", "é"], ["", "d\n"]]), [2, 2]).await.json();
    assert_eq!(said["outputs"][0]["data"], json!(["a", "é", "", "d\n"]), "{said}");
    assert_eq!(said["outputs"][0]["datatype"], "BYTES");
    for (data, told) in [
        (json!(["a", 1]), "`x` holds no string"),
        (json!(["a", "b\0"]), "a NUL"),
        (json!(["a"]), "1 elements do not fill"),
    ] {
        let (status, message) = ask(data, [1, 2]).await.refused();
        assert_eq!((status, message.contains(told)), (400, true), "{message:?} lacks {told:?}");
    }
    app.drain().await;
}

/// What others' clients do with it, over HTTP and gRPC.
const TRITON: &str = r#"
import sys
import numpy as np
import tritonclient.http as http
import tritonclient.grpc as grpc

texts = np.array([["a", "\u00e9"], ["", "long" * 1000]], dtype=object)
for triton, address in ((http, sys.argv[1]), (grpc, sys.argv[2])):
    if address == "off":
        continue
    client = triton.InferenceServerClient(address)
    given = triton.InferInput("x", [2, 2], "BYTES")
    given.set_data_from_numpy(texts)
    answers = [client.infer("echo", [given])]
    if triton is http:
        for binary in (True, False):
            given.set_data_from_numpy(texts, binary_data=binary)
            wanted = triton.InferRequestedOutput("y", binary_data=not binary)
            answers.append(client.infer("echo", [given], outputs=[wanted]))
    for answer in answers:
        found = answer.as_numpy("y")
        found = [[text.decode() if isinstance(text, bytes) else text for text in row] for row in found]
        assert found == texts.tolist(), found
print("done")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn tritonclient_sends_and_reads_texts() {
    let Some((app, address, _broker, _directory)) = start().await else { return };
    let grpc = app.grpc_address().map_or_else(|| "off".to_owned(), |address| address.to_string());
    let said = tokio::task::spawn_blocking(move || {
        client(("", "tritonclient.grpc"), TRITON, &[address.to_string(), grpc])
    });
    if let Some(said) = said.await.expect("a client") {
        assert_eq!(said, "done\n");
    }
    app.drain().await;
}
