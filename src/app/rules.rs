//! The rules of a pipeline with what they do: the part that a reload can exchange under a running
//! pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::PipelineConfig;
use super::connection::Connection;
use crate::action::Actions;
use crate::event::{Decision, Device, Envelope, Name};
use crate::pipeline::rules::RuleSet;
use crate::task::Group;

/// Compiled rules, and the actions of each at the same index.
#[derive(Debug)]
pub(super) struct Rules {
    pub set: Arc<RuleSet>,
    actions: Vec<Actions>,
}

impl Rules {
    /// Starts the actions of every rule in `group`.
    pub(super) fn start(
        set: Arc<RuleSet>,
        config: &PipelineConfig,
        device: &Arc<Device>,
        connections: &BTreeMap<Name, Connection>,
        group: &mut Group,
    ) -> Self {
        let link = |name: &Name| connections.get(name).map(|connection| connection.link().clone());
        let rules = config.rule.values();
        let actions =
            rules.map(|rule| Actions::start(&rule.actions, device, link, group)).collect();
        Self { set, actions }
    }

    /// The rules alone, as long as nothing runs.
    pub(super) fn without_actions(set: Arc<RuleSet>) -> Self {
        Self { set, actions: Vec::new() }
    }

    /// Hands a decision to the actions of its rule; never waits for them.
    pub(super) fn dispatch(&self, rule: usize, decision: &Arc<Decision>, envelope: &Envelope) {
        tracing::debug!(pipeline = %decision.pipeline, rule = %decision.rule, stream = %decision.stream, "decision");
        if let Some(actions) = self.actions.get(rule) {
            actions.dispatch(decision, envelope);
        }
    }
}
