//! Finding mistakes in a rule when it is loaded.
//!
//! The library has no type checker, and a dry run of a whole expression does not see behind an `&&`
//! that is already decided. So every part of the expression is run by itself on a sample of what the
//! model says, from the leaves up, and a part is only looked at if its own parts were fine.

use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};
use cel::{Context, ExecutionError, IdedExpr, Value};

use super::error::{describe, takes};
use super::record::FIELD;

/// Parts within parts, at most; evaluating one takes stack.
const MAX_DEPTH: usize = 64;
/// Parts of one expression, at most.
const MAX_PARTS: usize = 1000;
/// Elements of a list or map that is written out, at most.
const MAX_ELEMENTS: usize = 128;
/// Macros (`exists`, `all`, …) within macros, at most: each multiplies the work.
const MAX_LOOPS: usize = 2;

/// Stands between an unknown name and those that are known.
pub(super) const KNOWN_ARE: &str = "; known are ";

/// A mistake: the id of the part and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) part: u64,
    pub(super) problem: String,
}

/// What the checker knows and what it has found.
pub(super) struct Checker<'a> {
    /// The names that this rule may use.
    pub(super) known: &'a [&'a str],
    /// The model's labels; empty: not known.
    pub(super) labels: &'a [Arc<str>],
    pub(super) mistakes: Vec<Mistake>,
    pub(super) parts: usize,
}

/// Where in the expression a part stands.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    depth: usize,
    loops: usize,
}

/// The name of a CEL type; none: it depends on the data, or there is a mistake below.
type Type = Option<String>;

