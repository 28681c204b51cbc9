//! eir: the Edge Inference Runtime.

pub mod disk;
pub mod engine;
pub mod event;
pub mod model;
pub mod package;
pub mod pipeline;
pub mod task;
