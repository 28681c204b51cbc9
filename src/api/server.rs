//! The port, and who is let in at one time.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

use super::ApiConfig;
use super::route::answer;
use super::view::Shown;
use crate::net::listen_problem;
use crate::task::{Group, Stop};

/// The longest line and headers of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

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
    /// Opens the port and answers from what is shown. To be called within a runtime.
    pub fn start(config: &ApiConfig, shown: Shown) -> Result<Self, ApiError> {
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
        let door = Door { shown, timeout: config.timeout.0, stop: group.stop_signal() };
        let room = Arc::new(Semaphore::new(config.max_connections));
        group.spawn("api", serve(listener, door, room));
        tracing::info!("health and metrics at http://{address}");
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

/// What every connection is served with.
#[derive(Debug, Clone)]
struct Door {
    shown: Shown,
    timeout: Duration,
    stop: Stop,
}

async fn serve(listener: TcpListener, door: Door, room: Arc<Semaphore>) {
    let mut stop = door.stop.clone();
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
                let door = door.clone();
                connections.spawn("client", async move {
                    door.connection(stream).await;
                    drop(place);
                });
            }
            Some((Err(error), _)) => {
                tracing::debug!("a client could not be let in: {error}");
                tokio::time::sleep(PAUSE).await;
            }
            None => break,
        }
    }
    drop(listener);
    connections.drain(GOODBYE).await;
}

impl Door {
    async fn connection(mut self, stream: TcpStream) {
        let mut stream = TimeoutStream::new(stream);
        // A client that does not read its answer.
        stream.set_write_timeout(Some(self.timeout));
        let shown = Arc::clone(&self.shown);
        let service = service_fn(move |request| {
            let view = shown.load();
            let answer = answer(request.method(), request.uri(), &view);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // One that says nothing, or takes its time.
            .header_read_timeout(self.timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(Box::pin(stream)), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.stopped() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a client was cut off: {error}");
        }
    }
}
