//! `[cloud.NAME]`: one cloud as the user writes it.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{ByteSize, Name};
use crate::mqtt::BackoffConfig;
use crate::net::{
    Hours, NetError, Problem, Rate, TlsConfig, Url, client_config, human, is_loopback,
    is_private_or_loopback, read_secret,
};
use crate::outbox::Lane;

/// A cloud that records are sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudConfig {
    /// `https://…`; `http://…` only to loopback and private addresses, and beyond loopback with
    /// `ack = "echo"` alone. `otlp+https://…` is an OpenTelemetry Collector, or whatever else takes logs and
    /// metrics as OTLP over HTTP: `/v1/logs` and `/v1/metrics` are added to the path. `otlp+http://…` to loopback
    /// alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Instead of `url`, a connection `[mqtt.NAME]`: records go to `eir/<device>/records` there, QoS 1, and the
    /// broker's acknowledgement is the yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<Name>,
    /// Where the inputs of samples are uploaded to, with the same token and certificates: `https://…` of a server that
    /// speaks tus 1.0.0 (resumable uploads, <https://tus.io>), `http://…` to loopback alone. Without it they travel in
    /// their records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<String>,
    /// A file with a token that is sent as `Authorization: Bearer …`, read again for every batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Certificates of the authorities to trust (PEM); the system's when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate with its intermediates (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Private key of the client certificate (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// An HTTP proxy on the way, `http://host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Allows `http://` to a public address.
    #[serde(default)]
    pub insecure: bool,
    /// What counts as a yes.
    #[serde(default)]
    pub ack: AckBy,
    /// The most bytes of records in one batch, before they are compressed, 1KiB to 64MiB; 1MiB by default, and
    /// 64KiB over MQTT, which many brokers limit. A record that is larger is sent alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_batch: Option<ByteSize>,
    /// The most records in one batch.
    #[serde(default = "max_records")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_records: usize,
    /// How long a record may wait for others to fill its batch, at most 1h.
    #[serde(default = "max_delay", with = "human::duration")]
    #[schemars(schema_with = "human::duration::schema")]
    pub max_delay: Duration,
    /// Hours of the day in which records may leave, e.g. `22:00-06:00`, by the device's time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Hours>,
    /// How fast records may leave on average, e.g. `64KiB/s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How much may leave on one day, e.g. `10MiB`, from the start of eir on; what does not, waits for the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<ByteSize>,
    /// For one try, from connecting to the end of the answer.
    #[serde(default = "timeout", with = "human::duration")]
    #[schemars(schema_with = "human::duration::schema")]
    pub timeout: Duration,
    /// How often a cloud is tried again that refuses what it is sent (a wrong token, a wrong path): about
    /// so often, 1s to 1d.
    #[serde(default = "recheck", with = "human::duration")]
    #[schemars(schema_with = "human::duration::schema")]
    pub recheck: Duration,
    /// Waits between tries while the cloud is away or busy.
    #[serde(default)]
    pub backoff: BackoffConfig,
}

/// What counts as a yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AckBy {
    /// A status of 200 to 299: only over verified TLS or to loopback, and not with a page of HTML.
    #[default]
    Status,
    /// A status of 200 to 299 whose header `Eir-Batch` repeats the batch's `Idempotency-Key`.
    Echo,
}

/// Stands before the scheme where OTLP is spoken.
const OTLP: &str = "otlp+";

const fn max_records() -> usize {
    1000
}

const fn max_delay() -> Duration {
    Duration::from_secs(1)
}

const fn timeout() -> Duration {
    Duration::from_secs(30)
}

const fn recheck() -> Duration {
    Duration::from_mins(5)
}

impl CloudConfig {
    /// A cloud at `url` with the defaults.
    pub fn new(url: &str) -> Self {
        Self {
            url: Some(url.to_owned()),
            mqtt: None,
            samples: None,
            token_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            proxy: None,
            insecure: false,
            ack: AckBy::default(),
            max_batch: None,
            max_records: max_records(),
            max_delay: max_delay(),
            allow: None,
            rate: None,
            daily: None,
            timeout: timeout(),
            recheck: recheck(),
            backoff: BackoffConfig::default(),
        }
    }

