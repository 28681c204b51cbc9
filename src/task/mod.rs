//! Tasks, time and waiting: what every room that does something stands on.

mod backoff;
mod breaker;
mod bucket;
mod cache;
mod clock;
mod group;
mod queue;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerEvent, BreakerState};
pub use bucket::Bucket;
pub use cache::{Cache, ContentHash, content_hash};
pub use clock::{Clock, SystemClock, Uptime, clock_synced};
pub use group::{Group, Stop};
pub use queue::{Pushed, Queue, WhenFull};
