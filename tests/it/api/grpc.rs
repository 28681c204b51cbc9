//! The models over gRPC, asked by others' clients and by hand.

mod caller;

use eir::event::Tensor;
use prost::Message;

use self::caller::{Call, Caller, framed};
use super::models::{device, window};
use super::*;
use crate::support::Authority;
use crate::support::client;
use crate::support::cloud::Cloud;
use crate::traces;

const TRITON: &str = r#"
import queue
import sys
import numpy as np
import grpc
import tritonclient.grpc as triton
import tritonclient.http
from tritonclient.grpc import service_pb2, service_pb2_grpc

over_http = tritonclient.http.InferenceServerClient(sys.argv[1])
client = triton.InferenceServerClient(sys.argv[2])
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("bearing", "1")
assert not client.is_model_ready("defects") and not client.is_model_ready("bearing", "7")
assert client.get_server_metadata(as_json=True) == over_http.get_server_metadata()
def numbers(told):
    # JSON of protobuf has int64 as text.
    return {**told, **{k: [{**t, "shape": [int(d) for d in t["shape"]]} for t in told[k]] for k in ("inputs", "outputs")}}
assert numbers(client.get_model_metadata("bearing", as_json=True)) == over_http.get_model_metadata("bearing")
config, same = client.get_model_config("bearing").config, over_http.get_model_config("bearing")
assert (config.name, config.platform, config.backend) == (same["name"], same["platform"], same["backend"])
assert (config.input[0].name, list(config.input[0].dims)) == ("input", same["input"][0]["dims"])
assert (config.output[0].name, list(config.output[0].dims)) == ("logits", same["output"][0]["dims"])
group, batching = config.instance_group[0], same["dynamic_batching"]
assert (group.name, group.count) == ("bearing", same["instance_group"][0]["count"])
assert list(config.dynamic_batching.preferred_batch_size) == batching["preferred_batch_size"]
assert config.dynamic_batching.max_queue_delay_microseconds == batching["max_queue_delay_microseconds"]
assert config.input[0].data_type == triton.model_config_pb2.TYPE_FP32

rng = np.random.default_rng(1)
windows = rng.normal(size=(2, 3, 256)).astype(np.float32)
given = triton.InferInput("input", windows.shape, "FP32")
given.set_data_from_numpy(windows)
same = tritonclient.http.InferInput("input", windows.shape, "FP32")
same.set_data_from_numpy(windows)
expected = over_http.infer("bearing", [same]).as_numpy("logits")
outputs = [triton.InferRequestedOutput("logits")]
for packed in (None, "gzip", "deflate"):
    answer = client.infer("bearing", [given], outputs=outputs, request_id="7", compression_algorithm=packed,
                          timeout=20_000_000, client_timeout=20)
    assert answer.get_response().id == "7" and answer.get_response().model_version == "1"
    assert (answer.as_numpy("logits") == expected).all() and answer.as_numpy("logits").shape == (2, 4)

# Numbers in the message itself, answered alike.
stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(sys.argv[2]))
typed = service_pb2.ModelInferRequest(model_name="bearing", inputs=[
    service_pb2.ModelInferRequest.InferInputTensor(
        name="input", datatype="FP32", shape=windows.shape,
        contents=service_pb2.InferTensorContents(fp32_contents=windows.flatten().tolist()))])
answer = stub.ModelInfer(typed)
assert not answer.raw_output_contents and answer.outputs[0].shape == [2, 4]
assert (np.array(answer.outputs[0].contents.fp32_contents, np.float32).reshape(2, 4) == expected).all()

many = queue.Queue()
for n in range(8):
    client.async_infer("bearing", [given], callback=lambda result, error: many.put((result, error)))
for n in range(8):
    result, error = many.get(timeout=60)
    assert error is None and (result.as_numpy("logits") == expected).all(), error

# A stream: answers in order, and one that fails in the midst of them.
said = queue.Queue()
client.start_stream(callback=lambda result, error: said.put((result, error)))
for n in range(20):
    client.async_stream_infer("nothing" if n == 5 else "bearing", [given], request_id=str(n))
for n in range(20):
    result, error = said.get(timeout=60)
    if n == 5:
        assert result is None and "there is no model `nothing`" in str(error), error
        continue
    assert error is None, error
    assert result.get_response().id == str(n) and (result.as_numpy("logits") == expected).all()
    assert result.get_response().parameters["triton_final_response"].bool_param
