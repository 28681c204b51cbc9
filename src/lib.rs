//! eir: the Edge Inference Runtime.
//!
//! Messages come in over MQTT, quantized ONNX models run on the spot, rules decide, actions go out. A
//! message travels down this page and never back up:
//!
//! ```text
//!  broker
//!    │  bytes
//!    ▼
//!  mqtt ─► ingest ──► event::Envelope { topic, payload, received_at, ack }
//!    │  task::Queue, one a pipeline: hold · drop_oldest · drop_newest
//!    ▼
//!  pipeline::decode ──► Samples (numbers) | Frame (pixels)
//!    ▼
//!  pipeline::window, pipeline::preprocess ──► Tensor
//!    ▼
//!  model (batch) ──► engine (one caller at a time: ONNX Runtime | tract) ──► Tensor
//!    ▼
//!  pipeline::postprocess ──► Prediction (classes · detections · score · values)
//!    ▼
//!  pipeline::rules ──► Decision
//!    ▼
//!    ├──► action   publish, webhook, log     (now; waits for nothing)
//!    ├──► action::escalate   a remote model's second opinion, where this one was not sure; what comes back in
//!    │                       time amends the decision on the pipeline's thread
//!    ├──► summary  counts, quantiles, drift, a window of time at once
//!    │       ▼
//!    └──► outbox   on disk, bounded in bytes ──► sync ──► cloud
//!
//!  api     the side door: health, metrics, and the models for whoever asks in the Open Inference Protocol (oip)
//!  job     work for a model that outlasts a request: handed in over api, kept on disk, done behind pipelines
//!  update  what comes over the air, signed: models are tried beside those that serve, layers of the configuration and
//!          eir itself on probation; what does not do well goes back
//!  trace   what was done for a message or a request, as spans; sync sends them to a collector
//! ```
//!
//! A stage knows the vocabulary ([`event`]) and nothing of its neighbours; [`app`] alone knows who feeds
//! whom, and [`app`]'s `flow` is the walk from the queue to the actions. Each pipeline has a thread of its
//! own, which also runs the model; everything that waits for the network is a task.
//!
//! Deliberately absent: training, a scripting language, a plugin interface, a cluster. A subprocess or
//! MQTT is the extension point; many devices scale through the broker (shared subscriptions).

pub mod action;
pub mod api;
pub mod app;
pub mod broker;
pub mod cli;
pub mod disk;
pub mod engine;
pub mod event;
pub mod ingest;
pub mod job;
pub mod model;
pub mod mqtt;
pub mod net;
pub mod oip;
pub mod outbox;
pub mod package;
pub mod pipeline;
pub mod summary;
pub mod sync;
pub mod task;
pub mod trace;
pub mod update;
