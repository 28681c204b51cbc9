//! How a release that was fetched is laid out beside what serves.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::archive::{self, Limits};
use super::delta;
use super::depot::Depot;
use super::release::Content;
use crate::disk;

/// Files of a model.
const MAX_ENTRIES: usize = 10_000;

/// Bytes of a layer of the configuration.
const MAX_LAYER: u64 = 1 << 20;

/// Lays out a release, for good: the next state counts on it. What an earlier try left is thrown away.
pub(super) fn unpack(
    depot: &Depot,
    content: &Content,
    archive: &Path,
    most: u64,
) -> Result<(), String> {
    let staged = depot.staged(content);
    let told = |error: &dyn std::error::Error| error.to_string();
    depot.clear(&staged).map_err(|error| told(&error))?;
    let laid_out = match content {
        Content::Model { .. } => {
            let tar = delta::open(archive).map_err(|error| told(&error))?;
            let limits = Limits { bytes: most, entries: MAX_ENTRIES };
            archive::unpack_tar(tar, &staged, limits).map_err(|error| told(&error))
        }
        Content::Config { .. } => disk::read_bounded(archive, MAX_LAYER)
            .and_then(|bytes| disk::replace(&staged, &bytes))
            .map_err(|error| told(&error)),
        Content::Binary { .. } => copy_program(archive, &staged).map_err(|error| told(&error)),
    };
    laid_out?;
    // The name of what lies there.
    let all = staged.parent().unwrap_or(&staged);
    File::open(all).and_then(|all| all.sync_all()).map_err(|error| told(&error))
}

/// `eir` in a directory of its own, which may be executed.
fn copy_program(from: &Path, staged: &Path) -> io::Result<()> {
    fs::create_dir(staged)?;
    let mut open = fs::OpenOptions::new();
    let mut to = open.write(true).create_new(true).mode(0o755).open(staged.join("eir"))?;
    io::copy(&mut File::open(from)?, &mut to)?;
    to.sync_all()?;
    File::open(staged)?.sync_all()
}

/// Bytes that are free on the disk below a directory.
pub(super) fn free(directory: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(directory).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}
