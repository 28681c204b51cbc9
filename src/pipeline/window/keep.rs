//! An open window as it is kept over a restart.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// What an open window holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptWindow {
    pub(super) samples: usize,
    pub(super) step: usize,
    pub(super) channels: usize,
    pub(super) skip: usize,
    /// Interleaved, 32-bit floats in little-endian order, base64.
    pub(super) values: String,
}

pub(super) fn text(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

pub(super) fn values(text: &str) -> Option<Vec<f32>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (values, rest) = bytes.as_chunks();
    rest.is_empty().then(|| values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}
