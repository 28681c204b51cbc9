//! `[pipeline.NAME.escalate]` as the user writes it.

use std::cmp::Ordering;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::ActionConfig;
use crate::event::{ByteSize, Frequency, HumanDuration, Name};
use crate::net::{NetError, Problem, TlsConfig, Url, client_config, read_secret, with_sources};

/// Uncertain cases are sent to a remote model for a second opinion, which may amend the local decision. That one
/// is made and carried out at once, and stands where no answer comes in time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalateConfig {
    /// Those with a score from the first to the second number; for models that give one.
    #[schemars(example = [0.3, 0.7])]
    pub uncertain: [f32; 2],
    /// `https://…`; `http://…` only to loopback and private addresses. With `model` the address of an Open Inference
    /// Protocol server, without its `/v2`; otherwise where JSON is posted to.
    pub url: String,
    /// The name of the remote model, which takes and gives the tensors of the local one (Open Inference Protocol
    /// v2). Without it the input itself is posted as JSON, as a sample tells of it, and a prediction in eir's own
    /// JSON is expected.
    #[serde(default)]
    pub model: Option<Name>,
    /// Its version; by default the one that the server chooses.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub version: Option<u64>,
    /// From the local decision to the end of the answer, 1ms to 5m; what comes later counts for nothing.
    #[serde(default = "two_seconds")]
    pub deadline: HumanDuration,
    /// How often the remote is asked at most.
    #[serde(default = "ten_a_second")]
    pub rate: Frequency,
    /// How many cases are on their way at once, 1 to 1,024; one more is not escalated.
    #[serde(default = "sixteen")]
    #[schemars(range(min = 1, max = 1024))]
    pub queue: usize,
    /// How much memory the answers may take that are kept for when the same content comes again, at most 256MiB;
    /// `0B` keeps none.
    #[serde(default = "one_mebibyte")]
    pub cache: ByteSize,
    /// The largest answer that is read, 1KiB to 64MiB.
    #[serde(default = "four_mebibytes")]
    pub max_answer: ByteSize,
    /// When the remote is left alone.
    #[serde(default)]
    pub breaker: BreakerConfig,
    /// A file with a token that is sent as `Authorization: Bearer …`, read again for every request.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
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
    /// What is done with an amendment: a decision with `amends` and `stands`.
    #[serde(default, rename = "do")]
    #[schemars(length(max = 16))]
    pub actions: Vec<ActionConfig>,
}

/// When a remote is left alone that does not answer as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "EscalateBreaker")]
pub struct BreakerConfig {
    /// After so many failures in a row, 1 to 1,000.
    #[schemars(range(min = 1, max = 1000))]
    pub failures: u32,
    /// For how long, before one case tries whether it answers again; 10ms to 1d.
    pub recheck: HumanDuration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 5, recheck: HumanDuration::from_secs(30) }
    }
}

const fn two_seconds() -> HumanDuration {
    HumanDuration::from_secs(2)
}

const fn ten_a_second() -> Frequency {
    Frequency::per_second(10)
}

const fn sixteen() -> usize {
    16
}

const fn one_mebibyte() -> ByteSize {
    ByteSize(1 << 20)
}

const fn four_mebibytes() -> ByteSize {
    ByteSize(4 << 20)
}

