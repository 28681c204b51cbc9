//! eir: the Edge Inference Runtime.

pub mod disk;
pub mod event;
pub mod package;
pub mod task;
