//! Metadata of a repository, made and signed: the other side of [`trust`](super::trust).

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::str::FromStr;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
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

/// How a key signs, in the words of TUF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// `ed25519`
    #[default]
    Ed25519,
    /// `ecdsa-sha2-nistp256`: what hardware and authorities ask for that know no Ed25519.
    Ecdsa,
}

impl FromStr for Scheme {
    type Err = SignError;

    fn from_str(text: &str) -> Result<Self, SignError> {
        match text {
            "ed25519" => Ok(Self::Ed25519),
            "ecdsa-sha2-nistp256" => Ok(Self::Ecdsa),
            _ => Err(SignError("write ed25519 or ecdsa-sha2-nistp256".to_owned())),
        }
    }
}

#[derive(Debug)]
enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
}

/// A key that signs.
#[derive(Debug)]
pub struct Key {
    pair: Pair,
    public: PublicKey,
    id: Decoded<Hex>,
}

impl Key {
    /// A new one.
    pub fn generate(scheme: Scheme) -> Result<Self, SignError> {
        let pair = match scheme {
            Scheme::Ed25519 => Ed25519KeyPair::generate().map(Pair::Ed25519),
            Scheme::Ecdsa => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Pair::Ecdsa)
            }
        };
        Self::of(pair.map_err(|_| SignError("the system gives no random numbers".to_owned()))?)
    }

    /// As [`Key::to_pkcs8`] wrote it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, SignError> {
        let ecdsa = |_| EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der);
        let pair = Ed25519KeyPair::from_pkcs8(der)
            .map(Pair::Ed25519)
            .or_else(|error| ecdsa(error).map(Pair::Ecdsa));
        let told = |error| SignError(format!("this is no key for Ed25519 or ECDSA P-256: {error}"));
        Self::of(pair.map_err(told)?)
    }

    fn of(pair: Pair) -> Result<Self, SignError> {
        let public = match &pair {
            Pair::Ed25519(pair) => pair.tuf_key(),
            Pair::Ecdsa(pair) => pair.tuf_key(),
        };
        let id = public.key_id().map_err(|error| SignError(error.to_string()))?;
        Ok(Self { pair, public, id })
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, Unspecified> {
        Ok(match &self.pair {
            Pair::Ed25519(pair) => pair.sign(bytes).as_ref().to_vec(),
            Pair::Ecdsa(pair) => pair.sign(&SystemRandom::new(), bytes)?.as_ref().to_vec(),
        })
    }

    /// PKCS #8 in DER, unencrypted.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, SignError> {
        let der = match &self.pair {
            Pair::Ed25519(pair) => {
                AsDer::<Pkcs8V1Der<'_>>::as_der(pair).map(|der| der.as_ref().to_vec())
            }
            Pair::Ecdsa(pair) => pair.to_pkcs8v1().map(|der| der.as_ref().to_vec()),
        };
        der.map_err(|_| SignError("the key cannot be written".to_owned()))
    }

    /// The SHA-256 of its public part as metadata writes it, in hexadecimal.
    pub fn id(&self) -> String {
        hex(&self.id)
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
    let signature = |key: &&Key| {
        let sig = key.sign(&bytes).map_err(|error| told(error.to_string()))?;
        Ok(Signature { keyid: key.id.clone(), sig: sig.into() })
    };
    let signatures: Result<_, SignError> = keys.iter().map(signature).collect();
    let file = serde_json::to_vec_pretty(&Signed { signed: role, signatures: signatures? });
    file.map_err(|error| told(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_after_it_was_written_and_read() {
        for scheme in ["ed25519", "ecdsa-sha2-nistp256"] {
            let key = Key::generate(scheme.parse().expect("a scheme")).expect("random");
            let again = Key::from_pkcs8(&key.to_pkcs8().expect("written")).expect("read");
            assert_eq!((key.id(), &key.public), (again.id(), &again.public));
            assert_eq!(key.id().len(), 64);
        }
        let error = Key::from_pkcs8(b"not a key").expect_err("no key").to_string();
        assert!(error.starts_with("this is no key for Ed25519 or ECDSA P-256"), "{error}");
        let error = "rsa".parse::<Scheme>().expect_err("no scheme").to_string();
        assert_eq!(error, "write ed25519 or ecdsa-sha2-nistp256");
    }
}
