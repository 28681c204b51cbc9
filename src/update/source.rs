//! Where a repository is: behind a web server, or in a directory, on a stick say.

use std::future::Future;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use hyper::{Method, StatusCode};
use thiserror::Error;

use super::config::UpdateConfig;
use crate::net::{HttpClient, HttpError, Reply, TlsFiles, Url, bearer, with_sources};

/// Bytes that are asked for at a time; a server that knows no ranges gives no larger file.
pub const CHUNK: u64 = 1 << 20;

/// A file that was not fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    /// It may work later.
    #[error("{path}: {reason}")]
    Later {
        /// The file.
        path: String,
        /// What is in the way.
        reason: String,
        /// How long the server wants to be left alone.
        after: Option<Duration>,
    },
    /// Asked again, the server would say the same.
    #[error("{path}: {reason}")]
    Never {
        /// The file.
        path: String,
        /// What the server says.
        reason: String,
    },
    /// It has no end, or a late one.
    #[error("{path} has more than the {most} bytes that it may have")]
    TooLarge {
        /// The file.
        path: String,
        /// The limit.
        most: u64,
    },
}

/// Gives the files of a repository.
pub trait Source: Send + Sync {
    /// At most `most` bytes of a file, from a place on; none beyond its end. `None`: there is no such file. A server that
    /// gives no parts may give more, [`CHUNK`] at most: they came over the line already.
    fn read(
        &self,
        path: &str,
        from: u64,
        most: u64,
    ) -> impl Future<Output = Result<Option<Bytes>, FetchError>> + Send;

    /// What is read comes over a line whose bytes may be counted.
    fn is_metered(&self) -> bool {
        true
    }
}

/// A whole file of at most so many bytes; `None`: it is not there.
pub async fn whole(
    source: &impl Source,
    path: &str,
    most: u64,
) -> Result<Option<Vec<u8>>, FetchError> {
    let mut all = Vec::new();
    loop {
        let wanted = CHUNK.min(most + 1 - all.len() as u64);
        let Some(bytes) = source.read(path, all.len() as u64, wanted).await? else {
            return Ok(None);
        };
        all.extend_from_slice(&bytes);
        if all.len() as u64 > most {
            return Err(FetchError::TooLarge { path: path.to_owned(), most });
        }
        if bytes.len() as u64 != wanted {
            return Ok(Some(all));
        }
    }
}

/// A web server or a bucket.
#[derive(Debug)]
pub struct Web {
    client: HttpClient,
    base: Url,
    insecure: bool,
    token_file: Option<PathBuf>,
}

impl Web {
    /// As configured; the files are read when they are needed. `None`: no server is named. An error says what would be
    /// right; [`UpdateConfig::check`] finds it beforehand.
    pub fn open(config: &UpdateConfig) -> Result<Option<Self>, String> {
        let Some(url) = &config.url else { return Ok(None) };
        let base = Url::parse(url, config.insecure).map_err(|error| format!("url: {error}"))?;
        let client = if base.is_tls() {
            HttpClient::from_files(TlsFiles::new(config.tls()), config.timeout.0)
        } else {
            HttpClient::plain(config.timeout.0)
        };
        let proxy = config.proxy().map_err(|error| format!("proxy: {error}"))?;
        let most = usize::try_from(CHUNK).unwrap_or(usize::MAX);
        let client = client.through(proxy).reading(most);
        let (insecure, token_file) = (config.insecure, config.token_file.clone());
        Ok(Some(Self { client, base, insecure, token_file }))
    }
}

impl Source for Web {
    async fn read(&self, path: &str, from: u64, most: u64) -> Result<Option<Bytes>, FetchError> {
        let later =
            |reason: String, after| Err(FetchError::Later { path: path.to_owned(), reason, after });
        let base = self.base.text();
        let url = Url::parse(&format!("{}/{path}", base.trim_end_matches('/')), self.insecure);
        let url = match url {
            Ok(url) => url,
            Err(error) => {
                let (path, reason) = (path.to_owned(), error.to_string());
                return Err(FetchError::Never { path, reason });
            }
        };
        let mut headers = HeaderMap::new();
        if let Ok(range) = HeaderValue::from_str(&range(from, most)) {
            headers.insert(RANGE, range);
        }
        if let Some(path) = &self.token_file {
            match bearer(path).await {
                Ok(value) => drop(headers.insert(AUTHORIZATION, value)),
                Err(error) => return later(format!("token_file {error}"), None),
            }
        }
        piece(path, self.client.request(Method::GET, &url, headers, Bytes::new()).await, from, most)
    }
}

/// What is asked for to get at most so many bytes from a place on.
pub(super) fn range(from: u64, most: u64) -> String {
    format!("bytes={from}-{}", from.saturating_add(most.max(1)) - 1)
}

/// What a server gives that was asked for a [`range`] of a file; `None`: there is no such file.
pub(super) fn piece(
    path: &str,
    reply: Result<Reply, HttpError>,
    from: u64,
    most: u64,
) -> Result<Option<Bytes>, FetchError> {
    let later =
        |reason: String, after| Err(FetchError::Later { path: path.to_owned(), reason, after });
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => return later(with_sources(&error), None),
    };
    let status = reply.status;
    match status {
        StatusCode::PARTIAL_CONTENT | StatusCode::OK => {}
        // Beyond the end.
        StatusCode::RANGE_NOT_SATISFIABLE => return Ok(Some(Bytes::new())),
        // Buckets that may not be listed say 403 of what is not there.
        StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE => return Ok(None),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            return later(format!("the server answers {status}"), reply.retry_after);
        }
        // A portal sends elsewhere who has not paid yet.
        _ if status.is_server_error() || status.is_redirection() => {
            return later(format!("the server answers {status}"), reply.retry_after);
        }
        _ => {
            let (path, reason) = (path.to_owned(), format!("the server answers {status}"));
            return Err(FetchError::Never { path, reason });
        }
    }
    let bytes = match reply.body {
        Ok(bytes) => bytes,
        Err(error) => return later(with_sources(&error), None),
    };
    let bytes = if status == StatusCode::OK {
        let start = usize::try_from(from).unwrap_or(usize::MAX);
        if start > bytes.len() {
            return later("the server gives another file".to_owned(), None);
        }
        bytes.slice(start..)
    } else {
        let expected = format!("bytes {from}-");
        let said = reply.headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        if !bytes.is_empty() && !said.is_some_and(|said| said.starts_with(&expected)) {
            let range = range(from, most);
            return later(format!("the server was asked for {range} and gave {said:?}"), None);
        }
        bytes
    };
    let most = if status == StatusCode::OK { CHUNK } else { most };
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
    Ok(Some(bytes.slice(..most)))
}

/// A directory with `metadata` and `targets`.
#[derive(Debug)]
pub struct Directory(pub PathBuf);

impl Source for Directory {
    async fn read(&self, path: &str, from: u64, most: u64) -> Result<Option<Bytes>, FetchError> {
        let plain = |part| matches!(part, Component::Normal(_));
        if !Path::new(path).components().all(plain) {
            let reason = "it leads out of the directory".to_owned();
            return Err(FetchError::Never { path: path.to_owned(), reason });
        }
        let file = self.0.join(path);
        let read = tokio::task::spawn_blocking(move || -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            let mut file = std::fs::File::open(file)?;
            file.seek(SeekFrom::Start(from))?;
            file.take(most).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        let read = read.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        match read {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let (path, reason) = (path.to_owned(), error.to_string());
                Err(FetchError::Later { path, reason, after: None })
            }
        }
    }

    fn is_metered(&self) -> bool {
        false
    }
}
