//! What can be wrong with a template, and with a message that it is filled in for.

use thiserror::Error;

use super::MAX_TEXT;

/// A text that is no template. Positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// The word in braces is not known here.
    #[error("unknown `{{{word}}}` at character {at}; known are {known}")]
    Unknown {
        /// What stands in the braces.
        word: String,
        /// Where the brace opens.
        at: usize,
        /// What could stand there.
        known: String,
    },
    /// A brace is opened and not closed.
    #[error("`{{` at character {at} is not closed; write `{{{{` for the brace itself")]
    Unclosed {
        /// Where it opens.
        at: usize,
    },
    /// A brace is closed and was not opened.
    #[error("`}}` at character {at} closes nothing; write `}}}}` for the brace itself")]
    Stray {
        /// Where it closes.
        at: usize,
    },
    /// A topic to publish to cannot hold this character.
    #[error("{found:?} at character {at} cannot be in a topic to publish to")]
    NotATopic {
        /// The character.
        found: char,
        /// Where it stands.
        at: usize,
    },
    /// Nothing is there.
    #[error("empty; write at least one character")]
    Empty,
    /// It is too long to be meant.
    #[error("{0} bytes long; at most {MAX_TEXT} are allowed")]
    TooLong(usize),
}

/// A template that could not be filled in for one message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    /// The topic has fewer levels than the template asks for.
    #[error("topic `{topic}` has no level {level}")]
    NoLevel {
        /// The topic as it came.
        topic: String,
        /// The level that is missing, from 0.
        level: usize,
    },
    /// The device has no such label.
    #[error("the device has no label `{0}`")]
    NoDeviceLabel(String),
    /// The prediction has no such value.
    #[error("`{{{0}}}` has no value in this prediction")]
    NoValue(&'static str),
    /// A value would change the meaning of the topic.
    #[error("`{{{word}}}` is {value:?}, which cannot be in a topic to publish to")]
    NotATopic {
        /// The place.
        word: String,
        /// What would have stood there.
        value: String,
    },
    /// The outcome is over the limit.
    #[error("the text grows over {0} bytes")]
    TooLong(usize),
}
