//! What the tests stand on.

pub(crate) mod broker;
pub(crate) mod mosquitto;
pub(crate) mod mqtt;
