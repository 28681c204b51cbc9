//! Durations and sizes that are plain in the code and written `30s` and `8MiB` in the file:
//! `#[serde(with = "human::duration")]`.

/// A [`std::time::Duration`], written like a [`HumanDuration`](crate::event::HumanDuration).
pub mod duration {
    use std::time::Duration;

    use schemars::{JsonSchema, Schema, SchemaGenerator};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::event::HumanDuration;

    /// Writes the duration so that it reads back the same.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        HumanDuration(*value).serialize(serializer)
    }

    /// Reads a duration; the error says how one is written.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        HumanDuration::deserialize(deserializer).map(|duration| duration.0)
    }

    /// The JSON Schema of the written form.
    pub fn schema(generator: &mut SchemaGenerator) -> Schema {
        HumanDuration::json_schema(generator)
    }
}

/// A number of bytes as `usize`, written like a [`ByteSize`](crate::event::ByteSize).
pub mod size {
    use schemars::{JsonSchema, Schema, SchemaGenerator};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::event::ByteSize;

    /// Writes the size so that it reads back the same.
    pub fn serialize<S: Serializer>(value: &usize, serializer: S) -> Result<S::Ok, S::Error> {
        ByteSize(*value).serialize(serializer)
    }

    /// Reads a size; the error says how one is written.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
        ByteSize::deserialize(deserializer).map(|size| size.0)
    }

    /// The JSON Schema of the written form.
    pub fn schema(generator: &mut SchemaGenerator) -> Schema {
        ByteSize::json_schema(generator)
    }
}
