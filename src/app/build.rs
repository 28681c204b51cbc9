//! From a checked configuration to the stages of a pipeline, nothing started yet.

use std::sync::Arc;

use super::Observer;
use super::config::{PipelineConfig, Problem, Problems};
use crate::event::{Device, Name};
use crate::model::{Caller, ModelError, Models};
use crate::package::ModelRef;
use crate::pipeline::decode::Decoder;
use crate::pipeline::rules::{Condition, RuleSet};
use crate::task::Clock;

/// What every pipeline is built with.
pub(super) struct Workshop {
    pub device: Arc<Device>,
    pub clock: Arc<dyn Clock>,
    pub models: Models,
    pub observer: Option<Observer>,
}

/// The parts of a pipeline that can be wrong.
#[derive(Debug)]
pub(super) struct Parts {
    pub decoder: Decoder,
    pub caller: Caller,
    pub rules: Arc<RuleSet>,
}

/// Why a pipeline cannot be built.
#[derive(Debug)]
pub(super) enum BuildError {
    /// The configuration is wrong: a person must change it.
    Config(Problems),
    /// The model cannot serve: it may heal.
    Model(ModelError),
}

impl Workshop {
    /// The version that a reference means at the moment.
    pub(super) fn newest(&self, reference: &str) -> Option<u64> {
        let repository = self.models.repository().ok()?;
        repository.resolve(&reference.parse().ok()?).ok().map(|(version, _)| version)
    }

    /// Loads the model, checks it on this device, and compiles the rules against it.
    pub(super) fn parts(&self, name: &Name, config: &PipelineConfig) -> Result<Parts, BuildError> {
        let wrong = |key: String, message: String| Problem::new(&key, message);
        let decoder = Decoder::new(&config.decode).map_err(|error| {
            let key = format!("pipeline.{name}.decode");
            BuildError::Config(Problems(vec![wrong(key, error.to_string())]))
        })?;
        let reference: ModelRef = config.model.parse().map_err(|error| {
            let key = format!("pipeline.{name}.model");
            BuildError::Config(Problems(vec![wrong(key, format!("{error}"))]))
        })?;
        let model = self.models.load(&reference).map_err(BuildError::Model)?;
        let package = model.package();
        let conditions: Vec<(Name, Condition)> =
            config.rule.iter().map(|(name, rule)| (name.clone(), rule.condition())).collect();
        let rules = RuleSet::compile(&conditions, package.spec.task, &package.labels).map_err(
            |errors| {
                let problems = errors.iter().map(|error| {
                    let key = format!("pipeline.{name}.rule.{}.{}", error.rule, error.field);
                    wrong(key, error.to_string())
                });
                BuildError::Config(Problems(problems.collect()))
            },
        )?;
        let caller = model.caller().map_err(BuildError::Model)?;
        Ok(Parts { decoder, caller, rules: Arc::new(rules) })
    }
}

impl std::fmt::Debug for Workshop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workshop").field("device", &self.device).finish_non_exhaustive()
    }
}
