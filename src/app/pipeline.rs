//! One pipeline's life: built or degraded, running, drained.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::build::{BuildError, Parts, Workshop};
use super::config::{InputConfig, PipelineConfig, Problems};
use super::connection::Connection;
use super::counters::Counters;
use super::escalation::{Escalating, OnTheirWay};
use super::flow::{Batch, Flow};
use super::key::Keyer;
use super::recall::{Keeping, Resumed};
use super::rules::Rules;
use super::sampling::Sampling;
use super::summaries::{Gathering, Source};
use super::thread::Thread;
use crate::action::escalate::Tally;
use crate::action::{self, ActionCounts};
use crate::api::{Counts, PipelineStatus};
use crate::event::{Device, Envelope, Name};
use crate::ingest::{Route, RouteCounters, hold_capacity};
use crate::model::Model;
use crate::mqtt::{ConnectionConfig, QoS};
use crate::outbox::Outbox;
use crate::pipeline::gate::Gate;
use crate::pipeline::window::Streams;
use crate::summary::Gatherer;
use crate::task::{Clock, Queue, SystemClock, WhenFull};

/// Both places where a pipeline is counted: before its queue and behind it.
#[derive(Debug)]
pub(super) struct Read {
    counters: Arc<Counters>,
    routed: Arc<RouteCounters>,
}

impl Read {
    pub(super) fn read(&self) -> Counts {
        let mut counts = self.counters.snapshot();
        counts.dropped = self.routed.dropped();
        let too_large = self.routed.too_large();
        if too_large > 0 {
            *counts.errors.entry("too_large").or_default() += too_large;
        }
        counts
    }
}

/// What is left of a pipeline whose messages are worked off, or given up at the deadline.
#[derive(Debug)]
#[must_use]
pub(super) struct Rest {
    /// Still in the queue. Settled, they are done with; dropped, they come again.
    pub messages: Vec<Envelope>,
    /// In the hands of a thread that had to give up; they come again.
    pub in_hand: usize,
    /// What was decided and is still on its way.
    pub actions: Option<action::Running>,
}

/// A pipeline: its queue is there from the first moment to the last, whatever becomes of the rest.
#[derive(Debug)]
pub(super) struct Pipeline {
    config: PipelineConfig,
    queue: Arc<Queue<Envelope>>,
    routed: Arc<RouteCounters>,
    counters: Arc<Counters>,
    /// For the summaries, where there are any.
    gatherer: Option<Arc<Gatherer>>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The model cannot serve; messages wait in the queue by its policy.
    Degraded(String),
    /// Ready to be started.
    Built(Box<Flow>),
    Running(Running),
}

#[derive(Debug)]
struct Running {
    thread: Thread,
    model: Arc<Model>,
    device: Arc<Device>,
    outbox: Option<Outbox>,
    rules: Arc<ArcSwap<Rules>>,
    actions: action::Running,
    escalating: Option<Escalating>,
}

impl Pipeline {
    /// Builds what can be built. A broken model makes a degraded pipeline; only a mistake in the
    /// configuration is an error.
    pub(super) fn build(
        workshop: &Workshop,
        name: &Name,
        config: &PipelineConfig,
        connection: &ConnectionConfig,
    ) -> Result<Self, Problems> {
        let counters = Arc::new(Counters::new(name.clone()));
        let capacity = match config.queue.when_full {
            WhenFull::Hold => hold_capacity(connection, config.queue.capacity),
            WhenFull::DropOldest | WhenFull::DropNewest => config.queue.capacity,
        };
        let mut pipeline = Self {
            config: config.clone(),
            queue: Arc::new(Queue::new(capacity, config.queue.when_full)),
            routed: Arc::default(),
            counters,
            gatherer: workshop.summaries.then(Arc::default),
            state: State::Degraded(String::new()),
        };
        pipeline.state = pipeline.make(workshop, name)?;
        Ok(pipeline)
    }

    fn make(&self, workshop: &Workshop, name: &Name) -> Result<State, Problems> {
        match workshop.parts(name, &self.config) {
            Ok(parts) => Ok(State::Built(Box::new(self.flow(workshop, name, parts)))),
            Err(BuildError::Config(problems)) => Err(problems),
            Err(BuildError::Model(error)) => Ok(State::Degraded(error.to_string())),
        }
    }

