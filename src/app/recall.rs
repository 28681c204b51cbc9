//! What a restart goes on with: open windows and what rules remember, uploads that were under way, and how often eir
//! was started.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::flow::StreamState;
use super::pipeline::Pipeline;
use super::summaries::record;
use super::{App, Config};
use crate::event::{Name, StreamKey};
use crate::outbox::{self, Kind, Memory, Outbox, OutboxConfig};
use crate::pipeline::rules::{KeptRules, StreamRules};
use crate::pipeline::window::{KeptWindow, Streams, Window, WindowConfig};
use crate::task::{Clock, SystemClock};

/// What pipelines keep is named so, with their own name behind it.
const PIPELINE: &str = "pipeline/";

/// Uploads that are under way are named so, with the cloud behind it.
const UPLOAD: &str = "upload/";

/// The name of what is kept of the program itself.
const RUN: &str = "run";

/// One stream as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    key: Arc<str>,
    /// For how long it had been silent, in milliseconds.
    silent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<KeptWindow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<KeptRules>,
}

/// How a pipeline keeps its streams; without an outbox it does not.
#[derive(Debug)]
pub(super) struct Keeping {
    name: String,
    outbox: Option<Outbox>,
    changed: bool,
}

impl Keeping {
    pub(super) fn new(pipeline: &Name, outbox: Option<Outbox>) -> Self {
        Self { name: format!("{PIPELINE}{pipeline}"), outbox, changed: false }
    }

    pub(super) const fn changed(&mut self) {
        self.changed = true;
    }

    /// Keeps what the streams hold, if it has changed: those that were silent longest are left out where it is too
    /// much.
    pub(super) fn keep(&mut self, streams: &Streams<StreamState>, now: Instant) {
        let Some(outbox) = &self.outbox else { return };
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let mut body = String::from("[");
        for (key, state, touched) in streams.iter() {
            let silent = now.saturating_duration_since(touched).as_millis();
            let window = state.window.as_ref().and_then(Window::keep);
            let rules = state.rules.keep(now);
            if window.is_none() && rules.is_none() {
                continue;
            }
            let silent = u64::try_from(silent).unwrap_or(u64::MAX);
            let kept = Kept { key: key.as_str().into(), silent, window, rules };
            let Ok(text) = serde_json::to_string(&kept) else { continue };
            if body.len() + text.len() + 2 > outbox.most_remembered() {
                break;
            }
            if body.len() > 1 {
                body.push(',');
            }
            body.push_str(&text);
        }
        body.push(']');
        outbox.remember(&self.name, body);
    }
}

/// Writes down the upload that is under way to a cloud; an empty text: there is none.
pub(super) fn remember_upload(outbox: &Outbox, cloud: &Name, upload: String) {
    outbox.remember(&format!("{UPLOAD}{cloud}"), upload);
}

/// What was found at the start.
#[derive(Debug, Default)]
pub(super) struct Recalled {
    pipelines: Mutex<BTreeMap<Name, Memory>>,
    uploads: BTreeMap<Name, Memory>,
    run: Run,
}

/// What is kept of the program itself.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
struct Run {
    /// How often it was started with this outbox.
    starts: u64,
    /// It is running, or was killed.
    running: bool,
}

/// What a pipeline goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Resumed {
    /// Streams that go on where they were.
    pub streams: usize,
    /// How old that is: what came since, and was acknowledged, is in no window.
    pub age_seconds: f64,
}

/// The first record after a start.
#[derive(Debug, Serialize)]
pub(super) struct Start<'a> {
    version: &'static str,
    /// How often it was started before with this outbox.
    restarts: u64,
    /// How the run before came to its end: "stopped" or "killed"; null where there was none.
    before: Option<&'static str>,
    /// What each pipeline goes on with; null: with nothing.
    state: BTreeMap<&'a Name, Option<Resumed>>,
}

impl Recalled {
    /// Reads what the outbox remembers. A database that cannot be read is told of, and by the outbox again.
    pub(super) fn read(config: &OutboxConfig) -> Self {
        let found = outbox::recall(&config.path).unwrap_or_else(|error| {
            tracing::warn!("nothing is gone on with after the restart: {error}");
            BTreeMap::new()
        });
        let run = found.get(RUN).and_then(|memory| serde_json::from_str(&memory.body).ok());
        let those = |prefix: &str| -> BTreeMap<Name, Memory> {
            let those = found.iter().filter_map(|(name, memory)| {
                Some((name.strip_prefix(prefix)?.parse().ok()?, memory.clone()))
            });
            those.collect()
        };
        let (pipelines, uploads) = (Mutex::new(those(PIPELINE)), those(UPLOAD));
        Self { pipelines, uploads, run: run.unwrap_or_default() }
    }

