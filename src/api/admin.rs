//! What an administrator orders: it is handed to whoever runs the device, and answered when it is done.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::door::Door;
use super::route::{Answer, busy, error};

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
}

/// Where orders go.
pub type Orders = mpsc::Sender<Order>;

pub(super) fn routes() -> Router<Door> {
    Router::new().route("/v2/admin/reload", post(reload))
}

async fn reload(State(door): State<Door>) -> Answer {
    let (done, outcome) = oneshot::channel();
    let order = Order { what: What::Reload, done };
    door.orders.try_send(order).map_err(|_| busy("other orders are being carried out"))?;
    match timeout(door.timeout, outcome).await {
        Ok(Ok(Ok(()))) => Ok(Json(json!({})).into_response()),
        Ok(Ok(Err(problem))) => Err(error(StatusCode::BAD_REQUEST, problem)),
        Ok(Err(_)) => Err(error(StatusCode::SERVICE_UNAVAILABLE, "nobody here reloads")),
        Err(_) => Err(error(StatusCode::GATEWAY_TIMEOUT, "it goes on; the log tells its end")),
    }
}
