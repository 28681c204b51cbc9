//! What the tests stand on.

mod authority;
pub(crate) mod broker;
mod clients;
pub(crate) mod clock;
pub(crate) mod cloud;
pub(crate) mod keeper;
pub(crate) mod mosquitto;
pub(crate) mod mqtt;
pub(crate) mod nginx;
mod peer;
mod process;
pub(crate) mod site;
pub(crate) mod tus;

use std::future::Future;
use std::time::Duration;

pub(crate) use authority::Authority;
pub(crate) use broker::{AnyBroker, BOTH, Kind};
pub(crate) use clients::{client, target};
pub(crate) use mosquitto::Mosquitto;
pub(crate) use peer::Peer;
pub(crate) use process::{Process, eir};

/// Waits for something that must come, but not for ever.
pub(crate) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), wait).await.expect(what)
}
