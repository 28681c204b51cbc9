//! What each call does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tonic::{Request, Response, Status, Streaming};

use super::body::Rooms;
use super::proto::grpc_inference_service_server::GrpcInferenceService;
use super::proto::repository_index_response::ModelIndex;
use super::proto::{self, ModelInferRequest, ModelInferResponse};
use super::stream::{self, Answers, Client};
use super::{describe, tensors};
use crate::api::desk::blocking;
use crate::api::door::Door;
use crate::api::health::EXTENSIONS;
use crate::api::models::{SMALL, version};
use crate::api::repository;
use crate::api::route::{Answer, error};
use crate::api::seats::Peer;
use crate::api::trace;
use crate::event::TraceParent;
use crate::model::Model;
use crate::net::with_sources;
use crate::oip::server::Asked;
use crate::task::{Clock, SystemClock};

/// Answers with what is behind the door.
#[derive(Debug, Clone)]
pub(super) struct Service(pub Door);

impl Service {
    /// One more request of a client that is let in already.
    pub(super) fn take(&self, client: &Peer) -> Answer<()> {
        self.0.limit.take(client.address, SystemClock.now())
    }

    async fn model(&self, name: &str, told: &str) -> Answer<Arc<Model>> {
        let version = Some(told).filter(|told| !told.is_empty()).map(version).transpose()?;
        self.0.model(name, version).await
    }

