//! From a request to an answer.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use serde_json::{Value as Json, json};

use super::metrics;
use super::view::View;
use crate::task::{Clock, SystemClock};

/// Answers what was asked, from `view` alone.
pub(super) fn answer(method: &Method, uri: &Uri, view: &View) -> Response<Full<Bytes>> {
    let page: fn(&View) -> Answer = match uri.path() {
        "/v2" => server,
        "/v2/health/live" => live,
        "/v2/health/ready" => ready,
        "/metrics" => metrics,
        path => {
            let error = format!("there is no {path}");
            return Answer::json(StatusCode::NOT_FOUND, &json!({ "error": error })).into();
        }
    };
    // A body that is an answer to HEAD is left out by the connection.
    if *method != Method::GET && *method != Method::HEAD {
        let error = json!({ "error": format!("{method} is not for this path; GET is") });
        let mut response: Response<_> = Answer::json(StatusCode::METHOD_NOT_ALLOWED, &error).into();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    page(view).into()
}

/// A status, a body and what it is.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn json(status: StatusCode, body: &Json) -> Self {
        Self { status, content_type: "application/json", body: body.to_string() }
    }
}

impl From<Answer> for Response<Full<Bytes>> {
    fn from(answer: Answer) -> Self {
        let mut response = Self::new(Full::from(answer.body));
        *response.status_mut() = answer.status;
        let fixed = |text| HeaderValue::from_static(text);
        let headers: [(HeaderName, HeaderValue); 3] = [
            (CONTENT_TYPE, fixed(answer.content_type)),
            (CACHE_CONTROL, fixed("no-store")),
            (hyper::header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        ];
        response.headers_mut().extend(headers);
        response
    }
}

/// Server metadata of the Open Inference Protocol.
fn server(_: &View) -> Answer {
    let body = json!({ "name": "eir", "version": env!("CARGO_PKG_VERSION"), "extensions": [] });
    Answer::json(StatusCode::OK, &body)
}

/// 503: a new start would help.
fn live(view: &View) -> Answer {
    let live = view.is_live(SystemClock.now());
    Answer::json(status(live), &json!({ "live": live }))
}

/// 503: names what is missing.
fn ready(view: &View) -> Answer {
    let missing: Vec<_> = view.missing().iter().map(ToString::to_string).collect();
    let mut body = json!({ "ready": missing.is_empty() });
    if !missing.is_empty() {
        body["error"] = format!("not ready: {}", missing.join(", ")).into();
    }
    Answer::json(status(missing.is_empty()), &body)
}

fn metrics(view: &View) -> Answer {
    match metrics::text(view) {
        Ok(body) => Answer { status: StatusCode::OK, content_type: prometheus::TEXT_FORMAT, body },
        Err(error) => {
            tracing::error!("metrics cannot be written: {error}");
            let body = json!({ "error": "metrics cannot be written; the log says why" });
            Answer::json(StatusCode::INTERNAL_SERVER_ERROR, &body)
        }
    }
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
