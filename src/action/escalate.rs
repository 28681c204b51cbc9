//! Asking a remote model for a second opinion: what is sent to it, what may be believed of its answer, and when it
//! is asked at all.
//!
//! Who asks and what becomes of the answer is `app`'s; here are the transport ([`Remote`]), both protocols, the
//! breaker and the rate ([`Gate`]), the answers that are kept ([`Cache`]) and the counters ([`Tally`]). A remote is
//! not trusted to make sense: its answers are bounded, and whatever is not exactly what was asked for is a failure.

mod cache;
mod config;
mod gate;
pub mod plain;
mod tally;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use thiserror::Error;

pub use self::cache::{Cache, ContentHash};
pub use self::config::{BreakerConfig, EscalateConfig};
pub use self::gate::{Gate, Refusal};
pub use self::plain::Inquiry;
pub use self::tally::{Case, EscalationStatus, Fate, Tally, Verdict};
use crate::event::{Name, Prediction, Tensor, TraceParent};
use crate::net::{HttpClient, HttpError, Reply, TlsFiles, Url, bearer, with_sources};
use crate::oip::{HEADER_LENGTH, OipError, client};
use crate::task::content_hash;

/// Of what a remote says about a failure, no more is shown.
const MAX_WORDS: usize = 200;

/// Of a failure and its reasons, which may quote an answer, no more is shown.
const MAX_REASONS: usize = 400;

/// A second opinion that may be believed.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What it says.
    pub prediction: Arc<Prediction>,
    /// The remote model.
    pub model: Name,
    /// Its version; 0 where it is not told.
    pub version: u64,
}

/// A question, ready to be sent.
#[derive(Debug, Clone)]
pub struct Question {
    body: Bytes,
    /// How much of the body is JSON, where tensors follow it.
    json: Option<usize>,
    content: ContentHash,
}

/// What a remote said, not yet looked at.
#[derive(Debug)]
pub struct Said {
    /// Its words.
    pub words: Words,
    /// The remote model.
    pub model: Name,
    /// Its version; 0 where it is not told.
    pub version: u64,
}

/// In which form a remote answers.
#[derive(Debug)]
pub enum Words {
    /// The outputs of the model, in the order in which they were asked for.
    Tensors(Vec<Tensor>),
    /// What they mean.
    Prediction(Prediction),
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// Without its token the remote would only say no.
    #[error("token_file {0}")]
    Token(String),
    /// Nothing came back, or nothing whole.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It does not want to.
    #[error("{host} answered {status}{words}")]
    Status {
        /// Host and port.
        host: String,
        /// The status.
        status: StatusCode,
        /// What it said, with a colon before it.
        words: String,
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// Somebody else answers: a portal, a proxy.
    #[error("{0} answered with a page of HTML")]
    Html(String),
    /// The answer does not follow the Open Inference Protocol.
    #[error("the answer cannot be read")]
    Oip(#[from] OipError),
    /// The answer is no prediction.
    #[error("the answer holds no prediction")]
    Json(#[from] serde_json::Error),
    /// The answer is not what this model could have said.
    #[error("the answer does not fit the model: {0}")]
    Unfit(String),
}

impl RemoteError {
    /// Nothing will change before a person changes something.
    pub fn is_for_good(&self) -> bool {
        let Self::Status { status, .. } = self else { return false };
        status.is_redirection() || matches!(status.as_u16(), 401 | 403..=405 | 410)
    }

    /// The time was over first.
    pub const fn is_late(&self) -> bool {
        matches!(self, Self::Http(HttpError::Timeout { .. }))
    }

    /// It and its reasons, in one short line whatever the remote said.
    pub fn in_short(&self) -> String {
        shown(&with_sources(self), MAX_REASONS)
    }

    /// How long the remote wants to be left alone.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { after, .. } => *after,
            _ => None,
        }
    }
}

impl Question {
    /// Asks for `outputs` of a model with this input. What the meaning of the answer depends on besides is in
    /// `beside`.
    pub fn tensors(input: (&str, &Tensor), outputs: &[&str], beside: &[u8]) -> Self {
        let client::Request { json, body } = client::request(&[input], outputs);
        let content = content_hash(&[&body, beside]);
        Self { body: body.into(), json: Some(json), content }
    }

