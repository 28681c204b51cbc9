//! Counts for the summaries on the pipelines' threads, and puts what each window held into the outbox.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::to_raw_value;
use uuid::Uuid;

use super::key::Keyer;
use super::pipeline::{Pipeline, Read};
use crate::api::{Counts, View};
use crate::event::{Ack, Device, KeyTemplate, ModelName, Name, Topic};
use crate::model::Model;
use crate::outbox::{Draft, Kind, Outbox};
use crate::package::Package;
use crate::summary::{
    Baseline, Board, Contents, Drift, Gatherer, Schedule, Seen, Span, SummaryConfig,
};
use crate::task::{Clock, WhenFull};
use crate::update::status::Serving;

/// What a pipeline's thread counts with.
#[derive(Debug)]
pub(super) struct Gathering {
    gatherer: Arc<Gatherer>,
    baseline: Option<Arc<Baseline>>,
    group: Option<Keyer>,
}

impl Gathering {
    pub(super) fn new(
        gatherer: Arc<Gatherer>,
        package: &Package,
        group: Option<KeyTemplate>,
    ) -> Self {
        let baseline =
            package.reference.as_ref().map(|reference| Arc::new(Baseline::new(reference)));
        Self { gatherer, baseline, group: group.map(Keyer::of) }
    }

    /// A message whose topic has no such level belongs to no group.
    pub(super) fn add(&mut self, topic: &Topic, device: &Device, seen: &Seen<'_>) {
        let group = self.group.as_mut().and_then(|group| group.key(topic, device).ok());
        self.gatherer.add(group.as_ref(), self.baseline.as_ref(), seen);
    }

    /// A rule fired on an earlier message of this topic.
    pub(super) fn fired_late(&mut self, topic: &Topic, device: &Device, rule: &Name) {
        let group = self.group.as_mut().and_then(|group| group.key(topic, device).ok());
        self.gatherer.fired_late(group.as_ref(), rule);
    }
}

/// What the summaries of one pipeline are made from.
#[derive(Debug)]
pub(super) struct Source {
    gatherer: Arc<Gatherer>,
    read: Read,
    /// What was told already.
    told: Counts,
    when_full: WhenFull,
    served: Option<Served>,
}

/// The model that serves a pipeline.
#[derive(Debug, Clone, Serialize)]
struct Served {
    model: ModelName,
    version: u64,
    engine: String,
}

impl Source {
    pub(super) fn new(
        gatherer: Arc<Gatherer>,
        read: Read,
        when_full: WhenFull,
        model: Option<&Arc<Model>>,
    ) -> Self {
        let served = model.map(|model| Served {
            model: model.package().name.clone(),
            version: model.package().version,
            engine: model.status().label(),
        });
        Self { gatherer, read, told: Counts::default(), when_full, served }
    }

    /// The body of its summary.
    fn close<'a>(&mut self, pipeline: &'a Name, span: Span) -> Body<'a> {
        let counts = self.read.read();
        let told = std::mem::replace(&mut self.told, counts.clone());
        let mut errors: BTreeMap<_, _> = counts
            .errors
            .iter()
            .map(|(kind, count)| (*kind, count - told.errors.get(kind).unwrap_or(&0)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let policy = match self.when_full {
            WhenFull::Hold => "hold",
            WhenFull::DropOldest => "drop_oldest",
            WhenFull::DropNewest => "drop_newest",
        };
        let by_policy = (policy, counts.dropped - told.dropped);
        let too_large = ("too_large", errors.remove("too_large").unwrap_or(0));
        Body {
            span,
            pipeline,
            served: self.served.clone(),
            messages: counts.messages - told.messages,
            bytes: counts.bytes - told.bytes,
            dropped: [by_policy, too_large].into_iter().filter(|(_, count)| *count > 0).collect(),
            errors,
            contents: self.gatherer.take(),
        }
    }
}

/// The body of a `summary` record.
#[derive(Debug, Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    span: Span,
    pipeline: &'a Name,
    #[serde(flatten)]
    served: Option<Served>,
    messages: u64,
    bytes: u64,
    dropped: BTreeMap<&'static str, u64>,
    errors: BTreeMap<&'static str, u64>,
    #[serde(flatten)]
    contents: Contents,
}

/// The body of a `health` record.
#[derive(Debug, Serialize)]
struct Health<'a> {
    #[serde(flatten)]
    span: Span,
    version: &'static str,
    /// When eir was started, by the clock of then.
    started: Timestamp,
    /// How often it was started before with this outbox.
    restarts: u64,
    #[serde(flatten)]
    board: Board,
    pipelines: BTreeMap<&'a Name, Option<&'a str>>,
    connections: BTreeMap<&'a Name, Option<&'a str>>,
    clouds: BTreeMap<String, CloudHealth<'a>>,
    outbox: Option<&'a str>,
    /// What serves of that which came over the air, with its SHA-256 as it was signed: what the device says of itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    releases: Vec<&'a Serving>,
}

