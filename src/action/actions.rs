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
use crate::event::{Decision, Device, Name, RenderError, TextTemplate};
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
    meters: Vec<Arc<Meter>>,
}

/// An action that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("rule `{rule}`, `do[{index}]`: {problem}")]
pub struct ActionError {
    /// The rule.
    pub rule: Name,
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
    /// Builds the actions of a pipeline's rules and the tasks that carry them out. Publishes to one
    /// broker share a queue of `queue` orders and keep their order; each webhook has its own.
    pub fn build<P: Publisher + Clone>(
        rules: &[(Name, Vec<ActionConfig>)],
        device: Arc<Device>,
        brokers: &BTreeMap<Name, P>,
        queue: usize,
    ) -> Result<(Self, Couriers), Vec<ActionError>> {
        let mut builder = Builder::new(&device, brokers, queue);
        let (mut built, mut errors) = (BTreeMap::new(), Vec::new());
        for (rule, configs) in rules {
            let mut actions = Vec::new();
            for (index, config) in configs.iter().enumerate() {
                match builder.action(rule, index, config) {
                    Ok(action) => actions.push(action),
                    Err(problem) => errors.push(ActionError { rule: rule.clone(), index, problem }),
                }
            }
            built.insert(rule.clone(), actions);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let couriers = builder.finish();
        let meters = couriers.meters().to_vec();
        Ok((Self { device, rules: built, meters }, couriers))
    }

    /// Queues what the decision's rule does. Never waits; what cannot be rendered is counted, the
    /// others are queued all the same, and the last error is returned.
    pub fn dispatch(&self, decision: &Arc<Decision>, by: Cause<'_>) -> Result<(), RenderError> {
        let mut outcome = Ok(());
        for action in self.rules.get(&decision.rule).into_iter().flatten() {
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
                let trace = cause.traceparent.map(|t| ("traceparent".to_owned(), t.to_string()));
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
                traceparent: cause.traceparent.map(Arc::clone),
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
        rule: &Name,
        index: usize,
        config: &ActionConfig,
    ) -> Result<Action, String> {
        if let Some(label) = missing_label(config, self.device) {
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
            ActionConfig::Webhook(config) => self.webhook(&format!("{rule}[{index}]"), config)?,
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

/// A device's label that a template asks for in vain.
fn missing_label<'a>(config: &'a ActionConfig, device: &Device) -> Option<&'a str> {
    let (topic, text) = match config {
        ActionConfig::Publish(config) => (Some(&config.topic), config.payload.as_ref()),
        ActionConfig::Webhook(config) => (None, config.payload.as_ref()),
        ActionConfig::Log(config) => (None, config.message.as_ref()),
    };
    let missing = topic.and_then(|topic| topic.missing_label(device));
    missing.or_else(|| text.and_then(|text| text.missing_label(device)))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use uuid::Uuid;

    use super::*;
    use crate::action::Failure;
    use crate::event::{Prediction, StreamKey, Topic};

    /// Keeps what is published; a broker that takes everything.
    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Publish>>>);

    impl Publisher for Kept {
        async fn publish(&self, message: Publish) -> Result<(), Failure> {
            self.0.lock().expect("lock").push(message);
            Ok(())
        }
    }

    fn name(text: &str) -> Name {
        text.parse().expect("name")
    }

    fn decision(rule: &str) -> Arc<Decision> {
        Arc::new(Decision {
            id: Uuid::nil(),
            origin: None,
            pipeline: name("bearing"),
            rule: name(rule),
            stream: StreamKey::new("7"),
            at: "2026-03-01T10:00:00Z".parse().expect("time"),
            prediction: Arc::new(Prediction::Anomaly { score: 2.5 }),
            model: name("bearing"),
            version: 3,
            engine: "tract",
            latency_us: 1,
            redelivered: false,
            amendment: None,
        })
    }

    /// The actions of rule `fault`, as they are written.
    fn build(source: &str) -> Result<(Actions, Couriers, Kept), String> {
        #[derive(serde::Deserialize)]
        struct Rule {
            r#do: Vec<ActionConfig>,
        }
        let rule: Rule = toml::from_str(source).map_err(|error| error.to_string())?;
        let device = Arc::new(Device { id: name("press"), labels: BTreeMap::new() });
        let kept = Kept::default();
        let brokers = BTreeMap::from([(name("local"), kept.clone())]);
        let rules = [(name("fault"), rule.r#do)];
        let (actions, couriers) =
            Actions::build(&rules, device, &brokers, 4).map_err(|errors| {
                errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            })?;
        Ok((actions, couriers, kept))
    }

    #[tokio::test]
    async fn a_decision_is_published_with_what_came_with_its_message() {
        let (actions, couriers, kept) = build(
            r#"do = [
                { publish = { broker = "local", topic = "plant/{key}/alarm", qos = 2, retain = true } },
                { publish = { broker = "local", topic = "a/{topic.1}", payload = "{score} on {device}" } },
                { log = { level = "debug", message = "{rule}" } },
            ]"#,
        )
        .expect("actions");
        let cause = Cause {
            topic: &Topic::new("plant/7"),
            correlation: Some(&Arc::from(*b"\x01\x02")),
            traceparent: Some(&Arc::from("00-ab-cd-01")),
        };
        actions.dispatch(&decision("fault"), cause).expect("rendered");
        actions.dispatch(&decision("another"), cause).expect("nothing to do");
        assert_eq!(couriers.start().drain(Duration::from_secs(5)).await, 0);
        let published = kept.0.lock().expect("lock").clone();
        let [first, second] = &*published else { panic!("{published:?}") };
        assert_eq!(
            (first.topic.as_str(), u8::from(first.qos), first.retain),
            ("plant/7/alarm", 2, true)
        );
        assert_eq!(first.content_type.as_deref(), Some(JSON));
        assert_eq!(first.correlation.as_deref(), Some(&[1, 2][..]));
        assert_eq!(first.user_properties, [("traceparent".to_owned(), "00-ab-cd-01".to_owned())]);
        let json: serde_json::Value = serde_json::from_slice(&first.payload).expect("JSON");
        assert_eq!((&json["rule"], &json["prediction"]["score"]), (&"fault".into(), &2.5.into()));
        assert_eq!((second.topic.as_str(), u8::from(second.qos), second.retain), ("a/7", 1, false));
        assert_eq!((&*second.payload, &second.content_type), (&b"2.5 on press"[..], &None));
        let sent: Vec<_> = actions.counts().into_iter().map(|c| (c.name, c.sent)).collect();
        assert_eq!(sent, [("publish local".to_owned(), 2), ("log".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn what_cannot_be_rendered_is_counted_and_the_rest_is_done() {
        let (actions, couriers, kept) = build(
            r#"do = [
                { publish = { broker = "local", topic = "a/{topic.9}" } },
                { publish = { broker = "local", topic = "a/{topic.0}" } },
            ]"#,
        )
        .expect("actions");
        let topic = Topic::new("plant");
        let cause = Cause { topic: &topic, correlation: None, traceparent: None };
        for _ in 0..6 {
            assert!(actions.dispatch(&decision("fault"), cause).is_err());
        }
        let counts = &actions.counts()[0];
        assert_eq!((counts.unrendered, counts.dropped, counts.waiting), (6, 2, 4));
        assert_eq!(couriers.start().drain(Duration::from_secs(5)).await, 0);
        assert_eq!(kept.0.lock().expect("lock").len(), 4);
    }

    #[test]
    fn a_mistake_says_what_would_be_right() {
        for (source, problem) in [
            (
                r#"{ publish = { broker = "far", topic = "a" } }"#,
                "no broker `far`; known are local",
            ),
            (
                r#"{ publish = { broker = "local", topic = "a/#" } }"#,
                "'#' at character 3 cannot be in",
            ),
            (
                r#"{ publish = { broker = "local", topic = "{kye}" } }"#,
                "unknown `{kye}` at character 1",
            ),
            (r#"{ publish = { broker = "local", topic = "a", qos = 3 } }"#, "use 0, 1 or 2"),
            (
                r#"{ publish = { broker = "local", topic = "a", qoss = 1 } }"#,
                "unknown field `qoss`",
            ),
            (
                r#"{ log = { message = "{device.site}" } }"#,
                "the device has no label `site`; known are",
            ),
            (r#"{ email = { to = "me" } }"#, "unknown variant `email`"),
            (
                r#"{ webhook = { url = "http://example.com/" } }"#,
                "do[0]`: url: http:// to example.com",
            ),
            (
                r#"{ webhook = { url = "https://10.0.0.1/", headers = { "a b" = "c" } } }"#,
                "no header",
            ),
            (
                r#"{ webhook = { url = "https://10.0.0.1/", ca_file = "/none" } }"#,
                "/none: cannot be read",
            ),
        ] {
            let found = build(&format!("do = [{source}]")).map(|_| ()).expect_err(source);
            assert!(found.contains(problem), "{source}: {found}");
        }
    }

    #[test]
    fn the_schema_names_every_action() {
        let schema = serde_json::to_string(&schemars::schema_for!(ActionConfig)).expect("JSON");
        for word in ["publish", "webhook", "log", "token_file", "retain", "x-placeholders"] {
            assert!(schema.contains(word), "{word}: {schema}");
        }
    }
}
