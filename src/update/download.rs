//! The bytes of a release, fetched piece by piece: what is there already is not fetched again, over tries and restarts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;
use tough::schema::Target;

use super::sign::hex;
use super::source::{FetchError, Source};
use crate::disk;

/// Bytes that are not there yet, or will never be.
#[derive(Debug, Error)]
pub enum DownloadError {
    /// The network, or the server.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The repository lacks it.
    #[error("{0} is not in the repository")]
    Missing(String),
    /// It is another file than the one that was signed for. What came is removed.
    #[error("{path} is another file than the one that was signed for: {reason}")]
    Other {
        /// Where it is hosted.
        path: String,
        /// How that shows.
        reason: String,
    },
    /// The same, with what an earlier process had left of it: a power cut may have taken a part of that. What came is
    /// removed, and the next try begins anew.
    #[error("what was here of {0} was torn, by a power cut perhaps; it is fetched anew")]
    Torn(String),
    /// It is larger than what may be downloaded.
    #[error("{path} has {length} bytes, {most} may be downloaded")]
    TooLarge {
        /// Where it is hosted.
        path: String,
        /// Its size, as it is signed.
        length: u64,
        /// The limit.
        most: u64,
    },
    /// The disk.
    #[error("{path}: {reason}", path = path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
}

/// A download under way. Dropped, it goes on from where it is the next time.
#[derive(Debug)]
pub struct Download {
    /// Where it is hosted.
    path: String,
    /// Where it is known.
    sha256: Option<Vec<u8>>,
    length: u64,
    part: PathBuf,
    whole: PathBuf,
    file: File,
    hash: Sha256,
    have: u64,
    /// What was there at the beginning.
    resumed: u64,
}

/// Where the bytes of a target are hosted, with consistent snapshots.
pub fn hosted(target: &str, sha256: &[u8]) -> String {
    let (directory, name) = match target.rsplit_once('/') {
        Some((directory, name)) => (format!("{directory}/"), name),
        None => (String::new(), target),
    };
    format!("targets/{directory}{}.{name}", hex(sha256))
}

impl Download {
    /// Begins or goes on with a target, in a directory that is there; no more than `most` bytes are ever taken.
    pub fn open(
        directory: &Path,
        name: &str,
        target: &Target,
        most: u64,
    ) -> Result<Self, DownloadError> {
        let sha256 = target.hashes.sha256.to_vec();
        let (path, whole) = (hosted(name, &sha256), directory.join(hex(&sha256)));
        Self::open_as(path, &whole, Some(sha256), target.length, most)
    }

    /// Begins or goes on with what is hosted as `path` and is to be the file `whole`.
    pub(super) fn open_as(
        path: String,
        whole: &Path,
        sha256: Option<Vec<u8>>,
        length: u64,
        most: u64,
    ) -> Result<Self, DownloadError> {
        if length > most {
            return Err(DownloadError::TooLarge { path, length, most });
        }
        let (whole, part) = (whole.to_owned(), whole.with_extension("part"));
        let failed = |reason| DownloadError::Disk { path: part.clone(), reason };
        if whole.is_file() && !part.exists() {
            // It was all there when the power went.
            disk::rename(&whole, &part).map_err(failed)?;
        }
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false);
        let mut file = open.open(&part).map_err(failed)?;
        let (mut hash, mut have) = (Sha256::new(), 0);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = file.read(&mut buffer).map_err(failed)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            have += read as u64;
        }
        if have > length {
            // Another hand wrote it.
            file.set_len(0).map_err(failed)?;
            (hash, have) = (Sha256::new(), 0);
        }
        Ok(Self { path, sha256, length, part, whole, file, hash, have, resumed: have })
    }

    /// Bytes that are there, and all.
    pub const fn progress(&self) -> (u64, u64) {
        (self.have, self.length)
    }

    /// Fetches the next piece, of so many bytes at most; false: all pieces are there.
    pub async fn step(&mut self, source: &impl Source, most: u64) -> Result<bool, DownloadError> {
        let left = self.length - self.have;
        if left == 0 {
            return Ok(false);
        }
        let bytes = source.read(&self.path, self.have, left.min(most)).await?;
        let bytes = bytes.ok_or_else(|| DownloadError::Missing(self.path.clone()))?;
        if bytes.is_empty() {
            // A proxy or a portal in between says that too: what is there stays.
            let reason = format!("it ends after {} of {} bytes", self.have, self.length);
            let path = self.path.clone();
            return Err(FetchError::Later { path, reason, after: None }.into());
        }
        let bytes = bytes.slice(..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        if let Err(reason) = self.file.write_all_at(&bytes, self.have) {
            // A full disk took a part of it.
            let _as_it_was = self.file.set_len(self.have);
            return Err(DownloadError::Disk { path: self.part.clone(), reason });
        }
        self.hash.update(&bytes);
        self.have += bytes.len() as u64;
        Ok(true)
    }

    /// The file, verified, on the disk for good. What is not as it was signed is removed.
    pub fn finish(mut self) -> Result<PathBuf, DownloadError> {
        let found = std::mem::take(&mut self.hash).finalize();
        if self.sha256.as_ref().is_some_and(|known| found[..] != known[..]) {
            return Err(self.other(format!("its SHA-256 is {}", hex(&found))));
        }
        let failed = |reason| DownloadError::Disk { path: self.part.clone(), reason };
        // What was hashed is what was to be written.
        let written = self.file.metadata().map_err(failed)?.len();
        if written != self.length {
            return Err(self.other(format!("{written} of {} bytes are on the disk", self.length)));
        }
        self.file
            .sync_all()
            .and_then(|()| disk::rename(&self.part, &self.whole))
            .map_err(failed)?;
        Ok(self.whole)
    }

    /// What is there is not wanted any more.
    pub fn forget(&self) {
        let _may_be_gone = fs::remove_file(&self.part);
    }

    /// Nothing of it is kept.
    fn other(&self, reason: String) -> DownloadError {
        self.forget();
        let path = self.path.clone();
        if self.resumed > 0 {
            DownloadError::Torn(path)
        } else {
            DownloadError::Other { path, reason }
        }
    }
}

#[cfg(test)]
mod tests;