    /// Every value that cannot work, all at once. Reads no file, contacts nobody.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        match (&self.url, &self.mqtt) {
            (Some(_), None) => {
                match Url::parse(self.address(), self.insecure) {
                    Err(error) => problems.push(Problem::new("url", error.to_string())),
                    Ok(url) if url.is_tls() => problems.extend(self.tls().half_identity()),
                    Ok(url) => problems.extend(self.clear(&url)),
                }
                if self.is_otlp() && self.ack == AckBy::Echo {
                    let message = "\"echo\" is not for otlp+…, whose answers have a form of their own; \
                                   remove it";
                    problems.push(Problem::new("ack", message));
                }
            }
            (None, Some(_)) => problems.extend(self.of_http_alone()),
            (Some(_), Some(_)) => {
                let message = "a cloud is reached by url or by mqtt; remove one of them";
                problems.push(Problem::new("mqtt", message));
            }
            (None, None) => {
                let message = "is missing; or mqtt, with the name of a [mqtt.NAME]";
                problems.push(Problem::new("url", message));
            }
        }
        if let Some(Err(message)) = self.samples_url() {
            problems.push(Problem::new("samples", message));
        }
        if let Some(Err(message)) = self.proxy.as_deref().map(Url::proxy) {
            problems.push(Problem::new("proxy", message));
        }
        let longest = Duration::from_hours(24);
        let wrong = [
            ("max_batch", (1 << 10..=64 << 20).contains(&self.batch_bytes()), "from 1KiB to 64MiB"),
            ("max_records", (1..=100_000).contains(&self.max_records), "from 1 to 100000"),
            ("max_delay", self.max_delay <= Duration::from_hours(1), "at most 1h"),
            ("timeout", !self.timeout.is_zero() && self.timeout <= longest, "from 1ms to 1d"),
            (
                "recheck",
                (Duration::from_secs(1)..=longest).contains(&self.recheck),
                "from 1s to 1d",
            ),
        ];
        let wrong = wrong.into_iter().filter(|(_, right, _)| !right);
        problems.extend(wrong.map(|(key, _, range)| Problem::new(key, format!("must be {range}"))));
        problems
    }

    /// What is wrong with the files at the moment. They are read again, so this may heal without a restart.
    /// Contacts nobody.
    pub fn check_files(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if Url::parse(self.address(), true).is_ok_and(|url| url.is_tls())
            && let Err(error) = client_config(&self.tls())
            // That one of two is not named at all is no matter of files.
            && !matches!(error, NetError::HalfAnIdentity { .. })
        {
            problems.push(Problem::new(self.tls().key_of(&error), super::with_sources(&error)));
        }
        if let Some(Err(message)) = self.token_file.as_deref().map(read_secret) {
            problems.push(Problem::new("token_file", message));
        }
        problems
    }

    /// OTLP is spoken with it.
    pub fn is_otlp(&self) -> bool {
        self.url.as_deref().is_some_and(|url| url.starts_with(OTLP))
    }

    /// The address to connect to: `https://…` or `http://…`, where it is right.
    pub(super) fn address(&self) -> &str {
        let url = self.url.as_deref().unwrap_or_default();
        url.strip_prefix(OTLP).unwrap_or(url)
    }

    /// The files of the TLS client.
    pub(super) fn tls(&self) -> TlsConfig {
        TlsConfig {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        }
    }

    /// The proxy, where one is named.
    pub(super) fn proxy(&self) -> Result<Option<Url>, String> {
        self.proxy.as_deref().map(Url::proxy).transpose()
    }

    /// Where the inputs of samples go, where that is named.
    pub(super) fn samples_url(&self) -> Option<Result<Url, String>> {
        let url = Url::parse(self.samples.as_deref()?, self.insecure);
        Some(url.map_err(|error| error.to_string()).and_then(|url| {
            let message = "over http:// anybody on the way can say yes; use https://";
            if self.is_trusted(&url) { Ok(url) } else { Err(message.to_owned()) }
        }))
    }

    /// The ways to this cloud.
    pub fn lanes(&self, name: &Name) -> Vec<Lane> {
        let samples = self.samples.as_ref().map(|_| Lane::Samples(name.clone()));
        std::iter::once(Lane::Records(name.clone())).chain(samples).collect()
    }

    /// Nobody on the way can answer in the cloud's place.
    pub(super) fn is_trusted(&self, url: &Url) -> bool {
        url.is_tls() || is_loopback(url.host()) && self.proxy.is_none()
    }

    /// The most bytes of records in one batch.
    pub(super) const fn batch_bytes(&self) -> usize {
        match self.max_batch {
            Some(bytes) => bytes.0,
            None if self.mqtt.is_some() => 64 << 10,
            None => 1 << 20,
        }
    }

    /// What a connection to a broker brings with it.
    fn of_http_alone(&self) -> Vec<Problem> {
        let keys = [
            ("samples", self.samples.is_some()),
            ("token_file", self.token_file.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("cert_file", self.cert_file.is_some()),
            ("key_file", self.key_file.is_some()),
            ("proxy", self.proxy.is_some()),
            ("ack", self.ack != AckBy::default()),
        ];
        let given = keys.into_iter().filter(|(_, given)| *given);
        given
            .map(|(key, _)| {
                Problem::new(key, "is for url alone; see the [mqtt.NAME] of this cloud")
            })
            .collect()
    }

    /// What does not go with `http://`.
    fn clear(&self, url: &Url) -> Vec<Problem> {
        let mut problems = self.tls().out_of_place();
        if self.is_otlp() && !self.is_trusted(url) {
            let message = "over http:// anybody on the way can say yes; use otlp+https://";
            problems.push(Problem::new("url", message));
        } else if self.ack == AckBy::Status && !self.is_trusted(url) {
            let message = "\"status\" believes whoever answers, and over http:// that may be anybody \
                           on the way; use https://, or \"echo\"";
            problems.push(Problem::new("ack", message));
        }
        problems.extend(self.open_proxy());
        problems
    }

    /// What goes to `http://` would leave the site on its way through the proxy.
    pub(super) fn open_proxy(&self) -> Option<Problem> {
        let proxy = self.proxy().ok()??;
        let message = format!(
            "what goes to http:// can be read on the way to {}; use https:// in url, or set \
             insecure = true",
            proxy.host()
        );
        (!self.insecure && !is_private_or_loopback(proxy.host()))
            .then(|| Problem::new("proxy", message))
    }
}

#[cfg(test)]
mod tests;
