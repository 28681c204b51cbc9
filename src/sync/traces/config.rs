//! `[traces]` as the user writes it.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mqtt::BackoffConfig;
use crate::net::{Problem, Url, human};
use crate::sync::CloudConfig;

/// Where spans go: one of each message in each pipeline with its stages, and one of each request for a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TracesConfig {
    /// An OpenTelemetry Collector, or whatever else takes traces as OTLP over HTTP: `otlp+https://…`;
    /// `otlp+http://…` only to loopback and private addresses. `/v1/traces` is added to the path.
    pub url: String,
    /// Which part of the messages and requests is traced, from 0 to 1. One that brings a `traceparent` is traced if
    /// that says so, and otherwise not.
    #[serde(default = "ratio")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ratio: f64,
    /// How many spans may wait to be sent, 512 to 65,536. What does not fit is dropped and counted.
    #[serde(default = "queue")]
    #[schemars(range(min = 512, max = 65_536))]
    pub queue: usize,
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
    /// Allows `otlp+http://` to a public address.
    #[serde(default)]
    pub insecure: bool,
    /// For one try, from connecting to the end of the answer.
    #[serde(default = "timeout", with = "human::duration")]
    #[schemars(schema_with = "human::duration::schema")]
    pub timeout: Duration,
    /// Waits between tries while the receiver is away or busy.
    #[serde(default)]
    pub backoff: BackoffConfig,
}

const fn ratio() -> f64 {
    1.0
}

const fn queue() -> usize {
    2048
}

const fn timeout() -> Duration {
    Duration::from_secs(10)
}

impl TracesConfig {
    /// Every value that cannot work, all at once. Reads no file, contacts nobody.
    pub fn check(&self) -> Vec<Problem> {
        let cloud = self.cloud();
        let mut problems = Vec::new();
        match Url::parse(cloud.address(), self.insecure) {
            _ if !cloud.is_otlp() => {
                let message = "must begin with otlp+https:// or otlp+http://: spans go to whatever takes OTLP";
                problems.push(Problem::new("url", message));
            }
            Err(error) => problems.push(Problem::new("url", error.to_string())),
            Ok(url) if url.is_tls() => problems.extend(cloud.tls().half_identity()),
            Ok(_) => {
                problems.extend(cloud.tls().out_of_place());
                problems.extend(cloud.open_proxy());
            }
        }
        if let Err(message) = cloud.proxy() {
            problems.push(Problem::new("proxy", message));
        }
        let longest = Duration::from_hours(24);
        let wrong = [
            ("ratio", (0.0..=1.0).contains(&self.ratio), "from 0 to 1"),
            ("queue", (super::BATCH..=65_536).contains(&self.queue), "from 512 to 65536"),
            ("timeout", !self.timeout.is_zero() && self.timeout <= longest, "from 1ms to 1d"),
        ];
        let wrong = wrong.into_iter().filter(|(_, right, _)| !right);
        problems.extend(wrong.map(|(key, _, range)| Problem::new(key, format!("must be {range}"))));
        problems
    }

    /// What is wrong with the files at the moment. They are read again, so this may heal without a restart.
    /// Contacts nobody.
    pub fn check_files(&self) -> Vec<Problem> {
        self.cloud().check_files()
    }

    /// The same receiver as a cloud.
    pub(super) fn cloud(&self) -> CloudConfig {
        CloudConfig {
            token_file: self.token_file.clone(),
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            proxy: self.proxy.clone(),
            insecure: self.insecure,
            timeout: self.timeout,
            ..CloudConfig::new(&self.url)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, String)> {
        let config: TracesConfig = toml::from_str(text).expect("a configuration");
        config.check().into_iter().map(|problem| (problem.key, problem.message)).collect()
    }

    #[test]
    fn what_can_work_is_taken() {
        for text in [
            "url = \"otlp+https://collector.example.com:4318\"",
            "url = \"otlp+http://127.0.0.1:4318\"",
            "url = \"otlp+http://10.0.0.7:4318/otlp\"\nratio = 0.01\nqueue = 512",
            "url = \"otlp+http://collector.example.com\"\ninsecure = true\nratio = 0",
            "url = \"otlp+https://c.example.com\"\nproxy = \"http://proxy.example.com:3128\"",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn what_cannot_is_told_by_key_with_what_would_be_right() {
        for (text, key, right) in [
            ("url = \"https://c.example.com\"", "url", "otlp+https://"),
            ("url = \"otlp+http://c.example.com\"", "url", "insecure = true"),
            ("url = \"otlp+ftp://10.0.0.7\"", "url", "use https://"),
            ("url = \"otlp+https://c.example.com\"\nratio = 1.5", "ratio", "from 0 to 1"),
            ("url = \"otlp+https://c.example.com\"\nratio = nan", "ratio", "from 0 to 1"),
            ("url = \"otlp+https://c.example.com\"\nqueue = 1", "queue", "from 512"),
            ("url = \"otlp+https://c.example.com\"\ntimeout = \"0s\"", "timeout", "from 1ms"),
            ("url = \"otlp+https://c.example.com\"\ncert_file = \"c.pem\"", "key_file", ""),
            ("url = \"otlp+http://127.0.0.1:4318\"\nca_file = \"c.pem\"", "ca_file", ""),
            (
                "url = \"otlp+https://c.example.com\"\nproxy = \"https://p:1\"",
                "proxy",
                "write http://",
            ),
            (
                "url = \"otlp+http://10.0.0.7\"\nproxy = \"http://proxy.example.com:3128\"",
                "proxy",
                "insecure = true",
            ),
        ] {
            let found = found(text);
            let [(told, message)] = &found[..] else { panic!("{text}: {found:?}") };
            assert!(told == key && message.contains(right), "{text}: {found:?}");
        }
        toml::from_str::<TracesConfig>("url = \"otlp+https://c\"\nrate = 1")
            .expect_err("no such key");
        toml::from_str::<TracesConfig>("ratio = 1.0").expect_err("no url");
    }
}
