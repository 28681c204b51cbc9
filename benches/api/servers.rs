//! The servers: how each is started, what it is asked, and how its answers are read.

use std::fmt;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use eir::event::Tensor;
use eir::oip::{HEADER_LENGTH, client};

use super::http::{self, Answer};
use super::model;

/// A server has started by then.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Eir,
    /// eir, told by the environment to use one thread for its connections.
    EirOne,
    FastApi,
    MlServer,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Eir, Self::EirOne, Self::FastApi, Self::MlServer];

    /// How the command line names it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Eir => "eir",
            Self::EirOne => "one",
            Self::FastApi => "fastapi",
            Self::MlServer => "mlserver",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Eir => "eir",
            Self::EirOne => "eir, one worker",
            Self::FastApi => "FastAPI",
            Self::MlServer => "MLServer",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// The same bytes for all.
    Json,
    /// The protocol's binary tensors; for `FastAPI`, which has no such thing, the bare numbers.
    Binary,
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Binary => "binary",
        })
    }
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

impl Server {
    /// Starts it with the model below `place`, and waits until it serves.
    pub(crate) fn start(kind: Kind, place: &Path) -> Result<Self, String> {
        let address = free();
        let log = place.join(format!("{}.log", kind.word()));
        let mut command = match kind {
            Kind::Eir => eir(place, kind, address),
            Kind::EirOne => {
                let mut command = eir(place, kind, address);
                command.env("TOKIO_WORKER_THREADS", "1");
                command
            }
            Kind::FastApi => fast_api(address)?,
            Kind::MlServer => ml_server(place, address)?,
        };
        let file = File::options().create(true).append(true).open(&log).expect("a log");
        command
            .env("BENCH_MODEL", place.join("models").join(model::NAME).join("1/model.onnx"))
            .env("ORT_DISABLE_TELEMETRY", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file);
        let child = command.spawn().map_err(|error| format!("it does not start: {error}"))?;
        let mut server = Self { kind, address, child };
        server.until_ready().map_err(|problem| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let last = said.trim_end().lines().next_back().unwrap_or("nothing");
            format!("{problem}; its last word: {last}")
        })?;
        Ok(server)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let ready = http::request("GET", "/v2/health/ready", "", b"");
        while !http::ask(self.address, &ready).is_ok_and(|answer| answer.head.status == 200) {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended, {status}"));
            }
            if Instant::now() > deadline {
                return Err("it is not ready after a minute".to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        if !matches!(self.kind, Kind::Eir | Kind::EirOne) {
            return Ok(());
        }
        let load = format!("/v2/repository/models/{}/load", model::NAME);
        let loaded = http::ask(self.address, &http::request("POST", &load, "", b""));
        let loaded = loaded.map_err(|error| error.to_string())?;
        let said = || String::from_utf8_lossy(loaded.body()).into_owned();
        if loaded.head.status == 200 { Ok(()) } else { Err(said()) }
    }

    /// What eir says of the engine that serves.
    pub(crate) fn platform(&self) -> Option<String> {
        let path = format!("/v2/models/{}", model::NAME);
        let answer = http::ask(self.address, &http::request("GET", &path, "", b"")).ok()?;
        let told: serde_json::Value = serde_json::from_slice(answer.body()).ok()?;
        Some(told.get("platform")?.as_str()?.to_owned())
    }

    /// The whole request; none: it does not take such a body.
    pub(crate) fn request(&self, body: Body, vectors: &Tensor) -> Option<Vec<u8>> {
        let infer = format!("/v2/models/{}/infer", model::NAME);
        match (body, self.kind) {
            (Body::Json, _) => {
                // As clients in Python write what numpy has: in this order, each number with all digits of a float64.
                let (name, shape) = (model::INPUT, vectors.shape());
                let data = serde_json::json!(vectors.as_f32().expect("float32"));
                let asked = format!(
                    r#"{{"inputs":[{{"name":"{name}","shape":{shape:?},"datatype":"FP32","data":{data}}}]}}"#
                );
                let kind = "content-type: application/json\r\n";
                Some(http::request("POST", &infer, kind, asked.as_bytes()))
            }
            (Body::Binary, Kind::Eir | Kind::EirOne) => {
                let client::Request { json, body } =
                    client::request(&[(model::INPUT, vectors)], &[model::OUTPUT]);
                let headers = format!(
                    "content-type: application/octet-stream\r\n{HEADER_LENGTH}: {json}\r\n"
                );
                Some(http::request("POST", &infer, &headers, &body))
            }
            (Body::Binary, Kind::FastApi) => {
                let numbers = vectors.as_f32().expect("float32");
                let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
                let kind = "content-type: application/octet-stream\r\n";
                Some(http::request("POST", "/raw", kind, &bytes))
            }
            // Its HTTP has no binary tensors.
            (Body::Binary, Kind::MlServer) => None,
        }
    }

    /// The numbers of an answer.
    pub(crate) fn read(&self, body: Body, answer: &Answer) -> Result<Vec<f32>, String> {
        if answer.head.status != 200 {
            let said = String::from_utf8_lossy(answer.body());
            return Err(format!("{} {said}", answer.head.status));
        }
        if (body, self.kind) == (Body::Binary, Kind::FastApi) {
            let (numbers, _) = answer.body().as_chunks::<4>();
            return Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect());
        }
        let found = client::answer(answer.field(HEADER_LENGTH), answer.body(), &[model::OUTPUT]);
        let found = found.map_err(|problem| problem.to_string())?;
        let numbers = found.tensors.first().and_then(|tensor| tensor.as_f32().ok());
        numbers.map(<[f32]>::to_vec).ok_or_else(|| "the answer holds no float32".to_owned())
    }
}

