//! Eclipse hawkBit as a second source of releases, over its Direct Device Integration API.
//!
//! hawkBit says when, and brings the bytes: a bundle of a signed repository, as one comes on a stick. What is in it is
//! believed for its signatures alone, so that a server that was taken over can deliver nothing of its own.
//!
//! [`ddi`] is what is said, [`bundle`] fetches the artifact, [`errand`] remembers what is being carried out.

pub mod bundle;
pub mod config;
pub mod ddi;
pub mod errand;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
};
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;

use self::config::TokenOf;
use self::ddi::{Base, Cancel, Deployment, Feedback};
use super::config::UpdateConfig;
use super::source::CHUNK;
use crate::net::{HttpClient, MAX_REPLY, Reply, TlsFiles, Url, authorization, with_sources};

/// Something that was not said or not heard.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DdiError {
    /// It may work later.
    #[error("{reason}")]
    Later {
        /// What is in the way.
        reason: String,
        /// How long the server wants to be left alone.
        after: Option<Duration>,
    },
    /// The server does not know the device, or its token, or what is asked for.
    #[error("the server answers {0}")]
    Refused(StatusCode),
    /// The action has had its end there.
    #[error("the server says that it is over")]
    Over,
    /// Asked again, the server would say the same.
    #[error("{0}")]
    Strange(String),
}

/// Speaks with a hawkBit server.
#[derive(Debug)]
pub struct Hawkbit {
    /// Answers in JSON.
    api: HttpClient,
    /// Pieces of artifacts.
    pieces: HttpClient,
    /// The controller's base resource; all that is asked lies below it.
    base: Url,
    insecure: bool,
    token: Option<(TokenOf, PathBuf)>,
    /// What the server said last, and how it calls that.
    known: Option<(HeaderValue, Base)>,
}

impl Hawkbit {
    /// As configured, for the device of that name; the files are read when they are needed. `None`: no server is named. An
    /// error says what would be right; [`UpdateConfig::check`] finds it beforehand.
    pub fn open(config: &UpdateConfig, device: &str) -> Result<Option<Self>, String> {
        let Some(hawkbit) = &config.hawkbit else { return Ok(None) };
        let (url, tenant) = (hawkbit.url.trim_end_matches('/'), &hawkbit.tenant);
        let base = Url::parse(&format!("{url}/{tenant}/controller/v1/{device}"), config.insecure);
        let base = base.map_err(|error| format!("hawkbit.url: {error}"))?;
        let proxy = config.proxy().map_err(|error| format!("proxy: {error}"))?;
        // An artifact may lie on another server, with TLS where this one has none.
        let client = |most| {
            let client = HttpClient::from_files(TlsFiles::new(config.tls()), config.timeout.0);
            client.through(proxy.clone()).reading(most)
        };
        let (api, pieces) =
            (client(MAX_REPLY), client(usize::try_from(CHUNK).unwrap_or(MAX_REPLY)));
        let token = hawkbit.token_file.clone().map(|file| (hawkbit.token, file));
        let (insecure, known) = (config.insecure, None);
        Ok(Some(Self { api, pieces, base, insecure, token, known }))
    }

    /// What the server has for this device, and whether it says so anew.
    pub async fn poll(&mut self) -> Result<(Base, bool), DdiError> {
        let mut headers = accepting();
        if let Some((tag, _)) = &self.known {
            headers.insert(IF_NONE_MATCH, tag.clone());
        }
        let reply = self.ask(Method::GET, "", headers, None).await?;
        if reply.status == StatusCode::NOT_MODIFIED
            && let Some((_, base)) = &self.known
        {
            return Ok((base.clone(), false));
        }
        let tag = reply.headers.get(ETAG).cloned();
        let base: Base = read(reply)?;
        self.known = tag.map(|tag| (tag, base.clone()));
        Ok((base, true))
    }

    /// Whatever the server says next is new.
    pub fn forget(&mut self) {
        self.known = None;
    }

    /// What an action wants installed.
    pub async fn deployment(&self, action: u64) -> Result<Deployment, DdiError> {
        let path = format!("/deploymentBase/{action}?actionHistory=0");
        read(self.ask(Method::GET, &path, accepting(), None).await?)
    }

