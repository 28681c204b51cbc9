//! From a decision to the queues of those who carry it out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::line::{ActionCounts, Couriers, Line, Meter, Patience};
use super::log::{LogActuator, LogConfig, LogOrder};
use super::payload::Payload;
use super::publish::{PublishActuator, PublishConfig, PublishOrder, Publisher};
use super::webhook::{WebhookActuator, WebhookConfig, WebhookOrder};
use super::{ActionConfig, Cause};
use crate::event::{Decision, Device, Name, RenderError, TextTemplate, TraceParent};
use crate::mqtt::Publish;

/// Orders that wait for one actuator by default.
pub const DEFAULT_QUEUE: usize = 256;

/// A publish is bounded by its age; this bounds it should the clock stand still.
const PUBLISH_RETRIES: u32 = 1000;

const JSON: &str = "application/json";

/// What the rules of one pipeline do. Shared with the pipeline's threads.
#[derive(Debug)]
pub struct Actions {
    device: Arc<Device>,
    rules: BTreeMap<Name, Vec<Action>>,
    amendments: Vec<Action>,
    meters: Vec<Arc<Meter>>,
}

/// An action that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{whose}, `do[{index}]`: {problem}")]
pub struct ActionError {
    /// ``rule `NAME` `` or `escalate`.
    pub whose: String,
    /// The place in its `do`, from 0.
    pub index: usize,
    /// What is wrong and what would be right.
    pub problem: String,
}

#[derive(Debug)]
enum Action {
    Publish(Box<PublishConfig>, Arc<Line<PublishOrder>>),
    Webhook(Option<TextTemplate>, Arc<Line<WebhookOrder>>),
    Log(LogConfig, Arc<Line<LogOrder>>),
}

impl Actions {
    /// Builds the actions of a pipeline's rules and of the amendments of their decisions, and the tasks that carry
    /// them out. Publishes to one
    /// broker share a queue of `queue` orders and keep their order; each webhook has its own.
    pub fn build<P: Publisher + Clone>(
        rules: &[(Name, Vec<ActionConfig>)],
        amendments: &[ActionConfig],
        device: Arc<Device>,
        brokers: &BTreeMap<Name, P>,
        queue: usize,
    ) -> Result<(Self, Couriers), Vec<ActionError>> {
        let mut builder = Builder::new(&device, brokers, queue);
        let mut errors = Vec::new();
        let mut all = |whose: String, place: &str, configs: &[ActionConfig]| {
            let mut actions = Vec::new();
            for (index, config) in configs.iter().enumerate() {
                match builder.action(place, index, config) {
                    Ok(action) => actions.push(action),
                    Err(problem) => {
                        errors.push(ActionError { whose: whose.clone(), index, problem });
                    }
                }
            }
            actions
        };
        let mut built = BTreeMap::new();
        for (rule, configs) in rules {
            built.insert(rule.clone(), all(format!("rule `{rule}`"), rule.as_str(), configs));
        }
        let amendments = all("escalate".to_owned(), "escalate.do", amendments);
        if !errors.is_empty() {
            return Err(errors);
        }
        let couriers = builder.finish();
        let meters = couriers.meters().to_vec();
        Ok((Self { device, rules: built, amendments, meters }, couriers))
    }

    /// Queues what the decision's rule does. Never waits; what cannot be rendered is counted, the
    /// others are queued all the same, and the last error is returned.
    pub fn dispatch(&self, decision: &Arc<Decision>, by: Cause<'_>) -> Result<(), RenderError> {
        let actions = self.rules.get(&decision.rule).map_or(&[][..], Vec::as_slice);
        self.queue(actions, decision, by)
    }

    /// Queues what is done with an amendment, as [`Actions::dispatch`] does.
    pub fn dispatch_amendment(
        &self,
        amendment: &Arc<Decision>,
        by: Cause<'_>,
    ) -> Result<(), RenderError> {
        self.queue(&self.amendments, amendment, by)
    }

    fn queue(
        &self,
        actions: &[Action],
        decision: &Arc<Decision>,
        by: Cause<'_>,
    ) -> Result<(), RenderError> {
        let mut outcome = Ok(());
        for action in actions {
            if let Err(error) = self.order(action, decision, by) {
                action.meter().unrendered();
                outcome = Err(error);
            }
        }
        outcome
    }

    /// What became of everything so far, for each actuator.
    pub fn counts(&self) -> Vec<ActionCounts> {
        self.meters.iter().map(|meter| meter.snapshot()).collect()
    }

