//! The keys of a keeper, as files: PKCS #8 in PEM, encrypted with a passphrase (PBES2: scrypt and AES-256-CBC), which OpenSSL
//! reads too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pkcs8::der::pem::PemLabel;
use pkcs8::pkcs5::pbes2;
use pkcs8::{EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo, SecretDocument};
use thiserror::Error;

use super::author::Roles;
use super::sign::{Key, Scheme, SignError};
use crate::disk;

/// A key file is some hundred bytes.
const MAX_BYTES: u64 = 64 << 10;

/// Characters that a passphrase has at least.
pub const MIN_PASSPHRASE: usize = 12;

/// What keys are for.
pub const ROLES: [&str; 3] = ["root", "targets", "online"];

/// A key file that is not made or not read.
#[derive(Debug, Error)]
#[error("{path}: {reason}", path = path.display())]
pub struct KeyError {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Keys by the names of their files, without `.pem`. What a key is for shows in its name: `root-1`, `targets-1`, `online`.
#[derive(Debug, Default)]
pub struct Ring(BTreeMap<String, Key>);

impl Ring {
    /// The keys in these directories that are for one of these roles; others stay closed.
    pub fn read(
        directories: &[PathBuf],
        roles: &[&str],
        passphrase: &str,
    ) -> Result<Self, KeyError> {
        let mut ring = Self::default();
        for directory in directories {
            let failed = |reason: std::io::Error| told(directory, &reason);
            for entry in std::fs::read_dir(directory).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                let name = path.file_stem().and_then(|name| name.to_str());
                let wanted = |name: &&str| {
                    path.extension().is_some_and(|extension| extension == "pem")
                        && roles.iter().any(|role| is_for(name, role))
                };
                let Some(name) = name.filter(wanted) else { continue };
                let key = read(&path, passphrase)?;
                if ring.0.insert(name.to_owned(), key).is_some() {
                    return Err(told(&path, &"another directory has a key of this name"));
                }
            }
        }
        Ok(ring)
    }

    /// Makes a key and its file; one that is there is never replaced.
    pub fn make(
        &mut self,
        directory: &Path,
        name: &str,
        scheme: Scheme,
        passphrase: &str,
    ) -> Result<(), KeyError> {
        let path = directory.join(name).with_extension("pem");
        if !ROLES.iter().any(|role| is_for(name, role)) {
            let wrong = "a key is called by what it is for: root-NAME, targets-NAME or online";
            return Err(told(&path, &wrong));
        }
        if path.exists() {
            return Err(told(&path, &"there is a key already"));
        }
        let key = Key::generate(scheme).map_err(|error| told(&path, &error))?;
        std::fs::create_dir_all(directory).map_err(|error| told(directory, &error))?;
        write(&path, &key, passphrase)?;
        self.0.insert(name.to_owned(), key);
        Ok(())
    }

    /// All of them.
    pub fn keys(&self) -> Vec<&Key> {
        self.0.values().collect()
    }

    /// Names and ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().map(|(name, key)| (name.as_str(), key.id()))
    }

    /// Who signs what, by the names of the keys; `thresholds` of root and targets. Without any key named so, the role is
    /// told.
    pub fn roles(&self, (root, targets): (u64, u64)) -> Result<Roles<'_>, String> {
        let named = |role: &str| -> Vec<&Key> {
            self.0.iter().filter(|(name, _)| is_for(name, role)).map(|(_, key)| key).collect()
        };
        let [online] = named("online")[..] else {
            return Err("there must be one key `online.pem`".to_owned());
        };
        Ok(Roles { root: (root, named("root")), targets: (targets, named("targets")), online })
    }
}

