//! Whether what serves is still what was signed, and how it is made whole again.
//!
//! What was fetched is kept: its name is its SHA-256, which the repository's keeper signed for. First that is looked at,
//! then what was laid out of it is compared with it, byte by byte.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::archive;
use super::delta;
use super::depot::Depot;
use super::layout::unpack;
use super::release::Content;
use super::sign::hex;
use super::slots;
use crate::disk;

/// A release that serves, and what was fetched of it.
#[derive(Debug, Clone)]
pub struct Serves {
    /// What it is.
    pub content: Content,
    /// As it was signed.
    pub sha256: Vec<u8>,
    /// Where what was fetched lies.
    pub archive: PathBuf,
    /// Of what comes out of it, where that was signed too.
    pub plain: Option<Vec<u8>>,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// All is as it was signed.
    Whole,
    /// What serves is not.
    Damaged,
    /// What was fetched is gone or damaged, so that what serves cannot be vouched for, or not be mended.
    Unknown,
}

impl Serves {
    /// Looks at every byte: to be called where it may take its time.
    pub fn look(&self, depot: &Depot) -> io::Result<Found> {
        let place = self.place(depot);
        if let Content::Config { .. } | Content::Binary { .. } = self.content {
            return Ok(match hash(&place) {
                Ok(found) if found == self.sha256 => Found::Whole,
                Ok(_) | Err(_) => Found::Damaged,
            });
        }
        if !self.is_fetched() {
            return Ok(Found::Unknown);
        }
        let same = archive::holds(delta::open(&self.archive)?, &place);
        Ok(if same { Found::Whole } else { Found::Damaged })
    }

    /// Lays it out anew from what was fetched; false: that is not whole itself.
    pub fn mend(&self, depot: &Depot, most: u64) -> Result<bool, String> {
        let told = |error: io::Error| error.to_string();
        if !self.is_fetched() {
            return Ok(false);
        }
        let (staged, place) = (depot.staged(&self.content), self.place(depot));
        if let Err(error) = unpack(depot, &self.content, &self.archive, most) {
            // A part of it would fill the disk for the next ones.
            let _gone = depot.clear(&staged);
            return Err(error);
        }
        match &self.content {
            Content::Model { name, version } => {
                depot.clear(&place).map_err(told)?;
                depot.commit_model(name, *version).map_err(told)?;
            }
            Content::Config { .. } => disk::rename(&staged, &place).map_err(told)?,
            Content::Binary { version, .. } => {
                // One over the other: a start in between finds one of the two.
                let slot = depot.place("slots").join(version);
                disk::make_directory(&slot).map_err(told)?;
                disk::rename(&staged.join("eir"), &place).map_err(told)?;
                depot.clear(&staged).map_err(told)?;
            }
        }
        Ok(true)
    }

    /// What was fetched, or made by a patch, is as it was signed.
    pub fn is_fetched(&self) -> bool {
        let made = delta::unpacked(&self.archive);
        let (path, signed) = match &self.plain {
            Some(plain) if made.is_file() => (&made, plain),
            _ => (&self.archive, &self.sha256),
        };
        hash(path).is_ok_and(|found| found == *signed)
    }

    fn place(&self, depot: &Depot) -> PathBuf {
        match &self.content {
            Content::Model { name, version } => depot.model(name, *version),
            Content::Config { name, version } => depot.layer(name, *version),
            Content::Binary { version, .. } => slots::program(&depot.place(""), version),
        }
    }

    /// In hexadecimal.
    pub fn hex(&self) -> String {
        hex(&self.sha256)
    }
}

/// Of all of a file.
pub(super) fn hash(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().to_vec()),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn one_byte_is_noticed_and_mended() {
        let place = tempfile::tempdir().expect("tempdir");
        let depot = Depot::at(place.path());
        let _held = depot.own().expect("free");
        let package = place.path().join("package");
        fs::create_dir_all(package.join("golden")).expect("directory");
        for file in ["model.onnx", "golden/00.json"] {
            disk::replace(&package.join(file), b"as it was signed").expect("file");
        }
        let name: crate::event::Name = "a".parse().expect("a name");
        let packed = archive::pack(&package).expect("packed");
        let plain = b"[log]\n".to_vec();
        for (content, bytes) in [
            (Content::Model { name: name.clone(), version: 1 }, packed),
            (Content::Config { name: name.clone(), version: 1 }, plain.clone()),
            (Content::Binary { version: "1.0.0".to_owned(), triple: "t".to_owned() }, plain),
        ] {
            let sha256 = Sha256::digest(&bytes).to_vec();
            let archive = place.path().join("download").join(hex(&sha256));
            disk::replace(&archive, &bytes).expect("fetched");
            let serves = Serves { content, sha256, archive, plain: None };
            assert!(serves.mend(&depot, 1 << 20).expect("laid out"));
            assert_eq!(serves.look(&depot).expect("looked"), Found::Whole);
            let served = serves.place(&depot);
            let file = if served.is_dir() { served.join("golden/00.json") } else { served };
            let mut damaged = fs::read(&file).expect("read");
            damaged[3] ^= 1;
            disk::replace(&file, &damaged).expect("damaged");
            assert_eq!(serves.look(&depot).expect("looked"), Found::Damaged);
            assert!(serves.mend(&depot, 1 << 20).expect("mended"));
            assert_eq!(serves.look(&depot).expect("looked"), Found::Whole);
            disk::replace(&serves.archive, b"another").expect("damaged");
            assert!(!serves.mend(&depot, 1 << 20).expect("it cannot be mended"));
        }
    }
}