client.stop_stream()

statistics = client.get_inference_statistics("bearing").model_stats[0]
assert (statistics.name, statistics.version, statistics.inference_count) == ("bearing", "1", 64), statistics
assert statistics.inference_stats.success.count == 32 and statistics.inference_stats.success.ns > 0
assert [model.name for model in client.get_inference_statistics().model_stats] == ["bearing"]

states = {model.name: model.state for model in client.get_model_repository_index().models}
assert states == {"bearing": "READY", "defects": "UNAVAILABLE", "vibration-anomaly": "UNAVAILABLE"}, states
client.load_model("vibration-anomaly")
assert client.infer("vibration-anomaly", [given]).as_numpy("reconstruction").shape == (2, 3, 256)
assert over_http.is_model_ready("vibration-anomaly")
client.unload_model("vibration-anomaly")
assert not client.is_model_ready("vibration-anomaly")

def refused(status, told, call):
    try:
        call()
    except triton.InferenceServerException as error:
        assert told in str(error) and error.status() == "StatusCode." + status, error
    else:
        raise AssertionError(told)

refused("NOT_FOUND", "no model", lambda: client.infer("nothing", [given]))
refused("NOT_FOUND", "not loaded", lambda: client.infer("defects", [given]))
refused("NOT_FOUND", "in version 1, not 9", lambda: client.infer("bearing", [given], model_version="9"))
refused("INVALID_ARGUMENT", "`x` is no version", lambda: client.get_model_config("bearing", "x"))
refused("NOT_FOUND", "nothing", lambda: client.load_model("nothing"))
refused("INVALID_ARGUMENT", "`config` is not taken", lambda: client.load_model("defects", config="{}"))
refused("INVALID_ARGUMENT", "stays loaded", lambda: client.unload_model("bearing"))
wrong = triton.InferInput("input", [1, 2, 256], "FP32")
wrong.set_data_from_numpy(windows[:1, :2])
refused("INVALID_ARGUMENT", "the model takes FP32 [-1, 3, 256]", lambda: client.infer("bearing", [wrong]))
words = triton.InferInput("input", [1], "BYTES")
words.set_data_from_numpy(np.array([b"words"], np.object_))
refused("INVALID_ARGUMENT", "`input` is BYTES [1]; the model takes FP32", lambda: client.infer("bearing", [words]))
shared = triton.InferInput("input", windows.shape, "FP32")
shared.set_shared_memory("region", windows.nbytes)
refused("INVALID_ARGUMENT", "shared memory", lambda: client.infer("bearing", [shared]))
classes = [triton.InferRequestedOutput("logits", class_count=2)]
refused("INVALID_ARGUMENT", "not given as classes", lambda: client.infer("bearing", [given], outputs=classes))
print("done")
"#;

const HEALTH: &str = r#"
import sys
import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

channel = grpc.insecure_channel(sys.argv[1])
health = health_pb2_grpc.HealthStub(channel)
for service in ("", "inference.GRPCInferenceService"):
    told = health.Check(health_pb2.HealthCheckRequest(service=service))
    assert told.status == health_pb2.HealthCheckResponse.SERVING, told
try:
    health.Check(health_pb2.HealthCheckRequest(service="nothing"))
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.NOT_FOUND, error
else:
    raise AssertionError("a service that is not there")
for told in health.Watch(health_pb2.HealthCheckRequest(service="nothing")):
    assert told.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN, told
    break

# Without the description of the protocol: the server has it.
database = ProtoReflectionDescriptorDatabase(channel)
services = set(database.get_services())
assert services == {"inference.GRPCInferenceService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} or \
    services == {"inference.GRPCInferenceService", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}, services
pool = DescriptorPool(database)
method = pool.FindServiceByName("inference.GRPCInferenceService").FindMethodByName("ServerMetadata")
call = channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata",
                           request_serializer=lambda message: message.SerializeToString(),
                           response_deserializer=GetMessageClass(method.output_type).FromString)
assert call(GetMessageClass(method.input_type)()).name == "eir"
print("done")
"#;