/// `root`, `root-1`, `root-anna`.
fn is_for(name: &str, role: &str) -> bool {
    name.strip_prefix(role).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn write(path: &Path, key: &Key, passphrase: &str) -> Result<(), KeyError> {
    if passphrase.chars().count() < MIN_PASSPHRASE {
        let reason = format!("the passphrase has fewer than {MIN_PASSPHRASE} characters");
        return Err(told(path, &reason));
    }
    let der = key.to_pkcs8().map_err(|error| told(path, &error))?;
    let mut random = [0; 32];
    let filled = aws_lc_rs::rand::fill(&mut random);
    filled.map_err(|_| told(path, &"the system gives no random numbers"))?;
    let (salt, iv) = random.split_at(16);
    let iv = iv.first_chunk().unwrap_or(&[0; 16]);
    let parameters =
        pbes2::Parameters::scrypt_aes256cbc(pkcs8::pkcs5::scrypt::Params::recommended(), salt, iv);
    let encrypted = parameters
        .map_err(pkcs8::Error::from)
        .and_then(|parameters| {
            PrivateKeyInfo::try_from(der.as_slice())?.encrypt_with_params(parameters, passphrase)
        })
        .map_err(|error| told(path, &error))?;
    let label = EncryptedPrivateKeyInfo::PEM_LABEL;
    let pem = encrypted.to_pem(label, LineEnding::LF).map_err(|error| told(path, &error))?;
    disk::replace_with_mode(path, pem.as_bytes(), 0o600).map_err(|error| told(path, &error))
}

fn read(path: &Path, passphrase: &str) -> Result<Key, KeyError> {
    let bytes = disk::read_bounded(path, MAX_BYTES).map_err(|error| told(path, &error))?;
    let no_key = "this is no encrypted private key in PEM (-----BEGIN ENCRYPTED PRIVATE KEY-----)";
    let text = std::str::from_utf8(&bytes).map_err(|_| told(path, &no_key))?;
    let (label, der) = SecretDocument::from_pem(text).map_err(|_| told(path, &no_key))?;
    if label != EncryptedPrivateKeyInfo::PEM_LABEL {
        return Err(told(path, &no_key));
    }
    let encrypted = EncryptedPrivateKeyInfo::try_from(der.as_bytes());
    let encrypted = encrypted.map_err(|error| told(path, &error))?;
    let plain = encrypted.decrypt(passphrase);
    let plain = plain.map_err(|_| told(path, &"the passphrase does not open it"))?;
    Key::from_pkcs8(plain.as_bytes()).map_err(|error: SignError| told(path, &error))
}

fn told(path: &Path, reason: &dyn ToString) -> KeyError {
    KeyError { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PASSPHRASE: &str = "correct horse battery";

    #[test]
    fn keys_come_back_with_their_passphrase_and_with_no_other() {
        let place = tempfile::tempdir().expect("tempdir");
        let (one, two) = (place.path().join("one"), place.path().join("two"));
        let mut ring = Ring::default();
        for (directory, name, scheme) in [
            (&one, "root-1", Scheme::Ed25519),
            (&two, "root-2", Scheme::Ecdsa),
            (&one, "targets", Scheme::Ed25519),
            (&one, "online", Scheme::Ecdsa),
        ] {
            ring.make(directory, name, scheme, PASSPHRASE).expect("made");
        }
        let path = one.join("root-1.pem");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = ring
            .make(&one, "root-1", Scheme::Ed25519, PASSPHRASE)
            .expect_err("it is there")
            .to_string();
        assert!(error.ends_with("root-1.pem: there is a key already"), "{error}");
        let error = ring.make(&one, "anna", Scheme::Ed25519, PASSPHRASE).expect_err("for what?");
        assert!(error.to_string().ends_with("root-NAME, targets-NAME or online"), "{error}");
        let error =
            ring.make(&one, "root-9", Scheme::Ed25519, "short").expect_err("short").to_string();
        assert!(error.ends_with("fewer than 12 characters"), "{error}");
        let directories = [one.clone(), two];
        let again = Ring::read(&directories, &ROLES, PASSPHRASE).expect("read");
        assert_eq!(again.iter().collect::<Vec<_>>(), ring.iter().collect::<Vec<_>>());
        let roles = again.roles((2, 1)).expect("all are there");
        assert_eq!((roles.root.1.len(), roles.targets.1.len()), (2, 1));
        let online = Ring::read(&directories, &["online"], PASSPHRASE).expect("read");
        assert_eq!(online.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["online"]);
        let error =
            Ring::read(&directories, &ROLES, "another passphrase").expect_err("it is wrong");
        assert!(error.to_string().ends_with("the passphrase does not open it"), "{error}");
        disk::replace(&path, b"-----BEGIN PRIVATE KEY-----\n").expect("written");
        let error = Ring::read(&directories, &ROLES, PASSPHRASE).expect_err("no key").to_string();
        assert!(error.contains("root-1.pem: this is no encrypted private key"), "{error}");
    }
}
