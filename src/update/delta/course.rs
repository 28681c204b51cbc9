//! The way to the bytes of a release: what has changed since one that is here, and where that does not lead there, the
//! whole.
//!
//! Whoever has begun with the whole goes on with it. So a patch is given up by beginning the whole, and while a
//! patch is applied the whole counts as begun: what ends the process there is met once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::mem;
use std::path::{Path, PathBuf};

use tough::schema::Target;

use super::{DeltaError, MOST, Offered, Patch, apply, is_packed, unpacked};
use crate::disk;
use crate::update::archive;
use crate::update::download::{Download, DownloadError};
use crate::update::integrity::hash;
use crate::update::release::Content;
use crate::update::sign::hex;
use crate::update::source::{FetchError, Source};

/// A release under way. Dropped, it goes on from where it is the next time.
#[derive(Debug)]
pub struct Course {
    directory: PathBuf,
    name: String,
    target: Target,
    most: u64,
    way: Way,
    /// Tries in a row that brought nothing.
    tries: u8,
}

/// So many are enough for a patch.
const TRIES: u8 = 10;

#[derive(Debug)]
enum Way {
    /// All of it is fetched.
    Whole(Download),
    /// What has changed is fetched.
    Patch(Download, Box<Patch>),
    /// A patch has made it.
    Made,
    /// All of it is to be fetched.
    Open,
}

impl Course {
    /// Begins or goes on with a target, in a directory that is there; no more than `most` bytes are ever taken.
    pub fn open(
        directory: PathBuf,
        name: String,
        target: Target,
        offered: Offered,
        most: u64,
    ) -> Result<Self, DownloadError> {
        let mut course = Self { directory, name, target, most, way: Way::Open, tries: 0 };
        if course.is_made(offered.plain.as_deref()) {
            course.way = Way::Made;
            return Ok(course);
        }
        let archive = course.archive();
        let is_begun = archive.is_file() || archive.with_extension("part").is_file();
        if let Some(patch) = offered.patch.filter(|_| !is_begun) {
            match Download::open(&course.directory, &patch.name, &patch.target, most) {
                Ok(download) => course.way = Way::Patch(download, Box::new(patch)),
                Err(error) => tell(&patch, &error),
            }
        }
        course.ready()?;
        Ok(course)
    }

    /// Bytes that are there, and all.
    pub const fn progress(&self) -> (u64, u64) {
        match &self.way {
            Way::Whole(download) | Way::Patch(download, _) => download.progress(),
            Way::Made => (self.target.length, self.target.length),
            Way::Open => (0, self.target.length),
        }
    }

    /// Fetches the next piece, of so many bytes at most, of whatever is best then; false: the release is there, verified, on
    /// the disk for good.
    pub async fn step(&mut self, source: &impl Source, most: u64) -> Result<bool, DownloadError> {
        self.ready()?;
        let before = self.progress().0;
        let stepped = match &mut self.way {
            Way::Whole(download) | Way::Patch(download, _) => download.step(source, most).await,
            Way::Made | Way::Open => return Ok(false),
        };
        // A patch that does not come is no reason to wait for ever: the whole may.
        self.tries = if self.progress().0 > before { 0 } else { self.tries.saturating_add(1) };
        match (stepped, &self.way) {
            (Ok(false), _) => self.finish().await,
            (Err(error), Way::Patch(download, patch))
                if is_lasting(&error) || self.tries >= TRIES =>
            {
                download.forget();
                tell(patch, &error);
                self.way = Way::Open;
                Ok(true)
            }
            (stepped, _) => stepped,
        }
    }

