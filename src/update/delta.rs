//! A release as what has changed since an older one, which is here.
//!
//! A patch is a target of its own, `deltas/<SHA-256 of the old target>-<SHA-256 of the new one>`, signed like any other. It
//! leads from what the old archive holds, the plain tar, to what the new one does; from file to file where releases are not
//! packed. What comes out is believed by its own hash and length, which are signed with the patch, and by nothing else: a
//! patch that is wrong, or was made for another file, costs the time and no more.
//!
//! It is one zstd frame with these, until there is as much as there should be; numbers are LEB128, those with a sign
//! in zigzag:
//!
//! ```text
//! bytes that follow (number), and those
//! how far on or back in the old file (number with a sign) from where the last piece of it ended
//! bytes of the old file (number, not 0), and as many differences, byte by byte
//! ```
//!
//! Whoever applies it reads both files from the disk as they are needed: 16 MiB of memory at most, however large they are.

mod apply;
mod course;
mod make;
mod matches;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tough::schema::Target;
use tough::schema::decoded::{Decoded, Hex};

pub use self::apply::{DeltaError, apply};
pub use self::course::Course;
pub use self::make::make;
use super::archive;
use super::release::Content;
use super::sign::hex;

/// Bytes that either file may have, unpacked. Whoever makes a patch holds both, and as much again for what is made of
/// them; a device needs room on its disk for three files of that size.
pub const MOST: u64 = 128 << 20;

/// As written above; another number is a patch that another eir understands.
const FORM: u32 = 1;

const DIRECTORY: &str = "deltas/";

/// What is said of a patch, signed with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Said {
    /// How it is written.
    form: u32,
    /// What comes out.
    pub plain: Plain,
}

/// A file before it is packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plain {
    /// Its hash.
    pub sha256: Decoded<Hex>,
    /// Its bytes, at most [`MOST`].
    pub length: u64,
}

/// A patch whose old file is here.
#[derive(Debug, Clone)]
pub struct Patch {
    /// As the repository calls it.
    name: String,
    target: Target,
    /// Where the old target lies, or would.
    base: PathBuf,
    plain: Plain,
}

/// What leads to a target besides the whole of it.
#[derive(Debug, Clone)]
pub struct Offered {
    /// The smallest patch.
    patch: Option<Patch>,
    /// The hash of what any patch makes.
    plain: Option<Vec<u8>>,
}

impl Said {
    /// Of a patch as it is made here.
    pub const fn new(plain: Plain) -> Self {
        Self { form: FORM, plain }
    }

    /// As a target has it; `None`: it is no patch that is understood here.
    pub(super) fn of(target: &Target) -> Option<Self> {
        let custom = serde_json::to_value(&target.custom).and_then(serde_json::from_value);
        custom.ok().filter(|said: &Self| said.form == FORM && said.plain.length <= MOST)
    }
}

/// What a patch between two targets is called.
pub fn name(from: &[u8], to: &[u8]) -> String {
    format!("{DIRECTORY}{}-{}", hex(from), hex(to))
}

/// The hashes of the two targets that a patch is between; `None`: it is no patch.
pub fn ends(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(DIRECTORY)?.split_once('-')
}

/// What leads to a target from what is here. `room` is what may be written, in bytes.
pub fn offered<'a>(
    targets: impl Iterator<Item = (&'a str, &'a Target)>,
    directory: &Path,
    wanted: &Target,
    room: u64,
) -> Offered {
    let wanted = hex(&wanted.hashes.sha256);
    let mut offered = Offered { patch: None, plain: None };
    for (name, target) in targets {
        let Some((from, _)) = ends(name).filter(|(_, to)| *to == wanted) else { continue };
        let Some(Said { plain, .. }) = Said::of(target) else { continue };
        let needed = target.length.saturating_add(plain.length.saturating_mul(3));
        offered.plain = Some(plain.sha256.to_vec());
        // It comes out of signed metadata, and becomes the name of a file all the same.
        let is_hash = from.len() == 64 && from.bytes().all(|byte| byte.is_ascii_hexdigit());
        let base = directory.join(from);
        let is_here = is_hash && (base.is_file() || unpacked(&base).is_file());
        let best = offered.patch.as_ref().map_or(u64::MAX, |patch| patch.target.length);
        if is_here && needed <= room && target.length < best {
            let (name, target) = (name.to_owned(), target.clone());
            offered.patch = Some(Patch { name, target, base, plain });
        }
    }
    offered
}

/// What comes out of a target, where a patch that leads to it says that: its hash.
pub fn plain<'a>(
    targets: impl Iterator<Item = (&'a str, &'a Target)>,
    of: &Target,
) -> Option<Vec<u8>> {
    let of = hex(&of.hashes.sha256);
    let mut leading = targets.filter(|(name, _)| ends(name).is_some_and(|(_, to)| to == of));
    leading.find_map(|(_, target)| Some(Said::of(target)?.plain.sha256.to_vec()))
}

/// The hashes of the patches that lead to some targets.
pub fn leading_to<'a>(
    targets: impl Iterator<Item = (&'a str, &'a Target)>,
    wanted: &BTreeSet<String>,
) -> Vec<String> {
    let leading = targets.filter(|(name, _)| ends(name).is_some_and(|(_, to)| wanted.contains(to)));
    leading.map(|(_, target)| hex(&target.hashes.sha256)).collect()
}

/// What an archive holds, as one file, the tar; whether it was fetched or made.
pub fn open(archive: &Path) -> io::Result<Box<dyn Read>> {
    match File::open(unpacked(archive)) {
        Ok(tar) => Ok(Box::new(tar)),
        Err(_) => Ok(Box::new(archive::packed(File::open(archive)?)?)),
    }
}

/// Where an archive lies that came out of a patch, and so is not packed.
pub fn unpacked(archive: &Path) -> PathBuf {
    archive.with_extension("tar")
}

/// Releases of this kind are packed, and patched as what is in there.
pub fn is_packed(content: Option<&Content>) -> bool {
    matches!(content, Some(Content::Model { .. }))
}

#[cfg(test)]
mod tests;
