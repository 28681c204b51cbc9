//! The uplink for files: resumable uploads, after <https://tus.io/protocols/resumable-upload> 1.0.0, core and creation.
//!
//! Each call sends one piece, and says [`Verdict::Part`] until the server has all of the file: between two of
//! them the cloud's own pace, hours and rate decide when the next one goes. Where an upload was broken off the server is
//! asked how far it came, also after a restart. A file is sent in pieces, smaller ones where a piece does
//! not get through in time or is larger than something on the way lets pass.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::apart::{self, File};
use super::courier::{Answer, Courier};
use super::{Batch, CloudConfig, Encoding, Uplink, Verdict};
use crate::net::{HttpError, Reply, Url};

const VERSION: &str = "1.0.0";

const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// No piece is made smaller than this, in bytes.
const SMALLEST: usize = 16 << 10;

/// Writes down what is to be known after a restart; an empty text is to be forgotten.
type Remember = Box<dyn Fn(String) + Send + Sync>;

/// Uploads the inputs of samples, one after the other.
pub struct TusUplink {
    courier: Courier,
    url: Url,
    insecure: bool,
    largest: usize,
    remember: Remember,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What an earlier start had begun.
    begun: Option<Begun>,
    /// What is under way.
    upload: Option<Upload>,
    /// How much is sent at once, where it may be that much.
    piece: usize,
    allowed: usize,
}

/// An upload as it is remembered.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    file: String,
    url: String,
}

#[derive(Debug)]
struct Upload {
    /// The key of the batch that it belongs to.
    key: String,
    file: File,
    body: Bytes,
    /// Where it goes; `None`: it is not begun.
    to: Option<Url>,
    /// How much the server has; `None`: it has to be asked.
    offset: Option<usize>,
    /// A restart would know of it.
    is_remembered: bool,
}

impl fmt::Debug for TusUplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TusUplink").field("url", &self.url).finish_non_exhaustive()
    }
}

impl TusUplink {
    /// An uplink to the `samples` of a cloud; `begun` is what `remember` was given last before the restart. An error
    /// says what is wrong and what would be right; [`CloudConfig::check`] finds it beforehand.
    pub fn new(
        config: &CloudConfig,
        begun: Option<&str>,
        remember: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let url = config.samples_url().unwrap_or_else(|| Err("is missing".to_owned()));
        let url = url.map_err(|error| format!("samples: {error}"))?;
        let largest = config.batch_bytes().max(SMALLEST);
        // One of another program is none of this one.
        let begun = begun.and_then(|begun| serde_json::from_str(begun).ok());
        Ok(Self {
            courier: Courier::new(config, &url)?,
            url,
            insecure: config.insecure,
            largest,
            remember: Box::new(remember),
            state: Mutex::new(State { begun, upload: None, piece: largest, allowed: usize::MAX }),
        })
    }

    /// The upload that this batch, which holds one sample, is.
    async fn upload(&self, batch: &Batch) -> Result<Upload, String> {
        let under_way = self.lock().upload.take();
        if let Some(upload) = under_way.filter(|upload| upload.key == batch.key()) {
            return Ok(upload);
        }
        let line = batch.body().clone();
        let read = tokio::task::spawn_blocking(move || apart::file(&line)).await;
        let mut file = read.map_err(|error| error.to_string()).flatten()?;
        let body = std::mem::take(&mut file.bytes).into();
        let begun = self.lock().begun.take_if(|begun| begun.file == file.name);
        let to = begun.and_then(|begun| self.of_this_server(&begun.url).ok());
        let (key, is_remembered) = (batch.key().to_owned(), to.is_some());
        Ok(Upload { key, file, body, to, offset: None, is_remembered })
    }

    /// Sends the next piece, with what has to be asked before.
    async fn go_on(&self, upload: &mut Upload, sent: &mut usize) -> Result<Verdict, Verdict> {
        let to = match upload.to.clone() {
            Some(to) => to,
            None => self.create(upload).await?,
        };
        let offset = match upload.offset {
            Some(offset) => offset,
            None => self.look(upload, &to).await?,
        };
        if offset < upload.body.len() {
            self.push(upload, (&to, offset), sent).await?;
        }
        let all = upload.offset.is_some_and(|offset| offset >= upload.body.len());
        Ok(if all { Verdict::Delivered } else { Verdict::Part })
    }