    /// Runs a model, for a client that does not wait beyond `until`, and tells of it where that is traced: how
    /// it was called, and on whose behalf.
    pub(super) async fn infer(
        &self,
        request: ModelInferRequest,
        until: Option<Instant>,
        (method, parent): (&'static str, Option<TraceParent>),
    ) -> Answer<ModelInferResponse> {
        let visit = trace::grpc(&self.0, method, parent, &request.model_name);
        trace::follow(visit, self.run(request, until)).await
    }

    async fn run(
        &self,
        request: ModelInferRequest,
        until: Option<Instant>,
    ) -> Answer<ModelInferResponse> {
        let began = SystemClock.now();
        let model = self.model(&request.model_name, &request.model_version).await?;
        let asked = in_its_place(tensors::size(&request), {
            let model = Arc::clone(&model);
            move || tensors::asked(request, &model.package().signature)
        });
        let asked = asked.await?;
        let bad = |problem| error(StatusCode::BAD_REQUEST, with_sources(&problem));
        let Asked { id, inputs, outputs: wanted, timeout } = asked.map_err(bad)?;
        let left = until.map(|until| until.saturating_duration_since(began));
        let wait = timeout.into_iter().chain(left).min();
        let outputs = self.0.run(&model, inputs, self.0.patience(began, wait)).await?;
        let size = outputs.iter().map(|out| out.data().bytes()).sum();
        in_its_place(size, move || tensors::answer(model.package(), id, &wanted, &outputs)).await
    }
}

/// Does what takes a moment for few bytes here, and for many where it holds nobody up.
async fn in_its_place<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Answer<T> {
    if bytes <= SMALL { Ok(work()) } else { blocking(work).await }
}

/// When the client's time is over, where it says so with its call.
fn until<T>(request: &Request<T>) -> Result<Option<Instant>, Status> {
    let Some(told) = request.metadata().get("grpc-timeout") else { return Ok(None) };
    let wait = told.to_str().ok().and_then(wait);
    let wrong =
        || Status::invalid_argument("grpc-timeout is not like 500m, which are milliseconds");
    // What is too far away to be counted is no end.
    Ok(SystemClock.now().checked_add(wait.ok_or_else(wrong)?))
}

/// At most eight digits and a unit, as gRPC over HTTP/2 writes it.
fn wait(told: &str) -> Option<Duration> {
    let (digits, unit) = told.split_at_checked(told.len().checked_sub(1)?)?;
    let count: u32 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    let unit = match unit {
        "H" => Duration::from_hours(1),
        "M" => Duration::from_mins(1),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    Some(unit * count)
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    async fn server_live(
        &self,
        _: Request<proto::ServerLiveRequest>,
    ) -> Reply<proto::ServerLiveResponse> {
        let live = self.0.shown.load().is_live(SystemClock.now());
        Ok(Response::new(proto::ServerLiveResponse { live }))
    }

    async fn server_ready(
        &self,
        _: Request<proto::ServerReadyRequest>,
    ) -> Reply<proto::ServerReadyResponse> {
        let ready = self.0.shown.load().missing().is_empty();
        Ok(Response::new(proto::ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<proto::ModelReadyRequest>,
    ) -> Reply<proto::ModelReadyResponse> {
        let proto::ModelReadyRequest { name, version } = request.into_inner();
        match self.model(&name, &version).await {
            Ok(_) => Ok(Response::new(proto::ModelReadyResponse { ready: true })),
            Err(absent) if absent.status == StatusCode::NOT_FOUND => {
                Ok(Response::new(proto::ModelReadyResponse { ready: false }))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn server_metadata(
        &self,
        _: Request<proto::ServerMetadataRequest>,
    ) -> Reply<proto::ServerMetadataResponse> {
        Ok(Response::new(proto::ServerMetadataResponse {
            name: "eir".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<proto::ModelMetadataRequest>,
    ) -> Reply<proto::ModelMetadataResponse> {
        let proto::ModelMetadataRequest { name, version } = request.into_inner();
        Ok(Response::new(describe::metadata(&*self.model(&name, &version).await?)))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Reply<ModelInferResponse> {
        let until = until(&request)?;
        let _room = request.extensions().get::<Rooms>().and_then(Rooms::next);
        let called = ("ModelInfer", trace::parent(request.metadata().as_ref()));
        Ok(Response::new(self.infer(request.into_inner(), until, called).await?))
    }

    type ModelStreamInferStream = Answers;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Reply<Answers> {
        let until = until(&request)?;
        let rooms = request.extensions().get::<Rooms>().cloned().unwrap_or_default();
        let parent = trace::parent(request.metadata().as_ref());
        let peer = request.extensions().get::<Peer>().cloned();
        let client = Client { peer, rooms, until, parent };
        Ok(Response::new(stream::answers(self.clone(), request.into_inner(), client)))
    }

    async fn model_config(
        &self,
        request: Request<proto::ModelConfigRequest>,
    ) -> Reply<proto::ModelConfigResponse> {
        let proto::ModelConfigRequest { name, version } = request.into_inner();
        let config = describe::config(&*self.model(&name, &version).await?);
        Ok(Response::new(proto::ModelConfigResponse { config: Some(config) }))
    }

    async fn model_statistics(
        &self,
        request: Request<proto::ModelStatisticsRequest>,
    ) -> Reply<proto::ModelStatisticsResponse> {
        let proto::ModelStatisticsRequest { name, version } = request.into_inner();
        let shelf = Arc::clone(&self.0.shelf);
        let models = if name.is_empty() {
            let shelf = Arc::clone(&shelf);
            blocking(move || {
                let loaded = shelf.entries().into_iter().filter(|entry| entry.ready);
                let found = loaded.filter_map(|e| shelf.loaded(e.name.as_str(), Some(e.version)));
                found.collect::<Vec<_>>()
            })
            .await?
        } else {
            vec![self.model(&name, &version).await?]
        };
        let one = |model: &Arc<Model>| describe::statistics(model, &shelf.served(model).counts());
        Ok(Response::new(proto::ModelStatisticsResponse {
            model_stats: models.iter().map(one).collect(),
        }))
    }

    async fn repository_index(
        &self,
        request: Request<proto::RepositoryIndexRequest>,
    ) -> Reply<proto::RepositoryIndexResponse> {
        let ready = request.into_inner().ready;
        let entries = repository::entries(&self.0).await?;
        let models = entries.into_iter().filter(|entry| entry.ready || !ready).map(|entry| {
            let (state, reason) = repository::state(&entry);
            ModelIndex {
                name: entry.name.as_str().to_owned(),
                version: entry.version.to_string(),
                state: state.to_owned(),
                reason: reason.to_owned(),
            }
        });
        Ok(Response::new(proto::RepositoryIndexResponse { models: models.collect() }))
    }

    async fn repository_model_load(
        &self,
        request: Request<proto::RepositoryModelLoadRequest>,
    ) -> Reply<proto::RepositoryModelLoadResponse> {
        let request = request.into_inner();
        if let Some(name) = request.parameters.keys().next() {
            let name: String = name.chars().take(80).collect();
            let message =
                format!("`{name}` is not taken here: a model is loaded as its package has it");
            return Err(Status::invalid_argument(message));
        }
        repository::load_model(&self.0, request.model_name).await?;
        Ok(Response::new(proto::RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<proto::RepositoryModelUnloadRequest>,
    ) -> Reply<proto::RepositoryModelUnloadResponse> {
        repository::unload_model(&self.0, request.into_inner().model_name).await?;
        Ok(Response::new(proto::RepositoryModelUnloadResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_for_how_long_it_waits() {
        for (told, time) in [
            ("1H", Duration::from_hours(1)),
            ("2M", Duration::from_mins(2)),
            ("30S", Duration::from_secs(30)),
            ("500m", Duration::from_millis(500)),
            ("0u", Duration::ZERO),
            ("99999999n", Duration::from_nanos(99_999_999)),
        ] {
            assert_eq!(wait(told), Some(time), "{told}");
        }
        for told in ["", "S", "1", "-1S", "1.5S", "123456789S", "1s", "1é", "é"] {
            assert_eq!(wait(told), None, "{told}");
        }
    }
}
