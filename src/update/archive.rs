//! What a release's model is packed in: `.tar.zst`, the same bytes for the same files, and opened as if it came from an
//! enemy.
//!
//! Only regular files and directories are taken, by relative names without `..`, each once, within [`Limits`]; whatever
//! else an archive holds, links and devices among it, refuses the whole of it. What a name or a header says about owners,
//! times and permissions is nobody's business and left out both ways.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use tar::{Builder, EntryType, Header, HeaderMode};
use thiserror::Error;

/// zstd's level: what is packed once and fetched by a fleet may take a while.
const LEVEL: i32 = 19;

/// The largest window that unpacking may ask memory for: 2^24 bytes, 16 MiB; [`LEVEL`] takes half of it.
const MOST_WINDOW: u32 = 24;

/// Directories within directories.
const MAX_DEPTH: usize = 8;

/// What an archive may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all its files.
    pub bytes: u64,
    /// Files and directories.
    pub entries: usize,
}

/// An archive that is not made or not opened.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The disk, or an archive that is cut off or damaged.
    #[error("{what}: {reason}")]
    Io {
        /// The file that was being read or written.
        what: PathBuf,
        /// What the system or the decoder says.
        reason: io::Error,
    },
    /// Something that no archive of ours holds.
    #[error("the archive holds `{name}`, {reason}")]
    Refused {
        /// As the archive calls it.
        name: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// More than it may hold.
    #[error("the archive holds more than {0}")]
    TooMuch(String),
}

/// Packs all files below a directory. What is hidden (`.name`) stays out.
pub fn pack(directory: &Path) -> Result<Vec<u8>, ArchiveError> {
    let mut files = Vec::new();
    walk(directory, Path::new(""), &mut files)?;
    pack_files(directory, files)
}

/// Packs some files of a directory.
pub fn pack_files(directory: &Path, mut files: Vec<PathBuf>) -> Result<Vec<u8>, ArchiveError> {
    let failed = |reason| ArchiveError::Io { what: directory.to_owned(), reason };
    files.sort();
    let encoder = zstd::stream::Encoder::new(Vec::new(), LEVEL).map_err(failed)?;
    let mut archive = Builder::new(encoder);
    archive.mode(HeaderMode::Deterministic);
    for name in files {
        let path = directory.join(&name);
        let failed = |reason| ArchiveError::Io { what: path.clone(), reason };
        let file = File::open(&path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(size);
        header.set_mtime(0);
        let too_long = |_| {
            let (name, reason) = (name.display().to_string(), "a name that is too long");
            ArchiveError::Refused { name, reason }
        };
        header.set_path(&name).map_err(too_long)?;
        header.set_cksum();
        archive.append(&header, file.take(size)).map_err(failed)?;
    }
    archive.into_inner().and_then(zstd::stream::Encoder::finish).map_err(failed)
}

/// Regular files below `within`, by their names relative to `root`.
fn walk(root: &Path, within: &Path, files: &mut Vec<PathBuf>) -> Result<(), ArchiveError> {
    let directory = root.join(within);
    let failed = |reason| ArchiveError::Io { what: directory.clone(), reason };
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (name, kind) = (within.join(entry.file_name()), entry.file_type().map_err(failed)?);
        let refused = |reason| {
            let name = name.display().to_string();
            Err(ArchiveError::Refused { name, reason })
        };
        if plain(&name).is_none() {
            return refused("a name that leads elsewhere, or is too deep");
        }
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if kind.is_dir() {
            walk(root, &name, files)?;
        } else if kind.is_file() {
            files.push(name);
        } else {
            return refused("which is neither a file nor a directory");
        }
    }
    Ok(())
}

/// What an archive holds, as one file, the tar. It may be without an end.
pub fn packed(archive: impl Read) -> io::Result<impl Read> {
    let mut decoder = zstd::stream::Decoder::new(archive)?;
    decoder.window_log_max(MOST_WINDOW)?;
    Ok(decoder)
}

/// Unpacks an archive into a directory that is not there yet, and has all of it on the disk. After an error there may be
/// a part of it; who unpacks removes that.
pub fn unpack(archive: impl Read, into: &Path, limits: Limits) -> Result<(), ArchiveError> {
    let tar = packed(archive);
    let tar = tar.map_err(|reason| ArchiveError::Io { what: into.to_owned(), reason })?;
    unpack_tar(tar, into, limits)
}

