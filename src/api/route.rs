//! Which path leads where, and what every answer has.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::get;
use schemars::JsonSchema;
use serde::Serialize;
use tower_layer::layer_fn;

use super::auth::{Checked, Role};
use super::door::Door;
use super::{admin, events, health, jobs, models, openapi, page, repository};

/// All that can be asked, and what it takes to ask.
pub(super) fn routes(door: &Door) -> Router {
    let needs = |routes: Router<Door>, need: Option<Role>| {
        let door = door.clone();
        routes.route_layer(layer_fn(move |inner| Checked { inner, door: door.clone(), need }))
    };
    let open = Router::new()
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready))
        .merge(page::routes());
    let read = Router::new()
        .route("/v2", get(health::server))
        .route("/v2/health/detail", get(health::detail))
        .route("/v2/openapi.json", get(openapi::document))
        .route("/v2/events", get(events::events))
        .route("/metrics", get(health::metrics))
        .merge(models::facts())
        .merge(jobs::facts())
        .merge(repository::facts());
    Router::new()
        .merge(needs(open, None))
        .merge(needs(read, Some(Role::Read)))
        .merge(needs(models::work().merge(jobs::work()), Some(Role::Infer)))
        .merge(needs(repository::orders().merge(admin::routes()), Some(Role::Admin)))
        .fallback(absent)
        .method_not_allowed_fallback(not_allowed)
        .with_state(door.clone())
}

/// What is wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Problem {
    error: String,
}

/// An answer that says what is wrong.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub message: String,
    /// When another try makes sense.
    pub retry_after: Option<Duration>,
}

/// What was asked for, or why not.
pub(super) type Answer<T = Response<Body>> = Result<T, Refusal>;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let Self { status, message, retry_after } = self;
        let mut response = (status, axum::Json(Problem { error: message })).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"eir\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

pub(super) fn error(status: StatusCode, message: impl Into<String>) -> Refusal {
    Refusal { status, message: message.into(), retry_after: None }
}

/// Too much at once: another moment is a better one.
pub(super) fn busy(message: impl Into<String>) -> Refusal {
    busy_for(message, Duration::from_secs(1))
}

/// The same, and how long that takes.
pub(super) fn busy_for(message: impl Into<String>, wait: Duration) -> Refusal {
    Refusal { retry_after: Some(wait), ..error(StatusCode::TOO_MANY_REQUESTS, message) }
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

/// What every answer says.
pub(super) fn common(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
