//! A small HTTP/1.1 client: one request at a time, everything bounded, nothing in the background.
//!
//! The connection is driven by the request that uses it. One that is still good afterwards is kept
//! for the next request to the same host; while nobody asks, nobody reads from it, and a connection
//! that the server has closed meanwhile is found out before the next request is written to it.

mod error;
mod proxy;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{DATE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

pub use self::error::HttpError;
use super::{TlsFiles, Url};

/// The largest answer that is read, in bytes, where nothing else is asked for.
pub const MAX_REPLY: usize = 64 << 10;

/// No server is obeyed when it asks for more patience than this.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// A connection that was idle for longer is not trusted to be there still: what lies on the way forgets
/// those without a word, and the next request would wait for its whole deadline.
const LONGEST_IDLE: Duration = Duration::from_secs(30);

/// A client with one deadline for everything: connecting, TLS, sending, and the whole answer.
#[derive(Debug)]
pub struct HttpClient {
    tls: Tls,
    proxy: Option<Url>,
    timeout: Duration,
    max_reply: usize,
    idle: Mutex<Option<(Instant, Live)>>,
}

/// Where the certificates come from.
#[derive(Debug)]
enum Tls {
    /// `http://` alone is spoken.
    Never,
    Fixed(Arc<ClientConfig>),
    /// Looked at for every connection.
    Files(Arc<TlsFiles>),
}

/// What a server answered.
#[derive(Debug)]
pub struct Reply {
    /// The status; redirects are not followed.
    pub status: StatusCode,
    /// How long the server wants to be left alone, at most a day.
    pub retry_after: Option<Duration>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, within the limit of the client, or why it could not be read; the status is good either way.
    pub body: Result<Bytes, HttpError>,
}

type Outgoing = Request<Full<Bytes>>;

trait Stream: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Unpin> Stream for T {}

/// A connection and the future that moves its bytes.
#[derive(Debug)]
struct Live {
    host: (bool, String, u16),
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
}

type Open = Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

#[derive(Debug)]
enum Driver {
    Moves(Pin<Box<Open>>),
    /// With that error, unless it was told already.
    Ended(Option<hyper::Error>),
}

impl Driver {
    /// Waits for `future` while the connection's bytes move.
    async fn alongside<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        if let Self::Moves(connection) = self {
            tokio::select! {
                biased;
                done = &mut future => return done,
                // How it ended is told to whoever waits for an answer, and kept while nobody does.
                ended = connection => *self = Self::Ended(ended.err()),
            }
        }
        future.await
    }

    const fn end(&mut self) -> Option<hyper::Error> {
        match self {
            Self::Moves(_) => None,
            Self::Ended(error) => error.take(),
        }
    }
}

impl HttpClient {
    /// A client that gives each request `timeout` from start to end.
    pub const fn new(tls: Arc<ClientConfig>, timeout: Duration) -> Self {
        Self::with(Tls::Fixed(tls), timeout)
    }

    /// A client for `http://` alone, which asks for no certificates.
    pub const fn plain(timeout: Duration) -> Self {
        Self::with(Tls::Never, timeout)
    }

    /// A client whose certificates may come later and may change: each new connection uses them as they
    /// are then.
    pub fn from_files(tls: TlsFiles, timeout: Duration) -> Self {
        Self::with(Tls::Files(Arc::new(tls)), timeout)
    }

    const fn with(tls: Tls, timeout: Duration) -> Self {
        Self { tls, proxy: None, timeout, max_reply: MAX_REPLY, idle: Mutex::new(None) }
    }

    /// The same client, which reads answers of up to so many bytes.
    #[must_use]
    pub fn reading(mut self, max_reply: usize) -> Self {
        self.max_reply = max_reply;
        self
    }

    /// The same client behind an HTTP proxy: TLS goes through a tunnel (`CONNECT`), so that the proxy sees
    /// nothing of it; a request in the clear is handed to the proxy.
    #[must_use]
    pub fn through(mut self, proxy: Option<Url>) -> Self {
        self.proxy = proxy;
        self
    }

