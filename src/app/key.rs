//! Which stream a message belongs to.

use crate::event::{Device, KeyTemplate, RenderError, StreamKey, Topic};

/// Makes stream keys of topics.
#[derive(Debug)]
pub(super) enum Keyer {
    /// What a template makes of it.
    Template(KeyTemplate),
    /// What the wildcards of the subscription matched, joined by `/`; the whole topic without any.
    Captures(String),
}

impl Keyer {
    /// The template, or the captures of the topic filter (without any `$share/<group>/`).
    pub(super) fn new(template: Option<&KeyTemplate>, filter: &str) -> Self {
        match template {
            Some(template) => Self::Template(template.clone()),
            None => Self::Captures(filter.to_owned()),
        }
    }

    pub(super) fn key(&self, topic: &Topic, device: &Device) -> Result<StreamKey, RenderError> {
        match self {
            Self::Template(template) => Ok(StreamKey::new(&template.render(topic, device)?)),
            Self::Captures(filter) => Ok(captures(filter, topic)),
        }
    }
}

fn captures(filter: &str, topic: &Topic) -> StreamKey {
    let mut levels = topic.levels();
    let mut captured: Vec<&str> = Vec::new();
    for wanted in filter.split('/') {
        match wanted {
            "+" => captured.extend(levels.next()),
            "#" => captured.extend(&mut levels),
            _ => {
                levels.next();
            }
        }
    }
    if captured.is_empty() {
        StreamKey::new(topic.as_str())
    } else {
        StreamKey::new(&captured.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wildcards_name_the_stream() {
        let key = |filter, topic| captures(filter, &Topic::new(topic)).to_string();
        assert_eq!(key("camera/+/jpeg", "camera/3/jpeg"), "3");
        assert_eq!(key("+/line/#", "lyon/line/3/x"), "lyon/3/x");
        assert_eq!(key("a/b", "a/b"), "a/b");
        assert_eq!(key("a/#", "a"), "a");
    }
}
