//! eir: the Edge Inference Runtime.

pub mod action;
pub mod app;
pub mod broker;
pub mod cli;
pub mod disk;
pub mod engine;
pub mod event;
pub mod ingest;
pub mod model;
pub mod mqtt;
pub mod net;
pub mod package;
pub mod pipeline;
pub mod task;
