//! Filling in the places for one message.

use std::fmt::{self, Write};

use super::parse::{Part, Word};
use super::{ForKey, ForText, ForTopic, MAX_TEXT, MAX_TOPIC, RenderError, Scope, Template};
use crate::event::{Decision, Device, Prediction, Topic};

impl Template<ForKey> {
    /// The stream key of a message.
    pub fn render(&self, topic: &Topic, device: &Device) -> Result<String, RenderError> {
        self.fill(&Values { topic, device, decision: None })
    }
}

impl Template<ForText> {
    /// The text for a decision.
    pub fn render(
        &self,
        topic: &Topic,
        device: &Device,
        decision: &Decision,
    ) -> Result<String, RenderError> {
        self.fill(&Values { topic, device, decision: Some(decision) })
    }
}

impl Template<ForTopic> {
    /// The topic for a decision. A value that holds a wildcard or a control character, is empty, or
    /// would turn the topic into one of the broker's own (`$SYS/…`), is an error.
    pub fn render(
        &self,
        topic: &Topic,
        device: &Device,
        decision: &Decision,
    ) -> Result<String, RenderError> {
        self.fill(&Values { topic, device, decision: Some(decision) })
    }
}

impl<S: Scope> Template<S> {
    fn fill(&self, values: &Values<'_>) -> Result<String, RenderError> {
        let most = if S::TOPIC { MAX_TOPIC } else { MAX_TEXT };
        let mut text = Bounded { text: String::with_capacity(self.source.len() + 32), most };
        for part in &self.parts {
            let start = text.text.len();
            let written = match part {
                Part::Text(literal) => text.write_str(literal),
                Part::Word(word) => values.write(word, &mut text)?,
            };
            written.map_err(|fmt::Error| RenderError::TooLong(most))?;
            let value = text.text.get(start..).unwrap_or_default();
            if let Part::Word(word) = part
                && S::TOPIC
                && (value.is_empty() || value.contains(breaks_topic) || is_system(start, value))
            {
                let value = value.chars().take(80).collect();
                return Err(RenderError::NotATopic { word: word.to_string(), value });
            }
        }
        Ok(text.text)
    }
}

/// Some brokers hang up on control characters, and a wildcard would publish to nobody.
pub(super) fn breaks_topic(found: char) -> bool {
    matches!(found, '+' | '#') || found.is_control()
}

fn is_system(start: usize, value: &str) -> bool {
    start == 0 && value.starts_with('$')
}

/// A text that refuses to grow over its limit.
struct Bounded {
    text: String,
    most: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if self.text.len() + more.len() > self.most {
            return Err(fmt::Error);
        }
        self.text.push_str(more);
        Ok(())
    }
}

/// Where the words get their values.
struct Values<'a> {
    topic: &'a Topic,
    device: &'a Device,
    decision: Option<&'a Decision>,
}

impl Values<'_> {
    /// The inner result is an error where `to` is full.
    fn write(&self, word: &Word, to: &mut Bounded) -> Result<fmt::Result, RenderError> {
        Ok(match word {
            Word::Topic => to.write_str(self.topic.as_str()),
            Word::Level(level) => to.write_str(self.topic.level(*level).ok_or_else(|| {
                let topic = self.topic.as_str().chars().take(200).collect();
                RenderError::NoLevel { topic, level: *level }
            })?),
            Word::Device => to.write_str(self.device.id.as_str()),
            Word::Label(label) => to.write_str(
                self.device
                    .labels
                    .get(label)
                    .ok_or_else(|| RenderError::NoDeviceLabel(label.clone()))?,
            ),
            Word::Key => to.write_str(self.decision("key")?.stream.as_str()),
            Word::Pipeline => to.write_str(self.decision("pipeline")?.pipeline.as_str()),
            Word::Rule => to.write_str(self.decision("rule")?.rule.as_str()),
            Word::Model => to.write_str(self.decision("model")?.model.as_str()),
            Word::Version => write!(to, "{}", self.decision("version")?.version),
            Word::Id => write!(to, "{}", self.decision("id")?.id),
            Word::At => write!(to, "{}", self.decision("at")?.at),
            Word::ClassLabel => to.write_str(
                label(&self.decision("label")?.prediction).ok_or(RenderError::NoValue("label"))?,
            ),
            Word::Score => {
                let score = score(&self.decision("score")?.prediction);
                write!(to, "{}", score.ok_or(RenderError::NoValue("score"))?)
            }
        })
    }

    fn decision(&self, word: &'static str) -> Result<&Decision, RenderError> {
        self.decision.ok_or(RenderError::NoValue(word))
    }
}

