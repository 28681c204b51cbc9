//! The one room that knows who feeds whom: builds everything from a checked configuration, starts it,
//! changes it while it runs, and drains it.

mod build;
mod check;
pub mod config;
mod connection;
mod counters;
mod flow;
mod key;
mod pipeline;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

pub use check::{Finding, check};
pub use counters::Counts;
pub use pipeline::Status;

use self::build::Workshop;
use self::config::{Config, Problem, Problems};
use self::connection::Connection;
use self::pipeline::Pipeline;
use crate::broker::{Broker, BrokerError};
use crate::event::{Device, Name, Prediction, StreamKey};
use crate::model::Models;
use crate::mqtt::MqttError;
use crate::task::SystemClock;

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

/// Why the process cannot start. A broken model or an absent broker is no reason.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration is wrong in a way that only a model shows: a rule that does not fit it.
    #[error("the configuration is not valid:\n{0}")]
    Config(#[from] Problems),
    /// The embedded broker cannot listen.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A connection cannot even be tried.
    #[error(transparent)]
    Mqtt(#[from] MqttError),
}

/// Everything that runs.
#[derive(Debug)]
pub struct App {
    config: Config,
    workshop: Workshop,
    broker: Option<Broker>,
    connections: BTreeMap<Name, Connection>,
    pipelines: BTreeMap<Name, Pipeline>,
}

impl App {
    /// Builds everything, then starts everything. A pipeline whose model is broken is degraded, and
    /// built again from time to time ([`App::heal`]); the others run. To be called within a runtime.
    pub fn start(config: Config, observer: Option<Observer>) -> Result<Self, StartError> {
        let workshop = Workshop {
            device: Arc::new(config.device.resolve()),
            clock: Arc::new(SystemClock),
            models: Models::new(&config.models),
            observer,
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
        if !problems.is_empty() {
            return Err(Problems(problems).into());
        }
        let broker = match &config.broker {
            Some(broker) => Some(Broker::start(broker)?),
            None => None,
        };
        let mut connections = BTreeMap::new();
        for (name, connection) in &config.mqtt {
            let started = Connection::start(name, &workshop.device, connection)?;
            connections.insert(name.clone(), started);
        }
        let mut app = Self { config, workshop, broker, connections, pipelines };
        app.start_pipelines();
        app.route();
        tracing::info!(device = %app.device().id, pipelines = app.pipelines.len(), "started");
        Ok(app)
    }

    /// Takes a new configuration without dropping a message of the pipelines that stay. Everything
    /// new is built first; if any of it cannot be built, nothing changes.
    pub async fn reload(&mut self, config: Config) -> Result<(), StartError> {
        self.refuse_what_needs_a_restart(&config)?;
        let mut built = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, new) in &config.pipeline {
            let connection = &config.mqtt[new.connection()];
            let moved = new.connections().any(|n| self.config.mqtt.get(n) != config.mqtt.get(n));
            let running = self.pipelines.get(name);
            if !moved && running.is_some_and(|running| running.is_current(new, &self.workshop)) {
                continue;
            }
            match Pipeline::build(&self.workshop, name, new, connection) {
                Ok(pipeline) => match (pipeline.problem(), running.map(Pipeline::problem)) {
                    // A pipeline that runs is not given up for one that cannot.
                    (Some(reason), Some(None)) => problems.push(Problem {
                        origin: String::new(),
                        key: format!("pipeline.{name}"),
                        message: reason.to_owned(),
                    }),
                    _ => drop(built.insert(name.clone(), pipeline)),
                },
                Err(found) => problems.extend(found.0),
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems).into());
        }
        self.change_connections(&config).await?;
        self.change_pipelines(config, built).await;
        Ok(())
    }

    fn refuse_what_needs_a_restart(&self, config: &Config) -> Result<(), Problems> {
        let parts = [
            ("device", self.config.device != config.device),
            ("broker", self.config.broker != config.broker),
            ("models", self.config.models != config.models),
        ];
        let changed = parts.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| Problem {
            origin: String::new(),
            key: key.to_owned(),
            message: "a change here takes effect at a start; restart eir".to_owned(),
        });
        let problems: Vec<_> = changed.collect();
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// Connections that are new or changed are opened, then routes move over, then the old are closed.
    async fn change_connections(&mut self, config: &Config) -> Result<(), MqttError> {
        let mut old = Vec::new();
        let mut opened = Vec::new();
        for (name, new) in &config.mqtt {
            if self.config.mqtt.get(name) != Some(new) {
                opened.push((name.clone(), new));
            }
        }
        let names: Vec<_> = self.connections.keys().cloned().collect();
        for name in names {
            let stays = config.mqtt.contains_key(&name) && !opened.iter().any(|(n, _)| *n == name);
            if !stays {
                old.extend(self.connections.remove(&name));
            }
        }
        // The same client identifier may not be connected twice: the broker would throw out one of them.
        for connection in old {
            connection.stop(self.config.shutdown.drain.0).await;
        }
        for (name, new) in opened {
            let started = Connection::start(&name, &self.workshop.device, new)?;
            self.connections.insert(name, started);
        }
        Ok(())
    }

    /// Swaps the routes first, so that new messages wait in the new queues while the old pipelines
    /// finish theirs: order within a stream holds, and nothing is dropped.
    async fn change_pipelines(&mut self, config: Config, built: BTreeMap<Name, Pipeline>) {
        let removed = self.pipelines.keys().filter(|name| !config.pipeline.contains_key(*name));
        let replaced = built.keys().filter(|name| self.pipelines.contains_key(*name));
        let names: Vec<_> = removed.chain(replaced).cloned().collect();
        let mut retired = Vec::new();
        let mut old: Vec<_> = names.iter().filter_map(|n| self.pipelines.remove_entry(n)).collect();
        for (name, pipeline) in built {
            // A pipeline that differs in its rules alone keeps its streams.
            let same = old.iter().position(|(n, before)| *n == name && pipeline.adopts(before));
            match same {
                Some(index) => {
                    let (name, mut before) = old.swap_remove(index);
                    retired.extend(before.take_rules(pipeline, &self.connections));
                    self.pipelines.insert(name, before);
                }
                None => drop(self.pipelines.insert(name, pipeline)),
            }
        }
        self.config = config;
        self.route();
        let drain = self.config.shutdown.drain.0;
        for (name, pipeline) in old {
            let left = pipeline.stop(drain).await;
            tracing::info!(pipeline = %name, messages = left.messages.len(), actions = left.actions, "stopped");
            // What was meant for a pipeline that is no more is settled; for its successor it comes again.
            if !self.pipelines.contains_key(&name) {
                left.messages.into_iter().for_each(|message| message.ack.settle());
            }
        }
        self.start_pipelines();
        for actions in retired {
            actions.drain(drain).await;
        }
        tracing::info!(pipelines = self.pipelines.len(), "reloaded");
    }

    /// Tries again to build what is degraded.
    pub fn heal(&mut self) {
        let degraded: Vec<_> =
            self.pipelines.iter().filter(|(_, p)| p.problem().is_some()).collect();
        let names: Vec<_> = degraded.into_iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(pipeline) = self.pipelines.get_mut(&name) else { continue };
            if pipeline.heal(&self.workshop, &name) {
                tracing::info!(pipeline = %name, "healed");
            }
        }
        self.start_pipelines();
    }

    /// Waits until every connection is up and subscribed.
    pub async fn ready(&self) {
        for connection in self.connections.values() {
            connection.ready().await;
        }
    }

    /// Stops the intake, decides what is queued, sends what was decided, closes the connections; each
    /// within the configured deadline. What is left is counted and named.
    pub async fn drain(self) {
        let deadline = self.config.shutdown.drain.0;
        for connection in self.connections.values() {
            connection.close_intake();
        }
        for (name, pipeline) in self.pipelines {
            let counts = pipeline.counts();
            let left = pipeline.stop(deadline).await;
            if left.is_some() {
                let (messages, actions) = (left.messages.len(), left.actions);
                tracing::warn!(pipeline = %name, messages, actions, "left; the messages come again");
            }
            log_counts(&name, &counts);
        }
        for (_, connection) in self.connections {
            connection.stop(deadline).await;
        }
        if let Some(broker) = self.broker {
            broker.stop();
        }
        tracing::info!("stopped");
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.workshop.device
    }

    /// How each pipeline is doing.
    pub fn pipelines(&self) -> Vec<Status> {
        self.pipelines.iter().map(|(name, pipeline)| pipeline.status(name)).collect()
    }

    /// How often [`App::log_counts`] wants to be called.
    pub fn report_every(&self) -> Duration {
        self.config.log.every.0.max(Duration::from_secs(1))
    }

    /// Writes every pipeline's counters to the log, and what is degraded.
    pub fn log_counts(&self) {
        for (name, pipeline) in &self.pipelines {
            log_counts(name, &pipeline.counts());
            for action in pipeline.action_counts() {
                tracing::info!(pipeline = %name, ?action, "action counts");
            }
            if let Some(reason) = pipeline.problem() {
                tracing::warn!(pipeline = %name, "degraded: {reason}");
            }
        }
        for (name, connection) in &self.connections {
            if let Some(reason) = connection.problem() {
                tracing::warn!(connection = %name, "degraded: {reason}");
            }
        }
    }

    fn start_pipelines(&mut self) {
        for (name, pipeline) in &mut self.pipelines {
            pipeline.start(name, &self.connections);
        }
    }

    /// Tells every connection which messages go where.
    fn route(&self) {
        for (name, connection) in &self.connections {
            let mine = self.pipelines.values().filter(|p| p.connection() == name);
            connection.route(mine.map(Pipeline::route));
        }
    }
}

fn log_counts(name: &Name, counts: &Counts) {
    let millis = |seconds: Option<f64>| seconds.map_or(f64::NAN, |s| (s * 1e5).round() / 1e2);
    tracing::info!(
        pipeline = %name,
        messages = counts.messages,
        inferences = counts.inferences,
        decisions = counts.decisions,
        dropped = counts.dropped,
        errors = ?counts.errors,
        p50_ms = millis(counts.p50),
        p99_ms = millis(counts.p99),
        "counts"
    );
}