#[derive(Debug, Serialize)]
struct CloudHealth<'a> {
    breaker: &'static str,
    problem: Option<&'a str>,
}

/// The open window, and who has something to say at its end.
#[derive(Debug)]
pub(super) struct Summaries {
    schedule: Schedule,
    outbox: Outbox,
    started: Timestamp,
    restarts: u64,
    sources: Vec<(Name, Source)>,
    /// What the last windows said of drift.
    drifts: BTreeMap<Name, Option<Drift>>,
}

impl Summaries {
    pub(super) fn new(
        config: &SummaryConfig,
        outbox: Outbox,
        restarts: u64,
        clock: &dyn Clock,
    ) -> Self {
        let (now, wall) = (clock.now(), clock.wall());
        let schedule = Schedule::new(config.every.0, now, wall);
        Self {
            schedule,
            outbox,
            started: wall,
            restarts,
            sources: Vec::new(),
            drifts: BTreeMap::new(),
        }
    }

    /// Takes in who is there now. Who has gone since speaks once more, at the end of the window.
    pub(super) fn look(&mut self, pipelines: &BTreeMap<Name, Pipeline>) {
        for (name, pipeline) in pipelines {
            let Some(new) = pipeline.source() else { continue };
            let known = self.sources.iter_mut().find(|(_, old)| old.is_of(&new));
            match known {
                // A model may have come since, or another engine.
                Some((_, old)) => old.served = new.served,
                None => self.sources.push((name.clone(), new)),
            }
        }
    }

    /// Closes the window, if it is over. `view` is the device as it is now.
    pub(super) fn tick(&mut self, view: &View, clock: &dyn Clock) {
        let (now, wall) = (clock.now(), clock.wall());
        if let Some(span) = self.schedule.tick(now, wall) {
            self.close(span, wall);
            let health = Health::new(span, (self.started, self.restarts), view, self.outbox.path());
            self.record(Kind::Health, wall, &health);
        }
    }

    /// How far the last window of a pipeline was from what its model was trained on.
    pub(super) fn drift(&self, pipeline: &Name) -> Option<&Drift> {
        self.drifts.get(pipeline)?.as_ref()
    }

    /// Closes the window before its end, at the end of the program.
    pub(super) fn cut(&mut self, clock: &dyn Clock) {
        let (now, wall) = (clock.now(), clock.wall());
        let span = self.schedule.cut(now, wall);
        self.close(span, wall);
    }

    fn close(&mut self, span: Span, wall: Timestamp) {
        let mut sources = std::mem::take(&mut self.sources);
        for (name, source) in &mut sources {
            let body = source.close(name, span);
            self.drifts.insert(name.clone(), body.contents.whole.drift.clone());
            self.record(Kind::Summary, wall, &body);
        }
        // Whose pipeline is gone has spoken its last.
        sources.retain(|(_, source)| Arc::strong_count(&source.gatherer) > 1);
        self.drifts.retain(|name, _| sources.iter().any(|(source, _)| source == name));
        self.sources = sources;
    }

    fn record(&self, kind: Kind, at: Timestamp, body: &impl Serialize) {
        record(&self.outbox, kind, at, body);
    }
}

/// Puts a record into the outbox that no message is behind.
pub(super) fn record(outbox: &Outbox, kind: Kind, at: Timestamp, body: &impl Serialize) {
    match to_raw_value(body) {
        Ok(body) => {
            let draft = Draft { id: Uuid::now_v7(), origin: None, at, kind, body };
            outbox.append(draft, Ack::none());
        }
        Err(error) => tracing::error!("no {kind} could be written: {error}"),
    }
}

impl Source {
    fn is_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.gatherer, &other.gatherer)
    }
}

impl<'a> Health<'a> {
    fn new(
        span: Span,
        (started, restarts): (Timestamp, u64),
        view: &'a View,
        data: &std::path::Path,
    ) -> Self {
        let pipelines = view.pipelines.iter();
        let connections = view.connections.iter();
        let clouds = view.clouds.iter().map(|(lane, cloud)| {
            let breaker = cloud.breaker.as_str();
            (lane.to_string(), CloudHealth { breaker, problem: cloud.problem.as_deref() })
        });
        Self {
            span,
            version: env!("CARGO_PKG_VERSION"),
            started,
            restarts,
            board: Board::read(data),
            pipelines: pipelines.map(|p| (&p.name, p.problem.as_deref())).collect(),
            connections: connections
                .map(|(name, state)| (name, state.as_ref().err().map(String::as_str)))
                .collect(),
            clouds: clouds.collect(),
            outbox: view.outbox.as_ref().and_then(|outbox| outbox.problem.as_deref()),
            releases: view.updates.iter().flat_map(|(updates, _)| &updates.serving).collect(),
        }
    }
}
