//! A cloud on loopback that does what a script says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eir::task::Group;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::within;

/// One request, as the script sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Counts from 0.
    pub(crate) number: usize,
    /// The request's head, in small letters.
    pub(crate) head: String,
    /// The same as it was sent.
    pub(crate) raw: String,
    /// Its `Idempotency-Key`; empty where it has none.
    pub(crate) key: String,
    /// Its body, as it came.
    pub(crate) body: Vec<u8>,
    /// What is in it, where that is compressed lines of JSON.
    pub(crate) records: Vec<serde_json::Value>,
}

impl Asked {
    /// Some record's body is this word.
    pub(crate) fn holds(&self, word: &str) -> bool {
        self.records.iter().any(|record| record["body"] == word)
    }
}

/// What the script lets it do.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A status, headers with a line break behind each, and a body of the right length.
    Status(u16, &'static str, &'static str),
    /// The same with a body made at the time.
    Bytes(u16, String, Vec<u8>),
    /// That answer, once the test says so.
    Held(Arc<Semaphore>, Box<Answer>),
    /// 200, repeating the key, or repeating another.
    Echo(bool),
    /// Hangs up in the middle.
    Reset,
    /// Begins to say yes, byte by byte, and never ends.
    Drip,
    /// Says yes and goes on for ever.
    Endless,
    /// Says nothing.
    Silence,
}

pub(crate) const OK: Answer = Answer::Status(200, "", "{}");

type Script = Box<dyn FnMut(&Asked) -> Answer + Send>;

/// Says how the next connection is to be met; `None`: it is hung up on when it has said hello.
pub(crate) type Doorman = Box<dyn FnMut() -> Option<TlsAcceptor> + Send>;

/// The cloud; gone when it is dropped.
pub(crate) struct Cloud {
    port: u16,
    state: Arc<Mutex<State>>,
    requests: watch::Receiver<usize>,
    _group: Group,
}

struct State {
    script: Script,
    asked: Vec<Asked>,
    /// How often it said yes to each record, by id.
    accepted: BTreeMap<String, usize>,
}

impl Cloud {
    pub(crate) async fn start(script: impl FnMut(&Asked) -> Answer + Send + 'static) -> Self {
        Self::listen("127.0.0.1", script, None).await
    }

    /// Speaks TLS as `localhost`; the certificate of the authority that vouches for it is returned.
    pub(crate) async fn start_tls(
        script: impl FnMut(&Asked) -> Answer + Send + 'static,
    ) -> (Self, String) {
        let (acceptor, ca) = identity("localhost");
        let doorman: Doorman = Box::new(move || Some(acceptor.clone()));
        (Self::listen("127.0.0.1", script, Some(doorman)).await, ca)
    }

    /// Listens at an address; without a doorman it speaks no TLS.
    pub(crate) async fn listen(
        address: &str,
        script: impl FnMut(&Asked) -> Answer + Send + 'static,
        mut doorman: Option<Doorman>,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a port");
        let port = listener.local_addr().expect("address").port();
        let script: Script = Box::new(script);
        let (asked, accepted) = (Vec::new(), BTreeMap::new());
        let state = Arc::new(Mutex::new(State { script, asked, accepted }));
        let (count, requests) = watch::channel(0);
        let mut group = Group::default();
        let shared = Arc::clone(&state);
        group.spawn("cloud", async move {
            let mut connections = Group::default();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (state, count) = (Arc::clone(&shared), count.clone());
                let tls = doorman.as_mut().map(|doorman| doorman());
                connections.spawn("connection", async move {
                    match tls {
                        None => serve(stream, &state, &count).await,
                        Some(None) => {
                            let _hello = stream.read(&mut [0; 16]).await;
                        }
                        Some(Some(tls)) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            serve(stream, &state, &count).await;
                        }
                    }
                });
            }
        });
        Self { port, state, requests, _group: group }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1/eir", self.port)
    }

    pub(crate) fn tls_url(&self) -> String {
        format!("https://localhost:{}/v1/eir", self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// From now on it does this.
    pub(crate) fn change(&self, script: impl FnMut(&Asked) -> Answer + Send + 'static) {
        self.state.lock().expect("state").script = Box::new(script);
    }

    /// All that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.lock().expect("state").asked.clone()
    }

    /// Keeps nothing of what was asked so far.
    pub(crate) fn forget(&self) {
        self.state.lock().expect("state").asked = Vec::new();
    }

    /// The ids that it said yes to.
    pub(crate) fn accepted(&self) -> Vec<String> {
        self.state.lock().expect("state").accepted.keys().cloned().collect()
    }

    /// Waits until it was asked so often in all.
    pub(crate) async fn requests(&self, count: usize) {
        let mut requests = self.requests.clone();
        let wait = requests.wait_for(|found| *found >= count);
        within("requests", wait).await.expect("the cloud");
    }

    /// Waits until it said yes to so many decisions.
    pub(crate) async fn decisions(&self, count: usize) {
        let mut requests = self.requests.clone();
        let enough = |_: &usize| {
            let (accepted, asked) = (self.accepted(), self.asked());
            let sent = asked.iter().flat_map(|asked| &asked.records);
            let mut ids: Vec<_> = sent
                .filter(|record| record["kind"] == "decision")
                .filter_map(|record| record["id"].as_str())
                .filter(|id| accepted.iter().any(|accepted| accepted == id))
                .collect();
            ids.sort_unstable();
            ids.dedup();
            ids.len() >= count
        };
        let wait = requests.wait_for(enough);
        within("decisions at the cloud", wait).await.expect("the cloud");
    }

    /// Waits until it said yes to so many records.
    pub(crate) async fn accepts(&self, count: usize) {
        let mut requests = self.requests.clone();
        let wait = requests.wait_for(|_| self.accepted().len() >= count);
        within("records at the cloud", wait).await.expect("the cloud");
    }
}

