//! One pipeline's life: built or degraded, running, drained.

mod look;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::build::{BuildError, Parts, Workshop};
use super::config::{InputConfig, PipelineConfig, Problems};
use super::connection::Connection;
use super::counters::Counters;
use super::degrade::{Degrading, Steps};
use super::escalation::{Escalating, OnTheirWay};
use super::flight::Batch;
use super::flow::Flow;
use super::key::Keyer;
use super::recall::{Keeping, Resumed};
use super::rules::Rules;
use super::sampling::Sampling;
use super::summaries::Gathering;
use super::thread::Thread;
use super::understudy::{Rehearsal, Stage};
use crate::action;
use crate::event::{Device, Envelope, Name};
use crate::ingest::{Route, RouteCounters, hold_capacity};
use crate::model::Model;
use crate::mqtt::{ConnectionConfig, QoS};
use crate::outbox::Outbox;
use crate::package::ModelRef;
use crate::pipeline::gate::Gate;
use crate::pipeline::window::Streams;
use crate::summary::{Board, Gatherer};
use crate::task::{Clock, Queue, SystemClock, WhenFull};

pub(super) use look::Read;

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
    degrading: Option<Box<Degrading>>,
}

impl Running {
    /// The models of the steps.
    fn others(&self) -> &[Option<Arc<Model>>] {
        self.degrading.as_ref().map_or(&[], |degrading| degrading.models())
    }
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
            steps: Steps::new(name, parts.steps),
            rehearsal: Rehearsal::new(self.stage(workshop)),
            traces: workshop.traces.clone(),
            clock: Arc::clone(&workshop.clock),
            batch: Batch::default(),
            flying: Batch::default(),
            progress: Arc::default(),
        }
    }

    /// Where a new version of its model is tried. One that names its version takes no other.
    fn stage(&self, workshop: &Workshop) -> Stage {
        let reference = self.config.model.parse::<ModelRef>().ok();
        let open = reference.filter(|reference| reference.version.is_none());
        open.map_or_else(Stage::default, |reference| workshop.stages.of(&reference.name))
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
        let degrading = flow.steps.degrading(self.config.degrade.as_ref()).map(Box::new);
        let thread = Thread::spawn(name, flow, Arc::clone(&self.queue))?;
        Ok(Running { thread, model, device, outbox, rules, actions, escalating, degrading })
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
                    let is_newest = |reference: &str, model: Option<&Arc<Model>>| {
                        let newest = workshop.newest(reference);
                        newest.is_none_or(|version| {
                            model.is_some_and(|model| version == model.package().version)
                        })
                    };
                    let steps = self.config.degrade.iter().flat_map(|degrade| &degrade.steps);
                    let mut others = steps.zip(running.others());
                    is_newest(&self.config.model, Some(&running.model))
                        && others.all(|(step, other)| {
                            step.model.as_ref().is_none_or(|model| is_newest(model, other.as_ref()))
                        })
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
                let same = |(a, b): (&Option<Arc<Model>>, &Option<Arc<Model>>)| {
                    a.as_ref().map(Arc::as_ptr) == b.as_ref().map(Arc::as_ptr)
                };
                Arc::ptr_eq(flow.caller.model(), &running.model)
                    && flow.steps.models().iter().zip(running.others()).all(same)
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

    /// Takes or gives back a step of doing with less, if it is time to. The board is looked at if anybody asks.
    pub(super) fn ease(
        &mut self,
        name: &Name,
        board: &mut impl FnMut() -> Board,
        clock: &dyn Clock,
    ) {
        let dropped = self.routed.dropped();
        if let State::Running(Running { degrading: Some(degrading), .. }) = &mut self.state {
            degrading.look(name, dropped, &board(), (clock.now(), clock.wall()));
        }
    }

    /// For how long its thread has not got on with the messages in its hands.
    pub(super) fn stuck(&mut self, now: Instant) -> Option<Duration> {
        match &mut self.state {
            State::Running(running) => running.thread.stuck(now),
            // Degraded is no stall: a restart would not help.
            State::Degraded(_) | State::Built(_) => None,
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
