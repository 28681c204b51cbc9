//! The bodies of requests as they come in: one message after the other, each with room of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use futures_util::stream::try_unfold;
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::api::door::Door;
use crate::api::seats::Peer;

/// A message begins with whether it is compressed, and its length.
const HEAD: usize = 5;

/// No request but one for a model to run is larger.
const SMALL: usize = 64 << 10;

/// The room of messages that have come in, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Rooms(Arc<Mutex<VecDeque<OwnedSemaphorePermit>>>);

impl Rooms {
    /// That of the next message, to be held as long as it is looked at.
    pub(super) fn next(&self) -> Option<OwnedSemaphorePermit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn add(&self, room: OwnedSemaphorePermit) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(room);
    }
}

/// Gives a request a body that takes room for every message when it begins, and its [`Rooms`].
pub(super) async fn bounded(State(door): State<Door>, request: Request) -> Request {
    let (mut head, body) = request.into_parts();
    let call = head.uri.path().rsplit('/').next().unwrap_or_default();
    let (largest, many) = match call {
        "ModelInfer" => (door.max_body, false),
        "ModelStreamInfer" => (door.max_body, true),
        "ServerReflectionInfo" => (SMALL, true),
        _ => (SMALL, false),
    };
    // What reflection is asked is answered at once: nobody would take its room.
    let rooms = (call != "ServerReflectionInfo").then(Rooms::default);
    if let Some(rooms) = &rooms {
        head.extensions.insert(rooms.clone());
    }
    let until = (!many).then(|| Instant::now() + door.timeout);
    let peer = head.extensions.get::<Peer>().filter(|_| !many).cloned();
    let (begun, left) = (Vec::new(), 0);
    let coming = Coming { door, rooms, peer, largest, many, body, until, begun, left };
    let body = try_unfold(coming, async |mut coming| {
        Ok::<_, Status>(coming.next().await?.map(|bytes| (bytes, coming)))
    });
    Request::from_parts(head, Body::from_stream(body))
}

/// A body of which some has come.
struct Coming {
    door: Door,
    rooms: Option<Rooms>,
    /// Who lets us wait for the rest of its request. In a stream that is no request.
    peer: Option<Peer>,
    /// No message may be longer.
    largest: usize,
    /// Messages come as long as the client likes; each alone is in time or not.
    many: bool,
    body: Body,
    /// When what is to come must be there.
    until: Option<Instant>,
    /// What has come of the head of a message.
    begun: Vec<u8>,
    /// What is to come of the message behind it.
    left: usize,
}

impl Coming {
    /// The next bytes, when there is room for what they begin.
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let late = |_| Status::deadline_exceeded("the request did not come in time");
        loop {
            let _its_turn = self.peer.as_ref().map(|peer| peer.seat.waits());
            let frame = self.body.frame();
            let frame = match self.until {
                Some(until) => timeout_at(until, frame).await.map_err(late)?,
                None => frame.await,
            };
            let Some(frame) = frame else { return Ok(None) };
            let broken = |_| Status::cancelled("the request broke off");
            // Only data counts in a request.
            let Ok(bytes) = frame.map_err(broken)?.into_data() else { continue };
            self.look(&bytes).await?;
            return Ok(Some(bytes));
        }
    }

    /// Takes room for every message that begins in these bytes.
    async fn look(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        while !bytes.is_empty() {
            if self.left == 0 {
                if self.many && self.begun.is_empty() {
                    self.until = Some(Instant::now() + self.door.timeout);
                }
                let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.begun.len()));
                self.begun.extend_from_slice(head);
                bytes = rest;
                let Ok([packed, length @ ..]) = <[u8; HEAD]>::try_from(&*self.begun) else { break };
                self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                let room = self.room(packed != 0).await?;
                if let Some(rooms) = &self.rooms {
                    rooms.add(room);
                }
                self.begun.clear();
            }
            let (here, rest) = bytes.split_at(bytes.len().min(self.left));
            bytes = rest;
            self.left -= here.len();
            if self.many && self.left == 0 {
                self.until = None;
            }
        }
        Ok(())
    }

    /// Room for the message that has begun. One that is packed holds as much as it may become.
    async fn room(&mut self, packed: bool) -> Result<OwnedSemaphorePermit, Status> {
        if self.left > self.largest {
            let message = format!("the request is larger than {} bytes", self.largest);
            return Err(Status::resource_exhausted(message));
        }
        let bytes = if packed { self.door.max_body } else { self.left };
        // Who sends many waits until those before are answered.
        if let Some(until) = self.until.filter(|_| self.many)
            && let Ok(Some(room)) = timeout_at(until, self.door.wait_for_room(bytes)).await
        {
            return Ok(room);
        }
        Ok(self.door.room(bytes)?)
    }
}
