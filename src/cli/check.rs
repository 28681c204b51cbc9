//! `eir check`: everything that can be known before a start.

use super::{Exit, Failure, log};
use crate::app;
use crate::app::config::{LogLevel, Sources};

pub(super) fn check(sources: &Sources) -> Result<(), Failure> {
    let config = super::run::load(sources)?;
    log::start(LogLevel::Warn);
    let findings = super::runtime()?.block_on(async { app::check(&config) });
    let mut broken = 0;
    for finding in &findings {
        match &finding.outcome {
            Ok(detail) => println!("ok      {}: {detail}", finding.what),
            Err(problem) => {
                broken += 1;
                println!("broken  {}: {problem}", finding.what);
            }
        }
    }
    if broken == 0 {
        println!("{} is valid; {} checks passed", sources.file.display(), findings.len());
        return Ok(());
    }
    let error = anyhow::anyhow!("{broken} of {} checks failed", findings.len());
    Err(Failure::new(Exit::Config, error))
}
