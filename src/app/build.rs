//! From a checked configuration to the stages of a pipeline, nothing started yet.

mod dry_run;

use std::sync::Arc;

use super::Observer;
use super::config::{PipelineConfig, Problem, Problems, join};
use super::recall::Recalled;
use super::understudy::Stages;
use crate::api::Live;
use crate::event::{Device, Name};
use crate::model::{Caller, ModelError, Models};
use crate::outbox::Outbox;
use crate::package::{ModelRef, Package, Task};
use crate::pipeline::decode::Decoder;
use crate::pipeline::degrade::StepConfig;
use crate::pipeline::rules::{Condition, RuleSet};
use crate::task::Clock;
use crate::trace::Traces;

/// What every pipeline is built with.
pub(super) struct Workshop {
    pub device: Arc<Device>,
    pub clock: Arc<dyn Clock>,
    pub models: Arc<Models>,
    pub observer: Option<Observer>,
    /// What those who watch see.
    pub live: Arc<Live>,
    /// What is done for messages and requests, to be told.
    pub traces: Traces,
    pub outbox: Option<Outbox>,
    /// What was there before the start, to be gone on with.
    pub recalled: Recalled,
    /// What happens is told of in summaries.
    pub summaries: bool,
    /// Where new models are tried.
    pub stages: Stages,
}

/// The parts of a pipeline that can be wrong.
#[derive(Debug)]
pub(super) struct Parts {
    pub decoder: Decoder,
    pub caller: Caller,
    pub rules: Arc<RuleSet>,
    /// What is done with less, in order.
    pub steps: Vec<StepParts>,
}

/// A step of doing with less.
#[derive(Debug)]
pub(super) struct StepParts {
    pub config: StepConfig,
    /// Of the model that the step names, which may be broken: the step then only does what else it says.
    pub caller: Option<Result<Caller, ModelError>>,
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

    /// Loads the model, checks it on this device, compiles the rules against it, and tries whether what
    /// the messages become fits into it.
    pub(super) fn parts(&self, name: &Name, config: &PipelineConfig) -> Result<Parts, BuildError> {
        let key = join("pipeline", name.as_str());
        let wrong = |part: &str, message: String| Problem::new(&format!("{key}.{part}"), message);
        let refused = |problem| BuildError::Config(Problems(vec![problem]));
        let decoder = Decoder::new(&config.decode)
            .map_err(|error| refused(wrong("decode", error.to_string())))?;
        let reference: ModelRef =
            config.model.parse().map_err(|error| refused(wrong("model", format!("{error}"))))?;
        let model = self.models.load(&reference).map_err(BuildError::Model)?;
        let mut caller = model.caller().map_err(BuildError::Model)?;
        let package = model.package();
        let conditions: Vec<(Name, Condition)> =
            config.rule.iter().map(|(name, rule)| (name.clone(), rule.condition())).collect();
        let rules = RuleSet::compile(&conditions, package.spec.task, &package.labels);
        let mut problems = Vec::new();
        if let Err(misfit) = dry_run::dry_run(config, &mut caller) {
            let model = format!("{}@{}", package.name, package.version);
            problems.push(wrong(misfit.part, format!("{} ({model})", misfit.reason)));
        }
        for (sample, config) in &config.sample {
            let key = join(&format!("{key}.sample"), sample.as_str());
            let found = config.check_model(package.spec.task, &package.labels);
            let found = found.into_iter();
            problems.extend(found.map(|(part, what)| Problem::new(&format!("{key}.{part}"), what)));
        }
        let mut steps = Vec::new();
        for (index, step) in config.degrade.iter().flat_map(|d| &d.steps).enumerate() {
            let other = step.model.as_ref().map(|model| self.other(model, config, package));
            let caller = other.transpose().unwrap_or_else(|message| {
                problems.push(wrong(&format!("degrade.steps.{index}.model"), message));
                None
            });
            steps.push(StepParts { config: step.clone(), caller });
        }
        if config.escalate.is_some() && !gives_scores(package.spec.task) {
            let what =
                "asks for a score, and the model gives none; remove [pipeline.NAME.escalate]";
            problems.push(wrong("escalate.uncertain", what.to_owned()));
        }
        match rules {
            Ok(rules) if problems.is_empty() => {
                // A sample shows the picture whole.
                let others = steps.iter().filter_map(|step| step.caller.as_ref()?.as_ref().ok());
                let wanted = std::iter::once(&caller).chain(others).filter_map(Caller::wanted);
                let wanted = if config.sample.is_empty() { wanted.collect() } else { Vec::new() };
                let decoder = decoder.wanted(wanted);
                return Ok(Parts { decoder, caller, rules: Arc::new(rules), steps });
            }
            Ok(_) => {}
            Err(errors) => problems.extend(errors.iter().map(|error| {
                let key = join(&format!("{key}.rule"), error.rule.as_str());
                let message = format!("{}{}", error.problem, error.excerpt);
                Problem::new(&format!("{key}.{}", error.field), message)
            })),
        }
        Err(BuildError::Config(Problems(problems)))
    }