    /// Asks what this input is; whose it is makes no difference to the answer.
    pub fn input(inquiry: &Inquiry<'_>) -> Result<Self, serde_json::Error> {
        let content = content_hash(&[inquiry.input.get().as_bytes()]);
        Ok(Self { body: serde_json::to_vec(inquiry)?.into(), json: None, content })
    }

    /// The hash of what the answer depends on.
    pub const fn content(&self) -> &ContentHash {
        &self.content
    }
}

/// The remote of one pipeline.
#[derive(Debug)]
pub struct Remote {
    client: HttpClient,
    url: Url,
    model: Option<Name>,
    version: Option<u64>,
    token_file: Option<PathBuf>,
}

impl Remote {
    /// As configured; the files are read when they are needed. An error says what is wrong and what would be
    /// right; [`EscalateConfig::check`] finds it beforehand.
    pub fn new(config: &EscalateConfig) -> Result<Self, String> {
        let url = config.address().map_err(|error| format!("url: {error}"))?;
        let client = if url.is_tls() {
            HttpClient::from_files(TlsFiles::new(config.tls()), config.deadline.0)
        } else {
            HttpClient::plain(config.deadline.0)
        };
        Ok(Self {
            client: client.reading(config.max_answer.0),
            url,
            model: config.model.clone(),
            version: config.version,
            token_file: config.token_file.clone(),
        })
    }

    /// Host and port.
    pub fn host(&self) -> String {
        self.url.to_string()
    }

    /// Asks once, on behalf of what is in that trace; the reply is to be read.
    pub async fn ask(
        &self,
        question: &Question,
        trace: Option<TraceParent>,
    ) -> Result<Reply, RemoteError> {
        let mut headers = HeaderMap::new();
        let kind = match question.json {
            Some(json) => {
                headers.insert(HeaderName::from_static(HEADER_LENGTH), json.into());
                "application/octet-stream"
            }
            None => "application/json",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let takes = "application/json, application/octet-stream";
        headers.insert(ACCEPT, HeaderValue::from_static(takes));
        if let Some(path) = &self.token_file {
            headers.insert(AUTHORIZATION, bearer(path).await.map_err(RemoteError::Token)?);
        }
        super::hand_on(trace, &mut headers);
        let body = question.body.clone();
        Ok(self.client.request(Method::POST, &self.url, headers, body).await?)
    }

    /// What was said to a question. `outputs` are those that it asks for. A large answer takes its time.
    pub fn read(
        &self,
        question: &Question,
        reply: Reply,
        outputs: &[&str],
    ) -> Result<Said, RemoteError> {
        let host = || self.host();
        let Reply { status, retry_after, headers, body } = reply;
        if !status.is_success() {
            let words = body.map(|body| words(&body)).unwrap_or_default();
            return Err(RemoteError::Status { host: host(), status, words, after: retry_after });
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with("text/html")) {
            return Err(RemoteError::Html(host()));
        }
        let body = body?;
        let (words, model, version) = if question.json.is_some() {
            let found = client::answer(header(HEADER_LENGTH), &body, outputs)?;
            let version = found.version.and_then(|version| version.parse().ok());
            (Words::Tensors(found.tensors), found.model, version)
        } else {
            let told = plain::answer(&body)?;
            (Words::Prediction(told.prediction), told.model, told.version)
        };
        let named = model.and_then(|model| model.parse().ok()).or_else(|| self.model.clone());
        Ok(Said {
            words,
            model: named.unwrap_or_else(|| Name::near(self.url.host())),
            version: version.or(self.version).unwrap_or(0),
        })
    }
}

/// What an answer says about a failure: its `error`, as the protocol has it.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Failed {
        error: String,
    }
    let told = serde_json::from_slice(body).map(|Failed { error }| error);
    told.map_or_else(|_| String::new(), |error| format!(": {}", shown(&error, MAX_WORDS)))
}

fn shown(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests;