/// An address that nobody has at the moment.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

fn eir(place: &Path, kind: Kind, address: SocketAddr) -> Command {
    let file = place.join(format!("{}.toml", kind.word()));
    let text = format!(
        "[device]\nid = \"bench\"\n[log]\nlevel = \"warn\"\n[models]\ndir = \"{}\"\n[api]\nlisten = \"{address}\"\n",
        place.join("models").display()
    );
    eir::disk::replace(&file, text.as_bytes()).expect("configuration");
    let mut command = Command::new(env!("CARGO_BIN_EXE_eir"));
    command.arg("run").arg("--config").arg(file).env_remove("TOKIO_WORKER_THREADS");
    command
}

/// One process, as many would run for one core; its loop and its parser are the quick ones.
fn fast_api(address: SocketAddr) -> Result<Command, String> {
    let mut command = Command::new(peer("fastapi", "uvicorn")?);
    command.arg("--app-dir").arg(sources()).arg("fastapi_app:app");
    command.args(["--port", &address.port().to_string(), "--workers", "1"]);
    command.args(["--loop", "uvloop", "--http", "httptools"]);
    command.args(["--no-access-log", "--log-level", "warning"]);
    Ok(command)
}

/// One process: with workers of its own, a request crosses to one of them and back, which takes longer than this
/// model. Its settings leave metrics and compression out.
fn ml_server(place: &Path, address: SocketAddr) -> Result<Command, String> {
    let program = peer("mlserver", "mlserver")?;
    // Named as the model, and apart from the sources: it writes where it runs.
    let home = place.join("mlserver").join(model::NAME);
    std::fs::create_dir_all(&home).expect("a directory");
    for name in ["runtime.py", "settings.json", "model-settings.json"] {
        std::fs::copy(sources().join("mlserver").join(name), home.join(name)).expect("a copy");
    }
    let mut command = Command::new(program);
    command.args(["start", "."]).current_dir(home);
    command.env("MLSERVER_HTTP_PORT", address.port().to_string());
    command.env("MLSERVER_GRPC_PORT", free().port().to_string());
    Ok(command)
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/api")
}

/// A program of what `cross/peers.sh` fetched, beside the build.
fn peer(name: &str, program: &str) -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_BIN_EXE_eir")).parent().and_then(Path::parent);
    let bin = target.expect("a build directory").join("peers").join(name).join("bin");
    let path = bin.join(program);
    if path.exists() {
        Ok(path)
    } else {
        Err("it is not here; cross/peers.sh fetches it".to_owned())
    }
}
