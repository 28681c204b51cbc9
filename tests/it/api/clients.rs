//! Others' clients of the Open Inference Protocol, unmodified.

use super::*;
use crate::support::client;

/// What a test of a client says: lines that it prints where all is well end with one of `done`.
const TRITON: &str = r#"
import sys
import numpy as np
import tritonclient.http as triton

client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("bearing", "1")
assert not client.is_model_ready("defects")
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
metadata = client.get_model_metadata("bearing")
assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 256]}], metadata
assert client.get_model_config("bearing")["input"][0]["data_type"] == "TYPE_FP32"

rng = np.random.default_rng(1)
windows = rng.normal(size=(2, 3, 256)).astype(np.float32)
answers = []
for binary in (True, False):
    given = triton.InferInput("input", windows.shape, "FP32")
    given.set_data_from_numpy(windows, binary_data=binary)
    for wanted in (True, False):
        output = triton.InferRequestedOutput("logits", binary_data=wanted)
        for packed in (None, "gzip", "deflate"):
            answer = client.infer("bearing", [given], outputs=[output], request_id="7",
                                  request_compression_algorithm=packed)
            assert answer.get_response()["id"] == "7"
            answers.append(answer.as_numpy("logits"))
assert all((answer == answers[0]).all() and answer.shape == (2, 4) for answer in answers)
many = [client.async_infer("bearing", [given]) for _ in range(8)]
assert all((one.get_result().as_numpy("logits") == answers[0]).all() for one in many)
assert client.get_inference_statistics("bearing")["model_stats"][0]["inference_count"] == 40

states = {model["name"]: model["state"] for model in client.get_model_repository_index()}
assert states == {"bearing": "READY", "defects": "UNAVAILABLE", "vibration-anomaly": "UNAVAILABLE"}, states
client.load_model("vibration-anomaly")
assert client.infer("vibration-anomaly", [given]).as_numpy("reconstruction").shape == (2, 3, 256)
client.unload_model("vibration-anomaly")
assert not client.is_model_ready("vibration-anomaly")

for name, told in (("nothing", "no model"), ("defects", "not loaded")):
    try:
        client.infer(name, [given])
    except triton.InferenceServerException as error:
        assert told in str(error) and error.status() == "404", error
    else:
        raise AssertionError(name)
wrong = triton.InferInput("input", [1, 2, 256], "FP32")
wrong.set_data_from_numpy(windows[:1, :2])
try:
    client.infer("bearing", [wrong])
except triton.InferenceServerException as error:
    assert "the model takes FP32 [-1, 3, 256]" in str(error), error
else:
    raise AssertionError("a wrong shape")
print("done")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn tritonclient_works_as_it_is() {
    let broker = Mosquitto::start();
    let mut app = site::start(site::BEARING, broker.port(), &[OPEN]).await;
    until_ready(&mut app, true).await;
    let address = app.api_address().expect("it listens");
    let said = tokio::task::spawn_blocking(move || {
        client(("", "tritonclient.http"), TRITON, &[address.to_string()])
    });
    if let Some(said) = said.await.expect("a client") {
        assert_eq!(said, "done\n");
    }
    app.drain().await;
}