/// A request for a model, as the protocol numbers it.
#[derive(Clone, PartialEq, Message)]
struct Infer {
    #[prost(string, tag = "1")]
    model: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Input>,
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
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(string, tag = "3")]
    id: String,
    #[prost(bytes = "vec", repeated, tag = "6")]
    raw: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct StreamAnswer {
    #[prost(string, tag = "1")]
    error: String,
    #[prost(message, tag = "2")]
    answer: Option<Answer>,
}

/// Health, and what is said of it.
#[derive(Clone, PartialEq, Message)]
struct Health {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const UNIMPLEMENTED: i32 = 12;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

fn request(id: &str, window: &Tensor) -> Infer {
    let values = window.as_f32().expect("f32");
    Infer {
        model: "bearing".to_owned(),
        id: id.to_owned(),
        inputs: vec![Input {
            name: "input".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 3, 256],
        }],
        raw: vec![values.iter().flat_map(|value| value.to_le_bytes()).collect()],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tritonclient_works_over_grpc_as_it_is() {
    let broker = Mosquitto::start();
    let mut app = site::start(site::BEARING, broker.port(), &[OPEN]).await;
    until_ready(&mut app, true).await;
    let addresses = [app.api_address(), app.grpc_address()];
    let addresses = addresses.map(|address| address.expect("a port").to_string());
    let said =
        tokio::task::spawn_blocking(move || client(("", "tritonclient.grpc"), TRITON, &addresses));
    if let Some(said) = said.await.expect("a client") {
        assert_eq!(said, "done\n");
    }
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_health_and_reflection_are_answered() {
    let broker = Mosquitto::start();
    let mut app = site::start(site::BEARING, broker.port(), &[OPEN]).await;
    until_ready(&mut app, true).await;
    let address = [app.grpc_address().expect("a port").to_string()];
    let said =
        tokio::task::spawn_blocking(move || client(("", "grpc_reflection"), HEALTH, &address));
    if let Some(said) = said.await.expect("a client") {
        assert_eq!(said, "done\n");
    }
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_in_bytes_and_in_a_stream_in_order() {
    let (app, _, _broker) = device(&[]).await;
    let mut caller = Caller::connect(app.grpc_address().expect("a port")).await;
    let window = window();
    let (code, message, answers) = caller.call(INFER, &request("7", &window)).await;
    assert_eq!((code, &*message, answers.len()), (0, "", 1));
    let answer = Answer::decode(&answers[0][..]).expect("an answer");
    assert_eq!((&*answer.id, answer.raw[0].len()), ("7", 4 * size_of::<f32>()));

    let mut stream = caller.open(STREAM, "60S", framed(&request("0", &window))).await;
    for id in 1..20_u8 {
        let mut request = request(&id.to_string(), &window);
        if id == 3 {
            request.inputs[0].shape = vec![1, 3, 255];
        }
        // The pieces in which a message comes do not count.
        let message = framed(&request);
        let (head, rest) = message.split_at(usize::from(id));
        for piece in head.chunks(1).chain([rest]) {
            stream.say(piece).await;
        }
    }
    for id in 0..20_u8 {
        let told = StreamAnswer::decode(&stream.next().await.expect("a message")[..]);
        let StreamAnswer { error, answer: told } = told.expect("an answer");
        let told = told.expect("an answer");
        assert_eq!(told.id, id.to_string());
        if id == 3 {
            assert!(error.contains("the shape [1, 3, 255]"), "{error}");
        } else {
            assert_eq!((&*error, &told.raw), ("", &answer.raw));
        }
    }
    let (code, _, rest) = stream.end().await;
    assert_eq!((code, rest.len()), (0, 0));
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_has_the_code_of_grpc() {
    let (app, _, _broker) = device(&["api.max_body=64KiB", "api.max_bodies=64KiB"]).await;
    let mut caller = Caller::connect(app.grpc_address().expect("a port")).await;
    let window = window();
    let good = || request("", &window);
    let many = Infer { inputs: vec![Input::default(); 5000], ..good() };
    let large = Infer { raw: vec![vec![0; 65_536]], ..good() };
    for (path, request, code, told) in [
        (INFER, many, INVALID_ARGUMENT, "more than 4096 inputs, outputs and parameters"),
        (INFER, large.clone(), RESOURCE_EXHAUSTED, "larger than 65536 bytes"),
        (STREAM, large, RESOURCE_EXHAUSTED, "larger than 65536 bytes"),
        ("/inference.GRPCInferenceService/Nothing", good(), UNIMPLEMENTED, ""),
        ("/nothing", good(), UNIMPLEMENTED, ""),
    ] {
        let (found, message, answers) = caller.call(path, &request).await;
        assert!(found == code && message.contains(told) && answers.is_empty(), "{found} {message}");
    }
    let bytes = [vec![0, 0, 0, 0, 3], vec![0xFF; 3]].concat();
    let (code, message, _) = caller.begin(INFER, "60S", bytes).await.end().await;
    assert_eq!(
        (code, message.starts_with("it is not as the protocol says")),
        (3, true),
        "{message}"
    );
    let bytes = framed(&good());
    let (code, _, _) = caller.begin(INFER, "soon", bytes.clone()).await.end().await;
    assert_eq!(code, INVALID_ARGUMENT);
    let (code, _, _) = caller.begin(INFER, "0n", bytes).await.end().await;
    assert_eq!(code, DEADLINE_EXCEEDED);
    assert_eq!(caller.call(INFER, &good()).await.0, 0, "it still answers");
    app.drain().await;
}

/// Who sends faster than it is answered is slowed down and not cut off, however small its requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_many_small_requests_is_answered_to_the_end() {
    let (app, _, _broker) = device(&[]).await;
    let mut caller = Caller::connect(app.grpc_address().expect("a port")).await;
    let small = |id: usize| {
        framed(&Infer { model: "bearing".to_owned(), id: format!("{id:60}"), ..Infer::default() })
    };
    let count = 10_000;
    let mut stream = caller.open(STREAM, "60S", small(0)).await;
    for id in 1..count {
        stream.say(&small(id)).await;
    }
    for id in 0..count {
        let told = StreamAnswer::decode(&stream.next().await.expect("a message")[..]);
        let told = told.expect("an answer");
        assert_eq!(told.error, "no tensor `input` in it");
        assert_eq!(told.answer.expect("an answer").id, format!("{id:60}"));
    }
    assert_eq!(stream.end().await.0, 0);
    app.drain().await;
}

/// Requests that are on their way hold room; who finds none is told so, in a stream it waits, and then there is some.
#[tokio::test(flavor = "multi_thread")]
async fn requests_take_no_more_room_than_they_may() {
    let more = ["api.max_body=64KiB", "api.max_bodies=64KiB", "api.timeout=1s"];
    let (app, _, _broker) = device(&more).await;
    let address = app.grpc_address().expect("a port");
    let window = window();
    let mut slow = Caller::connect(address).await;
    // The head of a message of 64 KiB, of which no more comes.
    let holds = slow.open(STREAM, "60S", vec![0, 0, 1, 0, 0]).await;
    let mut caller = Caller::connect(address).await;
    let busy = async {
        loop {
            let (code, message, _) = caller.call(INFER, &request("", &window)).await;
            if code != 0 {
                return (code, message);
            }
        }
    };
    let (code, message) = within("no room", busy).await;
    assert_eq!(
        (code, &*message),
        (RESOURCE_EXHAUSTED, "other requests take all the room at the moment")
    );
    let waits = caller.open(STREAM, "60S", framed(&request("7", &window))).await;
    let (code, _, answers) = holds.rest().await;
    assert_eq!((code, answers.len()), (DEADLINE_EXCEEDED, 0));
    let (code, _, answers) = waits.end().await;
    assert_eq!((code, answers.len()), (0, 1));
    app.drain().await;
}

/// A question that never ends holds a place that another may need.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_end_a_question_is_not_waited_for() {
    let (app, _, _broker) = device(&["api.timeout=300ms"]).await;
    let mut caller = Caller::connect(app.grpc_address().expect("a port")).await;
    for path in [INFER, "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"] {
        let whole = framed(&Health::default());
        for said in [vec![0], whole] {
            let (code, message, _) = caller.open(path, "60S", said).await.rest().await;
            assert_eq!(code, DEADLINE_EXCEEDED, "{path}: {message}");
        }
    }
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_device_and_the_end_is_told() {
    let mut broker = Mosquitto::start();
    let mut app = site::start(site::BEARING, broker.port(), &[OPEN]).await;
    until_ready(&mut app, true).await;
    let mut caller = Caller::connect(app.grpc_address().expect("a port")).await;
    let check = "/grpc.health.v1.Health/Check";
    let of = |answers: &[Vec<u8>]| Health::decode(&answers[0][..]).expect("health").status;
    let (_, _, answers) = caller.call(check, &Health::default()).await;
    assert_eq!(of(&answers), SERVING);
    let watch = "/grpc.health.v1.Health/Watch";
    let mut watch = caller.begin(watch, "60S", framed(&Health::default())).await;
    let next = async |watch: &mut Call| of(&[watch.next().await.expect("a change")]);
    assert_eq!(next(&mut watch).await, SERVING);
    broker.kill();
    until_ready(&mut app, false).await;
    assert_eq!(next(&mut watch).await, NOT_SERVING);
    broker.start_again();
    until_ready(&mut app, true).await;
    assert_eq!(next(&mut watch).await, SERVING);

    let stream = caller.open(STREAM, "60S", framed(&request("0", &window()))).await;
    app.drain().await;
    assert_eq!(watch.end().await.2.len(), 1, "it does not serve any more, and that is the end");
    let (code, _, answers) = stream.rest().await;
    assert_eq!((code, answers.len()), (UNAVAILABLE, 1));
}

/// Every call and the role that it needs.
const CALLS: [(&str, Option<&str>); 16] = [
    ("/grpc.health.v1.Health/Check", None),
    ("/grpc.health.v1.Health/Watch", None),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Some("read")),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Some("read")),
    ("/inference.GRPCInferenceService/ServerLive", None),
    ("/inference.GRPCInferenceService/ServerReady", None),
    ("/inference.GRPCInferenceService/ServerMetadata", Some("read")),
    ("/inference.GRPCInferenceService/ModelReady", Some("read")),
    ("/inference.GRPCInferenceService/ModelMetadata", Some("read")),
    ("/inference.GRPCInferenceService/ModelConfig", Some("read")),
    ("/inference.GRPCInferenceService/ModelStatistics", Some("read")),
    ("/inference.GRPCInferenceService/RepositoryIndex", Some("read")),
    (INFER, Some("infer")),
    (STREAM, Some("infer")),
    ("/inference.GRPCInferenceService/RepositoryModelLoad", Some("admin")),
    ("/inference.GRPCInferenceService/RepositoryModelUnload", Some("admin")),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_call_needs_its_role() {
    let roles = ["read", "infer", "admin"];
    let tokens = roles.map(|role| (role, eir::api::new_token()));
    let known = tokens.iter().map(|(role, (_, sha256))| {
        format!("api.auth.tokens.{role}={{ role = \"{role}\", sha256 = \"{sha256}\" }}")
    });
    let known: Vec<_> = known.collect();
    let (app, _, _broker) = device(&known.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut caller = Caller::connect(app.grpc_address().expect("a port")).await;
    for (path, needed) in CALLS {
        let place = |role: Option<&str>| roles.iter().position(|known| Some(*known) == role);
        for (role, (token, _)) in [("", (String::new(), String::new()))].iter().chain(&tokens) {
            caller.token.clone_from(token);
            // What none of them takes: who is let in is told something else.
            let first = vec![0, 0, 0, 0, 1, 0xFF];
            let (code, message) = match caller.begin(path, "60S", first).await.next().await {
                Ok(_) => (0, String::new()),
                Err(refused) => refused,
            };
            let refused = [UNAUTHENTICATED, PERMISSION_DENIED].contains(&code);
            let may = place(Some(role)) >= place(needed);
            assert_eq!(refused, !may, "{path} as `{role}`: {code} {message}");
        }
    }
    app.drain().await;
}

/// A stream is one call and many requests.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_so_in_a_stream_too() {
    let (app, _, _broker) = device(&["api.rate=3/h"]).await;
    let mut caller = Caller::connect(app.grpc_address().expect("a port")).await;
    let window = window();
    let mut stream = caller.open(STREAM, "60S", framed(&request("0", &window))).await;
    for id in ["1", "2"] {
        stream.say(&framed(&request(id, &window))).await;
    }
    let mut errors = Vec::new();
    for _ in 0..3 {
        let told = StreamAnswer::decode(&stream.next().await.expect("a message")[..]);
        errors.push(told.expect("an answer").error);
    }
    assert_eq!((&*errors[0], &*errors[1]), ("", ""));
    assert!(errors[2].contains("no more than 3/h"), "{errors:?}");
    let (code, _, _) = caller.call(INFER, &request("3", &window)).await;
    assert_eq!(code, RESOURCE_EXHAUSTED);
    app.drain().await;
}

/// A call is traced as it says, and so is each request of a stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_of_the_trace_of_its_call() {
    let collector = Cloud::start(|_| traces::TAKEN).await;
    let to = traces::to(&collector);
    let set: Vec<_> = to.iter().map(String::as_str).collect();
    let (app, _, _broker) = device(&set).await;
    let mut caller = Caller::connect(app.grpc_address().expect("a port")).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    caller.trace = format!("00-{trace}-b7ad6b7169203331-00");
    assert_eq!(caller.call(INFER, &request("0", &window())).await.0, 0);
    caller.trace = format!("00-{trace}-b7ad6b7169203331-01");
    let mut stream = caller.open(STREAM, "60S", framed(&request("1", &window()))).await;
    stream.next().await.expect("a message");
    drop(stream);
    caller.trace.clear();
    let nothing = Infer { model: "nothing".to_owned(), ..request("2", &window()) };
    assert_eq!(caller.call(INFER, &nothing).await.0, 5);
    app.drain().await;
    let all = traces::spans(&collector);
    let (whole, parts) = traces::one(&all, "infer bearing");
    assert_eq!((traces::hex(&whole.trace_id).as_str(), parts.len()), (trace, 2));
    assert_eq!(traces::attribute(&whole.attributes, "rpc.method"), "ModelStreamInfer");
    assert_eq!(traces::attribute(&whole.attributes, "rpc.grpc.status_code"), "0");
    let (absent, _) = traces::one(&all, "infer nothing");
    assert_eq!(traces::attribute(&absent.attributes, "rpc.grpc.status_code"), "5");
    assert_ne!(traces::hex(&absent.trace_id), trace);
}

const SECURED: &str = r#"
import sys
import numpy as np
import tritonclient.grpc as triton

address, authority, token = sys.argv[1:]
client = triton.InferenceServerClient(address, ssl=True, root_certificates=authority)
given = triton.InferInput("input", [1, 3, 256], "FP32")
given.set_data_from_numpy(np.zeros((1, 3, 256), np.float32))
assert client.is_server_live()
try:
    client.infer("bearing", [given])
except triton.InferenceServerException as error:
    assert error.status() == "StatusCode.UNAUTHENTICATED" and "a token is needed" in str(error), error
else:
    raise AssertionError("without a token")
headers = {"authorization": "Bearer " + token}
assert client.infer("bearing", [given], headers=headers).as_numpy("logits").shape == (1, 4)
print("done")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_tokens_hold_for_grpc() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let (certificate, key) = authority.sign("localhost");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        eir::disk::replace(&path, text.as_bytes()).expect("written");
        path.to_str().expect("text").to_owned()
    };
    let (certificate, key) = (file("cert.pem", &certificate), file("key.pem", &key));
    let root = file("ca.pem", &authority.pem());
    let (token, sha256) = eir::api::new_token();
    let broker = Mosquitto::start();
    let set = [
        OPEN.to_owned(),
        format!("api.tls={{ cert_file = \"{certificate}\", key_file = \"{key}\" }}"),
        format!("api.auth.tokens.line={{ role = \"infer\", sha256 = \"{sha256}\" }}"),
    ];
    let set: Vec<_> = set.iter().map(String::as_str).collect();
    let app = site::start(site::BEARING, broker.port(), &set).await;
    let address = format!("localhost:{}", app.grpc_address().expect("a port").port());
    let said = tokio::task::spawn_blocking(move || {
        client(("", "tritonclient.grpc"), SECURED, &[address, root, token])
    });
    if let Some(said) = said.await.expect("a client") {
        assert_eq!(said, "done\n");
    }
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_is_where_it_is_told_to_be() {
    let broker = Mosquitto::start();
    let app = site::start(site::BEARING, broker.port(), &[OPEN, "api.grpc=off"]).await;
    assert_eq!((app.api_address().is_some(), app.grpc_address()), (true, None));
    app.drain().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = taken.local_addr().expect("address");
    let grpc = format!("api.grpc={address}");
    let mut app = site::start(site::BEARING, broker.port(), &[OPEN, &grpc]).await;
    assert_eq!(app.grpc_address(), None);
    drop(taken);
    app.heal();
    assert_eq!(app.grpc_address(), Some(address));
    app.drain().await;
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed at the end");
}
