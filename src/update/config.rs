//! `[update]` in the configuration.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hawkbit::config::HawkbitConfig;
use crate::event::{ByteSize, HumanDuration, ModelName};
use crate::net::{Hours, Problem, Rate, TlsConfig, Url, is_private_or_loopback, with_sources};

/// Releases over the air.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateConfig {
    /// The repository, `https://…`; `http://…` only to loopback and private addresses: what comes is verified either way.
    /// Without it releases come on a stick alone (`eir update import`).
    pub url: Option<String>,
    /// A hawkBit server that brings releases, beside the repository or alone.
    pub hawkbit: Option<HawkbitConfig>,
    /// The first root of trust: a copy of the repository's `metadata/1.root.json`.
    pub root: PathBuf,
    /// Where what was fetched lies, and what is known of it.
    pub dir: PathBuf,
    /// How often it is looked for new releases; each wait is between half and one and a half times that, 1s to 7d.
    pub every: HumanDuration,
    /// Models that are taken though no pipeline names them yet.
    pub models: Vec<ModelName>,
    /// Hours of the day in which releases are begun and programs exchanged, e.g. `02:00-04:00`, by the device's time zone.
    pub window: Option<Hours>,
    /// How fast releases may come on average, e.g. `64KiB/s`.
    pub rate: Option<Rate>,
    /// How much may come on one day, e.g. `50MiB`, from the start of eir on; what does not, waits for the next.
    pub daily: Option<ByteSize>,
    /// The largest release that is fetched, and the most that one may unpack to, up to 16GiB.
    pub max: ByteSize,
    /// Memory that must stay available on the device while a new model is tried beside the old one.
    pub spare_memory: ByteSize,
    /// How a new model is tried on what the old one is asked, while nobody acts on what it says.
    pub shadow: ShadowConfig,
    /// How a new model is tried on some of the streams.
    pub canary: CanaryConfig,
    /// How long a new program or a new layer of the configuration must do well before it stays, 1s to 1d.
    pub probation: HumanDuration,
    /// A file with a token that is sent as `Authorization: Bearer …`, read again for every request.
    pub token_file: Option<PathBuf>,
    /// Certificates of the authorities to trust (PEM); the system's when not set.
    pub ca_file: Option<PathBuf>,
    /// Client certificate with its intermediates (PEM).
    pub cert_file: Option<PathBuf>,
    /// Private key of the client certificate (PEM).
    pub key_file: Option<PathBuf>,
    /// An HTTP proxy on the way, `http://host:port`.
    pub proxy: Option<String>,
    /// Allows `http://` to a public address.
    pub insecure: bool,
    /// For one request, from connecting to the end of the answer; a release comes in many.
    pub timeout: HumanDuration,
}

/// A model beside the one that serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShadowConfig {
    /// The part of the runs that both do, above 0 and up to 1.
    #[schemars(range(min = 0.001, max = 1.0))]
    pub share: f64,
    /// How long, at most 7d.
    #[serde(rename = "for")]
    pub length: HumanDuration,
    /// How many inputs both must have seen by then; until they have, it goes on, up to ten times as long.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub least: u64,
}

/// A model that serves some streams.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CanaryConfig {
    /// The part of the streams that it serves, from 0 to 1; each stream stays with one of the two. With 0 it is not
    /// tried so.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
    /// How long, at most 7d.
    #[serde(rename = "for")]
    pub length: HumanDuration,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            url: None,
            hawkbit: None,
            root: "/etc/eir/root.json".into(),
            dir: "/var/lib/eir/update".into(),
            every: HumanDuration::from_secs(3600),
            models: Vec::new(),
            window: None,
            rate: None,
            daily: None,
            max: ByteSize(1 << 30),
            spare_memory: ByteSize(32 << 20),
            shadow: ShadowConfig::default(),
            canary: CanaryConfig::default(),
            probation: HumanDuration::from_secs(120),
            token_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            proxy: None,
            insecure: false,
            timeout: HumanDuration::from_secs(60),
        }
    }
}

impl Default for ShadowConfig {
    fn default() -> Self {
        Self { share: 0.1, length: HumanDuration::from_secs(600), least: 50 }
    }
}

