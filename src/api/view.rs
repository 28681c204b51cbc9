//! What can be seen of the device.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use prometheus::{Histogram, HistogramVec};
use schemars::JsonSchema;
use serde::Serialize;

use crate::action::ActionCounts;
use crate::action::escalate::EscalationStatus;
use crate::event::Name;
use crate::outbox::{self, Lane};
use crate::summary::Drift;
use crate::sync::CloudStatus;
use crate::trace::TraceStatus;
use crate::update::status::Status;

/// A view that is older than this was left hanging: nobody runs the device any more.
const STALE: Duration = Duration::from_mins(1);

/// Where the newest view hangs.
pub type Shown = Arc<ArcSwap<View>>;

/// The device at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// That moment.
    pub at: Instant,
    /// When the program began.
    pub began: Instant,
    /// Since when each part, by kind and name, is well, or is not.
    pub sinces: BTreeMap<(&'static str, String), (bool, Timestamp)>,
    /// The device's name.
    pub device: Name,
    /// What does not get on, and would only by a new start.
    pub stalled: Option<String>,
    /// The end began.
    pub stopping: bool,
    /// The pipelines.
    pub pipelines: Vec<PipelineStatus>,
    /// The connections to brokers, and why messages do not flow.
    pub connections: Vec<(Name, Result<(), String>)>,
    /// Where the outbox lies: the file system that counts.
    pub data: Option<PathBuf>,
    /// The embedded broker, where there is one, and why it does not run.
    pub broker: Option<Result<(), String>>,
    /// The outbox, where there is one.
    pub outbox: Option<outbox::Status>,
    /// The clouds.
    pub clouds: Vec<(Lane, CloudStatus)>,
    /// Spans on their way out, where something is traced.
    pub traces: Option<TraceStatus>,
    /// Whether jobs can be kept, where there are to be some.
    pub jobs: Option<Result<(), String>>,
    /// The updates, where any are taken, and where wishes for them are put down.
    pub updates: Option<(Arc<Status>, PathBuf)>,
}

/// How a pipeline is doing.
#[derive(Debug, Clone)]
pub struct PipelineStatus {
    /// Its name.
    pub name: Name,
    /// Why it is degraded.
    pub problem: Option<String>,
    /// Its model, `name@version`; empty while degraded.
    pub model: String,
    /// What runs its model, and in which form; empty while degraded.
    pub engine: String,
    /// What it has done.
    pub counts: Counts,
    /// Seconds from the arrival of a message to its decision.
    pub latency: Histogram,
    /// Seconds in each stage.
    pub stages: HistogramVec,
    /// How far the last summary found it from what its model was trained on.
    pub drift: Option<Drift>,
    /// How far it does with less, where it may.
    pub step: Option<StepStatus>,
    /// What became of what it decided.
    pub actions: Vec<ActionCounts>,
    /// What became of its uncertain cases, where it escalates them.
    pub escalation: Option<EscalationStatus>,
}

/// What a pipeline does with less while there is too much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StepStatus {
    /// Steps that are taken; 0: it does everything.
    pub taken: usize,
    /// Steps that there are.
    pub of: usize,
    /// Since when.
    #[schemars(with = "Option<String>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why the last one was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The counters of one pipeline at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Messages taken from the queue.
    pub messages: u64,
    /// Their payloads.
    pub bytes: u64,
    /// Those of them in which too little had changed to run the model.
    pub gated: u64,
    /// Those that a lower rate left out, while there was too much.
    pub thinned: u64,
    /// Model inputs that were run.
    pub inferences: u64,
    /// Times that a rule fired.
    pub decisions: u64,
    /// Messages dropped by the queue's policy.
    pub dropped: u64,
    /// Messages and rules that failed, by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// Median seconds from the arrival of a message to its decision, within 1 %.
    pub p50: Option<f64>,
    /// The 99th percentile of the same.
    pub p99: Option<f64>,
}

/// One thing that works or does not.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub kind: &'static str,
    pub name: Cow<'a, str>,
    /// Why it does not work.
    pub problem: Option<&'a str>,
}

/// What a device that is not ready lacks. Names alone: why is for those who may read the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is stopping.
    Stopping,
    /// The embedded broker does not run.
    Broker,
    /// Messages do not flow on a connection.
    Connection(Name),
    /// A pipeline is degraded.
    Pipeline(Name),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopping => f.write_str("stopping"),
            Self::Broker => f.write_str("the embedded broker"),
            Self::Connection(name) => write!(f, "connection `{name}`"),
            Self::Pipeline(name) => write!(f, "pipeline `{name}`"),
        }
    }
}

impl View {
    /// A device that has just begun to start.
    pub fn new(device: Name, at: Instant) -> Self {
        Self {
            at,
            began: at,
            sinces: BTreeMap::new(),
            device,
            stalled: None,
            stopping: false,
            pipelines: Vec::new(),
            connections: Vec::new(),
            data: None,
            broker: None,
            outbox: None,
            clouds: Vec::new(),
            traces: None,
            jobs: None,
            updates: None,
        }
    }

    /// The view that comes after another: what is as it was, is so since then.
    #[must_use]
    pub fn after(mut self, before: &Self, wall: Timestamp) -> Self {
        self.began = before.began;
        let now = self.parts().into_iter().map(|part| {
            let (key, is_well) = ((part.kind, part.name.into_owned()), part.problem.is_none());
            let known = before.sinces.get(&key).filter(|(was_well, _)| *was_well == is_well);
            let since = known.map_or(wall, |(_, since)| *since);
            (key, (is_well, since))
        });
        let sinces = now.collect();
        self.sinces = sinces;
        self
    }

