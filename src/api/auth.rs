//! Who may ask for what: bearer tokens with roles, of which only hashes are known here.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tower_service::Service;

use super::door::Door;
use super::route::{Answer, Refusal, error};
use super::seats::Peer;
use crate::event::Name;
use crate::task::{Clock, SystemClock};

/// What every token begins with, so that one that has got out is recognised.
const PREFIX: &str = "eir_";

/// Bytes of a token that nobody can guess.
const RANDOM: usize = 32;

/// What somebody may ask for; each role may what those before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// How the device does, its models, its metrics, what it sees.
    Read,
    /// What its models make of an input.
    Infer,
    /// Loading and unloading models, reading the configuration again.
    Admin,
}

impl Role {
    /// `read`, `infer` or `admin`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Infer => "infer",
            Self::Admin => "admin",
        }
    }
}

/// Who may ask: `"none"`, or those with a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Auth {
    /// Whoever reaches the port, for everything.
    Open(Nobody),
    /// Who has one of these tokens.
    Tokens(Tokens),
}

/// The word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Nobody {
    /// Nobody is asked who they are.
    None,
}

/// The tokens of `[api.auth]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// By the name of who has it.
    pub tokens: BTreeMap<Name, TokenConfig>,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// What it is good for.
    pub role: Role,
    /// The SHA-256 of the token, in 64 hexadecimal digits, as `eir token new` prints it.
    pub sha256: String,
}

impl TokenConfig {
    fn digest(&self) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        let digits = self.sha256.as_bytes();
        if digits.len() != 2 * digest.len() {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(digest)
    }
}

impl Tokens {
    /// What is wrong with them, by key.
    pub(super) fn check(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        if self.tokens.is_empty() {
            let message = "is empty: nobody could ask; `eir token new` makes one".to_owned();
            found.push(("auth.tokens".to_owned(), message));
        }
        for (name, token) in &self.tokens {
            if token.digest().is_none() {
                let message = "must be 64 hexadecimal digits, as `eir token new` prints them";
                found.push((format!("auth.tokens.{name}.sha256"), message.to_owned()));
            }
        }
        found
    }
}

/// A new token, and what is known of it here.
pub fn new_token() -> (String, String) {
    use base64::Engine;
    let mut random = [0_u8; RANDOM];
    rand::rng().fill_bytes(&mut random);
    let token = format!("{PREFIX}{}", base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(random));
    let mut hex = String::with_capacity(64);
    for byte in hash(&token) {
        // Writing into a String cannot fail.
        let _ok = write!(hex, "{byte:02x}");
    }
    (token, hex)
}

fn hash(token: &str) -> [u8; 32] {
    // A token is as random as its hash: nothing slower is needed to hide it.
    Sha256::digest(token.as_bytes()).into()
}

/// Knows who may ask for what.
#[derive(Debug)]
pub(super) struct Guard {
    /// `None`: everybody may everything.
    tokens: Option<Vec<(Role, [u8; 32])>>,
}

impl Guard {
    /// The configuration was checked.
    pub(super) fn new(auth: Option<&Auth>) -> Self {
        let tokens = match auth {
            None | Some(Auth::Open(Nobody::None)) => None,
            Some(Auth::Tokens(Tokens { tokens })) => Some(
                tokens.values().filter_map(|token| Some((token.role, token.digest()?))).collect(),
            ),
        };
        Self { tokens }
    }

    /// What who sends these headers may; `None`: nothing that needs a role.
    pub(super) fn role(&self, headers: &HeaderMap) -> Option<Role> {
        let Some(tokens) = &self.tokens else { return Some(Role::Admin) };
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let said = hash(token.trim());
        // Every one is looked at, so that the time tells nothing.
        tokens.iter().fold(None, |found, (role, known)| {
            let same: bool = known.ct_eq(&said).into();
            if same { found.max(Some(*role)) } else { found }
        })
    }

    /// A page of another site that a browser here has open may ask nothing: neither by naming us, nor by a name of its own
    /// that leads here.
    fn foreign(&self, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        // HTTP/2 names us with the path.
        let host = uri.authority().map(Authority::as_str).or_else(|| text(header::HOST));
        if let Some(origin) = text(header::ORIGIN) {
            let site = origin.split_once("://").map(|(_, site)| site);
            if site.is_none() || site != host {
                return Some("pages of other sites may not ask here");
            }
        }
        let host = host?.parse::<Authority>().ok()?;
        let name = host.host();
        let numeric = name.starts_with('[') || name.parse::<std::net::IpAddr>().is_ok();
        let local = [".local", ".localhost", ".lan", ".internal", ".home.arpa"];
        let known = numeric || !name.contains('.') || local.iter().any(|end| name.ends_with(end));
        // A token is nothing that a browser sends by itself.
        (self.tokens.is_none() && !known)
            .then_some("without tokens this is asked by address or by a local name")
    }
}

