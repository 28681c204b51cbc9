//! What can be seen of a pipeline from outside.

use std::sync::Arc;

use super::{Pipeline, Running, State};
use crate::action::ActionCounts;
use crate::action::escalate::Tally;
use crate::api::{Counts, PipelineStatus, StepStatus};
use crate::app::counters::Counters;
use crate::app::degrade::Degrading;
use crate::app::summaries::Source;
use crate::event::Name;
use crate::ingest::RouteCounters;
use crate::model::Model;

/// Both places where a pipeline is counted: before its queue and behind it.
#[derive(Debug)]
pub(in crate::app) struct Read {
    counters: Arc<Counters>,
    routed: Arc<RouteCounters>,
}

impl Read {
    pub(in crate::app) fn read(&self) -> Counts {
        let mut counts = self.counters.snapshot();
        counts.dropped = self.routed.dropped();
        let too_large = self.routed.too_large();
        if too_large > 0 {
            *counts.errors.entry("too_large").or_default() += too_large;
        }
        counts
    }
}

impl Pipeline {
    /// What it does, counted on, even when the pipeline is no more.
    pub(in crate::app) fn counters(&self) -> Read {
        Read { counters: Arc::clone(&self.counters), routed: Arc::clone(&self.routed) }
    }

    /// What became of the actions so far.
    pub(in crate::app) fn action_counts(&self) -> Vec<ActionCounts> {
        match &self.state {
            State::Running(running) => running.rules.load().action_counts(),
            State::Degraded(_) | State::Built(_) => Vec::new(),
        }
    }

    /// What becomes of its uncertain cases, counted on, even when the pipeline is no more.
    pub(in crate::app) fn escalated(&self) -> Option<Arc<Tally>> {
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
    pub(in crate::app) fn source(&self) -> Option<Source> {
        let gatherer = self.gatherer.clone()?;
        Some(Source::new(gatherer, self.counters(), self.config.queue.when_full, self.model()))
    }

    pub(in crate::app) fn status(&self, name: &Name) -> PipelineStatus {
        let model = self.serving().or(self.model());
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
            step: self.step(),
            actions: self.action_counts(),
            escalation: self.escalated().map(|tally| tally.status()),
        }
    }

    fn degrading(&self) -> Option<&Degrading> {
        match &self.state {
            State::Running(running) => running.degrading.as_deref(),
            State::Degraded(_) | State::Built(_) => None,
        }
    }

    /// The model that serves in place of its own.
    fn serving(&self) -> Option<&Arc<Model>> {
        self.degrading()?.model()
    }

    fn step(&self) -> Option<StepStatus> {
        self.degrading().map(Degrading::status)
    }
}
