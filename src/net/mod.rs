//! What every socket needs: TLS from files, hosts that may be spoken to in the clear, and bounds
//! written by people.

mod host;
pub mod human;
mod problem;
mod secret;
mod tls;

pub use host::is_private_or_loopback;
pub use problem::Problem;
pub use secret::read_secret;
pub use tls::{NetError, TlsConfig, client_config};