/// Lets through who may.
#[derive(Debug, Clone)]
pub(super) struct Checked<S> {
    pub inner: S,
    pub door: Door,
    pub need: Option<Role>,
}

impl<S: Service<Request, Response = Response>> Service<Request> for Checked<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        match admit(&self.door, &request, self.need) {
            Ok(visitor) => {
                request.extensions_mut().insert(visitor);
                Either::Right(self.inner.call(request))
            }
            Err(refusal) => Either::Left(ready(Ok(refusal.into_response()))),
        }
    }
}

/// Whether who asks may, and not too often.
pub(super) fn admit(door: &Door, request: &Request, needed: Option<Role>) -> Answer<Visitor> {
    let headers = request.headers();
    let role = door.guard.role(headers);
    let address = request.extensions().get::<Peer>().map(|peer| peer.address);
    if let Some(address) = address {
        door.limit.take(address, SystemClock.now())?;
    }
    if let Some(why) = door.guard.foreign(request.uri(), headers) {
        return Err(error(StatusCode::FORBIDDEN, why));
    }
    allow(role, needed)?;
    Ok(Visitor { role })
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visitor {
    pub role: Option<Role>,
}

fn allow(role: Option<Role>, needed: Option<Role>) -> Result<(), Refusal> {
    match (needed, role) {
        (None, _) => Ok(()),
        (Some(needed), Some(role)) if role >= needed => Ok(()),
        (Some(needed), Some(role)) => {
            let (role, needed) = (role.as_str(), needed.as_str());
            let message = format!("this token's role is {role}; this needs {needed}");
            Err(error(StatusCode::FORBIDDEN, message))
        }
        (Some(_), None) => {
            let message = "a token is needed: Authorization: Bearer …";
            Err(error(StatusCode::UNAUTHORIZED, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn a_token_has_its_role_and_nothing_else_has_one() {
        let (token, sha256) = new_token();
        assert!(token.starts_with(PREFIX) && token.len() == 47 && sha256.len() == 64);
        let text = format!("tokens.grafana = {{ role = \"infer\", sha256 = \"{sha256}\" }}");
        let auth: Auth = toml::from_str(&text).expect("a configuration");
        let guard = Guard::new(Some(&auth));
        let role = |value: &str| guard.role(&headers(&[("authorization", value)]));
        assert_eq!(role(&format!("Bearer {token}")), Some(Role::Infer));
        assert_eq!(role(&format!("bearer {token}")), Some(Role::Infer));
        for wrong in [&format!("Basic {token}"), &token, "Bearer ", "Bearer eir_", &sha256] {
            assert_eq!(role(wrong), None, "{wrong}");
        }
        assert_eq!(guard.role(&HeaderMap::new()), None);
        assert_eq!(Guard::new(None).role(&HeaderMap::new()), Some(Role::Admin));
        assert_ne!(new_token().0, token);
    }

    #[test]
    fn a_role_may_what_those_below_it_may() {
        assert!(allow(None, None).is_ok());
        assert!(allow(None, Some(Role::Read)).is_err());
        assert!(allow(Some(Role::Read), Some(Role::Infer)).is_err());
        assert!(allow(Some(Role::Admin), Some(Role::Infer)).is_ok());
    }

    #[test]
    fn pages_of_other_sites_may_not_ask() {
        let open = Guard::new(None);
        let foreign = |pairs: &[(&'static str, &str)]| {
            open.foreign(&Uri::from_static("/v2"), &headers(pairs)).is_some()
        };
        assert!(!foreign(&[("host", "127.0.0.1:8000")]));
        assert!(!foreign(&[("host", "[::1]:8000"), ("origin", "http://[::1]:8000")]));
        assert!(!foreign(&[("host", "pi.local:8000"), ("origin", "http://pi.local:8000")]));
        assert!(!foreign(&[("host", "pi:8000")]));
        assert!(foreign(&[("host", "127.0.0.1:8000"), ("origin", "https://evil.example")]));
        assert!(foreign(&[("host", "127.0.0.1:8000"), ("origin", "null")]));
        assert!(foreign(&[("host", "evil.example"), ("origin", "http://evil.example")]));
    }

    /// Its own page was refused where it came over HTTP/2, and so over TLS: there is no Host there.
    #[test]
    fn over_http_2_the_own_page_may_ask_and_others_may_not() {
        let open = Guard::new(None);
        let foreign = |uri: &'static str, origin: &str| {
            open.foreign(&Uri::from_static(uri), &headers(&[("origin", origin)])).is_some()
        };
        assert!(!foreign("https://pi.local:8000/v2", "https://pi.local:8000"));
        assert!(foreign("https://pi.local:8000/v2", "https://evil.example"));
        assert!(foreign("https://evil.example/v2", "https://evil.example"));
    }
}
