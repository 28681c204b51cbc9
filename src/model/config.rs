//! `[models]` in the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::OrtConfig;
use crate::event::{ByteSize, HumanDuration, ModelName};
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
    /// How single models serve, by name.
    pub serve: BTreeMap<ModelName, ServeConfig>,
}

/// How one model serves those who ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServeConfig {
    /// Sessions of it that run at the same time, each with memory of its own.
    #[schemars(range(min = 1, max = 64))]
    pub instances: usize,
    /// Items of several callers that share a run. Without it 32 where the model leaves its batch open and its package says
    /// what it does, else 1.
    #[schemars(range(min = 1, max = 4096))]
    pub max_batch: Option<usize>,
    /// How long a run waits for more items, at most 1 s; by default not at all: it takes those that are there.
    pub max_delay: HumanDuration,
    /// Answers to clients that are kept for when the same input comes again, in bytes, at most 1GiB; 0 keeps none.
    pub cache: ByteSize,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            instances: 1,
            max_batch: None,
            max_delay: HumanDuration(Duration::ZERO),
            cache: ByteSize(0),
        }
    }
}

impl ModelsConfig {
    /// Everything that cannot work: the key, and what would be right.
    pub fn check(&self) -> Vec<(String, &'static str)> {
        let one = |(name, serve): (&ModelName, &ServeConfig)| {
            let delay = serve.max_delay.0 > Duration::from_secs(1);
            let cache = serve.cache.0 > 1 << 30;
            [
                delay.then(|| (format!("serve.{name}.max_delay"), "must be at most 1s")),
                cache.then(|| (format!("serve.{name}.cache"), "must be at most 1GiB")),
            ]
        };
        self.serve.iter().flat_map(one).flatten().collect()
    }
}

impl Default for ModelsConfig {
    fn default() -> Self {
        Self {
            dir: "models".into(),
            engine: EngineChoice::Auto,
            ort: OrtConfig::default(),
            queue: 64,
            cache_dir: None,
            serve: BTreeMap::new(),
        }
    }
}
