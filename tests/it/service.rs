//! What a service manager sees of the binary: a real notify socket, as systemd makes it.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, tensor_shape_proto::Dimension, tensor_shape_proto::dimension::Value,
    type_proto,
};

use super::support::{Mosquitto, Peer, Process, eir, site, within};

/// The socket that systemd would listen to. It is always read: a full one would hold up the service.
struct Manager {
    words: mpsc::Receiver<String>,
    directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("socket");
        let (send, words) = mpsc::channel(100_000);
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(length) = socket.recv(&mut buffer) {
                let _full = send.try_send(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        });
        Self { words, directory }
    }

    /// Starts the service under it, with a watchdog.
    fn run(&self, config: &Path, watchdog: Duration) -> Process {
        let mut command = eir();
        command
            .args(["run", "--config"])
            .arg(config)
            .env("NOTIFY_SOCKET", self.directory.path().join("notify"))
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        Process::spawn(command)
    }

    async fn hears(&mut self) -> String {
        within("a word", self.words.recv()).await.expect("the socket is there")
    }

    /// The next word that holds `text`.
    async fn hears_of(&mut self, text: &str) -> String {
        loop {
            let word = self.hears().await;
            if word.contains(text) {
                return word;
            }
        }
    }
}

fn write(path: &Path, text: &str) {
    eir::disk::replace(path, text.as_bytes()).expect("file");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_is_told_of_start_reload_life_and_end() {
    let broker = Mosquitto::start();
    let mut manager = Manager::new();
    let file = manager.directory.path().join("eir.toml");
    let text = site::BEARING.replace("127.0.0.1:1\"", &format!("127.0.0.1:{}\"", broker.port()));
    let text = format!("{text}\n[models]\ndir = \"{}\"\n", site::models().display());
    write(&file, &text);
    let process = manager.run(&file, Duration::from_secs(1));
    let ready = manager.hears().await;
    assert!(ready.contains("READY=1") && ready.contains("STATUS=1 pipelines run"), "{ready}");
    manager.hears_of("WATCHDOG=1").await;
    manager.hears_of("WATCHDOG=1").await;
    write(&file, &text.replace("model  = \"bearing\"", "model  = \"gone\""));
    process.signal("HUP");
    let reloading = manager.hears_of("RELOADING=1").await;
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.hears_of("READY=1").await;
    process.signal("TERM");
    manager.hears_of("STOPPING=1").await;
    assert_eq!(process.ended().await.0.code(), Some(0));
}

/// A broker that is away and a model that is broken are no stall: a new start would help neither.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_degraded_is_alive() {
    let mut manager = Manager::new();
    let file = manager.directory.path().join("eir.toml");
    write(&file, &site::BEARING.replace("model  = \"bearing\"", "model  = \"gone\""));
    let _process = manager.run(&file, Duration::from_millis(500));
    let ready = manager.hears().await;
    assert!(ready.contains("READY=1") && ready.contains("degraded: bearing"), "{ready}");
    for _ in 0..4 {
        let word = manager.hears().await;
        assert!(word.contains("WATCHDOG=1"), "{word}");
    }
}

/// A model that does not come back within the watchdog's time is a stall, and told; when it comes back
/// after all, so does the sign of life.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_starves_the_watchdog() {
    let broker = Mosquitto::start();
    let mut manager = Manager::new();
    let models = manager.directory.path().join("models/slow/1");
    std::fs::create_dir_all(&models).expect("directory");
    eir::disk::replace(&models.join("model.onnx"), &slow_model()).expect("model");
    let file = manager.directory.path().join("eir.toml");
    let models = manager.directory.path().join("models");
    let text = format!(
        "[mqtt.local]\nurl = \"mqtt://127.0.0.1:{}\"\n[models]\ndir = \"{}\"\n\
         [device]\nid = \"test\"\n\
         [pipeline.slow]\ninput = {{ mqtt = {{ broker = \"local\", topic = \"slow\", qos = 1 }} }}\n\
         decode = {{ json = {{ fields = [\"/x\"] }} }}\nmodel = \"slow\"\n",
        broker.port(),
        models.display()
    );
    write(&file, &text);
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("eir/test/status").await;
    let mut process = manager.run(&file, Duration::from_millis(100));
    peer.next().await;
    process.says("started").await;
    manager.hears_of("WATCHDOG=1").await;
    // What comes before the subscription is there is nobody's.
    let said = loop {
        peer.publish("slow", r#"{"x": [0.5]}"#).await;
        if let Ok(said) = timeout(Duration::from_secs(1), process.says("stalled")).await {
            break said;
        }
    };
    assert!(said.contains("pipeline `slow`"), "{said}");
    // Whatever was under way before has been heard by now.
    while manager.words.try_recv().is_ok() {}
    manager.hears_of("WATCHDOG=1").await;
}

/// One number in, one out, and 27 billion multiplications between them, of numbers that neither grow nor vanish.
fn slow_model() -> Vec<u8> {
    const SIDE: u16 = 512;
    const TIMES: usize = 200;
    let dim = |value| Dimension { value: Some(value), ..Dimension::default() };
    let end = |name: &str| {
        let shape = vec![dim(Value::DimValue(1)), dim(Value::DimValue(1))];
        let tensor =
            type_proto::Tensor { elem_type: 1, shape: Some(TensorShapeProto { dim: shape }) };
        let r#type = Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        });
        ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
    };
    let node = |operator: &str, input: &[&str], output: &str| NodeProto {
        op_type: operator.into(),
        input: input.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    };
    let weights: Vec<u8> =
        std::iter::repeat_n((1.0 / f32::from(SIDE)).to_le_bytes(), usize::from(SIDE).pow(2))
            .flatten()
            .collect();
    let mut nodes = vec![node("Add", &["w", "x"], "a0")];
    for at in 0..TIMES {
        nodes.push(node("MatMul", &[&format!("a{at}"), "w"], &format!("a{}", at + 1)));
    }
    let last = format!("a{TIMES}");
    nodes.push(node("ReduceMax", &[&last], "y"));
    let graph = GraphProto {
        node: nodes,
        initializer: vec![TensorProto {
            name: "w".into(),
            dims: vec![SIDE.into(); 2],
            data_type: 1,
            raw_data: weights,
            ..TensorProto::default()
        }],
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
