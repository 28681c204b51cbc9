//! Topic filters, checked and matched as MQTT 5.0 §4.7 and §4.8.2 say.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A topic filter that a broker accepts: `plant/+/vibration`, `camera/#`, `$share/group/plant/#`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicFilter {
    whole: Arc<str>,
    /// Where the filter proper begins, behind `$share/group/`.
    start: usize,
    id: u32,
}

/// A text that cannot be a [`TopicFilter`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{filter}` is no topic filter: {reason}")]
pub struct InvalidFilter {
    filter: String,
    reason: &'static str,
}

impl TopicFilter {
    /// As the broker is asked for it.
    pub fn as_str(&self) -> &str {
        &self.whole
    }

    /// The group of a shared subscription.
    pub fn group(&self) -> Option<&str> {
        self.whole.strip_prefix("$share/")?.split_once('/').map(|(group, _)| group)
    }

    /// Without `$share/group/`: what topics are matched against.
    pub fn pattern(&self) -> &str {
        self.whole.get(self.start..).unwrap_or_default()
    }

    /// The MQTT 5 subscription identifier that links give this filter, 1 to 268,435,455: a hash
    /// (FNV-1a), so that it means the same after a restart within one session.
    pub const fn subscription_id(&self) -> u32 {
        self.id
    }

    /// Whether messages on `topic` are wanted. A wildcard at the beginning does not match topics
    /// that begin with `$`.
    pub fn matches(&self, topic: &str) -> bool {
        let pattern = self.pattern();
        if topic.is_empty() || (topic.starts_with('$') && pattern.starts_with(['+', '#'])) {
            return false;
        }
        let mut levels = levels(topic);
        for wanted in self::levels(pattern) {
            match (wanted, levels.next()) {
                (b"#", _) => return true,
                (b"+", Some(_)) => {}
                (literal, Some(level)) if literal == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

/// What stands between the slashes. Byte by byte: for levels as short as these a search costs more.
fn levels(text: &str) -> impl Iterator<Item = &[u8]> {
    text.as_bytes().split(|byte| *byte == b'/')
}

fn subscription_id(filter: &str) -> u32 {
    const LARGEST: u32 = 268_435_455;
    let mix = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    filter.bytes().fold(0x811c_9dc5, mix) % LARGEST + 1
}

impl FromStr for TopicFilter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        let fail = |reason| Err(InvalidFilter { filter: text.chars().take(80).collect(), reason });
        let start = match text.strip_prefix("$share/") {
            None if text == "$share" => return fail("write $share/group/filter"),
            None => 0,
            Some(rest) => match rest.split_once('/') {
                Some((group, _)) if group.is_empty() || group.contains(['+', '#']) => {
                    return fail("the group of a $share must be a plain word");
                }
                Some((group, _)) => "$share/".len() + group.len() + 1,
                None => return fail("write $share/group/filter"),
            },
        };
        let pattern = text.get(start..).unwrap_or_default();
        if pattern.is_empty() {
            return fail("it is empty");
        }
        if text.len() > usize::from(u16::MAX) || pattern.split('/').count() > 128 {
            return fail("it is too long");
        }
        if text.contains('\0') {
            return fail("it holds a zero character");
        }
        let last = pattern.split('/').count() - 1;
        for (index, level) in pattern.split('/').enumerate() {
            if level.contains('#') && (level != "#" || index != last) {
                return fail("# must stand alone, at the end");
            }
            if level.contains('+') && level != "+" {
                return fail("+ must stand alone between slashes");
            }
        }
        Ok(Self { whole: text.into(), start, id: subscription_id(text) })
    }
}

impl TryFrom<String> for TopicFilter {
    type Error = InvalidFilter;

    fn try_from(text: String) -> Result<Self, InvalidFilter> {
        text.parse()
    }
}

impl From<TopicFilter> for String {
    fn from(filter: TopicFilter) -> Self {
        filter.as_str().to_owned()
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.whole)
    }
}

impl JsonSchema for TopicFilter {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TopicFilter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "examples": ["plant/+/vibration"] })
    }
}

/// Whether a message can be published on `topic`: not empty, no wildcards, at most 65,535 bytes.
pub fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && u16::try_from(topic.len()).is_ok() && !topic.contains(['+', '#', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(text: &str) -> TopicFilter {
        text.parse().expect(text)
    }

    #[test]
    fn the_examples_of_the_specification() {
        for (pattern, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/#", "sports", false),
            ("#", "a/b/c", true),
            ("#", "$SYS/x", false),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("a/b", "a/b/", false),
            ("a//b", "a//b", true),
            ("$share/g/plant/+/v", "plant/7/v", true),
            ("$share/g/#", "$SYS/x", false),
            ("$share/g//x", "/x", true),
        ] {
            assert_eq!(filter(pattern).matches(topic), expected, "{pattern} on {topic}");
        }
        assert_eq!(filter("$share/g/a/#").group(), Some("g"));
        assert_eq!(filter("a/#").group(), None);
    }

    #[test]
    fn what_a_broker_would_refuse_is_refused() {
        for bad in [
            "",
            "a/#/b",
            "a#",
            "#a",
            "a+",
            "+a/b",
            "a/++",
            "$share",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/g+/a",
            "a\0b",
            &"x".repeat(70_000),
            &"/".repeat(200),
        ] {
            assert!(bad.parse::<TopicFilter>().is_err(), "{bad:.20}");
        }
    }

    proptest! {
        #[test]
        fn a_topic_matches_itself_its_parent_and_its_mask(
            levels in prop::collection::vec("[a-z]{0,3}", 1..6), at in 0_usize..6
        ) {
            let topic = levels.join("/");
            prop_assume!(!topic.is_empty());
            prop_assert!(filter(&topic).matches(&topic));
            let at = at % levels.len();
            let mut masked = levels.clone();
            masked[at] = "+".to_owned();
            prop_assert!(filter(&masked.join("/")).matches(&topic));
            masked.truncate(at);
            masked.push("#".to_owned());
            prop_assert!(filter(&masked.join("/")).matches(&topic));
        }

        #[test]
        fn no_text_panics(pattern in "\\PC{0,20}", topic in "\\PC{0,20}") {
            if let Ok(filter) = pattern.parse::<TopicFilter>() {
                let _ = filter.matches(&topic);
            }
        }
    }
}
