//! What the configuration says about a payload.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{ByteSize, Count, DType};

/// How a payload is turned into numbers or pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DecodeConfig {
    /// A JSON document.
    Json(JsonConfig),
    /// Numbers in binary, nothing else.
    Raw(RawConfig),
    /// Numbers in text, separated by commas, semicolons or white space.
    Text(TextConfig),
    /// A JPEG or PNG picture; the payload itself says which.
    Image(ImageConfig),
}

/// Which numbers of a JSON document are wanted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonConfig {
    /// JSON Pointers (RFC 6901), one a channel: `["/x", "/y", "/z"]`. Each picks a number or an
    /// array of numbers. A single pointer may pick an array of arrays, one inner array an instant.
    /// Empty: every number of the document in order, as one channel.
    pub fields: Vec<String>,
}

/// How binary numbers lie in a payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// The type of each number.
    pub dtype: DType,
    /// Numbers a message, the last dimension being the channels: `[64, 3]` is 64 instants of 3
    /// channels, `[64]` is 64 instants of one. A first dimension of 0 stays open. Empty: one channel
    /// of any length.
    #[serde(default)]
    pub shape: Vec<usize>,
    /// The order of the bytes of a number.
    #[serde(default)]
    pub endian: Endian,
    /// Whether the channels of one instant lie together, or the instants of one channel.
    #[serde(default)]
    pub order: RawOrder,
}

/// The order of the bytes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Endian {
    /// Least significant byte first: x86, ARM, ESP32.
    #[default]
    Little,
    /// Most significant byte first: network order, most PLCs.
    Big,
}

/// The order of numbers of several channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawOrder {
    /// `x0 y0 z0 x1 y1 z1`.
    #[default]
    Interleaved,
    /// `x0 x1 y0 y1 z0 z1`.
    Planar,
}

/// How numbers lie in a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextConfig {
    /// Numbers an instant; instants follow each other.
    #[schemars(range(min = 1, max = 4096))]
    pub channels: usize,
    /// What stands between two numbers.
    pub separator: Separator,
}

/// What stands between two numbers of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Separator {
    /// Any of the others.
    #[default]
    Any,
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// Spaces, tabs, new lines.
    Whitespace,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self { channels: 1, separator: Separator::Any }
    }
}

/// How large a picture may be; checked before any pixel is decoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageConfig {
    /// Larger payloads are refused.
    pub max_bytes: ByteSize,
    /// Pictures of more pixels (width × height) are refused.
    pub max_pixels: Count,
    /// A JPEG of which the model needs no more than half the size is decoded in half the size, at less cost; its
    /// pixels then differ a little from those of the whole picture made smaller.
    pub scaled: bool,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self { max_bytes: ByteSize(8 << 20), max_pixels: Count(12_000_000), scaled: true }
    }
}