/// The class of a prediction; of several objects the best.
fn label(prediction: &Prediction) -> Option<&str> {
    match prediction {
        Prediction::Classification { label, .. } => Some(label),
        Prediction::Detection { detections } => detections.first().map(|best| &*best.label),
        _ => None,
    }
}

/// The score of a prediction; of several objects the best.
fn score(prediction: &Prediction) -> Option<f32> {
    match prediction {
        Prediction::Classification { score, .. } | Prediction::Anomaly { score } => Some(*score),
        Prediction::Detection { detections } => detections.first().map(|best| best.score),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::event::{KeyTemplate, StreamKey, TextTemplate, TopicTemplate};

    fn device() -> Device {
        Device {
            id: "press-07".parse().expect("name"),
            labels: [("site".to_owned(), "lyon".to_owned())].into(),
        }
    }

    fn decision(key: &str) -> Decision {
        Decision {
            id: Uuid::nil(),
            origin: None,
            pipeline: "bearing".parse().expect("name"),
            rule: "fault".parse().expect("name"),
            stream: StreamKey::new(key),
            at: "2026-03-01T10:00:00Z".parse().expect("time"),
            prediction: Arc::new(Prediction::Classification {
                label: "inner".into(),
                score: 0.75,
                scores: vec![],
            }),
            model: "bearing".parse().expect("name"),
            version: 3,
            engine: "tract",
            latency_us: 1,
            redelivered: false,
            amendment: None,
        }
    }

    #[test]
    fn every_word_is_filled_in() {
        let source = "{topic} {topic.1} {key} {device} {device.site} {pipeline} {rule} {model} \
                      {version} {label} {score} {id} {at} {{}}";
        let text = TextTemplate::parse(source).expect("template").render(
            &Topic::new("plant/7/vibration"),
            &device(),
            &decision("7"),
        );
        assert_eq!(
            text.as_deref(),
            Ok("plant/7/vibration 7 7 press-07 lyon bearing fault bearing 3 inner 0.75 \
                00000000-0000-0000-0000-000000000000 2026-03-01T10:00:00Z {}")
        );
    }

    #[test]
    fn a_missing_value_is_named() {
        let topic = Topic::new("a/b");
        let key = |source: &str| {
            let template = KeyTemplate::parse(source).expect("template");
            template.render(&topic, &device()).map_err(|error| error.to_string())
        };
        assert_eq!(key("{topic.5}"), Err("topic `a/b` has no level 5".to_owned()));
        assert_eq!(key("{device.line}"), Err("the device has no label `line`".to_owned()));
        assert_eq!(key("{topic.1}@{device}"), Ok("b@press-07".to_owned()));

        let mut decision = decision("7");
        decision.prediction = Arc::new(Prediction::Detection { detections: vec![] });
        let error = TextTemplate::parse("{label}")
            .expect("template")
            .render(&topic, &device(), &decision)
            .expect_err("no object");
        assert_eq!(error.to_string(), "`{label}` has no value in this prediction");
    }

    #[test]
    fn a_value_cannot_smuggle_a_wildcard_into_a_topic() {
        let template = TopicTemplate::parse("alarm/{key}").expect("template");
        let topic = |key: &str| template.render(&Topic::new("a"), &device(), &decision(key));
        assert_eq!(topic("a/b").as_deref(), Ok("alarm/a/b"));
        for bad in ["", "+", "a/#", "a\0", "a\n"] {
            let error = topic(bad).expect_err(bad);
            assert!(matches!(error, RenderError::NotATopic { .. }), "{error}");
        }
        let bare = TopicTemplate::parse("{key}/x").expect("template");
        assert!(bare.render(&Topic::new("a"), &device(), &decision("$SYS")).is_err());
    }

    #[test]
    fn a_text_stops_growing_at_its_limit() {
        let template = TextTemplate::parse(&"{key}".repeat(100)).expect("template");
        let long = decision(&"x".repeat(1000));
        let error = template.render(&Topic::new("a"), &device(), &long).expect_err("too long");
        assert_eq!(error, RenderError::TooLong(MAX_TEXT));
    }

    proptest! {
        #[test]
        fn a_rendered_topic_can_be_published_to(key in any::<String>(), topic in any::<String>()) {
            let template = TopicTemplate::parse("{key}/{topic.1}/x").expect("template");
            if let Ok(text) = template.render(&Topic::new(&topic), &device(), &decision(&key)) {
                prop_assert!(!text.contains(['+', '#', '\0']));
                prop_assert!(!text.starts_with(['/', '$']) || key.starts_with('/'));
                prop_assert!(text.len() <= MAX_TOPIC);
            }
        }
    }
}
