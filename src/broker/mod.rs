//! An MQTT broker inside the process, for sites that have none.
//!
//! The broker itself is `rmqtt`, on a thread and a runtime of its own, so that stopping it ends every
//! connection and a busy broker does not hold up anything else. Sessions and retained messages live in
//! memory.

mod auth;
mod config;
mod retain;
mod server;
mod share;
mod size;

pub use config::{BrokerConfig, UserConfig};
pub use server::{Broker, BrokerError};
