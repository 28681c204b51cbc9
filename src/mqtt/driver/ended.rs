//! Why connections end, and what it means when they end early again and again.

use std::io;
use std::time::Duration;

/// So many connections that the broker closes early, one after the other, are no accident.
const SUSPICIOUS: u32 = 3;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    Stopped,
    /// Too many messages are unacknowledged.
    Overrun,
    /// MQTT 5: the broker says that somebody else has our client identifier.
    TakenOver,
    /// The broker closed it without a reason.
    Closed(String),
    Failed(String),
}

impl<E: std::error::Error> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(super::super::with_sources(&error))
    }
}

impl Ended {
    /// What became of an attempt to read or write.
    pub(super) fn lost(error: &io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let text = super::super::with_sources(error);
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Self::Closed(text),
            _ => Self::Failed(text),
        }
    }
}

/// Counts the connections that the broker closed early. MQTT 3.1.1 has no word for "another client
/// took your place": the broker just closes.
#[derive(Debug, Default)]
pub(super) struct EarlyEnds(u32);

impl EarlyEnds {
    /// Notes how a connection ended that held for so long.
    pub(super) fn note(&mut self, ended: &Ended, held: Duration) {
        let early = matches!(ended, Ended::Closed(_)) && held < super::STABLE;
        self.0 = if early { self.0.saturating_add(1) } else { 0 };
    }

    /// Why the connection was closed, as far as can be told.
    pub(super) fn explain(&self, text: String, client_id: &str) -> String {
        if self.0 < SUSPICIOUS {
            return text;
        }
        format!(
            "{text}, {} times in a row within seconds; perhaps {}",
            self.0,
            taken_over(client_id)
        )
    }
}

pub(super) fn taken_over(client_id: &str) -> String {
    format!(
        "another client connected as `{client_id}`: give each device its own [device].id or \
         client_id"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_early_ends_in_a_row_are_suspicious() {
        let closed = || Ended::Closed("closed".to_owned());
        let soon = Duration::from_secs(1);
        let mut ends = EarlyEnds::default();
        let says = |ends: &EarlyEnds| ends.explain("closed".to_owned(), "eir-d-n");
        for _ in 1..SUSPICIOUS {
            ends.note(&closed(), soon);
            assert_eq!(says(&ends), "closed");
        }
        ends.note(&closed(), Duration::from_mins(1));
        ends.note(&closed(), soon);
        assert_eq!(says(&ends), "closed");
        for _ in 1..SUSPICIOUS {
            ends.note(&closed(), soon);
        }
        assert!(says(&ends).contains("another client connected as `eir-d-n`"), "{}", says(&ends));
        ends.note(&Ended::Overrun, soon);
        assert_eq!(says(&ends), "closed");
    }
}
