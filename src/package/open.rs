//! Opening a package: every file is read, bounded and checked before anything is built from it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{
    GoldenSample, PackageError, Reference, Signature, Spec, golden, labels, parse, repository,
};
use crate::disk;
use crate::event::ModelName;

/// Protobuf itself ends at 2 GiB; an edge device ends sooner.
const MAX_MODEL_BYTES: u64 = 1 << 30;

/// A model as it lies on disk, read and checked for itself; no engine has seen it yet.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name in the repository.
    pub name: ModelName,
    /// Its version in the repository.
    pub version: u64,
    /// Where `model.onnx` lies.
    pub path: PathBuf,
    /// SHA-256 of `model.onnx`, in hexadecimal.
    pub sha256: String,
    /// Bytes in `model.onnx`.
    pub size: u64,
    /// `model.toml`, or the defaults.
    pub spec: Spec,
    /// The labels, in the order of the model's output; empty if there are none.
    pub labels: Vec<Arc<str>>,
    /// Inputs with the expected answers.
    pub golden: Vec<GoldenSample>,
    /// What the ONNX file says about itself.
    pub signature: Signature,
    /// `reference.json`, if there is one.
    pub reference: Option<Reference>,
}

impl Package {
    /// Opens `<name>/<version>`, a directory with `model.onnx` in it.
    pub fn open(directory: &Path) -> Result<Self, PackageError> {
        let onnx = directory.join("model.onnx");
        if !onnx.is_file() {
            return Err(PackageError::NoModel { path: directory.to_owned() });
        }
        let toml = directory.join("model.toml");
        let spec = if toml.exists() { read_spec(&toml)? } else { Spec::default() };
        let labels = match spec.output.values().find_map(|output| output.labels.as_ref()) {
            Some(name) => labels::read(&directory.join(name))?,
            None if directory.join("labels.txt").is_file() => {
                labels::read(&directory.join("labels.txt"))?
            }
            None => Vec::new(),
        };
        let golden = golden::read(&directory.join("golden"))?;
        let reference = Reference::read(&directory.join("reference.json"))?;
        let whole = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let part = |path: Option<&Path>| {
            path.and_then(Path::file_name).and_then(|name| name.to_str().map(str::to_owned))
        };
        let version = part(Some(&whole)).and_then(|text| repository::version(&text));
        let named = if version.is_some() { part(whole.parent()) } else { part(Some(&whole)) };
        let named = named.unwrap_or_default();
        Self { spec, labels, golden, reference, ..Self::bare(&onnx, &named, version.unwrap_or(1))? }
            .checked()
    }

    /// Opens a `.onnx` file, a directory with `model.onnx` in it, or a directory of versions.
    pub fn open_path(path: &Path) -> Result<Self, PackageError> {
        if path.is_file() {
            let directory = path.parent().unwrap_or(Path::new("."));
            if path.ends_with("model.onnx") && directory.join("model.toml").exists() {
                return Self::open(directory);
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            return Self::bare(path, &stem, 1);
        }
        if path.join("model.onnx").is_file() {
            return Self::open(path);
        }
        match repository::versions(path).unwrap_or_default().last() {
            Some(newest) => Self::open(&path.join(newest.to_string())),
            None => Err(PackageError::NoModel { path: path.to_owned() }),
        }
    }

    /// The bytes of `model.onnx`, which are the ones that were checked: an engine must not load
    /// what was put there since.
    pub fn model_bytes(&self) -> Result<Vec<u8>, PackageError> {
        let bytes = read_model(&self.path)?;
        if hash(&bytes) == self.sha256 {
            Ok(bytes)
        } else {
            Err(PackageError::Changed { path: self.path.clone() })
        }
    }

    fn bare(path: &Path, name: &str, version: u64) -> Result<Self, PackageError> {
        let bytes = read_model(path)?;
        let signature = Signature::read(&bytes)
            .map_err(|reason| PackageError::Onnx { path: path.to_owned(), reason })?;
        Ok(Self {
            name: tidy_name(name),
            version,
            path: path.to_owned(),
            sha256: hash(&bytes),
            size: bytes.len() as u64,
            spec: Spec::default(),
            labels: Vec::new(),
            golden: Vec::new(),
            signature,
            reference: None,
        })
    }

    /// Sections of `model.toml` must mean an input or output that is there.
    fn checked(self) -> Result<Self, PackageError> {
        let inputs = (&self.signature.inputs, self.spec.input.keys().collect::<Vec<_>>(), "input");
        let outputs = (&self.signature.outputs, self.spec.output.keys().collect(), "output");
        for (infos, keys, what) in [inputs, outputs] {
            let known: Vec<_> = infos.iter().map(|info| info.name.as_str()).collect();
            let stranger = keys.iter().find(|k| !k.is_empty() && !known.contains(&k.as_str()));
            if let Some(stranger) = stranger {
                let reason = format!(
                    "[{what}.{stranger}] means no {what} of the model; there are {}",
                    known.join(", ")
                );
                let path = self.path.with_file_name("model.toml");
                let mistake = super::SpecError::Key { section: String::new(), reason };
                return Err(PackageError::Spec { path, mistake });
            }
        }
        Ok(self)
    }
}

fn read_spec(path: &Path) -> Result<Spec, PackageError> {
    let bytes = disk::read_bounded(path, parse::MAX_SPEC_BYTES as u64)
        .map_err(|error| PackageError::read(path, &error))?;
    Spec::parse(&String::from_utf8_lossy(&bytes))
        .map_err(|mistake| PackageError::Spec { path: path.to_owned(), mistake })
}

fn read_model(path: &Path) -> Result<Vec<u8>, PackageError> {
    disk::read_bounded(path, MAX_MODEL_BYTES).map_err(|error| PackageError::read(path, &error))
}

fn hash(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing into a String cannot fail.
        let _ok = write!(text, "{byte:02x}");
    }
    text
}

