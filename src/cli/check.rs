//! `eir check`: everything that can be known before a start.

use super::{Exit, Failure, log, print};
use crate::app;
use crate::app::config::{self, Sources};
use crate::event::LogLevel;

pub(super) fn check(sources: &Sources) -> Result<(), Failure> {
    let mut examined = config::examine(sources);
    let mut problems = std::mem::take(&mut examined.problems);
    problems.append(&mut examined.files);
    log::start(LogLevel::Warn);
    // What is right so far is tried, whatever is wrong elsewhere.
    let findings = super::runtime()?.block_on(async { app::check(&examined.config) });
    let tried = findings.len();
    for finding in findings {
        match finding.outcome {
            Ok(detail) => print::line(format_args!("ok      {}: {detail}", finding.what))?,
            Err(found) => problems.extend(found.into_iter().map(|p| examined.located(p))),
        }
    }
    for problem in &problems {
        print::line(format_args!("broken  {problem}"))?;
    }
    if problems.is_empty() {
        let file = sources.file.display();
        return print::line(format_args!("{file} is valid; {tried} checks passed"));
    }
    let error = anyhow::anyhow!("the configuration is not valid: {} mistakes", problems.len());
    Err(Failure::new(Exit::Config, error))
}
