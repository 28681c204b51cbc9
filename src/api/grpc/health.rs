//! Health as gRPC asks for it (`grpc.health.v1`): the server serves while the device is ready.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::time::sleep;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use super::proto::grpc_inference_service_server::SERVICE_NAME;
use crate::api::door::Door;
use crate::task::{Clock, SystemClock};

/// How often it is looked for those who wait for a change. As often the device is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Looks at what is shown of the device.
#[derive(Debug, Clone)]
pub(super) struct Health(pub Door);

type Told = Result<HealthCheckResponse, Status>;

impl Health {
    /// Of the server, which has an empty name too; none: there is no such service.
    fn of(&self, service: &str) -> Option<ServingStatus> {
        let view = self.0.shown.load();
        let serves = !self.0.stop.is_stopped()
            && view.is_live(SystemClock.now())
            && view.missing().is_empty();
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        ["", SERVICE_NAME].contains(&service).then_some(status)
    }

    /// The status when it is another than `before`; none at the end, when that has been told.
    async fn changed(
        &mut self,
        service: &str,
        before: Option<ServingStatus>,
    ) -> Option<ServingStatus> {
        loop {
            let now = self.of(service).unwrap_or(ServingStatus::ServiceUnknown);
            if before != Some(now) {
                return Some(now);
            }
            if self.0.stop.is_stopped() {
                return None;
            }
            let mut stop = self.0.stop.clone();
            tokio::select! {
                () = sleep(LOOK_AGAIN) => {}
                () = stop.stopped() => {}
            }
        }
    }
}

fn told(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        let status = self.of(&service).ok_or_else(|| {
            Status::not_found(format!("there is no service of this name; {SERVICE_NAME} is one"))
        })?;
        Ok(Response::new(told(status)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Told> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let begin = (self.clone(), service, None);
        let changes = unfold(begin, async |(mut health, service, before)| {
            let now = health.changed(&service, before).await?;
            Some((Ok(told(now)), (health, service, Some(now))))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
