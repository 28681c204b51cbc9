//! eir: the Edge Inference Runtime.

pub mod action;
pub mod broker;
pub mod disk;
pub mod event;
pub mod ingest;
pub mod mqtt;
pub mod net;
pub mod package;
pub mod pipeline;
pub mod task;
