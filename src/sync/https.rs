//! The uplink over HTTP.

use std::path::PathBuf;

use hyper::Method;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};

use super::verdict::{Terms, Verdict, judge};
use super::{Batch, CloudConfig, Encoding, Uplink};
use crate::net::{HttpClient, TlsFiles, Url, bearer};

/// Posts batches to one address.
#[derive(Debug)]
pub struct HttpsUplink {
    client: HttpClient,
    url: Url,
    terms: Terms,
    token_file: Option<PathBuf>,
}

impl HttpsUplink {
    /// An uplink as configured; the files are read when they are needed. An error says what is wrong and
    /// what would be right; [`CloudConfig::check`] finds it beforehand.
    pub fn new(config: &CloudConfig) -> Result<Self, String> {
        let url = config.url.as_deref().unwrap_or_default();
        let url = Url::parse(url, config.insecure).map_err(|e| format!("url: {e}"))?;
        let client = if url.is_tls() {
            HttpClient::from_files(TlsFiles::new(config.tls()), config.timeout)
        } else {
            HttpClient::plain(config.timeout)
        };
        let proxy = config.proxy().map_err(|error| format!("proxy: {error}"))?;
        let terms = Terms { ack: config.ack, trusted: config.is_trusted(&url) };
        let token_file = config.token_file.clone();
        Ok(Self { client: client.through(proxy), url, terms, token_file })
    }
}

impl Uplink for HttpsUplink {
    const ENCODING: Encoding = Encoding::Zstd;

    async fn send(&self, batch: &Batch) -> Verdict {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
        if let Ok(key) = HeaderValue::from_str(batch.key()) {
            headers.insert(HeaderName::from_static("idempotency-key"), key);
        }
        if let Some(path) = &self.token_file {
            match bearer(path).await {
                Ok(value) => drop(headers.insert(AUTHORIZATION, value)),
                // Without its token the cloud would only say no.
                Err(error) => {
                    return Verdict::Wait { why: format!("token_file {error}"), after: None };
                }
            }
        }
        let body = batch.body().clone();
        let answer = self.client.request(Method::POST, &self.url, headers, body).await;
        judge(self.terms, &self.url.to_string(), batch.key(), &answer)
    }
}
