//! What a schema cannot say: names that must exist elsewhere, and values that do not go together.

mod levels;

use std::collections::BTreeMap;

use self::levels::Levels;
use super::draft::{Draft, PipelineDraft};
use super::tree::{Mistakes, join};
use super::{InputConfig, Problem, RuleConfig};
use crate::action::ActionConfig;
use crate::action::escalate::EscalateConfig;
use crate::event::{Device, Name};
use crate::mqtt::{ConnectionConfig, QoS};
use crate::net::read_secret;
use crate::pipeline::decode::{DecodeConfig, Decoder};
use crate::pipeline::rules::RuleSet;
use crate::sync::{CloudConfig, TracesConfig};
use crate::task::WhenFull;
use crate::update::config::UpdateConfig;

/// Every mistake that needs more than one value to see.
pub(super) fn check(draft: &Draft, mistakes: &mut Mistakes<'_>) {
    for (name, connection) in draft.connections() {
        let key = join("mqtt", name.as_str());
        for found in connection.check() {
            mistakes.add(&format!("{key}.{}", found.key), found.message);
        }
    }
    for found in draft.broker.iter().flatten().flat_map(crate::broker::BrokerConfig::check) {
        mistakes.add(&format!("broker.{}", found.key), found.message);
    }
    for found in draft.api.iter().flatten().flat_map(crate::api::ApiConfig::check) {
        mistakes.add(&format!("api.{}", found.key), found.message);
    }
    for found in draft.update.iter().flatten().flat_map(UpdateConfig::check) {
        mistakes.add(&format!("update.{}", found.key), found.message);
    }
    for found in draft.traces.iter().flatten().flat_map(TracesConfig::check) {
        mistakes.add(&format!("traces.{}", found.key), found.message);
    }
    for (key, message) in draft.models.iter().flat_map(crate::model::ModelsConfig::check) {
        mistakes.add(&join("models", &key), message.to_owned());
    }
    for (key, message) in draft.outbox.iter().flatten().flat_map(crate::outbox::OutboxConfig::check)
    {
        mistakes.add(&join("outbox", key), message);
    }
    for (key, message) in
        draft.summary.iter().flatten().flat_map(crate::summary::SummaryConfig::check)
    {
        mistakes.add(&join("summary", key), message);
    }
    let site = Site {
        mqtt: &draft.mqtt,
        device: draft.device.as_ref().map(super::DeviceConfig::resolve),
        keeps_records: !draft.cloud.is_empty() || !matches!(draft.outbox, Some(None)),
    };
    for (name, cloud) in draft.clouds() {
        let key = join("cloud", name.as_str());
        for found in cloud.check() {
            mistakes.add(&format!("{key}.{}", found.key), found.message);
        }
        if let Some(connection) = &cloud.mqtt {
            site.check_broker(&format!("{key}.mqtt"), connection, mistakes);
        }
    }
    for (name, pipeline) in &draft.pipeline {
        site.check_pipeline(&join("pipeline", name.as_str()), pipeline, mistakes);
    }
}

/// What connections, clouds and webhooks read anew each time they need it, and could not read now.
pub(super) fn files<'a>(
    connections: impl Iterator<Item = (&'a Name, &'a ConnectionConfig)>,
    clouds: impl Iterator<Item = (&'a Name, &'a CloudConfig)>,
    (traces, update): (Option<&'a TracesConfig>, Option<&'a UpdateConfig>),
    pipelines: impl Iterator<
        Item = (&'a Name, &'a BTreeMap<Name, RuleConfig>, Option<&'a EscalateConfig>),
    >,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, connection) in connections {
        let key = join("mqtt", name.as_str());
        let found = connection.check_files().into_iter();
        problems.extend(found.map(|p| Problem::new(&format!("{key}.{}", p.key), p.message)));
    }
    for (name, cloud) in clouds {
        let key = join("cloud", name.as_str());
        let found = cloud.check_files().into_iter();
        problems.extend(found.map(|p| Problem::new(&format!("{key}.{}", p.key), p.message)));
    }
    let found = traces.into_iter().flat_map(TracesConfig::check_files);
    problems.extend(found.map(|p| Problem::new(&format!("traces.{}", p.key), p.message)));
    let found = update.into_iter().filter_map(UpdateConfig::check_files);
    problems.extend(found.map(|p| Problem::new(&format!("update.{}", p.key), p.message)));
    for (pipeline, rules, escalate) in pipelines {
        let pipeline = join("pipeline", pipeline.as_str());
        for (name, rule) in rules {
            let key = join(&join(&pipeline, "rule"), name.as_str());
            problems.extend(webhook_files(&key, &rule.actions));
        }
        if let Some(escalate) = escalate {
            let key = join(&pipeline, "escalate");
            let found = escalate.check_files().into_iter();
            problems.extend(found.map(|p| Problem::new(&format!("{key}.{}", p.key), p.message)));
            problems.extend(webhook_files(&key, &escalate.actions));
        }
    }
    problems
}

/// Tokens of webhooks in the `do` of a table.
fn webhook_files(key: &str, actions: &[ActionConfig]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, action) in actions.iter().enumerate() {
        let ActionConfig::Webhook(webhook) = action else { continue };
        if let Some(Err(message)) = webhook.token_file.as_deref().map(read_secret) {
            let key = format!("{key}.do.{index}.webhook.token_file");
            problems.push(Problem::new(&key, message));
        }
    }
    problems
}

/// What a pipeline refers to.
struct Site<'a> {
    mqtt: &'a BTreeMap<Name, Option<ConnectionConfig>>,
    /// `None`: it could not be read.
    device: Option<Device>,
    /// There is, or was meant to be, an outbox.
    keeps_records: bool,
}

