//! What every socket needs: TLS from files, hosts that may be spoken to in the clear, and bounds
//! written by people.

mod host;
mod http;
pub mod human;
mod tls;
mod url;

pub use host::is_private_or_loopback;
pub use http::{HttpClient, HttpError, MAX_REPLY, Reply};
pub use tls::{NetError, TlsConfig, client_config};
pub use url::{Url, UrlError};
