//! Sizes, counts and durations as a person writes them: `64KiB`, `12M`, `250ms`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A number of bytes, written `512`, `64KiB`, `256MB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(pub usize);

/// A number of things, written `800`, `64k`, `12M`, `1.5G` (powers of ten).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Count(pub u64);

/// A duration, written `250ms`, `30s`, `1h 30m`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    /// That many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// That many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<bytesize::ByteSize>()
            .ok()
            .and_then(|size| usize::try_from(size.as_u64()).ok())
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no size; write it like \"64KiB\" or \"12MB\""))
    }
}

/// The letters that multiply a [`Count`], largest first.
const COUNT_UNITS: [(&str, u64); 3] = [("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)];

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = COUNT_UNITS.iter().find_map(|(unit, factor)| {
            let upper = unit.to_ascii_uppercase();
            let digits = text.trim().strip_suffix(unit).or(text.trim().strip_suffix(&*upper))?;
            Some((digits, *factor))
        });
        let (digits, factor) = unit.unwrap_or((text.trim(), 1));
        decimal(digits.trim_end(), factor).map(Self).ok_or_else(|| {
            format!("`{text}` is no count; write it like \"800\", \"64k\" or \"12M\"")
        })
    }
}

/// `digits` × `factor` without rounding; `None` where that is no whole number or too large.
fn decimal(digits: &str, factor: u64) -> Option<u64> {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let only_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !only_digits(whole) || !only_digits(part) || digits.ends_with('.') {
        return None;
    }
    let part = part.trim_end_matches('0');
    let ten = 10_u64.checked_pow(u32::try_from(part.len()).ok()?)?;
    let extra = if part.is_empty() { 0 } else { part.parse::<u64>().ok()?.checked_mul(factor)? };
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    if extra.is_multiple_of(ten) { whole.checked_add(extra / ten) } else { None }
}

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| format!("`{text}` is no duration; write it like \"250ms\" or \"30s\""))
    }
}

impl TryFrom<String> for ByteSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Count {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

impl From<Count> for String {
    fn from(count: Count) -> Self {
        count.to_string()
    }
}

impl From<HumanDuration> for String {
    fn from(duration: HumanDuration) -> Self {
        duration.to_string()
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Exact: a size that is shown can be read back.
        match self.0 {
            n if n != 0 && n.is_multiple_of(1 << 20) => write!(f, "{}MiB", n >> 20),
            n if n != 0 && n.is_multiple_of(1 << 10) => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}B"),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = COUNT_UNITS.iter().find(|(_, n)| self.0 != 0 && self.0.is_multiple_of(*n));
        match fits {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtT]i?)?[bB]?\s*$",
            "examples": ["64KiB", "12MB"],
        })
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*[kKMG]?\s*$",
            "examples": ["800", "12M"],
        })
    }
}

impl JsonSchema for HumanDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*([0-9]+\s*[a-zA-Z]+\s*)+$|^0$",
            "examples": ["250ms", "30s", "1h 30m"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_survive_a_round_trip() {
        for (text, bytes) in
            [("64KiB", 65_536), ("12MB", 12_000_000), ("1500", 1500), ("2MiB", 2 << 20)]
        {
            let size: ByteSize = text.parse().expect(text);
            assert_eq!(size.0, bytes);
            assert_eq!(size.to_string().parse(), Ok(size));
        }
    }

    #[test]
    fn counts_survive_a_round_trip() {
        for (text, count) in
            [("0", 0), ("800", 800), ("64k", 64_000), ("12M", 12_000_000), ("1.5 M", 1_500_000)]
        {
            let parsed: Count = text.parse().expect(text);
            assert_eq!(parsed.0, count);
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
        for bad in ["", "M", "-1", "1.0005k", "12m", "1.", "1e6", "99999999999G"] {
            assert!(bad.parse::<Count>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_size_or_duration_says_what_would_be() {
        let error = "many".parse::<ByteSize>().expect_err("not a size");
        assert!(error.contains("64KiB"), "{error}");
        let error = "5 parsecs".parse::<HumanDuration>().expect_err("not a duration");
        assert!(error.contains("250ms"), "{error}");
    }
}
