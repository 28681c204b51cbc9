//! Jobs: work for a model that takes longer than a client would wait for, such as a folder of pictures or a long recording.
//!
//! A job is a directory of its own: what is known of it, its inputs until it has ended, and its results, one line for
//! each thing that the model was given. So it outlives a kill: at the next start it goes on behind its last whole line.
//! One thread works on one job after another, an item at a time, behind pipelines in the queue of the model. How many
//! may wait, how much of the disk all take and for how long results are kept is bounded.

mod config;
mod desk;
mod draft;
mod items;
mod record;
mod run;
mod store;

pub use config::JobsConfig;
pub use desk::{Begun, Jobs};
pub use draft::Draft;
pub use record::{Job, JobError, Plan, State};

#[cfg(test)]
mod tests;
