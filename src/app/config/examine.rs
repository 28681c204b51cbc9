//! From layers to a configuration. Every stage runs on whatever passed the one before it: the schema on
//! the whole tree, then the types on each table and each rule, then what a type cannot say.

use super::check::{check, files};
use super::draft::Draft;
use super::layer::{Sources, read_layers};
use super::schema::validate;
use super::tree::{Mistakes, Origins, merge};
use super::{Config, Problem, Problems};

/// What was found in a configuration.
#[derive(Debug)]
pub struct Examined {
    /// What nothing is wrong with: a pipeline or rule with a mistake is not in it.
    pub config: Config,
    /// Every mistake, in the order of the stages.
    pub problems: Vec<Problem>,
    /// Files that the configuration names and that cannot be used as they are. Who uses them reads them
    /// again each time, so they are no reason not to start.
    pub files: Vec<Problem>,
    origins: Origins,
}

impl Examined {
    /// A later found problem, with the layer that its key came from.
    pub fn located(&self, problem: Problem) -> Problem {
        self.origins.problem(&problem.key, problem.message)
    }
}

/// Reads, merges and checks; every mistake is told at once. What is wrong with a file that a connection
/// reads is no mistake: see [`Config::files`].
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    let Examined { config, problems, .. } = examine(sources);
    Problems::none(problems).map(|()| config)
}

/// Reads, merges and checks, and gives what is right along with what is not.
pub fn examine(sources: &Sources) -> Examined {
    let mut problems = Vec::new();
    let merged = read_layers(sources, &mut problems).map(merge);
    let (tree, origins) = match merged {
        Some(Ok(merged)) => merged,
        unread => {
            problems.extend(unread.and_then(Result::err));
            let (config, origins) = (Config::default(), Origins::default());
            return Examined { config, problems, files: Vec::new(), origins };
        }
    };
    let mut mistakes = Mistakes::new(&origins);
    validate(&tree, &mut mistakes);
    let draft = Draft::read(&tree, &mut mistakes);
    check(&draft, &mut mistakes);
    let pipelines = draft.pipeline.iter();
    let pipelines = pipelines.map(|(name, pipeline)| {
        (name, &pipeline.rule, pipeline.escalate.as_ref().and_then(Option::as_ref))
    });
    let traces = draft.traces.as_ref().and_then(Option::as_ref);
    let update = draft.update.as_ref().and_then(Option::as_ref);
    let mut files = files(draft.connections(), draft.clouds(), (traces, update), pipelines);
    for problem in &mut files {
        problem.origin = origins.of(&problem.key);
    }
    let config = draft.finish(&mistakes);
    problems.extend(mistakes.into_list());
    Examined { config, problems, files, origins }
}

impl Config {
    /// Files of connections, clouds, traces and webhooks that cannot be used as they are. Each is read again whenever it
    /// is needed: what uses it fails until then, and the rest works.
    pub fn files(&self) -> Vec<Problem> {
        let pipelines = self.pipeline.iter();
        let pipelines = pipelines.map(|(name, found)| (name, &found.rule, found.escalate.as_ref()));
        let rest = (self.traces.as_ref(), self.update.as_ref());
        files(self.mqtt.iter(), self.cloud.iter(), rest, pipelines)
    }
}

#[cfg(test)]
mod tests;
