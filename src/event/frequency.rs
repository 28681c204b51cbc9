//! How often something may happen, as a person writes it: `10/s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The most that a frequency counts.
const MOST: u32 = 1_000_000;

/// The units of time that a frequency may be in.
const UNITS: [(&str, u64); 3] = [("s", 1), ("min", 60), ("h", 3600)];

/// So many times a second, minute or hour, at least once: `10/s`, `30/min`, `100/h`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Frequency {
    count: u32,
    seconds: u64,
}

impl Frequency {
    /// So many times a second, from 1 to 1,000,000.
    pub const fn per_second(count: u32) -> Self {
        let count = if count == 0 { 1 } else { count };
        Self { count: if count > MOST { MOST } else { count }, seconds: 1 }
    }

    /// How many times.
    pub const fn count(self) -> u32 {
        self.count
    }

    /// In what time.
    pub const fn per(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

impl FromStr for Frequency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (count, unit) = text.split_once('/')?;
            let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit.trim())?;
            let count = count.trim().parse().ok().filter(|count| (1..=MOST).contains(count))?;
            Some(Self { count, seconds })
        };
        read().ok_or_else(|| {
            format!("`{text}` is no frequency; write it like \"10/s\", \"30/min\" or \"100/h\"")
        })
    }
}

impl fmt::Display for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.into_iter().find(|(_, seconds)| *seconds == self.seconds);
        write!(f, "{}/{}", self.count, unit.map_or("s", |(name, _)| name))
    }
}

impl fmt::Debug for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Frequency {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Frequency> for String {
    fn from(frequency: Frequency) -> Self {
        frequency.to_string()
    }
}

impl JsonSchema for Frequency {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Frequency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]+\s*/\s*(s|min|h)\s*$",
            "examples": ["10/s", "30/min"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_what_is_wrong_says_what_would_be_right() {
        for text in ["10/s", "30/min", "100/h"] {
            let frequency: Frequency = text.parse().expect(text);
            assert_eq!(frequency.to_string(), text);
        }
        let spaced: Frequency = " 30 / min ".parse().expect("spaces");
        assert_eq!((spaced.count(), spaced.per()), (30, Duration::from_mins(1)));
        for wrong in ["", "10", "0/s", "10/d", "x/s", "-1/s", "1000001/s", "1.5/s"] {
            let error = wrong.parse::<Frequency>().expect_err(wrong);
            assert!(error.contains("10/s"), "{error}");
        }
    }
}
