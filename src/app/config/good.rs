//! The configuration that a program ran with last, kept for when a newer program goes and leaves one that this one cannot
//! read.

use std::io;
use std::path::{Path, PathBuf};

use super::{Config, Sources, load};
use crate::disk;

/// The largest that is read.
const MOST: u64 = 4 << 20;

/// Keeps a configuration for this version of eir, for nobody else to read.
pub fn keep_good(directory: &Path, config: &Config) -> io::Result<()> {
    let text = toml::to_string(config).map_err(io::Error::other)?;
    if disk::read_bounded(&file(directory), MOST).is_ok_and(|known| known == text.as_bytes()) {
        return Ok(());
    }
    disk::replace_with_mode(&file(directory), text.as_bytes(), 0o600)
}

/// The configuration that this version of eir ran with last; `None`: it never ran, or cannot read it any more.
pub fn last_good(directory: &Path) -> Option<Config> {
    let text = String::from_utf8(disk::read_bounded(&file(directory), MOST).ok()?).ok()?;
    let text = Some((file(directory).display().to_string(), text));
    load(&Sources { text, bare: true, ..Sources::default() }).ok()
}

fn file(directory: &Path) -> PathBuf {
    directory.join(concat!("good-", env!("CARGO_PKG_VERSION"), ".toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_back_as_it_was() {
        let place = tempfile::tempdir().expect("tempdir");
        let text = include_str!("../../cli/demo/demo.toml").to_owned() + "[update]\n[api]\n";
        let text = Some(("demo.toml".to_owned(), text));
        let config = load(&Sources { text, ..Sources::default() }).expect("valid");
        assert!(last_good(place.path()).is_none());
        keep_good(place.path(), &config).expect("kept");
        assert_eq!(last_good(place.path()), Some(config));
    }
}