    fn flow(&self, workshop: &Workshop, name: &Name, parts: Parts) -> Flow {
        let InputConfig::Mqtt(input) = &self.config.input;
        let nothing_done = Rules::without_actions(parts.rules);
        let gathering = self.gatherer.clone().map(|gatherer| {
            let group = self.config.summary.group.clone();
            Gathering::new(gatherer, parts.caller.model().package(), group)
        });
        let package = parts.caller.model().package();
        let sampling = Sampling::new(&self.config, package, workshop.outbox.clone());
        let mut streams = Streams::new(&self.config.streams);
        let (window, clock) = (self.config.window.as_ref(), &*workshop.clock);
        let resumed = workshop.recalled.resume(name, &mut streams, window, clock);
        Flow {
            name: name.clone(),
            device: Arc::clone(&workshop.device),
            decoder: parts.decoder,
            keyer: Keyer::new(self.config.key.as_ref(), input.topic.pattern()),
            id: input.id.clone(),
            window: self.config.window.clone(),
            gate: self.config.gate.as_ref().map(Gate::new),
            streams,
            resumed,
            caller: parts.caller,
            rules: Arc::new(ArcSwap::from_pointee(nothing_done)),
            counters: Arc::clone(&self.counters),
            observer: workshop.observer.clone(),
            scene: workshop.live.scene(name),
            outbox: workshop.outbox.clone(),
            keeping: Keeping::new(name, workshop.outbox.clone()),
            gathering,
            sampling,
            escalation: None,
            traces: workshop.traces.clone(),
            clock: Arc::clone(&workshop.clock),
            batch: Batch::default(),
            progress: Arc::default(),
        }
    }

    /// Starts the thread of a pipeline that is built; does nothing to any other.
    pub(super) fn start(
        &mut self,
        workshop: &Workshop,
        name: &Name,
        connections: &BTreeMap<Name, Connection>,
    ) {
        let state = std::mem::replace(&mut self.state, State::Degraded(String::new()));
        self.state = match state {
            State::Built(flow) => match self.launch(*flow, name, connections) {
                Ok(running) => {
                    workshop.recalled.taken(name);
                    State::Running(running)
                }
                Err(problem) => State::Degraded(problem),
            },
            other => other,
        };
    }

    fn launch(
        &self,
        mut flow: Flow,
        name: &Name,
        connections: &BTreeMap<Name, Connection>,
    ) -> Result<Running, String> {
        let set = Arc::clone(&flow.rules.load().set);
        let outbox = flow.outbox.clone();
        let (rules, actions) =
            Rules::start(set, &self.config, &flow.device, connections, outbox.as_ref())?;
        flow.rules.store(Arc::new(rules));
        let (rules, device) = (Arc::clone(&flow.rules), Arc::clone(&flow.device));
        let model = Arc::clone(flow.caller.model());
        let start = |config| Escalating::start(config, name, &model, Arc::clone(&self.queue));
        let (escalating, escalation) =
            self.config.escalate.as_ref().map(start).transpose()?.unzip();
        flow.escalation = escalation;
        let thread = Thread::spawn(name, flow, Arc::clone(&self.queue))?;
        Ok(Running { thread, model, device, outbox, rules, actions, escalating })
    }

    /// What it goes on with after the start, as long as it is not started.
    pub(super) fn resumed(&self) -> Option<Resumed> {
        match &self.state {
            State::Built(flow) => flow.resumed,
            State::Degraded(_) | State::Running(_) => None,
        }
    }

    /// Has its streams kept as they are now.
    pub(super) fn keep(&self) {
        if let State::Running(running) = &self.state {
            running.thread.keep();
            self.queue.wake();
        }
    }

    /// Why it is degraded.
    pub(super) fn problem(&self) -> Option<&str> {
        match &self.state {
            State::Degraded(reason) => Some(reason),
            State::Built(_) | State::Running(_) => None,
        }
    }

    /// Tries again to build a degraded pipeline; does nothing to any other.
    pub(super) fn heal(&mut self, workshop: &Workshop, name: &Name) {
        if self.problem().is_some() {
            self.state = match self.make(workshop, name) {
                Ok(state) => state,
                // A model with other labels, say: still degraded, for another reason.
                Err(problems) => State::Degraded(problems.to_string()),
            };
        }
    }

    /// Nothing about it would change: not its configuration, not the version of its model.
    pub(super) fn is_current(&self, config: &PipelineConfig, workshop: &Workshop) -> bool {
        self.config == *config
            && match &self.state {
                State::Running(running) => {
                    // Where that cannot be said any more, what runs is as good as it gets.
                    let newest = workshop.newest(&self.config.model);
                    newest.is_none_or(|version| version == running.model.package().version)
                }
                State::Degraded(_) | State::Built(_) => true,
            }
    }

    /// `before` runs the same pipeline with the same model and differs in its rules at most.
    pub(super) fn adopts(&self, before: &Self) -> bool {
        let but_rules =
            |config: &PipelineConfig| PipelineConfig { rule: BTreeMap::new(), ..config.clone() };
        match (&self.state, &before.state) {
            (State::Built(flow), State::Running(running)) => {
                Arc::ptr_eq(flow.caller.model(), &running.model)
                    && but_rules(&self.config) == but_rules(&before.config)
            }
            _ => false,
        }
    }

