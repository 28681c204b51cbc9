//! A configuration as far as it could be read: each table and each rule by itself, so that a mistake in
//! one does not hide those of another.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use serde_path_to_error::{Path, Segment};

use super::tree::{Mistakes, join};
use super::{
    ActionsConfig, Config, DeviceConfig, InputConfig, LogConfig, PipelineConfig, QueueConfig,
    RuleConfig, ShutdownConfig,
};
use crate::action::escalate::EscalateConfig;
use crate::api::ApiConfig;
use crate::broker::BrokerConfig;
use crate::event::{KeyTemplate, Name};
use crate::model::ModelsConfig;
use crate::mqtt::ConnectionConfig;
use crate::outbox::OutboxConfig;
use crate::pipeline::decode::DecodeConfig;
use crate::pipeline::degrade::DegradeConfig;
use crate::pipeline::gate::GateConfig;
use crate::pipeline::rules::Condition;
use crate::pipeline::window::{StreamLimits, WindowConfig};
use crate::summary::{GroupConfig, SampleConfig, SummaryConfig};
use crate::sync::{CloudConfig, TracesConfig};
use crate::update::config::UpdateConfig;

/// `None` stands for what is wrong; what is not written has its default.
#[derive(Debug)]
#[expect(clippy::option_option, reason = "wrong, left out, and there")]
pub(super) struct Draft {
    pub device: Option<DeviceConfig>,
    pub log: Option<LogConfig>,
    pub mqtt: BTreeMap<Name, Option<ConnectionConfig>>,
    pub broker: Option<Option<BrokerConfig>>,
    pub cloud: BTreeMap<Name, Option<CloudConfig>>,
    pub models: Option<ModelsConfig>,
    pub pipeline: BTreeMap<Name, PipelineDraft>,
    pub outbox: Option<Option<OutboxConfig>>,
    pub summary: Option<Option<SummaryConfig>>,
    pub traces: Option<Option<TracesConfig>>,
    pub api: Option<Option<ApiConfig>>,
    pub update: Option<Option<UpdateConfig>>,
    pub shutdown: Option<ShutdownConfig>,
}

/// A pipeline as far as it could be read.
#[derive(Debug)]
#[expect(clippy::option_option, reason = "wrong, left out, and there")]
pub(super) struct PipelineDraft {
    pub input: Option<InputConfig>,
    pub decode: Option<DecodeConfig>,
    pub key: Option<Option<KeyTemplate>>,
    pub window: Option<Option<WindowConfig>>,
    pub gate: Option<Option<GateConfig>>,
    pub degrade: Option<Option<DegradeConfig>>,
    pub streams: Option<StreamLimits>,
    pub model: Option<String>,
    pub queue: Option<QueueConfig>,
    pub actions: Option<ActionsConfig>,
    pub summary: Option<GroupConfig>,
    pub sample: Option<BTreeMap<Name, SampleConfig>>,
    pub escalate: Option<Option<EscalateConfig>>,
    pub rule: BTreeMap<Name, RuleConfig>,
    /// What the rules evaluate, also of those that could not be read as a whole.
    pub conditions: BTreeMap<Name, Condition>,
}

impl Draft {
    /// Reads what the schema found no mistake in.
    pub(super) fn read(tree: &Json, mistakes: &mut Mistakes<'_>) -> Self {
        let mut table = Table { key: "", values: tree, mistakes };
        Self {
            device: table.or_default("device"),
            log: table.or_default("log"),
            mqtt: table.each("mqtt", |tables, name| Some(tables.value(name))),
            broker: table.or_default("broker"),
            cloud: table.each("cloud", |tables, name| Some(tables.value(name))),
            models: table.or_default("models"),
            pipeline: table
                .each("pipeline", |tables, name| Some(PipelineDraft::read(tables, name))),
            outbox: table.or_default("outbox"),
            summary: if tree.get("summary").is_some() {
                table.value("summary")
            } else {
                Some(Some(SummaryConfig::default()))
            },
            traces: table.or_default("traces"),
            api: table.or_default("api"),
            update: table.or_default("update"),
            shutdown: table.or_default("shutdown"),
        }
    }

    /// The connections that could be read.
    pub(super) fn connections(&self) -> impl Iterator<Item = (&Name, &ConnectionConfig)> {
        self.mqtt.iter().filter_map(|(name, found)| Some((name, found.as_ref()?)))
    }

    /// The clouds that could be read.
    pub(super) fn clouds(&self) -> impl Iterator<Item = (&Name, &CloudConfig)> {
        self.cloud.iter().filter_map(|(name, found)| Some((name, found.as_ref()?)))
    }