/// The same with what is not packed any more.
pub fn unpack_tar(tar: impl Read, into: &Path, limits: Limits) -> Result<(), ArchiveError> {
    let at = |what: &Path| {
        let what = what.to_owned();
        move |reason| ArchiveError::Io { what, reason }
    };
    fs::create_dir(into).map_err(at(into))?;
    // Headers and padding count too: nothing that is unpacked is without an end.
    let overhead = 2048 * limits.entries as u64 + (1 << 20);
    let most = limits.bytes.saturating_add(overhead);
    let mut archive = tar::Archive::new(tar.take(most));
    let (mut left, mut entries, mut seen) = (limits.bytes, 0, HashSet::new());
    // As they are: an entry that says how another is called may be as large as the archive, and is refused.
    for entry in archive.entries().map_err(at(into))?.raw(true) {
        let mut entry = entry.map_err(at(into))?;
        entries += 1;
        if entries > limits.entries {
            return Err(ArchiveError::TooMuch(format!("{} entries", limits.entries)));
        }
        let name = entry.path().map_err(at(into))?.into_owned();
        let refused =
            |reason| Err(ArchiveError::Refused { name: name.display().to_string(), reason });
        let Some(relative) = plain(&name) else {
            return refused("a name that leads elsewhere, or is too deep");
        };
        if !seen.insert(relative.clone()) {
            return refused("twice");
        }
        let path = into.join(&relative);
        match entry.header().entry_type() {
            EntryType::Directory => fs::create_dir_all(&path).map_err(at(&path))?,
            EntryType::Regular => {
                let size = entry.size();
                left = left
                    .checked_sub(size)
                    .ok_or_else(|| ArchiveError::TooMuch(format!("{} bytes", limits.bytes)))?;
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(at(parent))?;
                }
                let mut new = OpenOptions::new();
                let mut file = new.write(true).create_new(true).open(&path).map_err(at(&path))?;
                let copied = io::copy(&mut entry, &mut file).map_err(at(&path))?;
                if copied != size {
                    return refused("which is cut off");
                }
                file.flush().and_then(|()| file.sync_all()).map_err(at(&path))?;
            }
            _ => return refused("which is neither a file nor a directory"),
        }
    }
    sync_directories(into)
}

/// Whether a directory holds what a tar does, byte by byte. It is one that was unpacked before.
pub fn holds(tar: impl Read, directory: &Path) -> bool {
    let compare = || -> io::Result<bool> {
        let mut archive = tar::Archive::new(tar);
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            if entry.header().entry_type() != EntryType::Regular {
                continue;
            }
            let path = directory.join(entry.path()?);
            let mut file = io::BufReader::new(File::open(path)?);
            let (mut theirs, mut ours) = ([0; 8192], [0; 8192]);
            loop {
                let read = entry.read(&mut theirs)?;
                if read == 0 {
                    break;
                }
                file.read_exact(&mut ours[..read])?;
                if theirs[..read] != ours[..read] {
                    return Ok(false);
                }
            }
            if file.read(&mut ours)? != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    };
    compare().unwrap_or(false)
}

/// A relative name of plain parts; `None`: it is none.
fn plain(name: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    let depth = parts.components().count();
    (1..=MAX_DEPTH).contains(&depth).then_some(parts)
}

