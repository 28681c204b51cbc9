//! eir: the Edge Inference Runtime.

pub mod action;
pub mod disk;
pub mod event;
pub mod package;
pub mod pipeline;
pub mod task;
