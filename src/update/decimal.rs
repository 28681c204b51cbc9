//! Numbers with a fraction, in metadata that has none.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number, written as an integer where it is whole and otherwise as a text, `"0.5"`: canonical JSON, which is what
/// signatures are made over, has integers alone. Read, it may also be a number as JSON has it.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Decimal(pub f64);

/// Whole numbers up to here are exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < EXACT {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.collect_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = f64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a text with one, as \"0.5\"")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<f64, E> {
                Ok(value)
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<f64, E> {
                Ok(value as f64)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<f64, E> {
                Ok(value as f64)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<f64, E> {
                value.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(value), &self))
            }
        }

        let value = deserializer.deserialize_any(Visitor)?;
        if value.is_finite() {
            Ok(Self(value))
        } else {
            Err(de::Error::custom("a number must be finite"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_a_text_and_comes_back_as_it_was() {
        for (value, text) in [
            (0.5, "\"0.5\""),
            (90.0, "90"),
            (-1.0, "-1"),
            (1e-9, "\"0.000000001\""),
            (0.1, "\"0.1\""),
        ] {
            let written = serde_json::to_string(&Decimal(value)).expect("json");
            assert_eq!(written, text);
            assert_eq!(serde_json::from_str::<Decimal>(&written).expect("read"), Decimal(value));
        }
        assert_eq!(serde_json::from_str::<Decimal>("0.25").expect("read"), Decimal(0.25));
        for text in ["\"NaN\"", "\"inf\"", "\"half\"", "\"\"", "true", "[1]"] {
            serde_json::from_str::<Decimal>(text).expect_err(text);
        }
    }
}
