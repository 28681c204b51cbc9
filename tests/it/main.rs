//! Integration tests: one binary, real peers.

mod models;
