//! Sources: what comes from outside becomes [`crate::event::Envelope`]s in the pipelines' queues.

mod mqtt;

pub use mqtt::{MqttInputConfig, Route, RouteCounters, Router, RouterCounters, hold_capacity};
