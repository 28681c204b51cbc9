//! The rules of a pipeline with what they do: the part that a reload can exchange under a running
//! pipeline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::config::PipelineConfig;
use super::connection::Connection;
use crate::action::{ActionCounts, Actions, Cause, Running};
use crate::event::{Decision, Device, Envelope, Name, RenderError};
use crate::mqtt::Link;
use crate::outbox::{Draft, Outbox};
use crate::pipeline::rules::RuleSet;

/// Compiled rules, and the actions of each.
#[derive(Debug)]
pub(super) struct Rules {
    pub set: Arc<RuleSet>,
    actions: Option<Actions>,
    /// Where decisions are recorded, and those of which rules are not.
    outbox: Option<Outbox>,
    unrecorded: BTreeSet<Name>,
}

impl Rules {
    /// Starts the actions of every rule. The configuration was checked; an error is a file that has
    /// gone since.
    pub(super) fn start(
        set: Arc<RuleSet>,
        config: &PipelineConfig,
        device: &Arc<Device>,
        connections: &BTreeMap<Name, Connection>,
        outbox: Option<&Outbox>,
    ) -> Result<(Self, Running), String> {
        let links: BTreeMap<Name, Link> =
            connections.iter().map(|(name, found)| (name.clone(), found.link().clone())).collect();
        let rules: Vec<_> =
            config.rule.iter().map(|(name, rule)| (name.clone(), rule.actions.clone())).collect();
        let amendments = config.escalate.as_ref().map_or(&[][..], |escalate| &escalate.actions);
        let (actions, couriers) =
            Actions::build(&rules, amendments, Arc::clone(device), &links, config.actions.queue)
                .map_err(|errors| {
                    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
                })?;
        let unrecorded = config.rule.iter().filter(|(_, rule)| !rule.record);
        let unrecorded = unrecorded.map(|(name, _)| name.clone()).collect();
        let rules = Self { set, actions: Some(actions), outbox: outbox.cloned(), unrecorded };
        Ok((rules, couriers.start()))
    }

    /// The rules alone, as long as nothing runs.
    pub(super) fn without_actions(set: Arc<RuleSet>) -> Self {
        Self { set, actions: None, outbox: None, unrecorded: BTreeSet::new() }
    }

    /// Hands a decision to the actions of its rule; never waits for them. An error is a template that
    /// does not fit this message.
    pub(super) fn dispatch(
        &self,
        decision: &Arc<Decision>,
        by: Cause<'_>,
    ) -> Result<(), RenderError> {
        let Decision { pipeline, rule, stream, .. } = &**decision;
        tracing::debug!(%pipeline, %rule, %stream, "decision");
        let Some(actions) = &self.actions else { return Ok(()) };
        actions.dispatch(decision, by)
    }

    /// The same with the amendment of a decision: what `[pipeline.NAME.escalate]` does.
    pub(super) fn dispatch_amendment(
        &self,
        amendment: &Arc<Decision>,
        by: Cause<'_>,
    ) -> Result<(), RenderError> {
        let Decision { pipeline, rule, stream, .. } = &**amendment;
        tracing::debug!(%pipeline, %rule, %stream, "amendment");
        let Some(actions) = &self.actions else { return Ok(()) };
        actions.dispatch_amendment(amendment, by)
    }

    /// Puts a decision into the outbox, if its rule is recorded: the message is not acknowledged before
    /// it is there for good. Never waits.
    pub(super) fn record(
        &self,
        decision: &Decision,
        envelope: &Envelope,
    ) -> Result<(), serde_json::Error> {
        let Some(outbox) = &self.outbox else { return Ok(()) };
        if !self.unrecorded.contains(&decision.rule) {
            outbox.append(Draft::decision(decision)?, envelope.ack.share());
        }
        Ok(())
    }

    /// What became of the actions so far.
    pub(super) fn action_counts(&self) -> Vec<ActionCounts> {
        self.actions.as_ref().map(Actions::counts).unwrap_or_default()
    }
}

/// What of a message goes with what is done because of it.
pub(super) fn by(envelope: &Envelope) -> Cause<'_> {
    Cause {
        topic: &envelope.topic,
        correlation: envelope.correlation.as_ref(),
        traceparent: envelope.traceparent,
    }
}
