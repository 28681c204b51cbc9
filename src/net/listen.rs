//! Ports that are to be opened, and in words why they cannot.

use std::io;
use std::net::SocketAddr;

/// Reads an address and port to listen on; `usual` is the port that an example has.
pub fn listen_address(text: &str, usual: u16) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is no address; write it like 127.0.0.1:{usual} or [::]:{usual}")
    })
}

/// The system's reason, and what to do about it; `taken` is what helps where the port is in use.
pub fn listen_problem(error: &io::Error, taken: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("the port is in use; {taken}"),
        io::ErrorKind::PermissionDenied => {
            "no permission to listen; choose a port from 1024".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; choose one of its own, or 0.0.0.0".to_owned()
        }
        _ => error.to_string(),
    }
}