    fn order(
        &self,
        action: &Action,
        decision: &Arc<Decision>,
        cause: Cause<'_>,
    ) -> Result<(), RenderError> {
        let text = |template: &TextTemplate| template.render(cause.topic, &self.device, decision);
        let payload = |template: &Option<TextTemplate>| {
            Ok(match template {
                Some(template) => Payload::Text(text(template)?),
                None => Payload::Decision(Arc::clone(decision)),
            })
        };
        match action {
            Action::Publish(config, line) => {
                let json = config.payload.is_none().then(|| JSON.to_owned());
                let named = |trace: TraceParent| (TraceParent::NAME.to_owned(), trace.to_string());
                let trace = cause.traceparent.map(named);
                let message = Publish {
                    topic: config.topic.render(cause.topic, &self.device, decision)?,
                    payload: Vec::new(),
                    qos: config.qos,
                    retain: config.retain,
                    content_type: config.content_type.clone().or(json),
                    correlation: cause.correlation.map(Arc::clone),
                    user_properties: trace.into_iter().collect(),
                };
                line.push(PublishOrder { message, payload: payload(&config.payload)? });
            }
            Action::Webhook(template, line) => line.push(WebhookOrder {
                payload: payload(template)?,
                id: decision.id,
                traceparent: cause.traceparent,
            }),
            Action::Log(config, line) => line.push(LogOrder {
                level: config.level,
                message: config.message.as_ref().map(text).transpose()?,
                decision: Arc::clone(decision),
            }),
        }
        Ok(())
    }
}

impl Action {
    fn meter(&self) -> &Meter {
        match self {
            Self::Publish(_, line) => line.meter(),
            Self::Webhook(_, line) => line.meter(),
            Self::Log(_, line) => line.meter(),
        }
    }
}

struct Builder<'a, P> {
    device: &'a Device,
    brokers: &'a BTreeMap<Name, P>,
    queue: usize,
    couriers: Couriers,
    /// Each with the longest age that any of its publishes asks for.
    links: BTreeMap<Name, (Arc<Line<PublishOrder>>, Duration)>,
    log: Option<Arc<Line<LogOrder>>>,
}

impl<'a, P: Publisher + Clone> Builder<'a, P> {
    fn new(device: &'a Device, brokers: &'a BTreeMap<Name, P>, queue: usize) -> Self {
        let (couriers, links) = (Couriers::default(), BTreeMap::new());
        Self { device, brokers, queue, couriers, links, log: None }
    }

    fn action(
        &mut self,
        place: &str,
        index: usize,
        config: &ActionConfig,
    ) -> Result<Action, String> {
        if let Some(label) = config.missing_label(self.device) {
            let known: Vec<_> = self.device.labels.keys().map(String::as_str).collect();
            let known = known.join(", ");
            return Err(format!("the device has no label `{label}`; known are {known}"));
        }
        Ok(match config {
            ActionConfig::Publish(config) => {
                if !self.brokers.contains_key(&config.broker) {
                    let known: Vec<_> = self.brokers.keys().map(Name::as_str).collect();
                    let known = known.join(", ");
                    return Err(format!("no broker `{}`; known are {known}", config.broker));
                }
                let (line, age) = self.links.entry(config.broker.clone()).or_insert_with(|| {
                    (Line::new(format!("publish {}", config.broker), self.queue), Duration::ZERO)
                });
                *age = config.max_age.0.max(*age);
                Action::Publish(Box::new(config.clone()), Arc::clone(line))
            }
            ActionConfig::Webhook(config) => self.webhook(&format!("{place}[{index}]"), config)?,
            ActionConfig::Log(config) => {
                let line = self.log.get_or_insert_with(|| Line::new("log".to_owned(), self.queue));
                Action::Log(config.clone(), Arc::clone(line))
            }
        })
    }

    fn webhook(&mut self, place: &str, config: &WebhookConfig) -> Result<Action, String> {
        let actuator = WebhookActuator::new(config)?;
        let line = Line::new(format!("webhook {place} {}", actuator.url()), self.queue);
        let patience = Patience { retries: config.retries, age: config.max_age.0 };
        self.couriers.add(actuator, &line, patience);
        Ok(Action::Webhook(config.payload.clone(), line))
    }

    fn finish(mut self) -> Couriers {
        for (name, (line, age)) in self.links {
            if let Some(publisher) = self.brokers.get(&name) {
                let patience = Patience { retries: PUBLISH_RETRIES, age };
                self.couriers.add(PublishActuator(publisher.clone()), &line, patience);
            }
        }
        if let Some(line) = self.log {
            let patience = Patience { retries: 0, age: Duration::from_mins(1) };
            self.couriers.add(LogActuator, &line, patience);
        }
        self.couriers
    }
}

#[cfg(test)]
mod tests;
