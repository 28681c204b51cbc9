//! What an administrator orders: it is handed to whoever runs the device, and answered when it is done.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::desk::blocking;
use super::door::Door;
use super::route::{Answer, busy, error};
use crate::event::LogLevel;
use crate::net::with_sources;
use crate::outbox::{Contents, Inspector};
use crate::update::status::Status;
use crate::update::wish::Wish;

/// An order, and where its outcome is awaited.
#[derive(Debug)]
pub struct Order {
    /// What is to be done.
    pub what: What,
    /// Done, or why not.
    pub done: oneshot::Sender<Result<(), String>>,
}

/// What can be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Reading the configuration again.
    Reload,
    /// Logging more or less.
    Log(LogLevel),
    /// Ending in order, so that another program starts in this one's place.
    Exchange,
}

/// Where orders go.
pub type Orders = mpsc::Sender<Order>;

pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/v2/admin/reload", post(reload))
        .route("/v2/admin/log", post(log))
        .route("/v2/admin/outbox", get(outbox))
        .route("/v2/admin/update", get(updates).post(wish))
}

/// How much is logged.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    level: LogLevel,
}

async fn reload(State(door): State<Door>) -> Answer {
    order(&door, What::Reload).await?;
    Ok(Json(json!({})).into_response())
}

/// Until the configuration is read again.
async fn log(State(door): State<Door>, request: Request) -> Answer<Json<Log>> {
    let (head, body) = request.into_parts();
    let (body, _room) = door.read(&head, body, false).await?;
    let bad = |problem| {
        let message = format!("{problem}; it wants {{\"level\": \"debug\"}} or another level");
        error(StatusCode::BAD_REQUEST, message)
    };
    let wanted: Log = serde_json::from_slice(&body).map_err(bad)?;
    order(&door, What::Log(wanted.level)).await?;
    Ok(Json(wanted))
}

/// Has something done.
async fn order(door: &Door, what: What) -> Answer<()> {
    let (done, outcome) = oneshot::channel();
    let order = Order { what, done };
    door.orders.try_send(order).map_err(|_| busy("other orders are being carried out"))?;
    match timeout(door.timeout, outcome).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(problem))) => Err(error(StatusCode::BAD_REQUEST, problem)),
        Ok(Err(_)) => Err(error(StatusCode::SERVICE_UNAVAILABLE, "nobody here carries it out")),
        Err(_) => Err(error(StatusCode::GATEWAY_TIMEOUT, "it goes on; the log tells its end")),
    }
}

/// How the updates are doing.
async fn updates(State(door): State<Door>) -> Answer<Json<Status>> {
    let (status, _) = taken(&door)?;
    Ok(Json(Status::clone(&status)))
}

/// Has the updates do something: it is put down, and taken up within a second or so.
async fn wish(State(door): State<Door>, request: Request) -> Answer {
    let (_, directory) = taken(&door)?;
    let (head, body) = request.into_parts();
    let (body, _room) = door.read(&head, body, false).await?;
    let bad = |problem| {
        let message = format!(
            "{problem}; it wants {{\"wish\": \"check\"}}, or apply or rollback with a subject such as models/NAME"
        );
        error(StatusCode::BAD_REQUEST, message)
    };
    let wish: Wish = serde_json::from_slice(&body).map_err(bad)?;
    if matches!(wish, Wish::Import { .. }) {
        let message = "what came on a stick is imported on the device: eir update import";
        return Err(error(StatusCode::BAD_REQUEST, message));
    }
    let put = blocking(move || wish.put(&directory)).await?;
    put.map_err(|problem| {
        if problem.kind() == ErrorKind::QuotaExceeded {
            return busy(problem.to_string());
        }
        tracing::warn!("a wish cannot be put down: {problem}");
        error(StatusCode::SERVICE_UNAVAILABLE, "it cannot be put down; the log says why")
    })?;
    Ok((StatusCode::ACCEPTED, Json(json!({}))).into_response())
}

/// The updates, and where wishes are put down.
fn taken(door: &Door) -> Answer<(Arc<Status>, PathBuf)> {
    let found = door.shown.load().updates.clone();
    found.ok_or_else(|| {
        error(StatusCode::NOT_FOUND, "no updates are taken here: there is no [update]")
    })
}

/// What waits for the clouds, as it lies on the disk.
async fn outbox(State(door): State<Door>) -> Answer<Json<Contents>> {
    let absent = || error(StatusCode::NOT_FOUND, "there is no outbox here");
    let path = door.shown.load().data.clone().ok_or_else(absent)?;
    let found = blocking(move || Inspector::open(&path)?.contents()).await?;
    found.map(Json).map_err(|problem| {
        tracing::warn!("the outbox cannot be looked at: {}", with_sources(&problem));
        let message = "the outbox cannot be looked at; the log says why";
        error(StatusCode::SERVICE_UNAVAILABLE, message)
    })
}
