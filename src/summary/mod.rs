//! What happened in a window of time, in a few hundred bytes: counts, classes, quantiles, and how far scores and
//! inputs have drifted from what the model was made with.
//!
//! ```text
//! a pipeline's thread ── add ──► Gatherer ── take, at the end of each window ──► Contents ──► a record
//! ```
//!
//! Inputs worth labelling are taken beside that ([`Sampler`]).
//!
//! Windows are those of the wall clock, so that the summaries of many devices, and those before and after a
//! restart, tell of the same minutes. The thread only counts; whoever closes the window does the rest.

mod board;
mod config;
mod drift;
mod gather;
mod sample;
mod schedule;
mod sketch;

pub use board::{Board, Disk, Memory};
pub use config::{GroupConfig, SummaryConfig};
pub use drift::{Baseline, ChannelDrift, Drift, Reading, Shift};
pub use gather::{Contents, Gatherer, Part, Seen};
pub use sample::{Archive, ArchiveConfig, Origin, Quota, Sample, SampleConfig, Sampler};
pub use schedule::{Schedule, Span};
pub use sketch::Spread;
