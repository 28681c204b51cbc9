//! The `eir` command: parse, set up the log, call, exit with a code that says what happened.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use eir::cli::{Cli, Exit};

fn main() -> ExitCode {
    // Before anything starts a thread: it changes the environment.
    eir::engine::disable_telemetry();

    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing to be done where not even that can be printed.
            let _unprintable = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    match cli.execute() {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            let _nobody_reads = writeln!(std::io::stderr(), "eir: {failure}");
            failure.exit().into()
        }
    }
}
