//! What a power loss may leave of the files of a process, for the tests of all who keep something.
//!
//! A process that is killed leaves all that it wrote to the kernel. Here what it did is recorded, and from that the
//! directories are made that a power loss could have left, with and without what was not synced.

mod images;
mod recording;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

pub(crate) use images::{Image, contents, images, whole};
use recording::Files;
pub(crate) use recording::{Change, Recording, files, record};

/// Where a process writes down what the world outside has heard from it. Not one of the files that a power
/// loss takes something from.
const NOTES: &str = "notes";

/// The names of those that only one has, or that hold something else.
pub(crate) fn unlike<'a>(one: &'a Files, other: &'a Files) -> Vec<&'a str> {
    let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let unlike = names.into_iter().filter(|name| one.get(*name) != other.get(*name));
    unlike.map(String::as_str).collect()
}

/// Notes something in the directory that is recorded.
pub(crate) fn note(directory: &Path, what: &str) {
    let file = OpenOptions::new().create(true).append(true).open(directory.join(NOTES));
    // One call, so one note.
    file.expect("file").write_all(format!("{what}\n").as_bytes()).expect("noted");
}

/// A directory for a test. Making and checking thousands of them is for memory, where there is some.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("tempdir")
}

/// Makes the files of an image.
pub(crate) fn lay_out(recording: &Recording, image: &Image, directory: &Path) {
    for (name, bytes) in contents(recording, image) {
        let path = directory.join(&name);
        if name.ends_with('/') {
            fs::create_dir(path).expect("directory");
        } else {
            let file = OpenOptions::new().create_new(true).write(true).open(path);
            file.expect("file").write_all(&bytes).expect("written");
        }
    }
}