impl EscalateConfig {
    /// What cannot work: the key below this table, and what would be right. Reads no file, contacts nobody.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let [low, high] = self.uncertain;
        if low.partial_cmp(&high).is_none_or(Ordering::is_gt) {
            let message = "the first number must not be the larger";
            problems.push(Problem::new("uncertain", message));
        }
        match self.address() {
            Err(message) => problems.push(Problem::new("url", message)),
            Ok(url) if url.is_tls() => problems.extend(self.tls().half_identity()),
            Ok(_) => problems.extend(self.tls().out_of_place()),
        }
        if self.version.is_some() && self.model.is_none() {
            let message = "is the version of `model`, which is missing; name it or remove this";
            problems.push(Problem::new("version", message));
        }
        let within =
            |value: HumanDuration, range: RangeInclusive<Duration>| range.contains(&value.0);
        let day = Duration::from_hours(24);
        let wrong = [
            (
                "deadline",
                within(self.deadline, Duration::from_millis(1)..=Duration::from_mins(5)),
                "from 1ms to 5m",
            ),
            ("cache", self.cache.0 <= 256 << 20, "at most 256MiB"),
            ("max_answer", (1 << 10..=64 << 20).contains(&self.max_answer.0), "from 1KiB to 64MiB"),
            (
                "breaker.recheck",
                within(self.breaker.recheck, Duration::from_millis(10)..=day),
                "from 10ms to 1d",
            ),
        ];
        let wrong = wrong.into_iter().filter(|(_, right, _)| !right);
        problems.extend(wrong.map(|(key, _, range)| Problem::new(key, format!("must be {range}"))));
        problems
    }

    /// What is wrong with the files at the moment. They are read again, so this may heal without a restart.
    pub fn check_files(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.address().is_ok_and(|url| url.is_tls())
            && let Err(error) = client_config(&self.tls())
            // That one of two is not named at all is no matter of files.
            && !matches!(error, NetError::HalfAnIdentity { .. })
        {
            problems.push(Problem::new(self.tls().key_of(&error), with_sources(&error)));
        }
        if let Some(Err(message)) = self.token_file.as_deref().map(read_secret) {
            problems.push(Problem::new("token_file", message));
        }
        problems
    }

    /// Where cases are posted to.
    pub(super) fn address(&self) -> Result<Url, String> {
        let parse = |text: &str| Url::parse(text, self.insecure).map_err(|error| error.to_string());
        let Some(model) = &self.model else { return parse(&self.url) };
        parse(&self.url)?;
        if let Some(end) = self.url.chars().find(|c| matches!(c, '?' | '#')) {
            return Err(format!("a `{end}` does not go with model, whose path is put behind this"));
        }
        let server = self.url.trim_end_matches('/');
        let version = self.version.map(|version| format!("/versions/{version}"));
        parse(&format!("{server}/v2/models/{model}{}/infer", version.unwrap_or_default()))
    }

    /// The files of the TLS client.
    pub(super) fn tls(&self) -> TlsConfig {
        TlsConfig {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> EscalateConfig {
        let usual = "uncertain = [0.3, 0.7]\nurl = \"https://big.example\"\n";
        let mut table: toml::Table = toml::from_str(usual).expect("the usual");
        table.extend(toml::from_str::<toml::Table>(more).expect("more"));
        table.try_into().expect("a configuration")
    }

    #[test]
    fn little_is_enough_and_the_rest_is_bounded() {
        let config = config("");
        assert_eq!(config.check(), []);
        assert_eq!((config.queue, config.cache.0, config.rate.count()), (16, 1 << 20, 10));
        assert_eq!(config.deadline.0, Duration::from_secs(2));
        assert_eq!((config.breaker.failures, config.breaker.recheck.0.as_secs()), (5, 30));
    }

    #[test]
    fn the_address_is_that_of_the_protocol_where_a_model_is_named() {
        let path = |more: &str| {
            let url = config(more).address().expect("an address");
            url.path_and_query().to_owned()
        };
        assert_eq!(path("url = \"https://h/judge?x=1\""), "/judge?x=1");
        assert_eq!(path("model = \"big\""), "/v2/models/big/infer");
        assert_eq!(
            path("url = \"https://h/serve/\"\nmodel = \"big\"\nversion = 7"),
            "/serve/v2/models/big/versions/7/infer"
        );
    }

    #[test]
    fn every_mistake_is_told_with_what_would_be_right() {
        for (more, key, told) in [
            ("uncertain = [0.7, 0.3]", "uncertain", "must not be the larger"),
            ("uncertain = [nan, 0.3]", "uncertain", "must not be the larger"),
            ("url = \"http://big.example\"", "url", "insecure = true"),
            ("url = \"ftp://big.example\"", "url", "https://"),
            ("url = \"https://h/?a\"\nmodel = \"m\"", "url", "`?`"),
            // What is behind it never leaves: the question would go to `/a`.
            ("url = \"https://h/a#b\"\nmodel = \"m\"", "url", "`#`"),
            ("version = 3", "version", "name it or remove"),
            ("deadline = \"0s\"", "deadline", "from 1ms to 5m"),
            ("deadline = \"1h\"", "deadline", "from 1ms to 5m"),
            ("cache = \"1GiB\"", "cache", "at most 256MiB"),
            ("max_answer = \"10B\"", "max_answer", "from 1KiB to 64MiB"),
            ("breaker = { recheck = \"1ms\" }", "breaker.recheck", "from 10ms to 1d"),
            ("cert_file = \"/a\"", "key_file", "cert_file needs it"),
            ("url = \"http://10.0.0.9\"\nca_file = \"/a\"", "ca_file", "for https:// alone"),
        ] {
            let found = config(more).check();
            let [problem] = &*found else { panic!("{more}: {found:?}") };
            assert_eq!(problem.key, key, "{more}");
            assert!(problem.message.contains(told), "{more}: {problem:?}");
        }
        let many = config("uncertain = [1.0, 0.0]\nurl = \"x\"\nversion = 1\ncache = \"1GiB\"");
        assert_eq!(many.check().len(), 4);
    }

    #[test]
    fn a_file_that_is_not_there_yet_is_no_mistake_but_told() {
        let config = config("token_file = \"/nowhere/token\"\nca_file = \"/nowhere/ca\"");
        assert_eq!(config.check(), []);
        let keys: Vec<_> = config.check_files().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["ca_file", "token_file"]);
    }
}
