//! Finding the places in a text.

use std::fmt;

use super::render::breaks_topic;
use super::{MAX_TOPIC, Scope, TemplateError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Word(Word),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    Topic,
    Level(usize),
    Key,
    Device,
    Label(String),
    Pipeline,
    Rule,
    Model,
    Version,
    ClassLabel,
    Score,
    Id,
    At,
}

pub(super) fn parts<S: Scope>(source: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut characters = source.chars().zip(1..).peekable();
    while let Some((character, at)) = characters.next() {
        let doubled = characters.peek().is_some_and(|(next, _)| *next == character);
        match character {
            '{' | '}' if doubled => {
                characters.next();
                literal.push(character);
            }
            '{' => {
                let mut inside = String::new();
                loop {
                    match characters.next() {
                        Some(('}', _)) => break,
                        Some((next, _)) => inside.push(next),
                        None => return Err(TemplateError::Unclosed { at }),
                    }
                }
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Word(word::<S>(&inside, at)?));
            }
            '}' => return Err(TemplateError::Stray { at }),
            found if S::TOPIC && breaks_topic(found) => {
                return Err(TemplateError::NotATopic { found, at });
            }
            other => literal.push(other),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

fn word<S: Scope>(inside: &str, at: usize) -> Result<Word, TemplateError> {
    // Only levels that a topic can have: it is at most 65,535 bytes long.
    let level = |text: &str| text.parse().ok().filter(|n: &usize| *n <= MAX_TOPIC);
    let known = |word: &str| S::WORDS.contains(&word);
    let found = match inside.split_once('.') {
        Some(("topic", text)) if known("topic.N") => level(text).map(Word::Level),
        Some(("device", label)) if known("device.LABEL") && !label.is_empty() => {
            Some(Word::Label(label.to_owned()))
        }
        None if known(inside) => match inside {
            "topic" => Some(Word::Topic),
            "key" => Some(Word::Key),
            "device" => Some(Word::Device),
            "pipeline" => Some(Word::Pipeline),
            "rule" => Some(Word::Rule),
            "model" => Some(Word::Model),
            "version" => Some(Word::Version),
            "label" => Some(Word::ClassLabel),
            "score" => Some(Word::Score),
            "id" => Some(Word::Id),
            "at" => Some(Word::At),
            _ => None,
        },
        _ => None,
    };
    found.ok_or_else(|| TemplateError::Unknown {
        word: inside.chars().take(80).collect(),
        at,
        known: S::WORDS.join(", "),
    })
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Level(level) => return write!(f, "topic.{level}"),
            Self::Label(label) => return write!(f, "device.{label}"),
            Self::Topic => "topic",
            Self::Key => "key",
            Self::Device => "device",
            Self::Pipeline => "pipeline",
            Self::Rule => "rule",
            Self::Model => "model",
            Self::Version => "version",
            Self::ClassLabel => "label",
            Self::Score => "score",
            Self::Id => "id",
            Self::At => "at",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::event::{KeyTemplate, TemplateError, TextTemplate, TopicTemplate};

    #[test]
    fn a_mistake_names_the_place_and_what_is_known() {
        let error = KeyTemplate::parse("é {key}").expect_err("no key yet");
        assert_eq!(
            error.to_string(),
            "unknown `{key}` at character 3; known are topic, topic.N, device, device.LABEL"
        );
        let errors = [
            ("a {topic", "`{` at character 3 is not closed; write `{{` for the brace itself"),
            ("a} b", "`}` at character 2 closes nothing; write `}}` for the brace itself"),
            ("", "empty; write at least one character"),
        ];
        for (source, message) in errors {
            let error = TextTemplate::parse(source).expect_err(source);
            assert_eq!(error.to_string(), message);
        }
        for unknown in ["{}", "{ key }", "{topic.-1}", "{topic.x}", "{topic.99999}", "{device.}"] {
            let error = TextTemplate::parse(unknown).expect_err(unknown);
            assert!(matches!(error, TemplateError::Unknown { at: 1, .. }), "{unknown}: {error}");
        }
    }

    #[test]
    fn a_topic_to_publish_to_holds_no_wildcards() {
        for bad in ["plant/+/{key}", "a/#", "a\0b"] {
            assert!(TopicTemplate::parse(bad).is_err(), "{bad:?}");
        }
        assert!(TextTemplate::parse("a # b").is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_a_mistake(source in "[{}a-z.0-9+é]{0,40}") {
            let _parsed = TextTemplate::parse(&source);
        }

        #[test]
        fn text_with_doubled_braces_is_itself(text in any::<String>()) {
            prop_assume!(!text.is_empty());
            let source = text.replace('{', "{{").replace('}', "}}");
            let parts = super::parts::<crate::event::ForText>(&source).expect("a template");
            prop_assert_eq!(parts, vec![super::Part::Text(text)]);
        }
    }
}
