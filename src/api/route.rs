//! Which path leads where, and what every answer has.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Response, StatusCode, Uri, header};
use axum::middleware::map_response;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;

use super::server::Door;
use super::{health, models, repository};

/// All that can be asked.
pub(super) fn routes(door: Door) -> Router {
    let model = models::routes();
    Router::new()
        .route("/v2", get(health::server))
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .nest("/v2/models/{model}", model.clone())
        .nest("/v2/models/{model}/versions/{version}", model)
        .nest("/v2/repository", repository::routes())
        .fallback(absent)
        .method_not_allowed_fallback(not_allowed)
        .layer(map_response(common))
        .with_state(door)
}

/// An answer that says what is wrong.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
}

/// What was asked for, or why not.
pub(super) type Answer<T = Response<Body>> = Result<T, Refusal>;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let Self { status, message } = self;
        let mut response = (status, axum::Json(json!({ "error": message }))).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

pub(super) fn error(status: StatusCode, message: impl Into<String>) -> Refusal {
    Refusal { status, message: message.into() }
}

/// Too much at once: another moment is a better one.
pub(super) fn busy(message: impl Into<String>) -> Refusal {
    error(StatusCode::TOO_MANY_REQUESTS, message)
}

/// A body of which nobody reads the rest.
pub(super) fn too_large(most: usize) -> Refusal {
    error(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {most} bytes"))
}

async fn absent(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(200).collect();
    error(StatusCode::NOT_FOUND, format!("there is no {path}"))
}

async fn not_allowed(request: Request) -> Refusal {
    let message = format!("{} is not for this path; its Allow says what is", request.method());
    error(StatusCode::METHOD_NOT_ALLOWED, message)
}

async fn common(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
