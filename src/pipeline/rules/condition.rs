//! When a rule fires, as the configuration says it.

use std::hash::{DefaultHasher, Hash, Hasher};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{HumanDuration, Name};

/// When a rule fires and when it is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// CEL: what must be true for the rule to fire.
    pub when: String,
    /// CEL: what releases a rule that has fired; by default that `when` (with `hits`) is not met.
    pub until: Option<String>,
    /// How many of the last evaluations must have met `when`.
    pub hits: Hits,
    /// How long it must stay met before the rule fires; seen at the next evaluation, there is no timer.
    pub hold: HumanDuration,
    /// The least time from one firing in a stream to the next.
    pub cooldown: HumanDuration,
}

impl Condition {
    /// Fires at once whenever `when` becomes true.
    pub fn new(when: &str) -> Self {
        Self {
            when: when.to_owned(),
            until: None,
            hits: Hits::default(),
            hold: HumanDuration::from_secs(0),
            cooldown: HumanDuration::from_secs(0),
        }
    }

    /// Tells whether a rule is still the same after a reload, so that its state is kept.
    pub(super) fn fingerprint(&self, rule: &Name) -> u64 {
        let mut hasher = DefaultHasher::new();
        rule.as_str().hash(&mut hasher);
        (&self.when, &self.until, self.hits).hash(&mut hasher);
        (self.hold.0, self.cooldown.0).hash(&mut hasher);
        hasher.finish()
    }
}

/// `{ count = 3, of = 5 }`: met in 3 of the last 5 evaluations of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "HitsText", into = "HitsText")]
pub struct Hits {
    count: u8,
    of: u8,
}

/// Hits as they are written.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Hits")]
struct HitsText {
    /// How many evaluations must have met `when`; 1 to `of`.
    #[schemars(range(min = 1, max = 64))]
    count: u8,
    /// Of how many; 1 to 64.
    #[schemars(range(min = 1, max = 64))]
    of: u8,
}

impl Hits {
    /// `count` of the last `of`; 1 ≤ `count` ≤ `of` ≤ 64.
    pub fn new(count: u8, of: u8) -> Result<Self, String> {
        if (1..=of).contains(&count) && of <= 64 {
            Ok(Self { count, of })
        } else {
            Err(format!("{count} of {of} hits; write 1 <= count <= of <= 64"))
        }
    }

    pub(super) const fn count(self) -> u8 {
        self.count
    }

    pub(super) const fn of(self) -> u8 {
        self.of
    }
}

impl Default for Hits {
    fn default() -> Self {
        Self { count: 1, of: 1 }
    }
}

impl TryFrom<HitsText> for Hits {
    type Error = String;

    fn try_from(text: HitsText) -> Result<Self, String> {
        Self::new(text.count, text.of)
    }
}

impl From<Hits> for HitsText {
    fn from(hits: Hits) -> Self {
        Self { count: hits.count, of: hits.of }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_that_can_never_be_reached_are_refused() {
        let read = |text: &str| toml::from_str::<Hits>(text).map_err(|error| error.to_string());
        assert_eq!(read("count = 3\nof = 5"), Ok(Hits { count: 3, of: 5 }));
        for bad in ["count = 0\nof = 5", "count = 6\nof = 5", "count = 1\nof = 65", "of = 1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let error = read("count = 6\nof = 5").expect_err("too many");
        assert!(error.contains("write 1 <= count <= of <= 64"), "{error}");
    }
}
