//! What is told of a device's updates: over the API, and as a file for who asks on the device itself.

use std::path::Path;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::Offered;
use crate::disk;

/// The file is a few lines a release.
const MAX_BYTES: u64 = 16 << 20;

/// How a device's updates are doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The last look at the repository that went well.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked: Option<Timestamp>,
    /// Why nothing new is found, or what is wrong with what serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Why the last wish (`eir update …`) could not be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What is waited for with the hawkBit server, or wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hawkbit: Option<String>,
    /// How far each release is that was begun.
    pub releases: Vec<ReleaseStatus>,
    /// What is newer than what serves, and when this device takes it.
    pub offers: Vec<Offered>,
    /// What serves of that which came over the air.
    #[serde(default)]
    pub serving: Vec<Serving>,
}

/// A release that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Serving {
    /// As the repository calls it.
    pub release: String,
    /// Of what was signed, in hexadecimal.
    pub sha256: String,
    /// Whether that is what lies on the disk, as it was found at the last look; none: nobody has looked yet, or
    /// what was fetched of it is gone, and with it what to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<bool>,
}

/// How far a release is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseStatus {
    /// Of what: `models/defects`, `config/rules`, `eir`.
    pub subject: String,
    /// As the repository calls it.
    pub release: String,
    /// How far.
    pub state: String,
    /// Why it goes back or went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is to be known of it at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Status {
    /// Nothing differs but the details.
    pub fn is_like(&self, other: &Self) -> bool {
        let bare = |status: &Self| {
            let mut status = Self { hawkbit: None, ..status.clone() };
            status.releases.iter_mut().for_each(|release| release.detail = None);
            status
        };
        bare(self) == bare(other)
    }

    /// As the process left it that kept the updates last; `None`: there was none.
    pub fn read(directory: &Path) -> Option<Self> {
        let bytes = disk::read_bounded(&directory.join("status.json"), MAX_BYTES).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Leaves it for who asks.
    pub fn leave(&self, directory: &Path) -> std::io::Result<()> {
        disk::replace(&directory.join("status.json"), &serde_json::to_vec_pretty(self)?)
    }
}
