//! eir: the Edge Inference Runtime.

pub mod broker;
pub mod disk;
pub mod event;
pub mod ingest;
pub mod mqtt;
pub mod net;
pub mod package;
pub mod task;
