//! The side door over HTTP: health for those who restart and route, metrics for Prometheus, and the models for
//! whoever asks in the Open Inference Protocol.
//!
//! Of the device the server asks nothing. [`View`] is how it was a moment ago; who runs the device hangs
//! a new one out, and no reader holds it up. The models are those of the [`Shelf`](crate::model::Shelf).

mod auth;
mod config;
mod desk;
mod door;
mod health;
mod limit;
mod metrics;
mod models;
mod predict;
mod repository;
mod route;
mod seats;
mod server;
mod view;

pub use auth::{Auth, Nobody, Role, TokenConfig, Tokens, new_token};
pub use config::ApiConfig;
pub use prometheus::{Histogram, HistogramOpts};
pub use server::{Api, ApiError};
pub use view::{Counts, PipelineStatus, Shown, View};
