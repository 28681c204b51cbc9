//! What is said over the Direct Device Integration API (<https://eclipse.dev/hawkbit/apis/ddi_api/>), both ways.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The server says how often it wants to be asked; it is not obeyed beyond these.
const PACE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(24));

/// Characters of a line of a feedback, as the server limits them.
const MAX_LINE: usize = 512;

/// Lines of a feedback, as the server limits them.
const MAX_LINES: usize = 50;

/// Characters of an attribute's name and of its value, as the server limits them.
const MAX_ATTRIBUTE: usize = 128;

/// What a bundle's name ends in.
const BUNDLE: &str = ".tar.zst";

/// What the server has for this device: the controller's base resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Base {
    config: Settings,
    #[serde(rename = "_links")]
    links: Links,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Settings {
    polling: Polling,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Polling {
    sleep: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Links {
    deployment_base: Option<Link>,
    confirmation_base: Option<Link>,
    cancel_action: Option<Link>,
    config_data: Option<Link>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Link {
    href: String,
}

impl Base {
    /// How often the server wants to be asked.
    pub fn pace(&self) -> Option<Duration> {
        let mut parts = self.config.polling.sleep.as_deref()?.splitn(3, ':').map(str::parse::<u64>);
        let mut next = || parts.next()?.ok().filter(|number| *number < 10_000);
        let (hours, minutes, seconds) = (next()?, next()?, next()?);
        let pace = Duration::from_secs((hours * 60 + minutes) * 60 + seconds);
        Some(pace.clamp(PACE.0, PACE.1))
    }

    /// The action that is to be carried out.
    pub fn deployment(&self) -> Option<u64> {
        self.links.deployment_base.as_ref()?.action()
    }

    /// The action that is to be confirmed first.
    pub fn confirmation(&self) -> Option<u64> {
        self.links.confirmation_base.as_ref()?.action()
    }

    /// The action that is to be cancelled.
    pub fn cancel(&self) -> Option<u64> {
        self.links.cancel_action.as_ref()?.action()
    }

    /// The server asks what the device is.
    pub const fn wants_attributes(&self) -> bool {
        self.links.config_data.is_some()
    }
}

impl Link {
    /// The action that it leads to: the last part of its path.
    fn action(&self) -> Option<u64> {
        let path = self.href.split(['?', '#', '{']).next()?;
        path.trim_end_matches('/').rsplit('/').next()?.parse().ok()
    }
}

/// What an action wants installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Deployment {
    deployment: Order,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Order {
    download: Handling,
    update: Handling,
    maintenance_window: Option<Window>,
    chunks: Vec<Chunk>,
}

/// What is to be done with a part of it. A word that nobody knows is no order to do something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Handling {
    Attempt,
    Forced,
    #[default]
    #[serde(other)]
    Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Window {
    Available,
    #[serde(other)]
    Unavailable,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Chunk {
    artifacts: Vec<Artifact>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Artifact {
    filename: String,
    hashes: Hashes,
    size: u64,
    #[serde(rename = "_links")]
    links: ArtifactLinks,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Hashes {
    sha256: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct ArtifactLinks {
    download: Option<Link>,
    download_http: Option<Link>,
}

/// The artifact that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// As it is called there.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// What its bytes hash to, where that is said.
    pub sha256: Option<Vec<u8>>,
    /// Where it is.
    pub link: String,
}

impl Deployment {
    /// It may be fetched now.
    pub fn may_fetch(&self) -> bool {
        self.deployment.download != Handling::Skip
    }

    /// It may be installed now.
    pub fn may_install(&self) -> bool {
        let open = self.deployment.maintenance_window != Some(Window::Unavailable);
        open && self.deployment.update != Handling::Skip
    }

    /// It is not for the device to say when.
    pub fn is_forced(&self) -> bool {
        self.deployment.update == Handling::Forced
    }

    /// The one artifact that is a bundle; what else there is, is for others. An error says why there is none.
    pub fn bundle(&self) -> Result<Bundle, String> {
        let all = self.deployment.chunks.iter().flat_map(|chunk| &chunk.artifacts);
        let mut bundles = all.filter(|artifact| artifact.filename.ends_with(BUNDLE));
        let Some(artifact) = bundles.next() else {
            return Err(format!("no artifact is a bundle of a repository (*{BUNDLE})"));
        };
        if let Some(other) = bundles.next() {
            let (one, other) = (plain(&artifact.filename), plain(&other.filename));
            return Err(format!("{one} and {other} are bundles, one can be taken"));
        }
        let name = plain(&artifact.filename);
        let links = [&artifact.links.download, &artifact.links.download_http];
        let Some(link) = links.into_iter().flatten().next() else {
            return Err(format!("{name} has no link to fetch it by"));
        };
        let sha256 = match &artifact.hashes.sha256 {
            None => None,
            Some(text) => {
                let wrong = || format!("{name} has no SHA-256 that can be read");
                Some(unhex(text).ok_or_else(wrong)?)
            }
        };
        if artifact.size == 0 {
            return Err(format!("{name} is empty"));
        }
        Ok(Bundle { name, size: artifact.size, sha256, link: link.href.clone() })
    }
}

/// A name for people to read in a log.
fn plain(name: &str) -> String {
    cut(&name.replace(char::is_control, "?"), MAX_ATTRIBUTE)
}

/// 32 bytes as 64 digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = text.as_bytes().iter().map(digit).collect::<Option<_>>()?;
    (digits.len() == 64).then(|| digits.chunks(2).map(|pair| (pair[0] << 4) | pair[1]).collect())
}

/// Which action is to be cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cancel {
    cancel_action: Stop,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stop {
    stop_id: String,
}

impl Cancel {
    /// The action.
    pub fn action(&self) -> Option<u64> {
        self.cancel_action.stop_id.parse().ok()
    }
}

/// How far an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Execution {
    /// It is under way.
    Proceeding,
    /// It is over.
    Closed,
    /// It is not done as it was asked for.
    Rejected,
    /// It will be done.
    Scheduled,
    /// It was cancelled.
    Canceled,
    /// It goes on after a restart.
    Resumed,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finished {
    /// It has not.
    None,
    /// Well.
    Success,
    /// Not well.
    Failure,
}

/// What the server is told of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// How far it is.
    pub execution: Execution,
    /// How it ended.
    pub finished: Finished,
    /// What there is to say of it.
    pub details: Vec<String>,
}

impl Feedback {
    /// Under way in some way, with what there is to say.
    pub const fn open(execution: Execution, details: Vec<String>) -> Self {
        Self { execution, finished: Finished::None, details }
    }

    /// Over.
    pub const fn closed(is_well: bool, details: Vec<String>) -> Self {
        let finished = if is_well { Finished::Success } else { Finished::Failure };
        Self { execution: Execution::Closed, finished, details }
    }

    /// As it is sent. Servers of before 2023 want the action in it.
    pub(super) fn body(&self, action: u64) -> Value {
        json!({
            "id": action.to_string(),
            "status": {
                "execution": self.execution,
                "result": { "finished": self.finished },
                "details": lines(&self.details),
            },
        })
    }
}

/// Within what the server takes.
pub(super) fn lines(details: &[String]) -> Vec<String> {
    let mut lines: Vec<_> = details.iter().map(|line| cut(line, MAX_LINE)).collect();
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES + 1;
        lines.truncate(MAX_LINES - 1);
        lines.push(format!("and {more} more"));
    }
    lines
}

/// What a device is, within what the server takes.
pub fn attributes(
    labels: &BTreeMap<String, String>,
    (version, target): (&str, &str),
) -> BTreeMap<String, String> {
    let own = [("eir.version", version), ("eir.target", target)];
    let labels = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let all = labels.chain(own);
    all.map(|(key, value)| (cut(key, MAX_ATTRIBUTE), cut(value, MAX_ATTRIBUTE))).collect()
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
