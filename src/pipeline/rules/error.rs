//! What is wrong with a rule, shown in its source, and what went wrong in one evaluation.

use std::fmt::{self, Write};

use cel::ExecutionError;
use thiserror::Error;

use super::record::FIELD;
use crate::event::Name;

/// At most so much of a line is shown on each side of a mistake, in characters.
const AROUND: usize = 60;

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("rule `{rule}`, `{field}`: {problem}{excerpt}")]
pub struct RuleError {
    /// The rule.
    pub rule: Name,
    /// Its key in the configuration that holds the mistake: `when` or `until`.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
    /// Where, as shown to people; empty where the whole is meant.
    pub excerpt: Excerpt,
}

/// A line of source with a caret under the mistake.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Excerpt {
    /// Line and column from 1, in characters; none: the whole source is meant.
    pub position: Option<(usize, usize)>,
    shown: String,
}

impl Excerpt {
    /// The byte at `offset`, or the end.
    pub(super) fn at_offset(source: &str, offset: usize) -> Self {
        let before = source.get(..offset.min(source.len())).unwrap_or(source);
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        Self::at(source, line, column)
    }

    /// Line and column from 0, the column in characters.
    pub(super) fn at(source: &str, line: usize, column: usize) -> Self {
        let text = source.lines().nth(line).unwrap_or_default();
        let skipped = column.saturating_sub(AROUND);
        let mut shown = String::from("\n  | ");
        let window = text.chars().skip(skipped).take(2 * AROUND);
        shown.extend(window.map(|c| if c.is_control() { ' ' } else { c }));
        // Writing to a String does not fail.
        let _ok = write!(shown, "\n  | {:>width$}", '^', width = column - skipped + 1);
        Self { position: Some((line + 1, column + 1)), shown }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// An evaluation that failed; the rule counts as not met in it, and the other rules go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("rule `{rule}`, `{field}`: {problem}")]
pub struct EvaluationError {
    /// The rule.
    pub rule: Name,
    /// `when` or `until`.
    pub field: &'static str,
    /// What went wrong.
    pub problem: String,
}

/// The library's error as a fragment of a sentence.
pub(super) fn describe(error: &ExecutionError) -> String {
    let text = match error {
        ExecutionError::NoSuchKey(key) => format!("no key `{key}`"),
        ExecutionError::IndexOutOfBounds(at) => format!("no element at {at:?}"),
        ExecutionError::UndeclaredReference(name) => format!("unknown name `{name}`"),
        ExecutionError::UnexpectedType { got, want } => format!("{got} where {want} is needed"),
        ExecutionError::FunctionError { function, message } if function == FIELD => message.clone(),
        ExecutionError::FunctionError { function, message } => format!("{function}: {message}"),
        ExecutionError::NoSuchOverload(call) => takes(call.function(), call.argument_types()),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "division by zero".to_owned()
        }
        other => other.to_string(),
    };
    text.chars().take(300).collect()
}

/// `+` does not take double and int.
pub(super) fn takes(function: &str, types: &[impl AsRef<str>]) -> String {
    let name = function.trim_matches(['_', '@']);
    let types: Vec<_> = types.iter().map(AsRef::as_ref).collect();
    let mut text = format!("`{name}` does not take {}", types.join(" and "));
    if types.len() == 2 && types.contains(&"double") && types.contains(&"int") {
        text.push_str("; write 1.0 for 1, or convert with double(…)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_character_that_is_meant() {
        let source = "é == 1 &&\n  wrong > 2";
        let offset = source.find("wrong").expect("there");
        let excerpt = Excerpt::at_offset(source, offset);
        assert_eq!(excerpt.position, Some((2, 3)));
        assert_eq!(excerpt.to_string(), "\n  |   wrong > 2\n  |   ^");
        let long = format!("{} x", "y".repeat(500));
        let shown = Excerpt::at_offset(&long, 501).to_string();
        let lines: Vec<_> = shown.lines().skip(1).collect();
        assert_eq!(lines[0].chars().nth(lines[1].chars().count() - 1), Some('x'), "{shown}");
    }
}
