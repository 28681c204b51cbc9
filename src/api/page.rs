//! The live page: three files that lie in the program.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::door::Door;

/// What the page may load and do: itself, and nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<Door> {
    let html = || file("text/html; charset=utf-8", include_str!("page/index.html"));
    let css = || file("text/css; charset=utf-8", include_str!("page/page.css"));
    let script = || file("text/javascript; charset=utf-8", include_str!("page/page.js"));
    Router::new()
        .route("/", get(move || async move { html() }))
        .route("/page.css", get(move || async move { css() }))
        .route("/page.js", get(move || async move { script() }))
}

fn file(kind: &'static str, text: &'static str) -> Response<Body> {
    let guards: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    let mut response = Body::from(text).into_response();
    for (name, value) in guards {
        // All of them are constants.
        let value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        response.headers_mut().insert(name, value);
    }
    response
}
