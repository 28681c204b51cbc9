//! `{topic.9}` of topics that have three levels.

use std::sync::Arc;

use crate::action::ActionConfig;
use crate::event::{
    Decision, Device, KeyTemplate, Name, Prediction, RenderError, StreamKey, Topic,
};
use crate::mqtt::TopicFilter;

/// The levels that every topic of a filter has.
pub(super) struct Levels {
    pattern: String,
    /// One of the topics.
    topic: Topic,
}

impl Levels {
    /// `None`: the topics differ in it.
    pub(super) fn of(filter: &TopicFilter) -> Option<Self> {
        let pattern = filter.pattern();
        let sample = pattern.replace('+', "x");
        (!pattern.ends_with('#'))
            .then(|| Self { pattern: pattern.to_owned(), topic: Topic::new(&sample) })
    }

    /// A level that a key asks for and no topic has.
    pub(super) fn missing_in_key(&self, template: &KeyTemplate) -> Option<String> {
        self.complaint(template.render(&self.topic, &device()).err().as_ref())
    }

    /// A level that one of an action's templates asks for and no topic has.
    pub(super) fn missing_in_action(&self, action: &ActionConfig) -> Option<String> {
        let (device, decision) = (device(), decision());
        let (topic, text) = match action {
            ActionConfig::Publish(publish) => (Some(&publish.topic), publish.payload.as_ref()),
            ActionConfig::Webhook(webhook) => (None, webhook.payload.as_ref()),
            ActionConfig::Log(log) => (None, log.message.as_ref()),
        };
        let topic = topic.and_then(|topic| topic.render(&self.topic, &device, &decision).err());
        let text = text.and_then(|text| text.render(&self.topic, &device, &decision).err());
        self.complaint(topic.as_ref()).or_else(|| self.complaint(text.as_ref()))
    }

    /// Other errors depend on the message.
    fn complaint(&self, error: Option<&RenderError>) -> Option<String> {
        let Some(RenderError::NoLevel { level, .. }) = error else { return None };
        let last = self.topic.levels().count().saturating_sub(1);
        let pattern = &self.pattern;
        Some(format!(
            "there is no `{{topic.{level}}}` in topics of `{pattern}`; the levels are 0 to {last}"
        ))
    }
}

fn device() -> Device {
    Device { id: Name::near("device"), labels: std::collections::BTreeMap::new() }
}

fn decision() -> Decision {
    Decision {
        id: uuid::Uuid::nil(),
        origin: None,
        pipeline: Name::near("pipeline"),
        rule: Name::near("rule"),
        stream: StreamKey::new("key"),
        at: jiff::Timestamp::UNIX_EPOCH,
        prediction: Arc::new(Prediction::Classification {
            label: "label".into(),
            score: 0.0,
            scores: Vec::new(),
        }),
        model: Name::near("model"),
        version: 1,
        engine: "",
        latency_us: 0,
        redelivered: false,
        amendment: None,
    }
}
