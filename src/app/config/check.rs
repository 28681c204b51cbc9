//! What a schema cannot say: names that must exist elsewhere, and values that do not go together.

use super::layer::{Origins, join};
use super::{Config, InputConfig, PipelineConfig, Problem};
use crate::action::ActionConfig;
use crate::event::Name;
use crate::mqtt::QoS;
use crate::pipeline::decode::Decoder;
use crate::task::WhenFull;

/// Every mistake that needs more than one value to see.
pub(super) fn check(config: &Config, origins: &Origins) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, connection) in &config.mqtt {
        for found in connection.check() {
            let key = join(&format!("mqtt.{name}"), &found.key);
            problems.push(origins.problem(&key, found.message));
        }
    }
    if let Some(broker) = &config.broker {
        for found in broker.check() {
            problems.push(origins.problem(&join("broker", &found.key), found.message));
        }
    }
    for (name, pipeline) in &config.pipeline {
        check_pipeline(config, &format!("pipeline.{name}"), pipeline, origins, &mut problems);
    }
    problems
}

fn check_pipeline(
    config: &Config,
    key: &str,
    pipeline: &PipelineConfig,
    origins: &Origins,
    problems: &mut Vec<Problem>,
) {
    let InputConfig::Mqtt(input) = &pipeline.input;
    let input_key = format!("{key}.input.mqtt");
    problems.extend(unknown_broker(config, &format!("{input_key}.broker"), &input.broker, origins));
    if pipeline.queue.when_full == WhenFull::Hold && input.qos == QoS::AtMostOnce {
        let message = "\"hold\" withholds acknowledgements, and QoS 0 has none; \
                       use \"drop_oldest\" or \"drop_newest\", or qos = 1 on the input";
        problems.push(origins.problem(&format!("{key}.queue.when_full"), message));
    }
    let device = config.device.resolve();
    if let Some(label) = pipeline.key.as_ref().and_then(|key| key.missing_label(&device)) {
        problems.push(origins.problem(&format!("{key}.key"), no_label(label)));
    }
    if let Err(error) = Decoder::new(&pipeline.decode) {
        problems.push(origins.problem(&format!("{key}.decode"), error.to_string()));
    }
    if let Err(error) = pipeline.model.parse::<crate::package::ModelRef>() {
        problems.push(origins.problem(&format!("{key}.model"), error.to_string()));
    }
    for (rule, rule_config) in &pipeline.rule {
        for (index, action) in rule_config.actions.iter().enumerate() {
            let action_key = format!("{key}.rule.{rule}.do.{index}");
            if let Some(label) = action.missing_label(&device) {
                problems.push(origins.problem(&action_key, no_label(label)));
            }
            if let ActionConfig::Publish(publish) = action {
                let at = format!("{action_key}.publish.broker");
                problems.extend(unknown_broker(config, &at, &publish.broker, origins));
            }
            if let ActionConfig::Webhook(webhook) = action
                && let Err(message) = webhook.check()
            {
                problems.push(origins.problem(&format!("{action_key}.webhook"), message));
            }
        }
    }
}

fn no_label(label: &str) -> String {
    format!("there is no `{label}` in [device].labels")
}

fn unknown_broker(config: &Config, key: &str, broker: &Name, origins: &Origins) -> Option<Problem> {
    if config.mqtt.contains_key(broker) {
        return None;
    }
    let known: Vec<_> = config.mqtt.keys().map(Name::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Some(origins.problem(key, format!("no [mqtt.{broker}] here; known connections: {known}")))
}
