//! What the demo plays with: the models, a directory for the records, the configuration, the time without network.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::PIPELINES;
use crate::api::ApiConfig;
use crate::app::config::{self, Config, Sources};
use crate::cli::{Exit, Failure, models_dir};
use crate::package::{EngineChoice, ModelRef, Repository};

const CONFIG: &str = include_str!("demo.toml");

/// The repository, with every model of the demo in it.
pub(super) fn models(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    let missing = |error: anyhow::Error| Failure::new(Exit::NoInput, error);
    let directory = models_dir(asked)?;
    let repository = Repository::open(&directory).map_err(|e| missing(e.into()))?;
    for name in PIPELINES {
        let model: ModelRef = name.parse().map_err(|e| Failure::new(Exit::Internal, e))?;
        repository.package(&model).map_err(|e| missing(e.into()))?;
    }
    Ok(directory)
}

/// Whether a report can be put here; what is here already stays.
pub(super) fn probe(path: &Path) -> anyhow::Result<()> {
    let probe = || {
        // A device or a link would be replaced.
        if std::fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(io::Error::other("there is something that is no plain file"));
        }
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(".eir-probe");
        let probe = path.with_file_name(name);
        crate::disk::replace(&probe, b"")?;
        std::fs::remove_file(&probe)
    };
    probe().with_context(|| format!("--report: cannot write {}", path.display()))
}

/// When the network is gone.
pub(super) fn outage(length: Duration, cut: Duration) -> Result<Range<Duration>, Failure> {
    let from = length / 3;
    let until = from + cut;
    if until >= length {
        let most = Duration::from_secs(length.saturating_sub(from).as_secs());
        let most = humantime::format_duration(most);
        let problem = anyhow!(
            "--cut-network: the network is cut after a third of the demo and must be back before its end: \
             less than {most}, or more --seconds"
        );
        return Err(Failure::new(Exit::Usage, problem));
    }
    Ok(from..until)
}

/// The directory of the demo's outbox; removed in the end.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("eir-demo-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path)
            .with_context(|| format!("no directory for the records: {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn outbox(&self) -> String {
        self.0.join("outbox.db").display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind lies among what the system throws away.
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn configuration(
    engine: EngineChoice,
    models: &Path,
    port: u16,
    cloud: &str,
    scratch: &Scratch,
) -> Result<Config, Failure> {
    let sources = Sources {
        text: Some(("demo.toml".to_owned(), CONFIG.to_owned())),
        set: vec![
            format!("mqtt.local.url=mqtt://127.0.0.1:{port}"),
            format!("cloud.main.url={cloud}"),
            format!("outbox.path={}", scratch.outbox()),
        ],
        ..Sources::default()
    };
    let mut config = config::load(&sources).map_err(|e| Failure::new(Exit::Config, e))?;
    let usual = ApiConfig::default();
    let is_free = std::net::TcpListener::bind(&*usual.listen).is_ok();
    let listen = if is_free { usual.listen.clone() } else { "127.0.0.1:0".to_owned() };
    config.api = Some(ApiConfig { listen, ..usual });
    models.clone_into(&mut config.models.dir);
    config.models.engine = engine;
    Ok(config)
}
