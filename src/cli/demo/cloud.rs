//! A stand-in cloud on loopback: takes records as a real one would, and can be out of reach for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::cli::table::thousands;
use crate::event::Name;
use crate::outbox::Kind;
use crate::task::Group;

/// The largest batch that it takes, compressed and not: eir's own default bound.
const MOST: usize = 1 << 20;

/// Lines for the screen that may wait.
const LINES: usize = 64;

/// The cloud; gone when it is dropped.
#[derive(Debug)]
pub(super) struct Cloud {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    reachable: watch::Sender<bool>,
    _group: Group,
}

/// What arrived.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Received {
    /// Records by kind, each counted once.
    pub records: BTreeMap<Kind, u64>,
    /// Records that came more than once.
    pub again: u64,
    /// Sequence numbers that others came after, and which never came.
    pub missing: u64,
    /// Bytes of all bodies.
    #[serde(skip)]
    pub bytes: u64,
    /// All numbers below this one came, or are missing.
    #[serde(skip)]
    next: u64,
    /// Numbers beyond it that came.
    #[serde(skip)]
    beyond: BTreeSet<u64>,
}

/// A record, as far as this cloud reads it.
#[derive(Debug, Deserialize)]
struct Record {
    seq: u64,
    kind: Kind,
    body: Body,
}

#[derive(Debug, Deserialize)]
struct Body {
    pipeline: Option<Name>,
    #[serde(default)]
    messages: u64,
    #[serde(default)]
    classes: BTreeMap<String, u64>,
    latency: Option<Latency>,
    drift: Option<Drift>,
}

#[derive(Debug, Deserialize)]
struct Latency {
    p99: f64,
}

#[derive(Debug, Deserialize)]
struct Drift {
    score: Option<Shift>,
}

#[derive(Debug, Deserialize)]
struct Shift {
    psi: f64,
}

impl Cloud {
    /// Opens a port on loopback; each summary that arrives makes a line.
    pub(super) async fn start() -> io::Result<(Self, mpsc::Receiver<String>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let received = Arc::new(Mutex::new(Received::default()));
        let (say, lines) = mpsc::channel(LINES);
        let (reachable, gate) = watch::channel(true);
        let door = Door { received: Arc::clone(&received), say };
        let mut group = Group::default();
        group.spawn("cloud", serve(listener, address, gate, door));
        Ok((Self { address, received, reachable, _group: group }, lines))
    }

    /// Where records go.
    pub(super) fn url(&self) -> String {
        format!("http://{}/records", self.address)
    }

    /// Cuts the network between eir and the cloud, or mends it.
    pub(super) fn set_reachable(&self, reachable: bool) {
        self.reachable.send_replace(reachable);
    }

    /// What arrived so far.
    pub(super) fn received(&self) -> Received {
        let mut received = lock(&self.received).clone();
        let highest = received.beyond.last().copied();
        received.missing = highest
            .map_or(0, |highest| highest + 1 - received.next.max(1) - received.beyond.len() as u64);
        received
    }
}

#[derive(Debug, Clone)]
struct Door {
    received: Arc<Mutex<Received>>,
    say: mpsc::Sender<String>,
}

