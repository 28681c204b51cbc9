//! Decisions over HTTP.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::payload::Payload;
use super::{Actuator, Failure, hand_on};
use crate::event::{HumanDuration, TextTemplate, TraceParent};
use crate::net::{HttpClient, TlsConfig, Url, bearer, client_config, with_sources};

/// More headers than this are not meant.
const MAX_HEADERS: usize = 64;

/// `webhook = { url = "https://example.com/hook", token_file = "/etc/eir/hook.token" }`.
///
/// 2xx is success. 408, 425, 429, 5xx, and no answer within the timeout are tried again; everything
/// else is refused. The decision's id is sent as `Idempotency-Key`, so that a receiver can tell a
/// second try from a second decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// `https://…`; `http://…` only to loopback and private addresses.
    pub url: String,
    /// The method.
    #[serde(default)]
    pub method: WebhookMethod,
    /// Headers to send; secrets do not belong here but into `token_file`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A file with a token that is sent as `Authorization: Bearer …`, read again for every request.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// The body; by default the decision as JSON.
    #[serde(default)]
    pub payload: Option<TextTemplate>,
    /// For one try, from connecting to the end of the answer.
    #[serde(default = "five_seconds")]
    pub timeout: HumanDuration,
    /// Tries after the first.
    #[serde(default = "three")]
    #[schemars(range(max = 100))]
    pub retries: u32,
    /// Given up when it could not be sent for so long.
    #[serde(default = "five_minutes")]
    pub max_age: HumanDuration,
    /// Allows `http://` to a public address.
    #[serde(default)]
    pub insecure: bool,
    /// The authority that signed the server's certificate (PEM); by default those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The client's certificate (PEM).
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// The client's private key (PEM).
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

const fn five_seconds() -> HumanDuration {
    HumanDuration::from_secs(5)
}

const fn five_minutes() -> HumanDuration {
    HumanDuration::from_secs(300)
}

const fn three() -> u32 {
    3
}

impl WebhookConfig {
    /// What cannot work, in words. Reads the files, contacts nobody.
    pub fn check(&self) -> Result<(), String> {
        WebhookActuator::new(self).map(drop)
    }
}

/// A method that carries a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "they are HTTP's")]
pub enum WebhookMethod {
    #[default]
    Post,
    Put,
    Patch,
}

/// One request to send.
#[derive(Debug)]
pub(super) struct WebhookOrder {
    pub(super) payload: Payload,
    pub(super) id: uuid::Uuid,
    pub(super) traceparent: Option<TraceParent>,
}

/// Calls one endpoint.
#[derive(Debug)]
pub(super) struct WebhookActuator {
    client: HttpClient,
    url: Url,
    method: Method,
    headers: HeaderMap,
    token_file: Option<PathBuf>,
}

impl WebhookActuator {
    /// Checks the configuration; an error says what is wrong and what would be right.
    pub(super) fn new(config: &WebhookConfig) -> Result<Self, String> {
        let url = Url::parse(&config.url, config.insecure).map_err(|e| format!("url: {e}"))?;
        let tls = TlsConfig {
            ca_file: config.ca_file.clone(),
            cert_file: config.cert_file.clone(),
            key_file: config.key_file.clone(),
        };
        // A device without certificates of authorities can still call its neighbour.
        let client = if url.is_tls() {
            let tls = client_config(&tls).map_err(|error| with_sources(&error))?;
            HttpClient::new(tls, config.timeout.0)
        } else {
            HttpClient::plain(config.timeout.0)
        };
        let method = match config.method {
            WebhookMethod::Post => Method::POST,
            WebhookMethod::Put => Method::PUT,
            WebhookMethod::Patch => Method::PATCH,
        };
        Ok(Self {
            client,
            url,
            method,
            headers: headers(config)?,
            token_file: config.token_file.clone(),
        })
    }

    pub(super) const fn url(&self) -> &Url {
        &self.url
    }
}

impl Actuator for WebhookActuator {
    type Order = WebhookOrder;

    async fn carry_out(&self, order: &WebhookOrder) -> Result<(), Failure> {
        let mut headers = self.headers.clone();
        let id = HeaderValue::from_str(&order.id.to_string());
        headers.extend(id.ok().map(|id| (HeaderName::from_static("idempotency-key"), id)));
        hand_on(order.traceparent, &mut headers);
        if let Some(path) = &self.token_file {
            let unusable = |why| Failure::Later { why: format!("token_file {why}"), after: None };
            headers.insert(AUTHORIZATION, bearer(path).await.map_err(unusable)?);
        }
        let body = order.payload.bytes()?;
        let reply = self.client.request(self.method.clone(), &self.url, headers, body).await;
        let reply = reply.map_err(|error| Failure::later(&error))?;
        // The status is the verdict: an answer whose body does not end was still given.
        let why = format!("{} answered {}", self.url, reply.status);
        match reply.status {
            status if status.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Err(Failure::Later { why, after: reply.retry_after })
            }
            status if status.is_server_error() => {
                Err(Failure::Later { why, after: reply.retry_after })
            }
            _ => Err(Failure::Refused(why)),
        }
    }
}

