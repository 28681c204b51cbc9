//! A client of gRPC that does what the tests say, right or wrong.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;

use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::client::conn::http2::{SendRequest, handshake};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::within;

/// A message with its head: not compressed, and so long.
pub(super) fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0], &length[..], &message].concat()
}

type Sent = Pin<Box<dyn hyper::body::Body<Data = Bytes, Error = Infallible> + Send>>;

/// The code, its message, and what came before them.
pub(super) type Told = (i32, String, Vec<Vec<u8>>);

/// A connection of HTTP/2 that speaks gRPC.
pub(super) struct Caller {
    /// Goes along with every call, if it is not empty.
    pub(super) token: String,
    /// The same.
    pub(super) trace: String,
    sender: SendRequest<Sent>,
    _driving: eir::task::Group,
}

/// A call that is under way.
pub(super) struct Call {
    /// What is said here goes to the server; dropped: that was all.
    says: Option<mpsc::Sender<Vec<u8>>>,
    response: hyper::Response<hyper::body::Incoming>,
    come: Vec<u8>,
}

impl Caller {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (sender, connection) = handshake(executor, io).await.expect("a handshake");
        let mut driving = eir::task::Group::default();
        driving.spawn("client", async move { drop(connection.await) });
        Self { token: String::new(), trace: String::new(), sender, _driving: driving }
    }

    /// A call that says one thing and waits for so long, as `grpc-timeout` has it.
    pub(super) async fn begin(&mut self, path: &str, wait: &str, all: Vec<u8>) -> Call {
        self.send(path, wait, all, false).await
    }

    /// The same, with more to say.
    pub(super) async fn open(&mut self, path: &str, wait: &str, first: Vec<u8>) -> Call {
        self.send(path, wait, first, true).await
    }

    async fn send(&mut self, path: &str, wait: &str, first: Vec<u8>, more: bool) -> Call {
        let (says, said) = mpsc::channel(8);
        says.send(first).await.expect("room");
        let said = futures_util::stream::unfold(said, async |mut said: mpsc::Receiver<Vec<u8>>| {
            Some((Ok(Frame::data(Bytes::from(said.recv().await?))), said))
        });
        let mut request = hyper::Request::post(format!("http://eir{path}"));
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        if !self.trace.is_empty() {
            request = request.header("traceparent", &self.trace);
        }
        let request = request
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", wait)
            .body(Box::pin(StreamBody::new(said)) as Sent)
            .expect("a request");
        let response = self.sender.send_request(request);
        let says = Some(says).filter(|_| more);
        let response = within("a response", response).await.expect("a response");
        Call { says, response, come: Vec::new() }
    }

    /// A whole call: its code, and what it brought.
    pub(super) async fn call(&mut self, path: &str, message: &impl Message) -> Told {
        self.begin(path, "60S", framed(message)).await.end().await
    }
}

impl Call {
    /// The next message, or how it ended.
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, (i32, String)> {
        loop {
            if let Some((head, rest)) = self.come.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if rest.len() >= length {
                    let message = rest[..length].to_vec();
                    self.come.drain(..5 + length);
                    return Ok(message);
                }
            }
            let frame = within("a frame", self.response.body_mut().frame()).await;
            let Some(frame) = frame else {
                // Nothing but a status: it is in the head.
                return Err(status(self.response.headers()));
            };
            match frame.expect("a frame").into_data() {
                Ok(data) => self.come.extend_from_slice(&data),
                Err(frame) => return Err(status(&frame.into_trailers().expect("trailers"))),
            }
        }
    }

    /// Says that it was all, and hears the rest.
    pub(super) async fn end(mut self) -> Told {
        self.says = None;
        self.rest().await
    }

    /// What is still said, and how it ends.
    pub(super) async fn rest(mut self) -> Told {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Ok(message) => messages.push(message),
                Err((code, message)) => return (code, message, messages),
            }
        }
    }

    /// Says some bytes more.
    pub(super) async fn say(&self, bytes: &[u8]) {
        self.says.as_ref().expect("open").send(bytes.to_vec()).await.expect("an open call");
    }
}

fn status(headers: &hyper::HeaderMap) -> (i32, String) {
    let text = |name| headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned());
    let code = text("grpc-status").expect("a status").parse().expect("a number");
    // Spaces are written so, and quotes.
    let message = text("grpc-message").unwrap_or_default();
    (code, message.replace("%20", " ").replace("%60", "`"))
}
