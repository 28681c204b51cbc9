//! `[mqtt.NAME]`: one broker connection as the user writes it.

use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::endpoint::{Endpoint, parse_url};
use crate::net::{Problem, TlsConfig, client_config, human, is_private_or_loopback, read_secret};

/// Brokers do not always keep to `receive_maximum`: MQTT 3.1.1 has none, and mosquitto 2.0.11 lets out
/// two more messages with each acknowledgement. So many times as many are taken before the link stops
/// reading.
const PATIENCE: usize = 32;

/// Whatever their number, unacknowledged messages take no more memory than this, unless two of the
/// largest do.
const UNSETTLED_BYTES: usize = 64 << 20;

/// A connection to an MQTT broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionConfig {
    /// `mqtt://host[:1883]` or `mqtts://host[:8883]`.
    pub url: String,
    /// Protocol version: 5, or 4 for MQTT 3.1.1.
    #[serde(default)]
    pub version: Version,
    /// Client identifier; `eir-<device>-<name>` when not set. The broker keeps one session for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// User name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File that holds the password; a line break at its end does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Certificates of the authorities to trust (PEM); the system's when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate with its intermediates (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Private key of the client certificate (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Allows `mqtt://` beyond loopback and private addresses.
    #[serde(default)]
    pub insecure: bool,
    /// Time between pings, 1s to 18h.
    #[serde(default = "keep_alive", with = "human::duration")]
    #[schemars(schema_with = "human::duration::schema")]
    pub keep_alive: Duration,
    /// How long the broker keeps the session of a device that is away (MQTT 5; in 3.1.1 the broker
    /// decides).
    #[serde(default = "session_expiry", with = "human::duration")]
    #[schemars(schema_with = "human::duration::schema")]
    pub session_expiry: Duration,
    /// Forgets the session at every connection: messages that were not acknowledged are lost.
    #[serde(default)]
    pub clean_start: bool,
    /// The largest packet taken and sent. Of a larger message that arrives the payload is skipped.
    #[serde(default = "max_packet", with = "human::size")]
    #[schemars(schema_with = "human::size::schema")]
    pub max_packet: usize,
    /// How many QoS 1 and 2 messages the broker may have on their way here unacknowledged, from 1.
    #[serde(default = "receive_maximum")]
    #[schemars(range(min = 1))]
    pub receive_maximum: u16,
    /// Publishes `eir/<device>/status`, retained: `online`, and `offline` as last will.
    #[serde(default = "status")]
    pub status: bool,
    /// How long connecting may take, until the broker has answered; also how long it may leave a
    /// ping unanswered.
    #[serde(default = "connect_timeout", with = "human::duration")]
    #[schemars(schema_with = "human::duration::schema")]
    pub connect_timeout: Duration,
    /// How long a publish may wait for its acknowledgement.
    #[serde(default = "publish_timeout", with = "human::duration")]
    #[schemars(schema_with = "human::duration::schema")]
    pub publish_timeout: Duration,
    /// Waits between attempts to connect.
    #[serde(default)]
    pub backoff: BackoffConfig,
}

/// Waits between attempts: drawn evenly from zero to a ceiling that doubles from `first` to `max`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackoffConfig {
    /// The first ceiling.
    #[serde(with = "human::duration")]
    #[schemars(schema_with = "human::duration::schema")]
    pub first: Duration,
    /// The last ceiling.
    #[serde(with = "human::duration")]
    #[schemars(schema_with = "human::duration::schema")]
    pub max: Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), max: Duration::from_mins(1) }
    }
}

/// Protocol version, written as the number that goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.0.
    #[default]
    V5,
}

impl TryFrom<u8> for Version {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            4 => Ok(Self::V4),
            5 => Ok(Self::V5),
            other => Err(format!("{other} is no MQTT version; use 5, or 4 for MQTT 3.1.1")),
        }
    }
}

impl From<Version> for u8 {
    fn from(version: Version) -> Self {
        match version {
            Version::V4 => 4,
            Version::V5 => 5,
        }
    }
}

impl JsonSchema for Version {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MqttVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": [5, 4] })
    }
}

