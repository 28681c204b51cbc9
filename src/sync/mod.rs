//! From the outbox to the clouds: each cloud has a task and a place in the outbox of its own, and gets every
//! record at least once.
//!
//! ```text
//! outbox ── records ──► plan ── batch ──► Uplink (https, otlp, mqtt) ──► cloud
//!    ▲                   │  ▲                │
//!    └── delivered ──────┘  └── Verdict ◄────┘
//! ```
//!
//! What an answer means is a table ([`Verdict`]), what follows for the records is a plan, how fast it goes
//! is a pace, and when it may an allowance; none of the four does any work, so that each can be tested whole. A record is done with when
//! the cloud said yes to it, or when it said no to it alone while it says yes to others; nothing else, not
//! even a cloud that rejects everything for a month, takes a record out of the outbox.
//!
//! A cloud takes batches of JSON lines over HTTP or from a broker, or it is a collector of OpenTelemetry, for which
//! records are made into logs and metrics; which one is said by `url` or `mqtt` ([`CloudConfig`]). One that takes
//! files too (`samples`) gets the inputs of samples as uploads, by a second way with a place of its own, and
//! their records without.
//!
//! Spans ([`TraceExport`]) go to such a collector too, but by no outbox: they are worth nobody's wait.

mod apart;
mod batch;
mod cloud;
mod config;
mod courier;
mod https;
mod mqtt;
mod otlp;
mod pace;
mod plan;
mod status;
mod traces;
mod tus;
mod verdict;
mod worker;

use std::future::Future;

pub use batch::{Batch, Encoding};
pub use cloud::Cloud;
pub use config::{AckBy, CloudConfig};
pub use https::HttpsUplink;
pub use mqtt::MqttUplink;
pub use otlp::OtlpUplink;
pub use status::CloudStatus;
pub use traces::{TraceExport, TracesConfig};
pub use tus::TusUplink;
pub use verdict::Verdict;

use crate::net::with_sources;

/// A way to a cloud.
pub trait Uplink: Send + Sync + 'static {
    /// How it wants records to be written.
    const ENCODING: Encoding;

    /// From now on at most so many bytes may be sent at once, where that is for the uplink to choose.
    fn allow(&self, _bytes: usize) {}

    /// Sends one batch, and says what became of it and how many bytes that took. The same batch may be sent
    /// again.
    fn send(&self, batch: &Batch) -> impl Future<Output = (Verdict, usize)> + Send;
}