    /// The configuration of what nothing is wrong with.
    pub(super) fn finish(self, mistakes: &Mistakes<'_>) -> Config {
        let pipelines = self.pipeline.into_iter().filter_map(|(name, draft)| {
            let key = join("pipeline", name.as_str());
            let draft = if mistakes.touch_beside(&key, "rule") { None } else { draft.finish() };
            let mut pipeline = draft?;
            let key = join(&key, "rule");
            pipeline.rule.retain(|rule, _| !mistakes.touch(&join(&key, rule.as_str())));
            Some((name, pipeline))
        });
        let pipeline = pipelines.collect();
        let mqtt = self.mqtt.into_iter().filter_map(|(name, found)| Some((name, found?)));
        let cloud = self.cloud.into_iter().filter_map(|(name, found)| Some((name, found?)));
        let cloud: BTreeMap<_, _> = cloud.collect();
        // Who names a cloud wants records, and should not have to know what they are kept in.
        let usual = (!cloud.is_empty()).then(OutboxConfig::default);
        Config {
            device: self.device.unwrap_or_default(),
            log: self.log.unwrap_or_default(),
            mqtt: mqtt.collect(),
            broker: self.broker.unwrap_or_default(),
            cloud,
            models: self.models.unwrap_or_default(),
            pipeline,
            outbox: self.outbox.flatten().or(usual),
            summary: self.summary.flatten(),
            traces: self.traces.flatten(),
            api: self.api.flatten(),
            update: self.update.flatten(),
            shutdown: self.shutdown.unwrap_or_default(),
            without_releases: false,
        }
    }
}

impl PipelineDraft {
    fn read(tables: &mut Table<'_, '_>, name: &str) -> Self {
        let key = join(tables.key, name);
        let values = tables.values.get(name).unwrap_or(&Json::Null);
        let mut table = Table { key: &key, values, mistakes: tables.mistakes };
        Self {
            input: table.value("input"),
            decode: table.value("decode"),
            key: table.or_default("key"),
            window: table.or_default("window"),
            gate: table.or_default("gate"),
            degrade: table.or_default("degrade"),
            streams: table.or_default("streams"),
            model: table.value("model"),
            queue: table.or_default("queue"),
            actions: table.or_default("actions"),
            summary: table.or_default("summary"),
            sample: table.or_default("sample"),
            escalate: table.or_default("escalate"),
            rule: table.each("rule", whole_rule),
            conditions: table.each("rule", condition),
        }
    }

    fn finish(self) -> Option<PipelineConfig> {
        Some(PipelineConfig {
            input: self.input?,
            decode: self.decode?,
            key: self.key?,
            window: self.window?,
            gate: self.gate?,
            degrade: self.degrade?,
            streams: self.streams?,
            model: self.model?,
            queue: self.queue?,
            actions: self.actions?,
            summary: self.summary?,
            sample: self.sample?,
            escalate: self.escalate?,
            rule: self.rule,
        })
    }
}

fn whole_rule(tables: &mut Table<'_, '_>, name: &str) -> Option<RuleConfig> {
    tables.value(name)
}

/// The expressions of a rule; the rest of it makes no difference to whether they are right.
fn condition(tables: &mut Table<'_, '_>, name: &str) -> Option<Condition> {
    let key = join(tables.key, name);
    let mut rule = Table { key: &key, values: tables.values.get(name)?, mistakes: tables.mistakes };
    let when: String = rule.value("when")?;
    Some(Condition { until: rule.value("until"), ..Condition::new(&when) })
}

/// A table of the tree, to be read value by value.
struct Table<'a, 'm> {
    key: &'a str,
    values: &'a Json,
    mistakes: &'a mut Mistakes<'m>,
}

impl<'m> Table<'_, 'm> {
    /// `None`: it is not there, or it is wrong, and that was told.
    fn value<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let key = join(self.key, name);
        if self.mistakes.touch(&key) {
            return None;
        }
        let read = serde_path_to_error::deserialize(self.values.get(name)?);
        read.map_err(|error| {
            self.mistakes.add(&below(&key, error.path()), error.inner().to_string());
        })
        .ok()
    }

    fn or_default<T: DeserializeOwned + Default>(&mut self, name: &str) -> Option<T> {
        if self.values.get(name).is_some() { self.value(name) } else { Some(T::default()) }
    }

    /// What `read` makes of each entry of a table of named things.
    fn each<T>(
        &mut self,
        name: &str,
        read: impl Fn(&mut Table<'_, 'm>, &str) -> Option<T>,
    ) -> BTreeMap<Name, T> {
        let key = join(self.key, name);
        let Some(values @ Json::Object(entries)) = self.values.get(name) else {
            return BTreeMap::new();
        };
        let mut found = BTreeMap::new();
        for name in entries.keys() {
            // The schema told of a name that is none.
            let Ok(valid) = name.parse() else { continue };
            let mut tables = Table { key: &key, values, mistakes: self.mistakes };
            found.extend(read(&mut tables, name).map(|value| (valid, value)));
        }
        found
    }
}

/// The key of a place below `key`.
fn below(key: &str, path: &Path) -> String {
    path.iter().fold(key.to_owned(), |key, segment| match segment {
        Segment::Seq { index } => join(&key, &index.to_string()),
        Segment::Map { key: part } | Segment::Enum { variant: part } => join(&key, part),
        Segment::Unknown => key,
    })
}
