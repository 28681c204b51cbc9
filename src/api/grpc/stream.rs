//! Requests one after the other on one call. Some are on their way at once; their answers keep the order.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming};

use super::body::Rooms;
use super::proto::infer_parameter::ParameterChoice;
use super::proto::{
    InferParameter, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse,
};
use super::service::Service;
use crate::api::route::Answer;
use crate::api::seats::Peer;
use crate::event::TraceParent;
use crate::task::Group;

/// Requests of one stream at one time, their answers that nobody has taken yet included.
const IN_FLIGHT: usize = 8;

pub(super) type Answers =
    Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

/// Who sends the requests of a stream.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub peer: Option<Peer>,
    pub rooms: Rooms,
    /// When it does not wait any more.
    pub until: Option<Instant>,
    /// On whose behalf it asks.
    pub parent: Option<TraceParent>,
}

/// What is to be written next, when it is known.
type Next = oneshot::Receiver<Result<ModelStreamInferResponse, Status>>;

/// Answers what comes in until the client has said all, goes, or says what nobody understands.
pub(super) fn answers(
    service: Service,
    coming: Streaming<ModelInferRequest>,
    client: Client,
) -> Answers {
    let (queue, waiting) = mpsc::channel(IN_FLIGHT);
    let mut reading = Group::default();
    reading.spawn("stream", read(service, coming, client, queue));
    // When the client is gone, so is this, and what is on its way with it.
    let begin = (waiting, reading);
    Box::pin(unfold(begin, async |(mut waiting, reading): (mpsc::Receiver<Next>, Group)| {
        let answer = waiting.recv().await?.await;
        let failed = |_| Err(Status::internal("this failed here; the log says why"));
        Some((answer.unwrap_or_else(failed), (waiting, reading)))
    }))
}

async fn read(
    service: Service,
    mut coming: Streaming<ModelInferRequest>,
    client: Client,
    queue: mpsc::Sender<Next>,
) {
    let mut stop = service.0.stop.clone();
    let mut running = Group::default();
    while let Ok(place) = queue.reserve().await {
        let next = tokio::select! {
            () = stop.stopped() => Err(Status::unavailable("the server stops")),
            next = coming.message() => next,
        };
        let Some(next) = next.transpose() else { break };
        let (answer, to_come) = oneshot::channel();
        place.send(to_come);
        match next {
            Ok(request) => {
                let turn = client.peer.as_ref().map_or(Ok(()), |peer| service.take(peer));
                let (service, client, room) =
                    (service.clone(), client.clone(), client.rooms.next());
                running.spawn("request", async move {
                    let working = client.peer.as_ref().map(Peer::works);
                    let told = told(&service, request, turn, &client).await;
                    let _gone = answer.send(Ok(told));
                    drop((working, room));
                });
            }
            Err(status) => {
                let _gone = answer.send(Err(status));
                break;
            }
        }
    }
    // Each of them ends when its time is over.
    running.drain(Duration::MAX).await;
}

/// The answer to one request whose turn it is or not, or what is wrong with it, which is no end of the stream.
async fn told(
    service: &Service,
    request: ModelInferRequest,
    turn: Answer<()>,
    client: &Client,
) -> ModelStreamInferResponse {
    let id = request.id.clone();
    let answer = match turn {
        Ok(()) => {
            let called = ("ModelStreamInfer", client.parent);
            service.infer(request, client.until, called).await
        }
        Err(refusal) => Err(refusal),
    };
    let (error_message, mut answer) = match answer {
        Ok(answer) => (String::new(), answer),
        Err(refusal) => (refusal.message, ModelInferResponse { id, ..Default::default() }),
    };
    // There is one answer to each request; clients of models that give many look for the last one.
    let last = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    answer.parameters.insert("triton_final_response".to_owned(), last);
    ModelStreamInferResponse { error_message, infer_response: Some(answer) }
}
