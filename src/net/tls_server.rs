//! A rustls server from files, with or without certificates of its clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NetError;
use super::tls::{certificates, private_key, private_roots};
use super::tls_files::FromFiles;

/// The files of a TLS server; all of them PEM, and read again when they have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTlsConfig {
    /// The server's certificate, followed by the intermediates.
    pub cert_file: PathBuf,
    /// The private key of that certificate: PKCS#8, PKCS#1 or SEC1.
    pub key_file: PathBuf,
    /// Certificates of the authorities of which a client must have a certificate; without it none is asked for.
    pub client_ca_file: Option<PathBuf>,
}

impl FromFiles for ServerTlsConfig {
    type Made = ServerConfig;

    fn files(&self) -> [Option<&Path>; 3] {
        [Some(&self.cert_file), Some(&self.key_file), self.client_ca_file.as_deref()]
    }

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1; the first key exchange group is X25519MLKEM768.
    fn make(&self) -> Result<Arc<ServerConfig>, NetError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(private_roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|problem| NetError::Unexpected {
                        path: path.clone(),
                        found: problem.to_string(),
                        expected: "X.509 certificates of authorities",
                    })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let (chain, key) = (certificates(&self.cert_file)?, private_key(&self.key_file)?);
        let mut server =
            builder.with_single_cert(chain, key).map_err(|problem| NetError::Unexpected {
                path: self.key_file.clone(),
                found: problem.to_string(),
                expected: "the private key of the certificate in cert_file",
            })?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(server))
    }
}

impl ServerTlsConfig {
    /// The key that an error is told at.
    pub fn key_of(&self, error: &NetError) -> &'static str {
        match error {
            NetError::Unreadable { path, .. } | NetError::Unexpected { path, .. }
                if *path == self.cert_file =>
            {
                "cert_file"
            }
            NetError::Unreadable { path, .. } | NetError::Unexpected { path, .. }
                if Some(path) == self.client_ca_file.as_ref() =>
            {
                "client_ca_file"
            }
            _ => "key_file",
        }
    }
}