/// Lets in whoever comes while the network is there. While it is not, the port is closed and every connection
/// is gone.
async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    mut gate: watch::Receiver<bool>,
    door: Door,
) {
    let mut open = Some(listener);
    let mut connections = Group::default();
    loop {
        let accept = async {
            match &open {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accept => if let Ok((stream, _)) = accepted {
                connections.spawn("client", door.clone().connection(stream));
            },
            changed = gate.changed() => {
                if changed.is_err() {
                    return;
                }
                if *gate.borrow() {
                    // It is told so every second: the port of a listener that is there is taken, by itself.
                    if open.is_none() {
                        open = TcpListener::bind(address).await.ok();
                    }
                } else {
                    open = None;
                    connections = Group::default();
                }
            }
        }
    }
}

impl Door {
    async fn connection(self, stream: TcpStream) {
        let service = service_fn(move |request| {
            let door = self.clone();
            async move { Ok::<_, Infallible>(door.answer(request).await) }
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new());
        if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!("the connection to the stand-in cloud ended: {error}");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Empty<Bytes>> {
        let mut answer = Response::new(Empty::new());
        *answer.status_mut() = if request.method() == Method::POST {
            match Limited::new(request.into_body(), MOST).collect().await {
                Ok(body) => self.take(&body.to_bytes()),
                Err(_) => StatusCode::PAYLOAD_TOO_LARGE,
            }
        } else {
            StatusCode::METHOD_NOT_ALLOWED
        };
        answer
    }

    /// Takes all of a batch, or nothing.
    fn take(&self, body: &[u8]) -> StatusCode {
        let Ok(lines) = zstd::bulk::decompress(body, 2 * MOST) else {
            return StatusCode::BAD_REQUEST;
        };
        let records: Result<Vec<Record>, _> =
            serde_json::Deserializer::from_slice(&lines).into_iter().collect();
        let Ok(records) = records else { return StatusCode::BAD_REQUEST };
        let mut received = lock(&self.received);
        received.bytes += body.len() as u64;
        for record in records {
            if received.is_new(record.seq) {
                *received.records.entry(record.kind).or_default() += 1;
                if record.kind == Kind::Summary && record.body.messages > 0 {
                    // A full channel means that the screen hangs.
                    let _shown = self.say.try_send(record.body.to_string());
                }
            } else {
                received.again += 1;
            }
        }
        StatusCode::OK
    }
}

impl Received {
    /// Whether this number did not come before; now it did.
    fn is_new(&mut self, seq: u64) -> bool {
        let new = seq >= self.next.max(1) && self.beyond.insert(seq);
        self.next = self.next.max(1);
        while self.beyond.remove(&self.next) {
            self.next += 1;
        }
        new
    }
}

impl std::fmt::Display for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pipeline = self.pipeline.as_ref().map_or("?", Name::as_str);
        write!(f, "summary     {pipeline:<24} {} messages", thousands(self.messages))?;
        for (class, count) in &self.classes {
            write!(f, ", {class} {}", thousands(*count))?;
        }
        if let Some(latency) = &self.latency {
            write!(f, "; p99 {:.1} ms", latency.p99 * 1e3)?;
        }
        if let Some(score) = self.drift.as_ref().and_then(|drift| drift.score.as_ref()) {
            write!(f, ", drift {:.2}", score.psi)?;
        }
        Ok(())
    }
}

// Only plain values are set under this lock, so a poisoned state is still whole.
fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn what_came_twice_and_what_never_came_is_told_apart() {
        let mut received = Received::default();
        let new: Vec<_> = [1, 2, 2, 5, 4, 1, 5].map(|seq| received.is_new(seq)).into();
        assert_eq!(new, [true, true, false, true, true, false, false]);
        assert_eq!((received.next, received.beyond.len()), (3, 2));
    }

    /// One connection, kept for as long as the other side does.
    struct Client(TcpStream);

    impl Client {
        async fn connect(cloud: &Cloud) -> io::Result<Self> {
            TcpStream::connect(cloud.address).await.map(Self)
        }

        /// Sends a decision of this number and reads the answer's status line.
        async fn send(&mut self, seq: u64) -> io::Result<String> {
            let record = format!(r#"{{"seq":{seq},"kind":"decision","body":{{}}}}"#);
            let body = zstd::bulk::compress(record.as_bytes(), 0)?;
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
            self.0.write_all(&[head.as_bytes(), &body].concat()).await?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(self.0.read_u8().await?);
            }
            let answer = String::from_utf8_lossy(&answer).into_owned();
            Ok(answer.lines().next().unwrap_or_default().to_owned())
        }
    }

    /// Each time it was told that it is there it closed its port, or opened it again.
    #[tokio::test]
    async fn told_again_that_it_is_there_it_stays_and_cut_off_it_is_gone() {
        const YES: &str = "HTTP/1.1 200 OK";
        let (cloud, _lines) = Cloud::start().await.expect("a port");
        let mut kept = Client::connect(&cloud).await.expect("there");
        assert_eq!(kept.send(1).await.expect("an answer"), YES);
        for seq in [2, 4, 6] {
            cloud.set_reachable(true);
            let mut fresh = Client::connect(&cloud).await.expect("still there");
            assert_eq!(fresh.send(seq).await.expect("an answer"), YES);
            assert_eq!(kept.send(seq + 1).await.expect("the connection is kept"), YES);
        }

        cloud.set_reachable(false);
        let hung_up = tokio::time::timeout(Duration::from_mins(1), kept.0.read_u8());
        assert!(hung_up.await.expect("hung up in time").is_err());
        assert!(Client::connect(&cloud).await.is_err(), "the port is closed");
        cloud.set_reachable(false);

        cloud.set_reachable(true);
        let back = async {
            loop {
                match Client::connect(&cloud).await {
                    Ok(client) => return client,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let back = tokio::time::timeout(Duration::from_mins(1), back);
        assert_eq!(back.await.expect("back in time").send(8).await.expect("an answer"), YES);
        let received = cloud.received();
        let counted = (received.records[&Kind::Decision], received.again, received.missing);
        assert_eq!(counted, (8, 0, 0));
    }
}
