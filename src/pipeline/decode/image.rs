//! stub
use super::*;
use crate::event::Frame;
pub(super) fn decode(_: &ImageConfig, _: &[u8]) -> Result<Frame, DecodeError> {
    Err(DecodeError::Depth)
}
