//! Rules: CEL expressions over what a model said, with hysteresis, per stream.
//!
//! Everything that can be wrong with a rule is told when it is loaded, with a caret under the
//! mistake; at run time an expression that fails (a label that a device does not have) counts as not
//! met, and the other rules go on. What an expression sees is listed at [`Facts`].

mod check;
mod compile;
mod condition;
mod error;
mod facts;
mod quick;
mod record;
mod state;
mod value;

use std::cell::LazyCell;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cel::{Context, Env, Program, Value};
use serde::{Deserialize, Serialize};

use self::check::KNOWN_ARE;
use self::compile::{STACK, blame, compile};
pub use self::condition::{Condition, Hits};
use self::error::describe;
pub use self::error::{EvaluationError, Excerpt, RuleError};
pub use self::facts::Facts;
use self::facts::View;
use self::quick::Quick;
use self::state::{KeptState, RuleState, Verdict};
use crate::event::Name;
use crate::package::Task;

/// The rules of one pipeline, compiled and checked.
pub struct RuleSet {
    env: Arc<Env>,
    rules: Vec<Rule>,
}

struct Rule {
    name: Name,
    condition: Condition,
    fingerprint: u64,
    when: Expression,
    until: Option<Expression>,
}

struct Expression {
    program: Program,
    quick: Option<Quick>,
}

/// What the rules of a pipeline remember of one stream. The default remembers nothing.
///
/// It may outlive its rule set: after a reload, rules that did not change keep their state, so that
/// an alarm which is still on does not fire again.
#[derive(Debug, Clone, Default)]
pub struct StreamRules {
    states: Vec<(u64, RuleState)>,
    judged: u64,
}

/// What one prediction led to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The rules that fired, by their index in the set.
    pub fired: Vec<usize>,
    /// How many rules would have fired but for their cooldown.
    pub suppressed: u32,
    /// The expressions that failed; to be counted.
    pub errors: Vec<EvaluationError>,
}

impl RuleSet {
    /// Compiles the rules of a pipeline whose model does `task` and knows `labels` (empty: not
    /// known). All mistakes in all rules are told at once.
    pub fn compile(
        rules: &[(Name, Condition)],
        task: Task,
        labels: &[Arc<str>],
    ) -> Result<Self, Vec<RuleError>> {
        let env = Arc::new(Env::stdlib());
        let all = || compile_all(rules, &env, task, labels);
        let compiled = thread::scope(|scope| {
            let builder = thread::Builder::new().name("rules".to_owned()).stack_size(STACK);
            // Where no thread can be had, this one must do.
            builder.spawn_scoped(scope, all).map_or_else(
                |_none| all(),
                |thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        })?;
        Ok(Self { env, rules: compiled })
    }

    /// What is wrong with a rule whatever the model: its syntax, a name that no task has, types that go
    /// together in none.
    pub fn check_without_model(name: &Name, condition: &Condition) -> Vec<RuleError> {
        let rule = [(name.clone(), condition.clone())];
        let mut least: Option<Vec<RuleError>> = None;
        for task in [Task::Classification, Task::Detection, Task::Anomaly, Task::Tensor] {
            let Err(errors) = Self::compile(&rule, task, &[]) else { return Vec::new() };
            if least.as_ref().is_none_or(|least| errors.len() < least.len()) {
                least = Some(errors);
            }
        }
        let mut errors = least.unwrap_or_default();
        for error in &mut errors {
            // Which of them this model has is not known yet.
            if let Some((unknown, _)) = error.problem.split_once(KNOWN_ARE) {
                error.problem = format!("{unknown}{KNOWN_ARE}{}", facts::ALL_NAMES);
            }
        }
        errors
    }

    /// The name of the rule at `index`.
    pub fn name(&self, index: usize) -> Option<&Name> {
        self.rules.get(index).map(|rule| &rule.name)
    }

    /// The number of rules.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// There is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Tells the rule at `index` from what it was, or will be, with another condition.
    pub fn mark(&self, index: usize) -> Option<u64> {
        self.rules.get(index).map(|rule| rule.fingerprint)
    }

    /// There is the very rule that has this mark.
    pub fn has(&self, mark: u64) -> bool {
        self.rules.iter().any(|rule| rule.fingerprint == mark)
    }

    /// Whether `when` of each rule holds, and nothing more: no state is looked at or changed.
    pub fn hold(&self, facts: &Facts<'_>) -> Vec<Result<bool, EvaluationError>> {
        let view = LazyCell::new(|| View::new(facts));
        let context = LazyCell::new(|| self.context(&view));
        let holds = |rule: &Rule| {
            rule.when.truth(facts, &context).map_err(|problem| EvaluationError {
                rule: rule.name.clone(),
                field: "when",
                problem,
            })
        };
        self.rules.iter().map(holds).collect()
    }

    /// Makes the rule at `index` fire on a prediction from before, where a single one is enough for it: neither
    /// `hits` nor `hold` asks for more. False: it does not fire, for it needs more, cools down, or fired meanwhile.
    /// `judged` is what [`StreamRules::judged`] was with that prediction.
    pub fn fire_late(
        &self,
        index: usize,
        states: &mut StreamRules,
        judged: u64,
        now: Instant,
    ) -> bool {
        states.fit(&self.rules);
        let passed = states.judged != judged;
        let found = self.rules.get(index).zip(states.states.get_mut(index));
        found.is_some_and(|(rule, (_, state))| state.fire_late(&rule.condition, passed, now))
    }

    /// Judges one prediction of one stream. `now` is monotonic; it drives `hold` and `cooldown`.
    pub fn evaluate(&self, facts: &Facts<'_>, states: &mut StreamRules, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        if self.rules.is_empty() {
            return outcome;
        }
        states.fit(&self.rules);
        states.judged += 1;
        let view = LazyCell::new(|| View::new(facts));
        let context = LazyCell::new(|| self.context(&view));
        for (index, (rule, (_, state))) in self.rules.iter().zip(&mut states.states).enumerate() {
            let mut holds = |field, expression: &Expression| {
                expression.truth(facts, &context).unwrap_or_else(|problem| {
                    let rule = rule.name.clone();
                    outcome.errors.push(EvaluationError { rule, field, problem });
                    false
                })
            };
            let when = holds("when", &rule.when);
            let until =
                rule.until.as_ref().map(|until| state.asks_for_release() && holds("until", until));
            match state.evaluate(&rule.condition, when, until, now) {
                Verdict::Nothing => {}
                Verdict::Fire => outcome.fired.push(index),
                Verdict::Suppress => outcome.suppressed += 1,
            }
        }
        outcome
    }