impl Checker<'_> {
    /// Checks a whole expression, which must be a bool.
    pub(super) fn check(&mut self, root: &IdedExpr, sample: &Context<'_, '_>) {
        if let Some(found) = self.part(root, sample, Place::default())
            && found != "bool"
        {
            self.mistake(root, format!("this is {found}; a rule must be true or false"));
        }
    }

    fn mistake(&mut self, part: &IdedExpr, problem: String) {
        if self.mistakes.len() < 10 {
            self.mistakes.push(Mistake { part: part.id, problem });
        }
    }

    fn part(&mut self, part: &IdedExpr, sample: &Context<'_, '_>, place: Place) -> Type {
        self.parts += 1;
        if place.depth > MAX_DEPTH || self.parts > MAX_PARTS {
            if self.mistakes.is_empty() {
                let limits = format!("{MAX_PARTS} parts, {MAX_DEPTH} deep");
                self.mistake(part, format!("too much for one rule; at most {limits}"));
            }
            return None;
        }
        let below = Place { depth: place.depth + 1, ..place };
        let fine = match &part.expr {
            Expr::Literal(_) | Expr::Ident(_) => true,
            Expr::Select(select) => {
                let operand = self.part(&select.operand, sample, below);
                let is_scores = is_name(&select.operand, "scores");
                operand.is_some() && (!is_scores || self.label(part, &select.field))
            }
            Expr::Call(call) => self.call(part, call, sample, below),
            Expr::List(list) => {
                let parts: Vec<_> = list.elements.iter().collect();
                self.written_out(part, &parts, sample, below)
            }
            Expr::Map(map) => {
                let parts = map.entries.iter().flat_map(|entry| match &entry.expr {
                    EntryExpr::StructField(field) => vec![&field.value],
                    EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
                });
                self.written_out(part, &parts.collect::<Vec<_>>(), sample, below)
            }
            Expr::Comprehension(walk) => self.comprehension(part, walk, sample, below),
            Expr::Struct(_) | Expr::Unspecified => {
                self.mistake(part, "not part of the language of rules".to_owned());
                false
            }
        };
        if fine { self.run(part, sample) } else { None }
    }

    /// Runs one part on the sample, its own parts being fine.
    fn run(&mut self, part: &IdedExpr, sample: &Context<'_, '_>) -> Type {
        let error = match Value::resolve_val(part, sample) {
            Ok(value) => return Some(value.get_type().name().to_owned()),
            Err(error) => error,
        };
        let problem = match (&error, &part.expr) {
            (ExecutionError::FunctionError { function, .. }, _) if function != FIELD => {
                return None;
            }
            // These depend on the data, and the sample is not the data.
            (
                ExecutionError::NoSuchKey(_)
                | ExecutionError::IndexOutOfBounds(_)
                | ExecutionError::DivisionByZero(_)
                | ExecutionError::RemainderByZero(_)
                | ExecutionError::Overflow(..)
                | ExecutionError::DuplicateKey(_),
                _,
            ) => return None,
            (ExecutionError::UndeclaredReference(name), Expr::Ident(_)) => {
                format!("unknown name `{name}`{KNOWN_ARE}{}", self.known.join(", "))
            }
            (ExecutionError::UndeclaredReference(name), _) => format!("unknown function `{name}`"),
            _ => describe(&error),
        };
        self.mistake(part, problem);
        None
    }

    fn written_out(
        &mut self,
        whole: &IdedExpr,
        parts: &[&IdedExpr],
        sample: &Context<'_, '_>,
        below: Place,
    ) -> bool {
        if parts.len() > MAX_ELEMENTS {
            self.mistake(whole, format!("{} elements; at most {MAX_ELEMENTS}", parts.len()));
            return false;
        }
        // Every one is looked at, so that every mistake is told.
        let types: Vec<Type> = parts.iter().map(|part| self.part(part, sample, below)).collect();
        types.iter().all(Option::is_some)
    }

    fn call(
        &mut self,
        whole: &IdedExpr,
        call: &CallExpr,
        sample: &Context<'_, '_>,
        below: Place,
    ) -> bool {
        let operands: Vec<&IdedExpr> =
            call.target.as_deref().into_iter().chain(&call.args).collect();
        let types: Vec<Type> = operands.iter().map(|part| self.part(part, sample, below)).collect();
        // What is decided before it is looked at never fails in a run: check it here.
        let must_be_bool: &[usize] = match call.func_name.as_str() {
            operators::LOGICAL_AND | operators::LOGICAL_OR => &[0, 1],
            operators::LOGICAL_NOT | operators::CONDITIONAL => &[0],
            _ => &[],
        };
        for at in must_be_bool {
            if let (Some(part), Some(Some(found))) = (operands.get(*at), types.get(*at))
                && found != "bool"
            {
                let problem = format!("{found} where true or false is needed");
                self.mistake(part, problem);
                return false;
            }
        }
        let Some(types) = types.into_iter().collect::<Option<Vec<String>>>() else { return false };
        match (call.func_name.as_str(), &*operands, &*types) {
            (operators::CONDITIONAL, _, [_, one, other]) if one != other => {
                self.mistake(whole, format!("one way gives {one}, the other {other}"));
                false
            }
            (operators::EQUALS | operators::NOT_EQUALS, [left, right], [one, other]) => {
                self.equality(whole, call, (one, other)) && self.compares_labels(left, right)
            }
            (operators::INDEX, [map, key], _) if is_name(map, "scores") => {
                literal(key).is_none_or(|name| self.label(key, name))
            }
            (operators::IN, [key, map], _) if is_name(map, "scores") => {
                literal(key).is_none_or(|name| self.label(key, name))
            }
            (
                operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE,
                _,
                [one, other],
            ) if one != other => {
                self.mistake(whole, takes(&call.func_name, &types));
                false
            }
            _ => true,
        }
    }

    /// The library says false where the types differ; that is never what was meant.
    fn equality(&mut self, whole: &IdedExpr, call: &CallExpr, types: (&str, &str)) -> bool {
        let numeric = |name: &str| matches!(name, "int" | "uint" | "double");
        let scalar =
            |name: &str| numeric(name) || matches!(name, "string" | "bool" | "bytes" | "type");
        let (one, other) = types;
        let comparable =
            scalar(one) && scalar(other) && (one == other || numeric(one) && numeric(other));
        if !comparable {
            let name = call.func_name.trim_matches('_');
            self.mistake(whole, format!("`{name}` cannot compare {one} with {other}"));
        }
        comparable
    }

    /// `label == 'x'` and `d.label == 'x'` with an `x` that the model does not know.
    fn compares_labels(&mut self, left: &IdedExpr, right: &IdedExpr) -> bool {
        let is_label = |part: &IdedExpr| match &part.expr {
            Expr::Select(select) => select.field == "label" && !is_name(&select.operand, "labels"),
            _ => is_name(part, "label"),
        };
        match (literal(left), literal(right)) {
            (None, Some(name)) if is_label(left) => self.label(right, name),
            (Some(name), None) if is_label(right) => self.label(left, name),
            _ => true,
        }
    }

    fn label(&mut self, part: &IdedExpr, name: &str) -> bool {
        if self.labels.is_empty() || self.labels.iter().any(|label| &**label == name) {
            return true;
        }
        let known: Vec<&str> = self.labels.iter().take(40).map(AsRef::as_ref).collect();
        let more = if self.labels.len() > known.len() { ", …" } else { "" };
        let known = known.join(", ");
        self.mistake(part, format!("the model has no label `{name}`; known are {known}{more}"));
        false
    }

    /// A macro: its body is checked with the first element of the sample.
    fn comprehension(
        &mut self,
        whole: &IdedExpr,
        walk: &ComprehensionExpr,
        sample: &Context<'_, '_>,
        place: Place,
    ) -> bool {
        let below = Place { loops: place.loops + 1, ..place };
        if below.loops > MAX_LOOPS {
            self.mistake(
                whole,
                format!("at most {MAX_LOOPS} of exists, all, map, … in each other"),
            );
            return false;
        }
        // The list is walked before the loop, so a macro there adds to the work and does not multiply it.
        if self.part(&walk.iter_range, sample, place).is_none() {
            return false;
        }
        let (Ok(range), Ok(start)) = (
            Value::resolve_val(&walk.iter_range, sample),
            Value::resolve_val(&walk.accu_init, sample),
        ) else {
            return false;
        };
        let Some(elements) = range.as_iterable() else {
            let found = range.get_type().name().to_owned();
            self.mistake(whole, format!("{found} where a list or map is needed"));
            return false;
        };
        let Some(first) = elements.iter().next() else { return true };
        let mut inner = sample.new_inner_scope();
        inner.add_variable_as_val(walk.iter_var.as_str(), first.clone_as_boxed());
        inner.add_variable_as_val(walk.accu_var.as_str(), start.into_owned());
        self.part(&walk.loop_step, &inner, below).is_some()
    }
}

fn is_name(part: &IdedExpr, name: &str) -> bool {
    matches!(&part.expr, Expr::Ident(found) if found == name)
}

fn literal(part: &IdedExpr) -> Option<&str> {
    match &part.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}
