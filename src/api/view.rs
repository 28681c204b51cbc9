//! What can be seen of the device.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use prometheus::Histogram;

use crate::action::ActionCounts;
use crate::action::escalate::EscalationStatus;
use crate::event::Name;
use crate::outbox::{self, Lane};
use crate::sync::CloudStatus;

/// A view that is older than this was left hanging: nobody runs the device any more.
const STALE: Duration = Duration::from_mins(1);

/// Where the newest view hangs.
pub type Shown = Arc<ArcSwap<View>>;

/// The device at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// That moment.
    pub at: Instant,
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
    /// The embedded broker, where there is one, and why it does not run.
    pub broker: Option<Result<(), String>>,
    /// The outbox, where there is one.
    pub outbox: Option<outbox::Status>,
    /// The clouds.
    pub clouds: Vec<(Lane, CloudStatus)>,
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
    /// What became of what it decided.
    pub actions: Vec<ActionCounts>,
    /// What became of its uncertain cases, where it escalates them.
    pub escalation: Option<EscalationStatus>,
}

/// The counters of one pipeline at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Messages taken from the queue.
    pub messages: u64,
    /// Their payloads.
    pub bytes: u64,
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
            device,
            stalled: None,
            stopping: false,
            pipelines: Vec::new(),
            connections: Vec::new(),
            broker: None,
            outbox: None,
            clouds: Vec::new(),
        }
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
