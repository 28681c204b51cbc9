//! Durations and sizes in the configuration of the rooms that do not know `event`, written `30s` and
//! `8MiB` in the file, plain in the code: `#[serde(with = "human::duration")]`.

/// A [`std::time::Duration`], written `250ms`, `30s`, `1h 30m`.
pub mod duration {
    use std::time::Duration;

    use schemars::{Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the duration so that it reads back the same.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    /// Reads a duration; the error says how one is written.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(|_| {
            D::Error::custom(format!("`{text}` is no duration; write it like \"250ms\" or \"30s\""))
        })
    }

    /// The JSON Schema of the written form.
    pub fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*([0-9]+\s*[a-zA-Z]+\s*)+$|^0$",
            "examples": ["250ms", "30s", "1h 30m"],
        })
    }
}

/// A number of bytes as `usize`, written `512`, `64KiB`, `8MiB`.
pub mod size {
    use schemars::{Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the size so that it reads back the same.
    pub fn serialize<S: Serializer>(value: &usize, serializer: S) -> Result<S::Ok, S::Error> {
        match *value {
            n if n != 0 && n.is_multiple_of(1 << 20) => {
                serializer.collect_str(&format_args!("{}MiB", n >> 20))
            }
            n if n != 0 && n.is_multiple_of(1 << 10) => {
                serializer.collect_str(&format_args!("{}KiB", n >> 10))
            }
            n => serializer.collect_str(&format_args!("{n}B")),
        }
    }

    /// Reads a size; the error says how one is written.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<bytesize::ByteSize>()
            .ok()
            .and_then(|size| usize::try_from(size.as_u64()).ok())
            .ok_or_else(|| {
                D::Error::custom(format!(
                    "`{text}` is no size; write it like \"64KiB\" or \"8MiB\""
                ))
            })
    }

    /// The JSON Schema of the written form.
    pub fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtT]i?)?[bB]?\s*$",
            "examples": ["64KiB", "8MiB"],
        })
    }
}
