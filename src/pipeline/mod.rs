//! From bytes to decisions: pure and synchronous.

pub mod rules;
