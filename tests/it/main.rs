//! eir against real brokers, real sockets and real files.

mod mqtt;
mod support;
