//! Text with places to fill in: `plant/{key}/alarm`.
//!
//! A place is a word in braces; `{{` and `}}` stand for the braces themselves. What may be named
//! depends on what the text is for: a stream key is made before a model has said anything, so it
//! knows only the topic and the device. Values go in as they are; nothing is escaped.

mod error;
mod parse;
mod render;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use self::error::{RenderError, TemplateError};
use self::parse::{Part, Word, parts};
use super::Device;

/// The longest text that a template may be or become, in bytes.
pub const MAX_TEXT: usize = 64 << 10;

/// The longest topic that MQTT can carry, in bytes.
const MAX_TOPIC: usize = 65_535;

const KEY_WORDS: &[&str] = &["topic", "topic.N", "device", "device.LABEL"];
const ALL_WORDS: &[&str] = &[
    "topic",
    "topic.N",
    "key",
    "device",
    "device.LABEL",
    "pipeline",
    "rule",
    "model",
    "version",
    "label",
    "score",
    "id",
    "at",
];

/// What a template is for, and with that which words it knows.
pub trait Scope: fmt::Debug + Clone + Copy + PartialEq + Eq {
    /// The words that may stand in braces.
    const WORDS: &'static [&'static str];
    /// The outcome names a topic to publish to.
    const TOPIC: bool = false;
}

/// A stream key: made from the topic and the device, before there is a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForKey;

/// A text that an action sends: a payload, a header, a line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForText;

/// A topic that an action publishes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForTopic;

impl Scope for ForKey {
    const WORDS: &'static [&'static str] = KEY_WORDS;
}

impl Scope for ForText {
    const WORDS: &'static [&'static str] = ALL_WORDS;
}

impl Scope for ForTopic {
    const WORDS: &'static [&'static str] = ALL_WORDS;
    const TOPIC: bool = true;
}

/// The template of a pipeline's stream key.
pub type KeyTemplate = Template<ForKey>;
/// The template of a text that an action sends.
pub type TextTemplate = Template<ForText>;
/// The template of a topic that an action publishes to.
pub type TopicTemplate = Template<ForTopic>;

/// A text whose places have been found and checked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template<S: Scope> {
    source: String,
    parts: Vec<Part>,
    scope: PhantomData<S>,
}

impl<S: Scope> Template<S> {
    /// Finds the places in `source` and checks that each is known.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEXT {
            return Err(TemplateError::TooLong(source.len()));
        }
        if source.is_empty() {
            return Err(TemplateError::Empty);
        }
        Ok(Self { source: source.to_owned(), parts: parts::<S>(source)?, scope: PhantomData })
    }

    /// A label that the template asks for and this device does not have; known at load, since the
    /// labels do not change.
    pub fn missing_label(&self, device: &Device) -> Option<&str> {
        self.parts.iter().find_map(|part| match part {
            Part::Word(Word::Label(label)) if !device.labels.contains_key(label) => {
                Some(label.as_str())
            }
            _ => None,
        })
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl<S: Scope> std::str::FromStr for Template<S> {
    type Err = TemplateError;

    fn from_str(source: &str) -> Result<Self, TemplateError> {
        Self::parse(source)
    }
}

impl<S: Scope> TryFrom<String> for Template<S> {
    type Error = TemplateError;

    fn try_from(source: String) -> Result<Self, TemplateError> {
        Self::parse(&source)
    }
}

impl<S: Scope> From<Template<S>> for String {
    fn from(template: Template<S>) -> Self {
        template.source
    }
}

impl<S: Scope> fmt::Debug for Template<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.source)
    }
}

impl<S: Scope> fmt::Display for Template<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl<S: Scope> JsonSchema for Template<S> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_TEXT,
            "x-placeholders": S::WORDS,
        })
    }
}
