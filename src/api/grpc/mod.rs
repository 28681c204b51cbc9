//! The models over gRPC: the Open Inference Protocol as Triton speaks it, with health and reflection beside it.

mod body;
mod codec;
mod describe;
mod guard;
mod health;
mod service;
mod stream;
mod tensors;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn_with_state, map_request_with_state};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder;

use self::health::Health;
use self::proto::grpc_inference_service_server::GrpcInferenceServiceServer;
use self::service::Service;
use super::door::Door;
use super::route::Refusal;
use crate::net::with_sources;
use crate::oip::server::Asked;
use crate::package::Signature;

/// The messages, as `build.rs` makes them of `inference.proto`.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    reason = "it is made by a program"
)]
mod proto {
    tonic::include_proto!("inference");
}

/// The same for reflection.
const DESCRIPTION: &[u8] = tonic::include_file_descriptor_set!("inference");

/// All that can be called.
pub(super) fn routes(door: &Door) -> Result<Router, String> {
    let inference = GrpcInferenceServiceServer::new(Service(door.clone()))
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate)
        .max_decoding_message_size(door.max_body);
    let failed = |error: tonic_reflection::server::Error| error.to_string();
    let described = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTION)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(inference)
        .add_service(HealthServer::new(Health(door.clone())))
        .add_service(described().build_v1().map_err(failed)?)
        .add_service(described().build_v1alpha().map_err(failed)?);
    let routes = routes.into_axum_router();
    let routes = routes.layer(map_request_with_state(door.clone(), body::bounded));
    Ok(routes.layer(from_fn_with_state(door.clone(), guard::check)))
}

/// Reads a `ModelInferRequest` as one for a model of this signature.
pub fn read_request(message: &[u8], signature: &Signature) -> Result<Asked, String> {
    let request = codec::read(message).map_err(|status| status.message().to_owned())?;
    tensors::asked(request, signature).map_err(|problem| with_sources(&problem))
}

/// What gRPC calls it.
impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(code(refusal.status), refusal.message)
    }
}

/// The same of a status.
pub(super) fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::OK => Code::Ok,
        StatusCode::BAD_REQUEST => Code::InvalidArgument,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
        _ => Code::Unknown,
    }
}
