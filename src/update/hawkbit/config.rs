//! `[update.hawkbit]` in the configuration.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{HumanDuration, Name};
use crate::net::{Problem, Url};

/// An Eclipse hawkBit server, or another that speaks its Direct Device Integration API. It says when, and brings bundles of
/// a signed repository; what is in them is believed for its signatures alone. Certificates, proxy and timeout are those of
/// `[update]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HawkbitConfig {
    /// The server, `https://host`; `http://…` only to loopback and private addresses.
    pub url: String,
    /// The tenant. The device is known there by `[device].id`.
    #[serde(default = "tenant")]
    pub tenant: Name,
    /// A file with the token, read again for every request. Without it the server must know the device by its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Whose token it is.
    #[serde(default)]
    pub token: TokenOf,
    /// How often it is asked until the server says how often, 1s to 1d; each wait is between half and one and a half times
    /// that.
    #[serde(default = "every")]
    pub every: HumanDuration,
    /// What is answered where the server asks for a confirmation.
    #[serde(default)]
    pub confirm: Confirm,
}

/// Whose token it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenOf {
    /// This device's own.
    #[default]
    Target,
    /// The tenant's, which all devices behind a gateway share.
    Gateway,
}

/// What is answered where the server asks for a confirmation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confirm {
    /// Yes.
    #[default]
    Auto,
    /// Nothing: somebody confirms it at the server. That it waits is told.
    Ask,
}

impl TokenOf {
    /// How it is called in the `Authorization` header.
    pub(super) const fn scheme(self) -> &'static str {
        match self {
            Self::Target => "TargetToken",
            Self::Gateway => "GatewayToken",
        }
    }
}

impl HawkbitConfig {
    /// Every value that cannot work, all at once. Reads no file, contacts nobody.
    pub(in super::super) fn check(&self, insecure: bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        match Url::parse(&self.url, insecure) {
            Err(error) => problems.push(Problem::new("url", error.to_string())),
            Ok(url) if url.path_and_query().contains('?') => {
                problems.push(Problem::new("url", "must have nothing behind a `?`"));
            }
            Ok(_) => {}
        }
        let most = Duration::from_hours(24);
        if !(Duration::from_secs(1)..=most).contains(&self.every.0) {
            problems.push(Problem::new("every", "must be from 1s to 1d"));
        }
        problems
    }
}

fn tenant() -> Name {
    Name::near("DEFAULT")
}

const fn every() -> HumanDuration {
    HumanDuration::from_secs(300)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_enough_and_what_cannot_work_is_told() {
        let config: HawkbitConfig =
            toml::from_str("url = \"https://hawkbit.example.com\"").expect("it can be read");
        assert_eq!(config.tenant.as_str(), "DEFAULT");
        assert_eq!((config.token, config.confirm), (TokenOf::Target, Confirm::Auto));
        assert!(config.check(false).is_empty());
        let wrong = "url = \"http://hawkbit.example.com\"\nevery = \"2d\"\ntoken = \"gateway\"";
        let config: HawkbitConfig = toml::from_str(wrong).expect("it can be read");
        let keys: Vec<_> = config.check(false).into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["url", "every"]);
        assert!(toml::from_str::<HawkbitConfig>("url = \"https://a\"\npoll = \"1s\"").is_err());
    }
}