    /// Exchanges the rules and actions of a running pipeline for those of `new`; the streams stay. The
    /// actions so far are returned, to be drained.
    pub(super) fn take_rules(
        &mut self,
        new: Self,
        connections: &BTreeMap<Name, Connection>,
    ) -> Option<action::Running> {
        let (State::Running(running), State::Built(flow)) = (&mut self.state, new.state) else {
            return None;
        };
        let set = Arc::clone(&flow.rules.load().set);
        let Running { device, outbox, .. } = running;
        match Rules::start(set, &new.config, device, connections, outbox.as_ref()) {
            Ok((rules, actions)) => {
                self.config = new.config;
                running.rules.store(Arc::new(rules));
                Some(std::mem::replace(&mut running.actions, actions))
            }
            Err(problem) => {
                tracing::error!("the old rules stay: {problem}");
                None
            }
        }
    }

    pub(super) fn connection(&self) -> &Name {
        self.config.connection()
    }

    /// Which messages it wants, and how.
    pub(super) fn route(&self) -> (Route, QoS) {
        let InputConfig::Mqtt(input) = &self.config.input;
        let route = Route {
            filter: input.topic.clone(),
            queue: Arc::clone(&self.queue),
            parked: self.problem().map(|_| self.config.queue.capacity),
            counters: Arc::clone(&self.routed),
        };
        (route, input.qos)
    }

    /// What it does, counted on, even when the pipeline is no more.
    pub(super) fn counters(&self) -> Read {
        Read { counters: Arc::clone(&self.counters), routed: Arc::clone(&self.routed) }
    }

    /// For how long its thread has not got on with the messages in its hands.
    pub(super) fn stuck(&mut self, now: Instant) -> Option<Duration> {
        match &mut self.state {
            State::Running(running) => running.thread.stuck(now),
            // Degraded is no stall: a restart would not help.
            State::Degraded(_) | State::Built(_) => None,
        }
    }

    /// What became of the actions so far.
    pub(super) fn action_counts(&self) -> Vec<ActionCounts> {
        match &self.state {
            State::Running(running) => running.rules.load().action_counts(),
            State::Degraded(_) | State::Built(_) => Vec::new(),
        }
    }

    /// What becomes of its uncertain cases, counted on, even when the pipeline is no more.
    pub(super) fn escalated(&self) -> Option<Arc<Tally>> {
        match &self.state {
            State::Running(Running { escalating: Some(escalating), .. }) => {
                Some(Arc::clone(escalating.tally()))
            }
            State::Running(_) | State::Degraded(_) | State::Built(_) => None,
        }
    }

    fn model(&self) -> Option<&Arc<Model>> {
        match &self.state {
            State::Running(running) => Some(&running.model),
            State::Built(flow) => Some(flow.caller.model()),
            State::Degraded(_) => None,
        }
    }

    /// What its summaries are made from, where there are any.
    pub(super) fn source(&self) -> Option<Source> {
        let gatherer = self.gatherer.clone()?;
        Some(Source::new(gatherer, self.counters(), self.config.queue.when_full, self.model()))
    }

    pub(super) fn status(&self, name: &Name) -> PipelineStatus {
        let model = self.model();
        let version = |model: &Arc<Model>| {
            let package = model.package();
            format!("{}@{}", package.name, package.version)
        };
        PipelineStatus {
            name: name.clone(),
            problem: self.problem().map(str::to_owned),
            model: model.map_or_else(String::new, version),
            engine: model.map_or_else(String::new, |model| model.status().label()),
            counts: self.counters().read(),
            latency: self.counters.latency(),
            stages: self.counters.stages(),
            drift: None,
            actions: self.action_counts(),
            escalation: self.escalated().map(|tally| tally.status()),
        }
    }

    /// Works off what is queued, until `deadline` has passed.
    pub(super) async fn stop(self, deadline: Duration, opinions: OnTheirWay) -> Rest {
        let State::Running(running) = self.state else {
            return Rest { messages: self.queue.close_and_take(), in_hand: 0, actions: None };
        };
        let start = SystemClock.now();
        if let (Some(escalating), OnTheirWay::Awaited) = (&running.escalating, opinions) {
            escalating.settle(deadline / 2).await;
        }
        self.queue.close();
        let in_hand =
            running.thread.finish(deadline.saturating_sub(SystemClock.now() - start)).await;
        if let Some(escalating) = running.escalating {
            escalating.stop().await;
        }
        // In time or not: what is in the queue now, nobody takes any more.
        Rest { messages: self.queue.close_and_take(), in_hand, actions: Some(running.actions) }
    }
}
