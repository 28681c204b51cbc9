//! What a fleet's devices take over the air: models, programs and layers of the configuration.
//!
//! [`trust`] says whom a device believes, [`release`] what is said of a release and whether it is for this device,
//! [`wave`] whose turn it is, [`machine`] what becomes of a release whatever happens; [`journal`] keeps that over a power
//! cut, [`archive`] packs and opens what models come in. [`source`] gives the files of a repository, [`store`] keeps what is
//! believed of them, [`download`] fetches what they speak of, or by a [`delta`] what has changed of it. [`hawkbit`]
//! brings bundles of a repository. [`author`] is the other side: it keeps a repository, [`sign`] makes what [`trust`]
//! believes, with the [`keys`] in its files.

pub mod agent;
pub mod archive;
pub mod author;
pub mod config;
pub mod decimal;
pub mod delta;
pub mod depot;
pub mod download;
pub mod hawkbit;
pub mod integrity;
pub mod journal;
pub mod keys;
#[cfg(test)]
mod kill;
mod layout;
pub mod machine;
pub mod plan;
pub mod release;
pub mod sign;
pub mod slots;
pub mod source;
pub mod status;
pub mod store;
pub mod trust;
mod wake;
pub mod wave;
pub mod wish;

pub use self::wake::{Woken, note_end, noted_end, wake};
