//! Everything that can be known of a configuration before a start.

use std::sync::Arc;

use super::build::{BuildError, Workshop};
use super::config::{Config, Problem, join};
use super::recall::Recalled;
use super::understudy::Stages;
use crate::model::Models;
use crate::task::SystemClock;

/// One pipeline that was tried.
#[derive(Debug)]
pub struct Finding {
    /// Its key.
    pub what: String,
    /// What was seen, or what is wrong.
    pub outcome: Result<String, Vec<Problem>>,
}

/// Loads every model that a pipeline names, runs its golden samples on this device, compiles the rules
/// against it, and tries whether the messages fit.
pub fn check(config: &Config) -> Vec<Finding> {
    let workshop = Workshop {
        device: Arc::new(config.device.resolve()),
        clock: Arc::new(SystemClock),
        models: Arc::new(Models::new(&config.models).and(config.came())),
        observer: None,
        live: crate::api::Live::new(),
        traces: crate::trace::Traces::default(),
        outbox: None,
        recalled: Recalled::default(),
        summaries: false,
        stages: Stages::default(),
    };
    let pipelines = config.pipeline.iter();
    pipelines
        .map(|(name, pipeline)| {
            let what = join("pipeline", name.as_str());
            let outcome = match workshop.parts(name, pipeline) {
                Ok(parts) if parts.steps.iter().any(|step| matches!(step.caller, Some(Err(_)))) => {
                    let steps = parts.steps.iter().enumerate();
                    let broken = steps.filter_map(|(index, step)| {
                        let error = step.caller.as_ref()?.as_ref().err()?.to_string();
                        Some(Problem::new(&format!("{what}.degrade.steps.{index}.model"), error))
                    });
                    Err(broken.collect())
                }
                Ok(parts) => {
                    let package = parts.caller.model().package();
                    let status = parts.caller.model().status();
                    let mut detail = format!(
                        "{}@{} on {}; {} golden samples agree; {} rules",
                        package.name,
                        package.version,
                        status.label(),
                        package.golden.len(),
                        parts.rules.len(),
                    );
                    if let Some(escalate) = &pipeline.escalate {
                        let [low, high] = escalate.uncertain;
                        detail = format!("{detail}; scores from {low} to {high} are escalated");
                    }
                    for note in &status.notes {
                        detail = format!("{detail}; {note}");
                    }
                    Ok(detail)
                }
                Err(BuildError::Config(problems)) => Err(problems.0),
                Err(BuildError::Model(error)) => {
                    Err(vec![Problem::new(&format!("{what}.model"), error.to_string())])
                }
            };
            Finding { what, outcome }
        })
        .collect()
}
