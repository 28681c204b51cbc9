//! A rustls client from files: a private CA or the system's, with or without a client certificate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

use super::Problem;

/// No certificate or key file is larger; a CA bundle of a whole system is under 300 KiB.
const LARGEST_PEM: u64 = 1 << 20;

/// The files of one TLS client; all of them PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificates of the authorities that are trusted, and no others; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// This client's certificate, followed by the intermediates, if the server asks for one.
    pub cert_file: Option<PathBuf>,
    /// The private key of that certificate: PKCS#8, PKCS#1 or SEC1.
    pub key_file: Option<PathBuf>,
}

/// Why no TLS client could be made.
#[derive(Debug, Error)]
pub enum NetError {
    /// A file could not be read.
    #[error("{}: cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{}: {found}; expected {expected}", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// One half of a client certificate is missing.
    #[error("{given} is set without {missing}; a client certificate needs both")]
    HalfAnIdentity {
        /// The key that is set.
        given: &'static str,
        /// The key that is not.
        missing: &'static str,
    },
    /// Neither a file nor the system names an authority to trust.
    #[error("the system has no certificate authorities; install ca-certificates or set ca_file")]
    NoRoots,
    /// The files are well-formed but do not work together.
    #[error("TLS cannot be set up")]
    Rejected(#[from] rustls::Error),
}

impl TlsConfig {
    /// One half of a client certificate without the other.
    pub fn half_identity(&self) -> Vec<Problem> {
        let halves = [
            ("cert_file", &self.cert_file, "key_file", &self.key_file),
            ("key_file", &self.key_file, "cert_file", &self.cert_file),
        ];
        let halves =
            halves.into_iter().filter(|(_, file, _, other)| file.is_some() && other.is_none());
        halves
            .map(|(given, _, missing, _)| {
                Problem::new(missing, format!("is missing; {given} needs it"))
            })
            .collect()
    }

    /// What does not go with `http://`: every file.
    pub fn out_of_place(&self) -> Vec<Problem> {
        let files = [
            ("ca_file", &self.ca_file),
            ("cert_file", &self.cert_file),
            ("key_file", &self.key_file),
        ];
        let named = files.into_iter().filter(|(_, file)| file.is_some());
        named
            .map(|(key, _)| Problem::new(key, "is for https:// alone; change url or remove it"))
            .collect()
    }

    /// The key that an error is told at.
    pub fn key_of(&self, error: &NetError) -> &'static str {
        match error {
            NetError::Unreadable { path, .. } | NetError::Unexpected { path, .. } => {
                if Some(path) == self.ca_file.as_ref() {
                    "ca_file"
                } else if Some(path) == self.cert_file.as_ref() {
                    "cert_file"
                } else {
                    "key_file"
                }
            }
            NetError::HalfAnIdentity { missing, .. } => missing,
            NetError::NoRoots => "ca_file",
            NetError::Rejected(_) => "url",
        }
    }
}

/// A client configuration for TLS 1.2 and 1.3 whose first key exchange group is the post-quantum
/// hybrid X25519MLKEM768.
pub fn client_config(config: &TlsConfig) -> Result<Arc<ClientConfig>, NetError> {
    let roots = match &config.ca_file {
        Some(path) => private_roots(path)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let client = match (&config.cert_file, &config.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            builder.with_client_auth_cert(chain, private_key(key)?).map_err(|error| {
                NetError::Unexpected {
                    path: key.clone(),
                    found: error.to_string(),
                    expected: "the private key of the certificate in cert_file",
                }
            })?
        }
        (Some(_), None) => {
            return Err(NetError::HalfAnIdentity { given: "cert_file", missing: "key_file" });
        }
        (None, Some(_)) => {
            return Err(NetError::HalfAnIdentity { given: "key_file", missing: "cert_file" });
        }
    };
    Ok(Arc::new(client))
}

pub(super) fn private_roots(path: &Path) -> Result<RootCertStore, NetError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| NetError::Unexpected {
            path: path.to_owned(),
            found: error.to_string(),
            expected: "X.509 certificates of authorities",
        })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, NetError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 { Err(NetError::NoRoots) } else { Ok(roots) }
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(unexpected(path, "holds no certificate")),
        Err(error) => Err(unexpected(path, &error.to_string())),
    }
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, NetError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| NetError::Unexpected {
        path: path.to_owned(),
        found: match error {
            pem::Error::NoItemsFound => "holds no private key".to_owned(),
            other => other.to_string(),
        },
        expected: "PEM (BEGIN PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY, not encrypted)",
    })
}

fn unexpected(path: &Path, found: &str) -> NetError {
    NetError::Unexpected {
        path: path.to_owned(),
        found: found.to_owned(),
        expected: "PEM (BEGIN CERTIFICATE)",
    }
}

fn read(path: &Path) -> Result<Vec<u8>, NetError> {
    let unreadable = |source| NetError::Unreadable { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > LARGEST_PEM {
        return Err(unexpected(path, &format!("is {size} bytes long")));
    }
    std::fs::read(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::NamedGroup;

    fn file(directory: &Path, name: &str, text: &str) -> PathBuf {
        let path = directory.join(name);
        let mut file =
            std::fs::OpenOptions::new().create_new(true).write(true).open(&path).expect("open");
        io::Write::write_all(&mut file, text.as_bytes()).expect("write");
        path
    }

    #[test]
    fn the_post_quantum_hybrid_is_offered_first() {
        let directory = tempfile::tempdir().expect("tempdir");
        let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("certificate");
        let ca_file = file(directory.path(), "ca.pem", &ca.cert.pem());
        let client = client_config(&TlsConfig { ca_file: Some(ca_file), ..TlsConfig::default() })
            .expect("a client");
        let groups = &client.crypto_provider().kx_groups;
        assert_eq!(groups.first().map(|g| g.name()), Some(NamedGroup::X25519MLKEM768));
    }

    #[test]
    fn an_error_names_the_file_and_what_was_expected() {
        let directory = tempfile::tempdir().expect("tempdir");
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("pair");
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("pair");
        let cert = file(directory.path(), "cert.pem", &pair.cert.pem());
        let key = file(directory.path(), "key.pem", &pair.signing_key.serialize_pem());
        let wrong = file(directory.path(), "wrong.pem", &other.signing_key.serialize_pem());
        let rubbish = file(directory.path(), "rubbish.pem", "not PEM at all");

        let with = |ca: &Path, cert: Option<&Path>, key: Option<&Path>| {
            client_config(&TlsConfig {
                ca_file: Some(ca.to_owned()),
                cert_file: cert.map(Path::to_owned),
                key_file: key.map(Path::to_owned),
            })
            .map(|_| ())
            .map_err(|error| error.to_string())
        };
        assert_eq!(with(&cert, Some(&cert), Some(&key)), Ok(()));
        for (result, parts) in [
            (with(&rubbish, None, None), ["rubbish.pem", "holds no certificate", "expected PEM"]),
            (with(&directory.path().join("gone"), None, None), ["gone", "cannot", "read"]),
            (with(&cert, Some(&cert), Some(&cert)), ["cert.pem", "holds no private key", "PEM"]),
            (with(&cert, Some(&cert), Some(&wrong)), ["wrong.pem", "expected", "cert_file"]),
            (with(&cert, Some(&cert), None), ["cert_file", "without", "key_file"]),
        ] {
            let error = result.expect_err(parts[0]);
            for part in parts {
                assert!(error.contains(part), "{error:?} lacks {part:?}");
            }
        }
    }
}
