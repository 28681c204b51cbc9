//! Models by name, as the Open Inference Protocol has it: what they take and give, and what they make of it.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use flate2::read::{GzDecoder, ZlibDecoder};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::OwnedSemaphorePermit;

use super::route::{Answer, busy, error, too_large};
use super::server::Door;
use crate::engine::{EngineKind, InferError};
use crate::model::{Absent, Model};
use crate::net::with_sources;
use crate::oip::server::{self, Written, dims_of};
use crate::oip::{HEADER_LENGTH, OipError, datatype};
use crate::package::TensorInfo;
use crate::task::{Clock, SystemClock};

/// Which model a path names.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    model: String,
    version: Option<String>,
}

/// What can be asked of one model, or one version of it.
pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/", get(metadata))
        .route("/ready", get(ready))
        .route("/config", get(config))
        .route("/stats", get(stats))
        .route("/infer", post(infer))
}

/// Runs what may wait for the disk or a model.
pub(super) async fn blocking(work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|failure| {
        tracing::error!("a request failed: {failure}");
        Err(error(StatusCode::INTERNAL_SERVER_ERROR, "this failed here; the log says why"))
    })
}

fn find(door: &Door, which: &Which) -> Answer<Arc<Model>> {
    let version = which.version.as_deref().map(|text| {
        let wrong = || {
            let text: String = text.chars().take(40).collect();
            error(
                StatusCode::BAD_REQUEST,
                format!("`{text}` is no version; use a whole number from 1"),
            )
        };
        text.parse::<u64>().map_err(|_| wrong())
    });
    let version = version.transpose()?;
    door.shelf
        .find(&which.model, version)
        .map_err(|absent: Absent| error(StatusCode::NOT_FOUND, absent.to_string()))
}

/// Answers with what is said of a model that is loaded.
async fn of_a_model(
    door: Door,
    which: Which,
    say: impl FnOnce(&Door, &Model) -> Json + Send + 'static,
) -> Answer {
    blocking(move || {
        let model = find(&door, &which)?;
        Ok(axum::Json(say(&door, &model)).into_response())
    })
    .await
}

async fn metadata(State(door): State<Door>, Path(which): Path<Which>) -> Answer {
    of_a_model(door, which, |_, model| {
        let package = model.package();
        let tensors = |infos: &[TensorInfo]| -> Vec<Json> {
            let one = |info: &TensorInfo| {
                json!({ "name": info.name, "datatype": datatype(info.dtype), "shape": dims_of(info) })
            };
            infos.iter().map(one).collect()
        };
        json!({
            "name": package.name,
            "versions": [package.version.to_string()],
            "platform": platform(model),
            "inputs": tensors(&package.signature.inputs),
            "outputs": tensors(&package.signature.outputs),
        })
    })
    .await
}

async fn ready(State(door): State<Door>, Path(which): Path<Which>) -> Answer {
    of_a_model(door, which, |_, model| json!({ "name": model.package().name, "ready": true })).await
}

/// As far as clients look at it: what Triton would say of the same model without a batcher.
async fn config(State(door): State<Door>, Path(which): Path<Which>) -> Answer {
    of_a_model(door, which, |_, model| {
        let package = model.package();
        let tensors = |infos: &[TensorInfo]| -> Vec<Json> {
            let one = |info: &TensorInfo| {
                let kind = format!("TYPE_{}", datatype(info.dtype));
                json!({ "name": info.name, "data_type": kind, "dims": dims_of(info) })
            };
            infos.iter().map(one).collect()
        };
        json!({
            "name": package.name,
            "platform": platform(model),
            "backend": match model.engine() {
                EngineKind::Ort => "onnxruntime",
                EngineKind::Tract => "tract",
            },
            "max_batch_size": 0,
            "input": tensors(&package.signature.inputs),
            "output": tensors(&package.signature.outputs),
        })
    })
    .await
}