    /// What the interpreter runs in.
    fn context<'v>(&self, view: &'v View<'_>) -> Context<'v, 'v> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        context.set_variable_resolver(view);
        context
    }
}

impl Expression {
    fn new(program: Program) -> Self {
        Self { quick: Quick::of(program.expression()), program }
    }

    /// `context` is made of `facts`, when it is needed.
    fn truth<'v, F: FnOnce() -> Context<'v, 'v>>(
        &self,
        facts: &Facts<'_>,
        context: &LazyCell<Context<'v, 'v>, F>,
    ) -> Result<bool, String> {
        let quick = self.quick.as_ref().and_then(|quick| quick.holds(facts));
        quick.map_or_else(|| interpret(&self.program, context), Ok)
    }
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.rules.iter().map(|rule| (&rule.name, &rule.condition))).finish()
    }
}

/// What the rules remember of one stream, as it is kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRules(Vec<(u64, KeptState)>);

impl StreamRules {
    /// How many predictions were judged since the start.
    pub const fn judged(&self) -> u64 {
        self.judged
    }

    /// What is to be kept; `None`: nothing happened.
    pub fn keep(&self, now: Instant) -> Option<KeptRules> {
        let kept = self.states.iter().filter_map(|(mark, state)| Some((*mark, state.keep(now)?)));
        let kept: Vec<_> = kept.collect();
        (!kept.is_empty()).then_some(KeptRules(kept))
    }

    /// What was kept, `away` later. Rules that have changed since begin anew.
    pub fn resume(kept: &KeptRules, away: Duration, now: Instant) -> Self {
        let resume = |(mark, state): &_| (*mark, RuleState::resume(state, away, now));
        Self { states: kept.0.iter().map(resume).collect(), judged: 0 }
    }

    /// Lines the states up with the rules; only a reload makes a difference.
    fn fit(&mut self, rules: &[Rule]) {
        let fits = self.states.len() == rules.len()
            && self.states.iter().zip(rules).all(|((mark, _), rule)| *mark == rule.fingerprint);
        if fits {
            return;
        }
        let old = std::mem::take(&mut self.states);
        self.states = rules
            .iter()
            .map(|rule| {
                let kept = old.iter().find(|(mark, _)| *mark == rule.fingerprint);
                let state = kept.map(|(_, state)| state.clone()).unwrap_or_default();
                (rule.fingerprint, state)
            })
            .collect();
    }
}

fn compile_all(
    rules: &[(Name, Condition)],
    env: &Arc<Env>,
    task: Task,
    labels: &[Arc<str>],
) -> Result<Vec<Rule>, Vec<RuleError>> {
    let (mut compiled, mut errors) = (Vec::new(), Vec::new());
    for (name, condition) in rules {
        let when = compile(&condition.when, env, task, labels)
            .map_err(|problems| blame(name, "when", problems));
        let until = condition.until.as_deref().map(|until| {
            compile(until, env, task, labels).map_err(|problems| blame(name, "until", problems))
        });
        match (when, until.transpose()) {
            (Ok(when), Ok(until)) => compiled.push(Rule {
                name: name.clone(),
                condition: condition.clone(),
                fingerprint: condition.fingerprint(name),
                when: Expression::new(when),
                until: until.map(Expression::new),
            }),
            (when, until) => {
                errors.extend(when.err().into_iter().flatten());
                errors.extend(until.err().into_iter().flatten());
            }
        }
    }
    if errors.is_empty() { Ok(compiled) } else { Err(errors) }
}

fn interpret(program: &Program, context: &Context<'_, '_>) -> Result<bool, String> {
    let value =
        Value::resolve_val(program.expression(), context).map_err(|error| describe(&error))?;
    value
        .downcast_ref::<cel::common::types::CelBool>()
        .map(|truth| *truth.inner())
        .ok_or_else(|| format!("{} where true or false is needed", value.get_type().name()))
}

#[cfg(test)]
mod tests;
