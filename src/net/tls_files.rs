//! The files of a TLS client or server, read again when they have changed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;

use super::{NetError, TlsConfig, client_config};

/// What makes something of files.
pub trait FromFiles {
    /// What is made.
    type Made;

    /// The files that there are.
    fn files(&self) -> [Option<&Path>; 3];

    /// Reads them.
    fn make(&self) -> Result<Arc<Self::Made>, NetError>;
}

impl FromFiles for TlsConfig {
    type Made = ClientConfig;

    fn files(&self) -> [Option<&Path>; 3] {
        [&self.ca_file, &self.cert_file, &self.key_file].map(Option::as_deref)
    }

    fn make(&self) -> Result<Arc<ClientConfig>, NetError> {
        client_config(self)
    }
}

/// A side of TLS that follows its files: a certificate that is renewed takes effect at the next connection,
/// and one that is not there yet may come later.
#[derive(Debug)]
pub struct TlsFiles<C: FromFiles = TlsConfig> {
    config: C,
    made: Mutex<Option<(Stamps, Arc<C::Made>)>>,
}

/// What tells a file from the one that was there before: its number, size, and time of change.
type Stamps = [Option<(u64, u64, i64, i64)>; 3];

impl<C: FromFiles> TlsFiles<C> {
    /// Reads nothing yet.
    pub const fn new(config: C) -> Self {
        Self { config, made: Mutex::new(None) }
    }

    /// The side by the files as they are now. Blocks on the disk.
    pub fn current(&self) -> Result<Arc<C::Made>, NetError> {
        // Looked at before they are read: a change in between is noticed the next time.
        let stamps = self.config.files().map(|file| file.and_then(stamp));
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, side)) = &*made
            && *before == stamps
        {
            return Ok(Arc::clone(side));
        }
        let side = self.config.make()?;
        *made = Some((stamps, Arc::clone(&side)));
        Ok(side)
    }

    /// The last one that could be made.
    pub fn last(&self) -> Option<Arc<C::Made>> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.as_ref().map(|(_, side)| Arc::clone(side))
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
