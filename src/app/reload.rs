//! A new configuration while everything runs.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::clouds::Site;
use super::config::{Config, Problem, Problems};
use super::escalation::OnTheirWay;
use super::pipeline::Pipeline;
use super::standing::Standing;
use super::{App, GOODBYE, StartError, send_off, start_api};
use crate::event::Name;
use crate::outbox::OutboxConfig;
use crate::task::Group;

type Named = Vec<(Name, Pipeline)>;

impl App {
    /// Takes a new configuration without dropping a message of the pipelines that stay. Everything
    /// new is built first; if any of it cannot be built, nothing changes.
    pub async fn reload(&mut self, mut config: Config) -> Result<(), StartError> {
        if config.outbox.is_none() && self.config.outbox == Some(OutboxConfig::default()) {
            // The last cloud is gone, and its usual outbox with it; pipelines write to it until the end.
            config.outbox.clone_from(&self.config.outbox);
        }
        self.refuse_what_needs_a_restart(&config)?;
        let built = self.build_changed(&config)?;
        self.close_connections(&config).await;
        self.set_api(&config).await;
        let device = &self.workshop.device.id;
        self.tracing.set(config.traces.as_ref(), device, GOODBYE).await;
        if let Some(summaries) = &mut self.summaries {
            // Who goes now has not spoken its last.
            summaries.look(&self.pipelines);
        }
        let (old, successors) = self.swap_pipelines(&config, built);
        self.config = config;
        self.open_connections()?;
        // From here on new messages wait in the new queues while the old pipelines finish theirs: order
        // within a stream holds, and nothing is dropped.
        self.route();
        self.settle_in(old, successors).await;
        if let Some(outbox) = &self.workshop.outbox {
            let device = &self.workshop.device.id;
            let recalled = &self.workshop.recalled;
            let site = Site { outbox, device, connections: &self.connections, recalled };
            self.clouds.set(&self.config.cloud, site, GOODBYE).await;
        }
        self.keep_good();
        self.show();
        tracing::info!(pipelines = self.pipelines.len(), "reloaded");
        Ok(())
    }

    fn refuse_what_needs_a_restart(&self, config: &Config) -> Result<(), Problems> {
        let parts = [
            ("device", self.config.device != config.device),
            ("broker", self.config.broker != config.broker),
            ("models", self.config.models != config.models),
            ("update", self.config.update != config.update),
            ("summary", self.config.summary != config.summary),
            ("outbox", self.config.outbox.is_some() && self.config.outbox != config.outbox),
        ];
        let changed = parts.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| {
            Problem::new(key, "a change here takes effect at a start; restart eir")
        });
        let first = (self.config.outbox.is_none() && config.outbox.is_some()).then(|| {
            let key = if config.cloud.is_empty() { "outbox" } else { "cloud" };
            Problem::new(
                key,
                "the outbox that records are kept in is opened at a start; restart eir",
            )
        });
        Problems::none(changed.chain(first))
    }

    /// Builds what is new or differs. A pipeline that runs is not given up for one that cannot.
    fn build_changed(&self, config: &Config) -> Result<BTreeMap<Name, Pipeline>, Problems> {
        let mut built = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, new) in &config.pipeline {
            let moved = new.connections().any(|n| self.config.mqtt.get(n) != config.mqtt.get(n));
            let running = self.pipelines.get(name);
            if !moved && running.is_some_and(|running| running.is_current(new, &self.workshop)) {
                continue;
            }
            match Pipeline::build(&self.workshop, name, new, &config.mqtt[new.connection()]) {
                Ok(pipeline) => match (pipeline.problem(), running.map(Pipeline::problem)) {
                    (Some(reason), Some(None)) => {
                        problems.push(Problem::new(&format!("pipeline.{name}"), reason));
                    }
                    _ => drop(built.insert(name.clone(), pipeline)),
                },
                Err(found) => problems.extend(found.0),
            }
        }
        Problems::none(problems).map(|()| built)
    }

    /// Closes the connections that are gone or changed: one client identifier may not be connected
    /// twice, the broker would throw out one of them.
    async fn close_connections(&mut self, config: &Config) {
        let changed = |name: &Name| self.config.mqtt.get(name) != config.mqtt.get(name);
        let names: Vec<_> = self.connections.keys().filter(|name| changed(name)).cloned().collect();
        for name in names {
            if let Some(connection) = self.connections.remove(&name) {
                connection.stop(self.config.shutdown.drain.0).await;
            }
        }
    }

    /// A changed port is opened after the old one is closed; it may be the same.
    async fn set_api(&mut self, config: &Config) {
        if self.config.api != config.api {
            if let Some(api) = self.api.take().and_then(Standing::into_running) {
                api.stop().await;
            }
            self.api = config.api.as_ref().map(|api| start_api(api, &self.handles));
        }
    }

    /// Puts the new pipelines in the place of the old, which are returned to be stopped. One that
    /// differs in its rules alone stays with its streams, and its successor is returned to hand its
    /// rules over.
    fn swap_pipelines(
        &mut self,
        config: &Config,
        built: BTreeMap<Name, Pipeline>,
    ) -> (Named, Named) {
        let gone = self.pipelines.keys().filter(|name| !config.pipeline.contains_key(*name));
        let gone: Vec<_> = gone.cloned().collect();
        let mut old: Vec<_> = gone.iter().filter_map(|n| self.pipelines.remove_entry(n)).collect();
        let mut successors = Vec::new();
        for (name, pipeline) in built {
            let before = self.pipelines.get(&name);
            if before.is_some_and(|before| pipeline.adopts(before)) {
                successors.push((name, pipeline));
            } else if let Some(before) = self.pipelines.insert(name.clone(), pipeline) {
                old.push((name, before));
            }
        }
        (old, successors)
    }

    /// Lets the old pipelines work off what they have, then starts the new. What was decided is sent on
    /// in the background.
    async fn settle_in(&mut self, old: Vec<(Name, Pipeline)>, successors: Vec<(Name, Pipeline)>) {
        let drain = self.config.shutdown.drain.0;
        for (name, successor) in successors {
            if let Some(pipeline) = self.pipelines.get_mut(&name) {
                let actions = pipeline.take_rules(successor, &self.connections);
                self.retiring.spawn("retire", async move { send_off(&name, actions, drain).await });
            }
        }
        let (stopped, mut rests) = mpsc::channel(old.len().max(1));
        let mut stopping = Group::default();
        for (name, pipeline) in old {
            let stopped = stopped.clone();
            stopping.spawn("stop", async move {
                // The receiver outlives the group.
                let _received = stopped
                    .send((name, pipeline.stop(drain, OnTheirWay::Abandoned).await))
                    .await
                    .is_ok();
            });
        }
        drop(stopped);
        while let Some((name, rest)) = rests.recv().await {
            let (left, in_hand) = (rest.messages.len(), rest.in_hand);
            tracing::info!(pipeline = %name, left, in_hand, "the old one stopped");
            // What was meant for a pipeline that is no more is settled; for its successor it comes again.
            if !self.pipelines.contains_key(&name) {
                rest.messages.into_iter().for_each(|message| message.ack.settle());
            }
            let actions = rest.actions;
            self.retiring.spawn("retire", async move { send_off(&name, actions, drain).await });
        }
        self.start_pipelines();
    }
}
