//! What every socket needs: TLS from files, hosts that may be spoken to in the clear, and bounds
//! written by people.

mod host;
mod http;
pub mod human;
mod problem;
mod secret;
mod tls;
mod url;

pub use host::is_private_or_loopback;
pub use http::{HttpClient, HttpError, MAX_REPLY, Reply};
pub use problem::Problem;
pub use secret::read_secret;
pub use tls::{NetError, TlsConfig, client_config};
pub use url::{Url, UrlError};
