//! eir against real brokers, real sockets and real files: one binary.

mod api;
mod bad_input;
mod camera;
mod cli;
mod degrade;
mod demo;
mod device;
mod escalation;
mod gate;
mod jumps;
mod models;
mod mqtt;
mod offline;
mod oracle;
mod outage;
mod outbox;
mod overload;
mod process;
mod reload;
mod restart;
mod service;
mod summary;
mod support;
mod sync;
mod tidy;
mod traces;
