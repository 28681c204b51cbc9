//! One connection to an MQTT broker: it reconnects for ever, resubscribes, acknowledges in order and
//! only what is settled, and waits for the broker's word on what it publishes.
//!
//! ```text
//! Link ── commands ──► driver (task) ── packets ──► codec (v4 │ v5) ── bytes ──► transport
//!                         │  session: what is on its way out, survives reconnects
//!        Message ◄────────┤  inbox:   what is here unacknowledged, forgotten at a reconnect
//!   AckHandle ────────────►
//! ```
//!
//! Packets are read and written by `rumqttc`'s codecs. Its event loop is not used: it drops what is
//! unacknowledged when the broker comes back without the session, blocks the caller of a manual
//! acknowledgement when its queue is full, and closes the connection over a packet that is too large,
//! which the broker then delivers again.

mod config;
mod connection;
mod driver;
mod endpoint;
mod filter;
mod inbox;
mod link;
mod message;
mod packets;
mod session;
mod state;
mod subscriptions;
mod transport;
mod v4;
mod v5;
mod wire;

pub use crate::net::Problem;
use crate::net::with_sources;
pub use config::{BackoffConfig, ConnectionConfig, Version};
pub use filter::{InvalidFilter, TopicFilter, is_topic};
pub use link::{Link, MqttError, PublishError};
pub use message::{AckHandle, Message, Publish, QoS};
pub use state::{Counters, LinkState, RefusedFilter};
