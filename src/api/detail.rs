//! How the device does, part by part: what the live page shows, and what a person asks who sees that it is not ready.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::auth::Role;
use super::view::{PipelineStatus, StepStatus, View};
use crate::task::{Clock, SystemClock};

/// The device at one moment.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Detail<'a> {
    device: &'a str,
    version: &'static str,
    /// What who asks may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[schemars(with = "String")]
    at: Timestamp,
    /// Since the program began.
    uptime_seconds: f64,
    live: bool,
    ready: bool,
    parts: Vec<Part<'a>>,
    pipelines: Vec<Pipeline<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox: Option<Outbox>,
    clouds: Vec<Cloud<'a>>,
}

/// One thing that works or does not.
#[derive(Debug, Serialize, JsonSchema)]
struct Part<'a> {
    kind: &'static str,
    name: Cow<'a, str>,
    state: State,
    #[schemars(with = "String")]
    since: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Degraded,
}

/// What a pipeline did since the start.
#[derive(Debug, Serialize, JsonSchema)]
struct Pipeline<'a> {
    name: &'a str,
    model: &'a str,
    engine: &'a str,
    messages: u64,
    /// Pictures in which too little had changed to run the model.
    gated: u64,
    /// Messages that a lower rate left out, while there was too much.
    thinned: u64,
    inferences: u64,
    decisions: u64,
    dropped: u64,
    errors: &'a BTreeMap<&'static str, u64>,
    latency_seconds: Latency,
    /// How far it does with less while there is too much, where it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    degrade: Option<&'a StepStatus>,
}

/// From the arrival of a message to its decision.
#[derive(Debug, Serialize, JsonSchema)]
struct Latency {
    p50: Option<f64>,
    p99: Option<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Outbox {
    records: u64,
    bytes: u64,
    /// Records that wait for the disk.
    waiting: u64,
    /// The age of the oldest record on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_seconds: Option<f64>,
    dropped: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Cloud<'a> {
    name: String,
    state: &'static str,
    sent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

impl<'a> Detail<'a> {
    pub(super) fn new(view: &'a View, role: Option<Role>) -> Self {
        let (now, at) = (SystemClock.now(), SystemClock.wall());
        let parts = view.parts().into_iter().map(|part| Part {
            kind: part.kind,
            since: view.since(part.kind, &part.name).unwrap_or(at),
            name: part.name,
            state: if part.problem.is_none() { State::Ok } else { State::Degraded },
            why: part.problem,
        });
        let clouds = view.clouds.iter().map(|(lane, status)| Cloud {
            name: lane.to_string(),
            state: match (&status.problem, &status.paused) {
                (Some(_), _) => "waiting",
                (None, Some(_)) => "paused",
                (None, None) => "sending",
            },
            sent: status.records,
            why: status.problem.as_deref().or(status.paused.as_deref()),
        });
        Self {
            device: view.device.as_str(),
            version: env!("CARGO_PKG_VERSION"),
            role,
            at,
            uptime_seconds: now.saturating_duration_since(view.began).as_secs_f64(),
            live: view.is_live(now),
            ready: view.missing().is_empty(),
            parts: parts.collect(),
            pipelines: view.pipelines.iter().map(pipeline).collect(),
            outbox: view.outbox.as_ref().map(|outbox| Outbox {
                records: outbox.stored.values().map(|amount| amount.records).sum(),
                bytes: outbox.stored.values().map(|amount| amount.bytes).sum(),
                waiting: outbox.waiting,
                oldest_seconds: outbox.oldest.map(|oldest| at.duration_since(oldest).as_secs_f64()),
                dropped: outbox.dropped,
            }),
            clouds: clouds.collect(),
        }
    }
}

fn pipeline(status: &PipelineStatus) -> Pipeline<'_> {
    let counts = &status.counts;
    Pipeline {
        name: status.name.as_str(),
        model: &status.model,
        engine: &status.engine,
        messages: counts.messages,
        gated: counts.gated,
        thinned: counts.thinned,
        inferences: counts.inferences,
        decisions: counts.decisions,
        dropped: counts.dropped,
        errors: &counts.errors,
        latency_seconds: Latency { p50: counts.p50, p99: counts.p99 },
        degrade: status.step.as_ref(),
    }
}
