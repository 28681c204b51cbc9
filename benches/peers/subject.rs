//! The programs: how each is started. What they are to do stands in their environment, for eir in its configuration.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::workload::{Case, Kind, Workload};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Eir,
    /// eir without ONNX Runtime.
    Tract,
    /// A loop of few lines in Rust, of the same libraries, without all that makes it a service.
    Plain,
    Paho,
    Node,
}

impl Subject {
    pub(crate) const ALL: [Self; 5] = [Self::Eir, Self::Tract, Self::Plain, Self::Paho, Self::Node];

    /// How the command line and topics name it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Eir => "eir",
            Self::Tract => "tract",
            Self::Plain => "plain",
            Self::Paho => "paho",
            Self::Node => "node",
        }
    }

    /// It cannot be started, and why.
    pub(crate) fn missing(self) -> Option<&'static str> {
        let found = match self {
            Self::Eir | Self::Tract | Self::Plain => true,
            Self::Paho => python().is_some(),
            Self::Node => peers().join("node/node_modules/mqtt").exists(),
        };
        (!found).then_some("it is not here; cross/peers.sh fetches it")
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Eir => "eir",
            Self::Tract => "eir, tract alone",
            Self::Plain => "plain Rust loop",
            Self::Paho => "paho + onnxruntime",
            Self::Node => "Node + onnxruntime",
        })
    }
}

/// A running one; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}

impl Running {
    /// Starts it in `place`, below which the models are.
    pub(crate) fn start(
        (subject, case): (Subject, Case),
        work: &Workload,
        (place, port): (&Path, u16),
    ) -> Self {
        let word = subject.word();
        let models = place.join("models");
        let mut command = match subject {
            Subject::Eir | Subject::Tract => eir((subject, case), work, (place, port)),
            Subject::Plain => {
                let mut command = Command::new(std::env::current_exe().expect("the bench"));
                command.arg("--plain");
                command
            }
            Subject::Paho => {
                let mut command = Command::new(python().expect("asked before"));
                command.arg(sources().join("paho_peer.py"));
                command
            }
            Subject::Node => {
                let mut command = Command::new("node");
                command.arg(sources().join("node_peer.mjs"));
                command
            }
        };
        let log = place.join(format!("{word}.log"));
        let log = File::options().create(true).append(true).open(log).expect("a log");
        command
            .env("BENCH_PORT", port.to_string())
            .env("BENCH_IN", format!("{word}/in/+"))
            .env("BENCH_OUT", format!("{word}/out"))
            .env("BENCH_QOS", case.qos.to_string())
            .env("BENCH_THRESHOLD", work.threshold.to_string())
            .env("BENCH_MODEL", models.join(case.model()).join("1/model.onnx"))
            .env("BENCH_MODULES", peers().join("node"))
            .env("BENCH_KIND", if case.kind == Kind::Camera { "camera" } else { "sensor" })
            .env("ORT_DISABLE_TELEMETRY", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        Self(command.spawn().expect("a program that is there"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

fn eir((subject, case): (Subject, Case), work: &Workload, (place, port): (&Path, u16)) -> Command {
    let word = subject.word();
    let engine = if subject == Subject::Tract { "tract" } else { "ort" };
    let qos = case.qos;
    let (decode, when, queue) = match case.kind {
        Kind::Sensor => {
            let full = if qos == 0 { "drop_oldest" } else { "hold" };
            let queue = format!("{{ capacity = 8192, when_full = \"{full}\" }}");
            ("{ json = { fields = [\"/x\"] } }", format!("values[0] > {:?}", work.threshold), queue)
        }
        Kind::Camera => {
            let queue = "{ capacity = 8, when_full = \"drop_oldest\" }".to_owned();
            ("{ image = {} }", "score > -1e30".to_owned(), queue)
        }
    };
    let id = if case.kind == Kind::Sensor { ", id = \"/seq\"" } else { "" };
    let outbox = place.join(format!("{word}-{}.db", case.word()));
    let (outbox, record) = match qos {
        0 => (String::new(), false),
        _ => (format!("[outbox]\npath = {:?}\n", outbox.display().to_string()), true),
    };
    let text = format!(
        r#"
[device]
id = "bench"
[log]
level = "warn"
[models]
dir = {models:?}
engine = "{engine}"
ort = {{ intra_threads = 1 }}
[mqtt.local]
url = "mqtt://127.0.0.1:{port}"
receive_maximum = 1000
{outbox}
[pipeline.bench]
input  = {{ mqtt = {{ broker = "local", topic = "{word}/in/+", qos = {qos}{id} }} }}
decode = {decode}
model  = "{model}"
queue  = {queue}
actions = {{ queue = 8192 }}
[pipeline.bench.rule.high]
when   = "{when}"
until  = "true"
record = {record}
do     = [{{ publish = {{ broker = "local", topic = "{word}/out", qos = {qos} }} }}]
"#,
        models = place.join("models").display().to_string(),
        model = case.model(),
    );
    let file = place.join(format!("{word}-{}.toml", case.word()));
    eir::disk::replace(&file, text.as_bytes()).expect("configuration");
    let mut command = Command::new(env!("CARGO_BIN_EXE_eir"));
    command.arg("run").arg("--config").arg(file);
    command
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers")
}

/// What `cross/peers.sh` fetched lies beside the build.
fn peers() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_eir")).parent().and_then(Path::parent);
    target.expect("a build directory").join("peers")
}

/// The Python that has all that the peers need.
pub(crate) fn python() -> Option<PathBuf> {
    Some(peers().join("paho/bin/python")).filter(|python| python.exists())
}