    /// Which action is to be cancelled.
    pub async fn to_cancel(&self, action: u64) -> Result<u64, DdiError> {
        let path = format!("/cancelAction/{action}");
        let cancel: Cancel = read(self.ask(Method::GET, &path, accepting(), None).await?)?;
        let strange = || DdiError::Strange("it cancels an action without a number".to_owned());
        cancel.action().ok_or_else(strange)
    }

    /// Tells how far an action is.
    pub async fn tell(&self, action: u64, feedback: &Feedback) -> Result<(), DdiError> {
        let path = format!("/deploymentBase/{action}/feedback");
        self.say(Method::POST, &path, &feedback.body(action)).await
    }

    /// Answers to a cancellation.
    pub async fn answer_cancel(&self, action: u64, feedback: &Feedback) -> Result<(), DdiError> {
        let path = format!("/cancelAction/{action}/feedback");
        self.say(Method::POST, &path, &feedback.body(action)).await
    }

    /// Confirms an action.
    pub async fn confirm(&self, action: u64) -> Result<(), DdiError> {
        let path = format!("/confirmationBase/{action}/feedback");
        let details = ["[update.hawkbit].confirm is auto"];
        self.say(Method::POST, &path, &json!({ "confirmation": "confirmed", "details": details }))
            .await
    }

    /// Tells what the device is.
    pub async fn introduce(&self, attributes: &BTreeMap<String, String>) -> Result<(), DdiError> {
        let body = json!({ "mode": "merge", "data": attributes });
        self.say(Method::PUT, "/configData", &body).await
    }

    async fn say(&self, method: Method, path: &str, body: &Value) -> Result<(), DdiError> {
        self.ask(method, path, HeaderMap::new(), Some(body)).await.map(drop)
    }

    /// Asks for something below the base; what is returned is a yes, or nothing new.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        mut headers: HeaderMap,
        body: Option<&Value>,
    ) -> Result<Reply, DdiError> {
        let url = Url::parse(&format!("{}{path}", self.base.text()), self.insecure);
        let url = url.map_err(|error| DdiError::Strange(error.to_string()))?;
        self.sign(&url, &mut headers).await?;
        let body = match body {
            Some(body) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let reply = self.api.request(method, &url, headers, body).await;
        judge(reply.map_err(|error| later(with_sources(&error)))?)
    }

    /// The token, for the configured server alone.
    async fn sign(&self, url: &Url, headers: &mut HeaderMap) -> Result<(), DdiError> {
        if let Some((whose, file)) = &self.token
            && self.base.is_same_server(url)
        {
            let value = authorization(whose.scheme(), file).await;
            let value = value.map_err(|error| later(format!("hawkbit.token_file {error}")))?;
            headers.insert(AUTHORIZATION, value);
        }
        Ok(())
    }

    /// Where an artifact is. Another server than the configured one may have it, over TLS.
    pub fn artifact(&self, link: &str) -> Result<Url, String> {
        let url = self.base.join(link, self.insecure).map_err(|error| error.to_string())?;
        if !url.is_tls() && !url.host().eq_ignore_ascii_case(self.base.host()) {
            return Err(format!("the link to it leads to {url} without TLS"));
        }
        Ok(url)
    }
}

fn accepting() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/hal+json"))])
}

const fn later(reason: String) -> DdiError {
    DdiError::Later { reason, after: None }
}

/// What the status of an answer says.
fn judge(reply: Reply) -> Result<Reply, DdiError> {
    let status = reply.status;
    match status {
        _ if status.is_success() || status == StatusCode::NOT_MODIFIED => Ok(reply),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            Err(DdiError::Refused(status))
        }
        StatusCode::GONE => Err(DdiError::Over),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(put_off(&reply))
        }
        // A portal sends elsewhere who has not paid yet.
        _ if status.is_server_error() || status.is_redirection() => Err(put_off(&reply)),
        _ => Err(DdiError::Strange(format!("the server answers {status}"))),
    }
}

fn put_off(reply: &Reply) -> DdiError {
    let reason = format!("the server answers {}", reply.status);
    DdiError::Later { reason, after: reply.retry_after }
}

fn read<T: DeserializeOwned>(reply: Reply) -> Result<T, DdiError> {
    let bytes = reply.body.map_err(|error| later(with_sources(&error)))?;
    let strange =
        |error| DdiError::Strange(format!("what the server says cannot be read: {error}"));
    serde_json::from_slice(&bytes).map_err(strange)
}

#[cfg(test)]
mod tests;
