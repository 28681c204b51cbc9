//! Health for those who restart and route, metrics for Prometheus: from the view alone.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Serialize;

use super::auth::Visitor;
use super::desk::blocking;
use super::detail::Detail;
use super::door::Door;
use super::metrics::{self, Format};
use super::route::{Answer, error};
use crate::task::{Clock, SystemClock};

/// What of the protocol is spoken beyond its core.
pub(super) const EXTENSIONS: [&str; 4] =
    ["binary_tensor_data", "model_configuration", "model_repository", "statistics"];

/// Server metadata of the Open Inference Protocol.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Server {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 4],
}

/// Whether a new start would help.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Live {
    live: bool,
}

/// Whether all is there, and what is missing.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Readiness {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) async fn server() -> Json<Server> {
    let version = env!("CARGO_PKG_VERSION");
    Json(Server { name: "eir", version, extensions: EXTENSIONS })
}

/// 503: a new start would help.
pub(super) async fn live(State(door): State<Door>) -> (StatusCode, Json<Live>) {
    let live = door.shown.load().is_live(SystemClock.now());
    (status(live), Json(Live { live }))
}

/// 503: names what is missing, to those who may read that.
pub(super) async fn ready(
    State(door): State<Door>,
    Extension(visitor): Extension<Visitor>,
) -> (StatusCode, Json<Readiness>) {
    let missing: Vec<_> = door.shown.load().missing().iter().map(ToString::to_string).collect();
    let ready = missing.is_empty();
    let told = !ready && visitor.role.is_some();
    let error = told.then(|| format!("not ready: {}", missing.join(", ")));
    (status(ready), Json(Readiness { ready, error }))
}

/// Part by part.
pub(super) async fn detail(
    State(door): State<Door>,
    Extension(visitor): Extension<Visitor>,
) -> Response<Body> {
    Json(Detail::new(&door.shown.load(), visitor.role)).into_response()
}

pub(super) async fn metrics(State(door): State<Door>, headers: HeaderMap) -> Answer {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept);
    let jobs = match door.jobs.clone() {
        Some(jobs) => blocking(move || jobs.counts()).await?.ok(),
        None => None,
    };
    let jobs = jobs.as_ref().map(<[_; 5]>::as_slice);
    match metrics::text(&door.shown.load(), &door.shelf.all_served(), jobs, format) {
        Ok(body) => {
            let kind = HeaderValue::from_static(format.media_type());
            Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
        }
        Err(problem) => {
            tracing::error!("metrics cannot be written: {problem}");
            let message = "metrics cannot be written; the log says why";
            Err(error(StatusCode::INTERNAL_SERVER_ERROR, message))
        }
    }
}

const fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
