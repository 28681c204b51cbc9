//! Integration tests: one binary, real peers.

mod bad_input;
mod demo;
mod outage;
mod process;
mod reload;
mod support;
mod tidy;
