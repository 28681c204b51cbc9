//! The port, and who is let in at one time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use super::ApiConfig;
use super::admin::Orders;
use super::door::Door;
use super::live::Live;
use super::route::{common, routes};
use super::seats::{Peer, Seats};
use super::view::Shown;
use crate::job::Jobs;
use crate::model::Shelf;
use crate::net::{NetError, ServerTlsConfig, TlsFiles, listen_problem, with_sources};
use crate::task::{Group, Stop};
use crate::trace::Traces;

/// The longest line and headers of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// The same of HTTP/2.
const MAX_HEAD_2: u32 = 16 << 10;

/// Requests at one time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 64;

/// What may have come of one of them that nobody has read yet. The many small frames of a stream of gRPC fill it before
/// they are too many for the connection.
const WINDOW: u32 = 128 << 10;

/// What a client of HTTP/2 says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How soon it is looked whether more of that has come.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

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

/// What the server looks at, and has done: everything that it knows of the device.
#[derive(Debug, Clone)]
pub struct Handles {
    /// How the device is.
    pub shown: Shown,
    /// The models.
    pub shelf: Arc<Shelf>,
    /// What the pipelines see and decide.
    pub live: Arc<Live>,
    /// What is done for requests, to be told.
    pub traces: Traces,
    /// Where orders go.
    pub orders: Orders,
}

/// A running server. It ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Api {
    address: SocketAddr,
    grpc: Option<SocketAddr>,
    group: Group,
    jobs: Option<Arc<Jobs>>,
}

impl Api {
    /// Opens the ports and answers from what it is handed. To be called within a runtime.
    pub fn start(config: &ApiConfig, handles: Handles) -> Result<Self, ApiError> {
        if let Some(problem) = config.check().into_iter().next() {
            return Err(ApiError::Config { key: problem.key, problem: problem.message });
        }
        let wrong =
            |key: &'static str| move |problem| ApiError::Config { key: key.to_owned(), problem };
        let (listener, address) = open(config.address().map_err(wrong("listen"))?)?;
        let grpc = config.grpc_address().map_err(wrong("grpc"))?.map(open).transpose()?;
        let mut group = Group::default();
        let tls = config.tls.clone().map(TlsFiles::new).map(Arc::new);
        if let (Some(files), Some(named)) = (&tls, &config.tls) {
            files.current().map_err(|problem| ApiError::Config {
                key: format!("tls.{}", named.key_of(&problem)),
                problem: with_sources(&problem),
            })?;
        }
        let jobs = config.jobs.as_ref().map(|jobs| Jobs::start(jobs, Arc::clone(&handles.shelf)));
        let jobs = jobs.transpose().map_err(|problem| wrong("jobs")(problem.to_string()))?;
        let jobs = jobs.map(Arc::new);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let door = Door::new(config, handles, jobs.clone(), group.stop_signal());
        let (timeout, stop) = (config.timeout.0, door.stop.clone());
        let hall = Hall { routes: routes(&door), tls, timeout, stop };
        let seats = Seats::new(config.max_connections);
        let grpc = match grpc {
            #[cfg(feature = "grpc")]
            Some((listener, address)) => {
                let routes = super::grpc::routes(&door).map_err(wrong("grpc"))?;
                let hall = Hall { routes, ..hall.clone() };
                group.spawn("grpc", serve(listener, hall, Arc::clone(&seats)));
                Some(address)
            }
            _ => None,
        };
        group.spawn("api", serve(listener, hall, seats));
        tracing::info!("health, metrics and models at {scheme}://{address}");
        if let Some(address) = grpc {
            tracing::info!("models over gRPC at {address}");
        }
        Ok(Self { address, grpc, group, jobs })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it speaks gRPC, if it does.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc
    }

    /// Whether jobs can be kept, where there are to be some.
    pub fn jobs(&self) -> Option<Result<(), String>> {
        self.jobs.as_ref().map(|jobs| jobs.problem().map_or(Ok(()), Err))
    }

    /// Closes the ports; answers that are being written are given a moment.
    pub async fn stop(self) {
        if let Some(jobs) = &self.jobs {
            jobs.halt();
        }
        self.group.drain(GOODBYE).await;
        if let Some(jobs) = self.jobs {
            // A model that does not answer is left behind; its job goes on at the next start.
            let ended = spawn_blocking(move || jobs.wait());
            let _in_time = timeout(GOODBYE, ended).await.is_ok();
        }
    }
}

/// Opens a port, and says which it is.
fn open(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ApiError> {
    let failed = |source| ApiError::Listen { address, source };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// What every connection is served with.
#[derive(Debug, Clone)]
struct Hall {
    routes: Router,
    /// `None`: in the clear.
    tls: Option<Arc<TlsFiles<ServerTlsConfig>>>,
    timeout: Duration,
    stop: Stop,
}

async fn serve(listener: TcpListener, hall: Hall, seats: Arc<Seats>) {
    let mut stop = hall.stop.clone();
    let mut connections = Group::default();
    loop {
        let next = async {
            let accepted = listener.accept().await;
            // Who comes while all are being served waits; the system keeps those behind it.
            (accepted, seats.sit().await)
        };
        let (accepted, place) = tokio::select! {
            () = stop.stopped() => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, from)) => {
                let hall = hall.clone();
                connections.spawn("client", async move {
                    let seat = Arc::clone(&place.seat);
                    let peer = Peer { address: from.ip(), seat: Arc::clone(&seat) };
                    tokio::select! {
                        () = hall.connection(stream, peer) => {}
                        () = seat.left() => tracing::debug!("a client made room for another"),
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("a client could not be let in: {error}");
                sleep(PAUSE).await;
            }
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
    async fn connection(self, stream: TcpStream, peer: Peer) {
        // Answers are small, and somebody waits for each.
        let _slower = stream.set_nodelay(true);
        let Some(tls) = self.tls.clone() else {
            // Otherwise it said nothing, or went.
            let Ok(Ok(is_http2)) = timeout(self.timeout, is_http2(&stream)).await else { return };
            return self.speak(stream, is_http2, peer).await;
        };
        let Ok(Ok(server)) = spawn_blocking(move || follow(&tls)).await else { return };
        match timeout(self.timeout, TlsAcceptor::from(server).accept(stream)).await {
            Ok(Ok(stream)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.speak(stream, is_http2, peer).await;
            }
            Ok(Err(problem)) => tracing::debug!("a client was not understood: {problem}"),
            Err(_) => {}
        }
    }

    async fn speak<S>(mut self, stream: S, is_http2: bool, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut stream = TimeoutStream::new(stream);
        // A client that does not read its answer.
        stream.set_write_timeout(Some(self.timeout));
        let io = TokioIo::new(Box::pin(stream));
        let routes = self.routes;
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let working = peer.works();
            request.extensions_mut().insert(peer.clone());
            let answer = routes.clone().call(request);
            async move {
                let mut answer = answer.await;
                if let Ok(answer) = &mut answer {
                    common(answer.headers_mut());
                }
                drop(working);
                answer
            }
        });
        let ended = if is_http2 {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .initial_stream_window_size(WINDOW)
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

/// TLS by the files as they are; where they cannot be used now, as they were.
fn follow(tls: &TlsFiles<ServerTlsConfig>) -> Result<Arc<ServerConfig>, NetError> {
    let now = tls.current();
    if let Err(problem) = &now {
        tracing::warn!("[api.tls] its files cannot be used: {}", with_sources(problem));
    }
    now.or_else(|problem| tls.last().ok_or(problem))
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
