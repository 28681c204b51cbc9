//! The one place that writes to standard output and standard error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use super::{Exit, Failure};

/// Writes a line to standard output.
///
/// Where nobody reads any more (`eir … | head -1`) the failure is [`Exit::Done`]: the command ends,
/// and [`super::Cli::execute`] takes that for success.
pub(super) fn line(text: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(unwritable)
}

/// Writes a line to standard error; where that cannot be, nobody is left to be told.
pub(super) fn note(text: impl Display) {
    let _nobody_reads = writeln!(io::stderr(), "{text}");
}

fn unwritable(error: io::Error) -> Failure {
    let exit = if error.kind() == ErrorKind::BrokenPipe { Exit::Done } else { Exit::Failed };
    Failure::new(exit, anyhow::Error::new(error).context("failed to write to standard output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_left_is_no_failure_and_a_full_disk_is() {
        assert_eq!(unwritable(ErrorKind::BrokenPipe.into()).exit(), Exit::Done);
        assert_eq!(unwritable(ErrorKind::StorageFull.into()).exit(), Exit::Failed);
    }
}
