//! What the demo shows while it runs: a line for each decision, and progress at all times.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::{Failure, print};

/// A terminal gets a bar that stays at the bottom; a file gets a line every few seconds.
#[derive(Debug)]
pub(super) struct Screen {
    bar: Option<ProgressBar>,
    total: Duration,
    last_line: Duration,
}

const PLAIN_EVERY: Duration = Duration::from_secs(5);

impl Screen {
    pub(super) fn new(total: Duration) -> Self {
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(total.as_secs()), ProgressDrawTarget::stdout());
            let style = ProgressStyle::with_template("  {bar:30} {pos}/{len} s  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, total, last_line: Duration::ZERO }
    }

    /// A line that stays.
    pub(super) fn line(&self, text: &str) -> Result<(), Failure> {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => print::line(text)?,
        }
        Ok(())
    }

    /// How far it is.
    pub(super) fn progress(&mut self, elapsed: Duration, message: &str) -> Result<(), Failure> {
        match &self.bar {
            Some(bar) => {
                bar.set_position(elapsed.as_secs());
                bar.set_message(message.to_owned());
            }
            None if elapsed >= self.last_line + PLAIN_EVERY => {
                self.last_line = elapsed;
                let (at, of) = (elapsed.as_secs(), self.total.as_secs());
                print::line(format_args!("{at:>6} of {of} s  {message}"))?;
            }
            None => {}
        }
        Ok(())
    }

    /// Clears the bar: the table comes next.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