impl ConnectionConfig {
    /// A connection to `url` with the defaults.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            version: Version::default(),
            client_id: None,
            username: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            insecure: false,
            keep_alive: keep_alive(),
            session_expiry: session_expiry(),
            clean_start: false,
            max_packet: max_packet(),
            receive_maximum: receive_maximum(),
            status: status(),
            connect_timeout: connect_timeout(),
            publish_timeout: publish_timeout(),
            backoff: BackoffConfig::default(),
        }
    }

    /// The most messages that can be here unacknowledged at one time, whatever the broker does: 32
    /// times `receive_maximum`. A queue that holds needs room for that many.
    pub fn in_flight_bound(&self) -> usize {
        usize::from(self.receive_maximum.max(1)) * PATIENCE
    }

    /// The most bytes of payload that can be here unacknowledged, but for the last message.
    pub(super) fn unsettled_bytes(&self) -> usize {
        UNSETTLED_BYTES.max(2 * self.max_packet)
    }

    /// What is wrong with the files at the moment. They are read again for every connection, so this
    /// may heal without a restart. Opens no connection.
    pub fn check_files(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let tls = self.endpoint().is_ok_and(|endpoint| endpoint.tls);
        if tls && let Err(error) = client_config(&self.tls()) {
            // That one of two is not named at all is no matter of files.
            if !matches!(error, crate::net::NetError::HalfAnIdentity { .. }) {
                problems.push(Problem::new(self.tls_key(&error), super::with_sources(&error)));
            }
        }
        if let Err(message) = self.password() {
            problems.push(Problem::new("password_file", message));
        }
        problems
    }

    /// Every value that cannot work, all at once. Reads no file, opens no connection.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem =
            |key: &str, message: String| problems.push(Problem { key: key.to_owned(), message });
        match self.endpoint() {
            Err(message) => problem("url", message),
            Ok(endpoint) if endpoint.tls => {
                let halves = [("cert_file", &self.cert_file), ("key_file", &self.key_file)];
                for ((given, file), (missing, other)) in
                    [(halves[0], halves[1]), (halves[1], halves[0])]
                {
                    if file.is_some() && other.is_none() {
                        problem(missing, format!("is missing; {given} needs it"));
                    }
                }
            }
            Ok(endpoint) => {
                if !self.insecure && !is_private_or_loopback(&endpoint.host) {
                    problem(
                        "url",
                        format!(
                            "mqtt:// to {} is readable on the way; use mqtts://, or say insecure = true",
                            endpoint.host
                        ),
                    );
                }
                for (key, file) in [
                    ("ca_file", &self.ca_file),
                    ("cert_file", &self.cert_file),
                    ("key_file", &self.key_file),
                ] {
                    if file.is_some() {
                        problem(key, "is for mqtts:// alone; change url or remove it".to_owned());
                    }
                }
            }
        }
        if self.password_file.is_some() && self.username.is_none() {
            problem("username", "is missing; password_file needs it".to_owned());
        }
        if self.client_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > 128) {
            problem("client_id", "must be 1 to 128 bytes long".to_owned());
        }
        if !(1..=64_800).contains(&self.keep_alive.as_secs()) {
            problem("keep_alive", "must be from 1s to 18h".to_owned());
        }
        if !(1024..=256 << 20).contains(&self.max_packet) {
            problem("max_packet", "must be from 1KiB to 256MiB".to_owned());
        }
        if self.receive_maximum == 0 {
            problem("receive_maximum", "must be at least 1".to_owned());
        }
        for (key, wait) in
            [("connect_timeout", self.connect_timeout), ("publish_timeout", self.publish_timeout)]
        {
            if wait.is_zero() {
                problem(key, "must be longer than nothing".to_owned());
            }
        }
        problems
    }

    pub(super) fn endpoint(&self) -> Result<Endpoint, String> {
        parse_url(&self.url).ok_or_else(|| {
            format!("`{}` is no broker; write mqtt://host:1883 or mqtts://host:8883", self.url)
        })
    }

    pub(super) fn tls(&self) -> TlsConfig {
        TlsConfig {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        }
    }

    /// The password, read anew, so that it can be rotated.
    pub(super) fn password(&self) -> Result<Option<String>, String> {
        self.password_file.as_deref().map(read_secret).transpose()
    }

    fn tls_key(&self, error: &crate::net::NetError) -> &'static str {
        use crate::net::NetError::{HalfAnIdentity, NoRoots, Rejected, Unexpected, Unreadable};
        match error {
            Unreadable { path, .. } | Unexpected { path, .. } => {
                if Some(path) == self.ca_file.as_ref() {
                    "ca_file"
                } else if Some(path) == self.cert_file.as_ref() {
                    "cert_file"
                } else {
                    "key_file"
                }
            }
            HalfAnIdentity { missing, .. } => missing,
            NoRoots => "ca_file",
            Rejected(_) => "url",
        }
    }
}

const fn keep_alive() -> Duration {
    Duration::from_secs(30)
}

const fn session_expiry() -> Duration {
    Duration::from_hours(1)
}

const fn max_packet() -> usize {
    8 << 20
}

const fn receive_maximum() -> u16 {
    64
}

const fn status() -> bool {
    true
}

const fn connect_timeout() -> Duration {
    Duration::from_secs(10)
}

const fn publish_timeout() -> Duration {
    Duration::from_secs(30)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(config: &ConnectionConfig) -> Vec<String> {
        config.check().into_iter().map(|p| p.key).collect()
    }

    #[test]
    fn one_line_is_enough_and_unknown_keys_are_refused() {
        let config: ConnectionConfig =
            toml::from_str("url = \"mqtt://127.0.0.1\"").expect("a config");
        assert_eq!(config, ConnectionConfig::new("mqtt://127.0.0.1"));
        assert_eq!(config.check(), []);
        let again = toml::to_string(&config).expect("toml");
        assert_eq!(toml::from_str::<ConnectionConfig>(&again).expect("again"), config);
        for bad in
            ["url = \"x\"\nqos = 1", "url = \"x\"\nversion = 3", "url = \"x\"\nkeep_alive = 30"]
        {
            assert!(toml::from_str::<ConnectionConfig>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let mut config = ConnectionConfig::new("mqtt://example.com");
        config.password_file = Some("/nonexistent/password".into());
        config.receive_maximum = 0;
        config.keep_alive = Duration::ZERO;
        assert_eq!(keys(&config), ["url", "username", "keep_alive", "receive_maximum"]);
        assert_eq!(config.check_files()[0].key, "password_file");
        config.insecure = true;
        assert!(!keys(&config).contains(&"url".to_owned()));
        let mut config = ConnectionConfig::new("mqtts://example.com");
        config.ca_file = Some("/nonexistent/ca.pem".into());
        assert_eq!(keys(&config), Vec::<String>::new(), "a file may come later");
        let files = config.check_files();
        assert!(files[0].key == "ca_file" && files[0].message.contains("/nonexistent/ca.pem"));
        config.key_file = Some("/nonexistent/key.pem".into());
        assert_eq!(keys(&config), ["cert_file"]);
    }
}
