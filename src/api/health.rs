//! Health for those who restart and route, metrics for Prometheus: from the view alone.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value as Json, json};

use super::auth::Visitor;
use super::detail::Detail;
use super::door::Door;
use super::metrics::{self, Format};
use super::route::{Answer, error};
use crate::task::{Clock, SystemClock};

/// What of the protocol is spoken beyond its core.
pub(super) const EXTENSIONS: [&str; 4] =
    ["binary_tensor_data", "model_configuration", "model_repository", "statistics"];

/// Server metadata of the Open Inference Protocol.
pub(super) async fn server() -> Response<Body> {
    let version = env!("CARGO_PKG_VERSION");
    let body = json!({ "name": "eir", "version": version, "extensions": EXTENSIONS });
    answer(true, &body)
}

/// 503: a new start would help.
pub(super) async fn live(State(door): State<Door>) -> Response<Body> {
    let live = door.shown.load().is_live(SystemClock.now());
    answer(live, &json!({ "live": live }))
}

/// 503: names what is missing, to those who may read that.
pub(super) async fn ready(
    State(door): State<Door>,
    Extension(visitor): Extension<Visitor>,
) -> Response<Body> {
    let missing: Vec<_> = door.shown.load().missing().iter().map(ToString::to_string).collect();
    let mut body = json!({ "ready": missing.is_empty() });
    if !missing.is_empty() && visitor.role.is_some() {
        body["error"] = format!("not ready: {}", missing.join(", ")).into();
    }
    answer(missing.is_empty(), &body)
}

/// Part by part.
pub(super) async fn detail(
    State(door): State<Door>,
    Extension(visitor): Extension<Visitor>,
) -> Response<Body> {
    axum::Json(Detail::new(&door.shown.load(), visitor.role)).into_response()
}

pub(super) async fn metrics(State(door): State<Door>, headers: HeaderMap) -> Answer {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept);
    match metrics::text(&door.shown.load(), &door.shelf.all_served(), format) {
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

fn answer(good: bool, body: &Json) -> Response<Body> {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(body)).into_response()
}