    /// Since when a part is as it is.
    pub(super) fn since(&self, kind: &'static str, name: &str) -> Option<Timestamp> {
        self.sinces.get(&(kind, name.to_owned())).map(|(_, since)| *since)
    }

    /// Everything that can fail by itself.
    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        let broker = self.broker.iter().map(|state| Part {
            kind: "broker",
            name: "embedded".into(),
            problem: state.as_ref().err().map(String::as_str),
        });
        let connections = self.connections.iter().map(|(name, state)| Part {
            kind: "connection",
            name: name.as_str().into(),
            problem: state.as_ref().err().map(String::as_str),
        });
        let pipelines = self.pipelines.iter().map(|pipeline| Part {
            kind: "pipeline",
            name: pipeline.name.as_str().into(),
            problem: pipeline.problem.as_deref(),
        });
        let outbox = self.outbox.iter().map(|outbox| Part {
            kind: "outbox",
            name: "outbox".into(),
            problem: outbox.problem.as_deref(),
        });
        let clouds = self.clouds.iter().map(|(lane, cloud)| Part {
            kind: "cloud",
            name: lane.to_string().into(),
            problem: cloud.problem.as_deref(),
        });
        let traces = self.traces.iter().map(|traces| Part {
            kind: "traces",
            name: "traces".into(),
            problem: traces.problem.as_deref(),
        });
        let jobs = self.jobs.iter().map(|state| Part {
            kind: "jobs",
            name: "jobs".into(),
            problem: state.as_ref().err().map(String::as_str),
        });
        let updates = self.updates.iter().map(|(updates, _)| Part {
            kind: "updates",
            name: "updates".into(),
            problem: updates.problem.as_deref(),
        });
        let ways = outbox.chain(clouds).chain(traces).chain(jobs).chain(updates);
        pipelines.chain(connections).chain(broker).chain(ways).collect()
    }

    /// What decisions need and have: pipelines, connections, the embedded broker, by kind and name.
    pub fn works(&self) -> impl Iterator<Item = (&str, &str)> {
        self.needed().filter(|(_, _, well)| *well).map(|(kind, name, _)| (kind, name))
    }

    /// Whether there is such a thing, well or not.
    pub fn is_there(&self, kind: &str, name: &str) -> bool {
        self.needed().any(|(known, of, _)| known == kind && of == name)
    }

    fn needed(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        let pipelines =
            self.pipelines.iter().map(|p| ("pipeline", p.name.as_str(), p.problem.is_none()));
        let connections = self
            .connections
            .iter()
            .map(|(name, state)| ("connection", name.as_str(), state.is_ok()));
        let broker = self.broker.iter().map(|state| ("broker", "embedded", state.is_ok()));
        pipelines.chain(connections).chain(broker)
    }

    /// Whether everything that should move does; a new start would help where not.
    pub(super) fn is_live(&self, now: Instant) -> bool {
        self.stalled.is_none() && now.saturating_duration_since(self.at) < STALE
    }

    /// What it lacks to be ready: every model serves, and messages flow on every connection. A cloud that is
    /// away or a disk that is full does not count: decisions go on.
    pub(super) fn missing(&self) -> Vec<Missing> {
        let broker = self.broker.as_ref().filter(|broker| broker.is_err());
        let connections = self.connections.iter().filter(|(_, state)| state.is_err());
        let pipelines = self.pipelines.iter().filter(|pipeline| pipeline.problem.is_some());
        self.stopping
            .then_some(Missing::Stopping)
            .into_iter()
            .chain(broker.map(|_| Missing::Broker))
            .chain(connections.map(|(name, _)| Missing::Connection(name.clone())))
            .chain(pipelines.map(|pipeline| Missing::Pipeline(pipeline.name.clone())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Clock, SystemClock};

    fn name(text: &str) -> Name {
        text.parse().expect("name")
    }

    #[test]
    fn a_view_that_nobody_renews_is_not_live() {
        let now = SystemClock.now();
        let mut view = View::new(name("d"), now);
        assert!(view.is_live(now));
        assert!(!view.is_live(now + STALE));
        view.stalled = Some("connection `local` does not answer".to_owned());
        assert!(!view.is_live(now));
    }

    #[test]
    fn a_part_is_as_it_is_since_it_changed() {
        let now = SystemClock.now();
        let at = |seconds| Timestamp::from_second(seconds).expect("a time");
        let view = |state: Result<(), String>| {
            let connections = vec![(name("a"), state)];
            View { connections, ..View::new(name("d"), now) }
        };
        let first = view(Ok(())).after(&View::new(name("d"), now), at(1));
        let second = view(Ok(())).after(&first, at(2));
        assert_eq!(second.since("connection", "a"), Some(at(1)));
        let third = view(Err("refused".to_owned())).after(&second, at(3));
        assert_eq!(third.since("connection", "a"), Some(at(3)));
        assert_eq!(third.since("connection", "b"), None);
        assert_eq!(third.parts()[0].problem, Some("refused"));
    }

    #[test]
    fn ready_names_all_that_is_missing() {
        let mut view = View::new(name("d"), SystemClock.now());
        view.connections = vec![(name("a"), Ok(())), (name("b"), Err("refused".to_owned()))];
        view.broker = Some(Ok(()));
        assert_eq!(view.missing(), [Missing::Connection(name("b"))]);
        view.broker = Some(Err("port".to_owned()));
        view.stopping = true;
        assert_eq!(
            view.missing(),
            [Missing::Stopping, Missing::Broker, Missing::Connection(name("b"))]
        );
    }
}
