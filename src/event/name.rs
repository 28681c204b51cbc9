//! Names that are safe to put into a path, a topic and a log line.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name of a thing in the configuration: 1 to 64 of `A-Z a-z 0-9 _ . -`, starting with a letter
/// or digit. That is safe as one level of a topic and as one component of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// The name of a model: a directory below the model repository.
pub type ModelName = Name;

/// A text that cannot be a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is no name; use 1 to 64 of A-Z a-z 0-9 _ . - and start with a letter or digit")]
pub struct InvalidName(String);

const PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$";

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name nearest to any text: what does not belong becomes `-`.
    pub fn near(text: &str) -> Self {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let start = text.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let near: String = start.chars().take(64).map(|c| if word(c) { c } else { '-' }).collect();
        Self(if near.is_empty() { "x".into() } else { near.into() })
    }

    /// The name as shared text.
    pub fn to_arc(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let fits = (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(word);
        if fits { Ok(Self(text.into())) } else { Err(InvalidName(text.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.as_str().to_owned()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl JsonSchema for Name {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN })
    }
}

/// Which stream within a pipeline a message belongs to: one machine, one camera. Windows, rule
/// counters and order of decisions are kept per key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StreamKey(Arc<str>);

impl StreamKey {
    /// Any text, as the pipeline's `key` template made it.
    pub fn new(key: &str) -> Self {
        Self(key.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for StreamKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_has_a_name_near_it() {
        for (text, near) in [("eir-1a", "eir-1a"), ("a b/é", "a-b--"), ("--", "x"), (".a", "a")] {
            assert_eq!(Name::near(text).as_str(), near);
            assert_eq!(near.parse(), Ok(Name::near(text)));
        }
    }

    #[test]
    fn a_name_is_safe_in_a_path() {
        for good in ["bearing", "a", "vibration-anomaly", "v1.2_x", "7"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "..", ".hidden", "a/b", "-x", "a b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
