//! stub
use super::*;
use crate::event::Samples;
pub(super) fn check(_: &TextConfig) -> Result<(), DecodeError> {
    Ok(())
}
pub(super) fn decode(_: &TextConfig, _: &[u8]) -> Result<Samples, DecodeError> {
    Err(DecodeError::Depth)
}