impl Site<'_> {
    fn check_pipeline(&self, key: &str, pipeline: &PipelineDraft, mistakes: &mut Mistakes<'_>) {
        let input = pipeline.input.as_ref().map(|InputConfig::Mqtt(input)| input);
        let levels = input.and_then(|input| Levels::of(&input.topic));
        if let Some(input) = input {
            self.check_broker(&format!("{key}.input.mqtt.broker"), &input.broker, mistakes);
            let holds = pipeline.queue.as_ref().is_some_and(|q| q.when_full == WhenFull::Hold);
            if holds && input.qos == QoS::AtMostOnce {
                let message = "\"hold\" withholds acknowledgements, and QoS 0 has none; \
                               use \"drop_oldest\" or \"drop_newest\", or qos = 1 on the input";
                mistakes.add(&format!("{key}.queue.when_full"), message);
            }
        }
        let group = pipeline.summary.as_ref().and_then(|summary| summary.group.as_ref());
        let of_stream = pipeline.key.as_ref().and_then(Option::as_ref);
        for (part, template) in [("key", of_stream), ("summary.group", group)] {
            let Some(template) = template else { continue };
            let label = self.device.as_ref().and_then(|device| template.missing_label(device));
            let level = levels.as_ref().and_then(|levels| levels.missing_in_key(template));
            for message in label.map(no_label).into_iter().chain(level) {
                mistakes.add(&format!("{key}.{part}"), message);
            }
        }
        if let Some(decode) = &pipeline.decode
            && let Err(error) = Decoder::new(decode)
        {
            mistakes.add(&format!("{key}.decode"), error.to_string());
        }
        if let (Some(DecodeConfig::Image(_)), Some(Some(_))) = (&pipeline.decode, &pipeline.window)
        {
            let message = "a window gathers numbers, and each picture is a model input by itself; \
                           remove it";
            mistakes.add(&format!("{key}.window"), message);
        }
        if let Some(Some(gate)) = &pipeline.gate {
            if !matches!(pipeline.decode, Some(DecodeConfig::Image(_)) | None) {
                let message = "a gate compares pictures, and this decode makes numbers; remove it, or \
                               use decode = { image = {} }";
                mistakes.add(&format!("{key}.gate"), message);
            }
            if let Some((part, message)) = gate.check() {
                mistakes.add(&format!("{key}.gate.{part}"), message);
            }
        }
        if let (Some(Some(degrade)), Some(window)) = (&pipeline.degrade, &pipeline.window) {
            for (part, message) in degrade.check(window.as_ref()) {
                mistakes.add(&format!("{key}.degrade.{part}"), message);
            }
        }
        if let Some(model) = &pipeline.model
            && let Err(error) = model.parse::<crate::package::ModelRef>()
        {
            mistakes.add(&format!("{key}.model"), error.to_string());
        }
        for (name, sample) in pipeline.sample.iter().flatten() {
            let key = join(&join(key, "sample"), name.as_str());
            for (part, message) in sample.check(pipeline.conditions.keys()) {
                mistakes.add(&format!("{key}.{part}"), message);
            }
            if sample.archive.is_none() && !self.keeps_records {
                let message = "there is no [cloud.NAME] to send it to; name one, or an archive = \
                               { dir = …, max = … } to keep it in";
                mistakes.add(&key, message);
            }
        }
        if let Some(Some(escalate)) = &pipeline.escalate {
            let key = join(key, "escalate");
            for found in escalate.check() {
                mistakes.add(&format!("{key}.{}", found.key), found.message);
            }
            for (index, action) in escalate.actions.iter().enumerate() {
                let key = format!("{key}.do.{index}");
                self.check_action(&key, action, levels.as_ref(), mistakes);
            }
        }
        self.check_rules(&join(key, "rule"), pipeline, levels.as_ref(), mistakes);
    }

    fn check_rules(
        &self,
        key: &str,
        pipeline: &PipelineDraft,
        levels: Option<&Levels>,
        mistakes: &mut Mistakes<'_>,
    ) {
        for (name, condition) in &pipeline.conditions {
            let key = join(key, name.as_str());
            for error in RuleSet::check_without_model(name, condition) {
                let message = format!("{}{}", error.problem, error.excerpt);
                mistakes.add(&format!("{key}.{}", error.field), message);
            }
        }
        for (name, rule) in &pipeline.rule {
            let key = join(key, name.as_str());
            for (index, action) in rule.actions.iter().enumerate() {
                let key = format!("{key}.do.{index}");
                self.check_action(&key, action, levels, mistakes);
            }
        }
    }

    fn check_action(
        &self,
        key: &str,
        action: &ActionConfig,
        levels: Option<&Levels>,
        mistakes: &mut Mistakes<'_>,
    ) {
        let label = self.device.as_ref().and_then(|device| action.missing_label(device));
        let level = levels.and_then(|levels| levels.missing_in_action(action));
        for message in label.map(no_label).into_iter().chain(level) {
            mistakes.add(key, message);
        }
        match action {
            ActionConfig::Publish(publish) => {
                self.check_broker(&format!("{key}.publish.broker"), &publish.broker, mistakes);
            }
            ActionConfig::Webhook(webhook) => {
                if let Err(message) = webhook.check() {
                    mistakes.add(&format!("{key}.webhook"), message);
                }
            }
            ActionConfig::Log(_) => {}
        }
    }

    fn check_broker(&self, key: &str, broker: &Name, mistakes: &mut Mistakes<'_>) {
        if self.mqtt.contains_key(broker) {
            return;
        }
        let known: Vec<_> = self.mqtt.keys().map(Name::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        mistakes.add(key, format!("no [mqtt.{broker}] here; known connections: {known}"));
    }
}

fn no_label(label: &str) -> String {
    format!("there is no `{label}` in [device].labels")
}
