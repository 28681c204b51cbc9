//! The one room that knows who feeds whom: builds everything from a checked configuration, starts it,
//! changes it while it runs, and drains it.

mod amend;
mod arrival;
mod build;
mod check;
mod clouds;
pub mod config;
mod connection;
mod counters;
mod decide;
mod degrade;
mod escalation;
mod flight;
mod flow;
mod key;
mod memory;
mod movement;
mod pipeline;
mod recall;
mod reload;
mod report;
mod rules;
mod sampling;
mod standing;
mod summaries;
mod thread;
mod traces;
mod understudy;
mod updates;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::mpsc;

pub use check::{Finding, check};
pub use movement::Stalled;
pub use updates::BASE;

use self::build::Workshop;
use self::clouds::Clouds;
use self::config::{Config, Problems};
use self::connection::Connection;
use self::escalation::OnTheirWay;
use self::pipeline::Pipeline;
use self::recall::Recalled;
use self::report::{log_counts, log_escalation};
use self::standing::Standing;
use self::summaries::Summaries;
use self::traces::Tracing;
use self::understudy::Stages;
use self::updates::Updates;
use crate::action;
use crate::api::{Api, ApiConfig, Handles, Live, Order, PipelineStatus, View};
use crate::broker::{Broker, BrokerConfig};
use crate::event::{Device, Name, Prediction, StreamKey};
use crate::ingest::Route;
use crate::model::{Models, Shelf};
use crate::mqtt::{MqttError, QoS};
use crate::outbox::{self, Lane, Outbox};
use crate::summary::{merge, mergeable};
use crate::sync::CloudStatus;
use crate::task::{Clock, Group, SystemClock};
use crate::trace::TraceStatus;

/// How long the last words to a broker may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Orders that may wait.
const ORDERS: usize = 4;

/// What a pipeline made of one model input, fired or not.
#[derive(Debug)]
pub struct Observation<'a> {
    /// The pipeline.
    pub pipeline: &'a Name,
    /// The stream within it.
    pub stream: &'a StreamKey,
    /// The publisher's name for the message.
    pub id: Option<&'a str>,
    /// What the model said.
    pub prediction: &'a Prediction,
}

