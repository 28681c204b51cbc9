//! Models by name, as the Open Inference Protocol has it: what they take and give, and what they make of it.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use flate2::read::{GzDecoder, ZlibDecoder};
use serde::Deserialize;

use super::desk::blocking;
use super::door::Door;
use super::facts;
use super::jobs::submit;
use super::route::{Answer, Refusal, error, too_large};
use super::trace;
use crate::engine::EngineKind;
use crate::model::Model;
use crate::net::with_sources;
use crate::oip::HEADER_LENGTH;
use crate::oip::server::{self, Asked, Written};
use crate::package::Signature;
use crate::task::{Clock, SystemClock};

/// A body of so many bytes is read in a moment.
pub(super) const SMALL: usize = 64 << 10;

/// Which model a path names.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    pub model: String,
    pub version: Option<String>,
}

/// What one model, or one version of it, is.
pub(super) fn facts() -> Router<Door> {
    of_each("", || get(facts::metadata))
        .merge(of_each("/ready", || get(facts::ready)))
        .merge(of_each("/config", || get(facts::config)))
        .merge(of_each("/stats", || get(facts::stats)))
}

/// What it makes of something.
pub(super) fn work() -> Router<Door> {
    of_each("/infer", || post(trace::infer))
        .merge(of_each("/predict", || post(trace::predict)))
        .merge(of_each("/jobs", || post(submit)))
}

/// Of every model, and of every version of it.
fn of_each(end: &str, answer: impl Fn() -> MethodRouter<Door>) -> Router<Door> {
    Router::new()
        .route(&format!("/v2/models/{{model}}{end}"), answer())
        .route(&format!("/v2/models/{{model}}/versions/{{version}}{end}"), answer())
}

impl Which {
    pub(super) async fn find(&self, door: &Door) -> Answer<Arc<Model>> {
        let version = self.version.as_deref().map(version).transpose()?;
        door.model(&self.model, version).await
    }
}

/// A version as clients write it.
pub(super) fn version(text: &str) -> Answer<u64> {
    text.parse().map_err(|_| {
        let text: String = text.chars().take(40).collect();
        let message = format!("`{text}` is no version; use a whole number from 1");
        error(StatusCode::BAD_REQUEST, message)
    })
}

/// How many items share a run, and for how long one waits for others; none: each has a run of its own.
pub(super) fn batching(model: &Model) -> Option<(usize, Duration)> {
    let terms = model.terms();
    (terms.max_batch > 1).then_some((terms.max_batch, terms.max_delay))
}

/// What runs a model, as Triton would call it.
pub(super) fn backend(model: &Model) -> &'static str {
    match model.engine() {
        EngineKind::Ort => "onnxruntime",
        EngineKind::Tract => "tract",
    }
}

/// The same, and what kind of model that is.
pub(super) fn platform(model: &Model) -> &'static str {
    match model.engine() {
        EngineKind::Ort => "onnxruntime_onnx",
        EngineKind::Tract => "tract_onnx",
    }
}

pub(super) async fn infer(
    State(door): State<Door>,
    Path(which): Path<Which>,
    request: Request,
) -> Answer {
    let began = SystemClock.now();
    let (head, body) = request.into_parts();
    let packing = Packing::of(&head.headers)?;
    let (body, room) = door.read(&head, body, packing != Packing::None).await?;
    let model = which.find(&door).await?;
    let most = door.max_body;
    let (asked, _room) = if packing == Packing::None && body.len() <= SMALL {
        (asked(&head.headers, &body, &model.package().signature)?, room)
    } else {
        let model = Arc::clone(&model);
        let read = move || {
            let body = packing.unpack(body, most)?;
            // The room is held as long as the body is, whether or not the client waits.
            Ok::<_, Refusal>((asked(&head.headers, &body, &model.package().signature)?, room))
        };
        blocking(read).await??
    };
    let Asked { id, inputs, outputs: wanted, timeout } = asked;
    let outputs = door.run(&model, inputs, door.patience(began, timeout)).await?;
    let is_small = outputs.iter().map(|tensor| tensor.data().len()).sum::<usize>() <= SMALL / 8;
    let write = move || {
        let package = model.package();
        let told = wanted.iter().filter_map(|(place, binary)| {
            let name = &package.signature.outputs.get(*place)?.name;
            Some((name.as_str(), outputs.get(*place)?, *binary))
        });
        let name = (package.name.as_str(), package.version);
        response(server::answer(name, id.as_deref(), &told.collect::<Vec<_>>()))
    };
    if is_small { Ok(write()) } else { blocking(write).await }
}

fn asked(headers: &HeaderMap, body: &[u8], signature: &Signature) -> Answer<Asked> {
    let bad = |message| error(StatusCode::BAD_REQUEST, message);
    let header = headers.get(HEADER_LENGTH).map(HeaderValue::to_str).transpose();
    let header = header.map_err(|_| bad(format!("{HEADER_LENGTH} is no number")))?;
    server::asked(header, body, signature).map_err(|problem| bad(with_sources(&problem)))
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Deflate,
}

impl Packing {
    fn of(headers: &HeaderMap) -> Answer<Self> {
        match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(Self::None),
            Some(b"gzip") => Ok(Self::Gzip),
            Some(b"deflate") => Ok(Self::Deflate),
            Some(_) => {
                let message = "this Content-Encoding is not taken here; gzip and deflate are";
                Err(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
            }
        }
    }

    /// The body as it was before, at most so many bytes.
    fn unpack(self, body: Bytes, most: usize) -> Answer<Bytes> {
        let limit = most as u64 + 1;
        let mut whole = Vec::new();
        let read = match self {
            Self::None => return Ok(body),
            Self::Gzip => GzDecoder::new(&body[..]).take(limit).read_to_end(&mut whole),
            Self::Deflate => ZlibDecoder::new(&body[..]).take(limit).read_to_end(&mut whole),
        };
        match read {
            Ok(_) if whole.len() > most => Err(too_large(most)),
            Ok(_) => Ok(whole.into()),
            Err(problem) => {
                let message = format!("the body is not compressed as it says: {problem}");
                Err(error(StatusCode::BAD_REQUEST, message))
            }
        }
    }
}

fn response(Written { json, body }: Written) -> Response<Body> {
    let Some(json) = json else {
        return ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    };
    let mut response = ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response();
    response.headers_mut().insert(HeaderName::from_static(HEADER_LENGTH), json.into());
    response
}