    /// Begins an upload.
    async fn create(&self, upload: &mut Upload) -> Result<Url, Verdict> {
        let mut headers = HeaderMap::new();
        headers.insert(LENGTH, upload.body.len().into());
        headers.insert(METADATA, metadata(&upload.file));
        let reply = match self.ask(Method::POST, &self.url, headers, Bytes::new()).await? {
            Ok(reply) if reply.status == StatusCode::CREATED => reply,
            answer => return Err(self.no(&answer)),
        };
        self.speaks_tus(&reply)?;
        let to = reply.headers.get(LOCATION).and_then(|to| to.to_str().ok());
        let to = to.ok_or_else(|| "no Location".to_owned()).and_then(|to| self.of_this_server(to));
        let to = to.map_err(|why| Verdict::Stop {
            why: format!("{} began an upload, but {why}; see samples", self.url),
        })?;
        if upload.body.len() > self.lock().size() {
            let begun = Begun { file: upload.file.name.clone(), url: to.text() };
            // Texts always have a JSON.
            (self.remember)(serde_json::to_string(&begun).unwrap_or_default());
            upload.is_remembered = true;
        }
        (upload.to, upload.offset) = (Some(to.clone()), Some(0));
        Ok(to)
    }

    /// Asks how far an upload came.
    async fn look(&self, upload: &mut Upload, to: &Url) -> Result<usize, Verdict> {
        let reply = match self.ask(Method::HEAD, to, HeaderMap::new(), Bytes::new()).await? {
            Ok(reply) if reply.status.is_success() => reply,
            Ok(reply) if is_gone(reply.status) => return Err(self.gone(upload)),
            answer => return Err(self.no(&answer)),
        };
        self.speaks_tus(&reply)?;
        let own = upload.body.len();
        let is_own = number(&reply, &LENGTH).is_none_or(|length| length == own);
        let offset = number(&reply, &OFFSET).filter(|offset| is_own && *offset <= own);
        upload.offset = offset;
        offset.ok_or_else(|| self.gone(upload))
    }

    /// Sends the next piece.
    async fn push(
        &self,
        upload: &mut Upload,
        (to, offset): (&Url, usize),
        sent: &mut usize,
    ) -> Result<(), Verdict> {
        let size = self.lock().size().min(upload.body.len() - offset);
        let mut headers = HeaderMap::new();
        headers.insert(OFFSET, offset.into());
        let kind = HeaderValue::from_static("application/offset+octet-stream");
        headers.insert(CONTENT_TYPE, kind);
        // Whatever comes of it but a clear answer, nobody knows how much of it arrived.
        upload.offset = None;
        let piece = upload.body.slice(offset..offset + size);
        let answer = self.ask(Method::PATCH, to, headers, piece).await?;
        *sent = size;
        match &answer {
            Ok(reply) if reply.status.is_success() => {
                self.speaks_tus(reply)?;
                let reached = number(reply, &OFFSET);
                let reached = reached.filter(|at| *at > offset && *at <= offset + size);
                let why = || format!("{to} took a piece, and does not say how far that goes");
                let reached = reached.ok_or_else(|| Verdict::Wait { why: why(), after: None })?;
                self.lock().grow(self.largest);
                upload.offset = Some(reached);
                Ok(())
            }
            Ok(reply) if is_gone(reply.status) => Err(self.gone(upload)),
            Ok(reply) if reply.status == StatusCode::CONFLICT => {
                let why = format!("{to} has another part of it than was thought");
                Err(Verdict::Wait { why, after: None })
            }
            Ok(reply) if reply.status == StatusCode::PAYLOAD_TOO_LARGE && self.lock().shrink() => {
                Ok(())
            }
            Err(HttpError::Timeout { .. }) => {
                self.lock().shrink();
                Err(self.no(&answer))
            }
            _ => Err(self.no(&answer)),
        }
    }