    /// Sends one request and reads the answer. `Host` and `User-Agent` are added to `headers`. Nothing
    /// is sent twice: trying again is for the caller to decide.
    pub async fn request(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> Result<Reply, HttpError> {
        let deadline = Instant::now() + self.timeout;
        let late = || HttpError::Timeout { host: url.to_string(), within: self.timeout };
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = if self.proxy.is_some() && !url.is_tls() {
            url.uri().clone()
        } else {
            url.path_and_query().parse().unwrap_or_default()
        };
        *request.headers_mut() = headers;
        if let Ok(host) = HeaderValue::from_str(url.authority()) {
            request.headers_mut().insert(HOST, host);
        }
        let agent = HeaderValue::from_static(concat!("eir/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().entry(USER_AGENT).or_insert(agent);

        let sent = timeout_at(deadline, self.send(url, request));
        let (mut live, response) = sent.await.map_err(|_| late())??;
        let (head, body) = response.into_parts();
        let body =
            timeout_at(deadline, live.driver.alongside(read(url, body, self.max_reply))).await;
        let body = body.unwrap_or_else(|_| Err(late()));
        if body.is_ok() && matches!(live.driver, Driver::Moves(_)) {
            *self.idle.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((Instant::now(), live));
        }
        let retry_after = retry_after(&head.headers);
        Ok(Reply { status: head.status, retry_after, headers: head.headers, body })
    }

    async fn send(
        &self,
        url: &Url,
        request: Outgoing,
    ) -> Result<(Live, Response<Incoming>), HttpError> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut request = request;
        let usable = |(since, live): &(Instant, Live)| {
            live.host == key(url) && since.elapsed() < LONGEST_IDLE
        };
        if let Some((_, mut live)) = kept.filter(usable) {
            match live.send(request).await {
                Ok(response) => return Ok((live, response)),
                Err((_closed, Some(unsent))) => request = unsent,
                Err((source, None)) => return Err(HttpError::exchange(url, source)),
            }
        }
        let mut live = self.connect(url).await?;
        let response = live.send(request).await;
        let response = response.map_err(|(source, _)| HttpError::exchange(url, source))?;
        Ok((live, response))
    }

    async fn connect(&self, url: &Url) -> Result<Live, HttpError> {
        let host = url.to_string();
        let next = self.proxy.as_ref().unwrap_or(url);
        let refused = |source| HttpError::Connect { host: next.to_string(), source };
        let mut tcp = TcpStream::connect((next.host(), next.port())).await.map_err(refused)?;
        tcp.set_nodelay(true).map_err(refused)?;
        let stream: Box<dyn Stream> = if url.is_tls() {
            if let Some(proxy) = &self.proxy {
                proxy::tunnel(&mut tcp, proxy, url).await?;
            }
            let no_tls = |source| HttpError::tls(url, source);
            let name = ServerName::try_from(url.host().to_owned())
                .map_err(|error| no_tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
            let connector = TlsConnector::from(self.tls.config(&host).await?);
            Box::new(connector.connect(name, tcp).await.map_err(no_tls)?)
        } else {
            Box::new(tcp)
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| HttpError::exchange(url, source))?;
        Ok(Live { host: key(url), sender, driver: Driver::Moves(Box::pin(connection)) })
    }
}

impl Tls {
    async fn config(&self, host: &str) -> Result<Arc<ClientConfig>, HttpError> {
        let no_tls = |kind, why: String| HttpError::Tls {
            host: host.to_owned(),
            source: io::Error::new(kind, why),
        };
        match self {
            Self::Never => {
                Err(no_tls(io::ErrorKind::Unsupported, "this client speaks no TLS".to_owned()))
            }
            Self::Fixed(config) => Ok(Arc::clone(config)),
            Self::Files(files) => {
                let files = Arc::clone(files);
                // A card that hangs holds up this connection and no other task.
                let read = tokio::task::spawn_blocking(move || files.current()).await;
                let read = read.map_err(|e| no_tls(io::ErrorKind::Other, e.to_string()))?;
                read.map_err(|source| HttpError::Files { host: host.to_owned(), source })
            }
        }
    }
}

impl Live {
    /// The request comes back where none of it was written.
    async fn send(
        &mut self,
        request: Outgoing,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Outgoing>)> {
        if let Err(closed) = self.driver.alongside(self.sender.ready()).await {
            return Err((self.driver.end().unwrap_or(closed), Some(request)));
        }
        let answer = self.driver.alongside(self.sender.try_send_request(request)).await;
        answer.map_err(|mut error| {
            let unsent = error.take_message();
            (error.into_error(), unsent)
        })
    }
}

fn key(url: &Url) -> (bool, String, u16) {
    (url.is_tls(), url.host().to_owned(), url.port())
}

async fn read(url: &Url, body: Incoming, most: usize) -> Result<Bytes, HttpError> {
    match Limited::new(body, most).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(source) => HttpError::exchange(url, *source),
            Err(_limit) => HttpError::TooLarge { host: url.to_string(), most },
        }),
    }
}

/// Seconds, or a date, which is measured against the server's own clock (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    let value = text(RETRY_AFTER)?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => date(value)?.duration_since(date(text(DATE)?)?).unsigned_abs(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests;
