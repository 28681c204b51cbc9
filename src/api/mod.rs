//! The side door over HTTP: health for those who restart and route, metrics for Prometheus, and the models for
//! whoever asks in the Open Inference Protocol; these over gRPC as well.
//!
//! Of the device the server asks nothing. [`View`] is how it was a moment ago; who runs the device hangs
//! a new one out, and no reader holds it up. The models are those of the [`Shelf`](crate::model::Shelf).

mod admin;
mod auth;
mod config;
mod desk;
mod detail;
mod door;
mod events;
mod facts;
#[cfg(feature = "grpc")]
mod grpc;
mod health;
mod jobs;
mod limit;
mod live;
mod metrics;
mod models;
mod openapi;
mod page;
mod picture;
mod predict;
mod repository;
mod route;
mod seats;
mod server;
mod trace;
mod view;

pub use admin::{Order, Orders, What};
pub use auth::{Auth, Nobody, Role, TokenConfig, Tokens, new_token};
pub use config::ApiConfig;
#[cfg(feature = "grpc")]
pub use grpc::read_request;
pub use live::{Live, Scene};
pub use prometheus::{Histogram, HistogramOpts, HistogramVec};
pub use server::{Api, ApiError, Handles};
pub use view::{Counts, PipelineStatus, Shown, StepStatus, View};