    async fn ask(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Verdict> {
        headers.insert(RESUMABLE, HeaderValue::from_static(VERSION));
        self.courier.request(method, url, headers, body).await
    }

    /// The address of an upload, which must not lead elsewhere: the token goes with every piece.
    fn of_this_server(&self, to: &str) -> Result<Url, String> {
        let to = self.url.join(to, self.insecure).map_err(|error| error.to_string())?;
        if to.is_same_server(&self.url) { Ok(to) } else { Err(format!("at another server, {to}")) }
    }

    /// No portal and no proxy says of itself that it speaks this protocol.
    fn speaks_tus(&self, reply: &Reply) -> Result<(), Verdict> {
        if reply.headers.get(RESUMABLE).is_some_and(|version| version == VERSION) {
            return Ok(());
        }
        let (url, status) = (&self.url, reply.status);
        let why = format!("{url} answered {status}, but not with Tus-Resumable: {VERSION}");
        Err(Verdict::Wait { why, after: None })
    }

    /// It is begun anew.
    fn gone(&self, upload: &mut Upload) -> Verdict {
        upload.to = None;
        Verdict::Wait { why: format!("{} knows an upload no more", self.url), after: None }
    }

    /// The verdict on an answer that is no yes.
    fn no(&self, answer: &Answer) -> Verdict {
        let peer = self.url.to_string();
        let stop = |status: StatusCode, why: &str| Verdict::Stop {
            why: format!("{peer} answered {status}: {why}; see samples"),
        };
        let Ok(reply) = answer else { return self.courier.judge(&peer, "", answer) };
        match reply.status {
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::METHOD_NOT_ALLOWED => {
                stop(reply.status, "nothing takes uploads there")
            }
            StatusCode::PRECONDITION_FAILED => {
                stop(reply.status, "it speaks another version of tus than 1.0.0")
            }
            StatusCode::LOCKED => {
                let why = format!("{peer} answered {}", reply.status);
                Verdict::Wait { why, after: reply.retry_after }
            }
            _ => match self.courier.judge(&peer, "", answer) {
                // What was asked for has another status.
                Verdict::Delivered => {
                    let why = format!("{peer} does not answer as tus {VERSION} does");
                    Verdict::Wait { why, after: None }
                }
                verdict => verdict,
            },
        }
    }

    // No code that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Uplink for TusUplink {
    const ENCODING: Encoding = Encoding::Plain;

    fn allow(&self, bytes: usize) {
        self.lock().allowed = bytes;
    }

    async fn send(&self, batch: &Batch) -> (Verdict, usize) {
        let mut upload = match self.upload(batch).await {
            Ok(upload) => upload,
            Err(error) => {
                let why = format!("the sample holds no input: {error}");
                return (Verdict::Rejected { why }, 0);
            }
        };
        let mut sent = 0;
        let verdict = self.go_on(&mut upload, &mut sent).await;
        let verdict = verdict.unwrap_or_else(|verdict| verdict);
        if verdict != Verdict::Delivered {
            self.lock().upload = Some(upload);
        } else if upload.is_remembered {
            (self.remember)(String::new());
        }
        (verdict, sent)
    }
}

impl State {
    /// How much is sent next.
    fn size(&self) -> usize {
        self.piece.min(self.allowed).max(1)
    }

    const fn grow(&mut self, largest: usize) {
        let more = self.piece.saturating_mul(2);
        self.piece = if more < largest { more } else { largest };
    }

    /// False: it is as small as it gets.
    const fn shrink(&mut self) -> bool {
        let can = self.piece > SMALLEST;
        let less = self.piece / 2;
        self.piece = if less > SMALLEST { less } else { SMALLEST };
        can
    }
}

/// What the server is told of a file: pairs of a key and a value in base64.
fn metadata(file: &File) -> HeaderValue {
    let pairs = [
        ("filename", &file.name),
        ("filetype", &file.content_type),
        ("device", &file.device),
        ("pipeline", &file.pipeline),
        ("sampler", &file.sampler),
    ];
    let pairs = pairs.map(|(key, value)| format!("{key} {}", STANDARD.encode(value)));
    // Base64 is ASCII.
    HeaderValue::try_from(pairs.join(",")).unwrap_or(HeaderValue::from_static(""))
}

/// There is no such upload (any more), or nobody may know of it.
fn is_gone(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN)
}

fn number(reply: &Reply, name: &HeaderName) -> Option<usize> {
    reply.headers.get(name)?.to_str().ok()?.parse().ok()
}
