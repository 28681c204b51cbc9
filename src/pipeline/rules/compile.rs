//! From the text of a rule to a program that has been checked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::{Context, Env, ParseErrors, Program};
use jiff::Timestamp;

use super::check::Checker;
use super::error::{Excerpt, RuleError};
use super::facts::{Facts, View, known};
use crate::event::{Detection, Device, Name, Prediction, StreamKey, Topic};
use crate::package::Task;

/// The longest expression, in bytes.
pub(super) const MAX_SOURCE: usize = 4 << 10;

/// The parser calls itself for every level of the expression, and only what it has parsed can be
/// measured; this much carries the deepest that fits into [`MAX_SOURCE`].
pub(super) const STACK: usize = 64 << 20;

/// A mistake before it is known whose.
type Problem = (String, Excerpt);

/// Parses and checks one expression. The caller sees to a stack of [`STACK`] bytes.
pub(super) fn compile(
    source: &str,
    env: &Arc<Env>,
    task: Task,
    labels: &[Arc<str>],
) -> Result<Program, Vec<Problem>> {
    if source.len() > MAX_SOURCE {
        let problem = format!("{} bytes long; at most {MAX_SOURCE}", source.len());
        return Err(vec![(problem, Excerpt::default())]);
    }
    // The parser is generated code for a large grammar; should it panic, only this rule is refused.
    let program = catch_unwind(AssertUnwindSafe(|| env.compile(source)))
        .map_err(|_panic| vec![("cannot be read".to_owned(), Excerpt::default())])?
        .map_err(|errors| syntax(source, &errors))?;
    let sample = Sample::new(task, labels);
    let facts = sample.facts();
    let view = View::new(&facts);
    let mut context = Context::with_env(Arc::clone(env));
    context.set_variable_resolver(&view);
    let mut checker = Checker { known: known(task), labels, mistakes: Vec::new(), parts: 0 };
    checker.check(program.expression(), &context);
    if checker.mistakes.is_empty() {
        return Ok(program);
    }
    let problems = checker.mistakes.into_iter().map(|mistake| {
        let offset = program.source_info().offset_for(mistake.part);
        let offset = offset.map_or(0, |(start, _)| start as usize);
        (mistake.problem, Excerpt::at_offset(source, offset))
    });
    Err(problems.collect())
}

fn syntax(source: &str, errors: &ParseErrors) -> Vec<Problem> {
    let problems = errors.errors.iter().take(3).map(|error| {
        let (line, column) = error.pos;
        let excerpt = match (usize::try_from(line), usize::try_from(column)) {
            (Ok(line @ 1..), Ok(column @ 1..)) => Excerpt::at(source, line - 1, column - 1),
            _ => Excerpt::default(),
        };
        if error.msg == "UNKNOWN" || error.msg.contains("Recursion limit") {
            return ("nested too deeply".to_owned(), excerpt);
        }
        let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
        // The parser lists every token that could follow, which helps nobody.
        let message = message.split(" expecting {").next().unwrap_or(message);
        let message = message.replace("'<EOF>'", "end of the expression");
        (message.chars().take(200).collect(), excerpt)
    });
    problems.collect()
}

/// Something that a model of a task could say.
struct Sample {
    prediction: Prediction,
    stream: StreamKey,
    topic: Topic,
    device: Device,
}

static NAME: LazyLock<Name> = LazyLock::new(|| "sample".parse().expect("a valid name"));

impl Sample {
    fn new(task: Task, labels: &[Arc<str>]) -> Self {
        let label = labels.first().map_or_else(|| "label".into(), Arc::clone);
        let values = vec![0.5; 16];
        let prediction = match task {
            Task::Classification => Prediction::Classification {
                scores: labels.iter().map(|label| (Arc::clone(label), 0.5)).collect(),
                label,
                score: 0.5,
            },
            Task::Detection => Prediction::Detection {
                detections: vec![Detection { label, score: 0.5, x: 1.0, y: 1.0, w: 1.0, h: 1.0 }],
            },
            Task::Anomaly => Prediction::Anomaly { score: 0.5 },
            Task::Regression => Prediction::Regression { values },
            Task::Embedding => Prediction::Embedding { values },
            Task::Tensor => Prediction::Tensor { shape: vec![16], values },
        };
        Self {
            prediction,
            stream: StreamKey::new("a"),
            topic: Topic::new("a/b/c/d/e/f/g/h"),
            device: Device {
                id: NAME.clone(),
                labels: [("name".to_owned(), "value".to_owned())].into(),
            },
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            prediction: &self.prediction,
            stream: &self.stream,
            topic: &self.topic,
            device: &self.device,
            now: Timestamp::UNIX_EPOCH,
            model: &NAME,
            version: 1,
        }
    }
}

/// Says whose the problems are.
pub(super) fn blame(rule: &Name, field: &'static str, problems: Vec<Problem>) -> Vec<RuleError> {
    let error = |(problem, excerpt)| RuleError { rule: rule.clone(), field, problem, excerpt };
    problems.into_iter().map(error).collect()
}
