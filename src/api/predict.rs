//! The whole task in one question: a picture or numbers in, in plain words what the model makes of it out.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout_at;

use super::desk::{blocking, late};
use super::door::Door;
use super::models::Which;
use super::route::{Answer, Refusal, error};
use crate::event::{Input, Prediction};
use crate::model::{Intake, Model, PredictError};
use crate::net::with_sources;
use crate::task::{Clock, SystemClock};

/// What a model makes of an input.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Predicted<'a> {
    model_name: &'a str,
    model_version: String,
    prediction: &'a Prediction,
}

/// An input as it came.
#[derive(Debug)]
enum Content {
    Json(Bytes),
    Bytes(Bytes),
}

pub(super) async fn predict(
    State(door): State<Door>,
    Path(which): Path<Which>,
    request: Request,
) -> Answer {
    let began = SystemClock.now();
    let (head, body) = request.into_parts();
    let (body, room) = door.read(&head, body, false).await?;
    let model = which.find(&door).await?;
    let content = content(&head.headers, body).await?;
    let prepare = {
        let model = Arc::clone(&model);
        move || {
            let input = content.input(&model)?;
            let mut caller = model.caller().map_err(|problem| unfit(&problem))?;
            let prepared = caller.prepare(&input).map_err(|problem| unfit(&problem))?;
            let reader = model.reader().map_err(|problem| unfit(&problem))?;
            Ok::<_, Refusal>((prepared, reader))
        }
    };
    let patience = door.patience(began, None);
    let hand = Arc::clone(&door.hands).acquire_owned();
    let hand = timeout_at(patience.until.into(), hand).await.map_err(|_| late())?;
    let (prepared, reader) = blocking(move || {
        // Held to the end of this, whether or not the client waits for it.
        let _held = (hand, room);
        prepare()
    })
    .await??;
    let outputs = door.run(&model, vec![prepared.tensor.clone()], patience).await?;
    let read = move || {
        let prediction = reader.read(&prepared, &outputs).map_err(|problem| failed(&problem))?;
        let package = model.package();
        let predicted = Predicted {
            model_name: package.name.as_str(),
            model_version: package.version.to_string(),
            prediction: &prediction,
        };
        Ok(Json(predicted).into_response())
    };
    blocking(read).await?
}

/// The media type of a body, without what comes behind it.
pub(super) fn mime(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mime = kind.unwrap_or_default().split(';').next().unwrap_or_default();
    mime.trim().to_ascii_lowercase()
}

/// What says that it is JSON, or is sent as curl sends anything and looks like it.
pub(super) fn is_json(mime: &str, body: &[u8]) -> bool {
    let begins = body.iter().find(|byte| !byte.is_ascii_whitespace());
    mime == "application/json"
        || (mime.starts_with("application/x-www-form") && matches!(begins, Some(b'[' | b'{')))
}

/// What the body holds: a file of a form, or itself.
async fn content(headers: &HeaderMap, body: Bytes) -> Answer<Content> {
    let mime = mime(headers);
    if mime != "multipart/form-data" {
        let is_json = is_json(&mime, &body);
        return Ok(if is_json { Content::Json(body) } else { Content::Bytes(body) });
    }
    let mut request = Request::new(Body::from(body));
    // How large it may be was seen to.
    DefaultBodyLimit::disable().apply(&mut request);
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        request.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    let bad = |problem: String| error(StatusCode::BAD_REQUEST, format!("the form {problem}"));
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|problem| bad(format!("cannot be read: {problem}")))?;
    let field = form.next_field().await.map_err(|problem| bad(problem.body_text()))?;
    let field = field.ok_or_else(|| bad("is empty; put the input into it as a file".to_owned()))?;
    let mime = field.content_type().unwrap_or_default().to_ascii_lowercase();
    let body = field.bytes().await.map_err(|problem| bad(problem.body_text()))?;
    Ok(if is_json(&mime, &body) { Content::Json(body) } else { Content::Bytes(body) })
}

impl Content {
    fn input(&self, model: &Model) -> Answer<Input> {
        let intake = Intake::new(model.package()).map_err(|problem| unfit(&problem))?;
        let input = match self {
            Self::Json(text) => intake.json(text),
            Self::Bytes(bytes) => intake.bytes(bytes),
        };
        input.map_err(|problem| unfit_because(&format!("the body {}", with_sources(&problem))))
    }
}

fn unfit(problem: &(dyn std::error::Error + 'static)) -> Refusal {
    unfit_because(&with_sources(problem))
}

fn unfit_because(message: &str) -> Refusal {
    error(StatusCode::BAD_REQUEST, message)
}

fn failed(problem: &PredictError) -> Refusal {
    tracing::warn!("an answer cannot be read: {problem}");
    error(StatusCode::INTERNAL_SERVER_ERROR, "the model's answer has no meaning; the log says why")
}
