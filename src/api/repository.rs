//! The model repository extension: which models there are, and loading and unloading them.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::desk::blocking;
use super::door::Door;
use super::route::{Answer, error};
use crate::event::{InvalidName, ModelName};
use crate::model::{Entry, ModelError};
use crate::net::with_sources;
use crate::package::PackageError;

/// A version of a model, as the index has it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    name: String,
    version: String,
    state: &'static str,
    reason: &'static str,
}

/// Which models there are.
pub(super) fn facts() -> Router<Door> {
    Router::new().route("/v2/repository/index", post(index))
}

/// Loading and unloading them.
pub(super) fn orders() -> Router<Door> {
    Router::new()
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload))
}

async fn index(State(door): State<Door>) -> Answer {
    let entries = entries(&door).await?;
    let entries = entries.iter().map(|entry| {
        let ((state, reason), version) = (state(entry), entry.version.to_string());
        Listed { name: entry.name.as_str().to_owned(), version, state, reason }
    });
    Ok(Json(entries.collect::<Vec<_>>()).into_response())
}

async fn load(State(door): State<Door>, Path(model): Path<String>) -> Answer {
    load_model(&door, model).await?;
    Ok(Json(json!({})).into_response())
}

async fn unload(State(door): State<Door>, Path(model): Path<String>) -> Answer {
    unload_model(&door, model).await?;
    Ok(Json(json!({})).into_response())
}

/// All versions of all models.
pub(super) async fn entries(door: &Door) -> Answer<Vec<Entry>> {
    let shelf = Arc::clone(&door.shelf);
    blocking(move || shelf.entries()).await
}

/// The state of a version, and why it is none that answers.
pub(super) fn state(entry: &Entry) -> (&'static str, &'static str) {
    if entry.ready { ("READY", "") } else { ("UNAVAILABLE", "not loaded") }
}

/// Loads the newest version of a model.
pub(super) async fn load_model(door: &Door, model: String) -> Answer<()> {
    let shelf = Arc::clone(&door.shelf);
    blocking(move || {
        let name = named(&model)?;
        shelf.load(&name).map_err(|problem| {
            let is_unknown =
                matches!(problem, ModelError::Package(PackageError::UnknownModel { .. }));
            if is_unknown {
                return error(StatusCode::NOT_FOUND, with_sources(&problem));
            }
            tracing::warn!(model = %name, "cannot be loaded: {problem}");
            error(StatusCode::BAD_REQUEST, with_sources(&problem))
        })
    })
    .await?
}

/// Unloads a model, if nothing runs it.
pub(super) async fn unload_model(door: &Door, model: String) -> Answer<()> {
    let shelf = Arc::clone(&door.shelf);
    blocking(move || {
        let name = named(&model)?;
        if shelf.unload(&name) {
            let message =
                format!("a pipeline or a request uses model `{name}`; it stays loaded meanwhile");
            return Err(error(StatusCode::BAD_REQUEST, message));
        }
        Ok(())
    })
    .await?
}

fn named(model: &str) -> Answer<ModelName> {
    let name = model.parse();
    name.map_err(|problem: InvalidName| error(StatusCode::NOT_FOUND, problem.to_string()))
}
