//! Looking in from the side over HTTP: health for those who restart and route, metrics for Prometheus.
//!
//! The server never asks the device anything. [`View`] is how it was a moment ago; who runs the device hangs
//! a new one out, and no reader holds it up.

mod config;
mod metrics;
mod route;
mod server;
mod view;

pub use config::{ApiConfig, Auth};
pub use prometheus::{Histogram, HistogramOpts};
pub use server::{Api, ApiError};
pub use view::{Counts, PipelineStatus, Shown, View};
