//! The models, asked in the Open Inference Protocol.

use eir::event::{DType, Tensor};
use eir::oip::{HEADER_LENGTH, client};
use serde_json::{Value, json};

use super::*;

/// What a server said, its body as bytes.
pub(super) struct Said {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Said {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("json")
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The status, and what it says is wrong.
    pub(super) fn refused(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().expect("an error").to_owned())
    }
}

pub(super) async fn say(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Said {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: eir\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    let mut stream = TcpStream::connect(address).await.expect("connect");
    // A body that is not wanted may be refused while it is written.
    let _written = stream.write_all(&[head.as_bytes(), body].concat()).await;
    let mut all = Vec::new();
    within("an answer", stream.read_to_end(&mut all)).await.expect("read");
    let end = all.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    Said { status, head, body: all[end + 4..].to_vec() }
}

async fn post(address: SocketAddr, path: &str, body: &Value) -> Said {
    say(address, "POST", path, "", body.to_string().as_bytes()).await
}

pub(super) async fn device(more: &[&str]) -> (App, SocketAddr, Mosquitto) {
    let broker = Mosquitto::start();
    let app = site::start(site::BEARING, broker.port(), &[&[OPEN], more].concat()).await;
    let address = app.api_address().expect("it listens");
    (app, address, broker)
}

/// A golden window as the model takes it, `[1, 3, 256]`.
pub(super) fn window() -> Tensor {
    let golden: Value = serde_json::from_str(&site::window("outer_race", 1)).expect("json");
    let axes = ["x", "y", "z"].map(|name| golden[name].as_array().expect("an axis").clone());
    let values: Vec<f32> = axes
        .into_iter()
        .flatten()
        .map(|value| serde_json::from_value(value).expect("f32"))
        .collect();
    Tensor::new(vec![1, 3, 256], values).expect("a tensor")
}

fn input(tensor: &Tensor) -> Value {
    let data = tensor.as_f32().expect("f32");
    json!({ "name": "input", "shape": tensor.shape(), "datatype": "FP32", "data": data })
}

/// The place of the largest.
fn best(logits: &[f32]) -> usize {
    let largest = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    largest.expect("logits").0
}

const INFER: &str = "/v2/models/bearing/infer";

const OUTER_RACE: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_model_answers_in_json_and_in_bytes_alike() {
    let (app, address, _broker) = device(&[]).await;
    let window = window();
    let body = json!({ "id": "7", "inputs": [input(&window)] });
    let said = post(address, INFER, &body).await;
    assert_eq!((said.status, said.header("content-type")), (200, Some("application/json")));
    let told = said.json();
    assert_eq!(
        (&told["id"], &told["model_name"], &told["model_version"]),
        (&json!("7"), &json!("bearing"), &json!("1"))
    );
    let output = &told["outputs"][0];
    assert_eq!(
        (&output["name"], &output["datatype"], &output["shape"]),
        (&json!("logits"), &json!("FP32"), &json!([1, 4]))
    );
    let logits: Vec<f32> = serde_json::from_value(output["data"].clone()).expect("numbers");
    assert_eq!(best(&logits), OUTER_RACE, "{logits:?}");

    let client::Request { json, body } = client::request(&[("input", &window)], &["logits"]);
    let header = format!("{HEADER_LENGTH}: {json}\r\n");
    let said = say(address, "POST", "/v2/models/bearing/versions/1/infer", &header, &body).await;
    assert_eq!((said.status, said.header("content-type")), (200, Some("application/octet-stream")));
    let found =
        client::answer(said.header(HEADER_LENGTH), &said.body, &["logits"]).expect("an answer");
    assert_eq!(found.tensors[0].as_f32().expect("f32"), logits);

    // Without any JSON, the elements of the one input: as many windows as there are.
    let bytes = &body[json..];
    let zero = format!("{HEADER_LENGTH}: 0\r\n");
    let said = say(address, "POST", INFER, &zero, &[bytes, bytes].concat()).await;
    let found =
        client::answer(said.header(HEADER_LENGTH), &said.body, &["logits"]).expect("an answer");
    assert_eq!((found.tensors[0].shape(), found.tensors[0].dtype()), (&[2, 4][..], DType::F32));

    let stats = &get(address, "/v2/models/bearing/stats").await.json()["model_stats"][0];
    let success = &stats["inference_stats"]["success"];
    assert_eq!((&stats["inference_count"], &success["count"]), (&json!(4), &json!(3)));
    assert!(
        success["ns"].as_u64() > Some(0) && stats["last_inference"].as_u64() > Some(0),
        "{stats}"
    );
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_says_what_it_takes_and_gives() {
    let (app, address, _broker) = device(&[]).await;
    for path in ["/v2/models/bearing", "/v2/models/bearing/versions/1"] {
        let told = get(address, path).await.json();
        assert_eq!((&told["name"], &told["versions"]), (&json!("bearing"), &json!(["1"])));
        let tensor =
            |name, shape: &[i64]| json!([{ "name": name, "datatype": "FP32", "shape": shape }]);
        assert_eq!(told["inputs"], tensor("input", &[-1, 3, 256]));
        assert_eq!(told["outputs"], tensor("logits", &[-1, 4]));
        let ready = get(address, &format!("{path}/ready")).await;
        assert_eq!((ready.status, ready.json()["ready"].as_bool()), (200, Some(true)));
        let config = get(address, &format!("{path}/config")).await.json();
        assert_eq!(config["input"][0]["data_type"], "TYPE_FP32");
        assert_eq!(
            (&config["max_batch_size"], &config["output"][0]["dims"]),
            (&json!(0), &json!([-1, 4]))
        );
    }
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_loaded_and_unloaded_and_those_of_pipelines_stay() {
    let (app, address, _broker) = device(&[]).await;
    let index = |address| async move {
        let told = post(address, "/v2/repository/index", &json!({})).await.json();
        let entry = |entry: &Value| {
            format!("{}@{} {}", entry["name"], entry["version"], entry["state"]).replace('"', "")
        };
        told.as_array().expect("an array").iter().map(entry).collect::<Vec<_>>()
    };
    let before = ["bearing@1 READY", "defects@1 UNAVAILABLE", "vibration-anomaly@1 UNAVAILABLE"];
    assert_eq!(index(address).await, before);
    let path = "/v2/models/vibration-anomaly";
    let (status, error) = say(address, "GET", path, "", b"").await.refused();
    assert!(
        status == 404 && error.contains("/v2/repository/models/vibration-anomaly/load"),
        "{error}"
    );
    let loaded = post(address, "/v2/repository/models/vibration-anomaly/load", &json!({})).await;
    assert_eq!(loaded.status, 200);
    assert_eq!(index(address).await[2], "vibration-anomaly@1 READY");
    let said =
        post(address, &format!("{path}/infer"), &json!({ "inputs": [input(&window())] })).await;
    assert_eq!(said.json()["outputs"][0]["shape"], json!([1, 3, 256]));
    let unloaded =
        post(address, "/v2/repository/models/vibration-anomaly/unload", &json!({})).await;
    assert_eq!((unloaded.status, index(address).await), (200, before.map(str::to_owned).to_vec()));
    let refused = post(address, "/v2/repository/models/bearing/unload", &json!({})).await.refused();
    assert_eq!(
        refused,
        (400, "a pipeline or a request uses model `bearing`; it stays loaded meanwhile".to_owned())
    );
    for name in ["nothing", "..%2f..%2fetc", "%00"] {
        let path = format!("/v2/repository/models/{name}/load");
        assert_eq!(post(address, &path, &json!({})).await.refused().0, 404, "{name}");
    }
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_is_told_why() {
    let (app, address, _broker) = device(&["api.max_body=64KiB", "api.max_bodies=64KiB"]).await;
    let window = window();
    let mut wrong = input(&window);
    wrong["name"] = json!("x");
    for (path, headers, body, status, told) in [
        (
            "/v2/models/nothing/infer",
            "",
            json!({}).to_string(),
            404,
            "those that there are: bearing, defects",
        ),
        (
            "/v2/models/bearing/versions/9/infer",
            "",
            json!({}).to_string(),
            404,
            "in version 1, not 9",
        ),
        (
            "/v2/models/bearing/versions/x/infer",
            "",
            json!({}).to_string(),
            400,
            "`x` is no version",
        ),
        ("/v2/models/..%2f..%2fetc/infer", "", json!({}).to_string(), 404, "there is no model"),
        (INFER, "", "not json".to_owned(), 400, "not as the protocol says"),
        (
            INFER,
            "",
            json!({ "inputs": [wrong] }).to_string(),
            400,
            "there is no `x`; `input` are known",
        ),
        (
            INFER,
            "inference-header-content-length: 999999\r\n",
            json!({}).to_string(),
            400,
            "999999 bytes of 2",
        ),
        (INFER, "content-encoding: br\r\n", json!({}).to_string(), 415, "gzip and deflate are"),
        (
            INFER,
            "content-encoding: gzip\r\n",
            json!({}).to_string(),
            400,
            "not compressed as it says",
        ),
        (INFER, "", "x".repeat(65_537), 413, "larger than 65536 bytes"),
    ] {
        let (found, error) = say(address, "POST", path, headers, body.as_bytes()).await.refused();
        assert!(found == status && error.contains(told), "{path}: {found} {error}");
    }
    let said = say(address, "GET", INFER, "", b"").await;
    assert_eq!((said.status, said.header("allow")), (405, Some("post")));
    for (chunk, status) in [("zz\r\n", 400), ("20000\r\n", 413)] {
        let head = format!(
            "POST {INFER} HTTP/1.1\r\nhost: eir\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{chunk}"
        );
        let mut stream = TcpStream::connect(address).await.expect("connect");
        // The rest may be refused while it is written.
        let _written = stream.write_all(&[head.as_bytes(), &vec![b' '; 0x20000]].concat()).await;
        let mut answer = [0; 12];
        within("an answer", stream.read_exact(&mut answer)).await.expect("a status");
        assert_eq!(answer[..], *format!("HTTP/1.1 {status}").as_bytes());
    }
    // Few bytes that become many.
    let bomb = packed(&vec![b' '; 10 << 20]);
    let (status, error) =
        say(address, "POST", INFER, "content-encoding: gzip\r\n", &bomb).await.refused();
    assert!(status == 413 && bomb.len() < 65_536, "{error}");
    // The model still answers.
    let said = post(address, INFER, &json!({ "inputs": [input(&window)] })).await;
    assert_eq!(said.status, 200);
    app.drain().await;
}

fn packed(body: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(body).expect("in memory");
    packed.finish().expect("in memory")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_be_compressed() {
    let (app, address, _broker) = device(&[]).await;
    let body = json!({ "inputs": [input(&window())] }).to_string();
    let said =
        say(address, "POST", INFER, "content-encoding: gzip\r\n", &packed(body.as_bytes())).await;
    assert_eq!((said.status, said.json()["outputs"][0]["shape"].clone()), (200, json!([1, 4])));
    app.drain().await;
}

/// Bodies that are on their way hold room; who finds none is told to come again, and then there is some.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_take_no_more_room_than_they_may() {
    let more = ["api.max_body=64KiB", "api.max_bodies=64KiB", "api.timeout=300ms"];
    let (app, address, _broker) = device(&more).await;
    let mut slow = TcpStream::connect(address).await.expect("connect");
    let head = format!("POST {INFER} HTTP/1.1\r\nhost: eir\r\ncontent-length: 65536\r\n\r\n");
    slow.write_all(head.as_bytes()).await.expect("write");
    let body = json!({ "inputs": [input(&window())] });
    let busy = async {
        loop {
            let said = post(address, INFER, &body).await;
            if said.status == 429 {
                return said;
            }
        }
    };
    let said = within("no room", busy).await;
    assert_eq!(said.header("retry-after"), Some("1"));
    let mut rest = Vec::new();
    within("the end", slow.read_to_end(&mut rest)).await.expect("read");
    assert!(rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(post(address, INFER, &body).await.status, 200);
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_http_2_are_answered() {
    let (app, address, _broker) = device(&[]).await;
    let stream = TcpStream::connect(address).await.expect("connect");
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.expect("a handshake");
    let mut driving = eir::task::Group::default();
    driving.spawn("client", async move { drop(connection.await) });
    let body = json!({ "inputs": [input(&window())] }).to_string();
    let request = hyper::Request::post(format!("http://{address}{INFER}"))
        .body(http_body_util::Full::new(hyper::body::Bytes::from(body)))
        .expect("a request");
    let response = within("an answer", sender.send_request(request)).await.expect("an answer");
    assert_eq!(
        (response.status(), response.version()),
        (hyper::StatusCode::OK, hyper::Version::HTTP_2)
    );
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_input_is_answered_from_the_cache_and_counted() {
    let (app, address, _broker) =
        device(&["models.serve.bearing.cache=1MiB", "models.serve.bearing.instances=2"]).await;
    let window = window();
    let first = post(address, INFER, &json!({ "id": "1", "inputs": [input(&window)] })).await;
    let again = post(address, INFER, &json!({ "id": "2", "inputs": [input(&window)] })).await;
    assert_eq!(first.json()["outputs"], again.json()["outputs"]);
    assert_eq!(again.json()["id"], "2");
    let values = window.as_f32().expect("f32").iter().map(|value| value + 1.0).collect::<Vec<_>>();
    let other = Tensor::new(vec![1, 3, 256], values).expect("a tensor");
    post(address, INFER, &json!({ "inputs": [input(&other)] })).await;
    let stats = get(address, "/v2/models/bearing/stats").await.json();
    let stats = &stats["model_stats"][0];
    let count = |share: &str| stats["inference_stats"][share]["count"].as_u64();
    assert_eq!(
        (count("cache_hit"), count("cache_miss"), count("success")),
        (Some(1), Some(2), Some(3))
    );
    assert_eq!((&stats["inference_count"], &stats["execution_count"]), (&json!(3), &json!(2)));
    let config = get(address, "/v2/models/bearing/config").await.json();
    assert_eq!(config["instance_group"][0]["count"], 2);
    app.drain().await;
}
