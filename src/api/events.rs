//! What happens, told as it does: server-sent events for the live page and whoever else listens.
//!
//! Decisions have ids, by which who was cut off goes on; what it missed for good is told of in a `gap`. Everything else
//! is how things are now, and comes again by itself.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::IntoResponse;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::stream;
use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::auth::{Role, Visitor};
use super::detail::Detail;
use super::door::Door;
use super::live::{Shot, Sight, Watching};
use super::route::{Answer, busy};
use crate::event::{Name, Prediction, StreamKey};
use crate::task::{Clock, SystemClock};

/// So many may watch at one time.
const MOST: usize = 32;

/// How often it is looked for something new.
const LOOK: Duration = Duration::from_millis(100);

/// How often the health is told of, new or not.
const HEALTH: Duration = Duration::from_secs(2);

pub(super) async fn events(
    State(door): State<Door>,
    Extension(Visitor { role }): Extension<Visitor>,
    headers: HeaderMap,
) -> Answer {
    let many = || busy(format!("{MOST} watch already"));
    let watching = door.live.watch(MOST).ok_or_else(many)?;
    let epoch = door.live.epoch;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let seen = last.and_then(|last| last.strip_prefix(&format!("{epoch}-"))?.parse().ok());
    let watcher = Watcher {
        watching,
        epoch,
        role,
        seen: seen.unwrap_or(0),
        // Who comes for the first time has missed nothing.
        is_new: seen.is_none(),
        shots: BTreeMap::new(),
        told: None,
        door,
    };
    let told = stream::unfold(watcher, |mut watcher| async move {
        let news = watcher.news().await?;
        Some((Ok::<_, Infallible>(news), watcher))
    });
    let kind = HeaderValue::from_static("text/event-stream");
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(told)).into_response())
}

/// One who watches.
struct Watcher {
    watching: Watching,
    door: Door,
    epoch: u64,
    role: Option<Role>,
    /// The number of the last decision that it was told of.
    seen: u64,
    is_new: bool,
    /// The number of the last one of each pipeline.
    shots: BTreeMap<Name, u64>,
    /// When it was last told how the device does.
    told: Option<Instant>,
}

#[derive(Serialize)]
struct Picture<'a> {
    pipeline: &'a Name,
    stream: &'a StreamKey,
    at: jiff::Timestamp,
    width: u32,
    height: u32,
    jpeg: String,
    prediction: &'a Prediction,
}

#[derive(Serialize)]
struct Window<'a> {
    pipeline: &'a Name,
    stream: &'a StreamKey,
    at: jiff::Timestamp,
    channels: &'a [Vec<f32>],
    prediction: &'a Prediction,
}

impl Watcher {
    /// What is new, as soon as there is something; `None`: the server stops.
    async fn news(&mut self) -> Option<Bytes> {
        loop {
            let mut text = String::new();
            self.health(&mut text);
            self.decisions(&mut text);
            let mut news = vec![Bytes::from(text)];
            for shot in self.watching.0.shots() {
                let seen = self.shots.insert(shot.pipeline.clone(), shot.number);
                if seen != Some(shot.number) {
                    news.extend(event_of(&shot).await);
                }
            }
            if news.iter().any(|part| !part.is_empty()) {
                return Some(news.concat().into());
            }
            let mut stop = self.door.stop.clone();
            tokio::select! {
                () = sleep(LOOK) => {}
                () = stop.stopped() => return None,
            }
        }
    }

    fn health(&mut self, text: &mut String) {
        let now = SystemClock.now();
        if self.told.is_none_or(|told| now.duration_since(told) >= HEALTH) {
            self.told = Some(now);
            let view = self.door.shown.load();
            push(text, "health", None, &Detail::new(&view, self.role));
        }
    }

    fn decisions(&mut self, text: &mut String) {
        let (missed, new) = self.watching.0.decisions_since(self.seen);
        if missed > 0 && !self.is_new {
            push(text, "gap", None, &serde_json::json!({ "missed": missed }));
        }
        self.is_new = false;
        for (number, decision) in new {
            self.seen = number;
            push(text, "decision", Some((self.epoch, number)), &decision);
        }
    }
}

/// Writes an event.
pub(super) fn push(text: &mut String, name: &str, id: Option<(u64, u64)>, data: &impl Serialize) {
    // There is nothing in them that JSON could not hold, and it has no line breaks.
    let data = serde_json::to_string(data).unwrap_or_default();
    let id = id.map(|(epoch, number)| format!("id: {epoch}-{number}\n")).unwrap_or_default();
    // Writing into a String cannot fail.
    let _ok = write!(text, "event: {name}\n{id}data: {data}\n\n");
}

/// The event that shows a picture or a window; made once, whoever asks for it first.
async fn event_of(shot: &Arc<Shot>) -> Option<Bytes> {
    let make = || {
        let shot = Arc::clone(shot);
        async { spawn_blocking(move || written(&shot)).await.ok().flatten() }
    };
    shot.event.get_or_init(make).await.clone()
}

fn written(shot: &Shot) -> Option<Bytes> {
    let (pipeline, stream, at, prediction) =
        (&shot.pipeline, &shot.stream, shot.at, &*shot.prediction);
    let mut text = String::new();
    match &shot.view {
        Sight::Picture { width, height, .. } => {
            let jpeg = BASE64_STANDARD.encode(shot.picture()?);
            let (width, height) = (*width, *height);
            let frame = Picture { pipeline, stream, at, width, height, jpeg, prediction };
            push(&mut text, "frame", None, &frame);
        }
        Sight::Window(channels) => {
            push(&mut text, "window", None, &Window { pipeline, stream, at, channels, prediction });
        }
    }
    Some(text.into())
}
