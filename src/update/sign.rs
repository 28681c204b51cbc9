//! Metadata of a repository, made and signed: the other side of [`trust`](super::trust).

use std::collections::HashMap;
use std::num::NonZeroU64;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jiff::Timestamp as Instant;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tough::TargetName;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key as PublicKey;
use tough::schema::{
    Hashes, Metafile, Role, RoleKeys, RoleType, Root, Signature, Signed, Snapshot, Target, Targets,
    Timestamp,
};
use tough::sign::Sign;

/// The edition of the specification that the metadata keeps to.
const SPECIFICATION: &str = "1.0.0";

/// A key that is not made or not read, or metadata that cannot be written.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct SignError(String);

/// An Ed25519 key that signs.
#[derive(Debug)]
pub struct Key {
    pair: Ed25519KeyPair,
    public: PublicKey,
    id: Decoded<Hex>,
}

impl Key {
    /// A new one.
    pub fn generate() -> Result<Self, SignError> {
        let pair = Ed25519KeyPair::generate();
        Self::of(pair.map_err(|_| SignError("the system gives no random numbers".to_owned()))?)
    }

    /// As [`Key::to_pkcs8`] wrote it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, SignError> {
        let pair = Ed25519KeyPair::from_pkcs8(der);
        Self::of(pair.map_err(|error| SignError(format!("this is no Ed25519 key: {error}")))?)
    }

    fn of(pair: Ed25519KeyPair) -> Result<Self, SignError> {
        let public = pair.tuf_key();
        let id = public.key_id().map_err(|error| SignError(error.to_string()))?;
        Ok(Self { pair, public, id })
    }

    /// PKCS #8 in DER, unencrypted.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, SignError> {
        let der: Result<Pkcs8V1Der<'_>, _> = self.pair.as_der();
        let told = |_| SignError("the key cannot be written".to_owned());
        der.map(|der| der.as_ref().to_vec()).map_err(told)
    }

    /// The SHA-256 of its public part as metadata writes it, in hexadecimal.
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    /// The 32 bytes of its public part.
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }
}

/// In hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// A root: for each role how many of which keys are to sign it.
pub fn root(version: NonZeroU64, expires: Instant, roles: &[(RoleType, u64, Vec<&Key>)]) -> Root {
    let keys = roles.iter().flat_map(|(_, _, keys)| keys);
    let roles = roles.iter().map(|(role, threshold, keys)| {
        let threshold = NonZeroU64::new(*threshold).unwrap_or(NonZeroU64::MIN);
        let keyids = keys.iter().map(|key| key.id.clone()).collect();
        (*role, RoleKeys { keyids, threshold, _extra: HashMap::new() })
    });
    Root {
        spec_version: SPECIFICATION.to_owned(),
        consistent_snapshot: true,
        version,
        expires,
        keys: keys.map(|key| (key.id.clone(), key.public.clone())).collect(),
        roles: roles.collect(),
        _extra: HashMap::new(),
    }
}

/// A list of targets.
pub fn targets(
    version: NonZeroU64,
    expires: Instant,
    targets: impl IntoIterator<Item = (TargetName, Target)>,
) -> Targets {
    let targets = targets.into_iter().collect();
    Targets { targets, ..Targets::new(SPECIFICATION.to_owned(), version, expires) }
}

/// A snapshot over such a list.
pub fn snapshot(version: NonZeroU64, expires: Instant, of: NonZeroU64, targets: &[u8]) -> Snapshot {
    let mut snapshot = Snapshot::new(SPECIFICATION.to_owned(), version, expires);
    snapshot.meta.insert("targets.json".to_owned(), metafile(of, targets));
    snapshot
}

/// A timestamp over such a snapshot.
pub fn timestamp(
    version: NonZeroU64,
    expires: Instant,
    of: NonZeroU64,
    snapshot: &[u8],
) -> Timestamp {
    let mut timestamp = Timestamp::new(SPECIFICATION.to_owned(), version, expires);
    timestamp.meta.insert("snapshot.json".to_owned(), metafile(of, snapshot));
    timestamp
}

fn metafile(version: NonZeroU64, bytes: &[u8]) -> Metafile {
    let sha256 = Sha256::digest(bytes).to_vec().into();
    Metafile {
        length: Some(bytes.len() as u64),
        hashes: Some(Hashes { sha256, _extra: HashMap::new() }),
        version,
        _extra: HashMap::new(),
    }
}

/// A role with the signature of each key, as a file.
pub fn sign<T: Role>(role: T, keys: &[&Key]) -> Result<Vec<u8>, SignError> {
    let told = |error: String| SignError(format!("the {} cannot be written: {error}", T::TYPE));
    let bytes = role.canonical_form().map_err(|error| told(error.to_string()))?;
    let signature = |key: &&Key| Signature {
        keyid: key.id.clone(),
        sig: key.pair.sign(&bytes).as_ref().to_vec().into(),
    };
    let signatures = keys.iter().map(signature).collect();
    let file = serde_json::to_vec_pretty(&Signed { signed: role, signatures });
    file.map_err(|error| told(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_after_it_was_written_and_read() {
        let key = Key::generate().expect("random");
        let again = Key::from_pkcs8(&key.to_pkcs8().expect("written")).expect("read");
        assert_eq!((key.id(), key.public()), (again.id(), again.public()));
        assert_eq!(key.id().len(), 64);
        let error = Key::from_pkcs8(b"not a key").expect_err("no key").to_string();
        assert!(error.starts_with("this is no Ed25519 key"), "{error}");
    }
}
