//! Files that are replaced whole, so that a power cut leaves the old one or the new one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

#[cfg(test)]
pub(crate) mod power;

/// Writes `bytes` beside `path`, syncs them, and puts them in its place by rename.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with_mode(path, bytes, 0o666)
}

/// The same, with permissions that hold from the first byte on, less the umask.
pub fn replace_with_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = parent(path);
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let staged = directory.join(name);
    // What an earlier try left there has permissions of its own.
    let _none_left = fs::remove_file(&staged);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&staged, path)?;
    File::open(directory)?.sync_all()
}

/// Takes a file for this process alone, and makes it if it is not there. It is free again when what is
/// returned is dropped, or the process has ended; [`io::ErrorKind::WouldBlock`]: another one has it.
pub fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o666).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Renames a file within its directory or into another on the same disk, for good: not even a power cut
/// takes it back.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    File::open(parent(to))?.sync_all()
}

/// Makes a directory, and those above it that are not there, for good.
pub fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent(path);
    make_directory(above)?;
    match fs::create_dir(path) {
        // Somebody else made it meanwhile.
        Err(_) if path.is_dir() => {}
        made => made?,
    }
    File::open(above)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a file of at most `limit` bytes; a larger one is an error that says so.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let size = fs::metadata(path)?.len();
    if size > limit {
        return Err(io::Error::other(format!("{size} bytes are over the limit of {limit}")));
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("state.json");
        replace(&path, b"one").expect("first");
        replace(&path, b"two").expect("second");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(fs::read_dir(directory.path()).expect("dir").count(), 1);
        assert!(read_bounded(&path, 2).is_err());
    }

    #[test]
    fn a_directory_is_made_with_those_above_it() {
        let place = tempfile::tempdir().expect("tempdir");
        let path = place.path().join("a/b/c");
        for _ in 0..2 {
            make_directory(&path).expect("made");
            assert!(path.is_dir());
        }
        replace(&place.path().join("file"), b"").expect("file");
        make_directory(&place.path().join("file/d")).expect_err("a file is in the way");
    }

    #[test]
    fn a_lock_has_one_holder() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("lock");
        let held = lock(&path).expect("free");
        assert_eq!(lock(&path).expect_err("taken").kind(), io::ErrorKind::WouldBlock);
        drop(held);
        lock(&path).expect("free again");
    }
}
