//! The artifact of an action, fetched piece by piece into a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderValue, RANGE};
use thiserror::Error;

use super::ddi::Bundle;
use super::{DdiError, Hawkbit};
use crate::disk::make_directory;
use crate::net::Url;
use crate::update::download::{Download, DownloadError};
use crate::update::layout::free;
use crate::update::source::{FetchError, Source, piece, range};

/// The bundle, what it is unpacked to, and what is taken out of that lie on the disk at once.
const COPIES: u64 = 3;

/// Bytes of the disk that stay free.
const SPARE: u64 = 16 << 20;

/// A bundle that did not come.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BundleError {
    /// The server, which may give it later or does not give it to this device.
    #[error("{0}")]
    Server(DdiError),
    /// The disk, which may have room later.
    #[error("{0}")]
    Disk(String),
    /// It is not what the server said, or more than may be fetched.
    #[error("{0}")]
    Bad(String),
}

/// A bundle on its way.
#[derive(Debug)]
pub struct Fetching {
    url: Url,
    /// `None`: it was all there already.
    download: Option<Download>,
    whole: PathBuf,
    size: u64,
}

impl Fetching {
    /// Begins, or goes on where the last process was. What is there already is read again, and hashed: to be called where it
    /// may take its time.
    pub fn open(url: Url, bundle: &Bundle, file: &Path, most: u64) -> Result<Self, BundleError> {
        let disk = |error: std::io::Error| BundleError::Disk(error.to_string());
        let (whole, size) = (file.to_owned(), bundle.size);
        if fs::metadata(file).is_ok_and(|found| found.len() == size) {
            return Ok(Self { url, download: None, whole, size });
        }
        if let Some(directory) = file.parent() {
            make_directory(directory).map_err(disk)?;
            let needed = size.saturating_mul(COPIES).saturating_add(SPARE);
            // More than may be fetched is told as that.
            if let Some(free) = free(directory).filter(|free| *free < needed && size <= most) {
                let why = format!("no room on the disk for {size} bytes: {free} are free");
                return Err(BundleError::Disk(why));
            }
        }
        let (name, sha256) = (bundle.name.clone(), bundle.sha256.clone());
        let download = Download::open_as(name, file, sha256, size, most).map_err(failed)?;
        Ok(Self { url, download: Some(download), whole, size })
    }

    /// Bytes that are there, and all.
    pub fn progress(&self) -> (u64, u64) {
        self.download.as_ref().map_or((self.size, self.size), Download::progress)
    }

    /// Fetches the next piece, of so many bytes at most; the file, once it is all there and verified.
    pub async fn step(
        &mut self,
        hawkbit: &Hawkbit,
        most: u64,
    ) -> Result<Option<&Path>, BundleError> {
        if let Some(mut download) = self.download.take() {
            let artifact = Artifact { hawkbit, url: &self.url };
            let stepped = download.step(&artifact, most).await;
            if !matches!(stepped, Ok(false)) {
                self.download = Some(download);
                return stepped.map(|_| None).map_err(failed);
            }
            // It syncs, which takes its time on a card.
            let finished = tokio::task::spawn_blocking(move || download.finish()).await;
            let finished = finished.map_err(|error| BundleError::Disk(error.to_string()))?;
            finished.map_err(failed)?;
        }
        Ok(Some(&self.whole))
    }
}

fn failed(error: DownloadError) -> BundleError {
    let why = error.to_string();
    match error {
        DownloadError::Fetch(FetchError::Later { reason, after, .. }) => {
            BundleError::Server(DdiError::Later { reason, after })
        }
        // A token that is exchanged, a rule of a proxy: somebody may put it right.
        DownloadError::Fetch(_) => BundleError::Server(DdiError::Strange(why)),
        DownloadError::Missing(name) => {
            let why = format!("the server has no {name}, or not for this device");
            BundleError::Server(DdiError::Strange(why))
        }
        DownloadError::Disk { .. } | DownloadError::Torn(_) => BundleError::Disk(why),
        DownloadError::Other { path, reason } => {
            BundleError::Bad(format!("{path} is not what the server said: {reason}"))
        }
        DownloadError::TooLarge { .. } => BundleError::Bad(why),
    }
}

/// A file behind a link.
struct Artifact<'a> {
    hawkbit: &'a Hawkbit,
    url: &'a Url,
}

impl Source for Artifact<'_> {
    async fn read(&self, path: &str, from: u64, most: u64) -> Result<Option<Bytes>, FetchError> {
        let wanted = range(from, most);
        let mut headers = HeaderMap::new();
        if let Ok(range) = HeaderValue::from_str(&wanted) {
            headers.insert(RANGE, range);
        }
        if let Err(error) = self.hawkbit.sign(self.url, &mut headers).await {
            let (path, reason) = (path.to_owned(), error.to_string());
            return Err(FetchError::Later { path, reason, after: None });
        }
        let pieces = &self.hawkbit.pieces;
        let reply = pieces.request(Method::GET, self.url, headers, Bytes::new()).await;
        piece(path, reply, from, most)
    }
}