impl Default for CanaryConfig {
    fn default() -> Self {
        Self { share: 0.2, length: HumanDuration::from_secs(600) }
    }
}

/// In seconds.
const DAY: u64 = 24 * 60 * 60;

impl UpdateConfig {
    /// Every value that cannot work, all at once. Reads no file, contacts nobody.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let url = self.url.as_deref().map(|url| Url::parse(url, self.insecure));
        if let Some(Err(error)) = &url {
            problems.push(Problem::new("url", error.to_string()));
        }
        let hawkbit = self.hawkbit.iter().flat_map(|hawkbit| hawkbit.check(self.insecure));
        problems.extend(hawkbit.map(|p| Problem::new(&format!("hawkbit.{}", p.key), p.message)));
        let second = self.hawkbit.as_ref().and_then(|hawkbit| {
            Some((Url::parse(&hawkbit.url, self.insecure).ok()?, hawkbit.token_file.is_some()))
        });
        let first = url.and_then(Result::ok).map(|url| (url, self.token_file.is_some()));
        let servers: Vec<_> = [first, second].into_iter().flatten().collect();
        if servers.iter().any(|(url, _)| url.is_tls()) {
            problems.extend(self.tls().half_identity());
        } else if !servers.is_empty() {
            problems.extend(self.tls().out_of_place());
        }
        if servers.iter().any(|(url, has_token)| *has_token && !url.is_tls()) {
            problems.extend(self.open_token());
        }
        if let Some(Err(message)) = self.proxy.as_deref().map(Url::proxy) {
            problems.push(Problem::new("proxy", message));
        }
        let within = |time: HumanDuration, least, most| {
            (Duration::from_secs(least)..=Duration::from_secs(most)).contains(&time.0)
        };
        let wrong = [
            ("every", within(self.every, 1, 7 * DAY), "from 1s to 7d"),
            ("probation", within(self.probation, 1, DAY), "from 1s to 1d"),
            ("timeout", within(self.timeout, 1, DAY), "from 1s to 1d"),
            ("max", (1..=16 << 30).contains(&self.max.0), "at most 16GiB"),
            ("shadow.for", within(self.shadow.length, 0, 7 * DAY), "at most 7d"),
            ("canary.for", within(self.canary.length, 0, 7 * DAY), "at most 7d"),
        ];
        let wrong = wrong.into_iter().filter(|(_, right, _)| !right);
        problems.extend(wrong.map(|(key, _, range)| Problem::new(key, format!("must be {range}"))));
        problems
    }

    /// What is wrong with the root of trust at the moment, as it lies on the disk.
    pub fn check_files(&self) -> Option<Problem> {
        let wrong = |message: String| Some(Problem::new("root", message));
        match self.read_root() {
            Err(error) => wrong(format!("{}: {}", self.root.display(), with_sources(&error))),
            Ok(bytes) => match super::trust::Trusted::new(&bytes) {
                Err(error) => wrong(format!("{}: {error}", self.root.display())),
                Ok(_) => None,
            },
        }
    }

    /// The first root of trust.
    pub fn read_root(&self) -> std::io::Result<Vec<u8>> {
        crate::disk::read_bounded(&self.root, super::trust::MAX_ROOT)
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

    /// A token on its way through a proxy outside the site.
    fn open_token(&self) -> Option<Problem> {
        let proxy = self.proxy().ok()??;
        let open = !is_private_or_loopback(proxy.host());
        let message = "over http:// the token can be read on the way to the proxy; use https://";
        open.then(|| Problem::new("proxy", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_that_cannot_work_is_told_at_once() {
        let wrong = r#"
            url = "http://updates.example.com"
            every = "0s"
            max = "0B"
            proxy = "https://proxy.local:3128"
            [shadow]
            for = "8d"
            [hawkbit]
            url = "ftp://hawkbit.example.com"
        "#;
        let config: UpdateConfig = toml::from_str(wrong).expect("it can be read");
        let keys: Vec<_> = config.check().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["url", "hawkbit.url", "proxy", "every", "max", "shadow.for"]);
        assert!(UpdateConfig::default().check().is_empty());
    }
}