    /// All of it is begun, where nothing else is.
    fn ready(&mut self) -> Result<(), DownloadError> {
        if matches!(self.way, Way::Open) {
            let whole = Download::open(&self.directory, &self.name, &self.target, self.most)?;
            self.way = Way::Whole(whole);
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<bool, DownloadError> {
        let (download, patch) = match mem::replace(&mut self.way, Way::Open) {
            Way::Whole(download) => return download.finish().map(|_| false),
            Way::Patch(download, patch) => (download, patch),
            Way::Made | Way::Open => return Ok(false),
        };
        let fetched = match download.finish() {
            Ok(fetched) => fetched,
            Err(error) => {
                tell(&patch, &error);
                return Ok(true);
            }
        };
        self.ready()?;
        let (result, packed, made_of) = (self.result(), self.is_packed(), patch.clone());
        let make = move || {
            let made = make(&fetched, &made_of, packed, &result);
            let _may_be_gone = fs::remove_file(&fetched);
            made
        };
        let made = tokio::task::spawn_blocking(make).await;
        if let Err(error) = made.unwrap_or_else(|error| Err(io::Error::other(error).into())) {
            tell(&patch, &error);
            return Ok(true);
        }
        if let Way::Whole(whole) = mem::replace(&mut self.way, Way::Made) {
            whole.forget();
        }
        Ok(false)
    }

    /// A patch made it before, and it is what was signed still; nothing is left where it is not.
    fn is_made(&self, plain: Option<&[u8]>) -> bool {
        let made = self.result();
        if !self.is_packed() || !made.is_file() {
            return false;
        }
        let is_it = hash(&made).is_ok_and(|found| Some(&found[..]) == plain);
        let other = if is_it { self.archive().with_extension("part") } else { made };
        let _may_be_gone = fs::remove_file(other);
        is_it
    }

    /// Where it lies once it is fetched.
    fn archive(&self) -> PathBuf {
        self.directory.join(hex(&self.target.hashes.sha256))
    }

    fn is_packed(&self) -> bool {
        is_packed(Content::of(&self.name).as_ref())
    }

    /// Where what a patch makes of it lies.
    fn result(&self) -> PathBuf {
        let archive = self.archive();
        if self.is_packed() { unpacked(&archive) } else { archive }
    }
}

fn tell(patch: &Patch, error: &dyn std::error::Error) {
    tracing::warn!(patch = patch.name, "the whole is fetched, for the patch is of no use: {error}");
}

/// Fetched again, it would be the same.
const fn is_lasting(error: &DownloadError) -> bool {
    !matches!(
        error,
        DownloadError::Fetch(FetchError::Later { .. })
            | DownloadError::Disk { .. }
            | DownloadError::Torn(_)
    )
}

/// The new file beside the old one, under its name once it is verified and on the disk.
fn make(fetched: &Path, patch: &Patch, packed: bool, result: &Path) -> Result<(), DeltaError> {
    let staged = result.with_extension("tar.new");
    let _what_was_cut_off = fs::remove_file(&staged);
    let made = stage(fetched, patch, packed, &staged);
    if made.is_err() {
        let _may_be_gone = fs::remove_file(&staged);
    }
    made?;
    Ok(disk::rename(&staged, result)?)
}

fn stage(fetched: &Path, patch: &Patch, packed: bool, staged: &Path) -> Result<(), DeltaError> {
    let old = base(&patch.base, packed, staged)?;
    let new = OpenOptions::new().write(true).create_new(true).open(staged)?;
    apply(File::open(fetched)?, old, &new, &patch.plain)?;
    Ok(new.sync_all()?)
}

/// The old file as patches know it. Unpacked, it is gone with the handle.
fn base(base: &Path, packed: bool, scratch: &Path) -> io::Result<File> {
    if !packed {
        return File::open(base);
    }
    if let Ok(tar) = File::open(unpacked(base)) {
        return Ok(tar);
    }
    let archive = archive::packed(File::open(base)?)?;
    let mut open = OpenOptions::new();
    let mut file = open.read(true).write(true).create_new(true).open(scratch)?;
    fs::remove_file(scratch)?;
    let copied = io::copy(&mut archive.take(MOST + 1), &mut file)?;
    if copied > MOST {
        return Err(io::Error::other(format!("the old file has more than {MOST} bytes")));
    }
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests;
