//! From the outbox to the clouds: each cloud has a task and a place in the outbox of its own, and gets every
//! record at least once.
//!
//! ```text
//! outbox ── records ──► plan ── batch ──► Uplink (https) ──► cloud
//!    ▲                   │  ▲                │
//!    └── delivered ──────┘  └── Verdict ◄────┘
//! ```
//!
//! What an answer means is a table ([`Verdict`]), what follows for the records is a plan, and how fast it goes
//! is a pace; none of the three does any work, so that each can be tested whole. A record is done with when
//! the cloud said yes to it, or when it said no to it alone while it says yes to others; nothing else, not
//! even a cloud that rejects everything for a month, takes a record out of the outbox.

mod batch;
mod cloud;
mod config;
mod https;
mod pace;
mod plan;
mod status;
mod verdict;
mod worker;

use std::future::Future;

pub use batch::Batch;
pub use cloud::Cloud;
pub use config::{AckBy, CloudConfig};
pub use https::HttpsUplink;
pub use status::CloudStatus;
pub use verdict::Verdict;

use crate::net::with_sources;

/// A way to a cloud.
pub trait Uplink: Send + Sync + 'static {
    /// Sends one batch, and says what became of it. The same batch may be sent again.
    fn send(&self, batch: &Batch) -> impl Future<Output = Verdict> + Send;
}
