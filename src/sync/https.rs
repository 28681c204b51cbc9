//! The uplink over HTTP.

use hyper::Method;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::courier::Courier;
use super::{Batch, CloudConfig, Encoding, Uplink, Verdict};
use crate::net::Url;

/// Posts batches to one address.
#[derive(Debug)]
pub struct HttpsUplink {
    courier: Courier,
    url: Url,
}

impl HttpsUplink {
    /// An uplink as configured; the files are read when they are needed. An error says what is wrong and
    /// what would be right; [`CloudConfig::check`] finds it beforehand.
    pub fn new(config: &CloudConfig) -> Result<Self, String> {
        let url = config.url.as_deref().unwrap_or_default();
        let url = Url::parse(url, config.insecure).map_err(|e| format!("url: {e}"))?;
        Ok(Self { courier: Courier::new(config, &url)?, url })
    }
}

impl Uplink for HttpsUplink {
    const ENCODING: Encoding = Encoding::Zstd;

    async fn send(&self, batch: &Batch) -> (Verdict, usize) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
        if let Ok(key) = HeaderValue::from_str(batch.key()) {
            headers.insert(HeaderName::from_static("idempotency-key"), key);
        }
        match self.courier.request(Method::POST, &self.url, headers, batch.body().clone()).await {
            Ok(answer) => {
                let verdict = self.courier.judge(&self.url.to_string(), batch.key(), &answer);
                (verdict, batch.body().len())
            }
            Err(verdict) => (verdict, 0),
        }
    }
}