fn headers(config: &WebhookConfig) -> Result<HeaderMap, String> {
    if config.headers.len() > MAX_HEADERS {
        return Err(format!("headers: {} of them; at most {MAX_HEADERS}", config.headers.len()));
    }
    let mut headers = HeaderMap::new();
    let kind =
        if config.payload.is_some() { "text/plain; charset=utf-8" } else { "application/json" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in &config.headers {
        let name: HeaderName = name
            .parse()
            .map_err(|_| format!("headers: `{name}` is no header; use letters, digits and -"))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| format!("headers: the value of `{name}` holds control characters"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    //! Against a scripted HTTP server on loopback.

    use std::io::Write;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;
    use crate::action::line::{Couriers, Line, Patience};
    use crate::task::Group;

    /// Answers one request on each connection and tells what was asked.
    async fn server(
        group: &mut Group,
        answers: Vec<&'static str>,
    ) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("address"));
        let (tell, hear) = mpsc::channel(16);
        group.spawn("server", async move {
            let mut kept = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut asked = String::new();
                while !asked.ends_with("the body") {
                    let mut buffer = [0; 4096];
                    let count = stream.read(&mut buffer).await.expect("read");
                    asked.push_str(&String::from_utf8_lossy(&buffer[..count]));
                }
                stream.write_all(answer.as_bytes()).await.expect("written");
                tell.send(asked).await.expect("the test listens");
                if answer.contains("close") { drop(stream) } else { kept.push(stream) }
            }
            // The connections that are kept stay open.
            std::future::pending::<()>().await;
        });
        (url, hear)
    }

    fn config(url: &str, more: &str) -> WebhookConfig {
        toml::from_str(&format!("url = \"{url}\"\n{more}")).expect("configuration")
    }

    fn order() -> WebhookOrder {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        WebhookOrder {
            payload: Payload::Text("the body".to_owned()),
            id: uuid::Uuid::nil(),
            traceparent: Some(trace.parse().expect("a traceparent")),
        }
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    const BUSY: &str = "HTTP/1.1 500 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

    #[tokio::test]
    async fn a_server_error_is_tried_again_with_the_same_key() {
        let mut group = Group::default();
        let (url, mut hear) = server(&mut group, vec![BUSY, OK]).await;
        let mut token = tempfile::NamedTempFile::new().expect("file");
        token.write_all(b"s3cret\n").expect("written");
        let token = token.path();
        let config = config(
            &url,
            &format!("token_file = {token:?}\nmethod = \"PUT\"\nheaders = {{ X-Site = \"lyon\" }}"),
        );
        let line = Line::new("webhook".to_owned(), 4);
        let mut couriers = Couriers::default();
        let patience = Patience { retries: 3, age: Duration::from_secs(30) };
        couriers.add(WebhookActuator::new(&config).expect("webhook"), &line, patience);
        line.push(order());
        assert_eq!(couriers.start().drain(Duration::from_secs(20)).await, 0);
        for _ in 0..2 {
            let asked = hear.recv().await.expect("a request").to_ascii_lowercase();
            assert!(asked.starts_with("put /hook http/1.1\r\n"), "{asked}");
            for header in [
                "authorization: bearer s3cret\r\n",
                "x-site: lyon\r\n",
                "idempotency-key: 00000000-0000-0000-0000-000000000000\r\n",
                "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
                "content-type: application/json\r\n",
                "content-length: 8\r\n",
            ] {
                assert!(asked.contains(header), "{header} in {asked}");
            }
        }
        let counts = line.meter().snapshot();
        assert_eq!((counts.sent, counts.retried, counts.failed), (1, 1, 0));
    }

    #[tokio::test]
    async fn the_status_decides() {
        let mut group = Group::default();
        let answers = vec![
            "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 302 Found\r\nLocation: /\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            // Says yes and never ends its body: it was still a yes.
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            // Says nothing at all.
            "",
        ];
        let (url, _hear) = server(&mut group, answers).await;
        let webhook = WebhookActuator::new(&config(&url, "timeout = \"300ms\"")).expect("webhook");
        let busy = webhook.carry_out(&order()).await.expect_err("429");
        assert!(
            matches!(&busy, Failure::Later { after: Some(wait), .. } if wait.as_secs() == 7),
            "{busy}"
        );
        for _ in 0..2 {
            let refused = webhook.carry_out(&order()).await.expect_err("refused");
            assert!(matches!(refused, Failure::Refused(_)), "{refused}");
        }
        webhook.carry_out(&order()).await.expect("a yes is a yes");
        let silent = webhook.carry_out(&order()).await.expect_err("no answer");
        assert!(
            matches!(&silent, Failure::Later { why, .. } if why.contains("within 300ms")),
            "{silent}"
        );
    }

    #[tokio::test]
    async fn a_missing_token_is_told_and_may_come_later() {
        let config = config("https://10.0.0.1/", "token_file = \"/none\"");
        let webhook = WebhookActuator::new(&config).expect("webhook");
        let failure = webhook.carry_out(&order()).await.expect_err("no token");
        assert!(
            matches!(&failure, Failure::Later { why, .. } if why.contains("/none")),
            "{failure}"
        );
    }
}
