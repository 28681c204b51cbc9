//! The layer that `device init` writes over the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;
use toml::{Table, Value};

use crate::event::Name;

/// Says at the top of the file where it comes from.
const HEAD: &str = "# Written by `eir device init`; run it again to change it.\n";

/// What was given now. The names of its fields are those of the configuration.
#[derive(Debug, Default, Serialize)]
pub(super) struct Layer {
    pub(super) device: Device,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) mqtt: BTreeMap<Name, Broker>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) cloud: BTreeMap<Name, Cloud>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Device {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Name>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Broker {
    pub(super) url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) password_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cert_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_file: Option<PathBuf>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Cloud {
    pub(super) url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca_file: Option<PathBuf>,
}

impl Layer {
    /// The text of the layer that was there with what is given now laid over it: the device's name, its
    /// labels, each broker and each cloud as a whole. What is not given stays.
    pub(super) fn over(&self, before: &str) -> anyhow::Result<String> {
        let mut layer: Table = before.parse().context("is not TOML; mend it or remove it")?;
        let given = Table::try_from(self).context("failed to write the layer")?;
        for (section, entries) in given {
            let (Value::Table(entries), Value::Table(old)) =
                (entries, layer.entry(section).or_insert_with(|| Table::new().into()))
            else {
                continue;
            };
            old.extend(entries);
        }
        let text = toml::to_string(&layer).context("failed to write the layer")?;
        Ok(format!("{HEAD}{text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("name")
    }

    #[test]
    fn what_is_not_given_stays_and_what_is_given_is_written_as_a_whole() {
        let device = Device { id: Some(name("press-07")), ..Device::default() };
        let broker = Broker {
            url: "mqtt://10.0.0.1".to_owned(),
            username: Some("press".to_owned()),
            ..Broker::default()
        };
        let mqtt = BTreeMap::from([(name("local"), broker)]);
        let first = Layer { device, mqtt, ..Layer::default() };
        let first = first.over("").expect("a layer");
        let cloud = |url: &str| Cloud { url: url.to_owned(), ..Cloud::default() };
        let clouds = BTreeMap::from([(name("main"), cloud("https://c.example"))]);
        let with_cloud = Layer { cloud: clouds, ..Layer::default() }.over(&first).expect("a layer");
        for part in ["id = \"press-07\"", "username = \"press\"", "[cloud.main]", HEAD] {
            assert_eq!(with_cloud.matches(part).count(), 1, "{part} in {with_cloud}");
        }
        let broker = Broker { url: "mqtt://10.0.0.2".to_owned(), ..Broker::default() };
        let mqtt = BTreeMap::from([(name("local"), broker)]);
        let last = Layer { mqtt, ..Layer::default() }.over(&with_cloud).expect("a layer");
        assert!(last.contains("10.0.0.2") && !last.contains("username"), "{last}");
        assert!(last.contains("https://c.example") && last.contains("press-07"), "{last}");
        assert_eq!(Layer::default().over(&last).expect("the same"), last);
        assert!(Layer::default().over("[device").is_err());
    }
}
