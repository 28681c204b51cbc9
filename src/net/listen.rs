//! Why a port cannot be opened, in words that say what would help.

use std::io;

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
