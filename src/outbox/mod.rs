//! The durable queue towards the clouds.
//!
//! [`Outbox::append`] never waits: a thread of its own takes all that waits in a bounded queue, writes it to
//! an SQLite database as one transaction, and settles the acknowledgements when that is on disk. A
//! [`Reader`] for each way to a cloud ([`Lane`]) hands records out; one is deleted when all those that are configured
//! have it.
//!
//! What the outbox promises (`interfaces.md` §5):
//!
//! - A record has its place for good: `epoch` and `seq`, the latter without gaps. An epoch is a number
//!   below 2⁵³ (JSON readers keep no more): the seconds of the wall clock when the database was made, and
//!   21 random bits below them. So epochs follow each other where the clock is right, two are not the same
//!   where it stands still, and no file beside the database can be lost or copied without it. Where an
//!   earlier epoch is known (a damaged database that was set aside), the new one is larger.
//! - What is dropped, for want of room ([`OutboxConfig::max`]), for age or while the disk refuses, is told
//!   by a `gap` record ([`Gap`]), which is written in the same transaction as the deletion.
//! - Before a summary is dropped for want of room, those of one hour are made into one ([`Thinning`]); what some cloud
//!   may have already is left out of that, so that nothing counts twice.
//! - A database that is damaged is set aside as `….corrupt-N` once all that can still be read was copied
//!   into a fresh one.
//! - A record that was made while the clock of the board was not set has its time corrected on the way out, once
//!   that is known ([`Unset`] says what is known until then).
//! - What is kept for the next start ([`Outbox::remember`]) is written with the records that come next.
//! - No trouble with the disk ends the process; [`Outbox::status`] says what it is, and it is tried again.

mod config;
mod error;
mod gap;
mod handle;
mod inlet;
mod inspect;
mod lane;
mod memory;
mod progress;
mod reader;
mod record;
mod sequence;
mod store;
mod writer;

pub use config::{OutboxConfig, WhenUnwritable};
pub use error::OutboxError;
pub use gap::{Gap, Reason};
pub use handle::{Amount, Options, Outbox, Status};
pub use inspect::{CloudContents, Contents, Finding, Inspector, Repaired, repair, verify};
pub use lane::Lane;
pub use memory::{Memory, recall};
pub use reader::Reader;
pub use record::{Batch, Draft, Kind, Record, Unset};
pub use store::{Formats, Thinning};

#[cfg(test)]
mod tests;
