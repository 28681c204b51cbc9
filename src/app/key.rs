//! Which stream a message belongs to.

use crate::event::{Device, KeyTemplate, RenderError, StreamKey, Topic, Topics};

/// Makes stream keys of topics.
#[derive(Debug)]
pub(super) struct Keyer {
    way: Way,
    known: Topics<StreamKey>,
}

#[derive(Debug)]
enum Way {
    /// What a template makes of it.
    Template(KeyTemplate),
    /// What the wildcards of the subscription matched, joined by `/`; the whole topic without any.
    Captures(String),
}

impl Keyer {
    /// By a template.
    pub(super) fn of(template: KeyTemplate) -> Self {
        Self { way: Way::Template(template), known: Topics::default() }
    }

    /// The template, or the captures of the topic filter (without any `$share/<group>/`).
    pub(super) fn new(template: Option<&KeyTemplate>, filter: &str) -> Self {
        let way = match template {
            Some(template) => Way::Template(template.clone()),
            None => Way::Captures(filter.to_owned()),
        };
        Self { way, known: Topics::default() }
    }

    /// The device is always the same.
    pub(super) fn key(&mut self, topic: &Topic, device: &Device) -> Result<StreamKey, RenderError> {
        let way = &self.way;
        let make = |topic: &Topic| match way {
            Way::Template(template) => Ok(StreamKey::new(&template.render(topic, device)?)),
            Way::Captures(filter) => Ok(captures(filter, topic)),
        };
        Ok(self.known.get(topic.as_str(), make)?.1)
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
