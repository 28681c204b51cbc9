//! Why a payload could not be decoded.

use thiserror::Error;

use crate::event::ByteSize;

/// A payload that is not what the configuration says, or a configuration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the fields are what the message shows")]
pub enum DecodeError {
    /// There is nothing in the payload, or no number in it.
    #[error("{what} is empty")]
    Empty { what: String },
    /// More bytes than allowed.
    #[error("the payload has {found} bytes, more than {limit}")]
    TooLarge { found: usize, limit: ByteSize },
    /// More numbers than are ever decoded from one message.
    #[error("the payload has more than {limit} numbers")]
    TooMany { limit: usize },
    /// The payload is not in the format.
    #[error("the payload is no {format}: {reason}")]
    Syntax { format: &'static str, reason: String },
    /// JSON nested deeper than 128.
    #[error("the JSON is nested deeper than 128 levels")]
    Depth,
    /// A wanted field is not there.
    #[error("the payload has no `{pointer}`")]
    MissingField { pointer: String },
    /// A wanted field is there and is no number.
    #[error("{place} is {found}, not a number")]
    WrongType { place: String, found: String },
    /// A number that is NaN, infinite or too large for 32 bits.
    #[error("{place} is not a finite 32-bit number")]
    NotFinite { place: String },
    /// Other numbers than the shape says, or fields that differ in length.
    #[error("{place} has {found}, {wanted}")]
    WrongLength { place: String, found: String, wanted: String },
    /// A picture of more pixels than allowed.
    #[error("the picture is {width}x{height}, more than {limit} pixels")]
    TooManyPixels { width: u32, height: u32, limit: u64 },
    /// A format or a variety of it that is not decoded.
    #[error("{what} is not supported; send JPEG or PNG")]
    Unsupported { what: String },
    /// A picture that is damaged or cut short.
    #[error("the {format} is damaged: {reason}")]
    Corrupt { format: &'static str, reason: String },
    /// A configuration that cannot be; only from [`super::Decoder::new`].
    #[error("`{value}` {reason}")]
    Config { value: String, reason: &'static str },
}

impl DecodeError {
    /// A name for counters: one of a fixed few.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Empty { .. } => "empty",
            Self::TooLarge { .. } | Self::TooMany { .. } => "too_large",
            Self::Syntax { .. } => "syntax",
            Self::Depth => "depth",
            Self::MissingField { .. } => "missing_field",
            Self::WrongType { .. } => "wrong_type",
            Self::NotFinite { .. } => "not_finite",
            Self::WrongLength { .. } => "wrong_length",
            Self::TooManyPixels { .. } => "too_many_pixels",
            Self::Unsupported { .. } => "unsupported",
            Self::Corrupt { .. } => "corrupt",
            Self::Config { .. } => "config",
        }
    }
}