/// A server of that name, and the certificate of the authority that vouches for it.
pub(crate) fn identity(name: &str) -> (TlsAcceptor, String) {
    identity_for(name, WebPkiClientVerifier::no_client_auth())
}

/// The same, for those clients alone.
pub(crate) fn identity_for(
    name: &str,
    clients: Arc<dyn ClientCertVerifier>,
) -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let serving = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("certificate");
    (TlsAcceptor::from(Arc::new(serving)), made.cert.pem())
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    state: &Mutex<State>,
    count: &watch::Sender<usize>,
) {
    while let Some((raw, body)) = read(&mut stream).await {
        let head = raw.to_lowercase();
        let records =
            if head.contains("content-encoding: zstd\r\n") { lines(&body) } else { Vec::new() };
        let key = head.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
        let key = key.unwrap_or_default().to_owned();
        let (answer, asked) = {
            let mut state = state.lock().expect("state");
            let asked = Asked { number: state.asked.len(), head, raw, key, body, records };
            state.asked.push(asked.clone());
            let answer = (state.script)(&asked);
            if is_yes(&answer) {
                for record in &asked.records {
                    let id = record["id"].as_str().expect("id").to_owned();
                    *state.accepted.entry(id).or_default() += 1;
                }
            }
            (answer, asked)
        };
        count.send_modify(|count| *count += 1);
        match speak(&mut stream, &answer, &asked.key).await {
            Goes::On => {}
            Goes::Away => return,
            Goes::Nowhere => {
                // Until the other side has had enough.
                let _gone = stream.read(&mut [0; 16]).await;
                return;
            }
        }
    }
}

/// Lines of JSON, compressed with zstd.
fn lines(body: &[u8]) -> Vec<serde_json::Value> {
    let lines = zstd::stream::decode_all(body).expect("zstd");
    let lines = String::from_utf8(lines).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

/// What anybody who reads the answer must believe.
fn is_yes(answer: &Answer) -> bool {
    match answer {
        Answer::Status(status, headers, _) => (200..300).contains(status) && headers.is_empty(),
        Answer::Bytes(status, headers, _) => (200..300).contains(status) && headers.is_empty(),
        Answer::Held(_, answer) => is_yes(answer),
        Answer::Echo(right) => *right,
        Answer::Endless => true,
        Answer::Reset | Answer::Drip | Answer::Silence => false,
    }
}

enum Goes {
    On,
    Away,
    Nowhere,
}

async fn say(
    stream: &mut (impl AsyncWrite + Unpin),
    status: u16,
    headers: &str,
    body: &[u8],
) -> Goes {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Said\r\n{headers}Content-Length: {length}\r\n\r\n");
    let whole = [head.as_bytes(), body].concat();
    if stream.write_all(&whole).await.is_ok() { Goes::On } else { Goes::Away }
}

async fn speak(stream: &mut (impl AsyncWrite + Unpin), answer: &Answer, key: &str) -> Goes {
    let head = "HTTP/1.1 200 OK\r\n";
    match answer {
        Answer::Status(status, headers, body) => {
            say(stream, *status, headers, body.as_bytes()).await
        }
        Answer::Bytes(status, headers, body) => say(stream, *status, headers, body).await,
        Answer::Held(until, answer) => {
            until.acquire().await.expect("the test holds it").forget();
            Box::pin(speak(stream, answer, key)).await
        }
        Answer::Echo(right) => {
            let key = if *right { key } else { "0123456789abcdef0123456789abcdef" };
            let text = format!("{head}Eir-Batch: {key}\r\nContent-Length: 0\r\n\r\n");
            if stream.write_all(text.as_bytes()).await.is_ok() { Goes::On } else { Goes::Away }
        }
        Answer::Reset => {
            let _sent = stream.write_all(b"HTTP/1.1 2").await;
            Goes::Away
        }
        Answer::Drip => {
            let text = format!("{head}Content-Length: 100000\r\n\r\n");
            let _sent = stream.write_all(text.as_bytes()).await;
            while stream.write_all(b"x").await.is_ok() && stream.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Goes::Away
        }
        Answer::Endless => {
            let _sent = stream.write_all(format!("{head}\r\n").as_bytes()).await;
            while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
            Goes::Away
        }
        Answer::Silence => Goes::Nowhere,
    }
}

/// One request: its head and its body.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            let head = std::mem::replace(&mut bytes, body);
            break String::from_utf8(head).expect("text");
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().expect("a length"));
    while bytes.len() < length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, bytes))
}
