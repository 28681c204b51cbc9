//! What can be wrong with a package.
//!
//! Each message tells its whole cause; none has a source as well, or a chain of them would say it twice.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A package that cannot be used, and why.
#[derive(Debug, Error)]
pub enum PackageError {
    /// A file could not be read, or is larger than its limit.
    #[error("{} cannot be read: {reason}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// `model.toml` has a mistake.
    #[error("{}: {mistake}", path.display())]
    Spec {
        /// The file.
        path: PathBuf,
        /// The mistake.
        mistake: super::SpecError,
    },
    /// The ONNX file is no model that eir can read.
    #[error("{}: {reason}", path.display())]
    Onnx {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The labels file has a mistake.
    #[error("{}: {reason}", path.display())]
    Labels {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A golden sample has a mistake.
    #[error("{}: {reason}", path.display())]
    Golden {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// `reference.json` has a mistake.
    #[error("{}: {reason}", path.display())]
    Reference {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The model's file is not the one that was looked at when the package was opened.
    #[error("{} was changed after it was checked; load the model again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// There is no such model.
    #[error("there is no model `{name}` in {}; {}", directory.display(), known_names(known))]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The repository.
        directory: PathBuf,
        /// The names that are there.
        known: Vec<String>,
    },
    /// There is no such version of the model.
    #[error("there is no version {version} of `{name}`; there are {}", list(known))]
    UnknownVersion {
        /// The model.
        name: String,
        /// The version asked for.
        version: u64,
        /// The versions that are there.
        known: Vec<u64>,
    },
    /// The path leads to nothing that holds a model.
    #[error("{} holds no model; name a .onnx file, a directory with model.onnx in it, or a directory \
             of versions (1, 2, …)", path.display())]
    NoModel {
        /// The path.
        path: PathBuf,
    },
}

impl PackageError {
    pub(super) fn read(path: &Path, error: &io::Error) -> Self {
        Self::Read { path: path.to_owned(), reason: error.to_string() }
    }
}

fn known_names(known: &[String]) -> String {
    if known.is_empty() {
        "it holds none".into()
    } else {
        format!("known are {}", known.join(", "))
    }
}

fn list(known: &[u64]) -> String {
    let known: Vec<_> = known.iter().map(u64::to_string).collect();
    if known.is_empty() { "none".into() } else { known.join(", ") }
}
