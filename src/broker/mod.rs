//! An MQTT broker inside the process, for sites that have none.
//!
//! The broker itself is `rmqtt`, on a thread and a runtime of its own, so that stopping it ends every
//! connection and a busy broker does not hold up anything else. Sessions and retained messages live in
//! memory. A message that is being written while its connection breaks is lost (`rmqtt` 0.24 notes it as
//! on its way only afterwards, `session.rs`, `deliver`), and what is delivered again comes newest first:
//! where every message counts across a broken connection, use a broker of its own.

mod auth;
mod config;
mod retain;
mod server;
mod share;
mod size;

pub use config::{BrokerConfig, UserConfig};
pub use server::{Broker, BrokerError};
