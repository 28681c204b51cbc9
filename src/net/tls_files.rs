//! The files of a TLS client, read again when they have changed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;

use super::{NetError, TlsConfig, client_config};

/// A TLS client that follows its files: a certificate that is renewed takes effect at the next connection,
/// and one that is not there yet may come later.
#[derive(Debug)]
pub struct TlsFiles {
    config: TlsConfig,
    made: Mutex<Option<(Stamps, Arc<ClientConfig>)>>,
}

/// What tells a file from the one that was there before: its number, size, and time of change.
type Stamps = [Option<(u64, u64, i64, i64)>; 3];

impl TlsFiles {
    /// Reads nothing yet.
    pub const fn new(config: TlsConfig) -> Self {
        Self { config, made: Mutex::new(None) }
    }

    /// The client by the files as they are now. Blocks on the disk.
    pub fn current(&self) -> Result<Arc<ClientConfig>, NetError> {
        // Looked at before they are read: a change in between is noticed the next time.
        let stamps = self.stamps();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, client)) = &*made
            && *before == stamps
        {
            return Ok(Arc::clone(client));
        }
        let client = client_config(&self.config)?;
        *made = Some((stamps, Arc::clone(&client)));
        Ok(client)
    }

    fn stamps(&self) -> Stamps {
        let TlsConfig { ca_file, cert_file, key_file } = &self.config;
        [ca_file, cert_file, key_file].map(|file| file.as_deref().and_then(stamp))
    }
}

fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_come_later_and_may_change() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("ca.pem");
        let files =
            TlsFiles::new(TlsConfig { ca_file: Some(path.clone()), ..TlsConfig::default() });
        assert!(matches!(files.current(), Err(NetError::Unreadable { .. })));
        let mut made: Vec<Arc<ClientConfig>> = Vec::new();
        for name in ["one", "another.example.com"] {
            let ca = rcgen::generate_simple_self_signed([name.to_owned()]).expect("certificate");
            let fresh = directory.path().join(name);
            let mut file = std::fs::OpenOptions::new()
                .create_new(true)
                .write(true)
                .open(&fresh)
                .expect("open");
            std::io::Write::write_all(&mut file, ca.cert.pem().as_bytes()).expect("write");
            std::fs::rename(&fresh, &path).expect("rename");
            let client = files.current().expect("a client");
            assert!(Arc::ptr_eq(&client, &files.current().expect("the same")));
            made.push(client);
        }
        assert!(!Arc::ptr_eq(&made[0], &made[1]));
    }
}