/// Called on a pipeline's thread after the rules of each prediction; quick, and never blocking.
pub type Observer = Arc<dyn Fn(&Observation<'_>) + Send + Sync>;

/// Why the process cannot start. A broken model or an absent broker is no reason, nor is an embedded
/// broker whose port is taken.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration is wrong in a way that only a model shows: a rule that does not fit it.
    #[error("the configuration is not valid:\n{0}")]
    Config(#[from] Problems),
    /// A connection cannot even be tried.
    #[error(transparent)]
    Mqtt(#[from] MqttError),
}

/// Everything that runs.
#[derive(Debug)]
pub struct App {
    config: Config,
    workshop: Workshop,
    broker: Option<Standing<Broker>>,
    api: Option<Standing<Api>>,
    handles: Handles,
    /// Until somebody takes it.
    ordered: Option<mpsc::Receiver<Order>>,
    stalled: Option<Stalled>,
    /// When streams were last kept over a restart.
    kept: Instant,
    clouds: Clouds,
    tracing: Tracing,
    summaries: Option<Summaries>,
    connections: BTreeMap<Name, Connection>,
    pipelines: BTreeMap<Name, Pipeline>,
    /// Pipelines that were replaced, sending what they decided.
    retiring: Group,
    updates: Option<Updates>,
}

impl App {
    /// Builds everything, then starts everything. A pipeline whose model is broken is degraded, and
    /// built again from time to time ([`App::heal`]); the others run. To be called within a runtime.
    pub fn start(config: Config, observer: Option<Observer>) -> Result<Self, StartError> {
        let device = Arc::new(config.device.resolve());
        let recalled = config.outbox.as_ref().map(Recalled::read).unwrap_or_default();
        let outbox = config.outbox.as_ref().map(|outbox| {
            let lanes = clouds::lanes(&config.cloud);
            let thinning = outbox::Thinning { mergeable, merge };
            let options = outbox::Options { thinning: Some(thinning), ..Default::default() };
            Outbox::start_with(outbox, device.id.clone(), lanes, Arc::new(SystemClock), options)
        });
        let summaries = config.summary.as_ref().zip(outbox.clone());
        let summaries = summaries.map(|(summary, outbox)| {
            Summaries::new(summary, outbox, recalled.restarts(), &SystemClock)
        });
        let tracing = Tracing::start(config.traces.as_ref(), &device.id);
        let workshop = Workshop {
            device,
            clock: Arc::new(SystemClock),
            models: Arc::new(Models::new(&config.models).and(config.came())),
            observer,
            live: Live::new(),
            traces: tracing.traces().clone(),
            outbox,
            recalled,
            summaries: summaries.is_some(),
            stages: Stages::default(),
        };
        let mut pipelines = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, pipeline) in &config.pipeline {
            let connection = &config.mqtt[pipeline.connection()];
            match Pipeline::build(&workshop, name, pipeline, connection) {
                Ok(built) => drop(pipelines.insert(name.clone(), built)),
                Err(found) => problems.extend(found.0),
            }
        }
        Problems::none(problems)?;
        let broker = config.broker.as_ref().map(start_broker);
        let shown = view::nothing(&workshop.device);
        let shelf = Arc::new(Shelf::new(Arc::clone(&workshop.models)));
        let (orders, ordered) = mpsc::channel(ORDERS);
        let live = Arc::clone(&workshop.live);
        let traces = tracing.traces().clone();
        let handles = Handles { shown, shelf, live, traces, orders };
        let api = config.api.as_ref().map(|api| start_api(api, &handles));
        let connections = BTreeMap::new();
        let mut app = Self {
            config,
            workshop,
            broker,
            api,
            handles,
            ordered: Some(ordered),
            stalled: None,
            kept: SystemClock.now(),
            clouds: Clouds::default(),
            tracing,
            summaries,
            connections,
            pipelines,
            retiring: Group::default(),
            updates: None,
        };
        app.open_connections()?;
        app.tell_of_the_start();
        app.start_pipelines();
        if let Some(outbox) = &app.workshop.outbox {
            let device = &app.workshop.device.id;
            let recalled = &app.workshop.recalled;
            let site = clouds::Site { outbox, device, connections: &app.connections, recalled };
            app.clouds.start(&app.config.cloud, site);
        }
        for (name, pipeline) in &app.pipelines {
            if let Some(reason) = pipeline.problem() {
                tracing::error!(pipeline = %name, "degraded: {reason}");
            }
        }
        app.show();
        tracing::info!(device = %app.device().id, pipelines = app.pipelines.len(), "started");
        Ok(app)
    }

    /// Tries again to build what is degraded.
    pub fn heal(&mut self) {
        if let Some(broker) = &mut self.broker {
            broker.heal();
        }
        if let Some(api) = &mut self.api {
            api.heal();
        }
        for (name, pipeline) in &mut self.pipelines {
            let Some(before) = pipeline.problem().map(str::to_owned) else { continue };
            pipeline.heal(&self.workshop, name);
            match pipeline.problem() {
                None => tracing::info!(pipeline = %name, "healed"),
                Some(now) if now != before => tracing::error!(pipeline = %name, "degraded: {now}"),
                Some(_) => continue,
            }
            pipeline.start(&self.workshop, name, &self.connections);
        }
        self.route();
    }

    /// Gives back the memory that only the start needed. To be called when the first messages have gone
    /// their way.
    pub fn settle(&self) {
        match memory::give_back() {
            Ok(bytes) => tracing::debug!(bytes, "memory given back"),
            Err(error) => tracing::debug!("what the start needed stays in memory: {error}"),
        }
    }

    /// Waits until every connection is up and subscribed.
    pub async fn ready(&self) {
        for connection in self.connections.values() {
            connection.ready().await;
        }
    }

    /// Stops the intake, decides what is queued and sends what was decided, all within the configured
    /// deadline; then says goodbye to the clouds and the brokers. What is left is counted and named.
    pub async fn drain(mut self) {
        let deadline = self.config.shutdown.drain.0;
        self.handles.shown.rcu(|view| View { stopping: true, ..View::clone(view) });
        if let Some(updates) = self.updates.take() {
            updates.stop(GOODBYE).await;
        }
        for connection in self.connections.values() {
            connection.close_intake();
        }
        let end = SystemClock.now() + deadline;
        if let Some(summaries) = &mut self.summaries {
            summaries.look(&self.pipelines);
        }
        let mut stopping = self.retiring;
        for (name, pipeline) in self.pipelines {
            stopping.spawn("drain", async move {
                let (counters, escalated) = (pipeline.counters(), pipeline.escalated());
                let rest = pipeline.stop(deadline, OnTheirWay::Awaited).await;
                let messages = rest.messages.len() + rest.in_hand;
                if messages > 0 {
                    tracing::warn!(pipeline = %name, messages, "not decided in time; they come again");
                }
                send_off(&name, rest.actions, end.saturating_duration_since(SystemClock.now())).await;
                log_counts(&name, &counters.read());
                log_escalation(&name, escalated.as_deref());
            });
        }
        stopping.drain(deadline + GOODBYE).await;
        if let Some(summaries) = &mut self.summaries {
            summaries.cut(&SystemClock);
        }
        if let Some(outbox) = &self.workshop.outbox {
            // Before the outbox, which the clouds read from. Before the connections: what is on disk is
            // acknowledged.
            let rest = || end.saturating_duration_since(SystemClock.now()).max(GOODBYE);
            self.clouds.stop(rest()).await;
            self.workshop.recalled.end(outbox);
            if !outbox.stop(rest()).await {
                let records = outbox.status().waiting;
                tracing::error!(records, "the disk did not take the last records in time");
            }
        }
        for (_, connection) in self.connections {
            connection.stop(GOODBYE).await;
        }
        if let Some(broker) = self.broker.and_then(Standing::into_running) {
            broker.stop();
        }
        if let Some(api) = self.api.and_then(Standing::into_running) {
            api.stop().await;
        }
        self.tracing.stop(GOODBYE).await;
        tracing::info!("stopped");
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.workshop.device
    }

    /// How each pipeline is doing.
    pub fn pipelines(&self) -> Vec<PipelineStatus> {
        self.pipelines.iter().map(|(name, pipeline)| pipeline.status(name)).collect()
    }

    /// How each cloud is doing.
    pub fn clouds(&self) -> Vec<(Lane, CloudStatus)> {
        self.clouds.statuses().map(|(lane, status)| (lane.clone(), status)).collect()
    }

    /// How the outbox is doing, where the configuration has one.
    pub fn outbox(&self) -> Option<outbox::Status> {
        self.workshop.outbox.as_ref().map(Outbox::status)
    }

    /// How the spans are doing, where the configuration has traces.
    pub fn traces(&self) -> Option<TraceStatus> {
        self.tracing.status()
    }

    /// What is ordered over the API; whoever takes it carries it out.
    pub fn take_orders(&mut self) -> Option<mpsc::Receiver<Order>> {
        self.ordered.take()
    }

    /// How often [`App::log_counts`] wants to be called.
    pub fn report_every(&self) -> Duration {
        self.config.log.every.0.max(Duration::from_secs(1))
    }

    /// Tells every connection which messages go where.
    fn route(&self) {
        for (name, connection) in &self.connections {
            connection.route(self.routes(name));
        }
    }

    fn start_pipelines(&mut self) {
        for (name, pipeline) in &mut self.pipelines {
            pipeline.start(&self.workshop, name, &self.connections);
        }
    }

    /// Opens the connections that are not open yet, their routes laid beforehand: a broker that kept
    /// our session sends what it has at once.
    fn open_connections(&mut self) -> Result<(), MqttError> {
        for (name, config) in &self.config.mqtt {
            if !self.connections.contains_key(name) {
                let (device, routes) = (&self.workshop.device, self.routes(name));
                let started = Connection::start(name, device, config, routes)?;
                self.connections.insert(name.clone(), started);
            }
        }
        Ok(())
    }

    /// Which messages of a connection go where.
    fn routes(&self, connection: &Name) -> Vec<(Route, QoS)> {
        let mine = self.pipelines.values().filter(|pipeline| pipeline.connection() == connection);
        mine.map(Pipeline::route).collect()
    }
}

fn start_broker(config: &BrokerConfig) -> Standing<Broker> {
    let config = config.clone();
    Standing::start("the embedded broker", move || {
        Broker::start(&config).map_err(|error| error.to_string())
    })
}

fn start_api(config: &ApiConfig, handles: &Handles) -> Standing<Api> {
    let (config, handles) = (config.clone(), handles.clone());
    Standing::start("the API", move || {
        Api::start(&config, handles.clone()).map_err(|error| error.to_string())
    })
}

/// Sends what was decided until the deadline has passed; what is left then is lost, and said so.
async fn send_off(name: &Name, actions: Option<action::Running>, deadline: Duration) {
    let Some(actions) = actions else { return };
    let lost = actions.drain(deadline).await;
    if lost > 0 {
        tracing::error!(pipeline = %name, actions = lost, "decided, but not carried out in time");
    }
}
