//! What happened in a window of time, in a few hundred bytes: counts, classes, quantiles, and how far scores and
//! inputs have drifted from what the model was made with.
//!
//! ```text
//! a pipeline's thread ── add ──► Gatherer ── take, at the end of each window ──► Contents ──► a record
//! ```
//!
//! Inputs worth labelling are taken beside that ([`Sampler`]).
//!
//! The body of a `summary` record; times in seconds, scores as the model gives them, `null` where there is nothing
//! to tell of:
//!
//! ```json
//! { "from": "2026-03-01T10:00:00Z", "to": "2026-03-01T10:01:00Z", "seconds": 60.0, "late": false,
//!   "pipeline": "bearing", "model": "bearing", "version": 1, "engine": "ort",
//!   "messages": 3000, "bytes": 14277000, "dropped": { "drop_oldest": 2 }, "errors": { "syntax": 1 },
//!   "inferences": 2997, "decisions": { "fault": 1 }, "classes": { "healthy": 2990, "inner_race": 7 },
//!   "score":   { "count": 2997, "min": 0.61, "max": 0.99, "mean": 0.98, "p05": …, "p50": …, "p95": …, "p99": …,
//!                "sketch": "base64" },
//!   "latency": { … },
//!   "drift": { "score": { "psi": 0.03, "reading": "stable" },
//!              "input": [{ "channel": 0, "psi": 0.31, "reading": "large" }] },
//!   "groups": { "press-07": { "inferences": …, … } } }
//! ```
//!
//! Records with the same `pipeline`, `from` and `to` are parts of one window, before and after a restart: they add up.
//!
//! Where there is no room for all of them, those of one hour are made into one ([`merge()`]): it has the same fields, and
//! `merged` says of how many it is made; drift does not add up and is `null`.
//!
//! Windows are those of the wall clock, so that the summaries of many devices, and those before and after a
//! restart, tell of the same minutes. The thread only counts; whoever closes the window does the rest.

mod board;
mod config;
mod drift;
mod gather;
mod merge;
mod sample;
mod schedule;
mod sketch;

pub use board::{Board, Disk, Memory};
pub use config::{GroupConfig, SummaryConfig};
pub use drift::{Baseline, ChannelDrift, Drift, Reading, Shift};
pub use gather::{Contents, Gatherer, Part, Seen};
pub use merge::{merge, mergeable};
pub use sample::{Archive, ArchiveConfig, Origin, Quota, Sample, SampleConfig, Sampler, Told};
pub use schedule::{Schedule, Span};
pub use sketch::Spread;
