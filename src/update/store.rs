//! What a device believes, on its disk: the newest of each file of metadata, and the latest moment that is surely over.
//!
//! A board without a clock starts in 1970, or whenever it was switched off. Nothing expires for it that way: it is at least
//! as late as the last time it was sure, and never earlier than that ([`Store::moment`]).

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp as Instant;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::sign::hex;
use super::source::{FetchError, Source, whole};
use super::trust::{MAX_ROOT, MAX_SNAPSHOT, MAX_TARGETS, MAX_TIMESTAMP, TrustError, Trusted};
use crate::disk;

/// Roots that are followed at a time; a device that missed more goes on the next time.
const MAX_NEW_ROOTS: usize = 64;

/// The moment is not written more often.
const SAVE_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// Metadata that is not fetched, not believed, or cannot be kept.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The network, or the server.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It is not what it should be.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It should be there.
    #[error("{0} is not in the repository")]
    Missing(String),
    /// The disk.
    #[error("{path}: {reason}", path = path.display())]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

/// The directory with what a device believes.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    latest: Instant,
}

impl Store {
    /// Opens a directory, which is made if it is not there. Trust begins with `root`, which came with the device; with
    /// another `root` than before it begins anew. What is found damaged is told and fetched again.
    pub fn open(directory: &Path, root: &[u8]) -> Result<(Self, Trusted, Vec<String>), StoreError> {
        disk::make_directory(directory).map_err(|error| failed(directory, &error))?;
        let mut store = Self { directory: directory.to_owned(), latest: Instant::MIN };
        let mut notes = Vec::new();
        let first = hex(&Sha256::digest(root));
        if store.read("first", 64)?.is_none_or(|known| known != first.as_bytes()) {
            // A power cut in between leaves a part of this to do.
            for name in ["root.json", "timestamp.json", "snapshot.json", "targets.json", "moment"] {
                store.forget(name)?;
            }
            store.keep("first", first.as_bytes())?;
        }
        let moment = store.read("moment", 64)?.and_then(|text| String::from_utf8(text).ok());
        if let Some(moment) = moment.and_then(|text| text.parse().ok()) {
            store.latest = moment;
        }
        let known = store.read("root.json", MAX_ROOT)?.map(|bytes| Trusted::new(&bytes));
        let mut trusted = match known {
            Some(Ok(trusted)) => trusted,
            Some(Err(error)) => {
                notes.push(format!("the first root counts again: {error}"));
                Trusted::new(root)?
            }
            None => Trusted::new(root)?,
        };
        // That something is over is for the next refresh to say; how new things were must not be forgotten.
        let ever = Instant::MIN;
        for (name, most) in [
            ("timestamp.json", MAX_TIMESTAMP),
            ("snapshot.json", MAX_SNAPSHOT),
            ("targets.json", MAX_TARGETS),
        ] {
            let Some(bytes) = store.read(name, most)? else { continue };
            let taken = match name {
                "timestamp.json" => trusted.take_timestamp(&bytes, ever),
                "snapshot.json" => trusted.remember_snapshot(&bytes),
                _ if trusted.targets_to_fetch().is_some() => trusted.take_targets(&bytes, ever),
                // Its snapshot is older than the timestamp: a refresh was cut off in between.
                _ => continue,
            };
            if let Err(error) = taken {
                notes.push(format!("{name} is fetched again: {error}"));
            }
        }
        Ok((store, trusted, notes))
    }

    /// The moment that expiry is judged by: what the clock says, and where nobody knows whether that is right, never before
    /// what was sure once. What is right is remembered.
    pub fn moment(&mut self, clock: Instant, is_right: bool) -> Result<Instant, StoreError> {
        if !is_right {
            return Ok(clock.max(self.latest));
        }
        // Backwards too: somebody may have been wrong about the time.
        if clock.duration_since(self.latest).abs() >= SAVE_EVERY {
            self.keep("moment", clock.to_string().as_bytes())?;
            self.latest = clock;
        }
        Ok(clock)
    }

    /// Fetches what is new, and believes it as far as it may be believed. What was believed is kept at once: an error
    /// behind it does not take it back.
    pub async fn refresh(
        &self,
        trusted: &mut Trusted,
        source: &impl Source,
        now: Instant,
    ) -> Result<(), StoreError> {
        for _ in 0..MAX_NEW_ROOTS {
            let path = format!("metadata/{}.root.json", trusted.next_root());
            let Some(bytes) = whole(source, &path, MAX_ROOT).await? else { break };
            if trusted.take_root(&bytes)? {
                // Before the root is: found again after a power cut, they would count again.
                for name in ["timestamp.json", "snapshot.json"] {
                    self.forget(name)?;
                }
            }
            self.keep("root.json", &bytes)?;
        }
        let bytes = fetch(source, "metadata/timestamp.json", MAX_TIMESTAMP).await?;
        trusted.take_timestamp(&bytes, now)?;
        self.keep("timestamp.json", &bytes)?;
        if let Some((version, most)) = trusted.snapshot_to_fetch() {
            let known = self.read("snapshot.json", MAX_SNAPSHOT)?;
            if known.is_none_or(|bytes| trusted.take_snapshot(&bytes, now).is_err()) {
                let path = format!("metadata/{version}.snapshot.json");
                let bytes = fetch(source, &path, most.min(MAX_SNAPSHOT)).await?;
                trusted.take_snapshot(&bytes, now)?;
                self.keep("snapshot.json", &bytes)?;
            }
        }
        if let Some((version, most)) = trusted.targets_to_fetch() {
            let known = self.read("targets.json", MAX_TARGETS)?;
            if known.is_none_or(|bytes| trusted.take_targets(&bytes, now).is_err()) {
                let path = format!("metadata/{version}.targets.json");
                let bytes = fetch(source, &path, most.min(MAX_TARGETS)).await?;
                trusted.take_targets(&bytes, now)?;
                self.keep("targets.json", &bytes)?;
            }
        }
        Ok(())
    }

    /// `None`: it is not there, or larger than it can be. A disk that cannot be read now is no reason to forget what is on
    /// it.
    fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.directory.join(name);
        match disk::read_bounded(&path, most) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(_) if fs::metadata(&path).is_ok_and(|file| file.len() > most) => Ok(None),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    fn forget(&self, name: &str) -> Result<(), StoreError> {
        let path = self.directory.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed(&path, &error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.directory.join(name);
        disk::replace(&path, bytes).map_err(|error| failed(&path, &error))
    }
}

async fn fetch(source: &impl Source, path: &str, most: u64) -> Result<Vec<u8>, StoreError> {
    let found = whole(source, path, most).await?;
    found.ok_or_else(|| StoreError::Missing(path.to_owned()))
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Disk { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests;
