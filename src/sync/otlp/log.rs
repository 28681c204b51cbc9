//! Records as log records.

use serde_json::Value;

use super::export::Line;
use super::message::{LogRecord, Severity};
use super::nanoseconds;
use super::value::{any, attribute, text};

/// The log record of a record, with all that its body says.
pub(super) fn log(line: &Line<'_>) -> LogRecord {
    let time = nanoseconds(line.at);
    let told = serde_json::from_str::<Value>(line.body.get());
    let mut attributes = vec![
        attribute("eir.id", line.id.as_str()),
        attribute("eir.epoch", line.epoch),
        attribute("eir.seq", line.seq),
        attribute("eir.kind", line.kind.as_str()),
    ];
    attributes.extend(line.origin.as_deref().map(|origin| attribute("eir.origin", origin)));
    let severity = if line.kind == "gap" { Severity::Warn } else { Severity::Info };
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        body: Some(told.map_or_else(|_| text(line.body.get()), any)),
        attributes,
        event_name: format!("eir.{}", line.kind),
        ..with(severity)
    }
}

/// A line that cannot be read as a record goes as it is.
pub(super) fn unread(line: &[u8]) -> LogRecord {
    let body = Some(text(String::from_utf8_lossy(line)));
    LogRecord { body, event_name: "eir.unread".to_owned(), ..with(Severity::Warn) }
}

fn with(severity: Severity) -> LogRecord {
    let word = if severity == Severity::Warn { "WARN" } else { "INFO" };
    LogRecord {
        severity_number: severity.into(),
        severity_text: word.to_owned(),
        ..LogRecord::default()
    }
}
