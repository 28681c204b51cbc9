//! An MQTT broker inside the process, for sites that have none.

mod config;

pub use config::{BrokerConfig, UserConfig};