    /// A model that is to serve in place of `first` now and then. The outer error says why it never can.
    fn other(
        &self,
        reference: &str,
        config: &PipelineConfig,
        first: &Package,
    ) -> Result<Result<Caller, ModelError>, String> {
        let reference: ModelRef = reference.parse().map_err(|error| format!("{error}"))?;
        let mut caller = match self.models.load(&reference).and_then(|model| model.caller()) {
            Ok(caller) => caller,
            Err(error) => return Ok(Err(error)),
        };
        let package = Arc::clone(caller.model());
        let package = package.package();
        if package.spec.task != first.spec.task {
            let (found, wanted) = (package.spec.task, first.spec.task);
            return Err(format!("its task is {found:?}, and that of {} is {wanted:?}", first.name));
        }
        let sorted = |package: &Package| {
            let mut labels: Vec<_> = package.labels.iter().map(ToString::to_string).collect();
            labels.sort_unstable();
            labels
        };
        if sorted(package) != sorted(first) {
            let (found, wanted) = (sorted(package).join(", "), sorted(first).join(", "));
            return Err(format!(
                "its labels are {found}, and those of {} are {wanted}",
                first.name
            ));
        }
        let fits = dry_run::dry_run(config, &mut caller);
        fits.map_err(|misfit| misfit.reason).map(|()| Ok(caller))
    }
}

/// Predictions of this task have a score that can be uncertain.
const fn gives_scores(task: Task) -> bool {
    matches!(task, Task::Classification | Task::Detection | Task::Anomaly)
}

impl std::fmt::Debug for Workshop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workshop").field("device", &self.device).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::app::check;
    use crate::app::config::{Sources, load};

    /// A bare model serves tensors, and of those none is uncertain.
    #[test]
    fn a_model_that_gives_no_score_has_nothing_to_escalate() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bearing/1/model.onnx");
        let models = tempfile::tempdir().expect("tempdir");
        let version = models.path().join("bare/1");
        std::fs::create_dir_all(&version).expect("directory");
        std::fs::copy(shipped, version.join("model.onnx")).expect("copy");
        let text = format!(
            "[models]\ndir = {:?}\nengine = \"tract\"\n\
             [mqtt.local]\nurl = \"mqtt://127.0.0.1:1\"\n\
             [pipeline.p]\ninput = {{ mqtt = {{ broker = \"local\", topic = \"a/b\", qos = 1 }} }}\n\
             decode = {{ json = {{}} }}\nmodel = \"bare\"\n\
             [pipeline.p.escalate]\nuncertain = [0.3, 0.7]\nurl = \"http://127.0.0.1:1\"\n",
            models.path()
        );
        let text = Some(("eir.toml".to_owned(), text));
        let config = load(&Sources { text, ..Sources::default() }).expect("a configuration");
        let found = check(&config).remove(0).outcome.expect_err("no score");
        let told = found.iter().find(|p| p.key == "pipeline.p.escalate.uncertain").expect("told");
        assert!(told.message.contains("the model gives none"), "{found:?}");
    }
}