    /// How often eir was started before with this outbox.
    pub(super) const fn restarts(&self) -> u64 {
        self.run.starts
    }

    /// From now on, who asks finds that it was killed; and those who are no more are forgotten.
    pub(super) fn begin(&self, outbox: &Outbox, config: &Config) {
        self.note(outbox, true);
        for name in self.lock().keys().filter(|name| !config.pipeline.contains_key(*name)) {
            outbox.remember(&format!("{PIPELINE}{name}"), String::new());
        }
        for cloud in self.uploads.keys().filter(|cloud| !config.cloud.contains_key(*cloud)) {
            remember_upload(outbox, cloud, String::new());
        }
    }

    /// The upload to a cloud that was under way at the end of the run before.
    pub(super) fn upload(&self, cloud: &Name) -> Option<&str> {
        self.uploads.get(cloud).map(|memory| memory.body.as_str())
    }

    /// It came to its end in order.
    pub(super) fn end(&self, outbox: &Outbox) {
        self.note(outbox, false);
    }

    fn note(&self, outbox: &Outbox, running: bool) {
        let run = Run { starts: self.run.starts + 1, running };
        match serde_json::to_string(&run) {
            Ok(body) => drop(outbox.remember(RUN, body)),
            Err(error) => tracing::error!("the start is not noted: {error}"),
        }
    }

    /// Fills the streams of a pipeline with what was kept of them, if they were not silent for too long.
    pub(super) fn resume(
        &self,
        pipeline: &Name,
        streams: &mut Streams<StreamState>,
        window: Option<&WindowConfig>,
        clock: &dyn Clock,
    ) -> Option<Resumed> {
        let memory = self.lock().get(pipeline).cloned()?;
        let kept: Vec<Kept> = serde_json::from_str(&memory.body)
            .map_err(|error| tracing::warn!(%pipeline, "what was kept cannot be read: {error}"))
            .ok()?;
        let (away, now) = (memory.age(clock), clock.now());
        let mut count = 0;
        // The one touched last is last again.
        for kept in kept.iter().rev() {
            let silent = Duration::from_millis(kept.silent).saturating_add(away);
            let touched = now.checked_sub(silent).filter(|_| silent <= streams.idle());
            let Some(touched) = touched else { continue };
            let state = streams.get_or_insert_with(&StreamKey::new(&kept.key), touched, || {
                StreamState::new(window)
            });
            if let (Some(window), Some(kept)) = (&mut state.window, &kept.window) {
                window.resume(kept);
            }
            if let Some(rules) = &kept.rules {
                state.rules = StreamRules::resume(rules, away, now);
            }
            count += 1;
        }
        let age_seconds = (away.as_secs_f64() * 1e3).round() / 1e3;
        (count > 0).then_some(Resumed { streams: count, age_seconds })
    }

    /// A pipeline runs: what was kept is its own now.
    pub(super) fn taken(&self, pipeline: &Name) {
        self.lock().remove(pipeline);
    }

    /// What the first record says.
    pub(super) fn start<'a>(&self, state: BTreeMap<&'a Name, Option<Resumed>>) -> Start<'a> {
        let before = match self.run {
            Run { starts: 0, .. } => None,
            Run { running: true, .. } => Some("killed"),
            Run { running: false, .. } => Some("stopped"),
        };
        Start { version: env!("CARGO_PKG_VERSION"), restarts: self.run.starts, before, state }
    }

    // Only plain values are read and removed under this lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Memory>> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// The first record: how the run before came to its end, and what this one goes on with.
    pub(super) fn tell_of_the_start(&self) {
        let Some(outbox) = &self.workshop.outbox else { return };
        let recalled = &self.workshop.recalled;
        let state = self.pipelines.iter().map(|(name, pipeline)| (name, pipeline.resumed()));
        let state: BTreeMap<_, _> = state.collect();
        for (pipeline, resumed) in &state {
            if let Some(Resumed { streams, age_seconds }) = resumed {
                tracing::info!(%pipeline, streams, age_seconds, "goes on where it was");
            }
        }
        let body = BTreeMap::from([("start", recalled.start(state))]);
        record(outbox, Kind::Health, SystemClock.wall(), &body);
        recalled.begin(outbox, &self.config);
    }

    /// Has every pipeline keep its streams, when it is time.
    pub(super) fn keep_streams(&mut self) {
        let Some(every) = self.config.outbox.as_ref().map(|outbox| outbox.state_every.0) else {
            return;
        };
        let now = SystemClock.now();
        if now.saturating_duration_since(self.kept) >= every {
            self.kept = now;
            self.pipelines.values().for_each(Pipeline::keep);
        }
    }
}
