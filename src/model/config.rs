//! `[models]` in the configuration.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::OrtConfig;
use crate::package::EngineChoice;

/// Where models lie and what runs them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsConfig {
    /// The repository: `<name>/<version>/model.onnx` below it.
    pub dir: PathBuf,
    /// What runs a model whose package does not say.
    pub engine: EngineChoice,
    /// ONNX Runtime's settings.
    pub ort: OrtConfig,
    /// Callers that may wait for one model; one more is refused.
    #[schemars(range(min = 1, max = 65536))]
    pub queue: usize,
    /// Where the verdicts of `engine = "fastest"` are kept; without it both engines are timed at
    /// every start.
    pub cache_dir: Option<PathBuf>,
}

impl Default for ModelsConfig {
    fn default() -> Self {
        Self {
            dir: "models".into(),
            engine: EngineChoice::Auto,
            ort: OrtConfig::default(),
            queue: 64,
            cache_dir: None,
        }
    }
}
