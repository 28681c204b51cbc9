//! What every socket needs: TLS from files, hosts that may be spoken to in the clear, and bounds
//! written by people.

mod allowance;
mod host;
mod http;
pub mod human;
mod listen;
mod problem;
mod secret;
mod tls;
mod tls_files;
mod tls_server;
mod url;

pub use allowance::{Allowance, Hours, Rate};
pub use host::{is_loopback, is_private_or_loopback};
pub use http::{HttpClient, HttpError, MAX_REPLY, Reply};
pub use listen::{listen_address, listen_problem};
pub use problem::{Problem, with_sources};
pub use secret::{authorization, bearer, read_secret};
pub use tls::{NetError, TlsConfig, client_config};
pub use tls_files::{FromFiles, TlsFiles};
pub use tls_server::ServerTlsConfig;
pub use url::{Url, UrlError};
