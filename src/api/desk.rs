//! Where what clients ask of a model is seen to: from tensors that fit it to those it answers with.
//!
//! A model that takes a moment runs where the request is read; any other on a thread of its own. Who waits for an instance
//! takes no thread, and leaves the queue when the client goes or its time is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::timeout_at;

use super::door::Door;
use super::route::{Answer, Refusal, busy, error};
use super::trace;
use crate::engine::{Entry, InferError, Step, Work};
use crate::event::Tensor;
use crate::model::{Absent, Model, Served};
use crate::oip;
use crate::task::{Clock, SystemClock, content_hash};

/// What takes no longer than this may hold up other requests.
const QUICK: Duration = Duration::from_millis(1);

/// Since when, and for how long, a client waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    began: Instant,
    pub until: Instant,
}

impl Door {
    /// A client that asks now and may say for how long it waits.
    pub(super) fn patience(&self, began: Instant, timeout: Option<Duration>) -> Patience {
        let most = self.timeout;
        Patience { began, until: began + timeout.map_or(most, |timeout| timeout.min(most)) }
    }

    /// The model of this name that is loaded.
    pub(super) async fn model(&self, name: &str, version: Option<u64>) -> Answer<Arc<Model>> {
        if let Some(model) = self.shelf.loaded(name, version) {
            return Ok(model);
        }
        // Why there is none is on the disk.
        let (shelf, name) = (Arc::clone(&self.shelf), name.to_owned());
        let found = blocking(move || shelf.find(&name, version)).await?;
        found.map_err(|absent: Absent| error(StatusCode::NOT_FOUND, absent.to_string()))
    }

    /// Runs a model on inputs that fit it, and counts that.
    pub(super) async fn run(
        &self,
        model: &Arc<Model>,
        inputs: Vec<Tensor>,
        patience: Patience,
    ) -> Answer<Arc<Vec<Tensor>>> {
        trace::runs(model);
        let served = self.shelf.served(model);
        let answer = run(model, &served, inputs, patience).await;
        if answer.is_err() {
            served.fail();
        }
        answer
    }
}

async fn run(
    model: &Arc<Model>,
    served: &Served,
    inputs: Vec<Tensor>,
    patience: Patience,
) -> Answer<Arc<Vec<Tensor>>> {
    let mut work = Work::new(inputs);
    let items = work.items();
    let content = served.keeps().then(|| {
        let bytes = oip::bytes(&work.inputs);
        content_hash(&bytes.iter().map(Vec::as_slice).collect::<Vec<_>>())
    });
    let now_ms = || u64::try_from(SystemClock.wall().as_millisecond()).unwrap_or(0);
    let took = || SystemClock.now().saturating_duration_since(patience.began);
    if let Some(kept) = content.as_ref().and_then(|content| served.kept(content)) {
        served.hit(items, took(), now_ms());
        return Ok(kept);
    }
    if took() > patience.until.saturating_duration_since(patience.began) {
        return Err(late());
    }
    let entry = model.port().gather(&mut work).map_err(|problem| refusal(model, &problem))?;
    let step = match entry {
        Entry::Now(lease) => Step::Lead(lease),
        Entry::Later(turn) => {
            // Whose requests have come by now are read first: one run does for all of them.
            yield_now().await;
            timeout_at(patience.until.into(), turn).await.map_err(|_| late())?
        }
    };
    let (work, ran) = match step {
        Step::Done(work, ran) => (work, ran),
        Step::Lead(lease) if lease.expected().is_some_and(|time| time <= QUICK) => lease.run(),
        Step::Lead(lease) => blocking(move || lease.run()).await?,
    };
    let ran = ran.map_err(|problem| refusal(model, &problem))?;
    trace::ran(&ran);
    served.answer(items, took(), ran, now_ms());
    let outputs = Arc::new(work.outputs);
    if let Some(content) = content {
        served.keep(content, &outputs);
    }
    Ok(outputs)
}

/// A client waited in vain.
pub(super) fn late() -> Refusal {
    error(StatusCode::GATEWAY_TIMEOUT, "the time was over before its turn came")
}

fn refusal(model: &Model, problem: &InferError) -> Refusal {
    match problem {
        InferError::Overloaded(_) => busy(problem.to_string()),
        InferError::Stopped => {
            error(StatusCode::SERVICE_UNAVAILABLE, "the model is being unloaded")
        }
        InferError::Engine(problem) => {
            tracing::warn!(model = %model.package().name, "a request failed: {problem}");
            let message = "the model failed on this input; the log says why";
            error(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
    }
}

/// Runs what may wait for the disk or take its time.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Answer<T> {
    spawn_blocking(work).await.map_err(|failure| {
        tracing::error!("a request failed: {failure}");
        error(StatusCode::INTERNAL_SERVER_ERROR, "this failed here; the log says why")
    })
}
