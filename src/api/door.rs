//! What every request is answered with, and room for what it brings along.

use std::ops::Deref;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::admin::Orders;
use super::auth::Guard;
use super::limit::Limit;
use super::live::Live;
use super::route::{Answer, busy, error, too_large};
use super::seats::Peer;
use super::view::Shown;
use super::{ApiConfig, Handles};
use crate::job::Jobs;
use crate::model::Shelf;
use crate::task::Stop;
use crate::trace::Traces;

/// Room for bodies is counted in so many bytes.
const UNIT: usize = 1024;

/// What every request is answered with; a share of it is one pointer.
#[derive(Debug, Clone)]
pub(super) struct Door(Arc<Inside>);

#[derive(Debug)]
pub(super) struct Inside {
    pub shown: Shown,
    pub shelf: Arc<Shelf>,
    pub live: Arc<Live>,
    pub traces: Traces,
    pub orders: Orders,
    /// `None`: there are none.
    pub jobs: Option<Arc<Jobs>>,
    /// Who may unfold an input at the moment: a small picture may have millions of pixels.
    pub hands: Arc<Semaphore>,
    /// The server ends.
    pub stop: Stop,
    pub guard: Guard,
    pub limit: Limit,
    /// Room for bodies, in parts of [`UNIT`].
    bodies: Arc<Semaphore>,
    pub max_body: usize,
    pub timeout: Duration,
}

impl Deref for Door {
    type Target = Inside;

    fn deref(&self) -> &Inside {
        &self.0
    }
}

impl Door {
    /// The configuration was checked.
    pub(super) fn new(
        config: &ApiConfig,
        handles: Handles,
        jobs: Option<Arc<Jobs>>,
        stop: Stop,
    ) -> Self {
        let Handles { shown, shelf, live, traces, orders } = handles;
        Self(Arc::new(Inside {
            shown,
            shelf,
            live,
            traces,
            orders,
            jobs,
            hands: Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))),
            stop,
            guard: Guard::new(config.auth.as_ref()),
            limit: Limit::new(config.rate),
            bodies: Arc::new(Semaphore::new(config.max_bodies.0.div_ceil(UNIT))),
            max_body: config.max_body.0,
            timeout: config.timeout.0,
        }))
    }

    /// Room for so many bytes, if there is some at the moment.
    pub(super) fn room(&self, bytes: usize) -> Answer<OwnedSemaphorePermit> {
        let room = Arc::clone(&self.bodies).try_acquire_many_owned(parts(bytes));
        room.map_err(|_| busy("other requests take all the room at the moment"))
    }

    /// The same, when there is some.
    #[cfg(feature = "grpc")]
    pub(super) async fn wait_for_room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.bodies).acquire_many_owned(parts(bytes)).await.ok()
    }

    /// Reads a body, if it is not too large and there is room for it, which it holds; one that is `packed` holds as much
    /// as it may become.
    pub(super) async fn read(
        &self,
        head: &Parts,
        body: Body,
        packed: bool,
    ) -> Answer<(Bytes, OwnedSemaphorePermit)> {
        let told = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let told = told.and_then(|told| told.parse().ok());
        let most = told.unwrap_or(self.max_body);
        if most > self.max_body {
            return Err(too_large(self.max_body));
        }
        let holds = if packed { self.max_body } else { most };
        let room = self.room(holds)?;
        let _its_turn = head.extensions.get::<Peer>().map(|peer| peer.seat.waits());
        match timeout(self.timeout, to_bytes(body, most)).await {
            Ok(Ok(body)) => Ok((body, room)),
            Ok(Err(problem)) if is_too_large(&problem) => Err(too_large(self.max_body)),
            Ok(Err(_)) => {
                Err(error(StatusCode::BAD_REQUEST, "the body broke off, or its chunks are none"))
            }
            Err(_) => Err(error(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        }
    }
}

fn parts(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// The body went on behind its limit.
fn is_too_large(problem: &axum::Error) -> bool {
    let source = std::error::Error::source(problem);
    source.and_then(|source| source.downcast_ref::<http_body_util::LengthLimitError>()).is_some()
}
