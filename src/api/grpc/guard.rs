//! Who may call what.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::Status;

use super::proto::grpc_inference_service_server::SERVICE_NAME;
use crate::api::auth::{Role, admit};
use crate::api::door::Door;

/// Lets through who may.
pub(super) async fn check(State(door): State<Door>, request: Request, next: Next) -> Response {
    match admit(&door, &request, need(request.uri().path())) {
        Ok(_) => next.run(request).await,
        Err(refusal) => Status::from(refusal).into_http::<axum::body::Body>().into_response(),
    }
}

/// The role that a call needs.
fn need(path: &str) -> Option<Role> {
    let (service, call) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    match (service, call) {
        ("grpc.health.v1.Health", _) | (SERVICE_NAME, "ServerLive" | "ServerReady") => None,
        (SERVICE_NAME, "ModelInfer" | "ModelStreamInfer") => Some(Role::Infer),
        (SERVICE_NAME, "RepositoryModelLoad" | "RepositoryModelUnload") => Some(Role::Admin),
        _ => Some(Role::Read),
    }
}