/// The nearest text that is a name.
fn tidy_name(text: &str) -> ModelName {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let tidy: String = text.chars().map(|c| if word(c) { c } else { '-' }).take(64).collect();
    let tidy = tidy.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    tidy.parse().unwrap_or_else(|_| "model".parse().expect("`model` is a name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::DType;
    use crate::package::graph::Graph;
    use crate::package::test_package;

    fn identity() -> Vec<u8> {
        Graph::identity(DType::F32, &[Some(2)]).bytes()
    }

    #[test]
    fn a_package_opens_by_each_of_its_paths() {
        let directory = tempfile::tempdir().expect("tempdir");
        let version = directory.path().join("bearing/7");
        test_package(&version, &identity(), "task = \"tensor\"", &[("labels.txt", "a\nb")]);
        for path in [version.clone(), directory.path().join("bearing"), version.join("model.onnx")]
        {
            let package = Package::open_path(&path).expect("package");
            assert_eq!((package.name.as_str(), package.version), ("bearing", 7));
            assert_eq!(package.labels.len(), 2);
        }
        assert!(Package::open_path(directory.path()).is_err());
        assert!(Package::open_path(&directory.path().join("gone")).is_err());
    }

    #[test]
    fn a_bare_file_is_a_package_of_tensors() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("my model (2).onnx");
        disk::replace(&path, &identity()).expect("write");
        let package = Package::open_path(&path).expect("package");
        assert_eq!(package.name.as_str(), "my-model--2-");
        assert_eq!(package.spec, Spec::default());
    }

    #[test]
    fn a_file_that_was_changed_after_the_check_is_not_loaded() {
        let directory = tempfile::tempdir().expect("tempdir");
        let version = directory.path().join("m/1");
        test_package(&version, &identity(), "", &[]);
        let package = Package::open(&version).expect("package");
        assert!(package.model_bytes().is_ok());
        disk::replace(&package.path, b"other").expect("write");
        assert!(matches!(package.model_bytes(), Err(PackageError::Changed { .. })));
    }

    #[test]
    fn mistakes_name_the_file() {
        let directory = tempfile::tempdir().expect("tempdir");
        let version = directory.path().join("m/1");
        let refused = |bytes: &[u8], toml: &str, files: &[(&str, &str)]| {
            test_package(&version, bytes, toml, files);
            Package::open(&version).expect_err("a mistake").to_string()
        };
        let whole = identity();
        assert!(refused(&whole[..whole.len() / 2], "", &[]).contains("model.onnx"));
        assert!(refused(&whole, "taks = 1", &[]).contains("model.toml"));
        assert!(refused(&whole, "[input.z]", &[]).contains("there are x"));
        assert!(refused(&whole, "[output]\nlabels = \"l.txt\"", &[]).contains("l.txt"));
        assert!(refused(&whole, "", &[("golden/00.json", "{")]).contains("00.json"));
    }
}
