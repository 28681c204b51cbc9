//! What every uplink over HTTP shares: the client, the token, and the terms of a yes.

use std::path::PathBuf;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap};

use super::verdict::{Terms, Verdict, judge};
use super::{AckBy, CloudConfig};
use crate::net::{HttpClient, HttpError, Reply, TlsFiles, Url, bearer};

/// What came back from a cloud, or why nothing did.
pub(super) type Answer = Result<Reply, HttpError>;

/// Speaks to a cloud as its configuration says.
#[derive(Debug)]
pub(super) struct Courier {
    client: HttpClient,
    terms: Terms,
    token_file: Option<PathBuf>,
}

impl Courier {
    /// To whoever is at `url`; the files are read when they are needed.
    pub(super) fn new(config: &CloudConfig, url: &Url) -> Result<Self, String> {
        let client = if url.is_tls() {
            HttpClient::from_files(TlsFiles::new(config.tls()), config.timeout)
        } else {
            HttpClient::plain(config.timeout)
        };
        let proxy = config.proxy().map_err(|error| format!("proxy: {error}"))?;
        // An answer in OTLP has no header of ours.
        let ack = if config.is_otlp() { AckBy::Status } else { config.ack };
        let terms = Terms { ack, trusted: config.is_trusted(url) };
        let token_file = config.token_file.clone();
        Ok(Self { client: client.through(proxy), terms, token_file })
    }

    /// Whoever says yes is believed: what is lost by that, nobody needs.
    #[must_use]
    pub(super) const fn believing(mut self) -> Self {
        self.terms.trusted = true;
        self
    }

    /// Asks once. An error: nothing was sent, because the token is missing.
    pub(super) async fn request(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Verdict> {
        if let Some(path) = &self.token_file {
            match bearer(path).await {
                Ok(value) => drop(headers.insert(AUTHORIZATION, value)),
                // Without its token the cloud would only say no.
                Err(error) => {
                    return Err(Verdict::Wait { why: format!("token_file {error}"), after: None });
                }
            }
        }
        Ok(self.client.request(method, url, headers, body).await)
    }

    /// What an answer of `peer` says of the batch with this `key`.
    pub(super) fn judge(&self, peer: &str, key: &str, answer: &Answer) -> Verdict {
        judge(self.terms, peer, key, answer)
    }
}