async fn stats(State(door): State<Door>, Path(which): Path<Which>) -> Answer {
    of_a_model(door, which, |door, model| {
        use std::sync::atomic::{AtomicU64, Ordering};
        let served = door.shelf.served(model);
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (answered, took, ran) = (read(&served.answered), read(&served.took), read(&served.ran));
        let part = |count: u64, ns: u64| json!({ "count": count, "ns": ns });
        let package = model.package();
        json!({ "model_stats": [{
            "name": package.name,
            "version": package.version.to_string(),
            "last_inference": read(&served.last),
            "inference_count": read(&served.inferences),
            "execution_count": answered,
            "inference_stats": {
                "success": part(answered, took),
                "fail": part(read(&served.failed), 0),
                "queue": part(answered, 0),
                "compute_input": part(answered, took.saturating_sub(ran)),
                "compute_infer": part(answered, ran),
                "compute_output": part(answered, 0),
                "cache_hit": part(0, 0),
                "cache_miss": part(0, 0),
            },
            "batch_stats": [],
        }] })
    })
    .await
}

fn platform(model: &Model) -> &'static str {
    match model.engine() {
        EngineKind::Ort => "onnxruntime_onnx",
        EngineKind::Tract => "tract_onnx",
    }
}

async fn infer(State(door): State<Door>, Path(which): Path<Which>, request: Request) -> Answer {
    let began = SystemClock.now();
    let (head, body) = request.into_parts();
    let packing = Packing::of(&head.headers)?;
    let (body, room) = door.read(&head.headers, body, packing != Packing::None).await?;
    blocking(move || {
        let body = packing.unpack(body, door.max_body)?;
        let asked = Asked { headers: head.headers, body, began, _room: room };
        asked.answer(&door, &which)
    })
    .await
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

/// A request whose body is here.
struct Asked {
    headers: HeaderMap,
    body: Bytes,
    began: Instant,
    _room: OwnedSemaphorePermit,
}

impl Asked {
    fn answer(&self, door: &Door, which: &Which) -> Answer {
        let model = find(door, which)?;
        let served = door.shelf.served(&model);
        let answer = self.run(&model);
        match answer {
            Ok((written, items, ran)) => {
                let now = SystemClock.now();
                let at = u64::try_from(SystemClock.wall().as_millisecond()).unwrap_or(0);
                served.answer(items, now.duration_since(self.began), ran, at);
                Ok(response(written))
            }
            Err(refusal) => {
                served.fail();
                Err(refusal)
            }
        }
    }

    fn run(&self, model: &Model) -> Answer<(Written, usize, Duration)> {
        let header = self.headers.get(HEADER_LENGTH).map(HeaderValue::to_str).transpose();
        let header = header
            .map_err(|_| error(StatusCode::BAD_REQUEST, format!("{HEADER_LENGTH} is no number")))?;
        let package = model.package();
        let bad = |problem: OipError| error(StatusCode::BAD_REQUEST, with_sources(&problem));
        let asked = server::asked(header, &self.body, &package.signature).map_err(bad)?;
        let start = SystemClock.now();
        if asked.timeout.is_some_and(|timeout| start.duration_since(self.began) > timeout) {
            return Err(error(
                StatusCode::GATEWAY_TIMEOUT,
                "the timeout passed before its turn came",
            ));
        }
        let mut outputs = Vec::new();
        model.port().infer(&asked.inputs, &mut outputs).map_err(|problem| match problem {
            InferError::Overloaded(_) => busy(problem.to_string()),
            InferError::Stopped => {
                error(StatusCode::SERVICE_UNAVAILABLE, "the model is being unloaded")
            }
            InferError::Engine(problem) => {
                tracing::warn!(model = %package.name, "a request failed: {problem}");
                let message = "the model failed on this input; the log says why";
                error(StatusCode::INTERNAL_SERVER_ERROR, message)
            }
        })?;
        let ran = SystemClock.now().duration_since(start);
        let told = asked.outputs.iter().filter_map(|(place, binary)| {
            let name = &package.signature.outputs.get(*place)?.name;
            Some((name.as_str(), outputs.get(*place)?, *binary))
        });
        let told: Vec<_> = told.collect();
        let name = (package.name.as_str(), package.version);
        let items = asked.inputs.first().and_then(|input| input.shape().first()).copied();
        Ok((server::answer(name, asked.id.as_deref(), &told), items.unwrap_or(1), ran))
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
