//! What of a repository is for this device, and when.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tough::schema::Target;

use super::journal::Subject;
use super::machine::Kind;
use super::release::{About, Content, Device, Offer, newer};
use crate::event::Name;

/// What serves on this device at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// Models that it takes: their newest version; 0: none yet.
    pub models: BTreeMap<Name, u64>,
    /// Layers of the configuration; those that are not named are not there.
    pub layers: BTreeMap<Name, u64>,
}

/// A release that is newer than what serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Offered {
    /// As the repository calls it.
    pub release: String,
    /// From when on this device takes it; none: it does not.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// Looks through all that is published for what is newer than what serves.
pub fn offers<'a>(
    targets: impl Iterator<Item = (&'a str, &'a Target)>,
    device: &Device<'_>,
    installed: &Installed,
) -> Vec<Offered> {
    let mut found = Vec::new();
    for (release, target) in targets {
        let Some(content) = Content::of(release) else { continue };
        if !is_newer(&content, device, installed) {
            continue;
        }
        let about = About::of(target);
        let (from, why_not) = match about.offer(&content, device) {
            Offer::From(turn) => {
                let published = about.published.unwrap_or(Timestamp::MIN);
                (Some(published.checked_add(turn).unwrap_or(Timestamp::MAX)), None)
            }
            Offer::Not(reason) => (None, Some(reason)),
        };
        found.push(Offered { release: release.to_owned(), from, why_not });
    }
    found.sort_by(|a, b| a.release.cmp(&b.release));
    found
}

/// The newest release of each thing whose time has come.
pub fn due(offers: &[Offered], now: Timestamp) -> BTreeMap<Subject, Content> {
    let mut newest: BTreeMap<Subject, Content> = BTreeMap::new();
    for offer in offers {
        let Some(content) = Content::of(&offer.release) else { continue };
        if offer.from.is_none_or(|from| from > now) {
            continue;
        }
        let subject = content.subject();
        if newest.get(&subject).is_none_or(|known| follows(&content, known)) {
            newest.insert(subject, content);
        }
    }
    newest
}

fn is_newer(content: &Content, device: &Device<'_>, installed: &Installed) -> bool {
    match content {
        Content::Model { name, version } => {
            installed.models.get(name).is_some_and(|known| version > known)
        }
        Content::Config { name, version } => {
            *version > installed.layers.get(name).copied().unwrap_or(0)
        }
        Content::Binary { version, .. } => newer(version, device.eir),
    }
}

/// Of two releases of the same thing, the first is the newer.
pub(super) fn follows(a: &Content, b: &Content) -> bool {
    match (a, b) {
        (Content::Binary { version: a, .. }, Content::Binary { version: b, .. }) => newer(a, b),
        (
            Content::Model { version: a, .. } | Content::Config { version: a, .. },
            Content::Model { version: b, .. } | Content::Config { version: b, .. },
        ) => a > b,
        _ => false,
    }
}

impl Content {
    /// What it is a release of.
    pub fn subject(&self) -> Subject {
        let name = match self {
            Self::Model { name, .. } | Self::Config { name, .. } => name.clone(),
            Self::Binary { .. } => Name::near("eir"),
        };
        Subject { kind: self.kind(), name }
    }
}

impl Subject {
    /// As people name it: `models/defects`, `config/rules`, `eir`.
    pub fn word(&self) -> String {
        match self.kind {
            Kind::Model => format!("models/{}", self.name),
            Kind::Config => format!("config/{}", self.name),
            Kind::Binary => "eir".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn target(custom: &Value) -> Target {
        serde_json::from_value(json!({
            "length": 1,
            "hashes": {"sha256": "00".repeat(32)},
            "custom": custom,
        }))
        .expect("a target")
    }

    fn due_at(releases: &[(&str, Value)], now: &str) -> Vec<String> {
        let labels = BTreeMap::new();
        let device = Device {
            id: "line-7",
            labels: &labels,
            eir: "0.9.0",
            triple: "t",
            engines: &["tract"],
            memory: None,
        };
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let installed = Installed {
            models: BTreeMap::from([(name("defects"), 3), (name("new"), 0)]),
            layers: BTreeMap::from([(name("rules"), 5)]),
        };
        let targets: Vec<_> =
            releases.iter().map(|(name, custom)| (*name, target(custom))).collect();
        let targets = targets.iter().map(|(name, target)| (*name, target));
        let offers = offers(targets, &device, &installed);
        let due = due(&offers, now.parse().expect("a time"));
        due.values().map(ToString::to_string).collect()
    }

    #[test]
    fn the_newest_of_each_thing_whose_time_has_come_is_due_and_nothing_that_is_no_newer() {
        let at = |time: &str, after: &str| json!({"published": time, "waves": [{"percent": 100, "after": after}]});
        let first = "2026-03-01T00:00:00Z";
        let releases = [
            ("models/defects/3.tar.zst", json!({})),
            ("models/defects/4.tar.zst", at(first, "0s")),
            ("models/defects/5.tar.zst", at(first, "2d")),
            ("models/defects/6.tar.zst", json!({"halted": true})),
            ("models/other/9.tar.zst", json!({})),
            ("models/new/1.tar.zst", json!({})),
            ("config/rules/5.toml", json!({})),
            ("config/rules/10.toml", json!({})),
            ("config/night/1.toml", json!({"labels": {"site": "oslo"}})),
            ("eir/0.10.0/t", json!({})),
            ("eir/0.9.0/t", json!({})),
            ("eir/0.11.0/other", json!({})),
            ("notes.txt", json!({})),
        ];
        let first = due_at(&releases, "2026-03-02T00:00:00Z");
        let expected = [
            "models/defects/4.tar.zst",
            "models/new/1.tar.zst",
            "eir/0.10.0/t",
            "config/rules/10.toml",
        ];
        assert_eq!(first, expected);
        assert_eq!(due_at(&releases, "2026-03-03T00:00:00Z")[0], "models/defects/5.tar.zst");
    }
}
