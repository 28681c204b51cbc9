//! Everything that can be known of a configuration before a start.

use std::sync::Arc;

use super::build::{BuildError, Workshop};
use super::config::Config;
use crate::model::Models;
use crate::task::SystemClock;

/// One thing that was tried.
#[derive(Debug)]
pub struct Finding {
    /// What.
    pub what: String,
    /// What was seen, or what is wrong.
    pub outcome: Result<String, String>,
}

/// Loads every model that a pipeline names, runs its golden samples on this device, and compiles the
/// rules against it.
pub fn check(config: &Config) -> Vec<Finding> {
    let workshop = Workshop {
        device: Arc::new(config.device.resolve()),
        clock: Arc::new(SystemClock),
        models: Models::new(&config.models),
        observer: None,
    };
    let pipelines = config.pipeline.iter();
    pipelines
        .map(|(name, pipeline)| {
            let outcome = match workshop.parts(name, pipeline) {
                Ok(parts) => {
                    let package = parts.caller.model().package();
                    Ok(format!(
                        "{}@{} on {}; {} golden samples agree; {} rules",
                        package.name,
                        package.version,
                        parts.caller.model().status().label(),
                        package.golden.len(),
                        parts.rules.len(),
                    ))
                }
                Err(BuildError::Config(problems)) => Err(problems.to_string()),
                Err(BuildError::Model(error)) => Err(error.to_string()),
            };
            Finding { what: format!("pipeline.{name}"), outcome }
        })
        .collect()
}
