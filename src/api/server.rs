//! The port, and who is let in at one time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use super::ApiConfig;
use super::route::{Answer, busy, error, routes, too_large};
use super::view::Shown;
use crate::model::Shelf;
use crate::net::listen_problem;
use crate::task::{Group, Stop};

/// The longest line and headers of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// The same of HTTP/2.
const MAX_HEAD_2: u32 = 16 << 10;

/// Requests at one time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 64;

/// What a client of HTTP/2 says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How soon it is looked whether more of that has come.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Room for bodies is counted in so many bytes.
const UNIT: usize = 1024;

/// How long answers that are being written may take when the server stops.
const GOODBYE: Duration = Duration::from_secs(1);

/// After an error that is none of the client's, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Why the server did not start.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The configuration cannot work.
    #[error("[api] {key}: {problem}")]
    Config {
        /// The key in `[api]`.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The port could not be opened.
    #[error(
        "{address}: {}",
        listen_problem(source, "stop what runs there, or choose another port")
    )]
    Listen {
        /// Where it should have listened.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

/// A running server. It ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Api {
    address: SocketAddr,
    group: Group,
}

impl Api {
    /// Opens the port, answers from what is shown and lets the models on the shelf answer. To be called within a
    /// runtime.
    pub fn start(config: &ApiConfig, shown: Shown, shelf: Arc<Shelf>) -> Result<Self, ApiError> {
        if let Some(problem) = config.check().into_iter().next() {
            return Err(ApiError::Config { key: problem.key, problem: problem.message });
        }
        let address = config
            .address()
            .map_err(|problem| ApiError::Config { key: "listen".into(), problem })?;
        let failed = |source| ApiError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mut group = Group::default();
        let bodies = Arc::new(Semaphore::new(config.max_bodies.0.div_ceil(UNIT)));
        let door =
            Door { shown, shelf, bodies, max_body: config.max_body.0, timeout: config.timeout.0 };
        let hall =
            Hall { routes: routes(door), timeout: config.timeout.0, stop: group.stop_signal() };
        let room = Arc::new(Semaphore::new(config.max_connections));
        group.spawn("api", serve(listener, hall, room));
        tracing::info!("health, metrics and models at http://{address}");
        Ok(Self { address, group })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port; answers that are being written are given a moment.
    pub async fn stop(self) {
        self.group.drain(GOODBYE).await;
    }
}

/// What every request is answered with.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub shown: Shown,
    pub shelf: Arc<Shelf>,
    /// Room for bodies, in parts of [`UNIT`].
    bodies: Arc<Semaphore>,
    pub max_body: usize,
    timeout: Duration,
}

impl Door {
    /// Reads a body, if it is not too large and there is room for it, which it holds; one that is `packed` holds as much
    /// as it may become.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        packed: bool,
    ) -> Answer<(Bytes, OwnedSemaphorePermit)> {
        let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let told = told.and_then(|told| told.parse().ok());
        let most = told.unwrap_or(self.max_body);
        if most > self.max_body {
            return Err(too_large(self.max_body));
        }
        let holds = if packed { self.max_body } else { most };
        let parts = u32::try_from(holds.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.bodies).try_acquire_many_owned(parts);
        let room = room.map_err(|_| busy("other requests take all the room at the moment"))?;
        match timeout(self.timeout, to_bytes(body, most)).await {
            Ok(Ok(body)) => Ok((body, room)),
            Ok(Err(problem)) if is_too_large(&problem) => Err(too_large(self.max_body)),
            Ok(Err(_)) => {
                Err(error(StatusCode::BAD_REQUEST, "the body broke off, or its chunks are none"))
            }
            Err(_) => Err(error(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        }
    }
}

/// The body went on behind its limit.
fn is_too_large(problem: &axum::Error) -> bool {
    let source = std::error::Error::source(problem);
    source.and_then(|source| source.downcast_ref::<http_body_util::LengthLimitError>()).is_some()
}

/// What every connection is served with.
#[derive(Debug, Clone)]
struct Hall {
    routes: Router,
    timeout: Duration,
    stop: Stop,
}

async fn serve(listener: TcpListener, hall: Hall, room: Arc<Semaphore>) {
    let mut stop = hall.stop.clone();
    let mut connections = Group::default();
    loop {
        let next = async {
            // Who finds no room waits with the system, which keeps a bounded number of them.
            let place = Arc::clone(&room).acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        let accepted = tokio::select! {
            () = stop.stopped() => break,
            accepted = next => accepted,
        };
        match accepted {
            Some((Ok((stream, _)), place)) => {
                let hall = hall.clone();
                connections.spawn("client", async move {
                    hall.connection(stream).await;
                    drop(place);
                });
            }
            Some((Err(error), _)) => {
                tracing::debug!("a client could not be let in: {error}");
                sleep(PAUSE).await;
            }
            None => break,
        }
    }
    drop(listener);
    connections.drain(GOODBYE).await;
}

/// Ends a connection of either version when the server stops.
macro_rules! until_stopped {
    ($connection:ident, $stop:expr) => {{
        tokio::pin!($connection);
        tokio::select! {
            ended = $connection.as_mut() => ended,
            () = $stop.stopped() => {
                $connection.as_mut().graceful_shutdown();
                $connection.await
            }
        }
    }};
}

impl Hall {
    async fn connection(mut self, stream: TcpStream) {
        // Answers are small, and somebody waits for each.
        let _slower = stream.set_nodelay(true);
        // Otherwise it said nothing, or went.
        let Ok(Ok(is_http2)) = timeout(self.timeout, is_http2(&stream)).await else { return };
        let mut stream = TimeoutStream::new(stream);
        // A client that does not read its answer.
        stream.set_write_timeout(Some(self.timeout));
        let (io, service) = (TokioIo::new(Box::pin(stream)), TowerToHyperService::new(self.routes));
        let ended = if is_http2 {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(MAX_HEAD_2)
                // One that is gone.
                .keep_alive_interval(self.timeout)
                .keep_alive_timeout(self.timeout)
                .serve_connection(io, service);
            until_stopped!(connection, self.stop)
        } else {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                // One that says nothing, or takes its time.
                .header_read_timeout(self.timeout)
                .max_buf_size(MAX_HEAD)
                .serve_connection(io, service);
            until_stopped!(connection, self.stop)
        };
        if let Err(error) = ended {
            tracing::debug!("a client was cut off: {error}");
        }
    }
}

/// Whether a client begins as one of HTTP/2 does (RFC 9113 section 3.4); what it said can be read again.
async fn is_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut seen).await?;
        let common = seen.iter().zip(PREFACE).take(count).take_while(|(is, as_of)| **is == **as_of);
        match common.count() {
            _ if count == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            all if all == PREFACE.len() => return Ok(true),
            some if some < count => return Ok(false),
            // More is there at once, or nobody knows when.
            _ => sleep(LOOK_AGAIN).await,
        }
    }
}
