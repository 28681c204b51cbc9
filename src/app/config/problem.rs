//! Mistakes in a configuration, all of them at once.

use std::fmt;

/// One mistake: where it stands and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or layer; empty where a value is missing altogether.
    pub origin: String,
    /// The key, as in `pipeline.bearing.queue.capacity`.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Every mistake that was found; as an error it is one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    /// A mistake that no single layer made.
    pub(in crate::app) fn new(key: &str, message: impl Into<String>) -> Self {
        Self { origin: String::new(), key: key.to_owned(), message: message.into() }
    }
}

impl Problems {
    /// An error unless there are none.
    pub(in crate::app) fn none(problems: impl IntoIterator<Item = Problem>) -> Result<(), Self> {
        let problems: Vec<_> = problems.into_iter().collect();
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.origin, &self.key] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        Ok(())
    }
}
