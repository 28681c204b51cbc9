//! The verdicts of `engine = "fastest"`, kept between starts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::disk;
use crate::engine::{EngineKind, Form};
use crate::package::Package;

/// Where verdicts are kept: one small file for each model, set of engines and processor.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdicts {
    directory: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ort,
    TractStored,
    TractFloat,
}

impl Verdicts {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory }
    }

    /// The verdict, if there is one that can be read.
    pub(super) fn read(
        &self,
        package: &Package,
        versions: &[String],
    ) -> Option<(EngineKind, Form)> {
        let bytes = disk::read_bounded(&self.file(package, versions)?, 256).ok()?;
        Some(match serde_json::from_slice(&bytes).ok()? {
            Verdict::Ort => (EngineKind::Ort, Form::Stored),
            Verdict::TractStored => (EngineKind::Tract, Form::Stored),
            Verdict::TractFloat => (EngineKind::Tract, Form::Float),
        })
    }

    /// Keeps a verdict. If that fails, the engines are timed again at the next start.
    pub(super) fn write(
        &self,
        package: &Package,
        versions: &[String],
        kind: EngineKind,
        form: Form,
    ) {
        let Some(file) = self.file(package, versions) else { return };
        let verdict = match (kind, form) {
            (EngineKind::Ort, _) => Verdict::Ort,
            (EngineKind::Tract, Form::Stored) => Verdict::TractStored,
            (EngineKind::Tract, Form::Float) => Verdict::TractFloat,
        };
        let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        let bytes = serde_json::to_vec(&verdict).unwrap_or_default();
        if let Err(error) = made.and_then(|()| disk::replace(&file, &bytes)) {
            tracing::warn!(file = %file.display(), %error, "the fastest engine is not remembered");
        }
    }

    fn file(&self, package: &Package, versions: &[String]) -> Option<PathBuf> {
        let mut key = Sha256::new();
        for part in [&package.sha256, &versions.join(" "), &processor()] {
            key.update(part.as_bytes());
            key.update([0]);
        }
        let name: String =
            key.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let directory = self.directory.as_ref()?;
        Some(directory.join(format!("fastest-{}-{name}.json", package.name)))
    }
}

/// What `/proc/cpuinfo` says about the processor, and the cores that this process may use.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let telling = ["model name", "CPU implementer", "CPU part", "CPU variant", "Hardware", "Model"];
    let mut lines: Vec<&str> =
        info.lines().filter(|line| telling.iter().any(|word| line.starts_with(word))).collect();
    lines.sort_unstable();
    lines.dedup();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{} {cores}", lines.join(" "))
}