/// The names in a directory are on the disk once it is synced itself.
fn sync_directories(directory: &Path) -> Result<(), ArchiveError> {
    let failed = |reason| ArchiveError::Io { what: directory.to_owned(), reason };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            sync_directories(&entry.path())?;
        }
    }
    File::open(directory).and_then(|file| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk;

    const ROOM: Limits = Limits { bytes: 1 << 20, entries: 100 };

    fn place() -> tempfile::TempDir {
        tempfile::tempdir().expect("tempdir")
    }

    /// An archive as no honest tool makes it.
    fn forged(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut archive = Builder::new(zstd::stream::Encoder::new(Vec::new(), 1).expect("zstd"));
        for (name, kind, bytes) in entries {
            let mut header = Header::new_gnu();
            // As bytes: the library refuses to write such names.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o6777);
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.set_link_name("/etc/passwd").expect("a short name");
            }
            header.set_cksum();
            archive.append(&header, *bytes).expect("memory");
        }
        archive.into_inner().and_then(zstd::stream::Encoder::finish).expect("memory")
    }

    fn refusal(archive: &[u8], limits: Limits) -> String {
        let place = place();
        let error = unpack(archive, &place.path().join("in"), limits).expect_err("it is refused");
        let outside: Vec<_> = fs::read_dir(place.path()).expect("place").flatten().collect();
        assert_eq!(outside.len(), 1, "something was written outside: {outside:?}");
        error.to_string()
    }

    #[test]
    fn the_same_files_are_the_same_bytes_and_come_out_as_they_went_in() {
        let place = place();
        let mut packed = Vec::new();
        for name in ["one", "two"] {
            let directory = place.path().join(name);
            fs::create_dir_all(directory.join("golden")).expect("directory");
            // In another order each time.
            let mut files = [("model.onnx", "graph"), ("golden/00.json", "{}"), (".hidden", "no")];
            if name == "two" {
                files.reverse();
            }
            for (file, text) in files {
                disk::replace(&directory.join(file), text.as_bytes()).expect("file");
            }
            packed.push(pack(&directory).expect("packed"));
        }
        assert_eq!(packed[0], packed[1]);
        let into = place.path().join("out");
        unpack(&packed[0][..], &into, ROOM).expect("unpacked");
        assert_eq!(fs::read(into.join("golden/00.json")).expect("there"), b"{}");
        assert_eq!(fs::read(into.join("model.onnx")).expect("there"), b"graph");
        assert!(!into.join(".hidden").exists());
        unpack(&packed[0][..], &into, ROOM).expect_err("it is there already");
    }

    #[test]
    fn what_leads_elsewhere_or_is_no_file_is_refused() {
        for (name, kind, told) in [
            ("/etc/eir.toml", EntryType::Regular, "leads elsewhere"),
            ("../out", EntryType::Regular, "leads elsewhere"),
            ("a/../../out", EntryType::Regular, "leads elsewhere"),
            ("a/a/a/a/a/a/a/a/a", EntryType::Regular, "too deep"),
            (".", EntryType::Directory, "leads elsewhere"),
            ("a", EntryType::Symlink, "neither"),
            ("a", EntryType::Link, "neither"),
            ("a", EntryType::Char, "neither"),
            ("a", EntryType::Block, "neither"),
            ("a", EntryType::Fifo, "neither"),
            ("a", EntryType::GNULongName, "neither"),
            ("a", EntryType::XHeader, "neither"),
        ] {
            let error = refusal(&forged(&[(name, kind, b"")]), ROOM);
            assert!(error.contains(told) && error.contains(name), "{name} {kind:?}: {error}");
        }
        let twice = [("a", EntryType::Regular, &b"1"[..]), ("./a", EntryType::Regular, b"2")];
        assert!(refusal(&forged(&twice), ROOM).contains("twice"));
        let within = [("a", EntryType::Regular, &b"1"[..]), ("a/b", EntryType::Regular, b"2")];
        assert!(refusal(&forged(&within), ROOM).contains('a'), "a file is no directory");
    }

    #[test]
    fn what_grows_without_an_end_is_stopped() {
        let zeros = vec![0; 4 << 20];
        let bomb = forged(&[("zeros", EntryType::Regular, &zeros)]);
        assert!(bomb.len() < 4096, "{}", bomb.len());
        assert!(refusal(&bomb, ROOM).contains("more than 1048576 bytes"));
        let name = |number: usize| format!("file-{number}");
        let names: Vec<_> = (0..200).map(name).collect();
        let many: Vec<_> =
            names.iter().map(|name| (name.as_str(), EntryType::Regular, &b""[..])).collect();
        assert!(refusal(&forged(&many), ROOM).contains("more than 100 entries"));
        // Zeros behind the end of the archive are never read.
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("zstd");
        encoder.write_all(&vec![0; 64 << 20]).expect("memory");
        let endless = encoder.finish().expect("memory");
        let place = place();
        unpack(&endless[..], &place.path().join("in"), ROOM).expect("it is empty");
    }

    #[test]
    fn what_is_cut_off_or_no_archive_is_an_error_that_says_so() {
        let place = place();
        let from = place.path().join("from");
        fs::create_dir(&from).expect("directory");
        let noise: Vec<u8> =
            (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        disk::replace(&from.join("a"), &noise).expect("file");
        let whole = pack(&from).expect("packed");
        for length in [0, 1, 10, whole.len() / 2, whole.len() - 5] {
            let error = refusal(&whole[..length], ROOM);
            assert!(
                error.contains("in: ") || error.contains("in/a: ") || error.contains("cut off"),
                "{length}: {error}"
            );
        }
        assert!(refusal(b"no archive at all", ROOM).contains("in: "));
    }
}
